//! A backup, its loss, and its return.

use serde_json::json;

use crate::ask::Client;
use crate::support::{Folder, Server, output};

#[tokio::test]
async fn a_backup_is_put_back_whole_and_a_changed_one_is_refused() {
    let (first, second, kept) = (Folder::new(), Folder::new(), Folder::new());
    let server = Server::start(&first.path());
    let client = Client::of(&server, "finance");
    let question = "What is the monthly payment on a 200,000 loan at 6% over 360 months?";
    let run = client.ask("finance", question).await;
    let chain = client.get("/v1/audit").await.1;
    assert_eq!(chain["entries"][0]["kind"], "run.ended", "{chain:#}");
    let folder = kept.path();
    let taken = output(&first.path(), &["backup", folder.to_str().unwrap()]);
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(server.stop(), Some(0));

    let put = ["restore", folder.to_str().unwrap()];
    let over = output(&first.path(), &put);
    assert_eq!(over.status.code(), Some(2), "a restore over joint ventures: {over:?}");
    let back = output(&second.path(), &put);
    assert!(back.status.success(), "{back:?}");
    let server = Server::start(&second.path());
    let client = Client { base: format!("http://{}", server.address), ..client };
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    let (status, found) = client.get(&path).await;
    assert_eq!((status, &found["answer"]), (200, &run["answer"]), "{found:#}");
    assert_eq!(client.get("/v1/audit").await.1, chain, "the head of the audit chain");
    assert_eq!(client.ask("finance", question).await["status"], json!("done"));
    let longer = client.get("/v1/audit").await.1;
    assert_eq!(longer["entries"][0]["prev_sha256"], chain["entries"][0]["sha256"]);
    assert_eq!(server.stop(), Some(0));

    let dump = folder.join("database.dump");
    let mut bytes = std::fs::read(&dump).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&dump, bytes).unwrap();
    let refused = output(&Folder::new().path(), &put);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("database.dump"), "{refused:?}");
}
