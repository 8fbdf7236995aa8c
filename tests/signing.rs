//! Who signs statements: both parties, keys that lie sealed, keys that follow each other.

use std::path::Path;

use agents::outcome::receipt::Seal;
use serde_json::{Value, json};
use server::postgres::{Cluster, checked_folder};
use server::store::Store;
use sqlx::{Connection as _, PgConnection};

use crate::ask::Client;
use crate::dashboard::signed_in;
use crate::support::{Folder, Server, output, tessera};
use crate::tenancy::World;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Runs the program where there is neither server nor database; returns the exit code and what it said.
fn offline(nowhere: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let done = tessera(nowhere).args(arguments).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(said).unwrap())
}

/// Makes a service account of an organisation and returns a client that acts as it.
fn member(client: &Client, data: &Path, login: &str, organisation: &str) -> Client {
    let invite = ["member", "invite", "demo-gaming", login, "--service", "--role", "approver"];
    let invite = [&invite[..], &["--organisation", organisation]].concat();
    assert!(output(data, &invite).status.success());
    let made = output(data, &["key", "new", "demo-gaming", "--member", login]);
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    Client { http: client.http.clone(), base: client.base.clone(), key }
}

/// Writes the export of a statement to a file and returns its path.
async fn exported(client: &Client, number: u32, nowhere: &Path) -> String {
    let export = client.get(&format!("/v1/statements/{number}/export")).await.1;
    let file = nowhere.join(format!("statement-{number}.json"));
    std::fs::write(&file, export.to_string()).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn a_partner_signs_on_a_machine_of_its_own_and_nobody_signs_for_it() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "gaming");
    let nowhere = folder.path().join("nowhere");
    std::fs::create_dir_all(&nowhere).unwrap();
    let contracts = client.get("/v1/contracts").await.1;
    let party = text(&contracts["contracts"][0]["contract"]["parties"][1]["name"]).to_owned();
    let secret = nowhere.join("party.key").display().to_string();
    let keygen = ["statement", "keygen", "--party", &party, "--venture", "demo-gaming"];
    let keygen = [&keygen[..], &["--out", &secret]].concat();
    let (code, said) = offline(&nowhere, &keygen);
    assert_eq!(code, Some(0), "{said}");
    let registration: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(offline(&nowhere, &keygen).0, Some(2), "a secret key was written over");

    let partner = member(&client, &folder.path(), "partner-bot", &party);
    let other = member(&client, &folder.path(), "other-bot", "Somebody else");
    let mut forged = registration.clone();
    forged["public_key"] = json!(Seal::of(&[1; 32]).unwrap().public());
    for (who, body, status, code) in [
        (&client, &registration, 403, "not_your_party"),
        (&other, &registration, 403, "not_your_party"),
        (&partner, &forged, 422, "invalid_registration"),
    ] {
        let (found, problem) = who.post("/v1/party-keys", body.to_string()).await;
        assert_eq!((found, text(&problem["code"])), (status, code), "{problem}");
    }
    let (status, made) = partner.post("/v1/party-keys", registration.to_string()).await;
    assert_eq!((status, &made["version"]), (201, &json!(1)), "{made}");

    let file = exported(&client, 4, &nowhere).await;
    let sign = ["statement", "countersign", &file, "--party", &party, "--secret", &secret];
    let (code, signature) = offline(&nowhere, &sign);
    assert_eq!(code, Some(0), "{signature}");
    let keep = |number: u32| format!("/v1/statements/{number}/countersignatures");
    let (status, problem) = partner.post(&keep(1), signature.clone()).await;
    assert_eq!((status, text(&problem["code"])), (422, "invalid_countersignature"), "{problem}");
    // Whatever key the joint venture holds, it is not the partner's.
    let mut own: Value = serde_json::from_str(&signature).unwrap();
    let venture = Seal::of(&[1; 32]).unwrap();
    let forged = venture.countersign(&party, text(&own["receipt_sha256"]), jiff::Timestamp::now());
    let (status, problem) = client.post(&keep(4), json!(forged).to_string()).await;
    assert_eq!((status, text(&problem["code"])), (422, "invalid_countersignature"), "{problem}");
    own["signed_at"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(partner.post(&keep(4), own.to_string()).await.0, 422, "a changed signature");
    let (status, kept) = partner.post(&keep(4), signature.clone()).await;
    assert_eq!(status, 201, "{kept}");
    assert_eq!(partner.post(&keep(4), signature).await.0, 409, "signed once");

    let wanted = format!("{party}={}", text(&registration["public_key"]));
    let verify = ["statement", "verify", &file, "--party", &wanted];
    let (code, said) = offline(&nowhere, &verify);
    assert_eq!(code, Some(1), "it was exported before: {said}");
    exported(&client, 4, &nowhere).await;
    let (code, said) = offline(&nowhere, &verify);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("Signed by {party}")), "{said}");
    let mut browser = signed_in(&server).await;
    let page = browser.get("/jv/demo-gaming/statements/4").await;
    assert!(page.text.contains(&format!("Signed by {party}")), "{}", page.text);
    for kind in ["party_key.registered", "statement.countersigned"] {
        let chain = client.get(&format!("/v1/audit?q={kind}")).await.1;
        assert_eq!(chain["entries"].as_array().unwrap().len(), 1, "{kind}: {chain}");
    }
}

