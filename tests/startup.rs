//! First start, second start, a killed start, and starts that must be refused.

use std::time::Duration;

use crate::support::{Folder, Server, output, tessera};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn ready(server: &Server) -> u16 {
    reqwest::get(format!("http://{}/readyz", server.address)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_first_start_makes_a_joint_venture_for_each_pack_and_a_second_keeps_them() {
    let folder = Folder::new();
    let first = Server::start(&folder.path());
    assert_eq!(ready(&first).await, 200);
    let keys = first.said.iter().filter(|line| line.contains("tsk_")).count();
    assert_eq!(keys, 4, "{:?}", first.said);
    assert_eq!(first.stop(), Some(0));

    let second = Server::start(&folder.path());
    assert!(second.started_in < Duration::from_secs(3), "{:?}", second.started_in);
    assert!(second.said.iter().all(|line| !line.contains("tsk_")), "{:?}", second.said);
    let listed = output(&folder.path(), &["tenant", "list"]);
    for pack in ["automotive", "energy", "finance", "gaming"] {
        assert!(text(&listed.stdout).contains(&format!("demo-{pack}\t{pack}\t")), "{listed:?}");
    }
    assert_eq!(ready(&second).await, 200, "a command beside the server must not stop its database");
}

#[tokio::test]
async fn a_killed_server_is_replaced_by_one_that_finds_its_data_and_its_database() {
    let folder = Folder::new();
    let first = Server::start(&folder.path());
    let made = output(&folder.path(), &["tenant", "new", "harbour", "--pack", "energy"]);
    assert!(made.status.success(), "{made:?}");
    first.kill();
    let second = Server::start(&folder.path());
    assert_eq!(ready(&second).await, 200);
    let listed = output(&folder.path(), &["tenant", "list"]);
    assert!(text(&listed.stdout).contains("harbour\tenergy"), "{listed:?}");
    assert_eq!(second.stop(), Some(0));
    assert!(!folder.path().join("postgres/postmaster.pid").exists(), "its database still runs");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_told_who_holds_it() {
    let folder = Folder::new();
    let first = Server::start(&folder.path());
    let second = output(&folder.path(), &["serve", "--port", "0"]);
    assert_eq!(second.status.code(), Some(3));
    assert!(text(&second.stderr).contains(&format!("process {}", first.pid())), "{second:?}");
}

#[test]
fn a_taken_port_is_named_before_anything_is_made() {
    let folder = Folder::new();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let refused = output(&folder.path(), &["serve", "--port", &port]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("--port"), "{refused:?}");
    assert!(!folder.path().exists());
}

#[test]
fn a_missing_postgres_is_told_with_what_to_install() {
    let folder = Folder::new();
    let empty = Folder::new();
    std::fs::create_dir(empty.path()).unwrap();
    let refused = tessera(&folder.path())
        .args(["serve", "--port", "0"])
        .env("TESSERA_PG_BIN", empty.path())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("TESSERA_PG_BIN"), "{refused:?}");
}

#[test]
fn wrong_usage_ends_with_two() {
    let folder = Folder::new();
    assert_eq!(output(&folder.path(), &["--port", "many"]).status.code(), Some(2));
    assert_eq!(output(&folder.path(), &["nonsense"]).status.code(), Some(2));
}
