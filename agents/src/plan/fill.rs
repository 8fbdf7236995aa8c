//! Arguments that a request leaves out and the platform may supply: the tenant's currency and time
//! zone, the idempotency key of an act, and what the pack's `fill.toml` states.
//!
//! Everything supplied here is journaled as [`Origin::Assumed`], so the answer can say so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Origin;
use super::arg::{Locale, Shape, args_of};
use crate::mention::{Kind, Mention};
use crate::pack::{Pack, PackError};
use crate::tool::{Effect, ToolSpec};

/// What a pack supplies: by tool, then by path (`energy_lines.*.label`), a literal or one of
/// `@year` (the year that the request names, else this year), `@lang` (the language of the request),
/// `@n` within a text (position in the array, from 1).
#[derive(Debug, Clone, Default)]
pub struct Fills(BTreeMap<String, BTreeMap<String, Value>>);

/// What filling needs to know of a run.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Identifier of the run; part of idempotency keys.
    pub run: &'a str,
    /// The request; what a note or summary says where the person gave no other.
    pub request: &'a str,
    /// The tenant's currency.
    pub currency: &'a str,
    /// Currency that the request names beside the amounts used.
    pub said_currency: Option<&'a str>,
    /// The tenant's locale.
    pub locale: &'a Locale,
    /// Mentions of the request.
    pub mentions: &'a [Mention],
    /// Now.
    pub now: Timestamp,
}

impl Fills {
    /// Reads `fill.toml` of a pack; a pack without one supplies nothing of its own.
    ///
    /// # Errors
    /// [`PackError::Invalid`] with the line, or with the name of a tool that is not there.
    pub fn of(pack: &Pack) -> Result<Self, PackError> {
        let Some(bytes) = pack.files.get("fill.toml") else { return Ok(Self::default()) };
        let invalid = |message: String| PackError::Invalid {
            pack: pack.manifest.id.clone(),
            file: "fill.toml".to_owned(),
            message,
        };
        let fills: BTreeMap<String, BTreeMap<String, Value>> =
            toml::from_str(&String::from_utf8_lossy(bytes)).map_err(|e| invalid(e.to_string()))?;
        if let Some(name) = fills.keys().find(|name| pack.tool(name).is_none()) {
            return Err(invalid(format!("there is no tool `{name}` in the pack")));
        }
        Ok(Self(fills))
    }

    /// Tells whether the pack supplies the argument at `path` (`energy_lines.*.label`).
    pub fn covers(&self, tool: &str, path: &str) -> bool {
        self.0.get(tool).is_some_and(|paths| paths.contains_key(path))
    }

    /// Supplies what is absent from the arguments of a call.
    pub fn apply(
        &self,
        spec: &ToolSpec,
        arguments: &mut Map<String, Value>,
        setting: &Setting<'_>,
    ) -> Vec<Origin> {
        let mut origins = Vec::new();
        for (path, value) in self.0.get(&spec.name).into_iter().flatten() {
            let steps: Vec<&str> = path.split('.').collect();
            supply(arguments, &steps, value, "", 0, setting, &mut origins);
        }
        self.platform(spec, arguments, setting, &mut origins);
        origins
    }

