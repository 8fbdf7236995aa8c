//! What a planned call will give to the calls after it: the plain values of its output schema.
//!
//! A plan is complete before its first call runs. A later argument may point at `#1.payment`, the
//! field `payment` of the first call's result; the value itself is filled in when that result is
//! there. So neither a result nor a document that a tool reads can change which tools are called.
//!
//! # Source
//! The separation of control from untrusted data follows Debenedetti et al., *Defeating Prompt
//! Injections by Design* (2025), section 4.

use serde_json::{Map, Value, json};

use super::arg::{Locale, Shape, Slot, args_of, shape_at};
use super::unit::{self, Unit};
use crate::mention::{Kind, Mention};
use crate::tool::{ToolError, ToolSpec};

/// Values that say how a result came about and are no input of another call.
const ABOUT: [&str; 11] = [
    "warnings",
    "method",
    "standard",
    "unit",
    "units",
    "currency",
    "timezone",
    "approved_by",
    "arguments_sha256",
    "idempotency_key",
    "dry_run",
];

/// One value of a call's result.
#[derive(Debug, Clone)]
pub struct Field {
    /// Position of the call in the plan, from 0.
    pub call: usize,
    /// Name, `a.b` for a value inside an object.
    pub name: String,
    /// JSON pointer into the result.
    pub pointer: String,
    /// Its schema.
    schema: Value,
}

impl Field {
    /// Lists the values of a tool's result that a later call could take.
    pub fn of(call: usize, spec: &ToolSpec) -> Vec<Self> {
        let mut fields = Vec::new();
        let Some(properties) = spec.output_schema["properties"].as_object() else { return fields };
        for (name, schema) in properties {
            if ABOUT.contains(&name.as_str()) {
                continue;
            }
            let inside = |at: &str, inner: &Map<String, Value>| {
                let of = inner.iter().map(|(leaf, schema)| Self {
                    call,
                    name: format!("{at}.{leaf}"),
                    pointer: format!("/{}/{leaf}", at.replace('.', "/")),
                    schema: schema.clone(),
                });
                of.collect::<Vec<_>>()
            };
            if let Some(inner) = schema["properties"].as_object() {
                fields.extend(inside(name, inner));
            } else if let Some(inner) = schema["items"]["properties"].as_object() {
                // "Decode it, then look the code up" means the first one that is found; a number of
                // the first row says too little to be taken further.
                let first = inside(&format!("{name}.0"), inner).into_iter();
                fields.extend(first.filter(|f| matches!(f.sample(), Some(Kind::Id { .. }))));
            } else {
                let (name, pointer) = (name.clone(), format!("/{name}"));
                fields.push(Self { call, name, pointer, schema: schema.clone() });
            }
        }
        fields.retain(|field| field.sample().is_some());
        fields
    }

    /// Tells whether the value is of the first of several objects.
    pub fn is_of_many(&self) -> bool {
        self.name.contains(".0.")
    }

    /// Returns the words by which a planner points at the value.
    pub fn reference(&self) -> String {
        format!("#{}.{}", self.call + 1, self.name)
    }

    /// Tells whether the value could fill an argument: its type, and the unit in its name.
    pub fn fills(&self, slot: &Slot, locale: &Locale) -> bool {
        let Some(kind) = self.sample() else { return false };
        slot.takes(self.leaf(), &mention(kind), locale)
    }

    /// Tells whether the value's name has a word in common with the argument's, its unit aside.
    pub fn is_named_like(&self, slot: &Slot) -> bool {
        slot.shares_word_with(self.leaf())
    }

    /// Returns the place where the value will be put, until it is known.
    pub fn pending(&self) -> Value {
        json!({ FROM: self.call, "pointer": self.pointer })
    }

