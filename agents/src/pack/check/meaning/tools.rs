//! Tools: names, schemas, known answers, and declared bodies.

use serde_json::Value;

use super::super::names::{listed, meant};
use super::super::{Bag, File, Opened, said};
use crate::domain;
use crate::pack::{Manifest, System};
use crate::tool::body::{Body, HttpBody, SqlBody};
use crate::tool::{Effect, ToolSpec};

/// Codes that a call may be refused with.
const CODES: [&str; 6] = [
    "invalid_input",
    "no_data",
    "not_permitted",
    "needs_approval",
    "unavailable",
    "outcome_unknown",
];

pub(super) fn check(opened: &Opened<'_>, bag: &mut Bag) {
    let mut names: Vec<&String> = opened.tool_names.iter().collect();
    names.sort();
    for (name, (file, spec)) in &opened.tools {
        if names.iter().filter(|other| **other == name).count() > 1 {
            let message = format!("`{name}` stands in a `.toml` and a `.json` file");
            bag.error(file, file.place("/name"), said("twice", message).hint("keep one of them"));
        }
        if *name != spec.name {
            let fault = said("file_name", format!("the file is that of a tool `{name}`"));
            let hint = format!("name the tool `{name}`, or the file after `{}`", spec.name);
            bag.error(file, file.place("/name"), fault.hint(hint));
        }
        if let Err((key, message)) = spec.compiled() {
            let fault = said("schema", format!("this schema does not compile: {message}"));
            bag.error(file, file.place(&format!("/{key}")), fault);
            continue;
        }
        for key in ["inputSchema", "outputSchema"] {
            let schema = &file.value[key];
            if schema["type"] != "object" || !schema["properties"].is_object() {
                let hint = "write `type = \"object\"` and its `properties`";
                let fault = said("schema", format!("`{key}` must describe an object")).hint(hint);
                bag.error(file, file.place(&format!("/{key}")), fault);
            }
        }
        answers(file, spec, bag);
        let manifest = opened.manifest.as_ref().map(|(_, manifest)| manifest);
        match (&spec.body, manifest) {
            (None, Some(manifest)) if domain::native(&manifest.id, name).is_none() => {
                let fault = said("no_body", format!("nothing says how `{name}` works"));
                let hint = "add a table `run` with `kind = \"http\"` or `kind = \"sql\"`";
                bag.error(file, file.place("/name"), fault.hint(hint));
            }
            (Some(body), manifest) => declared(file, spec, body, manifest, bag),
            _ => {}
        }
    }
}

fn answers(file: &File<'_>, spec: &ToolSpec, bag: &mut Bag) {
    for (at, vector) in spec.vectors.iter().enumerate() {
        for (pointer, message) in spec.faults_of(&vector.arguments) {
            let span = file.place(&format!("/vectors/{at}/arguments{pointer}"));
            bag.error(
                file,
                span,
                said("vector", format!("the input schema refuses this: {message}")),
            );
        }
        for (n, expect) in vector.expect.iter().enumerate() {
            let span = || file.place(&format!("/vectors/{at}/expect/{n}"));
            if !expect.pointer.is_empty() && !expect.pointer.starts_with('/') {
                let fault = said("pointer", format!("`{}` is no JSON pointer", expect.pointer));
                bag.error(file, span(), fault.hint(format!("write `/{}`", expect.pointer)));
            }
            if expect.equals.is_none() && expect.approx.is_none() {
                let hint = "give `equals`, or `approx` with `tolerance`";
                bag.error(file, span(), said("vector", "this expects nothing").hint(hint));
            }
        }
    }
    for (at, case) in spec.invalid.iter().enumerate() {
        if !CODES.contains(&case.error.as_str()) {
            let fault = said("wrong_value", format!("no call is refused with `{}`", case.error));
            let span = file.place(&format!("/invalid/{at}/error"));
            bag.error(file, span, fault.hint(meant(&case.error, CODES)));
        }
    }
}