    fn platform(
        &self,
        spec: &ToolSpec,
        arguments: &mut Map<String, Value>,
        setting: &Setting<'_>,
        origins: &mut Vec<Origin>,
    ) {
        let properties = &spec.input_schema["properties"];
        let absent = |name: &str, arguments: &Map<String, Value>| {
            properties.get(name).is_some() && !arguments.contains_key(name)
        };
        let mut put = |name: &str, value: String, arguments: &mut Map<String, Value>| {
            origins.push(Origin::Assumed { pointer: format!("/{name}"), value: value.clone() });
            arguments.insert(name.to_owned(), Value::String(value));
        };
        if absent("currency", arguments) {
            let required = is_required(spec, "currency")
                || arguments.contains_key("amount")
                || is_required_beside(spec, "currency", arguments);
            if let Some(currency) = setting.said_currency {
                put("currency", currency.to_owned(), arguments);
            } else if required {
                put("currency", setting.currency.to_owned(), arguments);
            }
        }
        if absent("timezone", arguments) && arguments.contains_key("dataset") {
            put("timezone", setting.locale.timezone.clone(), arguments);
        }
        for arg in args_of(&spec.input_schema).iter().filter(|arg| arg.required) {
            if matches!(&arg.shape, Shape::One(slot) if slot.takes_request())
                && absent(&arg.name, arguments)
            {
                put(&arg.name, setting.request.chars().take(200).collect(), arguments);
            }
        }
        if spec.effect == Effect::Act && absent("idempotency_key", arguments) {
            let words = Value::Object(arguments.clone()).to_string();
            let digest = Sha256::digest(format!("{}\n{}\n{words}", setting.run, spec.name));
            put("idempotency_key", format!("run-{}", &hex::encode(digest)[..24]), arguments);
        }
    }
}

/// Tells whether the schema's own `required` names an argument.
fn is_required(spec: &ToolSpec, name: &str) -> bool {
    spec.input_schema["required"]
        .as_array()
        .is_some_and(|names| names.iter().any(|n| n.as_str() == Some(name)))
}

/// Tells whether an argument that is there asks for another by `dependentRequired`.
fn is_required_beside(spec: &ToolSpec, name: &str, arguments: &Map<String, Value>) -> bool {
    let beside = spec.input_schema["dependentRequired"].as_object();
    beside.into_iter().flatten().any(|(given, wanted)| {
        let wanted = wanted.as_array().into_iter().flatten();
        arguments.contains_key(given) && wanted.into_iter().any(|n| n.as_str() == Some(name))
    })
}

/// Walks to the place of `path` in what is there and puts the value where it is absent.
fn supply(
    object: &mut Map<String, Value>,
    path: &[&str],
    value: &Value,
    at: &str,
    position: usize,
    setting: &Setting<'_>,
    origins: &mut Vec<Origin>,
) {
    match path {
        [name] if !object.contains_key(*name) => {
            let value = literal(value, position, setting);
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            origins.push(Origin::Assumed { pointer: format!("{at}/{name}"), value: shown });
            object.insert((*name).to_owned(), value);
        }
        [name, "*", rest @ ..] => {
            let items = object.get_mut(*name).and_then(Value::as_array_mut);
            for (i, item) in items.into_iter().flatten().enumerate() {
                if let Some(item) = item.as_object_mut() {
                    supply(item, rest, value, &format!("{at}/{name}/{i}"), i + 1, setting, origins);
                }
            }
        }
        [name, rest @ ..] if !rest.is_empty() => {
            if let Some(inner) = object.get_mut(*name).and_then(Value::as_object_mut) {
                supply(inner, rest, value, &format!("{at}/{name}"), position, setting, origins);
            }
        }
        _ => {}
    }
}

fn literal(value: &Value, position: usize, setting: &Setting<'_>) -> Value {
    match value.as_str() {
        Some("@year") => Value::from(year(setting)),
        Some("@lang") => Value::from(crate::lang::detect(setting.request)),
        Some(text) => Value::String(text.replace("@n", &position.to_string())),
        None => value.clone(),
    }
}

/// Returns the year that the request names as a date or period, else the current one.
fn year(setting: &Setting<'_>) -> i16 {
    let said = setting.mentions.iter().find_map(|mention| match &mention.kind {
        Kind::Date { value } | Kind::Period { start: value, .. } => value.get(..4)?.parse().ok(),
        _ => None,
    });
    said.unwrap_or_else(|| {
        let zone = TimeZone::get(&setting.locale.timezone).unwrap_or(TimeZone::UTC);
        setting.now.to_zoned_datetime(zone).year()
    })
}
