//! Webhooks in: believed by their signature, taken once, and kept when they are answered.

use std::collections::HashSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use server::webhooks::sign::SigningSecret;
use sha2::Sha256;

use crate::ask::Client;
use crate::support::{Folder, Server, output};

const SOURCES: &str = "/v1/webhooks/sources";
const ASKED: &str = "Is the IBAN {{/data/iban}} correct?";

fn message(id: &str) -> String {
    json!({"id": id, "type": "payee.added", "data": {"iban": "DE89370400440532013000"}}).to_string()
}

async fn source(
    client: &Client,
    name: &str,
    verifier: &Value,
    secret: Option<&str>,
) -> (String, String) {
    let body = json!({
        "name": name, "verifier": verifier, "secret": secret,
        "mapping": {"request": ASKED, "when": [{"pointer": "/type", "equals": "payee.added"}]},
    });
    let (status, made) = client.post(SOURCES, body.to_string()).await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("path"), text("secret"))
}

async fn send(base: &str, path: &str, headers: &[(&str, String)], body: &str) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(format!("{base}{path}")).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

fn signed(secret: &str, id: &str, body: &str) -> Vec<(&'static str, String)> {
    let now = jiff::Timestamp::now().as_second();
    let signature = SigningSecret::read(secret).unwrap().sign(id, now, body.as_bytes());
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", now.to_string()),
        ("webhook-signature", signature),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_message_starts_one_run_however_often_it_comes_and_after_a_kill_too() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let (path, secret) = source(&client, "payees", &json!({"kind": "standard"}), None).await;
    let body = message("p1");
    let sent = signed(&secret, "msg_1", &body);
    let calls = (0..50).map(|_| send(&client.base, &path, &sent, &body));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    let started: Vec<&Value> =
        answers.iter().map(|(_, body)| body).filter(|body| body["outcome"] == "started").collect();
    assert_eq!(started.len(), 1, "{answers:?}");
    let run = started[0]["run"].as_str().unwrap().to_owned();
    // What was answered is kept, even if the server is killed at once.
    let second = signed(&secret, "msg_2", &body);
    let (status, kept) = send(&client.base, &path, &second, &body).await;
    server.kill();
    assert_eq!(status, 200);
    let server = Server::start(&folder.path());
    let client = Client { base: format!("http://{}", server.address), ..client };
    let (_, again) = send(&client.base, &path, &second, &body).await;
    assert_eq!(again["outcome"], "repeated", "{again}");
    let (_, runs) = client.get("/v1/runs").await;
    let ids: HashSet<&str> =
        runs["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids, HashSet::from([run.as_str(), kept["run"].as_str().unwrap()]), "{runs}");

    let listed = client.get(SOURCES).await.1["sources"][0].clone();
    assert!(!listed.to_string().contains(&secret), "a secret is shown twice");
    let messages = format!("{SOURCES}/{}/messages", listed["id"].as_str().unwrap());
    let (_, came) = client.get(&messages).await;
    let repeats: Vec<i64> = came["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["repeats"].as_i64().unwrap())
        .collect();
    assert_eq!(repeats, [1, 49], "{came}");
    let made = output(&folder.path(), &["key", "new", "demo-energy"]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let other = Client { key, ..client };
    assert_eq!(other.get(&messages).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_believed_starts_nothing_and_tells_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let (path, secret) = source(&client, "payees", &json!({"kind": "standard"}), None).await;
    let body = message("p1");
    let good = signed(&secret, "msg_1", &body);
    let with = |at: usize, value: &str| {
        let mut changed = good.clone();
        changed[at].1 = value.to_owned();
        changed
    };
    let now = jiff::Timestamp::now().as_second();
    for (headers, body) in [
        (vec![], body.as_str()),
        (with(0, "msg_2"), &body),
        (with(1, &(now - 301).to_string()), &body),
        (with(1, "-9223372036854775808"), &body),
        (with(2, "v1,"), &body),
        (good.clone(), "{}"),
        // Not JSON, and not signed: the signature is judged first.
        (good.clone(), "{"),
    ] {
        let (status, problem) = send(&client.base, &path, &headers, body).await;
        assert_eq!((status, problem["code"].as_str()), (401, Some("unverified")), "{problem}");
    }
    let (status, problem) = send(&client.base, &path, &signed(&secret, "m", "{"), "{").await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("invalid_json")), "{problem}");
    let at = path.len() - 10;
    let changed = if path.as_bytes()[at] == b'x' { "y" } else { "x" };
    let other = format!("{}{changed}{}", &path[..at], &path[at + 1..]);
    for unknown in [other.as_str(), "/v1/hooks/x", "/v1/hooks/"] {
        assert_eq!(send(&client.base, unknown, &good, &body).await.0, 404, "{unknown}");
    }
    let large = format!("\"{}\"", "x".repeat(1_100_000));
    assert_eq!(send(&client.base, &path, &signed(&secret, "m", &large), &large).await.0, 413);
    // A message that is not meant is kept and starts nothing.
    let other = json!({"id": "x", "type": "payee.gone"}).to_string();
    let (status, answer) = send(&client.base, &path, &signed(&secret, "m1", &other), &other).await;
    assert_eq!((status, &answer["outcome"]), (200, &json!("skipped")), "{answer}");
    let empty = json!({"id": "x", "type": "payee.added"}).to_string();
    let (status, answer) = send(&client.base, &path, &signed(&secret, "m2", &empty), &empty).await;
    assert_eq!((status, &answer["outcome"]), (200, &json!("unmapped")), "{answer}");
    assert_eq!(client.get("/v1/runs").await.1["runs"], json!([]));
    // A source that is paused is not there.
    let id = client.get(SOURCES).await.1["sources"][0]["id"].as_str().unwrap().to_owned();
    let paused =
        client.http.patch(format!("{}{SOURCES}/{id}", client.base)).bearer_auth(&client.key);
    let paused = paused.body(r#"{"enabled": false}"#).header("content-type", "application/json");
    assert_eq!(paused.send().await.unwrap().status().as_u16(), 200);
    assert_eq!(send(&client.base, &path, &good, &body).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn github_stripe_slack_and_plain_senders_each_start_a_run() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let secret = "a secret of enough length";
    let mac = |parts: &[&str]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        parts.iter().for_each(|part| mac.update(part.as_bytes()));
        hex::encode(mac.finalize().into_bytes())
    };
    let body = message("evt_7");
    let at = jiff::Timestamp::now().as_second().to_string();
    for (verifier, headers) in [
        (
            json!({"kind": "github"}),
            vec![
                ("x-hub-signature-256", format!("sha256={}", mac(&[&body]))),
                ("x-github-delivery", "one".to_owned()),
            ],
        ),
        (
            json!({"kind": "stripe"}),
            vec![("stripe-signature", format!("t={at},v1={}", mac(&[&at, ".", &body])))],
        ),
        (
            json!({"kind": "slack"}),
            vec![
                ("x-slack-signature", format!("v0={}", mac(&["v0:", &at, ":", &body]))),
                ("x-slack-request-timestamp", at.clone()),
            ],
        ),
        (
            json!({"kind": "hmac", "header": "x-sig", "encoding": "hex", "id_pointer": "/id"}),
            vec![("x-sig", mac(&[&body]))],
        ),
        (json!({"kind": "bearer"}), vec![("authorization", format!("Bearer {secret}"))]),
    ] {
        let (path, _) =
            source(&client, &verifier["kind"].to_string(), &verifier, Some(secret)).await;
        let (status, answer) = send(&client.base, &path, &headers, &body).await;
        assert_eq!((status, &answer["outcome"]), (200, &json!("started")), "{verifier} {answer}");
        let (_, answer) = send(&client.base, &path, &headers, &body).await;
        assert_eq!(answer["outcome"], "repeated", "{verifier} {answer}");
    }
    let (_, runs) = client.get("/v1/runs").await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 5);
    let asked = "Is the IBAN DE89370400440532013000 correct?";
    assert!(runs["runs"].as_array().unwrap().iter().all(|run| run["request"] == asked), "{runs}");
    for (wrong, code) in [
        (
            json!({"name": "x", "verifier": {"kind": "standard"}, "secret": "whsec_", "mapping": {"request": "a"}}),
            "invalid_secret",
        ),
        (
            json!({"name": "x", "verifier": {"kind": "github"}, "secret": "", "mapping": {"request": "a"}}),
            "invalid_secret",
        ),
        (
            json!({"name": "", "verifier": {"kind": "github"}, "mapping": {"request": "a"}}),
            "invalid_source",
        ),
        (
            json!({"name": "x", "verifier": {"kind": "github"}, "mapping": {"request": "{{a}}"}}),
            "invalid_mapping",
        ),
        (
            json!({"name": "x", "verifier": {"kind": "other"}, "mapping": {"request": "a"}}),
            "invalid_json",
        ),
    ] {
        let (status, problem) = client.post(SOURCES, wrong.to_string()).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some(code)), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_one_observation_however_often_it_comes() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let hooks = json!({"url": "https://hooks.example.com/", "events": ["outcome.*"]});
    let (status, endpoint) = client.post("/v1/webhooks/endpoints", hooks.to_string()).await;
    assert_eq!(status, 201, "{endpoint}");
    let mapping = |metric: &str| {
        json!({"observation": {"metric": metric, "unit": "{{/who}}", "value": "{{/stayed}}",
                               "at": "{{/on}}", "id": "{{/visit}}"},
               "when": [{"pointer": "/type", "equals": "visit"}]})
    };
    let body = |metric: &str| json!({"name": "visits", "verifier": {"kind": "standard"}, "mapping": mapping(metric)});
    let (status, problem) = client.post(SOURCES, body("happiness").to_string()).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("unknown_metric")), "{problem}");
    let (status, made) = client.post(SOURCES, body("retention_d1").to_string()).await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (id, path, secret) = (text("id"), text("path"), text("secret"));
    let visit = |visit: &str, stayed: Value| {
        json!({"type": "visit", "who": "p1", "stayed": stayed, "on": "2026-11-01T10:00:00Z",
               "visit": visit})
    };
    let tried =
        client.post(&format!("{SOURCES}/{id}/try"), visit("v0", json!(1)).to_string()).await;
    assert_eq!(tried.1["observation"]["unit"], "p1", "{}", tried.1);
    let first = visit("v1", json!(0.5)).to_string();
    let sent = signed(&secret, "msg_1", &first);
    let calls = (0..20).map(|_| send(&client.base, &path, &sent, &first));
    let answers = futures_util::future::join_all(calls).await;
    let observed = answers.iter().filter(|(_, answer)| answer["outcome"] == "observed");
    assert_eq!(observed.count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    // Another message about the same visit: the same again, then with another content.
    for (message, visit, outcome) in [
        ("msg_2", visit("v1", json!("0.5")), "observed"),
        ("msg_3", visit("v1", json!(1)), "refused"),
        ("msg_4", visit("v2", json!("often")), "unmapped"),
        ("msg_5", json!({"type": "purchase"}), "skipped"),
        (
            "msg_6",
            json!({"type": "visit", "who": "", "stayed": 1, "on": "2026-11-01T10:00:00Z", "visit": "v3"}),
            "refused",
        ),
    ] {
        let body = visit.to_string();
        let sent = signed(&secret, message, &body);
        let (status, answer) = send(&client.base, &path, &sent, &body).await;
        assert_eq!((status, answer["outcome"].as_str()), (200, Some(outcome)), "{answer}");
    }
    let (_, kept) = client.get("/v1/observations?metric=retention_d1").await;
    assert_eq!(kept["total"], 1, "{kept}");
    assert_eq!(kept["observations"][0]["value"], "0.5");
    // It is in the chain, and told to who wants to know, once.
    let chain = client.get("/v1/outcome_events").await.1;
    let came = chain["events"].as_array().unwrap().iter();
    let came = came.filter(|event| event["payload"]["source"] == "webhook visits");
    assert_eq!(came.count(), 1, "{chain}");
    let log = format!("/v1/webhooks/endpoints/{}/deliveries", endpoint["id"].as_str().unwrap());
    let (_, log) = client.get(&log).await;
    let told: Vec<&Value> =
        log["deliveries"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(told, ["outcome.recorded"], "{log}");
    let mut browser = crate::dashboard::signed_in(&server).await;
    let page = browser.get(&format!("/jv/demo-gaming/sources/{id}")).await;
    assert!(page.text.contains("Notes retention_d1") && page.text.contains("Not taken"));
}
