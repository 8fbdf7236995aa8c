//! The tools of a joint venture over the Model Context Protocol, by the protocol's own client and by one
//! of an earlier revision.

use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

use crate::ask::Client;
use crate::support::{Folder, Server, output};

async fn connected(client: &Client) -> RunningService<RoleClient, ()> {
    let config = StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp", client.base));
    let transport =
        StreamableHttpClientTransport::from_config(config.auth_header(client.key.clone()));
    ().serve(transport).await.unwrap()
}

async fn call(
    mcp: &RunningService<RoleClient, ()>,
    tool: &'static str,
    arguments: &Value,
) -> CallToolResult {
    let arguments = arguments.as_object().unwrap().clone();
    mcp.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap()
}

fn case() -> Value {
    json!({"case_type": "payment_repair", "subject_id": "PAY-1",
           "summary": "The payee says that nothing arrived"})
}

/// One message as a client of 2025-06-18 sends it.
async fn old(
    client: &Client,
    method: &str,
    params: Value,
    headers: &[(&str, &str)],
) -> (u16, Value, reqwest::header::HeaderMap) {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut request = client
        .http
        .post(format!("{}/mcp", client.base))
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("mcp-protocol-version", "2025-06-18");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(body.to_string()).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, answer.json().await.unwrap_or_default(), headers)
}

#[tokio::test]
async fn tools_are_listed_and_called_as_runs_and_an_act_waits_for_a_person() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let mcp = connected(&client).await;
    let tools = mcp.list_all_tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
    for name in ["agent_ask", "agent_run", "loan_schedule", "open_case"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.contains(&"vin_decode"), "a tool of another pack");
    let shown = tools.iter().find(|tool| tool.name == "open_case").unwrap();
    assert!(shown.input_schema["properties"].get("idempotency_key").is_none());
    assert_eq!(shown.annotations.as_ref().unwrap().destructive_hint, Some(true));

    let loan = json!({"principal": "200000", "annual_rate_pct": 6, "months": 360});
    let made = call(&mcp, "loan_schedule", &loan).await;
    assert_ne!(made.is_error, Some(true), "{made:?}");
    assert!(made.structured_content.unwrap().to_string().contains("1199.10"));
    let runs = client.get("/v1/runs").await.1;
    let run = client.get(&format!("/v1/runs/{}", runs["runs"][0]["id"].as_str().unwrap())).await.1;
    assert_eq!(
        (&run["status"], &run["plan"]["model"]),
        (&json!("done"), &json!("caller")),
        "{run:#}"
    );

    for wrong in [
        json!({}),
        json!({"principal": "-1", "annual_rate_pct": 6, "months": 1}),
        json!({"principal": {"$from": 0, "pointer": "/x"}, "annual_rate_pct": 6, "months": 1}),
    ] {
        let before = client.get("/v1/runs").await.1;
        let refused = call(&mcp, "loan_schedule", &wrong).await;
        assert_eq!(refused.is_error, Some(true), "{wrong}");
        assert_eq!(client.get("/v1/runs").await.1, before, "a refused call made a run");
    }
    assert!(mcp.call_tool(CallToolRequestParams::new("vin_decode")).await.is_err());

    let asked =
        call(&mcp, "agent_ask", &json!({"request": "Is the IBAN DE89370400440532013000 correct?"}))
            .await;
    assert_eq!(asked.structured_content.unwrap()["status"], "done");

    let waits = call(&mcp, "open_case", &case()).await.structured_content.unwrap_or_default();
    assert_eq!(waits["status"], "waiting_approval", "{waits:#}");
    let pending = client.get("/v1/approvals").await.1;
    let approval = &pending["approvals"][0];
    assert_eq!((&approval["tool"], &approval["run"]), (&json!("open_case"), &waits["run"]));
    assert_eq!(client.get("/v1/effects").await.1["effects"], json!([]), "an act was made unasked");
    let another = client.another(&folder.path(), "demo-finance", "boss");
    let path = format!("/v1/approvals/{}?wait=20", approval["id"].as_str().unwrap());
    let (_, decided) = another.post(&path, json!({"approved": true}).to_string()).await;
    assert_eq!(decided["status"], "done", "{decided:#}");
    let run = json!({"run": waits["run"]});
    let told = call(&mcp, "agent_run", &run).await.structured_content.unwrap();
    assert_eq!((&told["status"], &told["calls"][0]["status"]), (&json!("done"), &json!("done")));
    assert_eq!(client.get("/v1/effects").await.1["effects"].as_array().unwrap().len(), 1);

    // What is switched off is not listed, and not called by who knows its name.
    let off =
        json!({"scope": "tool", "name": "loan_schedule", "off": true, "why": "a test"}).to_string();
    let put = client.http.put(format!("{}/v1/switches", client.base)).bearer_auth(&client.key);
    assert!(put.body(off).send().await.unwrap().status().is_success());
    let names: Vec<String> =
        mcp.list_all_tools().await.unwrap().iter().map(|tool| tool.name.to_string()).collect();
    assert!(!names.contains(&"loan_schedule".to_owned()));
    assert_eq!(call(&mcp, "loan_schedule", &loan).await.is_error, Some(true));

    doors(&client, &folder, &server).await;
}

async fn doors(client: &Client, folder: &Folder, server: &Server) {
    let bearer = format!("Bearer {}", client.key);
    let own = ("authorization", bearer.as_str());
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                       "clientInfo": {"name": "old", "version": "1"}});
    let (status, told, _) = old(client, "initialize", hello.clone(), &[own]).await;
    assert_eq!(
        (status, &told["result"]["protocolVersion"]),
        (200, &json!("2025-06-18")),
        "{told:#}"
    );
    let (_, listed, _) = old(client, "tools/list", json!({}), &[own]).await;
    assert!(listed["result"]["tools"].as_array().unwrap().len() > 5, "{listed:#}");
    let iban = json!({"name": "id_validate", "arguments": {"items": [{"kind": "iban", "value": "DE89370400440532013000"}]}});
    let (_, made, _) = old(client, "tools/call", iban, &[own]).await;
    assert!(made["result"]["content"][0]["text"].is_string(), "{made:#}");

    let (status, problem, headers) = old(client, "tools/list", json!({}), &[]).await;
    assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")));
    let challenge = headers["www-authenticate"].to_str().unwrap();
    let metadata = challenge.split('"').nth(1).unwrap();
    let metadata: Value = reqwest::get(metadata).await.unwrap().json().await.unwrap();
    assert_eq!(metadata["resource"], format!("http://{}/mcp", server.address));
    for foreign in [("origin", "http://evil.example"), ("host", "evil.example")] {
        let (status, problem, _) = old(client, "tools/list", json!({}), &[own, foreign]).await;
        assert_eq!((status, &problem["code"]), (403, &json!("foreign_origin")), "{foreign:?}");
    }
    let made = output(
        &folder.path(),
        &["key", "new", "demo-finance", "--label", "r", "--scope", "runs:read"],
    );
    let key = format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim());
    let ask = json!({"name": "agent_ask", "arguments": {"request": "hello"}});
    let (_, refused, _) = old(client, "tools/call", ask, &[("authorization", &key)]).await;
    assert_eq!(refused["result"]["isError"], true, "{refused:#}");
}
