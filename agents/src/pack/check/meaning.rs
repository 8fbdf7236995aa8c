//! What does not fit the rest of the pack: names that are not there, schemas that do not compile, tools
//! that could not do what they promise.

mod evals;
mod manifest;
mod policy;
mod tools;

use std::collections::BTreeSet;

use serde_json::Value;

use super::names::meant;
use super::{Bag, File, Opened, said};

/// Checks the parts against each other.
pub(super) fn check(opened: &Opened<'_>, bag: &mut Bag) {
    manifest::check(opened, bag);
    tools::check(opened, bag);
    policy::check(opened, bag);
    evals::check(opened, bag);
    fill(opened, bag);
    let documents = documents(opened);
    cite(opened, &documents, bag);
    fixtures(opened, bag);
}

/// Tells of a tool that is not there.
fn tool(opened: &Opened<'_>, file: &File<'_>, pointer: &str, name: &str, bag: &mut Bag) {
    if !opened.tool_names.iter().any(|known| known == name) {
        let hint = meant(name, opened.tool_names.iter().map(String::as_str));
        let fault = said("unknown_tool", format!("the pack has no tool `{name}`")).hint(hint);
        // In some files the name is a key, in others a value.
        let is_key = pointer.ends_with(&format!("/{name}"));
        let span = if is_key { file.key(pointer) } else { file.place(pointer) };
        bag.error(file, span, fault);
    }
}

/// Returns the identifiers of the documents, read from their front matter.
fn documents(opened: &Opened<'_>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for (_, bytes) in opened.files.below("knowledge/").filter(|(path, _)| path.ends_with(".md")) {
        let text = String::from_utf8_lossy(bytes);
        let head = text.split("\n---").next().unwrap_or_default();
        let id = head.lines().find_map(|line| line.strip_prefix("id:"));
        ids.extend(id.map(|id| id.trim().trim_matches('"').to_owned()));
    }
    ids
}

fn fill(opened: &Opened<'_>, bag: &mut Bag) {
    let Some(file) = &opened.fill else { return };
    for (name, paths) in file.value.as_object().into_iter().flatten() {
        tool(opened, file, &format!("/{name}"), name, bag);
        let Some((_, spec)) = opened.tools.get(name) else { continue };
        let known = spec.input_schema["properties"].as_object();
        for path in paths.as_object().into_iter().flatten().map(|(path, _)| path) {
            let first = path.split('.').next().unwrap_or_default();
            if let Some(known) = known.filter(|known| !known.contains_key(first)) {
                let hint = meant(first, known.keys().map(String::as_str));
                let fault = said("unknown_argument", format!("`{name}` has no argument `{first}`"));
                bag.error(file, file.key(&format!("/{name}/{path}")), fault.hint(hint));
            }
        }
    }
}

fn cite(opened: &Opened<'_>, documents: &BTreeSet<String>, bag: &mut Bag) {
    let Some(file) = &opened.cite else { return };
    for (name, ids) in file.value.as_object().into_iter().flatten() {
        tool(opened, file, &format!("/{name}"), name, bag);
        for (at, id) in ids.as_array().into_iter().flatten().filter_map(Value::as_str).enumerate() {
            document(file, &format!("/{name}/{at}"), id, documents, bag);
        }
    }
}

fn document(file: &File<'_>, pointer: &str, id: &str, documents: &BTreeSet<String>, bag: &mut Bag) {
    if !documents.contains(id) {
        let hint = meant(id, documents.iter().map(String::as_str));
        let fault = said("unknown_document", format!("the pack has no document `{id}`"));
        bag.error(file, file.place(pointer), fault.hint(hint));
    }
}

fn fixtures(opened: &Opened<'_>, bag: &mut Bag) {
    let Some(file) = &opened.fixtures else { return };
    let mut seen = BTreeSet::new();
    for (at, entry) in file.value["dataset"].as_array().into_iter().flatten().enumerate() {
        let (id, name) = (entry["id"].as_str(), entry["file"].as_str());
        if id.is_some_and(|id| !seen.insert(id)) {
            let fault = said("twice", "another dataset has this identifier");
            bag.error(file, file.place(&format!("/dataset/{at}/id")), fault);
        }
        let Some(name) = name else { continue };
        if opened.files.get(&format!("fixtures/{name}")).is_none() {
            let there = opened.files.below("fixtures/").map(|(path, _)| &path["fixtures/".len()..]);
            let fault = said("missing_file", format!("`fixtures/{name}` is missing"));
            let fault = fault.hint(meant(name, there));
            bag.error(file, file.place(&format!("/dataset/{at}/file")), fault);
        }
    }
}
