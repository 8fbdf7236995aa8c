//! What people write, and what is secret, stays where it belongs: not in logs, figures, messages to other
//! systems or the audit chain.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use serde_json::json;

use crate::ask::Client;
use crate::support::{Folder, Server, output};

/// What is looked for: a word that nothing else says, an address, a card, a telephone number and an
/// account.
const CANARIES: [&str; 5] = [
    "canary7f3a91d2",
    "ann.canary@person.example",
    "4111 1111 1111 1111",
    "+44 20 7946 0958",
    "DE89370400440532013000",
];

/// Everything that other systems got, as text.
async fn listening() -> (u16, Arc<Mutex<String>>) {
    let got = Arc::<Mutex<String>>::default();
    let kept = Arc::clone(&got);
    let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let body = String::from_utf8_lossy(&body).into_owned();
        kept.lock().unwrap().push_str(&format!("{uri} {headers:?} {body}\n"));
        async { "{}" }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (port, got)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_and_what_is_secret_is_in_no_log_figure_message_or_chain() {
    let folder = Folder::new();
    let (data, log) = (folder.path(), folder.path().join("log"));
    std::fs::create_dir_all(&data).unwrap();
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let own = own.to_string();
    let server = Server::start_logging(&data, &["--metrics", &own], &log);
    let client = Client::of(&server, "finance");
    let gaming = Client::of(&server, "gaming");
    let (port, got) = listening().await;
    let mut secrets = vec![client.key.clone(), gaming.key.clone()];
    for (venture, client) in [("demo-finance", &client), ("demo-gaming", &gaming)] {
        let host = format!("127.0.0.1:{port}");
        let allow = ["egress", "allow", venture, &host, "--private"];
        assert!(output(&data, &allow).status.success());
        let hook = json!({ "url": format!("http://127.0.0.1:{port}/told") });
        let (status, made) = client.post("/v1/webhooks/endpoints", hook.to_string()).await;
        assert_eq!(status, 201, "{made}");
        secrets.push(made["secret"].as_str().unwrap().to_owned());
    }
    // A run that ends, one that fails, one that waits for a person, and inputs that are refused.
    let said = CANARIES.join(", ");
    for request in
        [format!("Is the IBAN {} correct? {said}", CANARIES[4]), format!("Sing me a song. {said}")]
    {
        client.ask("finance", &request).await;
    }
    let act = format!("Refund 14.99 on order ord-6001, bought by accident. {said}");
    let waits = gaming.ask("gaming", &act).await;
    let lost = Client { key: "tsk_canary7f3a91d2".to_owned(), ..Client::of(&server, "finance") };
    assert_eq!(lost.get("/v1/runs").await.0, 401);
    client.post("/v1/agents/finance/runs", format!("{{\"request\": \"{said}")).await;
    client.post("/v1/observations", json!({ "observations": [{ "id": said }] }).to_string()).await;
    client.get("/v1/runs/canary7f3a91d2").await;
    let told = async || got.lock().unwrap().matches("/told").count() >= 2;
    for _ in 0..200 {
        if told().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(told().await, "nothing was told: {}", got.lock().unwrap());
    let mut places = vec![("messages", got.lock().unwrap().clone())];
    for address in [&server.address, &own] {
        let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        places.push(("figures", text.text().await.unwrap()));
    }
    for client in [&client, &gaming] {
        places.push(("audit chain", client.get("/v1/audit?limit=200").await.1.to_string()));
    }
    // The run itself has what was asked: the canaries were really there.
    let run = format!("/v1/runs/{}", waits["id"].as_str().unwrap());
    assert!(gaming.get(&run).await.1.to_string().contains(CANARIES[0]));
    assert_eq!(server.stop(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("/v1/agents/{agent}/runs") || text.contains("/v1/agents/finance/runs"));
    assert!(text.lines().count() > 100, "hardly anything was logged");
    places.push(("log", text));
    for (place, text) in &places {
        for canary in CANARIES.into_iter().chain(secrets.iter().map(String::as_str)) {
            // The address of a call is logged; who puts a secret into one has given it away.
            let line = text
                .lines()
                .find(|line| line.contains(canary) && !line.contains("/v1/runs/canary7f3a91d2"));
            assert!(line.is_none(), "{canary} in the {place}: {line:?}");
        }
    }
}
