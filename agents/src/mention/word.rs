//! Codes, names, hexadecimal bytes, quoted text and pasted documents.

use std::sync::OnceLock;

use jiff::civil::Date;
use regex::Regex;

use super::number::{CODES, has_suffix, regex};
use super::{Found, Kind, boundary, date};

const QUOTES: [(char, char); 6] =
    [('"', '"'), ('“', '”'), ('「', '」'), ('『', '』'), ('《', '》'), ('‘', '’')];

/// Text between quotation marks, up to 200 characters.
pub(super) fn quoted(text: &str, at: usize) -> Option<Found> {
    let rest = &text[at..];
    let open = rest.chars().next()?;
    let (_, close) = QUOTES.iter().find(|(o, _)| *o == open)?;
    let body = &rest[open.len_utf8()..];
    let length = body.find(*close)?;
    let value = body[..length].trim();
    if value.is_empty() || value.chars().count() > 200 {
        return None;
    }
    let end = at + open.len_utf8() + length + close.len_utf8();
    let kind = if is_code(value) {
        Kind::Id { value: value.to_owned() }
    } else {
        Kind::Name { value: value.to_owned() }
    };
    Some(Found { start: at, end, kind })
}

/// A pasted XML document, MT message or JSON value: everything to the end of the request.
pub(super) fn block(text: &str, at: usize, previous: Option<char>) -> Option<Found> {
    static RE: OnceLock<Regex> = OnceLock::new();
    let start = RE.get_or_init(|| {
        regex(r#"^(?:<\?xml|<[A-Za-z][\w:.-]*[ >]|\{1:F|:20:|\{\s*"|BO_ |VERSION ")"#)
    });
    let rest = &text[at..];
    if !start.is_match(rest) || previous.is_some_and(char::is_alphanumeric) {
        return None;
    }
    let value = rest.trim_end();
    (value.len() > 12).then(|| Found {
        start: at,
        end: at + value.len(),
        kind: Kind::Block { value: value.to_owned() },
    })
}

/// At least two spaced bytes (`41 0C 1A F8`), with a letter or a leading zero among them.
///
/// Bytes that follow others (`41 05 76; 41 11 28`) may be figures only; `last` is the mention before.
pub(super) fn hex(
    text: &str,
    at: usize,
    previous: Option<char>,
    last: Option<&Found>,
    today: Date,
) -> Option<Found> {
    static RE: OnceLock<Regex> = OnceLock::new();
    let bytes = RE
        .get_or_init(|| regex(r"^(?:0x)?[0-9A-Fa-f]{2}(?:[ :](?:0x)?[0-9A-Fa-f]{2}){1,}(?-u:\b)"));
    if !boundary(previous) {
        return None;
    }
    let found = bytes.find(&text[at..])?;
    let value = found.as_str();
    // "B6 14 February 2026" is a bay and a day.
    let gaps = value.match_indices(' ');
    let day = gaps
        .map(|(gap, _)| gap)
        .find(|gap| date::scan(text, at + gap + 1, Some(' '), None, today).is_some());
    let value = day.map_or(value, |gap| &value[..gap]);
    // "B8 79分鐘" is a bay and a span.
    let figures = |t: &str| t.chars().all(|c| c.is_ascii_digit());
    let value = match value.rsplit_once(' ') {
        Some((head, tail)) if figures(tail) && has_suffix(text, at + value.len()) => head,
        _ => value,
    };
    let tokens: Vec<&str> = value.split([' ', ':']).collect();
    let follows = last.is_some_and(|l| {
        matches!(l.kind, Kind::Hex { .. })
            && matches!(text[l.end..at].trim(), ";" | "," | "；" | "，" | "、")
    });
    if tokens.len() < 2 {
        return None;
    }
    let letters = |t: &str| t.chars().any(|c| c.is_ascii_alphabetic());
    let digits = |t: &str| t.chars().any(|c| c.is_ascii_digit());
    let telling = follows && tokens.len() >= 3
        || tokens.iter().any(|t| {
            (letters(t) && digits(t))
            || t.starts_with('0')
            || matches!(*t, "FF" | "ff" | "AA" | "aa")
            // "41 11 AB": two letters among figures, in capitals as no word is.
            || tokens.len() >= 3 && digits(tokens[0]) && t.chars().all(|c| c.is_ascii_uppercase())
        });
    let clock = value.contains(':') && tokens.len() <= 3;
    // "D1 D7" are days of retention; a payload of such bytes alone is unheard of.
    let days = tokens
        .iter()
        .all(|t| t.strip_prefix(['D', 'd']).is_some_and(|n| n.chars().all(|c| c.is_ascii_digit())));
    // "D7 20%" states a day and a rate.
    let rest = &text[at + value.len()..];
    let rate = rest.starts_with(['%', '％'])
        || rest.strip_prefix('.').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
    (telling && !clock && !days && !rate && (tokens.len() >= 3 || !value.contains(':'))).then(
        || Found { start: at, end: at + value.len(), kind: Kind::Hex { value: value.to_owned() } },
    )
}

/// Account numbers written in groups (`DE89 3704 0044 0532 0130 00`, `4111 1111 1111 1111`).
pub(super) fn long_id(text: &str, at: usize, previous: Option<char>) -> Option<Found> {
    static RE: OnceLock<Regex> = OnceLock::new();
    let grouped = RE.get_or_init(|| {
        regex(r"^(?:[A-Z]{2}\d{2}(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,4})?|\d{4}(?:[ -]\d{4}){3}|\d{11,})(?-u:\b)")
    });
    if !boundary(previous) {
        return None;
    }
    let found = grouped.find(&text[at..])?;
    Some(Found {
        start: at,
        end: at + found.end(),
        kind: Kind::Id { value: found.as_str().to_owned() },
    })
}

/// A code: Latin letters, digits and `-_.:/#@`, with a digit beside a letter or an underscore.
pub(super) fn id(text: &str, at: usize, previous: Option<char>) -> Option<Found> {
    static RE: OnceLock<Regex> = OnceLock::new();
    let token = RE.get_or_init(|| regex(r"^[A-Za-z0-9](?:[A-Za-z0-9_.:/#@-]*[A-Za-z0-9])?"));
    if !boundary(previous) {
        return None;
    }
    let value = token.find(&text[at..])?.as_str();
    // A clause glued by a colon (`id:P0420`) is not part of the code.
    let value = match value.split_once(':') {
        Some((head, tail)) if !head.chars().any(|c| c.is_ascii_digit()) && !tail.is_empty() => head,
        _ => value,
    };
    is_code(value).then(|| Found {
        start: at,
        end: at + value.len(),
        kind: Kind::Id { value: value.to_owned() },
    })
}

fn is_code(value: &str) -> bool {
    let digit = value.chars().any(|c| c.is_ascii_digit());
    let letter = value.chars().any(|c| c.is_ascii_alphabetic());
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "_.:/#@-".contains(c));
    let joined = value.contains('_') || value.contains('@');
    let bic = matches!(value.len(), 8 | 11)
        && value.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        && !value.chars().all(|c| c.is_ascii_digit());
    plain
        && (letter && (digit || joined) || digit && value.contains(['-', ':']) || bic)
        && !is_ordinal(value)
}

