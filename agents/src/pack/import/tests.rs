use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, json};

use super::openapi::{Imported, Wanted, import, operations};
use super::*;
use crate::judge::{Options, judge};
use crate::pack::check::{Severity, check};
use crate::pack::new::{self, scaffold};
use crate::pack::{Manifest, Pack, PackFiles};

fn base() -> PackFiles {
    let wanted = new::Wanted {
        id: "desk".to_owned(),
        title: "Desk".to_owned(),
        description: "Answers.".to_owned(),
        languages: vec!["en".to_owned()],
    };
    scaffold(&wanted).unwrap()
}

fn manifest(files: &PackFiles) -> Manifest {
    toml::from_str(&String::from_utf8_lossy(files.get("pack.toml").unwrap())).unwrap()
}

fn imported(document: &Value) -> Result<Imported, ImportError> {
    import(document, &Wanted::default(), &manifest(&base()), &BTreeSet::new())
}

/// Returns a new pack with what was imported.
fn pack_with(out: &Imported) -> PackFiles {
    let files = base();
    let text = |path: &str| String::from_utf8_lossy(files.get(path).unwrap()).into_owned();
    let mut more = out.files.clone();
    more.insert("pack.toml".to_owned(), text("pack.toml") + &out.manifest);
    more.insert("evals/cases.jsonl".to_owned(), text("evals/cases.jsonl") + &out.cases);
    files.with(more)
}

const YAML: &str = r##"
openapi: 3.0.3
info: { title: Stock Service, version: "1" }
servers: [{ url: "https://{region}.stock.example.com/api", variables: { region: { default: eu } } }]
security: [{ key: [] }]
components:
  securitySchemes:
    key: { type: apiKey, in: header, name: X-Api-Key }
  schemas:
    Item:
      type: object
      required: [sku, quantity]
      properties:
        sku: { type: string, minLength: 3, maxLength: 12 }
        quantity: { type: integer, minimum: 0, exclusiveMinimum: true }
        secret_note: { type: string, writeOnly: true }
        created: { type: string, format: date-time, readOnly: true }
        parent: { $ref: "#/components/schemas/Item" }
paths:
  /items/{sku}:
    parameters: [{ name: sku, in: path, required: true, schema: { type: string, minLength: 3 } }]
    get:
      operationId: getItem
      summary: "Read an item\u0007 of the stock"
      parameters:
        - { name: fields, in: query, schema: { type: array, items: { type: string, enum: [sku, quantity] } } }
        - { name: X-Trace, in: header, schema: { type: string } }
      responses:
        "200": { description: ok, content: { application/json: { schema: { $ref: "#/components/schemas/Item" } } } }
  /items:
    get:
      operationId: listItems
      summary: List the items
      responses:
        "200": { description: ok, content: { application/json: { schema: { type: array, items: { $ref: "#/components/schemas/Item" } } } } }
    post:
      operationId: addItem
      summary: Add an item
      requestBody: { required: true, content: { application/json: { schema: { $ref: "#/components/schemas/Item" } } } }
      responses: { "201": { description: made } }
  /upload:
    post:
      summary: Upload a picture
      requestBody: { required: true, content: { image/png: {} } }
      responses: { "200": { description: ok } }
"##;

#[test]
fn a_document_becomes_tools_that_pass_the_checks_and_keep_their_known_answers() {
    let document = document(YAML.as_bytes()).unwrap();
    assert_eq!(operations(&document).unwrap().len(), 4);
    let out = imported(&document).unwrap();
    assert_eq!(out.tools, ["get_item", "list_items", "add_item"]);
    assert!(out.notes.iter().any(|note| note.contains("POST /upload was left out: its body")));
    let files = pack_with(&out);
    let mistakes = check(&files);
    assert!(mistakes.iter().all(|one| one.severity != Severity::Error), "{mistakes:#?}");
    let pack = Pack::from_files("desk", files).unwrap();
    let report = judge(&pack, &Options::default(), &mut |_| {}).unwrap();
    assert!(report.holds(), "{report:#?}");
    assert_eq!(report.sections[0].passed, 4, "{report:#?}");
    let system = pack.manifest.system("stock_service").unwrap();
    let system = serde_json::to_value(system).unwrap();
    assert_eq!(system["url"], "https://eu.stock.example.com/api");
    assert_eq!(
        system["auth"],
        json!({"kind": "header", "name": "X-Api-Key", "setting": "stock_service_token"})
    );
    let get = pack.tool("get_item").unwrap();
    assert_eq!(get.title, "Read an item of the stock");
    assert_eq!(get.input_schema["required"], json!(["sku"]));
    // A secret that is only written never comes back, and what is only read is never sent.
    assert!(get.output_schema["properties"].get("secret_note").is_none());
    let add = pack.tool("add_item").unwrap();
    assert!(add.input_schema["properties"].get("created").is_none());
    assert_eq!(add.input_schema["properties"]["quantity"]["exclusiveMinimum"], 0);
    assert_eq!(add.effect, crate::tool::Effect::Act);
}

