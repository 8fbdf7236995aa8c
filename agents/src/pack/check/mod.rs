//! Every mistake of a pack's files, each with its place, what is wrong and what would be right.
//!
//! Three passes: what does not read ([`locate`]), what does not fit the schema of its file
//! ([`shape`]), and what does not fit the rest of the pack ([`meaning`]). A file that fails a pass is left
//! out of the later ones, so that one slip does not make a list of others. What a pack *does* is judged by
//! [`crate::judge`].

mod locate;
mod meaning;
mod names;
mod shape;
mod text;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::{Manifest, PackFiles, schema};
use crate::tool::ToolSpec;
use locate::{Places, Unread};

/// Most mistakes that are told of one file; a file with more has one cause.
const MOST_OF_FILE: usize = 50;

/// How bad a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The pack does not work, or not as it says.
    Error,
    /// The pack works; something is likely not meant.
    Warning,
}

/// A mistake and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Path inside the pack.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the kind of mistake.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What would be right, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Bytes of the file that it is about.
    #[serde(skip)]
    pub span: Range<usize>,
}

/// A structured file that reads.
struct File<'a> {
    path: &'a str,
    text: &'a str,
    value: Value,
    places: Places,
    /// Bytes of the file before `text`, for a line of JSON Lines.
    base: usize,
    /// The whole file.
    whole: &'a str,
}

impl File<'_> {
    /// Returns where a value stands, or what it would stand in.
    fn place(&self, pointer: &str) -> Range<usize> {
        let mut at = pointer;
        loop {
            if let Some(place) = self.places.get(at) {
                // A table of TOML spans what follows it; its name says which it is.
                let long = self.text[place.value.clone()].contains('\n');
                return match &place.key {
                    Some(key) if long || at != pointer => key.clone(),
                    _ => self.first_line(place.value.clone()),
                };
            }
            match at.rfind('/') {
                Some(end) => at = &at[..end],
                None => return 0..0,
            }
        }
    }

    /// Returns where a key stands.
    fn key(&self, pointer: &str) -> Range<usize> {
        let key = self.places.get(pointer).and_then(|place| place.key.clone());
        key.unwrap_or_else(|| self.place(pointer))
    }

    fn first_line(&self, span: Range<usize>) -> Range<usize> {
        let end = self.text[span.clone()].find('\n').map_or(span.end, |end| span.start + end);
        span.start..end
    }
}

/// Collects mistakes.
#[derive(Default)]
struct Bag {
    mistakes: Vec<Mistake>,
    of_file: BTreeMap<String, usize>,
}

/// What is said of a mistake.
struct Said {
    code: &'static str,
    message: String,
    hint: Option<String>,
}

fn said(code: &'static str, message: impl Into<String>) -> Said {
    Said { code, message: message.into(), hint: None }
}

impl Said {
    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Bag {
    fn add(&mut self, severity: Severity, path: &str, text: &str, span: Range<usize>, said: Said) {
        let count = self.of_file.entry(path.to_owned()).or_default();
        *count += 1;
        if *count > MOST_OF_FILE {
            return;
        }
        let (line, column) = locate::line_column(text, span.start);
        let short = |text: String| -> String {
            if text.chars().count() <= 400 {
                text
            } else {
                text.chars().take(400).chain(['…']).collect()
            }
        };
        let mistake = Mistake {
            file: path.to_owned(),
            line,
            column,
            severity,
            code: said.code,
            message: short(said.message),
            hint: said.hint.map(short),
            span,
        };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    fn error(&mut self, file: &File<'_>, span: Range<usize>, said: Said) {
        let span = span.start + file.base..span.end + file.base;
        self.add(Severity::Error, file.path, file.whole, span, said);
    }

    /// Tells of a file as a whole.
    fn file(&mut self, path: &str, text: &str, said: Said) {
        let end = text.find('\n').unwrap_or(text.len());
        self.add(Severity::Error, path, text, 0..end, said);
    }

    fn is_clean(&self, path: &str) -> bool {
        !self.mistakes.iter().any(|one| one.file == path && one.severity == Severity::Error)
    }
}

/// What the passes have read of a pack.
struct Opened<'a> {
    files: &'a PackFiles,
    manifest: Option<(File<'a>, Manifest)>,
    /// By name, which is that of the file.
    tools: BTreeMap<String, (File<'a>, ToolSpec)>,
    /// Names of all tools, those that do not read among them.
    tool_names: Vec<String>,
    policy: Option<File<'a>>,
    fill: Option<File<'a>>,
    cite: Option<File<'a>>,
    fixtures: Option<File<'a>>,
    cases: Vec<File<'a>>,
    questions: Vec<File<'a>>,
}

/// Finds every mistake of a pack, in order of files and lines.
///
/// # Cost
/// Linear in the size of the files; each file tells of 50 mistakes at most.
pub fn check(files: &PackFiles) -> Vec<Mistake> {
    let mut bag = Bag::default();
    let opened = open(files, &mut bag);
    if files.get("pack.toml").is_none() {
        let hint = "make one with `tessera pack new`";
        bag.file("pack.toml", "", said("missing_file", "the pack has no `pack.toml`").hint(hint));
    }
    meaning::check(&opened, &mut bag);
    text::check(&opened, &mut bag);
    let mut mistakes = bag.mistakes;
    mistakes.sort_by(|a, b| (&a.file, a.span.start).cmp(&(&b.file, b.span.start)));
    mistakes
}

/// Reads a file as UTF-8, or tells that it is none.
fn utf8<'a>(path: &str, bytes: &'a Arc<[u8]>, bag: &mut Bag) -> Option<&'a str> {
    std::str::from_utf8(bytes)
        .map_err(|error| {
            let at = error.valid_up_to();
            let message = format!("byte {at} is no UTF-8; save the file as UTF-8");
            bag.file(path, "", said("not_utf8", message));
        })
        .ok()
}

/// Opens a structured file and holds it to its schema.
fn structured<'a>(path: &'a str, text: &'a str, kind: &str, bag: &mut Bag) -> Option<File<'a>> {
    let read = if path.ends_with(".json") { locate::json(text) } else { locate::toml(text) };
    let file = keep(read, path, text, (text, 0), bag)?;
    shape::check(&file, schema::kind(kind)?, bag);
    Some(file)
}

fn keep<'a>(
    read: Result<(Value, Places), Vec<Unread>>,
    path: &'a str,
    text: &'a str,
    (whole, base): (&'a str, usize),
    bag: &mut Bag,
) -> Option<File<'a>> {
    match read {
        Ok((value, places)) => Some(File { path, text, value, places, base, whole }),
        Err(unread) => {
            for one in unread {
                let span = one.span.start + base..one.span.end + base;
                bag.add(Severity::Error, path, whole, span, said("syntax", one.message));
            }
            None
        }
    }
}

