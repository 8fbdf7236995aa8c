//! What a trouble code points to and what to test first, from the pack's own texts and the tenant's.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::{Table, ToolContext, ToolError, Window, decode, warning};

/// The pack's own texts.
const TEXTS: &str = include_str!("dtc.toml");

/// The tenant's texts: `code, title, severity` and, where wanted, `likely_causes`, `first_tests`
/// (separated by semicolons), `make`, `lang`, `document_id`, `document_title`; optional.
const TENANT: &str = "automotive_dtc_texts";

/// Severities, mildest first.
const SEVERITIES: [&str; 4] = ["routine", "service_soon", "urgent", "stop_safely"];

/// Most causes or tests of a code.
const MOST: usize = 8;

#[derive(Deserialize)]
struct Arguments {
    codes: Vec<String>,
    make: Option<String>,
    #[serde(default = "english")]
    lang: String,
}

fn english() -> String {
    "en".to_owned()
}

/// One text in the three languages.
type Words = BTreeMap<String, String>;

#[derive(Default, Deserialize)]
struct Texts {
    causes: BTreeMap<String, Words>,
    tests: BTreeMap<String, Words>,
    documents: BTreeMap<String, BTreeMap<String, Document>>,
    code: Vec<Entry>,
    related: Vec<Related>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    severity: String,
    title: Words,
    causes: Vec<String>,
    tests: Vec<String>,
    /// Document of the pack that goes further.
    document: Option<String>,
}

/// A document of the pack in one language.
#[derive(Deserialize)]
struct Document {
    id: String,
    title: String,
}

#[derive(Deserialize)]
struct Related {
    codes: Vec<String>,
    cause: Words,
}

fn texts() -> &'static Texts {
    static TEXT: OnceLock<Texts> = OnceLock::new();
    // A test reads the file and fails where it does not parse.
    TEXT.get_or_init(|| toml::from_str(TEXTS).unwrap_or_default())
}

fn say<'a>(words: &'a Words, lang: &str) -> &'a str {
    words.get(lang).or_else(|| words.get("en")).map_or("", String::as_str)
}

fn system(code: &str) -> &'static str {
    match code.chars().next() {
        Some('C') => "chassis",
        Some('B') => "body",
        Some('U') => "network",
        _ => "powertrain",
    }
}

/// Tells whether the meaning of a code is shared by all makers.
///
/// # Source
/// SAE J2012 / ISO 15031-6, structure of the codes: P0, P2 and P34 to P39, C0, B0 and U0.
fn is_generic(code: &str) -> bool {
    let mut characters = code.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some('P'), Some('0' | '2'), _) | (Some('C' | 'B' | 'U'), Some('0'), _) => true,
        (Some('P'), Some('3'), Some(third)) => third >= '4',
        _ => false,
    }
}

/// A text found for a code.
struct Found {
    title: String,
    severity: &'static str,
    causes: Vec<String>,
    tests: Vec<String>,
    sources: Vec<Value>,
}

fn of_pack(code: &str, lang: &str) -> Option<Found> {
    let texts = texts();
    let entry = texts.code.iter().find(|entry| entry.id == code)?;
    let all = |keys: &[String], words: &BTreeMap<String, Words>| {
        keys.iter().filter_map(|key| words.get(key)).map(|w| say(w, lang).to_owned()).collect()
    };
    let mut sources: Vec<Value> = vec![json!({
        "document_id": "automotive-dtc",
        "title": "Trouble code texts of the pack",
        "passage": code,
    })];
    let further = entry.document.as_ref().and_then(|key| texts.documents.get(key));
    if let Some(document) = further.and_then(|by| by.get(lang).or_else(|| by.get("en"))) {
        sources.push(json!({
            "document_id": document.id, "title": document.title, "passage": "0",
        }));
    }
    Some(Found {
        title: say(&entry.title, lang).to_owned(),
        severity: SEVERITIES.iter().find(|known| **known == entry.severity)?,
        causes: all(&entry.causes, &texts.causes),
        tests: all(&entry.tests, &texts.tests),
        sources,
    })
}

