//! Schemas of OpenAPI 3.0 and 3.1 as JSON Schema 2020-12, with every reference in its place.

use serde_json::{Map, Value, json};

use super::plain;

/// Deepest nesting that is kept.
const DEEPEST: usize = 8;

/// Most values of an `enum`, properties of an object and choices.
const MOST: usize = 60;

/// Where a schema is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// In a request: every constraint is kept.
    Request,
    /// In an answer: only names and types, because a service may break what it says.
    Answer,
}

/// Rebuilds schemas, counting what it writes: references that meet again and again unfold to more than
/// any document holds.
pub(super) struct Converter<'a> {
    document: &'a Value,
    side: Side,
    /// Schemas that may still be written.
    left: usize,
    /// References that are being followed.
    open: Vec<&'a str>,
    /// Whether something was left out.
    pub(super) cut: bool,
}

impl<'a> Converter<'a> {
    pub(super) fn new(document: &'a Value, side: Side) -> Self {
        Self { document, side, left: 400, open: Vec::new(), cut: false }
    }

    /// Rebuilds a schema. What is too deep, too much or goes in a circle becomes a schema of anything.
    pub(super) fn schema(&mut self, schema: &'a Value, depth: usize) -> Value {
        if depth > DEEPEST || self.left == 0 {
            self.cut = true;
            return json!({});
        }
        self.left -= 1;
        if let Some(reference) = schema["$ref"].as_str() {
            if self.open.contains(&reference) {
                self.cut = true;
                return json!({});
            }
            let Some(target) = resolve(self.document, reference) else {
                self.cut = true;
                return json!({});
            };
            self.open.push(reference);
            let mut whole = self.schema(target, depth);
            self.open.pop();
            if let (Some(text), Some(map)) = (schema["description"].as_str(), whole.as_object_mut())
            {
                map.insert("description".to_owned(), json!(plain(text, 300)));
            }
            return whole;
        }
        let mut out = Map::new();
        self.types(schema, &mut out);
        if let Some(text) = schema["description"].as_str() {
            out.insert("description".to_owned(), json!(plain(text, 300)));
        }
        if self.side == Side::Request {
            self.constraints(schema, &mut out);
        }
        self.object(schema, &mut out, depth);
        if schema.get("items").is_some() {
            out.insert("items".to_owned(), self.schema(&schema["items"], depth + 1));
        }
        for part in schema["allOf"].as_array().into_iter().flatten().take(MOST) {
            let part = self.schema(part, depth + 1);
            merge(&mut out, part);
        }
        for key in ["oneOf", "anyOf"] {
            let Some(choices) = schema[key].as_array() else { continue };
            if self.side == Side::Request {
                let all = choices.iter().take(8).map(|choice| self.schema(choice, depth + 1));
                let all: Vec<Value> = all.collect();
                out.insert("anyOf".to_owned(), Value::Array(all));
            } else if let Some(first) = choices.iter().find(|choice| choice["type"] != "null") {
                let part = self.schema(first, depth + 1);
                merge(&mut out, part);
            }
        }
        Value::Object(out)
    }

    fn types(&self, schema: &Value, out: &mut Map<String, Value>) {
        const TYPES: [&str; 7] =
            ["string", "number", "integer", "boolean", "array", "object", "null"];
        let mut types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            _ if schema["properties"].is_object() => vec!["object"],
            _ => return,
        };
        types.retain(|one| TYPES.contains(one));
        // A service may leave a value empty that it says it always gives.
        let may_be_null = schema["nullable"] == true || self.side == Side::Answer;
        if may_be_null && !types.contains(&"null") && !types.is_empty() {
            types.push("null");
        }
        match types.as_slice() {
            [] => {}
            [one] => drop(out.insert("type".to_owned(), json!(one))),
            many => drop(out.insert("type".to_owned(), json!(many))),
        }
    }

    fn constraints(&mut self, schema: &Value, out: &mut Map<String, Value>) {
        for key in [
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "uniqueItems",
            "default",
            "const",
        ] {
            let value = &schema[key];
            if !value.is_null() && value.to_string().len() <= 1000 {
                out.insert(key.to_owned(), value.clone());
            }
        }
        // In 3.0 these are flags beside the bound; in 3.1 they are the bound.
        for (key, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
            match &schema[key] {
                Value::Bool(true) => {
                    if let Some(value) = out.remove(bound) {
                        out.insert(key.to_owned(), value);
                    }
                }
                value @ Value::Number(_) => drop(out.insert(key.to_owned(), value.clone())),
                _ => {}
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            if values.len() <= MOST {
                out.insert("enum".to_owned(), json!(values));
            } else {
                self.cut = true;
            }
        }
        let format = schema["format"].as_str().filter(|format| {
            ["date", "date-time", "time", "email", "uuid", "uri", "ipv4", "ipv6"].contains(format)
        });
        if let Some(format) = format {
            out.insert("format".to_owned(), json!(format));
        }
        // Only patterns that are matched in linear time are kept.
        if let Some(pattern) = schema["pattern"].as_str() {
            let kept = pattern.len() <= 200
                && regex::RegexBuilder::new(pattern).size_limit(1 << 18).build().is_ok();
            match kept {
                true => drop(out.insert("pattern".to_owned(), json!(pattern))),
                false => self.cut = true,
            }
        }
    }

    fn object(&mut self, schema: &'a Value, out: &mut Map<String, Value>, depth: usize) {
        let Some(properties) = schema["properties"].as_object() else { return };
        let hidden = if self.side == Side::Request { "readOnly" } else { "writeOnly" };
        let mut kept = Map::new();
        for (name, property) in properties {
            let target = property["$ref"].as_str().and_then(|to| resolve(self.document, to));
            if property[hidden] == true || target.is_some_and(|target| target[hidden] == true) {
                continue;
            }
            if kept.len() == MOST || name.len() > 100 {
                self.cut = true;
                continue;
            }
            kept.insert(name.clone(), self.schema(property, depth + 1));
        }
        if self.side == Side::Request {
            let required = schema["required"].as_array().into_iter().flatten();
            let required =
                required.filter(|name| name.as_str().is_some_and(|n| kept.contains_key(n)));
            let required: Vec<&Value> = required.collect();
            if !required.is_empty() {
                out.insert("required".to_owned(), json!(required));
            }
        }
        out.insert("properties".to_owned(), Value::Object(kept));
    }
}

/// Adds the parts of one schema to another, as `allOf` means it for objects.
fn merge(out: &mut Map<String, Value>, part: Value) {
    let Value::Object(part) = part else { return };
    for (key, value) in part {
        match (key.as_str(), out.get_mut(&key), value) {
            ("properties", Some(Value::Object(mine)), Value::Object(theirs)) => mine.extend(theirs),
            ("required", Some(Value::Array(mine)), Value::Array(theirs)) => mine.extend(theirs),
            (_, Some(_), _) => {}
            (_, None, value) => drop(out.insert(key, value)),
        }
    }
}

/// Follows a reference inside the document, through others, a few at most. Nothing is ever fetched.
pub(super) fn resolve<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    let mut target = document.pointer(reference.strip_prefix('#')?)?;
    for _ in 0..8 {
        match target["$ref"].as_str() {
            None => return Some(target),
            Some(next) => target = document.pointer(next.strip_prefix('#')?)?,
        }
    }
    None
}

/// Returns what a value or its reference is.
pub(super) fn of<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => resolve(document, reference).unwrap_or(&Value::Null),
        None => value,
    }
}