/// Checks a tool that is declared.
fn declared(
    file: &File<'_>,
    spec: &ToolSpec,
    body: &Body,
    manifest: Option<&Manifest>,
    bag: &mut Bag,
) {
    let known = spec.input_schema["properties"].as_object();
    for name in body.arguments() {
        if let Some(known) = known.filter(|known| !known.contains_key(&name)) {
            let at = file.text.find(&format!("{{{name}")).map(|at| at + 1);
            let span = at.map_or_else(|| file.place("/run"), |at| at..at + name.len());
            let fault =
                said("unknown_argument", format!("`{}` has no argument `{name}`", spec.name));
            bag.error(file, span, fault.hint(meant(&name, known.keys().map(String::as_str))));
        }
    }
    if let (Some(name), Some(manifest)) = (body.system(), manifest) {
        let ids = manifest.systems.iter().map(System::id);
        let span = file.place("/run/system");
        if manifest.system(name).is_none() {
            let fault = said("unknown_system", format!("`pack.toml` has no system `{name}`"));
            bag.error(file, span, fault.hint(meant(name, ids)));
        }
    }
    match body {
        Body::Http(http) => http_body(file, spec, http, bag),
        Body::Sql(sql) => sql_body(file, spec, sql, bag),
    }
}

fn http_body(file: &File<'_>, spec: &ToolSpec, http: &HttpBody, bag: &mut Bag) {
    if !http.path.starts_with('/') {
        let hint = format!("write `/{}`", http.path);
        bag.error(file, file.place("/run/path"), said("path", "a path begins with `/`").hint(hint));
    }
    if spec.effect == Effect::Pure {
        let fault = said("effect", "a request to a service is not `pure`");
        bag.error(
            file,
            file.place("/effect"),
            fault.hint("write `read`, or `act` where it changes something"),
        );
    }
    let key = spec.input_schema["properties"].get("idempotency_key");
    if spec.effect == Effect::Act && key.is_none() {
        let fault = said("effect", "an act needs the argument `idempotency_key`");
        let hint =
            "add it to the properties of `inputSchema` as a string; the platform fills it in";
        bag.error(file, file.place("/inputSchema/properties"), fault.hint(hint));
    }
    for name in http.headers.keys() {
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let lower = name.to_ascii_lowercase();
        if name.is_empty() || !name.chars().all(token) {
            let fault = said("header", format!("`{name}` is no name of a header"));
            bag.error(file, file.key(&format!("/run/headers/{name}")), fault);
        } else if [
            "authorization",
            "cookie",
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
        ]
        .contains(&lower.as_str())
        {
            let hint = "say in `pack.toml` how the system is signed in to: `auth`";
            let fault = said("header", format!("a tool does not set `{name}`")).hint(hint);
            bag.error(file, file.key(&format!("/run/headers/{name}")), fault);
        }
    }
    if http.mock.is_empty() && spec.effect != Effect::Act {
        let fault = said("no_mock", "no mock says what the service answers in a test");
        let hint = "add `[[run.mock]]` with `request = \"GET /…\"` and `answer`";
        bag.error(file, file.key("/run"), fault.hint(hint));
    }
}

fn sql_body(file: &File<'_>, spec: &ToolSpec, sql: &SqlBody, bag: &mut Bag) {
    if spec.effect != Effect::Read {
        let fault = said("effect", "a query reads and does nothing else");
        bag.error(file, file.place("/effect"), fault.hint("write `effect = \"read\"`"));
    }
    let first = sql.query.split_whitespace().next().unwrap_or_default().to_lowercase();
    let several = sql.query.trim_end().trim_end_matches(';').contains(';');
    if several || !matches!(first.as_str(), "select" | "with") {
        let hint = "begin it with `select` or `with`";
        bag.error(
            file,
            file.place("/run/query"),
            said("query", "a query is one `select`").hint(hint),
        );
    }
    let highest = sql
        .query
        .split('$')
        .skip(1)
        .filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().ok()
        })
        .max()
        .unwrap_or_default();
    if highest != sql.parameters.len() {
        let message = format!(
            "the query uses {highest} parameters and `parameters` has {}",
            sql.parameters.len()
        );
        bag.error(file, file.place("/run/query"), said("query", message));
    }
    if sql.datasets.is_empty() {
        let hint = "name the tables in `run.datasets`";
        bag.error(file, file.key("/run"), said("query", "nothing says what is asked").hint(hint));
    }
    let promised: Vec<&str> = match &spec.output_schema["properties"] {
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    if !sql.single && !promised.contains(&"rows") {
        let hint = format!(
            "the result has `rows`, `row_count` and `cut`; the schema has {}",
            listed(&promised)
        );
        let fault = said("schema", "the output schema has no `rows`").hint(hint);
        bag.error(file, file.place("/outputSchema/properties"), fault);
    }
}