    fn leaf(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    fn kind_name(&self) -> Option<&str> {
        let kind = &self.schema["type"];
        kind.as_str()
            .or_else(|| kind.as_array()?.iter().find_map(|t| t.as_str().filter(|t| *t != "null")))
    }

    /// A value of the field's type, to try arguments with.
    fn sample(&self) -> Option<Kind> {
        let text = match (self.kind_name()?, self.schema["format"].as_str()) {
            ("number" | "integer", _) => "1",
            ("string", Some("date")) => "2026-01-01",
            ("string", Some("date-time")) => "2026-01-01T00:00:00Z",
            ("string", _) if self.is_currency() => "USD",
            ("string", _) => "1",
            _ => return None,
        };
        self.kind(text)
    }

    fn is_currency(&self) -> bool {
        self.schema["pattern"].as_str() == Some("^[A-Z]{3}$")
    }

    /// Reads a value of the result as if a person had stated it.
    fn kind(&self, text: &str) -> Option<Kind> {
        let text = text.to_owned();
        let pattern = self.schema["pattern"].as_str().unwrap_or_default();
        Some(match (self.kind_name()?, self.schema["format"].as_str()) {
            ("number" | "integer", _) => match unit::of_name(self.leaf()) {
                Some(Unit::Percent) => Kind::Percent { value: text },
                Some(Unit::Duration(unit)) => Kind::Duration { value: text, unit: unit.to_owned() },
                Some(Unit::Measure(unit)) => Kind::Number { value: text, unit: unit.to_owned() },
                Some(Unit::Year) | None => Kind::Number { value: text, unit: String::new() },
            },
            ("string", Some("date")) => Kind::Date { value: text },
            ("string", Some("date-time")) => Kind::DateTime { value: text },
            ("string", _) if self.is_currency() => Kind::Currency { value: text },
            ("string", _) if pattern.contains(r"(\.[0-9]") => {
                Kind::Money { value: text, currency: String::new() }
            }
            ("string", _) => Kind::Id { value: text },
            _ => return None,
        })
    }
}

/// Key of an object that stands for a value of an earlier result.
const FROM: &str = "$from";

fn mention(kind: Kind) -> Mention {
    Mention { id: 0, start: 0, end: 0, text: String::new(), kind }
}

/// Tells whether arguments hold a value that is not known yet.
pub fn is_pending(arguments: &Value) -> bool {
    match arguments {
        Value::Object(object) => object.contains_key(FROM) || object.values().any(is_pending),
        Value::Array(items) => items.iter().any(is_pending),
        _ => false,
    }
}

/// Fills in the values of earlier results, each converted into the argument's own unit and type.
/// `earlier` holds the tool and the result of each call made so far.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the earlier result lacks the value, or it does not fit the argument.
pub fn settle(
    spec: &ToolSpec,
    arguments: &Value,
    earlier: &[(&ToolSpec, &Value)],
    locale: &Locale,
) -> Result<Value, ToolError> {
    let args = args_of(&spec.input_schema);
    walk(arguments, "", &mut |path, pending| {
        let unusable = || {
            ToolError::invalid(
                format!("/{}", path.replace('.', "/")),
                format!(
                    "the earlier call gave no usable value for `{path}`; state it in the request"
                ),
            )
        };
        let call = pending[FROM].as_u64().and_then(|n| usize::try_from(n).ok());
        let (call, (tool, result)) =
            call.and_then(|n| Some((n, earlier.get(n)?))).ok_or_else(unusable)?;
        let pointer = pending["pointer"].as_str().unwrap_or_default();
        let value = result.pointer(pointer).ok_or_else(unusable)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields = Field::of(call, tool);
        let kind = fields.iter().find(|f| f.pointer == pointer).and_then(|field| field.kind(&text));
        match (shape_at(&args, path), kind) {
            (Some(Shape::One(slot)), Some(kind)) => {
                slot.resolve(&mention(kind), locale).ok_or_else(unusable)
            }
            _ => Err(unusable()),
        }
    })
}

/// Copies a value, replacing what is pending.
fn walk(
    value: &Value,
    path: &str,
    settle: &mut impl FnMut(&str, &Value) -> Result<Value, ToolError>,
) -> Result<Value, ToolError> {
    let below = |step: &str| match path {
        "" => step.to_owned(),
        path => format!("{path}.{step}"),
    };
    match value {
        Value::Object(object) if object.contains_key(FROM) => settle(path, value),
        Value::Object(object) => {
            let entries = object.iter();
            let settled: Result<Map<String, Value>, ToolError> = entries
                .map(|(name, value)| Ok((name.clone(), walk(value, &below(name), settle)?)))
                .collect();
            settled.map(Value::Object)
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(i, item)| walk(item, &below(&i.to_string()), settle)).collect()
        }
        other => Ok(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::shipped;

    fn spec(pack: &str, tool: &str) -> std::sync::Arc<ToolSpec> {
        let packs = shipped().unwrap();
        let pack = packs.iter().find(|p| p.manifest.id == pack).unwrap();
        std::sync::Arc::clone(pack.tool(tool).unwrap())
    }

    fn locale() -> Locale {
        Locale { timezone: "UTC".to_owned() }
    }

    #[test]
    fn an_amount_of_a_result_fills_an_amount_and_no_term() {
        let loan = spec("finance", "loan_schedule");
        let fields = Field::of(0, &loan);
        let paid = fields.iter().find(|f| f.name == "total_paid").unwrap();
        assert_eq!(paid.reference(), "#1.total_paid");
        let args = args_of(&loan.input_schema);
        let slot = |name: &str| match shape_at(&args, name) {
            Some(Shape::One(slot)) => slot,
            other => panic!("{name}: {other:?}"),
        };
        assert!(paid.fills(&slot("principal"), &locale()));
        assert!(!paid.fills(&slot("months"), &locale()));
        assert!(!paid.fills(&slot("annual_rate_pct"), &locale()));
        assert!(!paid.fills(&slot("first_due_date"), &locale()));
    }

    #[test]
    fn a_pending_value_is_filled_from_the_result_in_the_arguments_own_type() {
        let loan = spec("finance", "loan_schedule");
        let fields = Field::of(0, &loan);
        let paid = fields.iter().find(|f| f.name == "total_paid").unwrap();
        let arguments = json!({"principal": paid.pending(), "annual_rate_pct": 3, "months": 12});
        assert!(is_pending(&arguments));
        let result = json!({"total_paid": "431676.38"});
        let settled = settle(&loan, &arguments, &[(&loan, &result)], &locale()).unwrap();
        assert_eq!(settled, json!({"principal": "431676.38", "annual_rate_pct": 3, "months": 12}));
        assert!(!is_pending(&settled));
        let error = settle(&loan, &arguments, &[(&loan, &json!({}))], &locale()).unwrap_err();
        assert_eq!(error.code(), "invalid_input");
        assert!(error.to_string().contains("principal"), "{error}");
    }
}
