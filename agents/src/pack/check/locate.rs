//! Reads JSON and TOML and remembers where each value stands, so that a mistake can be shown in the
//! file. A value is named by its JSON pointer (RFC 6901), in TOML as well.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value stands, in bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its key; absent for what stands in an array.
    pub(super) key: Option<Range<usize>>,
    /// The value itself.
    pub(super) value: Range<usize>,
}

/// Places by JSON pointer.
pub(super) type Places = BTreeMap<String, Place>;

/// What does not read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

/// Deepest nesting that is read, in TOML as `serde_json` has it in JSON.
const DEEPEST: usize = 128;

/// Reads TOML. All mistakes of syntax are returned, not the first alone.
pub(super) fn toml(text: &str) -> Result<(Value, Places), Vec<Unread>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let unread = |error: toml::de::Error| Unread {
            span: error.span().unwrap_or(0..0),
            message: error.message().to_owned(),
        };
        return Err(errors.into_iter().map(unread).collect());
    }
    let mut places = Places::new();
    let span = table.span();
    places.insert(String::new(), Place { key: None, value: span.clone() });
    match of_table(table.get_ref(), "", 0, &mut places) {
        Some(map) => Ok((Value::Object(map), places)),
        None => Err(vec![Unread { span, message: format!("nested deeper than {DEEPEST}") }]),
    }
}

fn of_table(
    table: &DeTable<'_>,
    at: &str,
    depth: usize,
    places: &mut Places,
) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    for (key, value) in table {
        let pointer = format!("{at}/{}", escaped(key.get_ref()));
        let place = Place { key: Some(key.span()), value: value.span() };
        places.insert(pointer.clone(), place);
        map.insert(key.get_ref().to_string(), of_value(value, &pointer, depth + 1, places)?);
    }
    Some(map)
}

fn of_value(
    value: &Spanned<DeValue<'_>>,
    at: &str,
    depth: usize,
    places: &mut Places,
) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    Some(match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => {
            let number = number.as_str().replace('_', "").parse::<f64>();
            number.map_or(Value::Null, Value::from)
        }
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Array(items) => {
            let mut all = Vec::new();
            for (position, item) in items.iter().enumerate() {
                let pointer = format!("{at}/{position}");
                places.insert(pointer.clone(), Place { key: None, value: item.span() });
                all.push(of_value(item, &pointer, depth + 1, places)?);
            }
            Value::Array(all)
        }
        DeValue::Table(table) => Value::Object(of_table(table, at, depth, places)?),
    })
}

/// Reads JSON. A key that stands twice in an object is a mistake, because one of the two would be lost.
pub(super) fn json(text: &str) -> Result<(Value, Places), Vec<Unread>> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let at = offset(text, error.line(), error.column());
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        vec![Unread { span: at..at, message }]
    })?;
    let mut walk = Walk { text, at: 0, places: Places::new(), twice: Vec::new() };
    walk.value(String::new(), None);
    if walk.twice.is_empty() { Ok((value, walk.places)) } else { Err(walk.twice) }
}

/// Walks over text that is known to be JSON.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    places: Places,
    twice: Vec<Unread>,
}

