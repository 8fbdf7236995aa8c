//! A pack of somebody else in a joint venture: let in, asked, upgraded, rolled back, refused.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use agents::pack::Pack;
use agents::pack::new::{Wanted, scaffold};
use agents::tool::{Approval, Limits, ToolContext, arguments_sha256};
use serde_json::{Value, json};
use server::egress::Egress;
use server::host::Host;
use server::packs::settings;
use server::packs::systems::Systems;
use server::vault::Vault;
use tokio::runtime::Handle;

use crate::ask::Client;
use crate::pack::text;
use crate::support::{Folder, Server, output};
use crate::tenancy::World;

const SECRET: &str = "s3cret-of-the-desk";

/// A service that answers orders and returns, and remembers the requests that it got.
struct Service {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut bytes = vec![0; 64 * 1024];
                let read = stream.read(&mut bytes).unwrap_or(0);
                let request = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let (status, body) = if request.starts_with("POST ") {
                    ("201 Created", json!({ "reference": "RET-7" }))
                } else if request.contains("/orders/A-9 ") {
                    ("404 Not Found", json!({ "error": "no such order" }))
                } else {
                    (
                        "200 OK",
                        json!({ "id": "A-1042", "status": "shipped", "note": "INTERNAL",
                        "price": { "total": "129.90", "currency": "EUR" }, "delivery": { "date": "2026-11-27" } }),
                    )
                };
                all.lock().unwrap().push(request);
                let body = body.to_string();
                drop(write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                ));
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A folder with a pack, a key that signs, and the commands that are run on it.
struct Desk {
    folder: Folder,
    at: PathBuf,
    public: String,
}

impl Desk {
    fn new() -> Self {
        let folder = Folder::new();
        let at = folder.path().parent().unwrap().join("desk");
        let mut desk = Self { folder, at, public: String::new() };
        desk.ok(&["pack", "new", "desk", "--folder", desk.at.to_str().unwrap()]);
        desk.edit("pack.toml", "\"https://orders.example.com/v1\"", "\"{orders_url}\"");
        desk.edit(
            "pack.toml",
            "[[system]]",
            "[[setting]]\nid = \"orders_url\"\ndescription = \"Address of the order service\"\nrequired = true\nformat = \"url\"\n\n[[system]]",
        );
        let said = desk.ok(&["pack", "key", "--out", &desk.path("key")]);
        desk.public =
            said.lines().find_map(|line| line.strip_prefix("public key ")).unwrap().to_owned();
        desk
    }

