//! The agent API over HTTP: who may call, what is refused and how, and the stream of a journal.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::ask::Client;
use crate::support::{Folder, Server, output};

#[tokio::test]
async fn bad_input_is_a_typed_problem_and_the_server_goes_on() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let runs = "/v1/agents/finance/runs";
    let huge = json!({ "request": "x".repeat(1_000_000) }).to_string();
    let large = json!({ "request": "x".repeat(20_000) }).to_string();
    for (path, body, status, code) in [
        (runs, json!({ "request": " " }).to_string().into_bytes(), 422, "empty_request"),
        (runs, large.into_bytes(), 413, "request_too_large"),
        (runs, b"{\"request\": \"\xff\"}".to_vec(), 422, "invalid_utf8"),
        (runs, br#"{"request": "a\u0000b"}"#.to_vec(), 422, "invalid_text"),
        (runs, br#"{"request": "a", "lang": "fr"}"#.to_vec(), 422, "invalid_json"),
        (runs, huge.into_bytes(), 413, "body_too_large"),
        ("/v1/agents/finance/runs?wait=soon", b"{}".to_vec(), 422, "invalid_query"),
        ("/v1/me", b"{}".to_vec(), 405, "method_not_allowed"),
        (runs, b"{\"request\": ".to_vec(), 422, "invalid_json"),
        (runs, br#"{"request": "a", "other": 1}"#.to_vec(), 422, "invalid_json"),
        ("/v1/agents/energy/runs", br#"{"request": "a"}"#.to_vec(), 404, "not_found"),
        ("/v1/agents/mining/runs", br#"{"request": "a"}"#.to_vec(), 404, "not_found"),
        ("/v1/nowhere", b"{}".to_vec(), 404, "not_found"),
    ] {
        let (found, problem) = client.post(path, body).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{path}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert_eq!(problem["error"]["message"], problem["detail"]);
    }
    for path in ["/v1/runs/nonsense", "/v1/runs/01890000-0000-7000-8000-000000000000"] {
        assert_eq!(client.get(path).await.0, 404, "{path}");
    }
    assert_eq!(client.get("/v1/me").await.1["tenant"], "demo-finance");
}

#[tokio::test]
async fn an_absent_a_wrong_and_a_revoked_key_are_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let url = format!("http://{}/v1/me", server.address);
    let with = |key: String| {
        let request = reqwest::Client::new().get(&url).bearer_auth(key);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(reqwest::get(&url).await.unwrap().status().as_u16(), 401);
    assert_eq!(with("tsk_nonsense".to_owned()).await, 401);
    let made = output(&folder.path(), &["key", "new", "demo-energy", "--label", "short"]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert_eq!(with(key.clone()).await, 200);
    let listed = output(&folder.path(), &["key", "list", "demo-energy"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let id =
        listed.lines().find(|line| line.contains("short")).unwrap().split('\t').next().unwrap();
    assert!(output(&folder.path(), &["key", "revoke", "demo-energy", id]).status.success());
    assert_eq!(with(key).await, 401);
}

#[tokio::test]
async fn another_joint_ventures_run_is_not_found() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let (finance, energy) = (Client::of(&server, "finance"), Client::of(&server, "energy"));
    let run = finance.ask("finance", "Is the IBAN DE89370400440532013000 correct?").await;
    let id = run["id"].as_str().unwrap();
    assert_eq!(finance.get(&format!("/v1/runs/{id}")).await.0, 200);
    for path in [format!("/v1/runs/{id}"), format!("/v1/runs/{id}/events")] {
        assert_eq!(energy.get(&path).await.0, 404, "{path}");
    }
    assert_eq!(energy.post(&format!("/v1/runs/{id}/cancel"), "").await.0, 404);
    assert_eq!(energy.get("/v1/runs").await.1["runs"], json!([]));
}

#[tokio::test]
async fn what_nothing_serves_is_said_and_what_is_missing_is_asked_for() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let run = client.ask("finance", "Tell me a joke about accountants.").await;
    assert_eq!((&run["status"], &run["calls"]), (&json!("refused"), &json!([])), "{run:#}");
    let run = client.ask("finance", "How much per month for a 250,000 loan at 4%?").await;
    assert_eq!(run["status"], "waiting_input", "{run:#}");
    assert_eq!(run["missing"], json!(["months"]));
    let run = client
        .ask("finance", "My lawyer will sue you over this loan of 100,000 at 5% over 60 months")
        .await;
    assert_eq!(
        (&run["status"], &run["decision"]),
        (&json!("refused"), &json!("person")),
        "{run:#}"
    );
}

/// Reads a stream of events to its end: kinds and positions.
async fn stream(
    server: &Server,
    key: &str,
    run: &str,
    after: Option<&str>,
) -> Vec<(String, String)> {
    let mut request = reqwest::Client::new()
        .get(format!("http://{}/v1/runs/{run}/events", server.address))
        .bearer_auth(key);
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let answer = request.send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let mut bytes = answer.bytes_stream();
    let mut text = String::new();
    while let Some(chunk) = bytes.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    text.split("\n\n")
        .filter(|block| block.contains("event:"))
        .map(|block| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            (field("event:"), field("id:"))
        })
        .collect()
}

#[tokio::test]
async fn an_act_waits_for_a_person_acts_once_and_its_journal_can_be_streamed_from_any_place() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let run = client.ask("gaming", "Refund 14.99 on order ord-6001, bought by accident.").await;
    assert_eq!(run["status"], "waiting_approval", "{run:#}");
    assert_eq!(run["calls"][0]["tool"], "refund_request");
    let id = run["id"].as_str().unwrap();
    let (_, waiting) = client.get("/v1/approvals").await;
    let approval = &waiting["approvals"][0];
    assert_eq!(approval["arguments"]["amount"], "14.99", "{waiting}");
    let path = format!("/v1/approvals/{}?wait=30", approval["id"].as_str().unwrap());
    let body = r#"{"approved": true, "reason": "checked"}"#;
    let (status, problem) = client.post(&path, body).await;
    assert_eq!((status, problem["code"].as_str()), (403, Some("self_approval")), "{problem}");
    let ann = client.another(&folder.path(), "demo-gaming", "ann");
    let (status, done) = ann.post(&path, body).await;
    assert_eq!((status, &done["status"]), (200, &json!("done")), "{done:#}");
    assert_eq!(done["calls"][0]["result"]["status"], "done");
    let (status, problem) = client.post(&path, r#"{"approved": false}"#).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")));

    let key = server.said.iter().find(|l| l.contains("demo-gaming")).unwrap();
    let key = key.split_whitespace().last().unwrap();
    let events = stream(&server, key, id, None).await;
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "run.created",
            "plan.made",
            "approval.requested",
            "approval.decided",
            "call.started",
            "call.finished",
            "run.answered",
            "end"
        ]
    );
    let later = stream(&server, key, id, Some("5")).await;
    assert_eq!(later.first(), events.get(5));
}

#[tokio::test]
async fn a_cancelled_run_cannot_be_approved_any_more() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let run = client.ask("gaming", "Refund 14.99 on order ord-6001, bought by accident.").await;
    assert_eq!(run["status"], "waiting_approval", "{run:#}");
    let id = run["id"].as_str().unwrap();
    let pending = client.get("/v1/approvals").await.1;
    let approval = pending["approvals"][0]["id"].as_str().unwrap();

    let (status, cancelled) = client.post(&format!("/v1/runs/{id}/cancel"), "").await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")));
    assert_eq!(client.get("/v1/approvals").await.1["approvals"], json!([]));
    let (status, problem) =
        client.post(&format!("/v1/approvals/{approval}?wait=5"), r#"{"approved": true}"#).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
    let after = client.get(&format!("/v1/runs/{id}")).await.1;
    assert_eq!(
        (&after["status"], &after["calls"][0]["result"]),
        (&json!("cancelled"), &Value::Null)
    );
    let (status, problem) = client.post(&format!("/v1/runs/{id}/cancel"), "").await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("already_ended")));
}

