//! Check digits of IBAN, LEI and card numbers.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::{ToolContext, ToolError, decode, warning};

/// Countries and the length of their IBAN.
///
/// # Source
/// SWIFT IBAN Registry, release 99.
const LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

#[derive(Deserialize)]
struct Item {
    kind: String,
    value: String,
}

#[derive(Deserialize)]
struct Arguments {
    items: Vec<Item>,
}

/// Why a number is not valid, and its remainder when it was computed.
struct Verdict {
    remainder: Option<u32>,
    reason: Option<&'static str>,
}

fn fail(reason: &'static str) -> Verdict {
    Verdict { remainder: None, reason: Some(reason) }
}

/// Returns the remainder of a number in base 36 letters modulo 97.
///
/// # Source
/// ISO/IEC 7064, MOD 97-10.
fn modulo_97(text: impl Iterator<Item = char>) -> u32 {
    text.filter_map(|c| c.to_digit(36)).fold(0, |rest, value| {
        let shift = if value > 9 { 100 } else { 10 };
        (rest * shift + value) % 97
    })
}

fn iban(value: &str) -> Verdict {
    let bad = !value.is_ascii() || value.len() < 5;
    let form = value
        .chars()
        .take(4)
        .enumerate()
        .all(|(i, c)| if i < 2 { c.is_ascii_uppercase() } else { c.is_ascii_digit() });
    if bad || !form {
        return fail("bad_characters");
    }
    let Some(length) =
        LENGTHS.split(' ').find_map(|entry| entry.strip_prefix(&value[..2])?.parse::<usize>().ok())
    else {
        return fail("unknown_country");
    };
    if value.len() != length {
        return fail("bad_length");
    }
    check(modulo_97(value[4..].chars().chain(value[..4].chars())), 1)
}

/// Tells whether a text is an IBAN of a known country with the right length and check digits.
pub(super) fn is_iban(value: &str) -> bool {
    iban(value).reason.is_none()
}

fn lei(value: &str) -> Verdict {
    if value.len() != 20 {
        return fail("bad_length");
    }
    if !value.ends_with(|c: char| c.is_ascii_digit()) {
        return fail("bad_characters");
    }
    check(modulo_97(value.chars()), 1)
}

/// # Source
/// ISO/IEC 7812-1 Annex B (Luhn).
fn card(value: &str) -> Verdict {
    if !value.chars().all(|c| c.is_ascii_digit()) {
        return fail("bad_characters");
    }
    if !(12..=19).contains(&value.len()) {
        return fail("bad_length");
    }
    let sum: u32 = value
        .chars()
        .rev()
        .filter_map(|c| c.to_digit(10))
        .enumerate()
        .map(|(i, digit)| match (i % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    check(sum % 10, 0)
}

fn check(remainder: u32, right: u32) -> Verdict {
    let reason = (remainder != right).then_some("check_failed");
    Verdict { remainder: Some(remainder), reason }
}

/// Shows the last four digits of a card.
fn masked(value: &str) -> String {
    let shown = value.len().saturating_sub(4);
    value.chars().enumerate().map(|(i, c)| if i < shown { '*' } else { c }).collect()
}

/// Checks every number; a number that is not valid is a result, not an error.
///
/// # Errors
/// [`ToolError::InvalidInput`] from decoding only.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let mut invalid = 0;
    let mut has_card = false;
    let items: Vec<Value> = args
        .items
        .iter()
        .map(|item| {
            let clean: String = item
                .value
                .chars()
                .filter(|c| !matches!(c, ' ' | '-'))
                .collect::<String>()
                .to_ascii_uppercase();
            let verdict = match item.kind.as_str() {
                "iban" => iban(&clean),
                "lei" => lei(&clean),
                _ => card(&clean),
            };
            invalid += usize::from(verdict.reason.is_some());
            let is_card = item.kind == "card";
            has_card |= is_card;
            json!({
                "kind": item.kind,
                "value": if is_card { masked(&clean) } else { clean.clone() },
                "valid": verdict.reason.is_none(),
                "remainder": verdict.remainder,
                "country": (item.kind == "iban").then(|| clean.get(..2)).flatten(),
                "reason": verdict.reason,
            })
        })
        .collect();
    let mut warnings = vec![warning(
        "form_only",
        "A valid number is not proof that the account or entity exists or belongs to anyone.",
    )];
    if has_card {
        warnings
            .push(warning("card_masked", "Card numbers are masked here and must not be stored."));
    }
    Ok(json!({
        "items": items,
        "invalid_count": invalid,
        "method": "IBAN ISO 13616 modulo 97; LEI ISO 17442 modulo 97-10; card ISO/IEC 7812 Luhn",
        "warnings": warnings,
    }))
}
