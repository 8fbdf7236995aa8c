//! Company facts as the SEC publishes them, one line a fact.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::source::{Each, hand_out};
use super::{DatasetError, unreadable};

#[derive(Deserialize)]
struct Company<'a> {
    #[serde(borrow)]
    facts: BTreeMap<Cow<'a, str>, BTreeMap<Cow<'a, str>, Concept<'a>>>,
}

#[derive(Deserialize)]
struct Concept<'a> {
    #[serde(borrow, default)]
    units: BTreeMap<Cow<'a, str>, Vec<Fact<'a>>>,
}

#[derive(Deserialize)]
struct Fact<'a> {
    #[serde(default, borrow)]
    start: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    end: Option<Cow<'a, str>>,
    #[serde(default)]
    val: Value,
    #[serde(default)]
    fy: Option<i64>,
    #[serde(default, borrow)]
    fp: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    form: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    filed: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    accn: Option<Cow<'a, str>>,
}

/// See [`super::source::walk`].
pub(super) fn walk(bytes: &[u8], each: &mut Each<'_>) -> Result<Vec<String>, DatasetError> {
    let company: Company<'_> =
        serde_json::from_slice(bytes).map_err(|error| unreadable("the company facts", error))?;
    let concepts = || company.facts.values().flat_map(BTreeMap::values);
    let total = concepts().flat_map(|concept| concept.units.values()).map(Vec::len).sum();
    let text = |value: &Option<Cow<'_, str>>| Cow::Owned(value.as_deref().unwrap_or("").to_owned());
    let rows = company.facts.iter().flat_map(|(taxonomy, concepts)| {
        concepts.iter().flat_map(move |(tag, concept)| {
            concept.units.iter().flat_map(move |(unit, facts)| {
                facts.iter().map(move |fact| {
                    [
                        Cow::Borrowed(&**taxonomy),
                        Cow::Borrowed(&**tag),
                        Cow::Borrowed(&**unit),
                        text(&fact.start),
                        text(&fact.end),
                        Cow::Owned(match &fact.val {
                            Value::Null => String::new(),
                            Value::String(text) => text.clone(),
                            other => other.to_string(),
                        }),
                        Cow::Owned(fact.fy.map(|year| year.to_string()).unwrap_or_default()),
                        text(&fact.fp),
                        text(&fact.form),
                        text(&fact.filed),
                        text(&fact.accn),
                    ]
                })
            })
        })
    });
    let names = [
        "taxonomy",
        "tag",
        "unit",
        "start",
        "end",
        "value",
        "fiscal_year",
        "fiscal_period",
        "form",
        "filed",
        "accession",
    ];
    hand_out(names, rows, total, each)
}
