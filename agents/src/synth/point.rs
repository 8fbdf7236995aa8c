//! What a planner should write for what a phrase meant: references to mentions, literals, and the
//! step that holds them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::say::Intent;
use crate::mention::Mention;
use crate::plan::arg::{Arg, Locale, Shape, Slot};
use crate::plan::{Card, END};

/// Returns the meaning of an argument that the wording of a phrase implies.
pub(super) fn intent_of(value: &Value) -> Intent {
    match value {
        Value::Number(number) => match number.to_string().parse() {
            Ok(number) => Intent::Number(number),
            Err(_) => Intent::Text(number.to_string()),
        },
        Value::Bool(flag) => Intent::Choice(flag.to_string()),
        Value::String(text) => Intent::Choice(text.clone()),
        Value::Array(items) if items.iter().all(Value::is_number) => Intent::List(
            items.iter().filter_map(|number| number.to_string().parse().ok()).collect(),
        ),
        other => Intent::Text(other.to_string()),
    }
}

/// Writes the step that calls a tool, its arguments in the order of the schema.
pub(super) fn step_of(card: &Card, with: &Value) -> String {
    json!({"step": card.spec.name, "with": ordered(&card.args, with)}).to_string()
}

/// Writes the step that ends a plan.
pub(super) fn end() -> String {
    json!({ "step": END }).to_string()
}

pub(super) fn starred(path: &str) -> String {
    let steps = path.split('.').map(|s| if s.parse::<usize>().is_ok() { "*" } else { s });
    steps.collect::<Vec<_>>().join(".")
}

/// Returns what the planner should write for a meaning: a reference or a literal.
pub(super) fn point(
    shape: &Shape,
    intent: &Intent,
    near: &[&Mention],
    locale: &Locale,
) -> Option<Value> {
    match (shape, intent) {
        (Shape::Flag, Intent::Choice(word)) => word.parse::<bool>().ok().map(Value::Bool),
        (Shape::Choice(values), Intent::Choice(word) | Intent::Text(word)) => {
            values.contains(word).then(|| Value::String(word.clone()))
        }
        (Shape::Choices(values), Intent::Choice(word)) => {
            values.contains(word).then(|| json!([word]))
        }
        (Shape::Choices(_), Intent::Text(words)) => {
            serde_json::from_str::<Value>(words).ok().filter(Value::is_array)
        }
        (Shape::One(slot), _) => {
            let hit = near.iter().find(|m| agrees(slot, m, intent, locale))?;
            Some(Value::String(format!("${}", hit.id)))
        }
        (Shape::Many(slot), Intent::List(values)) => {
            let whole = near.iter().find(|m| {
                slot.resolve_list(m, locale).is_some_and(|found| {
                    found.len() == values.len()
                        && found.iter().zip(values).all(|(f, v)| same_number(f, *v))
                })
            });
            if let Some(mention) = whole {
                return Some(Value::String(format!("${}", mention.id)));
            }
            let each: Vec<Value> = values
                .iter()
                .filter_map(|v| point(&Shape::One(slot.clone()), &Intent::Number(*v), near, locale))
                .collect();
            (each.len() == values.len()).then_some(Value::Array(each))
        }
        (Shape::Many(slot), intent) => {
            point(&Shape::One(slot.clone()), intent, near, locale).map(|one| json!([one]))
        }
        _ => None,
    }
}

fn agrees(slot: &Slot, mention: &Mention, intent: &Intent, locale: &Locale) -> bool {
    let Some(value) = slot.resolve(mention, locale) else { return false };
    match intent {
        Intent::Number(number) => same_number(&value, *number),
        Intent::Text(text) | Intent::Choice(text) => {
            value.as_str() == Some(text)
                || value.as_i64().is_some_and(|n| text.parse() == Ok(n))
                || {
                    // A code drawn as hexadecimal may stand for an integer.
                    let digits = text.trim_start_matches("0x").trim_end_matches('h');
                    value.as_i64().is_some()
                        && i64::from_str_radix(digits, 16).ok() == value.as_i64()
                }
        }
        Intent::Day(day) => value.as_str() == Some(day.to_string().as_str()),
        Intent::Instant(instant) => {
            let read = |text: &str| text.parse::<Timestamp>().ok();
            value.as_str().and_then(read).is_some_and(|at| Some(at) == read(instant))
                || value.as_str() == instant.get(..10)
        }
        Intent::List(_) => false,
    }
}

fn same_number(value: &Value, number: rust_decimal::Decimal) -> bool {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let read = text.parse::<rust_decimal::Decimal>();
    read.is_ok_and(|read| (read - number).abs() <= rust_decimal::Decimal::new(1, 9))
}

/// Puts a value at a path, making objects and arrays on the way.
pub(super) fn put(target: &mut Value, path: &str, value: Value) {
    let Some((head, rest)) = path.split_once('.') else {
        return put_here(target, path, value);
    };
    let slot = child(target, head);
    if slot.is_null() {
        let next_is_index = rest.split('.').next().is_some_and(|s| s.parse::<usize>().is_ok());
        *slot = if next_is_index { json!([]) } else { json!({}) };
    }
    put(slot, rest, value);
}

fn put_here(target: &mut Value, name: &str, value: Value) {
    *child(target, name) = value;
}

fn child<'v>(target: &'v mut Value, name: &str) -> &'v mut Value {
    if let (Ok(index), Some(items)) = (name.parse::<usize>(), target.as_array()) {
        let missing = (index + 1).saturating_sub(items.len());
        if let Some(items) = target.as_array_mut() {
            items.extend(std::iter::repeat_n(Value::Null, missing));
        }
        return &mut target[index];
    }
    &mut target[name]
}

/// Orders the keys of the step as the schema does, which is the order of the grammar.
fn ordered(args: &[Arg], value: &Value) -> Value {
    let Some(object) = value.as_object() else { return value.clone() };
    let mut out = Map::new();
    for arg in args {
        let Some(value) = object.get(&arg.name) else { continue };
        let value = match &arg.shape {
            Shape::Object(args) => ordered(args, value),
            Shape::Objects(args) => match value.as_array() {
                Some(items) => items.iter().map(|item| ordered(args, item)).collect(),
                None => value.clone(),
            },
            _ => value.clone(),
        };
        out.insert(arg.name.clone(), value);
    }
    Value::Object(out)
}
