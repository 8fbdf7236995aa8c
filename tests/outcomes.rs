//! Outcomes of the built program: the story that a demo joint venture starts with, a frozen
//! experiment, observations, costs, and statements that are verified offline.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::ask::Client;
use crate::dashboard::{between, signed_in};
use crate::support::{Folder, Server, output, tessera};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[tokio::test]
async fn a_demo_tells_the_whole_story_and_its_statements_hold_offline() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    for (pack, truth) in
        [("automotive", 0.08), ("energy", 118.0), ("finance", 0.12), ("gaming", 0.06)]
    {
        let client = Client::of(&server, pack);
        let list = client.get("/v1/experiments").await.1;
        let name = text(&list["experiments"][0]["name"]).to_owned();
        let read = client.get(&format!("/v1/experiments/{name}/readout")).await.1;
        assert_eq!(read["standing"], "read", "{read}");
        let metric = &read["metrics"][0];
        assert!(number(&metric["low"]) <= truth && truth <= number(&metric["high"]), "{metric}");
        let list = client.get("/v1/statements").await.1;
        let kinds: Vec<&str> = list["statements"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| text(&s["document"]["kind"]))
            .collect();
        assert_eq!(kinds, ["statement", "credit_note", "statement", "statement"]);
        assert_eq!(client.get("/v1/disputes").await.1["disputes"][0]["state"], "settled");
        // A first start makes the story in well under a second, because it is this small: steps that
        // are noted, and observations.
        let chain = client.get("/v1/audit?limit=100").await.1;
        let steps = chain["entries"].as_array().unwrap().len();
        assert!(steps <= 12, "{pack}: {steps} steps");
        let kpi = text(&metric["kpi"]);
        let all = client.get(&format!("/v1/observations?metric={kpi}")).await.1;
        assert!(all["total"].as_u64().unwrap() <= 6_000, "{pack}: {}", all["total"]);
    }
    let chain = Client::of(&server, "energy").get("/v1/audit?q=statement.made").await.1;
    assert_eq!(chain["entries"].as_array().unwrap().len(), 3, "{chain}");
    offline(&folder, &server).await;
    pages(&server).await;
}

/// What the partner does on another machine: no server, no database, no network.
async fn offline(folder: &Folder, server: &Server) {
    let client = Client::of(server, "finance");
    let export = client.get("/v1/statements/2/export").await.1;
    let key = text(&client.get("/v1/statements/key").await.1["public_key"]).to_owned();
    let nowhere = folder.path().join("nowhere");
    std::fs::create_dir_all(&nowhere).unwrap();
    let check = |export: &Value, name: &str| {
        let file = nowhere.join(name);
        std::fs::write(&file, export.to_string()).unwrap();
        let mut verify = tessera(&nowhere);
        let done = verify.args(["statement", "verify"]).arg(&file).args(["--key", &key]).output();
        let done = done.unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, said) = check(&export, "as-it-came.json");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("Holds: Statement 2"), "{said}");
    let events = export["events"].as_array().unwrap();
    let last = events.len() - 1;
    let mut changed = export.clone();
    changed["events"][last]["value"] = json!("99");
    let (code, said) = check(&changed, "event.json");
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("event {} differs", last + 1)), "{said}");
    for (pointer, value) in [
        ("/document/contract/value_per_unit", "6.41"),
        ("/document/contract/parties/0/share", "0.666668"),
        ("/document/payable/0/amount", "1"),
    ] {
        let mut changed = export.clone();
        *changed.pointer_mut(pointer).unwrap() = json!(value);
        let (code, said) = check(&changed, "changed.json");
        assert_eq!(code, Some(1), "{pointer}: {said}");
    }
    let pdf = client.http.get(format!("{}/v1/statements/2/pdf", client.base));
    let pdf = pdf.bearer_auth(&client.key).send().await.unwrap().bytes().await.unwrap();
    assert!(pdf.starts_with(b"%PDF-") && pdf.ends_with(b"%%EOF"), "{} bytes", pdf.len());
}