#[tokio::test]
async fn a_stop_ends_open_streams_and_waits_for_none() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let run = client.ask("gaming", "Refund 14.99 on order ord-6001, bought by accident.").await;
    let key = server.said.iter().find(|l| l.contains("demo-gaming")).unwrap();
    let events =
        format!("http://{}/v1/runs/{}/events", server.address, run["id"].as_str().unwrap());
    let key = key.split_whitespace().last().unwrap();
    let open = reqwest::Client::new().get(events).bearer_auth(key).send().await.unwrap();
    let mut bytes = open.bytes_stream();
    assert!(bytes.next().await.is_some_and(|chunk| chunk.is_ok()));
    let begun = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    assert_eq!(stopped, Some(0));
    // Calls in hand would have 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "stopped after {:?}", begun.elapsed());
    while let Some(chunk) = bytes.next().await {
        let text = String::from_utf8_lossy(&chunk.unwrap()).into_owned();
        assert!(!text.contains("event: end"), "the run has not ended");
    }
}

#[tokio::test]
async fn the_type_of_a_body_the_idempotency_key_and_the_language_are_checked() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let key = server.said.iter().find(|l| l.contains("demo-finance")).unwrap();
    let key = key.split_whitespace().last().unwrap().to_owned();
    let body =
        json!({ "request": "Is the IBAN DE89370400440532013000 correct?", "lang": "zh-Hant" });
    let send = |name: &'static str, value: Vec<u8>| {
        let call = reqwest::Client::new()
            .post(format!("http://{}/v1/agents/finance/runs?wait=30", server.address))
            .bearer_auth(&key)
            .header(name, reqwest::header::HeaderValue::from_bytes(&value).unwrap())
            .body(body.to_string());
        async move {
            let answer = call.send().await.unwrap();
            assert!(answer.headers().contains_key("x-request-id"));
            assert_eq!(answer.headers()["cache-control"], "no-store");
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (status, problem) = send("content-type", b"text/csv".to_vec()).await;
    assert_eq!((status, problem["code"].as_str()), (415, Some("unsupported_media_type")));
    for bad in ["k\u{e9}y".as_bytes().to_vec(), vec![b'k'; 300], Vec::new()] {
        let (status, problem) = send("idempotency-key", bad).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("invalid_idempotency_key")));
    }
    let (status, run) = send("content-type", b"application/json; charset=utf-8".to_vec()).await;
    assert_eq!((status, &run["status"], &run["lang"]), (202, &json!("done"), &json!("zh-Hant")));
    assert!(run["answer"].as_str().unwrap().contains('確'), "{run:#}");
}

