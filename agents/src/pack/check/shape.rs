//! What does not fit the schema of its file.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::super::schema::FileKind;
use super::locate::escaped;
use super::names::{listed, meant};
use super::{Bag, File, said};

/// Tells of everything that does not fit.
pub(super) fn check(file: &File<'_>, kind: &FileKind, bag: &mut Bag) {
    let Some(validator) = kind.validator() else { return };
    for error in validator.iter_errors(&file.value) {
        tell(&error, file, &kind.schema, bag);
    }
}

fn tell(error: &ValidationError<'_>, file: &File<'_>, schema: &Value, bag: &mut Bag) {
    let at = error.instance_path().to_string();
    // The schema object whose keyword failed.
    let path = error.schema_path().to_string();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let parent = schema.pointer(parent).unwrap_or(&Value::Null);
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => {
            let known = parent["properties"].as_object();
            for name in unexpected {
                let span = file.key(&format!("{at}/{}", escaped(name)));
                let mut fault = said("unknown_key", format!("there is no key `{name}` here"));
                if let Some(known) = known {
                    fault = fault.hint(meant(name, known.keys().map(String::as_str)));
                }
                bag.error(file, span, fault);
            }
        }
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let about = parent["properties"][name]["description"].as_str().unwrap_or_default();
            let fault = said("missing_key", format!("`{name}` is missing"));
            let fault =
                if about.is_empty() { fault } else { fault.hint(format!("{name}: {about}")) };
            bag.error(file, file.place(&at), fault);
        }
        Kind::Type { .. } => {
            let wanted = wanted(&parent["type"]);
            let found = found(error.instance());
            let message = format!("{wanted} is needed here, and this is {found}");
            bag.error(file, file.place(&at), said("wrong_type", message));
        }
        Kind::Enum { options } => {
            let options: Vec<&str> =
                options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            one_of(error.instance(), &options, file, &at, bag);
        }
        Kind::Constant { expected_value } => {
            let message = format!("this must be {expected_value}");
            bag.error(file, file.place(&at), said("wrong_value", message));
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            choice(error, context, file, schema, bag);
        }
        _ => bag.error(file, file.place(&at), said("wrong_value", error.to_string())),
    }
}

/// Tells of a value that fits none of several forms by the form that was likely meant: the one whose tag
/// it has, else the one with the fewest faults.
fn choice(
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'_>>],
    file: &File<'_>,
    schema: &Value,
    bag: &mut Bag,
) {
    let at = error.instance_path().to_string();
    let tags = context.iter().flatten().filter_map(|fault| match fault.kind() {
        Kind::Constant { expected_value } => {
            Some((fault.instance_path().to_string(), expected_value))
        }
        _ => None,
    });
    let tags: Vec<(String, String)> =
        tags.filter_map(|(place, value)| Some((place, value.as_str()?.to_owned()))).collect();
    let weight = |faults: &Vec<ValidationError<'_>>| {
        let heavy = |fault: &ValidationError<'_>| match fault.kind() {
            Kind::Type { .. } if fault.instance_path().to_string() == at => 1000,
            Kind::Constant { .. } => 500,
            Kind::Required { property } if property == "kind" => 100,
            _ => 1,
        };
        faults.iter().map(heavy).sum::<usize>()
    };
    let Some(best) = context.iter().min_by_key(|faults| weight(faults)) else { return };
    if weight(best) >= 500 && !tags.is_empty() {
        let options: Vec<&str> = tags.iter().map(|(_, value)| value.as_str()).collect();
        let place = &tags[0].0;
        let given = file.value.pointer(place).unwrap_or(&Value::Null);
        return one_of(given, &options, file, place, bag);
    }
    best.iter().for_each(|fault| tell(fault, file, schema, bag));
}

fn one_of(given: &Value, options: &[&str], file: &File<'_>, at: &str, bag: &mut Bag) {
    let fault = match given.as_str() {
        Some(text) => said("wrong_value", format!("`{text}` is not one of {}", listed(options)))
            .hint(meant(text, options.iter().copied())),
        None => said("wrong_value", format!("this must be one of {}", listed(options))),
    };
    bag.error(file, file.place(at), fault);
}

fn wanted(types: &Value) -> String {
    let all: Vec<&str> = match types {
        Value::String(one) => vec![one.as_str()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let all: Vec<&str> = all.into_iter().filter(|one| *one != "null").map(in_words).collect();
    if all.is_empty() { "another value".to_owned() } else { all.join(" or ") }
}

fn in_words(name: &str) -> &str {
    match name {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a table",
        other => other,
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "`true` or `false`",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
