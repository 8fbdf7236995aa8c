//! Templates that arguments fill, and answers cut to what a tool promised.

use serde_json::{Map, Value};

use super::ToolError;

/// Longest text of a result, in characters.
const LONGEST: usize = 20_000;

/// Returns the argument that a text names, where it is `{name}` or `{name.part}` and nothing else.
fn whole(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    is_name(name).then_some(name)
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '$');
    !name.is_empty() && name.chars().all(plain)
}

/// Cuts a text at its `{name}`s: words and names in turn. A brace that holds no name is a word.
fn pieces(text: &str) -> Vec<(&str, Option<&str>)> {
    let mut all = Vec::new();
    let mut rest = text;
    let mut words = 0;
    while let Some(open) = rest[words..].find('{').map(|at| at + words) {
        let close = rest[open..].find('}').map(|at| at + open);
        match close.filter(|close| is_name(&rest[open + 1..*close])) {
            Some(close) => {
                all.push((&rest[..open], Some(&rest[open + 1..close])));
                rest = &rest[close + 1..];
                words = 0;
            }
            None => words = open + 1,
        }
    }
    if !rest.is_empty() {
        all.push((rest, None));
    }
    all
}

/// Collects the arguments that a template names, the part before a dot.
pub(super) fn names(template: &Value, into: &mut Vec<String>) {
    match template {
        Value::String(text) => {
            for (_, name) in pieces(text) {
                let Some(first) = name.and_then(|name| name.split('.').next()) else { continue };
                if !into.iter().any(|known| known == first) {
                    into.push(first.to_owned());
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, into)),
        Value::Object(map) => map.values().for_each(|value| names(value, into)),
        _ => {}
    }
}

fn argument<'a>(arguments: &'a Value, name: &str) -> Option<&'a Value> {
    let found = name.split('.').try_fold(arguments, |at, step| match at {
        Value::Array(items) => step.parse::<usize>().ok().and_then(|step| items.get(step)),
        _ => at.get(step),
    });
    found.filter(|value| !value.is_null())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Fills a template of a text. `None` ⇐ it names an argument that the call leaves out.
pub(super) fn text(template: &str, arguments: &Value) -> Option<String> {
    let mut out = String::new();
    for (words, name) in pieces(template) {
        out.push_str(words);
        if let Some(name) = name {
            out.push_str(&plain(argument(arguments, name)?));
        }
    }
    Some(out)
}

/// Fills a template. `None` ⇐ it is an argument that the call leaves out; such a property or item is
/// left out of what it stands in.
pub(super) fn fill(template: &Value, arguments: &Value) -> Option<Value> {
    match template {
        Value::String(words) => match whole(words) {
            Some(name) => argument(arguments, name).cloned(),
            None => text(words, arguments).map(Value::String),
        },
        Value::Array(items) => {
            Some(Value::Array(items.iter().filter_map(|item| fill(item, arguments)).collect()))
        }
        Value::Object(map) => {
            let filled = map
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), fill(value, arguments)?)))
                .collect();
            Some(Value::Object(filled))
        }
        other => Some(other.clone()),
    }
}

/// Fills the path of a request. Each value is one segment, percent-encoded.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ an argument is left out, or is empty, `.` or `..`, which would be
/// another path.
pub(super) fn path(template: &str, arguments: &Value) -> Result<String, ToolError> {
    let mut out = String::new();
    for (words, name) in pieces(template) {
        out.push_str(words);
        let Some(name) = name else { continue };
        let pointer = format!("/{}", name.replace('.', "/"));
        let value = argument(arguments, name).map(plain).unwrap_or_default();
        if value.is_empty() || value == "." || value == ".." {
            return Err(ToolError::invalid(pointer, format!("`{name}` is needed for the request")));
        }
        out.push_str(&encoded(&value));
    }
    Ok(out)
}

/// Fills the parameters of a request's address, in order of their names.
pub(super) fn query<'a>(
    template: impl IntoIterator<Item = (&'a String, &'a String)>,
    arguments: &Value,
) -> String {
    let mut pairs = Vec::new();
    for (key, words) in template {
        let mut push = |value: &str| pairs.push(format!("{}={}", encoded(key), encoded(value)));
        match whole(words).and_then(|name| argument(arguments, name)) {
            Some(Value::Array(items)) => items.iter().for_each(|item| push(&plain(item))),
            Some(value) => push(&plain(value)),
            None => text(words, arguments).iter().for_each(|value| push(value)),
        }
    }
    pairs.join("&")
}

/// Percent-encodes everything but unreserved characters.
///
/// # Source
/// RFC 3986, section 2.3.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Keeps of a value what a schema names: properties that it does not list are dropped, arrays and texts
/// are cut. Returns whether anything was cut.
pub(super) fn trim(value: &mut Value, schema: &Value, max_items: usize) -> bool {
    trim_at(value, schema, schema, max_items, 0)
}