#[test]
fn circles_and_references_that_double_end_soon() {
    let mut schemas = Map::new();
    for n in 0..60 {
        let next = format!("#/components/schemas/S{}", n + 1);
        let properties: Map<String, Value> =
            (0..10).map(|k| (format!("p{k}"), json!({ "$ref": next }))).collect();
        schemas.insert(format!("S{n}"), json!({ "type": "object", "properties": properties }));
    }
    schemas.insert("A".to_owned(), json!({ "$ref": "#/components/schemas/B" }));
    schemas.insert("B".to_owned(), json!({ "$ref": "#/components/schemas/A" }));
    let get = |schema: &str| {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        let answer =
            json!({ "description": "ok", "content": { "application/json": { "schema": schema } } });
        json!({ "get": { "responses": { "200": answer } } })
    };
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "components": { "schemas": schemas },
        "paths": { "/wide": get("S0"), "/circle": get("A") },
    });
    let begun = Instant::now();
    let out = imported(&document).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(out.files.values().all(|text| text.len() < 200_000));
    assert!(out.notes.iter().any(|note| note.contains("circular")), "{:?}", out.notes);
}

#[test]
fn a_thousand_operations_are_imported_within_five_seconds() {
    let paths: Map<String, Value> = (0..1000)
        .map(|n| {
            let item = json!({ "$ref": "#/components/schemas/Item" });
            let operation = json!({
                "operationId": format!("readThing{n}"), "summary": format!("Read thing {n}"),
                "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } },
                               { "name": "limit", "in": "query", "schema": { "type": "integer", "maximum": 100 } }],
                "responses": { "200": { "description": "ok", "content": { "application/json": { "schema": item } } } },
            });
            (format!("/things{n}/{{id}}"), json!({ "get": operation }))
        })
        .collect();
    let properties: Map<String, Value> = (0..12)
        .map(|k| (format!("field_{k}"), json!({ "type": "string", "description": "A field." })))
        .collect();
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "Big", "version": "1" }, "paths": paths,
        "components": { "schemas": { "Item": { "type": "object", "properties": properties } } },
    });
    let bytes = serde_json::to_vec(&document).unwrap();
    let begun = Instant::now();
    let read = super::document(&bytes).unwrap();
    let out = imported(&read).unwrap();
    let took = begun.elapsed();
    println!("1,000 operations, {} bytes: {took:?}", bytes.len());
    assert_eq!(out.tools.len(), 1000);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn what_is_no_openapi_3_is_refused_with_what_to_do() {
    let said = |text: &str| {
        let read = document(text.as_bytes());
        read.and_then(|document| imported(&document).map(drop)).unwrap_err().to_string()
    };
    assert!(said(r#"{"swagger": "2.0"}"#).contains("convert it to OpenAPI 3"));
    assert!(said("[1, 2]").contains("no OpenAPI document"));
    assert!(said("a: [").contains("does not read"));
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    assert!(said(&deep).contains("does not read"));
    // Aliases that unfold to billions of items.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", before.trim_end_matches(", ")));
    }
    let begun = Instant::now();
    assert!(said(&bomb).contains("does not read"));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_mangled_document_never_panics_and_never_makes_a_broken_pack(
        at in any::<proptest::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut text = YAML.as_bytes().to_vec();
        let at = at.index(text.len());
        let end = (at + bytes.len()).min(text.len());
        text.splice(at..end, bytes);
        if let Ok(document) = document(&text)
            && let Ok(out) = imported(&document)
        {
            let errors = check(&pack_with(&out));
            let errors: Vec<_> =
                errors.iter().filter(|one| one.severity == Severity::Error).collect();
            prop_assert!(errors.is_empty(), "{:#?}", errors);
        }
    }
}
