//! Calls made for OpenAI's API: models, chat completions and responses, streamed and whole.

use serde_json::{Value, json};

use crate::ask::Client;
use crate::support::{Folder, Server, output};

const LOAN: &str = "What is the monthly payment on a 200,000 loan at 6% over 360 months?";

fn tool() -> Value {
    json!({"type": "function", "function": {
    "name": "loan_payment", "description": "Monthly payment of a loan", "strict": true,
    "parameters": {
        "type": "object", "additionalProperties": false,
        "required": ["principal", "rate_pct", "term_months", "note"],
        "properties": {
            "principal": {"type": "number"}, "rate_pct": {"type": "number"},
            "term_months": {"type": "integer"},
            "note": {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "null"}]},
        }}}})
}

fn chat(model: &str, text: &str, more: &Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

/// Returns the data of each event, and the type where it has one.
async fn stream(client: &Client, path: &str, body: String) -> Vec<(String, String)> {
    let request = client.http.post(format!("{}{path}", client.base)).bearer_auth(&client.key);
    let answer = request.header("content-type", "application/json").body(body).send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    let blocks =
        text.split("\n\n").filter(|block| !block.trim().is_empty() && !block.starts_with(':'));
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    blocks.map(|block| (field(block, "event:"), field(block, "data:"))).collect()
}

async fn functions_of_the_caller_are_called_with_what_the_text_states(client: &Client) {
    let path = "/v1/chat/completions";
    let (status, said) =
        client.post(path, chat("planner", LOAN, &json!({"tools": [tool()]}))).await;
    assert_eq!(status, 200, "{said:#}");
    let choice = &said["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{said:#}");
    assert!(choice["message"]["content"].is_null());
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (&call["type"], &call["function"]["name"]),
        (&json!("function"), &json!("loan_payment"))
    );
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    let expected = json!({"principal": 200_000, "rate_pct": 6, "term_months": 360, "note": null});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(arguments[name].as_f64(), value.as_f64(), "{name}: {arguments}");
    }
    assert!(said["usage"]["prompt_tokens"].as_u64().unwrap() > 10, "{said:#}");
    // The same prompt again was run already.
    let (_, again) = client.post(path, chat("planner", LOAN, &json!({"tools": [tool()]}))).await;
    let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached > 10, "{again:#}");

    let streamed =
        json!({"tools": [tool()], "stream": true, "stream_options": {"include_usage": true}});
    let events = stream(client, path, chat("planner", LOAN, &streamed)).await;
    assert_eq!(events.last().unwrap().1, "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect();
    let pieces = chunks.iter().filter_map(|chunk| {
        chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
    });
    let joined: Value = serde_json::from_str(&pieces.collect::<String>()).unwrap();
    assert_eq!(joined, arguments);
    assert_eq!(chunks.last().unwrap()["choices"], json!([]));
    assert!(chunks.last().unwrap()["usage"]["total_tokens"].as_u64().unwrap() > 10);

    let lacking = json!({"tools": [tool()], "tool_choice": "required"});
    let (_, refused) = client.post(path, chat("planner", "Work out a loan at 6%", &lacking)).await;
    let refusal = refused["choices"][0]["message"]["refusal"].as_str().unwrap();
    assert!(refusal.contains("principal") && refusal.contains("term_months"), "{refused:#}");
    let never = json!({"tools": [tool()], "tool_choice": "none"});
    let (_, none) = client.post(path, chat("planner", LOAN, &never)).await;
    assert!(none["choices"][0]["message"]["content"].is_string(), "{none:#}");
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {
        "name": "loan", "schema": tool()["function"]["parameters"]}}});
    let (_, typed) = client.post(path, chat("planner", LOAN, &format)).await;
    let text = typed["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), arguments);
    // What a function gave ends the loop.
    let given = json!({"messages": [{"role": "user", "content": LOAN},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "1199.10"}]});
    let (_, ended) = client.post(path, chat("planner", LOAN, &given)).await;
    assert_eq!(ended["choices"][0]["message"]["content"], "1199.10");
}