#[tokio::test]
async fn the_same_idempotency_key_makes_one_run() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let key = server.said.iter().find(|l| l.contains("demo-finance")).unwrap();
    let key = key.split_whitespace().last().unwrap().to_owned();
    let send = |request: &'static str| {
        let call = reqwest::Client::new()
            .post(format!("http://{}/v1/agents/finance/runs", server.address))
            .bearer_auth(&key)
            .header("idempotency-key", "k-1")
            .body(json!({ "request": request }).to_string());
        async move {
            let answer = call.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (first, run) = send("Is the IBAN DE89370400440532013000 correct?").await;
    let (second, same) = send("Is the IBAN DE89370400440532013000 correct?").await;
    assert_eq!((first, second), (202, 200));
    assert_eq!(run["id"], same["id"]);
    assert_eq!(send("another request").await.0, 409);
    let at_once = (0..50).map(|_| send("Is the IBAN DE89370400440532013000 correct?"));
    for (_, same) in futures_util::future::join_all(at_once).await {
        assert_eq!(run["id"], same["id"], "{same}");
    }
    // The keys are in the database, not in memory.
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&folder.path());
    let again = reqwest::Client::new()
        .post(format!("http://{}/v1/agents/finance/runs", server.address))
        .bearer_auth(&key)
        .header("idempotency-key", "k-1")
        .body(json!({ "request": "Is the IBAN DE89370400440532013000 correct?" }).to_string());
    let same = again.send().await.unwrap();
    assert_eq!(same.status().as_u16(), 200);
    assert_eq!(same.json::<Value>().await.unwrap()["id"], run["id"]);
}