async fn owner(data: &Path) -> (Cluster, PgConnection) {
    let cluster = Cluster::start(&checked_folder(data).unwrap()).await.unwrap();
    let address = cluster.address().await.unwrap();
    let mut owner = PgConnection::connect(&address.owner).await.unwrap();
    sqlx::raw_sql("set search_path = tessera").execute(&mut owner).await.unwrap();
    (cluster, owner)
}

#[tokio::test]
async fn keys_lie_sealed_an_old_one_is_sealed_by_a_start_and_a_new_one_is_trusted_by_the_old() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    server.stop();
    let old = Seal::of(&[7; 32]).unwrap();
    let (cluster, mut raw) = owner(&folder.path()).await;
    let plain: i64 =
        sqlx::query_scalar("select count(*) from signing_key where secret is not null")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    assert_eq!(plain, 0, "a secret lies in plain");
    // As an earlier version kept it.
    sqlx::query("update signing_key set sealed = null, secret = $1, public_key = $2")
        .bind([7_u8; 32].as_slice())
        .bind(old.public())
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
    cluster.stop().await.unwrap();

    Server::start(&folder.path()).stop();
    let (cluster, mut raw) = owner(&folder.path()).await;
    let (plain, sealed): (i64, i64) =
        sqlx::query_as("select count(secret), count(sealed) from signing_key")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    assert_eq!((plain, sealed), (0, 4), "joint ventures whose key lies in plain, and sealed");
    raw.close().await.unwrap();
    cluster.stop().await.unwrap();
    let said = output(&folder.path(), &["secrets", "rotate", "--forget"]);
    assert!(said.status.success(), "{said:?}");

    let server = Server::start(&folder.path());
    let made = output(&folder.path(), &["key", "new", "demo-finance"]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let client =
        Client { http: reqwest::Client::new(), base: format!("http://{}", server.address), key };
    let (_, keys) = client.get("/v1/statements/key").await;
    assert_eq!(text(&keys["public_key"]), old.public(), "the key was lost");
    let (status, next) = client.post("/v1/statements/key", "").await;
    assert_eq!(status, 201, "{next}");
    let (_, keys) = client.get("/v1/statements/key").await;
    assert_eq!(keys["public_key"], next["public_key"]);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);

    // What is signed from now on is trusted by whoever trusts the old key.
    let nowhere = folder.path().join("nowhere");
    std::fs::create_dir_all(&nowhere).unwrap();
    let number = credit_note(&client).await;
    let file = exported(&client, number, &nowhere).await;
    let other = Seal::of(&[8; 32]).unwrap().public();
    for (key, code) in [(old.public(), 0), (text(&next["public_key"]).to_owned(), 0), (other, 1)] {
        let (found, said) = offline(&nowhere, &["statement", "verify", &file, "--key", &key]);
        assert_eq!(found, Some(code), "{said}");
    }
}

/// Disputes the newest statement over an observation of its own and settles it.
async fn credit_note(client: &Client) -> u32 {
    let export = client.get("/v1/statements/4/export").await.1;
    let from = text(&export["document"]["from"]).to_owned();
    let events = export["events"].as_array().unwrap().iter();
    let mut seen = events.filter(|event| event["kind"] == "observed");
    let mut one = seen.rfind(|event| text(&event["at"]) > &*from).unwrap().clone();
    one.as_object_mut().unwrap().remove("kind");
    let body = json!({"reason": "counted twice", "observations": [one["id"]]});
    let (status, opened) = client.post("/v1/statements/4/disputes", body.to_string()).await;
    assert_eq!(status, 201, "{opened}");
    one["value"] = json!("0");
    let body = json!({"answer": "taken out", "corrected": [one]});
    let dispute = format!("/v1/disputes/{}", text(&opened["dispute"]));
    let (status, settled) = client.post(&dispute, body.to_string()).await;
    assert_eq!(status, 200, "{settled}");
    settled["credit_note"].as_u64().unwrap().try_into().unwrap()
}

#[tokio::test]
async fn nothing_of_a_frozen_experiment_changes_whatever_the_server_s_own_role_tries() {
    let world = World::new().await;
    let mut raw = world.raw(&world.address.runtime).await;
    let tenant = world.one;
    let before = frozen(&world.store, tenant).await;
    for change in [
        "design = jsonb_set(design, '{seed}', '\"other\"')",
        "design = jsonb_set(design, '{holdout}', '\"0.9\"')",
        "design = jsonb_set(design, '{metrics,0,minimum}', '\"0\"')",
        "design = '{}'",
        "design_sha256 = 'x'",
        "started_at = now() + interval '1 day'",
        "state = 'draft'",
        "state = 'running'",
    ] {
        let mut transaction = raw.begin().await.unwrap();
        sqlx::query("select set_config('tessera.tenant_id', $1::text, true)")
            .bind(tenant)
            .execute(&mut *transaction)
            .await
            .unwrap();
        let update = sqlx::AssertSqlSafe(format!("update experiment set {change}"));
        let done = sqlx::raw_sql(update).execute(&mut *transaction).await;
        assert!(done.is_err(), "{change} was allowed");
    }
    raw.close().await.unwrap();
    assert_eq!(frozen(&world.store, tenant).await, before);
    world.close().await;
}

async fn frozen(store: &Store, tenant: server::store::TenantId) -> Vec<String> {
    let mut tx = store.begin(tenant).await.unwrap();
    let all = tx.experiments(None).await.unwrap();
    let all = all.iter().map(|one| {
        format!("{} {} {:?} {}", one.sha256, one.design.sha256(), one.started_at, one.state)
    });
    all.collect()
}
