//! Planners: the gate, promotion and going back without a restart, and the shadow.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agents::pack::shipped;
use agents::synth::{Maker, Templates};
use runtime::train::{Options, train};
use serde_json::{Value, json};
use server::host::{Host, Taken};
use server::postgres::{Cluster, checked_folder};
use server::store::{ModelState, NewKey, NewModel, Store};

use crate::ask::Client;
use crate::dashboard::{between, signed_in};
use crate::support::{Folder, Server, output};
use crate::tenancy::{World, new_run};

/// Time limits are about the machine of whoever trains, not about the one that tests.
const PATIENT: [&str; 2] = ["--gate-plan-ms", "60000"];

const VIN: &str = "Is 1M8GDM9AXKP042788 a valid VIN?";

/// Trains a planner of a hundred thousand weights on examples of a pack; after one step it knows
/// nothing.
fn tiny(folder: &Path, pack: &str, steps: usize) {
    let pack = shipped().unwrap().iter().find(|known| known.manifest.id == pack).unwrap();
    let templates = Templates::of(pack).unwrap();
    let examples = Maker::new(pack, &templates, 3).unwrap().make(240);
    let examples: Vec<_> =
        examples.iter().map(|one| serde_json::from_value(one.to_json()).unwrap()).collect();
    let options = Options {
        out: folder.to_owned(),
        minutes: 1e6,
        steps: Some(steps),
        seed: 7,
        vocab: 1200,
        hidden: 64,
        layers: 2,
        experts: 4,
        inner: 32,
        ..Options::default()
    };
    train(&examples, &options, &mut |_| ControlFlow::Continue(())).unwrap();
}

/// The files of the planner that ships.
fn shipped_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/planner")
}

fn json_of(done: &std::process::Output) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