impl Walk<'_> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(b'}')
    }

    fn blank(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Range<usize> {
        let start = self.at;
        self.at += 1;
        while self.at < self.text.len() && self.peek() != b'"' {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        start..self.at.min(self.text.len())
    }

    fn value(&mut self, pointer: String, key: Option<Range<usize>>) {
        self.blank();
        let start = self.at;
        match self.peek() {
            b'{' => self.object(&pointer),
            b'[' => self.array(&pointer),
            b'"' => drop(self.string()),
            _ => {
                while self.at < self.text.len()
                    && !matches!(self.peek(), b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
                {
                    self.at += 1;
                }
            }
        }
        self.places.insert(pointer, Place { key, value: start..self.at });
    }

    fn object(&mut self, pointer: &str) {
        self.at += 1;
        loop {
            self.blank();
            if self.peek() != b'"' {
                break;
            }
            let key = self.string();
            let name: String = serde_json::from_str(&self.text[key.clone()]).unwrap_or_default();
            let inner = format!("{pointer}/{}", escaped(&name));
            if self.places.contains_key(&inner) {
                let message = format!("the key `{name}` stands twice");
                self.twice.push(Unread { span: key.clone(), message });
            }
            self.blank();
            self.at += 1; // the colon
            self.value(inner, Some(key));
            self.blank();
            if self.peek() != b',' {
                break;
            }
            self.at += 1;
        }
        self.at += 1;
    }

    fn array(&mut self, pointer: &str) {
        self.at += 1;
        for position in 0.. {
            self.blank();
            if self.peek() == b']' {
                break;
            }
            self.value(format!("{pointer}/{position}"), None);
            self.blank();
            if self.peek() != b',' {
                break;
            }
            self.at += 1;
        }
        self.at += 1;
    }
}

/// Returns a key as a step of a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Returns the byte at a line and column, both from 1; columns count bytes.
pub(super) fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Returns line and column of a byte, both from 1; columns count characters.
pub(super) fn line_column(text: &str, mut at: usize) -> (usize, usize) {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown<'a>(text: &'a str, places: &Places, pointer: &str) -> &'a str {
        &text[places[pointer].value.clone()]
    }

    #[test]
    fn values_of_json_and_toml_are_found_where_they_stand() {
        let text = r#"{ "a": [1, {"b/c": "x\"y"}], "d" : null }"#;
        let (value, places) = json(text).unwrap();
        assert_eq!(value, json!({"a": [1, {"b/c": "x\"y"}], "d": null}));
        assert_eq!(shown(text, &places, "/a/1/b~1c"), r#""x\"y""#);
        assert_eq!(shown(text, &places, "/d"), "null");
        assert_eq!(&text[places["/d"].key.clone().unwrap()], "\"d\"");
        let text = "a = [1, 2]\n[b.c]\nd = 'x'\n[[e]]\nf = 1_000\n[[e]]\nf = 2.5\n";
        let (value, places) = toml(text).unwrap();
        let e = json!([{"f": 1000}, {"f": 2.5}]);
        assert_eq!(value, json!({"a": [1, 2], "b": {"c": {"d": "x"}}, "e": e}));
        assert_eq!(shown(text, &places, "/b/c/d"), "'x'");
        assert_eq!(shown(text, &places, "/e/1/f"), "2.5");
        assert_eq!(line_column(text, places["/e/1/f"].value.start), (7, 5));
    }

    #[test]
    fn what_does_not_read_is_shown_where_it_stands() {
        let unread = json("{\n \"a\": nul }").unwrap_err();
        assert_eq!(line_column("{\n \"a\": nul }", unread[0].span.start).0, 2);
        let unread = json(r#"{"a": 1, "a": 2}"#).unwrap_err();
        assert!(unread[0].message.contains("stands twice"), "{unread:?}");
        let unread = toml("a = \nb = ]\nc = 1").unwrap_err();
        assert!(unread.len() >= 2, "{unread:?}");
    }

    proptest! {
        #[test]
        fn every_json_value_is_located_and_mangled_bytes_never_panic(
            keys in proptest::collection::vec("[a-z\"\\\\/~ é]{0,5}", 0..5),
            cut in 0usize..200,
            byte in any::<u8>(),
        ) {
            let map: Map<String, Value> =
                keys.iter().map(|key| (key.clone(), json!([key, {"n": 1.5}]))).collect();
            let text = serde_json::to_string_pretty(&map).unwrap();
            let (value, places) = json(&text).unwrap();
            for (pointer, place) in &places {
                let read: Value = serde_json::from_str(&text[place.value.clone()]).unwrap();
                prop_assert_eq!(&read, value.pointer(pointer).unwrap());
            }
            let mut bytes = text.into_bytes();
            if let Some(place) = bytes.get_mut(cut) {
                *place = byte;
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            drop(json(&text));
            drop(toml(&text));
        }
    }
}
