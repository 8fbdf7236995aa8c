//! What operators see: figures, health, logs, and the description of the API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use server::openapi::{DOCUMENT, OPERATIONS};

use crate::ask::Client;
use crate::support::{Folder, Server};

/// Reads the text format of Prometheus: families with their kind and series; panics at what is not.
fn parse(text: &str) -> BTreeMap<String, (String, Vec<(String, f64)>)> {
    let mut families: BTreeMap<String, (String, Vec<(String, f64)>)> = BTreeMap::new();
    let mut kind_of: BTreeMap<String, String> = BTreeMap::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kind_of.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            families.entry(name.to_owned()).or_default().0 = kind.to_owned();
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|end| name.strip_suffix(end))
            .find(|family| kind_of.get(*family).is_some_and(|kind| kind == "histogram"))
            .unwrap_or(name);
        assert!(kind_of.contains_key(family), "{line} has no type");
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        assert!(name.chars().all(legal), "{name}");
        families.get_mut(family).unwrap().1.push((series.to_owned(), value));
    }
    families
}

#[tokio::test]
async fn figures_are_read_by_a_parser_stay_bounded_and_name_no_joint_venture() {
    let folder = Folder::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let own = format!("127.0.0.1:{port}");
    let server = Server::start_with(&folder.path(), &["--metrics", &own]);
    let client = Client::of(&server, "finance");
    let run = client.ask("finance", "Is the IBAN DE89370400440532013000 correct?").await;
    for number in 0..300 {
        client.get(&format!("/v1/runs/{number}")).await;
        client.get(&format!("/nowhere/{number}")).await;
    }
    let read = async |url: String| reqwest::get(url).await.unwrap().text().await.unwrap();
    for address in [&server.address, &own] {
        let text = read(format!("http://{address}/metrics")).await;
        let families = parse(&text);
        let series: usize = families.values().map(|(_, series)| series.len()).sum();
        assert!(series <= 200, "{series} series:\n{text}");
        let requests = &families["tessera_http_requests_total"];
        assert_eq!(requests.0, "counter");
        let of = |labels: &str| {
            let name = format!("tessera_http_requests_total{{{labels}}}");
            requests.1.iter().find(|(series, _)| *series == name).unwrap().1
        };
        assert!(of("method=\"GET\",route=\"/v1/runs/{run}\",status=\"4xx\"") >= 300.0);
        assert!(
            families.contains_key("tessera_run_queue")
                && families["process_resident_memory_bytes"].1[0].1 > 1e6
        );
        for secret in [run["id"].as_str().unwrap(), "demo-finance", &client.key] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
    // What a proxy hands on may come from anywhere.
    let handed = reqwest::Client::new().get(format!("http://{}/metrics", server.address));
    let handed = handed.header("x-forwarded-for", "8.8.8.8").send().await.unwrap();
    assert_eq!(handed.status().as_u16(), 404);
    for path in ["healthz", "livez", "readyz"] {
        assert_eq!(client.get(&format!("/{path}")).await.1["status"], "ok", "{path}");
    }
}

/// Returns the methods and addresses below `/v1` that the sources route.
fn routed(folder: &Path, found: &mut BTreeSet<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routed(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for part in text.split(".route(").skip(1) {
            // The arguments end where the parenthesis that `.route(` opens is closed.
            let mut depth = 1;
            let end = part.find(|c| {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                depth == 0
            });
            let arguments = &part[..end.unwrap()];
            let Some(address) = arguments.split('"').nth(1).filter(|a| a.starts_with("/v1/"))
            else {
                continue;
            };
            if address.contains("{*") {
                continue;
            }
            for method in ["get", "post", "put", "patch", "delete"] {
                let called = arguments.match_indices(&format!("{method}(")).any(|(at, _)| {
                    !arguments[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                });
                if called {
                    found.insert((method.to_owned(), address.to_owned()));
                }
            }
        }
    }
}

#[test]
fn the_description_names_exactly_what_is_routed() {
    let mut found = BTreeSet::new();
    routed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let described: BTreeSet<(String, String)> =
        OPERATIONS.iter().map(|one| (one.method.to_owned(), one.path.to_owned())).collect();
    assert_eq!(described.len(), OPERATIONS.len(), "an operation is described twice");
    let missing: Vec<_> = found.difference(&described).collect();
    let unknown: Vec<_> = described.difference(&found).collect();
    assert!(missing.is_empty(), "add to server/src/openapi/operations.rs: {missing:?}");
    assert!(unknown.is_empty(), "not routed any more: {unknown:?}");
}

/// Every `$ref` of a value.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.push(reference.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_description_is_whole() {
    let document = &*DOCUMENT;
    assert_eq!(document["openapi"], "3.1.1");
    let mut found = Vec::new();
    references(document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut identifiers = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(identifiers.insert(id.to_owned()), "{id} twice");
            let named: Vec<&str> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["in"] == "path")
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            let wanted: Vec<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            assert_eq!(named, wanted, "{method} {path}");
            assert!(operation["responses"]["default"].is_object());
        }
    }
    let queries: BTreeSet<&str> = OPERATIONS.iter().flat_map(|one| one.query).copied().collect();
    let text = document.to_string();
    assert!(
        queries.iter().all(|name| text.contains(&format!("\"name\":\"{name}\""))),
        "{queries:?}"
    );
}

#[tokio::test]
async fn every_operation_is_served_asks_for_a_key_and_answers_a_problem_with_a_request_id() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    assert_eq!(client.get("/v1/openapi.json").await.1, *DOCUMENT);
    for one in OPERATIONS {
        let path = one.path.replace(['{', '}'], "");
        let method = one.method.to_uppercase().parse().unwrap();
        let call = client.http.request(method, format!("{}{path}", client.base)).send();
        let answer = call.await.unwrap();
        assert!(answer.headers().contains_key("x-request-id"), "{path}");
        let status = answer.status().as_u16();
        if one.open {
            assert!(status == 200 || status == 404, "{path} {status}");
            continue;
        }
        assert_eq!(status, 401, "{} {path}", one.method);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "unauthorized");
        assert_eq!(problem["error"]["type"], "authentication_error");
    }
}
