//! Calls of functions that a caller describes with its request, instead of a pack's tools.
//!
//! The rule of packs holds here too: the planner points at the values that the text states and writes
//! none itself. A call whose required arguments the text does not state is not made; what is missing is
//! named instead.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::arg::Locale;
use super::card::Card;
use super::planner::{PlanError, Planner, Words};
use super::planning::{Desk, MAX_CALLS, SHORTLIST, today};
use super::step::{END, OTHER_STEPS, Offer};
use crate::lang;
use crate::mention;
use crate::tool::ToolSpec;

/// Longest title of a function in the prompt, characters.
const TITLE: usize = 80;

/// Deepest schema that is looked into, and longest chain of references.
const DEEPEST: usize = 8;

/// Most functions of one request.
pub const MAX_FUNCTIONS: usize = 128;

/// A function that a caller describes.
#[derive(Debug, Clone)]
pub struct Function {
    card: Card,
    /// What its arguments must obey, as the caller wrote it.
    spec: Arc<ToolSpec>,
}

impl Function {
    /// Reads a function. `parameters` is a JSON Schema whose references stay within it.
    ///
    /// # Errors
    /// What is wrong with the schema, as a sentence.
    pub fn new(name: &str, description: &str, parameters: &Value) -> Result<Self, String> {
        if !parameters.is_object() || parameters.get("type").is_some_and(|kind| kind != "object") {
            return Err(format!("the parameters of `{name}` must be a schema of an object"));
        }
        if leaves(parameters) {
            return Err(format!("the schema of `{name}` refers to another document"));
        }
        let first = description.split(['.', '\n', '。']).next().unwrap_or_default().trim();
        let title: String =
            if first.is_empty() { name } else { first }.chars().take(TITLE).collect();
        let spec = |schema: &Value| {
            let contract = json!({
                "name": name, "title": title, "description": description, "inputSchema": schema,
                "outputSchema": {}, "annotations": {}, "effect": "pure", "method": "",
            });
            let spec = serde_json::from_value::<ToolSpec>(contract);
            spec.map(Arc::new).map_err(|error| error.to_string())
        };
        let own = spec(parameters)?;
        own.compiles()
            .map_err(|error| format!("the schema of `{name}` cannot be used: {error}"))?;
        let shown = spec(&plain(parameters, parameters, 0))?;
        Ok(Self { card: Card::new(shown, &[]), spec: own })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.card.spec.name
    }

    /// Counts the words that a text shares with its name and description.
    fn shares(&self, words: &HashSet<String>) -> usize {
        let own = format!("{} {}", self.card.spec.name, self.card.spec.description);
        words_of(&own).intersection(words).count()
    }
}

/// Tells whether a schema refers to what is not part of it.
fn leaves(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let reference = matches!(name.as_str(), "$ref" | "$dynamicRef" | "$schema");
            let away = |text: &str| !text.starts_with('#') && name != "$schema";
            reference && value.as_str().is_some_and(away) || name == "$id" || leaves(value)
        }),
        Value::Array(items) => items.iter().any(leaves),
        _ => false,
    }
}

/// Returns the search terms of a text.
fn words_of(text: &str) -> HashSet<String> {
    lang::terms(text).into_iter().map(|term| term.text).collect()
}

/// Returns a part of a schema with its references resolved.
fn resolved<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    let mut at = schema;
    for _ in 0..DEEPEST {
        let whole = at["allOf"].as_array().filter(|parts| parts.len() == 1);
        at = match (at["$ref"].as_str(), whole) {
            (Some("#"), _) => root,
            (Some(pointer), _) => match root.pointer(pointer.trim_start_matches('#')) {
                Some(found) => found,
                None => return at,
            },
            (None, Some(parts)) => &parts[0],
            (None, None) => return at,
        };
    }
    at
}

/// Returns what a schema takes beside `null`, and whether it takes `null`.
fn without_null<'s>(schema: &'s Value, root: &'s Value) -> (&'s Value, bool) {
    let schema = resolved(schema, root);
    let ways = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    let Some(ways) = ways else {
        let null = schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null")));
        return (schema, null);
    };
    let ways = ways.iter().map(|way| resolved(way, root));
    let (null, other): (Vec<&Value>, Vec<&Value>) = ways.partition(|way| way["type"] == "null");
    match other.as_slice() {
        [one] => (one, !null.is_empty()),
        _ => (schema, !null.is_empty()),
    }
}

