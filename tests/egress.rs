//! The one way out: nothing inside is reached, however it is spelled, pointed at or resolved.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use reqwest::Method;
use serde_json::Value;
use server::egress::resolve::{Found, Lookup};
use server::egress::{Answer, Egress, EgressError, Limits, Outgoing, Rules};

use crate::ask::Client;
use crate::support::{Folder, Server, output};
use crate::tenancy::World;

const DENIED: &str = include_str!("data/deny_urls.json");

/// A server on the loopback that counts what arrives.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    pub(crate) hits: Arc<AtomicUsize>,
}

async fn answer(path: &str, headers: &HeaderMap) -> Response {
    let words: Vec<&str> = path.split('/').collect();
    match words.as_slice() {
        ["redirect", rest @ ..] => {
            let to = hex::decode(rest[0]).unwrap();
            let to = String::from_utf8(to).unwrap();
            (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
        }
        ["large"] => vec![b'x'; 3_000_000].into_response(),
        ["bomb"] => {
            // Eight MiB of zeros, packed a thousandfold.
            let packed = include_bytes!("data/zeros.gz").as_slice();
            ([(header::CONTENT_ENCODING, "gzip")], packed).into_response()
        }
        ["slow"] => {
            tokio::time::sleep(Duration::from_secs(20)).await;
            StatusCode::OK.into_response()
        }
        ["authorization"] => format!("{:?}", headers.get(header::AUTHORIZATION)).into_response(),
        _ => "inside".into_response(),
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let hits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&hits);
        let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { answer(uri.path().trim_start_matches('/'), &headers).await }
        });
        let listener = tokio::net::TcpListener::bind("[::]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, hits }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

/// A name server that says each of these in turn, and the last for ever.
#[derive(Debug)]
struct Says(Vec<IpAddr>, AtomicUsize);

impl Says {
    fn these(addresses: &[&str]) -> Arc<Self> {
        let read = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(read, AtomicUsize::new(0)))
    }
}

impl Lookup for Says {
    fn lookup(&self, _: String) -> Found {
        let turn = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
        let address = self.0[turn];
        Box::pin(async move { Ok(vec![address]) })
    }
}

/// Says both at once.
#[derive(Debug)]
struct Both;

impl Lookup for Both {
    fn lookup(&self, _: String) -> Found {
        Box::pin(async {
            io::Result::Ok(vec!["8.8.8.8".parse().unwrap(), "127.0.0.1".parse().unwrap()])
        })
    }
}

fn to(url: &str) -> Outgoing {
    Outgoing {
        method: Method::GET,
        url: url.to_owned(),
        headers: HeaderMap::new(),
        body: Vec::new(),
        limits: Limits { time: Duration::from_secs(5), ..Limits::default() },
    }
}

/// Rules that keep neither scheme nor port from a host, so that only its address is judged.
fn loose(port: u16) -> Arc<Rules> {
    let hosts = ["a.example.com", "b.example.com"];
    let only = hosts.iter().map(|host| format!("{host}:{port}").parse().unwrap()).collect();
    Arc::new(Rules { only, private: Vec::new(), plain: true })
}

fn open(receiver: &Receiver) -> Arc<Rules> {
    let own = format!("127.0.0.1:{}", receiver.port).parse().unwrap();
    Arc::new(Rules { only: Vec::new(), private: vec![own], plain: true })
}

fn refused(answer: Result<Answer, EgressError>) -> &'static str {
    match answer {
        Err(EgressError::Refused(refusal)) => refusal.code,
        other => panic!("this left: {other:?}"),
    }
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_reaches_a_server_on_the_loopback() {
    let receiver = Receiver::start().await;
    let egress = Egress::with_lookup(Says::these(&["127.0.0.1"]));
    let rules = Arc::new(Rules { plain: true, ..Rules::default() });
    let listed: Value = serde_json::from_str(DENIED).unwrap();
    let denied = listed["deny"].as_array().unwrap();
    assert_eq!(denied.len(), 47);
    for url in denied.iter().map(|url| url.as_str().unwrap()) {
        refused(egress.send(None, &rules, &to(url)).await);
        // The same host at the port that listens, allowed by number, so that the host alone refuses it.
        let Ok(mut at) = url::Url::parse(url) else { continue };
        if at.set_port(Some(receiver.port)).is_err() {
            continue;
        }
        let host = at.host_str().unwrap().to_owned();
        let listed = format!("{host}:{}", receiver.port).parse();
        let named = Rules { only: listed.into_iter().collect(), private: vec![], plain: true };
        let code = refused(egress.send(None, &Arc::new(named), &to(at.as_str())).await);
        assert_ne!(code, "port", "{at}");
    }
    assert_eq!(receiver.hits.load(Ordering::SeqCst), 0);
    // The server does listen: an operator's rule reaches it.
    let open = open(&receiver);
    let answer = egress.send(None, &open, &to(&receiver.url("x"))).await.unwrap();
    assert_eq!((answer.status.as_u16(), receiver.hits.load(Ordering::SeqCst)), (200, 1));
}

