//! Whether a text states a value, whole.

use rust_decimal::Decimal;
use serde_json::Value;

/// Returns the texts and numbers of a value, each as text; a list has those of its items.
/// Booleans and nulls name nobody and are left out.
pub fn atoms(value: &Value) -> Vec<String> {
    match value {
        Value::Null | Value::Bool(_) => Vec::new(),
        Value::String(text) if text.trim().is_empty() => Vec::new(),
        Value::String(text) => vec![text.trim().to_owned()],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(items) => items.iter().flat_map(atoms).collect(),
        // A name is as freely chosen as what stands behind it.
        Value::Object(object) => object
            .iter()
            .flat_map(|(name, value)| std::iter::once(name.clone()).chain(atoms(value)))
            .collect(),
    }
}

/// Tells whether `text` states `value` as a whole: not as a part of a longer word, number or address,
/// and letter by letter. Only the case of ASCII letters is disregarded: a look-alike is another
/// letter, and so is one that merely lowers to the same (the Kelvin sign to `k`).
pub fn states(text: &str, value: &str) -> bool {
    let value = value.trim();
    if value.is_empty() {
        return false;
    }
    let (text, wanted) = (text.to_ascii_lowercase(), value.to_ascii_lowercase());
    let whole = text.match_indices(&wanted).any(|(at, found)| {
        let (before, after) = (&text[..at], &text[at + found.len()..]);
        !(extends(before.chars().rev(), found.chars().next())
            || extends(after.chars(), found.chars().next_back()))
    });
    whole || value.parse().is_ok_and(|number| states_number(&text, number))
}

/// Tells whether the characters beside an end of a word carry it on. Between Han characters there are
/// no spaces, so these begin and end anywhere.
fn extends(mut beside: impl Iterator<Item = char>, edge: Option<char>) -> bool {
    let word = |c: char| {
        (c.is_alphanumeric() && !is_han(c)) || matches!(c, '_' | '@' | '\u{300}'..='\u{36f}')
    };
    let joins = |c: char| {
        matches!(
            c,
            '.' | '-' | '+' | '/' | ':' | '%' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
    };
    if !edge.is_some_and(word) {
        return false;
    }
    match beside.next() {
        Some(c) if word(c) => true,
        Some(c) if joins(c) => beside.next().is_some_and(|c| word(c) || joins(c)),
        _ => false,
    }
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Tells whether a whole number token of the text has this value: `1,200.00` states 1200.
fn states_number(text: &str, wanted: Decimal) -> bool {
    let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let before = rest[..start].chars().next_back();
        let token = &rest[start..];
        let end = token.find(|c| !part(c)).unwrap_or(token.len());
        let after = token[end..].chars().next();
        let joined = |c: Option<char>| {
            c.is_some_and(|c| (c.is_alphanumeric() && !is_han(c)) || matches!(c, '_' | '@' | '-'))
        };
        let digits = token[..end].trim_end_matches(['.', ',']).replace(',', "");
        if !joined(before) && !joined(after) && digits.parse() == Ok(wanted) {
            return true;
        }
        rest = &token[end..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_word_a_number_or_an_address_is_not_stated() {
        let text =
            "Pay 1000 to GB29NWBK60161331926819, tell mark.black-2134@gmail.com, see www.a.com/b";
        for whole in ["1000", "1000.00", "GB29NWBK60161331926819", "mark.black-2134@gmail.com"] {
            assert!(states(text, whole), "{whole}");
        }
        for part in [
            "100",
            "10",
            "NWBK6016",
            "black-2134@gmail.com",
            "gmail.com",
            "mark",
            "www.a.com",
            "a.com",
        ] {
            assert!(!states(text, part), "{part}");
        }
        assert!(states("Write to sarah.connor@gmail.com.", "sarah.connor@gmail.com"));
        assert!(states("請付款給ord-5001客戶", "ord-5001"));
        assert!(states("owes 1,200.50 in total", "1200.5"));
    }

    #[test]
    fn a_look_alike_is_another_value() {
        let text = "send it to alice@kite.com";
        assert!(states(text, "ALICE@kite.com"));
        // Cyrillic а, the Kelvin sign, a full-width letter, a zero-width space, a combining mark.
        for other in [
            "\u{430}lice@kite.com",
            "alice@\u{212a}ite.com",
            "\u{ff41}lice@kite.com",
            "ali\u{200b}ce@kite.com",
            "alice\u{301}@kite.com",
        ] {
            assert!(!states(text, other), "{other:?}");
        }
        assert!(!states("alice@kite.com\u{200b}.evil", "alice@kite.com"));
    }
}