/// Returns a schema as [`Card`]s are made of: without references, and what may be `null` is optional.
fn plain(schema: &Value, root: &Value, depth: usize) -> Value {
    let (schema, _) = without_null(schema, root);
    let mut own = schema.clone();
    let Some(members) = own.as_object_mut().filter(|_| depth < DEEPEST) else { return own };
    members.remove("$defs");
    if let Some(kinds) = schema["type"].as_array() {
        let one = kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or_default();
        members.insert("type".to_owned(), one);
    }
    if let Some(items) = schema.get("items") {
        members.insert("items".to_owned(), plain(items, root, depth + 1));
    }
    if let Some(properties) = schema["properties"].as_object() {
        let optional = |name: &str| without_null(&properties[name], root).1;
        let required = schema["required"].as_array().into_iter().flatten();
        let required: Vec<&Value> = required
            .filter(|name| {
                name.as_str().is_some_and(|name| properties.contains_key(name) && !optional(name))
            })
            .collect();
        members.insert("required".to_owned(), json!(required));
        let properties =
            properties.iter().map(|(name, part)| (name.clone(), plain(part, root, depth + 1)));
        members.insert("properties".to_owned(), Value::Object(properties.collect()));
    }
    own
}

/// Writes `null` where a value must have a member that was not filled and may be `null`.
fn fill_nulls(value: &mut Value, schema: &Value, root: &Value) {
    let (schema, _) = without_null(schema, root);
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(|item| fill_nulls(item, &schema["items"], root));
        }
        Value::Object(members) => {
            let Some(properties) = schema["properties"].as_object() else { return };
            for name in
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
            {
                if properties.get(name).is_some_and(|part| without_null(part, root).1) {
                    members.entry(name).or_insert(Value::Null);
                }
            }
            for (name, member) in members.iter_mut() {
                if let Some(part) = properties.get(name) {
                    fill_nulls(member, part, root);
                }
            }
        }
        _ => {}
    }
}

/// A call with arguments that its schema accepts.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionCall {
    /// Name of the function.
    pub name: String,
    /// Its arguments, an object.
    pub arguments: Value,
}

/// What comes of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Chosen {
    /// These calls, one at least.
    Calls(Vec<FunctionCall>),
    /// None of the functions is meant.
    None,
    /// A function is meant and the text does not say what it needs.
    Lacks {
        /// Name of the function.
        name: String,
        /// Arguments that are missing, or empty where a value breaks the schema.
        missing: Vec<String>,
        /// What is wrong with the values, where they break the schema.
        fault: String,
    },
}

/// How functions are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Choosing<'a> {
    /// Whether one must be called.
    pub must: bool,
    /// Whether several calls may be made.
    pub several: bool,
    /// IANA name of the time zone in which dates are meant.
    pub timezone: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// Chooses functions for a text and fills their arguments.
///
/// # Errors
/// [`PlanError`] when the planner fails, is stopped, or takes too long.
pub fn choose(
    planner: &dyn Planner,
    text: &str,
    functions: &[Function],
    how: Choosing<'_>,
) -> Result<(Chosen, Words), PlanError> {
    let locale = Locale { timezone: how.timezone.to_owned() };
    let text = text.trim();
    let mentions = mention::find(text, today(&locale, how.now));
    let mut cards: Vec<&Card> = likely(text, functions).map(|function| &function.card).collect();
    let mut prompt = Desk::prompt(text, &mentions, &mut cards);
    let about = Offer::of(text, &mentions, &locale);
    let (mut words, mut calls) = (Words::default(), Vec::new());
    loop {
        let offer = Offer { planned: calls.len(), ..about };
        let others: &[&str] = match (calls.is_empty(), how.must) {
            (true, true) => &[],
            (true, false) => &OTHER_STEPS,
            (false, _) => &[END],
        };
        let said = planner.complete(&prompt, &offer.schema_of(&cards, others))?;
        let step = offer.read(&said.text, &cards);
        let step = step.ok_or_else(|| PlanError::Unusable(said.text.clone()))?;
        words.add(&said);
        let Some(function) = functions.iter().find(|one| one.name() == step.name) else { break };
        let spec = &function.spec;
        let mut arguments = Value::Object(step.arguments);
        fill_nulls(&mut arguments, &spec.input_schema, &spec.input_schema);
        let missing = spec.missing(&arguments);
        if let Err(error) = spec.check_arguments(&arguments) {
            // A further call that lacks something is none: the planner repeats itself.
            if calls.is_empty() {
                let fault = if missing.is_empty() { error.to_string() } else { String::new() };
                return Ok((Chosen::Lacks { name: step.name, missing, fault }, words));
            }
            break;
        }
        let call = FunctionCall { name: step.name, arguments };
        if calls.contains(&call) {
            break;
        }
        calls.push(call);
        if !how.several || calls.len() == MAX_CALLS || !planner.chains() {
            break;
        }
        prompt = Desk::after(prompt, &said.text, &offer.outlook(&cards));
    }
    Ok((if calls.is_empty() { Chosen::None } else { Chosen::Calls(calls) }, words))
}

