//! The agent as other agents find and ask it.

use serde_json::{Value, json};

use crate::ask::Client;
use crate::support::{Folder, Server};

async fn rpc(client: &Client, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
    let (status, told) = client.post("/a2a", body).await;
    assert_eq!((status, &told["id"]), (200, &json!(7)), "{told:#}");
    told
}

fn message(id: &str, text: &str, context: &str) -> Value {
    json!({"message": {"kind": "message", "role": "user", "messageId": id, "contextId": context,
                       "parts": [{"kind": "text", "text": text}]}})
}

#[tokio::test]
async fn the_card_leads_to_an_agent_whose_tasks_are_runs() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let address = format!("http://{}/.well-known/agent-card.json", server.address);
    let card: Value = reqwest::get(address).await.unwrap().json().await.unwrap();
    assert_eq!(card["url"], format!("http://{}/a2a", server.address));
    assert_eq!(card["skills"].as_array().unwrap().len(), 4);
    for field in [
        "protocolVersion",
        "name",
        "description",
        "version",
        "capabilities",
        "defaultInputModes",
        "defaultOutputModes",
        "preferredTransport",
    ] {
        assert!(!card[field].is_null(), "{field}");
    }
    let own = rpc(&client, "agent/getAuthenticatedExtendedCard", json!({})).await;
    let skills = own["result"]["skills"].as_array().unwrap();
    assert!(skills.iter().any(|skill| skill["id"] == "loan_schedule"), "{own:#}");

    let asked = message(
        "m-1",
        "What is the monthly payment on a 200,000 loan at 6% over 360 months?",
        "c-1",
    );
    let task = rpc(&client, "message/send", asked.clone()).await["result"].clone();
    assert_eq!(
        (&task["kind"], &task["status"]["state"], &task["contextId"]),
        (&json!("task"), &json!("completed"), &json!("c-1"))
    );
    let text = task["artifacts"][0]["parts"][0]["text"].as_str().unwrap();
    assert!(text.contains("1,199.10"), "{text}");
    let again = rpc(&client, "message/send", asked).await["result"].clone();
    assert_eq!(again["id"], task["id"], "a message that is sent twice is one run");
    let got = rpc(&client, "tasks/get", json!({"id": task["id"]})).await["result"].clone();
    assert_eq!(got["artifacts"], task["artifacts"]);
    assert_eq!(
        client.get(&format!("/v1/runs/{}", task["id"].as_str().unwrap())).await.1["status"],
        "done"
    );

    for (method, params, code) in [
        ("tasks/get", json!({"id": "0199aaaa-0000-7000-8000-000000000000"}), -32001),
        ("tasks/cancel", json!({"id": task["id"]}), -32002),
        ("message/stream", json!({}), -32004),
        ("message/send", json!({}), -32602),
        (
            "message/send",
            json!({"message": {"messageId": "m", "parts": [{"kind": "file"}]}}),
            -32005,
        ),
        ("tasks/pushNotificationConfig/set", json!({}), -32003),
        ("nonsense", json!({}), -32601),
    ] {
        assert_eq!(rpc(&client, method, params).await["error"]["code"], code, "{method}");
    }
    // Another joint venture's key finds nothing of it, and no key is let in.
    let other = Client::of(&server, "energy");
    assert_eq!(rpc(&other, "tasks/get", json!({"id": task["id"]})).await["error"]["code"], -32001);
    let open = client.http.post(format!("{}/a2a", client.base)).body("{}").send().await.unwrap();
    assert_eq!(open.status().as_u16(), 401);
}