    fn path(&self, name: &str) -> String {
        self.at.parent().unwrap().join(name).to_str().unwrap().to_owned()
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let file = self.at.join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{} does not hold `{from}`", file.display());
        std::fs::write(&file, text.replace(from, to)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let done = output(&self.folder.path(), arguments);
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    }

    /// Builds and signs the pack as it is now.
    fn archive(&self, name: &str) -> String {
        let out = self.path(name);
        self.ok(&["pack", "build", "--folder", self.at.to_str().unwrap(), "--out", &out]);
        self.ok(&["pack", "sign", &out, "--key", &self.path("key")]);
        out
    }
}

fn key_of(desk: &Desk, tenant: &str) -> String {
    desk.ok(&["key", "new", tenant, "--label", "test"]).trim().to_owned()
}

async fn ask(client: &Client, request: &str) -> Value {
    let body = json!({ "request": request }).to_string();
    let (status, run) = client.post("/v1/agents/desk/runs?wait=20", body).await;
    assert!(status == 202 || status == 200, "{status}: {run}");
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_let_in_asked_upgraded_and_rolled_back_and_its_secret_is_nowhere() {
    let (desk, service) = (Desk::new(), Service::start());
    let server = Server::start(&desk.folder.path());
    let one = desk.archive("one");
    std::fs::write(desk.path("token"), format!("{SECRET}\n")).unwrap();
    let (url, token) = (
        format!("orders_url=http://127.0.0.1:{}", service.port),
        format!("orders_token={}", desk.path("token")),
    );
    let install = |archive: &str, rest: &[&str]| {
        let known = ["pack", "install", archive, "--tenant", "shop"];
        desk.run(&[&known[..], rest].concat())
    };

    // Nobody is trusted yet; a missing setting makes no joint venture.
    let (code, said) = install(&one, &["--make", "--yes"]);
    assert!(code == Some(2) && said.contains("is not trusted here"), "{said}");
    let (code, said) = install(&one, &["--make", "--yes", "--trust", &desk.public]);
    assert!(code == Some(2) && said.contains("`orders_token` is missing"), "{said}");
    let (code, said) = install(&one, &["--make", "--trust", &desk.public, "--set", &url]);
    assert!(code == Some(2) && said.contains("--yes"), "consent was not asked for: {said}");
    let trusted = ["--make", "--yes", "--trust", &desk.public, "--set", &url, "--set-file", &token];
    let (code, said) = install(&one, &trusted);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "signed by ",
        "reaches: {orders_url}",
        "is given the secrets: orders_token",
        "shop has desk 0.1.0",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    desk.ok(&["egress", "allow", "shop", &format!("127.0.0.1:{}", service.port), "--private"]);

    let base = format!("http://{}", server.address);
    let client = Client { http: reqwest::Client::new(), base, key: key_of(&desk, "shop") };
    let run = ask(&client, "Look up order A-1042.").await;
    assert_eq!(run["status"], "done", "{run:#}");
    assert!(run["answer"].as_str().unwrap().contains("129.90"), "{run:#}");
    let heard = service.heard().join("\n");
    assert!(heard.starts_with("GET /orders/A-1042 "), "{heard}");
    assert!(heard.to_lowercase().contains(&format!("authorization: bearer {SECRET}")), "{heard}");
    // What the pack does not name stays outside, and the secret stays inside.
    let id = run["id"].as_str().unwrap();
    let events = client.http.get(format!("{}/v1/runs/{id}/events", client.base));
    let events = events.bearer_auth(&client.key).send().await.unwrap().text().await.unwrap();
    assert!(events.contains("call.finished"), "{events}");
    for shown in [
        run.to_string(),
        events,
        String::from_utf8_lossy(&std::fs::read(&one).unwrap()).into_owned(),
    ] {
        assert!(!shown.contains(SECRET) && !shown.contains("INTERNAL"), "{shown}");
    }

    // An upgrade shows what it changes; the next run takes it, and a rollback the version before.
    desk.edit("pack.toml", "version = \"0.1.0\"", "version = \"0.2.0\"");
    desk.edit(
        "tools/find_order.toml",
        "path = \"/orders/{order_id}\"",
        "path = \"/v2/orders/{order_id}\"",
    );
    desk.edit("tools/find_order.toml", "GET /orders/A", "GET /v2/orders/A");
    let two = desk.archive("two");
    let (code, said) = install(&two, &["--yes", "--trust", &desk.public]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("tool ~ find_order") && said.contains("shop has desk 0.2.0"), "{said}");
    ask(&client, "Look up order A-1042.").await;
    assert!(service.heard().last().unwrap().starts_with("GET /v2/orders/A-1042 "));
    let listed = desk.ok(&["pack", "releases", "shop"]);
    assert!(listed.contains("live\tdesk 0.2.0") && listed.contains("kept\tdesk 0.1.0"), "{listed}");
    let said = desk.ok(&["pack", "rollback", "shop"]);
    assert!(said.contains("desk 0.1.0"), "{said}");
    let run = ask(&client, "Look up order A-1042.").await;
    assert!(service.heard().last().unwrap().starts_with("GET /orders/A-1042 "), "{run:#}");
    assert!(desk.folder.path().join("packs").read_dir().unwrap().count() == 2);

    // A setting is changed, and one that the pack does not have is refused.
    desk.ok(&["pack", "set", "shop", "--set", "orders_token=another"]);
    ask(&client, "Look up order A-1042.").await;
    assert!(service.heard().last().unwrap().contains("Bearer another"));
    let (code, said) = desk.run(&["pack", "set", "shop", "--set", "nothing=1"]);
    assert!(code == Some(2) && said.contains("no setting `nothing`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_of_a_pack_is_made_once_by_its_service_and_entered_in_the_ledger() {
    let (service, world) = (Service::start(), World::new().await);
    let wanted = Wanted {
        id: "desk".to_owned(),
        title: "Desk".to_owned(),
        description: "Answers.".to_owned(),
        languages: vec!["en".to_owned()],
    };
    let manifest =
        String::from_utf8(scaffold(&wanted).unwrap().get("pack.toml").unwrap().to_vec()).unwrap();
    let address = format!("http://127.0.0.1:{}", service.port);
    let manifest = manifest.replace("https://orders.example.com/v1", &address);
    let files = [
        ("pack.toml".to_owned(), manifest),
        ("tools/return_order.toml".to_owned(), ACT.to_owned()),
    ];
    let pack = Arc::new(Pack::from_files("desk", files.into_iter().collect()).unwrap());
    let vault = Arc::new(Vault::read(&format!("{}=", "A".repeat(43))).unwrap());
    let mut tx = world.store.begin(world.one).await.unwrap();
    tx.add_egress_rule("private", &format!("127.0.0.1:{}", service.port), "test").await.unwrap();
    let given = [("orders_token".to_owned(), SECRET.to_owned())].into_iter().collect();
    settings::keep(&mut tx, &vault, "desk", &given, "test").await.unwrap();
    tx.commit().await.unwrap();
    let systems = Systems { egress: Egress::default(), vault, pack: Arc::clone(&pack) };
    let host =
        Host::new(world.store.clone(), world.one, Handle::current()).with_systems(Some(systems));
    let done = tokio::task::spawn_blocking(move || {
        let arguments = json!({ "order_id": "A-1042", "idempotency_key": "k-1" });
        let approval = Approval {
            approved_by: "ann".to_owned(),
            arguments_sha256: arguments_sha256(&arguments),
        };
        let limits = Limits::default();
        let mut context = ToolContext {
            datasets: &host,
            effects: &host,
            systems: &host,
            now: "2026-11-24T00:00:00Z".parse().unwrap(),
            approval: None,
            limits: &limits,
        };
        let unasked = pack.call("return_order", &arguments, &context).unwrap_err();
        context.approval = Some(&approval);
        let one = pack.call("return_order", &arguments, &context).unwrap();
        let two = pack.call("return_order", &arguments, &context).unwrap();
        let preview = json!({ "order_id": "A-7", "dry_run": true });
        (unasked, one, two, pack.call("return_order", &preview, &context).unwrap())
    });
    let (unasked, one, two, preview) = done.await.unwrap();
    assert_eq!(unasked.code(), "needs_approval");
    assert_eq!((&one["reference"], &one["repeated"]), (&json!("RET-7"), &json!(false)), "{one}");
    assert_eq!((&two["reference"], &two["repeated"]), (&json!("RET-7"), &json!(true)), "{two}");
    assert_eq!(preview["request"], "POST /orders/A-7/returns");
    let heard = service.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("POST /orders/A-1042/returns "), "{}", heard[0]);
    assert!(heard[0].contains(&format!("Bearer {SECRET}")), "{}", heard[0]);
}

#[test]
fn a_hostile_archive_changes_nothing() {
    let desk = Desk::new();
    let archive = desk.archive("one");
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&archive, bytes).unwrap();
    let (code, said) = desk.run(&[
        "pack",
        "install",
        &archive,
        "--tenant",
        "shop",
        "--make",
        "--yes",
        "--allow-unsigned",
    ]);
    assert_eq!(code, Some(2), "{said}");
    let large = std::fs::File::create(desk.path("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    let (code, said) = desk.run(&[
        "pack",
        "install",
        &desk.path("large"),
        "--tenant",
        "shop",
        "--make",
        "--yes",
        "--allow-unsigned",
    ]);
    assert!(code == Some(2) && said.contains("the limit is"), "{said}");
    assert!(!desk.ok(&["tenant", "list"]).contains("shop"));
    assert!(!Path::new(&desk.folder.path().join("packs")).exists());
}

const ACT: &str = r#"
name = "return_order"
title = "Take an order back"
description = "Starts the return of an order by its number. Use it when a person wants to return or send back an order."
effect = "act"
method = "Order service, POST /orders/{order_id}/returns"

[inputSchema]
type = "object"
required = ["order_id"]
additionalProperties = false

[inputSchema.properties]
order_id = { type = "string", description = "Number of the order, such as A-1042.", pattern = "^[A-Z]-[0-9]{1,8}$" }
idempotency_key = { type = "string", minLength = 1, maxLength = 128, description = "Key under which this happens once." }
dry_run = { type = "boolean", description = "True only shows the request." }

[outputSchema]
type = "object"
additionalProperties = false

[outputSchema.properties]
reference = { type = "string", description = "Number of the return." }
repeated = { type = "boolean", description = "True when it had happened before." }
dry_run = { type = "boolean", description = "True when nothing happened." }
request = { type = "string", description = "The request that would be sent." }
method = { type = "string", description = "What was asked." }
warnings = { type = "array", items = { type = "object" }, description = "Limits of the result." }

[run]
kind = "http"
system = "orders"
method = "POST"
path = "/orders/{order_id}/returns"
body = { order = "{order_id}" }

[[vectors]]
source = "the declaration"
arguments = { order_id = "A-1042", dry_run = true }
expect = [{ pointer = "/request", equals = "POST /orders/A-1042/returns" }]
"#;