/// Finds a text of the tenant: of the make and language asked for before any other.
fn of_tenant(table: &Table, code: &str, args: &Arguments) -> Result<Option<Found>, ToolError> {
    let at = table.column("code")?;
    let cell = |row: &[String], name: &str| {
        table.find(name).map(|at| row[at].trim().to_owned()).filter(|text| !text.is_empty())
    };
    let fits = |row: &[String], name: &str, wanted: Option<&str>| match (cell(row, name), wanted) {
        (None, _) => Some(0),
        (Some(text), Some(wanted)) if text.eq_ignore_ascii_case(wanted) => Some(1),
        _ => None,
    };
    let rows = table.rows.iter().filter(|row| row[at].eq_ignore_ascii_case(code));
    let ranked = rows.filter_map(|row| {
        let make = fits(row, "make", args.make.as_deref())?;
        Some((make, fits(row, "lang", Some(&args.lang))?, row))
    });
    let Some((_, _, row)) = ranked.max_by_key(|(make, lang, _)| (*make, *lang)) else {
        return Ok(None);
    };
    let severity = cell(row, "severity").unwrap_or_default();
    let severity = SEVERITIES.iter().find(|known| **known == severity).ok_or_else(|| {
        ToolError::invalid(
            "/codes",
            format!("{TENANT}: the severity of {code} is one of {}", SEVERITIES.join(", ")),
        )
    })?;
    let list = |name: &str| -> Vec<String> {
        let text = cell(row, name).unwrap_or_default();
        let items = text.split(';').map(str::trim).filter(|item| !item.is_empty());
        items.take(MOST).map(str::to_owned).collect()
    };
    Ok(Some(Found {
        title: cell(row, "title").unwrap_or_else(|| code.to_owned()),
        severity,
        causes: list("likely_causes"),
        tests: list("first_tests"),
        sources: vec![json!({
            "document_id": cell(row, "document_id").unwrap_or_else(|| TENANT.to_owned()),
            "title": cell(row, "document_title").unwrap_or_else(|| table.source.to_string()),
            "passage": code,
        })],
    }))
}

/// Says which of the codes share a cause.
fn related(codes: &[String], lang: &str) -> Vec<Value> {
    let groups = texts().related.iter().filter_map(|group| {
        let mut shared: Vec<&String> = Vec::new();
        for code in codes {
            if group.codes.contains(code) && !shared.contains(&code) {
                shared.push(code);
            }
        }
        let cause = say(&group.cause, lang);
        (shared.len() > 1).then(|| json!({ "codes": shared, "common_cause": cause }))
    });
    groups.collect()
}

/// Explains codes in the order asked; a code without a text is named as unknown, never guessed.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a text of the tenant has a severity that is none.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let codes: Vec<String> =
        args.codes.iter().filter_map(|code| code.get(..5)).map(str::to_ascii_uppercase).collect();
    let tenant = match context.datasets.table(TENANT, &Window::default()) {
        Ok(table) => Some(table),
        Err(ToolError::NoData { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut items = Vec::with_capacity(codes.len());
    let mut unknown = Vec::new();
    for code in &codes {
        let own = match &tenant {
            Some(table) => of_tenant(table, code, &args)?,
            None => None,
        };
        let found = own.or_else(|| of_pack(code, &args.lang));
        if found.is_none() {
            unknown.push(code.as_str());
        }
        let text = found.as_ref();
        items.push(json!({
            "code": code,
            "known": text.is_some(),
            "system": system(code),
            "scope": if is_generic(code) { "generic" } else { "manufacturer" },
            "title": text.map(|text| text.title.as_str()),
            "severity": text.map(|text| text.severity),
            "likely_causes": text.map(|text| text.causes.as_slice()).unwrap_or_default(),
            "first_tests": text.map(|text| text.tests.as_slice()).unwrap_or_default(),
            "sources": text.map(|text| text.sources.as_slice()).unwrap_or_default(),
        }));
    }
    let mut warnings = vec![warning(
        "code_is_not_a_part",
        "A code points to a circuit or a symptom; test before parts are ordered.",
    )];
    if !unknown.is_empty() {
        warnings.push(warning(
            "no_text",
            format!("There is no text for {}; see the maker's procedure.", unknown.join(", ")),
        ));
    }
    Ok(json!({
        "items": items,
        "related": related(&codes, &args.lang),
        "method": "Own texts and the tenant's; system and scope from the structure of the code (SAE J2012)",
        "warnings": warnings,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_three_languages_and_names_known_causes_and_tests() {
        let texts: Texts = toml::from_str(TEXTS).unwrap();
        assert!(texts.code.len() > 100);
        let whole = |words: &Words| {
            ["en", "zh-Hant", "zh-Hans"].iter().all(|lang| words.contains_key(*lang))
        };
        assert!(texts.causes.values().chain(texts.tests.values()).all(whole));
        for entry in &texts.code {
            assert!(whole(&entry.title), "{}", entry.id);
            assert!(SEVERITIES.contains(&entry.severity.as_str()), "{}", entry.id);
            assert!(entry.document.iter().all(|key| texts.documents.contains_key(key)));
            assert!(entry.causes.iter().all(|key| texts.causes.contains_key(key)), "{}", entry.id);
            assert!(entry.tests.iter().all(|key| texts.tests.contains_key(key)), "{}", entry.id);
        }
        let pack = crate::pack::shipped().unwrap().iter().find(|p| p.manifest.id == "automotive");
        for document in texts.documents.values().flat_map(BTreeMap::values) {
            let file = format!("knowledge/{}.md", document.id);
            let text = String::from_utf8_lossy(pack.unwrap().files.get(&file).unwrap());
            assert!(text.contains(&format!("\ntitle: {}\n", document.title)), "{file}");
        }
        let known = |id: &String| texts.code.iter().any(|entry| entry.id == *id);
        assert!(texts.related.iter().all(|group| group.codes.iter().all(known)));
    }
}