async fn an_agent_answers_by_a_run(client: &Client) {
    let (status, said) =
        client.post("/v1/chat/completions", chat("finance", LOAN, &json!({}))).await;
    assert_eq!(status, 200, "{said:#}");
    let answer = said["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(answer.contains("1,199.10"), "{answer}");
    let id = said["tessera"]["run"].as_str().or(said["tessera"]["id"].as_str()).unwrap();
    assert_eq!(client.get(&format!("/v1/runs/{id}")).await.1["status"], "done");
    let act = "Open a reconciliation break case on INV-1005: it was paid 50 EUR too little";
    let (_, waits) = client.post("/v1/chat/completions", chat("finance", act, &json!({}))).await;
    let status = waits["tessera"]["status"].as_str().unwrap_or_default();
    assert!(matches!(status, "waiting_approval" | "waiting_input" | "refused"), "{waits:#}");
}

async fn responses_are_kept_continued_and_forgotten(client: &Client) {
    let flat = json!({"type": "function", "name": "loan_payment", "strict": true,
                      "parameters": tool()["function"]["parameters"]});
    let body = json!({"model": "planner", "input": LOAN, "tools": [flat]});
    let (status, said) = client.post("/v1/responses", body.to_string()).await;
    assert_eq!((status, &said["status"]), (200, &json!("completed")), "{said:#}");
    let call = &said["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("loan_payment")));
    let id = said["id"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/responses/{id}")).await, (200, said.clone()));
    let items = client.get(&format!("/v1/responses/{id}/input_items")).await.1;
    assert_eq!(items["data"][0]["content"][0]["text"], LOAN);
    let next = json!({"model": "planner", "previous_response_id": id, "stream": true,
        "input": [{"type": "function_call_output", "call_id": call["call_id"], "output": "1199.10"}]});
    let events = stream(client, "/v1/responses", next.to_string()).await;
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let numbers: Vec<u64> = events
        .iter()
        .map(|(_, data)| {
            serde_json::from_str::<Value>(data).unwrap()["sequence_number"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(numbers, (0..9).collect::<Vec<u64>>());
    let gone = client.http.delete(format!("{}/v1/responses/{id}", client.base));
    let gone: Value = gone.bearer_auth(&client.key).send().await.unwrap().json().await.unwrap();
    assert_eq!(gone["deleted"], true);
    assert_eq!(client.get(&format!("/v1/responses/{id}")).await.0, 404);
}

async fn faults_are_told_as_clients_read_them(client: &Client) {
    let path = "/v1/chat/completions";
    let tools = |parameters: Value| json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]});
    for (body, status, code) in [
        (chat("gpt-4", LOAN, &json!({})), 404, "not_found"),
        (chat("planner", "", &json!({})), 422, "empty_request"),
        (chat("planner", "a\0b", &json!({})), 422, "invalid_text"),
        (chat("planner", LOAN, &json!({"n": 2})), 422, "unsupported_value"),
        (chat("planner", LOAN, &tools(json!({"type": "string"}))), 422, "invalid_function"),
        (
            chat("planner", LOAN, &tools(json!({"type": "object", "$id": "http://x"}))),
            422,
            "invalid_function",
        ),
        (chat("finance", LOAN, &json!({"tools": [tool()]})), 422, "unsupported_value"),
        (chat("planner", LOAN, &json!({"tool_choice": "required"})), 422, "unsupported_value"),
        (json!({"model": "planner"}).to_string(), 422, "invalid_json"),
        (
            chat(
                "planner",
                LOAN,
                &json!({"messages": [{"role": "user", "content":
            [{"type": "image_url", "image_url": {"url": "http://x"}}]}]}),
            ),
            422,
            "unsupported_value",
        ),
    ] {
        let (found, problem) = client.post(path, body.clone()).await;
        assert_eq!((found, problem["error"]["code"].as_str()), (status, Some(code)), "{body}");
    }
}

#[tokio::test]
async fn clients_made_for_openais_api_ask_the_planner_and_the_agent() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let models = client.get("/v1/models").await.1;
    let names: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["finance", "planner"]);
    assert_eq!(client.get("/v1/models/planner").await.1["object"], "model");
    functions_of_the_caller_are_called_with_what_the_text_states(&client).await;
    an_agent_answers_by_a_run(&client).await;
    responses_are_kept_continued_and_forgotten(&client).await;
    faults_are_told_as_clients_read_them(&client).await;
    // What it took is charged to the budget, and a budget that is used up is told as such.
    let budget = json!({"resource": "tokens", "period": "day", "limit": 10}).to_string();
    let put = client.http.put(format!("{}/v1/budgets", client.base)).bearer_auth(&client.key);
    assert!(put.body(budget).send().await.unwrap().status().is_success());
    let body = chat("planner", LOAN, &json!({"tools": [tool()]}));
    let (status, over) = client.post("/v1/chat/completions", body.clone()).await;
    assert_eq!(
        (status, over["error"]["code"].as_str()),
        (429, Some("budget_exceeded")),
        "{over:#}"
    );
    let made = output(
        &folder.path(),
        &["key", "new", "demo-finance", "--label", "r", "--scope", "runs:read"],
    );
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let reader = Client { http: client.http.clone(), base: client.base.clone(), key };
    assert_eq!(reader.post("/v1/chat/completions", body).await.0, 403);
}
