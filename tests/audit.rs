//! The audit chain: written with what it records, exported, checked offline, and erased from.

use serde_json::{Value, json};
use server::audit::retain_once;
use server::store::Status;
use sqlx::Connection as _;

use crate::ask::Client;
use crate::support::{Folder, Server, output};
use crate::tenancy::{World, new_run};

const LOAN: &str = "What is the monthly payment on a 200,000 loan at 6% over 360 months?";

async fn exported(client: &Client) -> String {
    let answer =
        client.http.get(format!("{}/v1/audit/export", client.base)).bearer_auth(&client.key);
    answer.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn an_export_is_checked_offline_and_the_first_touched_link_is_named() {
    let folder = Folder::new();
    let data = folder.path();
    let server = Server::start(&data);
    let client = Client::of(&server, "finance");
    assert_eq!(client.ask("finance", LOAN).await["status"], "done");
    assert_eq!(
        client
            .ask("finance", "What is the monthly payment on a 90,000 loan at 5% over 120 months?")
            .await["status"],
        "done"
    );
    let text = exported(&client).await;
    let other = exported(&Client::of(&server, "gaming")).await;
    assert!(!other.contains("200,000") && !other.contains("run.ended"), "another's runs are in it");
    let archive = folder.path().with_file_name("exit.zip");
    let made =
        output(&data, &["audit", "archive", "demo-finance", "--out", archive.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(server.stop(), Some(0));
    let read = |name: &str| {
        let mut zip = zip::ZipArchive::new(std::fs::File::open(&archive).unwrap()).unwrap();
        std::io::read_to_string(zip.by_name(name).unwrap()).unwrap()
    };
    assert!(
        read("tables/run.ndjson").contains("200,000") && read("audit.ndjson").contains("run.ended")
    );
    let keys = read("tables/api_key.ndjson");
    assert!(keys.contains("label") && !keys.contains("\"hash\""), "{keys}");
    assert!(
        !read("tables/tenant.ndjson").contains("demo-gaming"),
        "another joint venture is in it"
    );

    let file = folder.path().with_file_name("audit.ndjson");
    let verify = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        // No data folder is there: the check needs none.
        let nowhere = data.with_file_name("nowhere");
        let arguments = [&["audit", "verify", file.to_str().unwrap()], more].concat();
        let done = output(&nowhere, &arguments);
        assert!(!nowhere.exists(), "verify touched a data folder");
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(said).unwrap())
    };
    let (status, said) = verify(&text, &[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("2 runs closed, 0 open, 0 payloads erased, 0 events of before"),
        "{said}"
    );
    let head = said.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(verify(&text, &["--head", &head]).0, Some(0));
    assert_eq!(verify(&text, &["--head", &"0".repeat(64)]).0, Some(1), "a cut end");

    let touched = text.replacen("200,000 loan", "900,000 loan", 1);
    assert_ne!(touched, text);
    let (status, said) = verify(&touched, &[]);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("event 1 (run.created) of run") && said.contains("was changed"),
        "{said}"
    );
    let without: String =
        text.lines().filter(|l| !l.contains("\"plan.made\"")).map(|l| format!("{l}\n")).collect();
    assert!(verify(&without, &[]).1.contains("missing or moved"));
    let cut: String =
        text.lines().take(text.lines().count() - 1).map(|l| format!("{l}\n")).collect();
    assert!(verify(&cut, &[]).1.contains("cut off"));
}

#[tokio::test]
async fn content_about_a_person_is_erased_everywhere_and_the_chain_still_holds() {
    let world = World::new().await;
    let store = &world.store;
    let mut tx = store.begin(world.one).await.unwrap();
    let mut runs = Vec::new();
    for (key, request) in
        [("e1", "Refund Jane Roe"), ("e2", "Refund somebody else"), ("e3", "about JANE ROE")]
    {
        let (run, _) = tx.create_run(&new_run(key, request)).await.unwrap();
        let answer =
            json!({"type": "run.answered", "text": request, "citations": [], "warnings": []});
        tx.append_event(run, "run.answered", &answer).await.unwrap();
        tx.set_status(run, Status::Done).await.unwrap();
        runs.push(run);
    }
    let (open, _) = tx.create_run(&new_run("e4", "Jane Roe again")).await.unwrap();
    tx.commit().await.unwrap();
    let before = lines(&world).await;
    assert!(before.iter().any(|line| line.to_string().contains("Jane Roe")));

    let by = ("member:1", "ann");
    let erased =
        server::audit::erase_subject(store, world.one, "jane roe", by, "asked for").await.unwrap();
    assert_eq!(erased.runs, [runs[0], runs[2]]);
    let after = lines(&world).await;
    let mut verifier = agents::audit::Verifier::new();
    for line in &after {
        verifier.read(&line.to_string()).unwrap();
    }
    let verified = verifier.finish().unwrap();
    assert_eq!((verified.closed, verified.erased), (3, 4));
    let holds = |line: &Value| line.to_string().to_lowercase().contains("jane roe");
    let left: Vec<&Value> = after.iter().filter(|line| holds(line)).collect();
    assert!(left.iter().all(|line| line["run"] == open.to_string()), "{left:?}");
    assert_eq!(left.len(), 1, "a run that has not ended is left and must be cancelled first");
    let mut tx = store.begin(world.one).await.unwrap();
    assert_eq!(tx.get_run(runs[0]).await.unwrap().request, "(erased)");
    assert_eq!(tx.get_run(runs[1]).await.unwrap().request, "Refund somebody else");
    assert!(tx.runs_that_mention("jane roe").await.unwrap().is_empty());
    assert!(tx.erase_run(open, by, "x").await.is_err());
    drop(tx);

    // By age as well: a day is kept, and what ended long ago is erased.
    let mut owner = world.raw(&world.address.owner).await;
    let mut raw = owner.begin().await.unwrap();
    for statement in [
        "alter table run no force row level security",
        "update run set finished_at = now() - interval '40 days' where finished_at is not null",
        "alter table run force row level security",
    ] {
        sqlx::query(statement).execute(&mut *raw).await.unwrap();
    }
    raw.commit().await.unwrap();
    let mut tx = store.begin(world.one).await.unwrap();
    server::audit::set_retention(&mut tx, Some(41), by).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(retain_once(store).await.unwrap(), 0);
    let mut tx = store.begin(world.one).await.unwrap();
    server::audit::set_retention(&mut tx, Some(39), by).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(retain_once(store).await.unwrap(), 1);
    assert!(!lines(&world).await.iter().any(|line| line.to_string().contains("somebody else")));
    world.close().await;
}

async fn lines(world: &World) -> Vec<Value> {
    let mut tx = world.store.begin(world.one).await.unwrap();
    let (out, mut pieces) = tokio::sync::mpsc::channel(64);
    server::audit::export(&mut tx, &out).await.unwrap();
    drop(out);
    let mut text = Vec::new();
    while let Some(piece) = pieces.recv().await {
        text.extend(piece.unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn entries_of_many_writers_stand_in_one_chain_without_gaps() {
    let world = World::new().await;
    let seeded = verified(&world).await;
    let mut writers = Vec::new();
    for writer in 0..8 {
        let (store, tenant) = (world.store.clone(), world.one);
        writers.push(tokio::spawn(async move {
            for at in 0..10 {
                let mut tx = store.begin(tenant).await.unwrap();
                let noted = server::store::Noted {
                    kind: "test",
                    detail: json!({ "writer": writer, "at": at }),
                    ..Default::default()
                };
                tx.note(&noted).await.unwrap();
                // What is rolled back leaves no gap.
                if at % 3 != 2 {
                    tx.commit().await.unwrap();
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    // Seven of ten are committed, beside the entries of the seed.
    assert_eq!(verified(&world).await, 8 * 7 + seeded);
    world.close().await;
}

/// Checks the chain and returns its number of entries.
async fn verified(world: &World) -> u64 {
    let mut verifier = agents::audit::Verifier::new();
    for line in lines(world).await {
        verifier.read(&line.to_string()).unwrap();
    }
    verifier.finish().unwrap().entries
}