async fn pages(server: &Server) {
    let mut browser = signed_in(server).await;
    let page = browser.get("/jv/demo-gaming/outcomes").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("<strong>At least ") && page.text.contains("<svg"), "{}", page.text);
    for path in ["experiments/arpdau", "statements/1", "statements/3", "economics"] {
        let page = browser.get(&format!("/jv/demo-gaming/{path}")).await;
        assert_eq!(page.status, 200, "{path}");
    }
    assert_eq!(browser.get("/jv/demo-gaming/statements/99").await.status, 404);
}

fn design(start: Timestamp) -> Value {
    json!({
        "name": "offers", "question": "Do offers help?", "unit": "player", "seed": "autumn",
        "method": "randomised", "holdout": "0.5", "reading": "sequence", "planned_units": 400,
        "start": start.to_string(), "end": (start + SignedDuration::from_hours(72)).to_string(),
        "metrics": [{"kpi": "retention_d1", "measure": "mean", "better": "up", "minimum": "0.01"}],
    })
}

#[tokio::test]
async fn an_experiment_is_frozen_by_its_start_and_read_by_what_was_sent() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let post = async |path: &str, body: Value| client.post(path, body.to_string()).await;
    let late = Timestamp::now() - SignedDuration::from_hours(1);
    assert_eq!(post("/v1/experiments", design(late)).await.0, 201);
    let (status, problem) = post("/v1/experiments/offers/start", json!({})).await;
    assert_eq!((status, text(&problem["code"])), (409, "too_late"));
    let start = Timestamp::now() + SignedDuration::from_secs(3);
    let (_, made) = post("/v1/experiments", design(start)).await;
    let (status, begun) = post("/v1/experiments/offers/start", json!({})).await;
    assert_eq!((status, text(&begun["state"])), (200, "running"), "{begun}");
    assert_eq!(begun["design_sha256"], made["design_sha256"]);
    let (status, _) = post("/v1/experiments", design(start)).await;
    assert_eq!(status, 409, "a frozen design was changed");

    let units: Vec<String> = (0..400).map(|i| format!("p{i}")).collect();
    let body = json!({ "units": units });
    let (_, joined) = post("/v1/experiments/offers/assignments", body.clone()).await;
    assert_eq!(joined["enrolled"], 400);
    let (_, again) = post("/v1/experiments/offers/assignments", body).await;
    assert_eq!((&again["enrolled"], &again["assignments"]), (&json!(0), &joined["assignments"]));
    let one = client.get("/v1/experiments/offers/assignments?unit=p7").await.1;
    assert_eq!(one, joined["assignments"][7]);

    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let at = Timestamp::now().to_string();
    let arms = joined["assignments"].as_array().unwrap().iter().enumerate();
    let observations: Vec<Value> = arms
        .map(|(i, one)| {
            // Every third of the treated stays, every sixth of the others.
            let stays = i % if one["arm"] == "treatment" { 2 } else { 6 } == 0;
            json!({"id": format!("o{i}"), "unit": one["unit"], "metric": "retention_d1", "at": at,
                   "value": i32::from(stays)})
        })
        .collect();
    let body = json!({ "observations": observations });
    assert_eq!(post("/v1/observations", body.clone()).await.1["added"], 400);
    let (status, again) = post("/v1/observations", body).await;
    assert_eq!((status, &again["repeated"]), (200, &json!(400)));
    let mut other = observations[0].clone();
    other["value"] = json!(7);
    let (status, problem) = post("/v1/observations", json!({ "observations": [other] })).await;
    assert_eq!((status, text(&problem["code"])), (409, "observation_differs"));
    let read = client.get("/v1/experiments/offers/readout").await.1;
    assert_eq!(read["standing"], "read", "{read}");
    let metric = &read["metrics"][0];
    assert!(
        number(&metric["low"]) > 0.1 && text(&metric["method"]).contains("always-valid"),
        "{metric}"
    );
    let (status, _) = post("/v1/experiments/offers/end", json!({"reason": "seen enough"})).await;
    assert_eq!(status, 200);
    assert_eq!(post("/v1/experiments/offers/end", json!({"reason": "again"})).await.0, 409);
}

