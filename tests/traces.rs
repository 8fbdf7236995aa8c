//! Traces of runs, as a collector of OpenTelemetry gets them.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::ask::Client;
use crate::support::{Folder, Server};

type Told = mpsc::UnboundedSender<(HeaderMap, Value)>;

async fn take(State(sender): State<Told>, headers: HeaderMap, body: String) -> &'static str {
    sender.send((headers, serde_json::from_str(&body).unwrap())).unwrap();
    "{}"
}

/// Starts a collector; what it gets comes out of the receiver.
async fn collector() -> (String, mpsc::UnboundedReceiver<(HeaderMap, Value)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let router = Router::new().route("/v1/traces", post(take)).with_state(sender);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, receiver)
}

/// Returns an attribute of a span.
fn of(span: &Value, key: &str) -> Option<String> {
    let found = span["attributes"].as_array()?.iter().find(|one| one["key"] == key)?;
    let value = &found["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str()).map(str::to_owned)
}

#[tokio::test]
async fn a_run_is_told_as_an_agent_a_chat_and_its_tools_without_what_was_said() {
    let folder = Folder::new();
    let (address, mut told) = collector().await;
    let arguments = ["--otlp", &address, "--otlp-headers", "x-token=abc"];
    let server = Server::start_with(&folder.path(), &arguments);
    let client = Client::of(&server, "finance");
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let request = "What is the monthly payment on a 200,000 loan at 6% over 360 months?";
    let asked = client
        .http
        .post(format!("{}/v1/agents/finance/runs?wait=30", client.base))
        .bearer_auth(&client.key)
        .header("traceparent", format!("00-{trace}-{span}-01"))
        .body(json!({ "request": request }).to_string());
    let run: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(run["status"], "done", "{run:#}");
    let (headers, body) = tokio::time::timeout(std::time::Duration::from_secs(20), told.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&headers["x-token"], &headers["content-type"]),
        (&"abc".parse().unwrap(), &"application/json".parse().unwrap())
    );
    let resource = &body["resourceSpans"][0];
    assert_eq!(of(&resource["resource"], "service.name").unwrap(), "tessera");
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let named = |operation: &str| {
        let fits = |one: &&Value| of(one, "gen_ai.operation.name").as_deref() == Some(operation);
        spans.iter().find(fits).unwrap_or_else(|| panic!("no {operation}: {body:#}"))
    };
    let (agent, chat, tool) = (named("invoke_agent"), named("chat"), named("execute_tool"));
    assert_eq!(agent["name"], "invoke_agent finance");
    assert_eq!((&agent["traceId"], &agent["parentSpanId"]), (&json!(trace), &json!(span)));
    for below in [chat, tool] {
        assert_eq!((&below["traceId"], &below["parentSpanId"]), (&json!(trace), &agent["spanId"]));
        let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time(below, "startTimeUnixNano") >= time(agent, "startTimeUnixNano"));
        assert!(time(below, "endTimeUnixNano") <= time(agent, "endTimeUnixNano"));
    }
    assert_eq!(of(agent, "gen_ai.agent.name").unwrap(), "finance");
    assert_eq!(of(agent, "tessera.run.id").unwrap(), run["id"].as_str().unwrap());
    assert_eq!(of(tool, "gen_ai.tool.name").unwrap(), "loan_schedule");
    assert!(of(chat, "gen_ai.usage.input_tokens").unwrap().parse::<u64>().unwrap() > 0);
    assert!(of(chat, "gen_ai.request.model").unwrap().starts_with("shipped-"));
    for secret in ["monthly", "200,000", "200000", "1,199.10", "1199.10"] {
        assert!(!body.to_string().contains(secret), "{secret} was told");
    }
    // A run that nobody traced is named by itself, and a collector that is gone holds nothing up.
    let run = client.ask("finance", "Is the IBAN DE89370400440532013000 correct?").await;
    let (_, body) = told.recv().await.unwrap();
    let first = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(first["traceId"], run["id"].as_str().unwrap().replace('-', ""));
}
