//! Values that fit a schema, for the mocks and known answers of an imported tool.

use serde_json::{Map, Value, json};

/// Returns a value that likely fits a schema; the caller checks it.
pub(super) fn of(schema: &Value, depth: usize) -> Value {
    for key in ["const", "default"] {
        if !schema[key].is_null() {
            return schema[key].clone();
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(first) = schema["anyOf"].as_array().and_then(|choices| choices.first()) {
        return of(first, depth + 1);
    }
    let kind = match &schema["type"] {
        Value::String(one) => one.as_str(),
        Value::Array(all) => all.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema["properties"].is_object() => "object",
        _ => return json!("x"),
    };
    match kind {
        "string" => json!(text(schema)),
        "integer" | "number" => number(schema, kind == "integer"),
        "boolean" => json!(true),
        "array" => {
            let least = schema["minItems"].as_u64().unwrap_or(1).clamp(1, 3);
            let item = of(&schema["items"], depth + 1);
            if depth > 4 { json!([]) } else { json!(vec![item; least as usize]) }
        }
        "object" => {
            let mut map = Map::new();
            for (name, property) in schema["properties"].as_object().into_iter().flatten().take(20)
            {
                if depth <= 4 {
                    map.insert(name.clone(), of(property, depth + 1));
                }
            }
            Value::Object(map)
        }
        _ => Value::Null,
    }
}

fn text(schema: &Value) -> String {
    let known = match schema["format"].as_str() {
        Some("date") => "2026-01-31",
        Some("date-time") => "2026-01-31T12:00:00Z",
        Some("time") => "12:00:00Z",
        Some("email") => "name@example.com",
        Some("uuid") => "0b8f5ae2-5d5c-4a35-9f1c-6a2f4f6f5a11",
        Some("uri") => "https://example.com/",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        _ => "A-1042",
    };
    let least = schema["minLength"].as_u64().unwrap_or_default().min(1000) as usize;
    let most = schema["maxLength"].as_u64().map_or(1000, |most| most.min(1000) as usize);
    let mut text = known.to_owned();
    while text.len() < least {
        text.push('x');
    }
    text.truncate(most);
    text
}

fn number(schema: &Value, whole: bool) -> Value {
    let low =
        schema["minimum"].as_f64().or_else(|| schema["exclusiveMinimum"].as_f64().map(|n| n + 1.0));
    let high =
        schema["maximum"].as_f64().or_else(|| schema["exclusiveMaximum"].as_f64().map(|n| n - 1.0));
    let step = schema["multipleOf"].as_f64().filter(|step| *step > 0.0);
    let wanted = step.unwrap_or(1.0).max(low.unwrap_or(1.0)).min(high.unwrap_or(f64::MAX));
    if whole || wanted.fract() == 0.0 { json!(wanted as i64) } else { json!(wanted) }
}