/// Opens a file of one JSON value a line.
fn lines<'a>(path: &'a str, text: &'a str, kind: &str, bag: &mut Bag) -> Vec<File<'a>> {
    let mut base = 0;
    let mut all = Vec::new();
    for line in text.split_inclusive('\n') {
        let words = line.trim_end();
        if !words.is_empty() {
            let read = locate::json(words);
            if let (Some(file), Some(kind)) =
                (keep(read, path, words, (text, base), bag), schema::kind(kind))
            {
                shape::check(&file, kind, bag);
                all.push(file);
            }
        }
        base += line.len();
    }
    all
}

fn open<'a>(files: &'a PackFiles, bag: &mut Bag) -> Opened<'a> {
    let mut opened = Opened {
        files,
        manifest: None,
        tools: BTreeMap::new(),
        tool_names: Vec::new(),
        policy: None,
        fill: None,
        cite: None,
        fixtures: None,
        cases: Vec::new(),
        questions: Vec::new(),
    };
    for (path, bytes) in files.below("") {
        let named = path.strip_prefix("tools/").and_then(|name| name.rsplit_once('.'));
        match (path, named) {
            (_, Some((name, "toml" | "json"))) => {
                opened.tool_names.push(name.to_owned());
                let file = utf8(path, bytes, bag).and_then(|t| structured(path, t, "tool", bag));
                let spec = file
                    .as_ref()
                    .filter(|_| bag.is_clean(path))
                    .and_then(|file| serde_json::from_value::<ToolSpec>(file.value.clone()).ok());
                if let (Some(file), Some(spec)) = (file, spec) {
                    opened.tools.insert(name.to_owned(), (file, spec));
                }
            }
            ("pack.toml", _) => {
                let file = utf8(path, bytes, bag).and_then(|t| structured(path, t, "pack", bag));
                let manifest = file
                    .as_ref()
                    .filter(|_| bag.is_clean(path))
                    .and_then(|file| serde_json::from_value::<Manifest>(file.value.clone()).ok());
                opened.manifest = file.zip(manifest);
            }
            ("policy.toml" | "fill.toml" | "cite.toml" | "fixtures/index.toml", _) => {
                let kind = match path {
                    "fixtures/index.toml" => "fixtures",
                    other => other.trim_end_matches(".toml"),
                };
                let file = utf8(path, bytes, bag).and_then(|t| structured(path, t, kind, bag));
                let file = file.filter(|_| bag.is_clean(path));
                match path {
                    "policy.toml" => opened.policy = file,
                    "fill.toml" => opened.fill = file,
                    "cite.toml" => opened.cite = file,
                    _ => opened.fixtures = file,
                }
            }
            ("evals/cases.jsonl", _) => {
                if let Some(text) = utf8(path, bytes, bag) {
                    opened.cases = lines(path, text, "case", bag);
                }
            }
            ("evals/retrieval.jsonl", _) => {
                if let Some(text) = utf8(path, bytes, bag) {
                    opened.questions = lines(path, text, "retrieval", bag);
                }
            }
            _ => {}
        }
    }
    opened
}

#[cfg(test)]
mod tests;