fn is_ordinal(value: &str) -> bool {
    ["st", "nd", "rd", "th"]
        .iter()
        .any(|e| value.strip_suffix(e).is_some_and(|d| d.chars().all(|c| c.is_ascii_digit())))
}

/// Words that begin a sentence or a clause with a capital without being a name.
const NOT_NAMES: &str = " a an and any are at because before bill by calculate can check compare compute could create decode did do does evaluate find finish for forecast from get give given grant has have hello help hey hi how i if in is it its just let list look make map match may me my no not of on once open our pay plan please pull put rank rate read refund run schedule score screen see show should since so split sum tell than thanks that the their then there they this to today total translate two under use validate verify want was we were what when where which who why will with work would yes you your after also as but explain estimate book opt answer between customer player account order invoice issue date day loan battery plant site depot vehicle car engine vin iban bic lei dtc can obd uds var apr irr npv xirr pv ev ai api id usd kw kwh mwh mw co2 saidi saifi caidi maifi glicko elo openskill level hard soft pity dau arpu ok hmm btw asap fyi re mom boss cohort cohorts sold bought delivered beginning starting start approve predict settle send convert add assume suppose leave keep reply ";

/// Words that name nobody when they stand alone, yet may begin a name (`Peak Capital Ltd`).
const NO_NAME_ALONE: &str = " many peak load gross interim event sale sales discount trade-in opponent rating score old new battery start system period maximum minimum average some most each every both only another next last first second third previous current thanks sorry again energy power price prices cost costs rate rates term total amount principal interest deposit quantity received ordered billed control treatment baseline weight odometer mileage warranty repair service history off-peak night daytime ";