#[tokio::test]
async fn costs_follow_prices_and_the_command_line_reads_the_same() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let run =
        client.ask("finance", "What is the APR of 5,000 paid back as 24 payments of 225?").await;
    let run = text(&run["id"]);
    let judged =
        client.post(&format!("/v1/runs/{run}/verdict"), r#"{"verdict": "accepted"}"#).await;
    assert_eq!(judged.0, 200, "{}", judged.1);
    let put = async |path: &str, body: Value| {
        let request = client.http.put(format!("{}{path}", client.base)).bearer_auth(&client.key);
        request.body(body.to_string()).send().await.unwrap().status().as_u16()
    };
    assert_eq!(put(&format!("/v1/economics/runs/{run}"), json!({"review_seconds": 90})).await, 200);
    let mut terms = client.get("/v1/economics").await.1["terms"].clone();
    terms["wage_per_hour"] = json!("40");
    assert_eq!(put("/v1/economics/terms", terms.clone()).await, 200);
    terms["wage_per_hour"] = json!("-1");
    assert_eq!(put("/v1/economics/terms", terms).await, 422);
    let found = client.get("/v1/economics?days=2").await.1;
    assert_eq!((&found["effort"]["accepted"], &found["costs"]["review"]), (&json!(1), &json!("1")));
    let shown = output(
        &folder.path(),
        &["economics", "show", "--tenant", "demo-finance", "--days", "2", "--json"],
    );
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["costs"], found["costs"]);
    let listed = output(&folder.path(), &["statement", "list", "--tenant", "demo-finance"]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 4);
    let case = json!({"tasks_per_month": 10, "minutes_saved": "5", "wage_per_hour": "30",
                      "delivery_cost": "20000", "days_to_data": 3});
    let said = client.post("/v1/economics/screen", case.to_string()).await.1;
    assert_eq!(said["go"], false);
}

