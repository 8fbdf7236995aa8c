//! Documents, answer templates, phrases, and files that belong nowhere.

use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::Environment;

use super::locate::offset;
use super::names::{listed, meant};
use super::{Bag, Opened, Severity, said, utf8};
use crate::retrieve::{Document, check_documents};
use crate::synth::{LANGS, Template};

/// Checks what is text and not a structure.
pub(super) fn check(opened: &Opened<'_>, bag: &mut Bag) {
    let mut documents = Vec::new();
    for (path, bytes) in opened.files.below("") {
        match path.split_once('/') {
            Some(("knowledge", name)) if name.ends_with(".md") => {
                let Some(text) = utf8(path, bytes, bag) else { continue };
                match Document::parse(text) {
                    Ok(document) => documents.push((path, text, document)),
                    Err(message) => {
                        let span = of_front_matter(text, &message);
                        bag.add(Severity::Error, path, text, span, said("document", message));
                    }
                }
            }
            Some(("answers", name)) if name.ends_with(".jinja") => {
                if let Some(text) = utf8(path, bytes, bag) {
                    answer(opened, path, name.trim_end_matches(".jinja"), text, bag);
                }
            }
            Some(("synth", name)) if name.ends_with(".toml") => {
                if let Some(text) = utf8(path, bytes, bag) {
                    phrases(opened, path, name.trim_end_matches(".toml"), text, bag);
                }
            }
            Some(("tools", name)) if name.ends_with(".json") || name.ends_with(".toml") => {}
            Some(("fixtures", _)) => {}
            _ if KNOWN.contains(&path) => {}
            _ => {
                let span = 0..0;
                let hint = "a pack has `pack.toml`, `policy.toml`, `fill.toml`, `cite.toml`, `README.md`, `tools/`, `knowledge/*.md`, `answers/*.jinja`, `synth/*.toml`, `evals/` and `fixtures/`";
                let fault = said("unknown_file", "nothing reads this file").hint(hint);
                bag.add(Severity::Warning, path, "", span, fault);
            }
        }
    }
    together(&documents, bag);
    missing_answers(opened, bag);
}

/// Files that are read by name.
const KNOWN: [&str; 9] = [
    "pack.toml",
    "policy.toml",
    "fill.toml",
    "cite.toml",
    "README.md",
    "LICENSE",
    "evals/cases.jsonl",
    "evals/retrieval.jsonl",
    "fixtures/index.toml",
];

/// Returns the line of the front matter that a message is about, or the first line.
fn of_front_matter(text: &str, message: &str) -> Range<usize> {
    let key = message.split('`').nth(1).unwrap_or_default();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let named = line.split(':').next().is_some_and(|name| name.trim() == key);
        if named && !key.is_empty() {
            return at..at + line.trim_end().len();
        }
        at += line.len();
    }
    0..text.find('\n').unwrap_or(text.len())
}

/// Checks what documents say of each other.
fn together(documents: &[(&str, &str, Document)], bag: &mut Bag) {
    let all: Vec<Document> = documents.iter().map(|(_, _, document)| document.clone()).collect();
    if let Err((id, message)) = check_documents(&all) {
        let found = documents.iter().rev().find(|(_, _, document)| document.id == id);
        if let Some((path, text, _)) = found {
            let about = if message.contains("supersedes") { "`supersedes`" } else { "`id`" };
            let span = of_front_matter(text, about);
            bag.add(Severity::Error, path, text, span, said("document", message));
        }
    }
}

/// Checks one template: its name, its grammar, and that it says only what the tool gives.
fn answer(opened: &Opened<'_>, path: &str, name: &str, text: &str, bag: &mut Bag) {
    let Some((tool, lang)) = name.split_once('.') else {
        let hint = "write `answers/TOOL.en.jinja`";
        return bag.file(path, text, said("file_name", "the name has no language").hint(hint));
    };
    if !LANGS.contains(&lang) {
        let fault = said("file_name", format!("`{lang}` is not one of {}", listed(&LANGS)));
        bag.file(path, text, fault);
    }
    if !opened.tool_names.iter().any(|known| known == tool) {
        let hint = meant(tool, opened.tool_names.iter().map(String::as_str));
        let fault = said("unknown_tool", format!("the pack has no tool `{tool}`")).hint(hint);
        bag.file(path, text, fault);
    }
    let mut environment = Environment::new();
    if let Err(error) = environment.add_template(name, text) {
        let span = error.range().unwrap_or_else(|| {
            let at = offset(text, error.line().unwrap_or(1), 1);
            at..at
        });
        let message = error.detail().map_or_else(|| error.to_string(), str::to_owned);
        return bag.add(Severity::Error, path, text, span, said("template", message));
    }
    let (Some((_, spec)), Ok(template)) = (opened.tools.get(tool), environment.get_template(name))
    else {
        return;
    };
    let mut used: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    used.sort();
    for variable in used {
        let mut steps = variable.split('.');
        let (root, first) = (steps.next().unwrap_or_default(), steps.next());
        let (schema, whose) = match root {
            "result" => (&spec.output_schema, "the result"),
            "args" => (&spec.input_schema, "the arguments"),
            _ => {
                let hint = "a template knows `result` and `args`";
                let fault = said("template", format!("there is no `{root}`")).hint(hint);
                bag.add(Severity::Error, path, text, place(text, root), fault);
                continue;
            }
        };
        let (Some(first), Some(known)) = (first, schema["properties"].as_object()) else {
            continue;
        };
        if !known.contains_key(first) {
            let message = format!("{whose} of `{tool}` has no `{first}`");
            let fault =
                said("template", message).hint(meant(first, known.keys().map(String::as_str)));
            bag.add(Severity::Error, path, text, place(text, &format!("{root}.{first}")), fault);
        }
    }
}

fn place(text: &str, words: &str) -> Range<usize> {
    text.find(words).map_or(0..0, |at| at..at + words.len())
}

/// A tool is said in each language of the pack.
fn missing_answers(opened: &Opened<'_>, bag: &mut Bag) {
    let Some((_, manifest)) = &opened.manifest else { return };
    for (name, (file, _)) in &opened.tools {
        for lang in &manifest.languages {
            let path = format!("answers/{name}.{lang}.jinja");
            if opened.files.get(&path).is_none() {
                let hint = "write there how the result is said, its number in bold: `**{{ result.total }}**`";
                let fault = said("missing_file", format!("`{path}` is missing")).hint(hint);
                bag.error(file, file.place("/name"), fault);
            }
        }
    }
}

/// Checks the grammar of a file of phrases, and that its tool is there.
fn phrases(opened: &Opened<'_>, path: &str, name: &str, text: &str, bag: &mut Bag) {
    let read: Result<(), toml::de::Error> = if name.starts_with('_') && name != "_other" {
        toml::from_str::<BTreeMap<String, toml::Value>>(text).map(drop)
    } else {
        toml::from_str::<Template>(text).map(drop)
    };
    if let Err(error) = read {
        let span = error.span().unwrap_or(0..0);
        bag.add(Severity::Error, path, text, span, said("phrases", error.message()));
    }
    if !name.starts_with('_') && !opened.tool_names.iter().any(|known| known == name) {
        let hint = meant(name, opened.tool_names.iter().map(String::as_str));
        let fault = said("unknown_tool", format!("the pack has no tool `{name}`")).hint(hint);
        bag.file(path, text, fault);
    }
}