/// Waits for the end of a job and returns it.
async fn ended(client: &Client, accepted: &(u16, Value)) -> Value {
    assert_eq!(accepted.0, 202, "{}", accepted.1);
    let at = accepted.1["progress"].as_str().unwrap();
    for _ in 0..12_000 {
        let (_, job) = client.get(at).await;
        if job["state"] != "running" {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the job does not end");
}

async fn live(client: &Client) -> String {
    client.get("/v1/planners").await.1["live"]["version"].as_str().unwrap().to_owned()
}

fn planner_of(run: &Value) -> &str {
    run["plan"]["model"].as_str().unwrap_or_else(|| panic!("no plan: {run:#}"))
}

#[test]
fn the_gate_lets_the_better_of_two_folders_pass_and_says_what_keeps_the_other_back() {
    let folder = Folder::new();
    let novice = folder.path().join("novice");
    tiny(&novice, "finance", 1);
    let cases = folder.path().join("cases.jsonl");
    let loans = (1..=8).map(|n| {
        json!({"id": format!("loan-{n}"), "lang": "en",
            "request": format!("What is the monthly payment on a {n}00,000 loan at 6% over 360 months?"),
            "expected_calls": [{"name": "loan_schedule", "arguments":
                {"principal": format!("{n}00000.00"), "annual_rate_pct": 6.0, "months": 360}}]})
    });
    let jokes = (1..=8).map(|n| {
        json!({"id": format!("joke-{n}"), "lang": "en", "decision": "none", "forbidden": ["open_case"],
            "request": format!("Tell me joke number {n} about accountants.")})
    });
    let lines: Vec<String> = loans.chain(jokes).map(|case| case.to_string()).collect();
    std::fs::write(&cases, lines.join("\n")).unwrap();
    let (novice, cases) = (novice.to_str().unwrap(), cases.to_str().unwrap());
    let ships = shipped_folder();
    let ships = ships.to_str().unwrap();
    let gate = |candidate: &str, against: &str, more: &[&str]| {
        let data = folder.path().join("data");
        let fixed =
            ["model", "gate", "--pack", "finance", "--candidate", candidate, "--against", against];
        let done = output(&data, &[&fixed, &["--cases", cases][..], more].concat());
        assert!(!data.exists(), "the gate of two folders made a data folder");
        done
    };

    let passed = gate(ships, novice, &[&PATIENT[..], &["--json"]].concat());
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    let verdict = json_of(&passed);
    assert!(verdict["passed"] == true && verdict["p"].as_f64().unwrap() < 0.05, "{verdict:#}");
    assert!(verdict["won"].as_u64().unwrap() >= 6 && verdict["cases"] == 16, "{verdict:#}");

    let kept = gate(novice, ships, &PATIENT);
    assert_eq!(kept.status.code(), Some(1), "{kept:?}");
    let (said, why) =
        (String::from_utf8_lossy(&kept.stdout), String::from_utf8_lossy(&kept.stderr));
    assert!(said.contains("It stays a candidate.") && said.contains("- joke-1 (en)"), "{said}");
    assert!(why.contains("stays a candidate. Not better: right where the other is wrong"), "{why}");

    let slow = gate(ships, novice, &["--gate-plan-ms", "0.001"]);
    assert_eq!(slow.status.code(), Some(1), "{slow:?}");
    assert!(String::from_utf8_lossy(&slow.stderr).contains("Too slow: the median plan"));
    let nothing = gate("/nowhere/at/all", novice, &[]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("/nowhere/at/all"), "{nothing:?}");
    assert_eq!(gate(ships, novice, &["--gate-alpha", "1"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_begun_again_keeps_its_planner_or_hears_that_it_is_gone() {
    let world = World::new().await;
    let (store, tenant) = (&world.store, world.one);
    let mut tx = store.begin(tenant).await.unwrap();
    let mut ids = Vec::new();
    for digit in ["a", "b"] {
        let new = NewModel {
            label: None,
            pack: "energy",
            pack_version: "1",
            base: "",
            digest: &digit.repeat(64),
            size: 1,
            report: None,
            by: "test",
        };
        ids.push(tx.add_model(&new).await.unwrap().0.id);
    }
    let mut runs = Vec::new();
    for key in ["first", "second", "third"] {
        runs.push(tx.create_run(&new_run(key, key)).await.unwrap().0);
    }
    tx.take_planner(runs[2], "shipped-of-before").await.unwrap();
    tx.set_model_state(ids[0], ModelState::Live).await.unwrap();
    tx.commit().await.unwrap();
    let host = Host::new(store.clone(), tenant, tokio::runtime::Handle::current());
    let take = |run| {
        let host = host.clone();
        let taken = tokio::task::spawn_blocking(move || host.take_planner(run, "shipped-of-now"));
        async { taken.await.unwrap().unwrap() }
    };
    let of = |digit: &str| Taken::Model(digit.repeat(64));
    assert_eq!(take(runs[0]).await, of("a"));
    let mut tx = store.begin(tenant).await.unwrap();
    tx.set_model_state(ids[0], ModelState::Retired).await.unwrap();
    tx.set_model_state(ids[1], ModelState::Live).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((take(runs[0]).await, take(runs[1]).await), (of("a"), of("b")));
    assert_eq!(take(runs[2]).await, Taken::Gone("shipped-of-before".to_owned()));
    let mut tx = store.begin(tenant).await.unwrap();
    tx.set_model_state(ids[1], ModelState::Retired).await.unwrap();
    let fresh = tx.create_run(&new_run("fresh", "fresh")).await.unwrap().0;
    tx.commit().await.unwrap();
    assert_eq!((take(runs[1]).await, take(fresh).await), (of("b"), Taken::Default));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_better_planner_takes_over_between_two_runs_and_is_taken_back_and_every_run_names_its_own()
 {
    let folder = Folder::new();
    let novice = folder.path().with_file_name("novice");
    tiny(&novice, "automotive", 1);
    let (data, arguments) = (folder.path(), ["--planner", novice.to_str().unwrap()]);
    let arguments = [&arguments[..], &PATIENT].concat();
    let server = Server::start_with(&data, &arguments);
    let client = Client::of(&server, "automotive");
    let other = Client::of(&server, "finance");

    let before = client.ask("automotive", VIN).await;
    let own = planner_of(&before).to_owned();
    assert!(own.starts_with("folder-") && live(&client).await == own);

    let ships = shipped_folder();
    let add =
        ["model", "add", ships.to_str().unwrap(), "--pack", "automotive", "--label", "better"];
    let add = [&arguments[..], &add, &["--json"]].concat();
    let added = json_of(&output(&data, &add));
    let id = added["id"].as_str().unwrap().to_owned();
    let version = added["version"].as_str().unwrap().to_owned();
    assert_eq!(added["state"], "candidate");
    assert_eq!(json_of(&output(&data, &add))["id"], id.as_str(), "the same files came in twice");

    let at = |what: &str| format!("/v1/planners/{id}/{what}");
    let (status, early) = client.post(&at("promote"), "").await;
    assert_eq!((status, early["code"].as_str()), (409, Some("gate_needed")), "{early}");
    let job = ended(&client, &client.post(&at("gate"), "").await).await;
    assert_eq!((&job["state"], &job["share"]), (&json!("done"), &json!(1.0)), "{job:#}");
    let judged = client.get(&format!("/v1/planners/{id}")).await.1;
    let verdict = &judged["gate"]["verdict"];
    assert!(
        verdict["passed"] == true && judged["gate"]["basis"]["against"] == own.as_str(),
        "{judged:#}"
    );
    assert_eq!(live(&client).await, own, "the gate alone changed the planner");

    walls(&data, &other, &id).await;

    // Promoted on its page, while runs come in.
    let mut browser = signed_in(&server).await;
    let page = browser.get(&format!("/jv/demo-automotive/models/{id}")).await.text;
    for part in ["exact McNemar p = ", "now right", "Promote better", "Share (95 %)"] {
        assert!(page.contains(part), "`{part}` is not on {page}");
    }
    let csrf = between(&page, "name=\"csrf\" value=\"", "\"").to_owned();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let (client, stopped) = (Client::of(&server, "automotive"), stopped.clone());
            tokio::spawn(async move {
                let mut runs = Vec::new();
                while !*stopped.borrow() {
                    runs.push(client.ask("automotive", VIN).await);
                }
                runs
            })
        })
        .collect();
    let promotion = format!("/jv/demo-automotive/models/{id}/promote");
    assert_eq!(browser.post(&promotion, &[("csrf", "x")]).await.status, 403);
    let promoted = browser.post(&promotion, &[("csrf", &csrf)]).await;
    assert_eq!((promoted.status, live(&client).await), (303, version.clone()), "{}", promoted.text);
    let after = client.ask("automotive", VIN).await;
    assert_eq!(
        (planner_of(&after), &after["status"]),
        (version.as_str(), &json!("done")),
        "{after:#}"
    );
    assert_eq!(after["calls"][0]["tool"], "vin_decode");
    let made_by = &after["plan"]["made_by"];
    assert_eq!(made_by["model_sha256"], added["sha256"], "{made_by}");
    assert!(made_by["pack"] == "automotive" && made_by["prompt_version"].as_u64().unwrap() > 0);
    assert!(!made_by["pack_version"].as_str().unwrap().is_empty());
    let back = client.post("/v1/planners/rollback", "").await;
    assert_eq!((back.0, &back.1["live"]["version"]), (200, &json!(own)), "{}", back.1);
    stop.send(true).unwrap();
    for runs in asking {
        for run in runs.await.unwrap() {
            // The candidate is barely trained: it may ask for recalls that no dataset has.
            let failed = run["status"] == "failed" && run["error"]["code"] != "no_data";
            assert!(!failed, "{run:#}");
            assert!([own.as_str(), version.as_str()].contains(&planner_of(&run)), "{run:#}");
        }
    }
    assert_eq!(planner_of(&client.ask("automotive", VIN).await), own);
    let (status, end) = client.post("/v1/planners/rollback", "").await;
    assert_eq!((status, end["code"].as_str()), (409, Some("conflict")), "{end}");

    // The verdict speaks about the same pair again, so no second gate is needed.
    assert_eq!(client.post(&at("promote"), "").await.0, 200);
    let history = client.get("/v1/planners").await.1["history"].clone();
    let rollbacks: Vec<bool> =
        history.as_array().unwrap().iter().map(|one| one["rollback"].as_bool().unwrap()).collect();
    assert_eq!(rollbacks, [false, true, false], "{history}");
    assert_eq!(planner_of(&other.ask("finance", "Tell me a joke.").await), own);

    // A planner whose files are gone fails clearly, and going back ends at the program's own.
    assert_eq!(tokio::task::spawn_blocking(move || server.stop()).await.unwrap(), Some(0));
    std::fs::remove_dir_all(data.join("models").join(added["sha256"].as_str().unwrap())).unwrap();
    let again = Server::start_with(&data, &arguments);
    let client = Client { base: format!("http://{}", again.address), ..client };
    let lost = client.ask("automotive", VIN).await;
    assert_eq!(
        (&lost["status"], &lost["error"]["code"]),
        (&json!("failed"), &json!("planner_gone")),
        "{lost:#}"
    );
    assert!(lost["error"]["message"].as_str().unwrap().contains("go back"), "{lost:#}");
    let back =
        output(&data, &[&arguments[..], &["model", "rollback", "--pack", "automotive"]].concat());
    assert!(String::from_utf8_lossy(&back.stdout).contains("plans again"), "{back:?}");
    assert_eq!(planner_of(&client.ask("automotive", VIN).await), own);
}

/// Another joint venture sees nothing of a planner, and a key without the scope changes nothing.
async fn walls(data: &Path, other: &Client, id: &str) {
    assert_eq!(other.get("/v1/planners").await.1["planners"], json!([]));
    for path in ["", "/shadow", "/report"] {
        assert_eq!(other.get(&format!("/v1/planners/{id}{path}")).await.0, 404, "{path}");
    }
    for (path, body) in [("gate", ""), ("promote", ""), ("shadow", r#"{"on": true}"#)] {
        assert_eq!(other.post(&format!("/v1/planners/{id}/{path}"), body).await.0, 404, "{path}");
    }
    let cluster = Cluster::start(&checked_folder(data).unwrap()).await.unwrap();
    let store = Store::connect(&cluster.address().await.unwrap()).await.unwrap();
    let known = store.directory().await.unwrap();
    let tenant = known.iter().find(|one| one.slug == "demo-automotive").unwrap().tenant_id;
    let mut tx = store.begin(tenant).await.unwrap();
    let scopes = vec!["runs:read".to_owned()];
    let new = NewKey { label: "reader".to_owned(), scopes, ..NewKey::default() };
    let key = tx.create_key(&new).await.unwrap().1.text;
    tx.commit().await.unwrap();
    store.close().await;
    let reader = Client { http: other.http.clone(), base: other.base.clone(), key };
    assert_eq!(reader.get(&format!("/v1/planners/{id}")).await.0, 200);
    for path in ["gate", "promote", "shadow"] {
        let body = if path == "shadow" { r#"{"on": true}"# } else { "" };
        let (status, problem) = reader.post(&format!("/v1/planners/{id}/{path}"), body).await;
        assert_eq!((status, problem["code"].as_str()), (403, Some("missing_scope")), "{path}");
    }
    assert_eq!(reader.post("/v1/planners/rollback", "").await.0, 403);
    assert_eq!(reader.post("/v1/planners/train", "{}").await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trained_novice_is_kept_back_with_reasons_and_shows_its_differences_from_the_shadow() {
    let folder = Folder::new();
    let novice = folder.path().with_file_name("novice");
    tiny(&novice, "automotive", 60);
    let data = folder.path();
    let server = Server::start_with(&data, &PATIENT);
    let (client, other) = (Client::of(&server, "automotive"), Client::of(&server, "finance"));
    let mut browser = signed_in(&server).await;
    let empty = browser.get("/jv/demo-automotive/models").await.text;
    assert!(empty.contains("No planner of your own yet"), "{empty}");

    let cli = |arguments: &[&str]| output(&data, &[&PATIENT[..], arguments].concat());
    let added = cli(&["model", "add", novice.to_str().unwrap(), "--pack", "automotive", "--json"]);
    let id = json_of(&added)["id"].as_str().unwrap().to_owned();
    let kept = cli(&["model", "promote", "v1", "--pack", "automotive"]);
    assert_eq!(kept.status.code(), Some(1), "{kept:?}");
    assert!(String::from_utf8_lossy(&kept.stderr).contains("`v1` stays a candidate. Not better"));
    let (status, refused) = client.post(&format!("/v1/planners/{id}/promote"), "").await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("gate_failed")), "{refused}");
    let listed = cli(&["model", "list", "--pack", "automotive"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("kept back") && listed.contains("shipped-"), "{listed}");
    let page = browser.get(&format!("/jv/demo-automotive/models/{id}")).await.text;
    assert!(page.contains("now wrong") && !page.contains("<summary>Promote"), "{page}");
    let report = browser.get(&format!("/jv/demo-automotive/models/{id}/report")).await.text;
    assert!(report.contains("Training report"), "{report}");
    assert_eq!(cli(&["model", "promote", "v9", "--pack", "automotive"]).status.code(), Some(2));

    let path = format!("/v1/planners/{id}/shadow");
    let (status, on) = client.post(&path, r#"{"on": true}"#).await;
    assert_eq!((status, &on["state"]), (200, &json!("shadow")), "{on}");
    let requests = [VIN, "What does trouble code P0420 mean?", "Tell me a joke about cars."];
    let mut runs = Vec::new();
    for request in requests {
        runs.push(client.ask("automotive", request).await);
    }
    other.ask("finance", "Is the IBAN DE89370400440532013000 correct?").await;
    let mut seen = Value::Null;
    for _ in 0..1200 {
        seen = client.get(&path).await.1;
        if seen["requests"] == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let count = |name: &str| seen[name].as_u64().unwrap();
    let kinds = ["same", "decision", "tool", "arguments", "failed"];
    assert_eq!((count("requests"), kinds.map(count).iter().sum::<u64>()), (3, 3), "{seen:#}");
    let differences = seen["differences"].as_array().unwrap();
    assert_eq!(differences.len() as u64, 3 - count("same"), "{seen:#}");
    assert!(!differences.is_empty(), "a novice plans as the shipped planner does: {seen:#}");
    assert!(count("failed") == 0 && seen["shadow_ms_p50"].as_f64().unwrap() > 0.0, "{seen:#}");
    for run in &runs {
        assert!(planner_of(run).starts_with("shipped-"), "the shadow planned: {run:#}");
        let events = client.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.1;
        assert_eq!(events["calls"], run["calls"], "the shadow acted");
    }
    let page = browser.get(&format!("/jv/demo-automotive/models/{id}")).await.text;
    assert!(page.contains("How often the two differ"), "{page}");
    assert_eq!(other.get(&path).await.0, 404);
    assert_eq!(client.post(&path, r#"{"on": false}"#).await.1["state"], "candidate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_started_over_http_shows_its_progress_and_ends_as_a_candidate_with_a_report() {
    let folder = Folder::new();
    let novice = folder.path().with_file_name("novice");
    tiny(&novice, "automotive", 1);
    let server = Server::start_with(&folder.path(), &["--planner", novice.to_str().unwrap()]);
    let client = Client::of(&server, "automotive");
    let wrong = client.post("/v1/planners/train", r#"{"minutes": 0}"#).await;
    assert_eq!((wrong.0, wrong.1["code"].as_str()), (422, Some("invalid_training")), "{}", wrong.1);

    let endless = client.post("/v1/planners/train", r#"{"minutes": 60, "examples": 4}"#).await;
    let at = endless.1["progress"].as_str().unwrap().to_owned();
    let second = client.post("/v1/planners/train", "{}").await;
    assert_eq!((second.0, second.1["code"].as_str()), (409, Some("conflict")), "{}", second.1);
    let mut browser = signed_in(&server).await;
    let page = browser.get(&at.replace("/v1/planners", "/jv/demo-automotive/models")).await.text;
    assert!(page.contains("<progress") && page.contains("http-equiv=\"refresh\""), "{page}");
    assert_eq!(client.post(&format!("{at}/stop"), "").await.0, 200);
    let stopped = ended(&client, &endless).await;
    assert_eq!((&stopped["state"], &stopped["code"]), (&json!("failed"), &json!("stopped")));

    let wish = json!({"label": "own", "minutes": 60, "steps": 8, "examples": 4}).to_string();
    let job = ended(&client, &client.post("/v1/planners/train", wish).await).await;
    assert_eq!(job["state"], "done", "{job:#}");
    let made = client.get(&format!("/v1/planners/{}", job["planner"].as_str().unwrap())).await.1;
    assert_eq!((&made["label"], &made["state"]), (&json!("own"), &json!("candidate")), "{made}");
    assert_eq!(made["base"], live(&client).await.as_str());
    let report = client.http.get(format!("{}{}", client.base, made["report"].as_str().unwrap()));
    let report = report.bearer_auth(&client.key).send().await.unwrap();
    let policy = report.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("sandbox") && !policy.contains("script-src"), "{policy}");
    assert!(report.text().await.unwrap().contains("Training report"));
    let left = std::fs::read_dir(folder.path().join("models")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("work-")), "{left:?}");
}