#[tokio::test]
async fn a_dispute_is_settled_by_a_credit_note_over_http() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "automotive");
    let post = async |path: &str, body: Value| client.post(path, body.to_string()).await;
    let export = client.get("/v1/statements/1/export").await.1;
    let events = export["events"].as_array().unwrap().iter();
    let from = text(&export["document"]["from"]);
    let mut one = events
        .filter(|e| e["kind"] == "observed")
        .rfind(|e| text(&e["at"]) > from)
        .unwrap()
        .clone();
    one.as_object_mut().unwrap().remove("kind");
    let strange = json!({"reason": "wrong", "observations": ["nothing"]});
    let (status, problem) = post("/v1/statements/1/disputes", strange).await;
    // The statement is about three months old, and the contract allows thirty days.
    assert_eq!((status, text(&problem["code"])), (409, "too_late"));
    let body = json!({"reason": "a job was counted twice", "observations": [one["id"]]});
    let (status, opened) = post("/v1/statements/4/disputes", body.clone()).await;
    assert_eq!((status, text(&opened["code"])), (422, "invalid_dispute"), "of another month");
    let export = client.get("/v1/statements/4/export").await.1;
    let events = export["events"].as_array().unwrap().iter();
    let from = text(&export["document"]["from"]).to_owned();
    let mut one = events
        .filter(|e| e["kind"] == "observed")
        .rfind(|e| text(&e["at"]) > &*from)
        .unwrap()
        .clone();
    one.as_object_mut().unwrap().remove("kind");
    let body = json!({"reason": "a job was counted twice", "observations": [one["id"]]});
    let (status, opened) = post("/v1/statements/4/disputes", body.clone()).await;
    assert_eq!(status, 201, "{opened}");
    assert_eq!(post("/v1/statements/4/disputes", body).await.0, 409, "one is open");
    one["value"] = json!("0");
    let decision = json!({"answer": "taken out", "corrected": [one]});
    let dispute = format!("/v1/disputes/{}", text(&opened["dispute"]));
    let (status, settled) = post(&dispute, decision.clone()).await;
    assert_eq!((status, &settled["credit_note"]), (200, &json!(5)), "{settled}");
    assert_eq!(post(&dispute, decision).await.0, 409, "decided once");
    let note = client.get("/v1/statements/5").await.1;
    assert_eq!(note["document"]["corrects"]["number"], 4);
    // What was exported stays as it was.
    assert_eq!(client.get("/v1/statements/4/export").await.1, export);
    let (status, _) =
        post("/v1/statements", json!({"contract": "first-time-fix-rate-share", "month": "soon"}))
            .await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn the_command_line_drafts_observes_agrees_and_disputes() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let data = folder.path();
    let file = |name: &str, body: &Value| {
        let path = data.join(name);
        std::fs::write(&path, body.to_string()).unwrap();
        path.display().to_string()
    };
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["--tenant", "demo-gaming"]].concat();
        let done = output(&data, &arguments);
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(said).unwrap())
    };
    let start = Timestamp::now() + SignedDuration::from_hours(1);
    let draft = file("design.json", &design(start));
    for (arguments, code, word) in [
        (&["experiment", "draft", &*draft][..], 0, "a draft"),
        (&["experiment", "assign", "offers", "p1", "--enrol"], 2, "start it first"),
        (&["experiment", "start", "offers"], 0, "frozen"),
        (&["experiment", "draft", &draft], 3, "frozen"),
        (&["experiment", "assign", "offers", "p1", "--enrol"], 0, "p1"),
    ] {
        let (found, said) = run(arguments);
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(found == Some(code) || code == 3 && found != Some(0), "{arguments:?}: {said}");
    }
    let at = Timestamp::now().to_string();
    let seen =
        |id: &str| json!({"id": id, "unit": "p1", "metric": "retention_d1", "at": at, "value": 1});
    let seen = file("seen.json", &json!([seen("c1"), seen("c2")]));
    assert!(run(&["experiment", "observe", &seen]).1.starts_with("2 observations are new"));
    assert!(run(&["experiment", "observe", &seen]).1.contains("2 were there"));
    let csv = data.join("visits.csv");
    std::fs::write(
        &csv,
        "id,player,day,stayed\nd1,p1,2026-11-01T00:00:00Z,1\nd2,p2,2026-11-01T00:00:00Z,0\n",
    )
    .unwrap();
    let imported = run(&["dataset", "import", &csv.display().to_string(), "--id", "visits"]);
    assert_eq!(imported.0, Some(0), "{}", imported.1);
    let read = ["experiment", "import", "visits", "--metric", "retention_d1", "--unit", "player"];
    let read = [&read[..], &["--at", "day", "--value", "stayed"]].concat();
    let (code, said) = run(&read);
    assert_eq!((code, &said[..1]), (Some(0), "2"), "{said}");
    assert_eq!(client.get("/v1/observations?metric=retention_d1").await.1["total"], 4);
    assert_eq!(run(&["experiment", "end", "offers", "--reason", "enough"]).0, Some(0));

    let frozen = client.get("/v1/experiments/offers").await.1;
    let contract = json!({
        "name": "offers-share", "currency": "USD", "experiment": "offers",
        "design_sha256": frozen["design_sha256"], "metric": "retention_d1", "value_per_unit": "2",
        "parties": [{"name": "Studio", "share": "0.4"}, {"name": "Partner", "share": "0.6"}],
    });
    let (code, said) = run(&["statement", "contract", &file("contract.json", &contract)]);
    assert_eq!(code, Some(0), "{said}");
    let paper = data.join("paper.pdf").display().to_string();
    assert_eq!(run(&["statement", "export", "4", "--out", &paper, "--pdf"]).0, Some(0));
    assert!(std::fs::read(&paper).unwrap().starts_with(b"%PDF-"));
    let (code, said) = run(&["statement", "dispute", "4", "--reason", "too much"]);
    assert_eq!(code, Some(0), "{said}");
    let dispute = said.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(run(&["statement", "disputes"]).1.contains(&dispute));
    let (code, said) = run(&["statement", "decide", &dispute, "--answer", "it is right"]);
    assert_eq!((code, said.trim()), (Some(0), "Rejected."));
    let run_id = client
        .ask(
            "gaming",
            "Pity is at 90 pulls and the base rate is 0.6%. How many pulls should a player expect?",
        )
        .await;
    let effort = ["economics", "effort", text(&run_id["id"]), "--review", "60"];
    assert_eq!(run(&effort).0, Some(0));
    let chain = client.get("/v1/outcome_events").await.1;
    let kinds: Vec<&str> =
        chain["events"].as_array().unwrap().iter().take(9).map(|e| text(&e["type"])).collect();
    let expected = [
        "effort.noted",
        "dispute.rejected",
        "dispute.opened",
        "contract.made",
        "experiment.ended",
        "observations.received",
        "observations.received",
        "experiment.started",
        "experiment.drafted",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn the_pages_draft_start_end_and_state_and_say_where_prices_differ() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let mut browser = signed_in(&server).await;
    let page = browser.get("/jv/demo-gaming/outcomes").await;
    let csrf = between(&page.text, "name=\"csrf\" value=\"", "\"").to_owned();
    let start = Timestamp::now() + SignedDuration::from_hours(1);
    let draft = design(start).to_string();
    let form = [("csrf", &*csrf), ("document", &*draft), ("reason", "enough")];
    let post = "/jv/demo-gaming/outcomes/experiments";
    assert_eq!(browser.post(post, &[("csrf", &*csrf), ("document", "{")]).await.status, 422);
    assert_eq!(browser.post(post, &form).await.status, 303);
    for (action, state) in [("start", "running"), ("end", "ended")] {
        let path = format!("/jv/demo-gaming/experiments/offers/{action}");
        assert_eq!(browser.post(&path, &form).await.status, 303, "{action}");
        assert_eq!(client.get("/v1/experiments/offers").await.1["state"], state);
    }
    let contract = "arpdau-share";
    let made = [("csrf", &*csrf), ("contract", contract), ("month", "2020-01")];
    let page = browser.post("/jv/demo-gaming/outcomes/statements", &made).await;
    assert!(matches!(page.status, 404 | 409 | 422), "{}", page.text);
    let page = browser
        .get("/jv/demo-gaming/economics?tasks=3000&minutes=8&saved_wage=30&delivery=20000")
        .await;
    assert!(
        page.text.contains("A year saves 144000, 7.2 times its delivery: go on."),
        "{}",
        page.text
    );
    // One price is set for budgets, and the price table says something else.
    let price = client.http.put(format!("{}/v1/prices", client.base)).bearer_auth(&client.key);
    let price = price.body(r#"{"item": "call", "micros": 5}"#).send().await.unwrap();
    assert_eq!(price.status().as_u16(), 200);
    let differs = "budgets count `call` as 5 micro-units, the price table says 0";
    for path in ["/v1/prices", "/v1/economics"] {
        let said = client.get(path).await.1.to_string();
        assert!(said.contains(differs), "{path}: {said}");
    }
    for path in ["economics", "controls"] {
        let page = browser.get(&format!("/jv/demo-gaming/{path}")).await;
        assert!(page.text.contains("micro-units, the price table says 0"), "{path}");
    }
}
