//! The product's main way, from a clean folder to a planned, executed and cited call, with nothing
//! but the built program, HTTP and the command line.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Folder, Server, output, tessera};

/// Pack, request, and what the answer must hold.
const REQUESTS: [(&str, &str, &str, &[&str]); 4] = [
    (
        "finance",
        "What is the monthly payment on a 200,000 loan at 6% over 360 months?",
        "loan_schedule",
        &["1,199.10"],
    ),
    (
        "automotive",
        "Is 1M8GDM9AXKP042788 a valid VIN?",
        "vin_decode",
        &["valid", "check digit is **X**"],
    ),
    (
        "gaming",
        "Pity is at 90 pulls and the base rate is 0.6%. How many pulls should a player expect?",
        "gacha_odds",
        &["69.70"],
    ),
    (
        "energy",
        "我們工廠用電1,250,000度，排放係數0.494，範疇二排放多少？",
        "carbon_scope2",
        &["617.5 t"],
    ),
];

/// A client with the key of one joint venture.
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) key: String,
}

impl Client {
    pub(crate) fn of(server: &Server, pack: &str) -> Self {
        let line = server.said.iter().find(|line| line.contains(&format!("demo-{pack}"))).unwrap();
        let key = line.split_whitespace().last().unwrap().to_owned();
        // A connection each: after a refused body the server closes its own, and the next call must
        // not meet one that is just closing.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { http, base: format!("http://{}", server.address), key }
    }

    /// Returns a client of the same joint venture with a key of its own: another person.
    pub(crate) fn another(&self, data: &Path, tenant: &str, label: &str) -> Self {
        let made = output(data, &["key", "new", tenant, "--label", label]);
        let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        Self { http: self.http.clone(), base: self.base.clone(), key }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.key);
        let answer = answer.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.key);
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    pub(crate) async fn ask(&self, pack: &str, request: &str) -> Value {
        let body = json!({ "request": request }).to_string();
        let (status, run) = self.post(&format!("/v1/agents/{pack}/runs?wait=30"), body).await;
        assert_eq!(status, 202, "{run}");
        run
    }
}

#[tokio::test]
async fn each_demo_request_is_planned_called_and_cited_over_http_and_survives_a_restart() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let mut asked = Vec::new();
    for (pack, request, tool, facts) in REQUESTS {
        let client = Client::of(&server, pack);
        let run = client.ask(pack, request).await;
        assert_eq!(run["status"], "done", "{run:#}");
        assert_eq!(run["calls"][0]["tool"], tool, "{run:#}");
        let answer = run["answer"].as_str().unwrap();
        for fact in facts {
            assert!(answer.contains(fact), "{pack}: `{fact}` is not in `{answer}`");
        }
        let kinds: Vec<&str> = run["citations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["kind"].as_str().unwrap())
            .collect();
        assert!(kinds.contains(&"tool") && kinds.contains(&"document"), "{run:#}");
        asked.push((pack, client.key, run));
    }
    assert_eq!(server.stop(), Some(0));
    let again = Server::start(&folder.path());
    for (pack, key, before) in asked {
        let client =
            Client { http: reqwest::Client::new(), base: format!("http://{}", again.address), key };
        let (status, after) =
            client.get(&format!("/v1/runs/{}", before["id"].as_str().unwrap())).await;
        assert_eq!(status, 200);
        assert_eq!(after, before, "{pack}: the run is not what its journal says");
    }
}

#[tokio::test]
async fn the_command_line_answers_beside_a_server_and_without_one() {
    let folder = Folder::new();
    let (pack, request, tool, facts) = REQUESTS[0];
    let alone = output(&folder.path(), &["ask", "--pack", pack, request]);
    assert!(alone.status.success(), "{alone:?}");
    let text = String::from_utf8_lossy(&alone.stdout).into_owned();
    assert!(text.contains(facts[0]) && text.contains("Sources"), "{text}");

    let _server = Server::start(&folder.path());
    let beside = output(&folder.path(), &["ask", "--pack", pack, "--json", request]);
    assert!(beside.status.success(), "{beside:?}");
    let run: Value = serde_json::from_slice(&beside.stdout).unwrap();
    assert_eq!(run["calls"][0]["tool"], tool);
    assert_eq!(run["calls"][0]["result"]["first_payment"], "1199.10");
    assert!(run["timings"]["plan_ms"].as_f64().unwrap() > 0.0);
    assert!(!run["citations"].as_array().unwrap().is_empty());
}

#[test]
fn bad_input_on_the_command_line_is_named_and_nothing_is_started() {
    let folder = Folder::new();
    for (arguments, says) in [
        (vec!["ask", "--pack", "finance", "  "], "empty"),
        (
            vec!["ask", "--pack", "mining", "hello"],
            "there is no pack `mining`; there are: automotive",
        ),
    ] {
        let refused = output(&folder.path(), &arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(says), "{refused:?}");
    }
    use std::os::unix::ffi::OsStrExt as _;
    let broken = std::ffi::OsStr::from_bytes(b"loan \xff\xfe");
    let refused =
        tessera(&folder.path()).args(["ask", "--pack", "finance"]).arg(broken).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UTF-8"), "{refused:?}");
    assert!(!folder.path().exists(), "a refused request made a data folder");
}