#[tokio::test]
async fn a_name_that_turns_inward_after_it_was_looked_at_is_refused() {
    let receiver = Receiver::start().await;
    let url = format!("http://a.example.com:{}/x", receiver.port);
    let rules = loose(receiver.port);
    let inward = Egress::with_lookup(Says::these(&["127.0.0.1"]));
    assert_eq!(refused(inward.send(None, &rules, &to(&url)).await), "private_address");
    let mixed = Egress::with_lookup(Arc::new(Both));
    assert_eq!(refused(mixed.send(None, &rules, &to(&url)).await), "private_address");
    // First a public address, which does not answer from here, then an inner one.
    let turning = Egress::with_lookup(Says::these(&["203.0.114.1", "127.0.0.1", "::1", "0.0.0.0"]));
    for _ in 0..4 {
        let mut outgoing = to(&url);
        outgoing.limits.time = Duration::from_millis(400);
        assert!(turning.send(None, &rules, &outgoing).await.is_err());
    }
    assert_eq!(receiver.hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_redirect_is_judged_as_an_address_of_its_own_and_takes_no_credential_elsewhere() {
    let (door, inside) = (Receiver::start().await, Receiver::start().await);
    let egress = Egress::default();
    let mut rules = Rules::clone(&open(&door));
    // Its port is named, so that the address alone refuses it.
    rules.only.push(format!("127.0.0.1:{}", inside.port).parse().unwrap());
    let rules = Arc::new(rules);
    let pointing = |target: &str| door.url(&format!("redirect/{}", hex::encode(target)));
    let mut outgoing = to(&pointing(&inside.url("secret")));
    // Not followed unless that is asked for; a webhook never asks.
    let answer = egress.send(None, &rules, &outgoing).await.unwrap();
    assert_eq!(answer.status.as_u16(), 302);
    outgoing.limits.redirects = 3;
    assert_eq!(refused(egress.send(None, &rules, &outgoing).await), "private_address");
    let listed: Value = serde_json::from_str(DENIED).unwrap();
    for url in listed["deny"].as_array().unwrap().iter().map(|url| url.as_str().unwrap()) {
        outgoing.url = pointing(url);
        // One that is no text of a header is not followed at all.
        let answer = egress.send(None, &rules, &outgoing).await;
        assert!(answer.is_ok_and(|answer| answer.status == 302) != url.is_ascii(), "{url}");
    }
    assert_eq!(inside.hits.load(Ordering::SeqCst), 0);

    let mut both = Rules::clone(&rules);
    both.private.push(format!("127.0.0.1:{}", inside.port).parse().unwrap());
    let both = Arc::new(both);
    outgoing.headers.insert(header::AUTHORIZATION, "Bearer s".parse().unwrap());
    let mut read = async |target: String| {
        outgoing.url = pointing(&target);
        String::from_utf8(egress.send(None, &both, &outgoing).await.unwrap().body).unwrap()
    };
    assert_eq!(read(inside.url("authorization")).await, "None");
    assert!(read(door.url("authorization")).await.contains("Bearer s"));
    // A circle ends.
    let circle = door.url("redirect/") + &hex::encode("/redirect/2f");
    outgoing.url = circle;
    assert_eq!(egress.send(None, &both, &outgoing).await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn a_large_a_packed_and_a_slow_answer_end_within_their_bounds() {
    let receiver = Receiver::start().await;
    let (egress, rules) = (Egress::default(), open(&receiver));
    for path in ["large", "bomb"] {
        let mut outgoing = to(&receiver.url(path));
        outgoing.limits.body = 1_000_000;
        let answer = egress.send(None, &rules, &outgoing).await;
        assert!(matches!(answer, Err(EgressError::TooLong(1_000_000))), "{path}: {answer:?}");
        outgoing.limits.cut = true;
        let answer = egress.send(None, &rules, &outgoing).await.unwrap();
        assert_eq!((answer.body.len(), answer.cut), (1_000_000, true), "{path}");
    }
    let begun = Instant::now();
    let mut outgoing = to(&receiver.url("slow"));
    outgoing.limits.time = Duration::from_millis(300);
    let answer = egress.send(None, &rules, &outgoing).await;
    assert!(matches!(answer, Err(EgressError::Late(_))), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn one_address_is_judged_for_each_joint_venture_and_a_refusal_is_on_record() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let egress = Egress::default();
    let own = format!("127.0.0.1:{}", receiver.port);
    let mut tx = world.store.begin(world.one).await.unwrap();
    tx.add_egress_rule("private", &own, "operator").await.unwrap();
    tx.commit().await.unwrap();
    let outgoing = to(&receiver.url("x"));
    for _ in 0..2 {
        let sent = egress.send_as(&world.store, world.one, "webhook", &outgoing).await;
        assert_eq!(sent.unwrap().status.as_u16(), 200);
        let sent = egress.send_as(&world.store, world.two, "webhook", &outgoing).await;
        assert_eq!(refused(sent), "scheme");
    }
    let mut tx = world.store.begin(world.two).await.unwrap();
    tx.add_egress_rule("only", "example.com", "somebody").await.unwrap();
    tx.commit().await.unwrap();
    let sent =
        egress.send_as(&world.store, world.two, "tool", &to("https://a.org/?k=secret")).await;
    assert_eq!(refused(sent), "host_not_listed");
    let refusals = world.store.begin(world.two).await.unwrap().egress_refusals().await.unwrap();
    let noted = |code: &str| {
        let refusal = refusals.iter().find(|refusal| refusal.code == code).unwrap();
        (refusal.purpose.as_str(), refusal.host.as_str(), refusal.count)
    };
    assert_eq!(noted("scheme"), ("webhook", "127.0.0.1", 2));
    assert_eq!(noted("host_not_listed"), ("tool", "a.org", 1));
    assert_eq!(receiver.hits.load(Ordering::SeqCst), 2);
    world.close().await;
}

#[tokio::test]
async fn a_private_host_is_allowed_by_the_operator_and_by_nobody_over_http() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let (status, listed) = client.post("/v1/egress/hosts", r#"{"host": "*.example.com"}"#).await;
    assert_eq!((status, &listed["hosts"][0]["kind"]), (201, &Value::from("only")), "{listed}");
    let (status, problem) = client.post("/v1/egress/hosts", r#"{"host": "a b"}"#).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("invalid_host")));
    let body = r#"{"host": "10.0.0.7:80", "kind": "private"}"#;
    assert_eq!(client.post("/v1/egress/hosts", body).await.0, 422);
    let allow = ["egress", "allow", "demo-finance", "10.0.0.7:80", "--private"];
    assert!(output(&folder.path(), &allow).status.success());
    let (_, listed) = client.get("/v1/egress").await;
    assert_eq!(listed["hosts"][1]["kind"], "private", "{listed}");
    assert_eq!(
        Client::of(&server, "energy").get("/v1/egress").await.1["hosts"],
        Value::from(Vec::<Value>::new())
    );
    assert_eq!(
        output(&folder.path(), &["egress", "allow", "demo-finance", "*"]).status.code(),
        Some(2)
    );
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_other_file_builds_a_client() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for part in ["server/src", "agents/src", "runtime/src"] {
        sources(&root.join(part), &mut found);
    }
    assert!(found.len() > 100, "{found:?}");
    let builds: Vec<&PathBuf> = found
        .iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let sends = text.contains("reqwest") && text.contains("Client");
            let other = ["reqwest::get(", "hyper_util::client", "ureq::", "curl::"];
            sends || other.iter().any(|way| text.contains(way))
        })
        .collect();
    let [only] = builds.as_slice() else { panic!("{builds:?}") };
    assert!(only.ends_with("server/src/egress/client.rs"), "{only:?}");
}
