//! The settings of a joint venture: below which confidence a person is asked.

use serde_json::{Value, json};

use crate::ask::Client;
use crate::support::{Folder, Server, output};

const ASKED: &str = "Is the IBAN DE89370400440532013000 correct?";

async fn patch(server: &Server, key: &str, body: &str) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .patch(format!("http://{}/v1/settings", server.address))
        .bearer_auth(key)
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn key_of(server: &Server, pack: &str) -> String {
    let line = server.said.iter().find(|line| line.contains(&format!("demo-{pack}"))).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

#[tokio::test]
async fn a_threshold_is_set_by_api_and_command_line_and_holds_for_one_joint_venture() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let (finance, energy) = (Client::of(&server, "finance"), Client::of(&server, "energy"));
    let key = key_of(&server, "finance");
    assert_eq!(finance.get("/v1/settings").await.1["abstain_below"], Value::Null);
    let (status, settings) = patch(&server, &key, r#"{"abstain_below": 0.8}"#).await;
    assert_eq!((status, &settings["abstain_below"]), (200, &json!(0.8)), "{settings}");
    assert_eq!(energy.get("/v1/settings").await.1["abstain_below"], Value::Null);
    for (body, status, code) in [
        (r#"{"abstain_below": 1.5}"#, 409, "conflict"),
        (r#"{"abstain_below": "low"}"#, 422, "invalid_json"),
        ("{}", 422, "invalid_json"),
        (r#"{"abstain_below": 0.5, "currency": "EUR"}"#, 422, "invalid_json"),
    ] {
        let (found, problem) = patch(&server, &key, body).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{body}: {problem}");
    }
    assert_eq!(finance.get("/v1/settings").await.1["abstain_below"], 0.8);
    assert_eq!(patch(&server, "tsk_nonsense", r#"{"abstain_below": 0}"#).await.0, 401);

    let set = |value: &str| {
        output(&folder.path(), &["tenant", "set", "demo-finance", "--abstain-below", value])
    };
    assert!(set("0").status.success());
    assert_eq!(finance.get("/v1/settings").await.1["abstain_below"], 0.0);
    assert!(set("default").status.success());
    assert_eq!(finance.get("/v1/settings").await.1["abstain_below"], Value::Null);
    assert_eq!(set("2").status.code(), Some(2));
}

#[tokio::test]
async fn an_unsure_plan_waits_until_it_is_confirmed() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let key = key_of(&server, "finance");
    assert_eq!(patch(&server, &key, r#"{"abstain_below": 0}"#).await.0, 200);
    let run = client.ask("finance", ASKED).await;
    assert_eq!(run["status"], "done", "{run:#}");
    // No plan of a model is ever wholly sure.
    let confidence = run["plan"]["confidence"].as_f64().unwrap();
    let above = f64::midpoint(confidence, 1.0);
    assert!(confidence < above, "{run:#}");
    assert_eq!(patch(&server, &key, &json!({ "abstain_below": above }).to_string()).await.0, 200);
    let run = client.ask("finance", ASKED).await;
    assert_eq!(run["status"], "waiting_approval", "{run:#}");
    let (_, waiting) = client.get("/v1/approvals").await;
    let asked = &waiting["approvals"][0];
    assert_eq!((&asked["tool"], &asked["because"]), (&json!("id_validate"), &json!("unsure")));
    let path = format!("/v1/approvals/{}?wait=30", asked["id"].as_str().unwrap());
    let (status, done) = client.post(&path, r#"{"approved": true}"#).await;
    assert_eq!((status, &done["status"]), (200, &json!("done")), "{done:#}");
}
