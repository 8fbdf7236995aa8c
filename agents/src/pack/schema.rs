//! JSON Schemas (2020-12) of the files of a pack, made from the types that read them: for editors, for
//! [`super::check`], and for the reference page.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

use super::Manifest;
use super::fixtures::Index;
use crate::eval::Case;
use crate::judge::Question;
use crate::policy::Policy;
use crate::tool::ToolSpec;

/// One kind of file of a pack.
#[derive(Debug)]
pub struct FileKind {
    /// Name of the schema: `NAME.schema.json`.
    pub name: &'static str,
    /// Where such files lie in a pack.
    pub files: &'static str,
    /// What they are for.
    pub about: &'static str,
    /// The schema; of one line for files of JSON Lines.
    pub schema: Value,
    validator: Option<jsonschema::Validator>,
}

impl FileKind {
    fn new<T: JsonSchema>(name: &'static str, files: &'static str, about: &'static str) -> Self {
        let mut schema = schema_for!(T).to_value();
        close(&mut schema);
        schema["title"] = json!(files);
        // The schema is made from types of this program; a test compiles each.
        let validator = jsonschema::validator_for(&schema).ok();
        Self { name, files, about, schema, validator }
    }

    /// Returns what checks such a file; a test shows that each schema compiles.
    pub(super) fn validator(&self) -> Option<&jsonschema::Validator> {
        self.validator.as_ref()
    }
}

/// What a pack supplies where a request does not say it: by tool, by the path of the argument.
type FillFile = BTreeMap<String, BTreeMap<String, Value>>;

/// The documents that explain what a tool does: by tool, identifiers, best first.
type CiteFile = BTreeMap<String, Vec<String>>;

/// Returns the kinds of files that have a schema.
pub fn kinds() -> &'static [FileKind] {
    static KINDS: OnceLock<Vec<FileKind>> = OnceLock::new();
    KINDS.get_or_init(|| {
        vec![
            FileKind::new::<Manifest>(
                "pack",
                "pack.toml",
                "Who the pack is, what a joint venture is asked at its install, and which systems it reaches.",
            ),
            FileKind::new::<ToolSpec>(
                "tool",
                "tools/NAME.toml, tools/NAME.json",
                "A tool: what it is called with, what it gives, what it changes, and how it works.",
            ),
            FileKind::new::<Policy>(
                "policy",
                "policy.toml",
                "Who may call what, when a person decides, and words after which a person takes over.",
            ),
            FileKind::new::<Case>(
                "case",
                "evals/cases.jsonl",
                "One request a line and what must become of it.",
            ),
            FileKind::new::<Question>(
                "retrieval",
                "evals/retrieval.jsonl",
                "One question a line and the documents that answer it.",
            ),
            FileKind::new::<Index>(
                "fixtures",
                "fixtures/index.toml",
                "The datasets that known answers and a demo use.",
            ),
            FileKind::new::<FillFile>(
                "fill",
                "fill.toml",
                "What a call gets where the request does not say it: by tool, by the path of the argument.",
            ),
            FileKind::new::<CiteFile>(
                "cite",
                "cite.toml",
                "The documents that explain what a tool does: by tool, best first.",
            ),
        ]
    })
}

/// Returns a kind by its name.
pub fn kind(name: &str) -> Option<&'static FileKind> {
    kinds().iter().find(|kind| kind.name == name)
}

/// Closes objects to keys that they do not name, so that a slip of the pen is found, and takes links of
/// this program's documentation out of the descriptions.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let open = map.get("properties").is_some_and(Value::is_object)
                && !map.contains_key("additionalProperties")
                && !map.contains_key("$ref");
            if open {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`").replace('\n', " ");
            }
            for (key, inner) in map.iter_mut() {
                if key != "default" && key != "const" && key != "enum" {
                    close(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Describes every file and key, made from the schemas.
pub fn reference() -> String {
    let mut out = "# The files of a pack\n\nThis page is made from the schemas that `tessera pack check` uses, by `tessera pack schema --page docs/pack-reference.md`; a test fails when it is out of date.\n".to_owned();
    for kind in kinds() {
        out.push_str(&format!("\n## {}\n\n{}\n", kind.files, kind.about));
        table(&mut out, &kind.schema);
        let parts = kind.schema["$defs"].as_object().into_iter().flatten();
        for (name, part) in parts {
            out.push_str(&format!("\n### {name}\n\n{}\n", said(part)));
            table(&mut out, part);
        }
    }
    out
}

fn table(out: &mut String, schema: &Value) {
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        let named = variant["properties"]["kind"]["const"].as_str().or(variant["const"].as_str());
        if let Some(name) = named {
            out.push_str(&format!("\n`{name}`: {}\n", said(variant)));
        }
        table(out, variant);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    out.push_str("\n| Key | Value | Needed | What it says |\n|---|---|---|---|\n");
    for (key, property) in properties.iter().filter(|(_, one)| one.get("const").is_none()) {
        let needed = if required.contains(&key.as_str()) { "yes" } else { "" };
        let text = said(property).replace('|', "\\|");
        out.push_str(&format!("| `{key}` | {} | {needed} | {text} |\n", shape(property)));
    }
}

fn said(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// Says in a word what a value is.
fn shape(schema: &Value) -> String {
    if let Some(to) = schema["$ref"].as_str() {
        return to.rsplit('/').next().unwrap_or_default().to_owned();
    }
    let choices: Vec<String> = ["anyOf", "oneOf", "allOf"]
        .iter()
        .filter_map(|key| schema[*key].as_array())
        .flatten()
        .map(shape)
        .filter(|shape| shape != "null")
        .collect();
    if !choices.is_empty() {
        return choices.join(" or ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => {
            all.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect()
        }
        _ => vec!["any"],
    };
    match types.as_slice() {
        ["array"] => format!("list of {}", shape(&schema["items"])),
        ["object"] if schema["additionalProperties"].is_object() => {
            format!("table of {}", shape(&schema["additionalProperties"]))
        }
        ["object"] => "table".to_owned(),
        ["string"] => "text".to_owned(),
        other => other.join(" or "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles_and_describes_each_of_its_keys() {
        for kind in kinds() {
            assert!(kind.validator().is_some(), "{}", kind.name);
            let schemas = kind.schema["$defs"].as_object().into_iter().flat_map(|d| d.values());
            for schema in schemas.chain([&kind.schema]) {
                for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                    let said = !said(property).is_empty() || property.get("$ref").is_some();
                    assert!(said, "{}: `{key}` says nothing", kind.name);
                }
            }
        }
    }
}