/// Deepest that a result is followed; what lies deeper is dropped.
const DEEPEST: usize = 32;

fn trim_at(
    value: &mut Value,
    schema: &Value,
    root: &Value,
    max_items: usize,
    depth: usize,
) -> bool {
    if depth > DEEPEST {
        *value = Value::Null;
        return true;
    }
    let schema = resolved(schema, root);
    match value {
        Value::Object(map) => {
            if let Some(known) = schema["properties"].as_object() {
                map.retain(|key, _| known.contains_key(key));
            }
            let mut cut = false;
            for (key, inner) in map.iter_mut() {
                cut |= trim_at(inner, &schema["properties"][key], root, max_items, depth + 1);
            }
            cut
        }
        Value::Array(items) => {
            let mut cut = items.len() > max_items;
            items.truncate(max_items);
            for item in items {
                cut |= trim_at(item, &schema["items"], root, max_items, depth + 1);
            }
            cut
        }
        Value::String(text) => match text.char_indices().nth(LONGEST) {
            Some((at, _)) => {
                text.truncate(at);
                true
            }
            None => false,
        },
        _ => false,
    }
}

/// Follows `$ref`s inside the document, a few at most, so that a circle ends.
fn resolved<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    for _ in 0..8 {
        let Some(pointer) = schema["$ref"].as_str().and_then(|to| to.strip_prefix('#')) else {
            break;
        };
        schema = root.pointer(pointer).unwrap_or(&Value::Null);
    }
    schema
}

/// Puts `method` and `warnings` into a result whose schema has them and which has none of its own.
pub(super) fn complete(
    result: &mut Map<String, Value>,
    schema: &Value,
    method: &str,
    warnings: Vec<Value>,
) {
    let has = |name: &str| schema["properties"].get(name).is_some();
    if has("method") && !result.contains_key("method") {
        result.insert("method".to_owned(), Value::from(method));
    }
    if has("warnings") && !result.contains_key("warnings") {
        result.insert("warnings".to_owned(), Value::Array(warnings));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_filled_and_what_a_call_leaves_out_is_left_out() {
        let arguments = json!({"a": 5, "b": {"c": ["x", "y"]}, "n": null});
        let template = json!({
            "whole": "{a}", "words": "a is {a}", "deep": "{b.c.1}", "gone": "{z}", "null": "{n}",
            "mixed": "{z}!", "brace": "{ not a name }", "list": ["{a}", "{z}", 1],
        });
        assert_eq!(
            fill(&template, &arguments),
            Some(json!({
                "whole": 5, "words": "a is 5", "deep": "y", "brace": "{ not a name }",
                "list": [5, 1],
            }))
        );
        let mut found = Vec::new();
        names(&template, &mut found);
        assert_eq!(found, ["a", "b", "z", "n"]);
    }

    #[test]
    fn a_value_in_a_path_stays_one_segment() {
        let arguments = json!({"id": "../admin?x=1#y", "dots": "..", "none": ""});
        assert_eq!(
            path("/orders/{id}/lines", &arguments).unwrap(),
            "/orders/..%2Fadmin%3Fx%3D1%23y/lines"
        );
        for name in ["dots", "none", "absent"] {
            assert!(path(&format!("/o/{{{name}}}"), &arguments).is_err(), "{name}");
        }
        let template = [("q", "{id}"), ("all", "{list}"), ("v", "1")];
        let template: Vec<(String, String)> =
            template.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let arguments = json!({"list": ["a b", "c&d=e"]});
        assert_eq!(
            query(template.iter().map(|(k, v)| (k, v)), &arguments),
            "all=a%20b&all=c%26d%3De&v=1"
        );
    }

    #[test]
    fn a_result_keeps_what_its_schema_names_and_no_more() {
        let schema = json!({
            "$defs": {"line": {"properties": {"sku": {}, "next": {"$ref": "#/$defs/line"}}}},
            "properties": {"id": {}, "lines": {"items": {"$ref": "#/$defs/line"}}},
        });
        let mut value = json!({
            "id": 1, "secret": "x",
            "lines": [{"sku": "a", "cost": 3, "next": {"sku": "b", "cost": 4}}, {"sku": "c"}, {"sku": "d"}],
        });
        assert!(trim(&mut value, &schema, 2));
        assert_eq!(
            value,
            json!({"id": 1, "lines": [{"sku": "a", "next": {"sku": "b"}}, {"sku": "c"}]})
        );
        let circle = json!({"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}});
        assert!(!trim(&mut json!({"x": 1}), &circle, 2));
    }
}