/// Returns as many functions as a planner is shown, those that share most words with the text.
fn likely<'f>(text: &str, functions: &'f [Function]) -> impl Iterator<Item = &'f Function> {
    let words = words_of(text);
    let mut ranked: Vec<&Function> = functions.iter().collect();
    ranked.sort_by_key(|function| std::cmp::Reverse(function.shares(&words)));
    ranked.into_iter().take(SHORTLIST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parameters: &Value) -> Result<Function, String> {
        Function::new("pay", "Pays an invoice. Needs an amount.", parameters)
    }

    #[test]
    fn schemas_that_lead_elsewhere_or_are_none_are_refused() {
        assert!(of(&json!({"type": "object", "properties": {}})).is_ok());
        assert!(of(&json!({"type": "object", "$defs": {"a": {}}, "properties": {"a": {"$ref": "#/$defs/a"}}})).is_ok());
        for wrong in [
            json!({"type": "string"}),
            json!([]),
            json!({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1/a"}}}),
            json!({"type": "object", "$id": "http://127.0.0.1/"}),
            json!({"type": "object", "properties": {"a": {"type": "nothing"}}}),
        ] {
            assert!(of(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_many_functions_those_that_share_words_with_the_text_are_shown() {
        let named = |name: &str, about: &str| {
            Function::new(name, about, &json!({"type": "object"})).unwrap()
        };
        let mut many: Vec<Function> =
            (0..20).map(|n| named(&format!("other_{n}"), "Something else")).collect();
        many.push(named("get_weather", "Weather of a city"));
        many.push(named("天氣", "查詢城市的天氣"));
        let shown = |text: &str| likely(text, &many).next().unwrap().name().to_owned();
        assert_eq!(shown("What is the weather in the city of Paris?"), "get_weather");
        assert_eq!(shown("台北的天氣如何"), "天氣");
        assert_eq!(likely("weather", &many).count(), SHORTLIST);
    }

    #[test]
    fn what_may_be_null_is_optional_and_written_as_null() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["amount", "note", "kind", "rows"],
            "$defs": {"Kind": {"type": "string", "enum": ["a", "b"]},
                      "Row": {"type": "object", "required": ["x"], "properties": {"x": {"type": ["number", "null"]}}}},
            "properties": {
                "amount": {"type": "number"}, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "kind": {"allOf": [{"$ref": "#/$defs/Kind"}]},
                "rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
            },
        });
        let plain = plain(&schema, &schema, 0);
        assert_eq!(plain["required"], json!(["amount", "kind", "rows"]));
        assert_eq!(plain["properties"]["note"]["type"], "string");
        assert_eq!(plain["properties"]["kind"]["enum"], json!(["a", "b"]));
        assert_eq!(plain["properties"]["rows"]["items"]["properties"]["x"]["type"], "number");
        let mut value = json!({"amount": 1, "kind": "a", "rows": [{}]});
        fill_nulls(&mut value, &schema, &schema);
        assert_eq!(value, json!({"amount": 1, "kind": "a", "rows": [{"x": null}], "note": null}));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(of(&schema).is_ok());
    }
}