/// One or more capitalised Latin words that name someone or something.
pub(super) fn name(text: &str, at: usize, previous: Option<char>, today: Date) -> Option<Found> {
    static RE: OnceLock<Regex> = OnceLock::new();
    let words = RE.get_or_init(|| {
        regex(r"^\p{Lu}[\p{L}'’.&-]*(?: (?:(?:de|del|della|di|da|van|von|der|den|bin|ibn|al|el|la|le|of|and|&) ){0,2}\p{Lu}[\p{L}'’.&-]*)*")
    });
    if previous.is_some_and(|c| c.is_alphanumeric() && !crate::lang::is_cjk(c)) {
        return None;
    }
    let rest = &text[at..];
    let found = words.find(rest)?.as_str();
    if found.chars().any(crate::lang::is_cjk) && !found.is_ascii() {
        return None;
    }
    let found = before_other(text, at, found, today);
    let found = found.trim_end_matches(['.', '-', '&', '\'', '’']);
    let found = found.strip_suffix("'s").or_else(|| found.strip_suffix("’s")).unwrap_or(found);
    let (first, more) = found.split_once(' ').map_or((found, false), |(first, _)| (first, true));
    let common = ordinary(first) || !more && listed(NO_NAME_ALONE, first);
    if common || CODES.contains(&first) || found.chars().count() < 2 {
        return None;
    }
    let end = at + found.len();
    Some(Found { start: at, end, kind: Kind::Name { value: found.to_owned() } })
}

/// Cuts a run of capitalised words before a date (`Ltd Sep 27 2024`) or a code (`Decode SPUP123`)
/// and drops the joining word that this leaves at its end.
fn before_other<'t>(text: &str, at: usize, run: &'t str, today: Date) -> &'t str {
    let starts = std::iter::once(0).chain(run.match_indices(' ').map(|(gap, _)| gap + 1));
    let other = starts.into_iter().find(|&start| {
        let glued = run[start..].find(' ').is_none()
            && text[at + run.len()..]
                .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '_' | '@'));
        glued || date::scan(text, at + start, Some(' '), None, today).is_some()
    });
    let mut kept = other.map_or(run, |start| run[..start].trim_end());
    while let Some((head, last)) = kept.rsplit_once(' ')
        && last.starts_with(|c: char| c.is_lowercase() || c == '&')
    {
        kept = head;
    }
    kept
}

/// Virtual currencies by the words that players and designers use, longest first where one begins
/// another, with the name that a ledger gives them.
const COINS: [(&str, &str); 21] = [
    ("gold coins", "gold"),
    ("gold", "gold"),
    ("gemstones", "gems"),
    ("gems", "gems"),
    ("diamonds", "diamonds"),
    ("crystals", "crystals"),
    ("coins", "coins"),
    ("silver coins", "silver"),
    ("金幣", "gold"),
    ("金币", "gold"),
    ("銀幣", "silver"),
    ("银币", "silver"),
    ("寶石", "gems"),
    ("宝石", "gems"),
    ("鑽石", "diamonds"),
    ("钻石", "diamonds"),
    ("水晶", "crystals"),
    ("代幣", "tokens"),
    ("代币", "tokens"),
    ("點券", "points"),
    ("点券", "points"),
];

/// A virtual currency of a game, which is written without a capital and in no code.
pub(super) fn coin(text: &str, at: usize, previous: Option<char>) -> Option<Found> {
    let rest = &text[at..];
    let (word, value) = COINS.iter().find(|(word, _)| {
        rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
    })?;
    let next = rest[word.len()..].chars().next();
    let latin = word.is_ascii();
    let apart = boundary(previous) && !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    (!latin || apart).then(|| Found {
        start: at,
        end: at + word.len(),
        kind: Kind::Name { value: (*value).to_owned() },
    })
}

fn ordinary(word: &str) -> bool {
    listed(NOT_NAMES, word) || word.contains("'") && word.len() <= 6
}

fn listed(words: &str, word: &str) -> bool {
    words.contains(&format!(" {} ", word.to_lowercase().trim_end_matches(['\'', '.'])))
}

/// Describes a code by its shape, for the planner: `vin`, `iban`, or letters with `#` for digits.
pub(super) fn shape(value: &str) -> String {
    let compact: String = value.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    let letters = compact.chars().filter(char::is_ascii_alphabetic).count();
    if compact.len() == 17 && letters > 0 && !value.contains('_') {
        return "vin".to_owned();
    }
    let head: Vec<char> = compact.chars().take(4).collect();
    if compact.len() >= 14
        && head.len() == 4
        && head[..2].iter().all(char::is_ascii_uppercase)
        && head[2..].iter().all(char::is_ascii_digit)
    {
        return "iban".to_owned();
    }
    if letters == 0 && compact.len() >= 11 {
        return "digits".to_owned();
    }
    let mut out = String::new();
    for c in value.chars().take(24) {
        if c.is_ascii_digit() {
            if !out.ends_with('#') {
                out.push('#');
            }
        } else {
            out.push(c.to_ascii_lowercase());
        }
    }
    out
}
