//! A new program beside the one of the version before, on one database and under load.
//!
//! `TESSERA_OLD_PROGRAM` names the older program, such as one that was built from the last release; the
//! test does nothing without it. `tests/scripts/upgrade.sh REVISION` builds one and runs the test.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use server::postgres::{Cluster, checked_folder};

use crate::support::Folder;

/// How long both serve side by side.
const BESIDE: Duration = Duration::from_secs(6);

struct Replica {
    child: Child,
    address: String,
    key: Option<String>,
}

impl Replica {
    fn start(program: &Path, data: &Path, url: &str, first: bool) -> Self {
        let mut command = Command::new(program);
        command.args(["serve", "--port", "0", "--database-url", url]).arg("--data").arg(data);
        command.env("TESSERA_LOG", "error").env("TESSERA_ABSTAIN_BELOW", "0");
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut address, mut key) = (String::new(), None);
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, found)) = line.split_once("listens on http://") {
                address = found.trim().to_owned();
            }
            if let Some((_, found)) = line.split_once("demo-finance\t") {
                key = Some(found.trim().to_owned());
            }
            if line.contains("demo-gaming") || (!first && line.starts_with("New keys")) {
                break;
            }
        }
        // Read on, so that it may speak.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        assert!(!address.is_empty(), "{} did not start", program.display());
        Self { child, address, key }
    }

    fn stop(&mut self) -> Option<i32> {
        drop(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status());
        self.child.wait().unwrap().code()
    }
}

/// What the callers share.
struct Load {
    to: Mutex<Vec<String>>,
    key: String,
    stop: AtomicBool,
    done: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Asks and reads until it is told to stop, of whichever server is in the list.
    async fn work(self: Arc<Self>, number: usize) {
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let mut turn = number;
        while !self.stop.load(Ordering::SeqCst) {
            let to = {
                let to = self.to.lock().unwrap();
                to[turn % to.len()].clone()
            };
            turn += 1;
            let body =
                json!({"request": "Is the IBAN DE89370400440532013000 correct?"}).to_string();
            let asked = http.post(format!("http://{to}/v1/agents/finance/runs?wait=30"));
            let answer = asked.bearer_auth(&self.key).body(body).send().await;
            let told: Result<Value, String> = match answer {
                Ok(answer) => answer.json().await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let id = match &told {
                Ok(run) if run["id"].is_string() => run["id"].as_str().unwrap().to_owned(),
                other => {
                    self.failed.lock().unwrap().push(format!("{to}: {other:?}"));
                    continue;
                }
            };
            let read = http.get(format!("http://{to}/v1/runs/{id}")).bearer_auth(&self.key);
            match read.send().await.map(|answer| answer.status().as_u16()) {
                Ok(200) => drop(self.done.fetch_add(1, Ordering::SeqCst)),
                other if self.to.lock().unwrap().contains(&to) => {
                    self.failed.lock().unwrap().push(format!("{to}: {other:?}"));
                }
                // It was taken out of the list before this call began.
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_program_serves_beside_the_one_before_and_takes_over_without_a_failed_call() {
    let Some(old) = std::env::var_os("TESSERA_OLD_PROGRAM").map(PathBuf::from) else { return };
    let (folder, database) = (Folder::new(), Folder::new());
    let cluster = Cluster::start(&checked_folder(&database.path()).unwrap()).await.unwrap();
    let url = cluster.address().await.unwrap().owner;
    let new = PathBuf::from(env!("CARGO_BIN_EXE_tessera"));
    let mut before = Replica::start(&old, &folder.path(), &url, true);
    let load = Arc::new(Load {
        to: Mutex::new(vec![before.address.clone()]),
        key: before.key.clone().unwrap(),
        stop: AtomicBool::new(false),
        done: AtomicUsize::new(0),
        failed: Mutex::default(),
    });
    let callers: Vec<_> =
        (0..4).map(|number| tokio::spawn(Arc::clone(&load).work(number))).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The new one brings the schema up to date while the old one serves.
    let mut after = Replica::start(&new, &folder.path(), &url, false);
    load.to.lock().unwrap().push(after.address.clone());
    tokio::time::sleep(BESIDE).await;
    load.to.lock().unwrap().retain(|to| *to != before.address);
    assert_eq!(before.stop(), Some(0));
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let failed = load.failed.lock().unwrap().clone();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(load.done.load(Ordering::SeqCst) > 10);
    let runs = reqwest::Client::new().get(format!("http://{}/v1/runs?limit=200", after.address));
    let runs: Value = runs.bearer_auth(&load.key).send().await.unwrap().json().await.unwrap();
    for run in runs["runs"].as_array().unwrap() {
        assert_eq!(run["status"], "done", "{run}");
    }
    assert_eq!(after.stop(), Some(0));
    cluster.stop().await.unwrap();
}
