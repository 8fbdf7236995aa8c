//! Parts and check digit of a vehicle identification number.

use serde::Deserialize;
use serde_json::{Value, json};

use super::vin;
use crate::tool::{ToolContext, ToolError, decode};

#[derive(Deserialize)]
struct Arguments {
    vin: String,
    market: Option<String>,
}

/// World manufacturer identifiers that the pack knows.
///
/// # Source
/// Public listings of SAE J1044 assignments (NHTSA vPIC).
const MAKERS: [(&str, &str); 12] = [
    ("1HG", "Honda"),
    ("1M8", "Motor Coach Industries"),
    ("1FT", "Ford"),
    ("1G1", "Chevrolet"),
    ("5YJ", "Tesla"),
    ("JTD", "Toyota"),
    ("KMH", "Hyundai"),
    ("LRW", "Tesla (Shanghai)"),
    ("LSV", "SAIC Volkswagen"),
    ("WBA", "BMW"),
    ("WP0", "Porsche"),
    ("WVW", "Volkswagen"),
];

/// Characters that are often taken for one another.
const ALIKE: [(char, char); 8] = [
    ('0', 'D'),
    ('1', '7'),
    ('2', 'Z'),
    ('5', 'S'),
    ('6', 'G'),
    ('8', 'B'),
    ('U', 'V'),
    ('M', 'N'),
];

/// Most corrections that are told.
const MAX_SUGGESTIONS: usize = 5;

/// Returns VINs one character away that pass: position 9 first, then look-alikes.
fn corrections(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let with = |at: usize, c: char| -> String {
        characters.iter().enumerate().map(|(i, old)| if i == at { c } else { *old }).collect()
    };
    let mut found: Vec<String> =
        vin::weighted_sum(text).map(|sum| with(vin::CHECK, vin::digit(sum))).into_iter().collect();
    for (at, old) in characters.iter().enumerate() {
        let alike = ALIKE.iter().filter_map(|(a, b)| match *old {
            c if c == *a => Some(*b),
            c if c == *b => Some(*a),
            _ => None,
        });
        found.extend(alike.map(|c| with(at, c)).filter(|vin| vin::passes(vin)));
    }
    found.truncate(MAX_SUGGESTIONS);
    found
}

/// Replaces the letters that no VIN holds by the digits they look like.
fn without_forbidden(text: &str) -> String {
    text.replace('I', "1").replace(['O', 'Q'], "0")
}

/// Splits and checks a VIN; a VIN that fails is a result, not an error.
///
/// # Errors
/// [`ToolError::InvalidInput`] from decoding only.
///
/// # Source
/// ISO 3779; 49 CFR 565.15; GB 16735.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let text = vin::clean(&args.vin);
    let market = args.market.as_deref().or_else(|| vin::market(&text));
    let mandatory = matches!(market, Some("US" | "CA" | "CN"));
    let sum = vin::weighted_sum(&text);
    let computed = sum.map(vin::digit);
    let found = text.chars().nth(vin::CHECK).unwrap_or_default();
    let ok = computed == Some(found);
    let (verdict, reason) = match (computed, ok, mandatory) {
        (None, _, _) => ("invalid", "The letters I, O and Q never stand in a VIN."),
        (_, true, _) => ("valid", "The check digit agrees."),
        (_, false, true) => {
            ("invalid", "The check digit is mandatory in this market and does not agree.")
        }
        (_, false, false) => {
            ("unverified", "The check digit is not required in this market and does not agree.")
        }
    };
    let suggestions = match verdict {
        "invalid" if computed.is_none() => {
            let repaired = without_forbidden(&text);
            if vin::passes(&repaired) { vec![repaired] } else { corrections(&repaired) }
        }
        "invalid" => corrections(&text),
        _ => Vec::new(),
    };
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
    let maker = MAKERS.iter().find(|(wmi, _)| text.starts_with(wmi)).map(|(_, name)| *name);
    Ok(json!({
        "vin": text,
        "wmi": part(0..3),
        "vds": part(3..9),
        "vis": part(9..17),
        "manufacturer": maker,
        "region": vin::region(&text),
        "year_candidates": vin::years(&text),
        "check_digit": {
            "computed": computed.map(String::from),
            "found": String::from(found),
            "ok": ok,
            "weighted_sum": sum,
            "mandatory": mandatory,
        },
        "verdict": verdict,
        "reasons": [reason],
        "suggestions": suggestions,
        "method": "ISO 3779 structure; check digit by 49 CFR 565.15 and GB 16735, modulo 11",
        "warnings": [],
    }))
}
