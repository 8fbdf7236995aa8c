//! What an argument can be filled with: the shape of a JSON Schema seen from the side of a request.
//!
//! A planner points at mentions; [`Slot::resolve`] turns a mention into the argument's own unit and
//! JSON type, or refuses it. The grammar offers only what resolves, so a planner cannot put a date
//! where an amount belongs.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Number, Value};

use super::unit;
use crate::mention::{Kind, Mention};

/// Deepest nesting of objects that a request can fill.
const MAX_DEPTH: usize = 2;

/// One argument of a tool.
#[derive(Debug, Clone)]
pub struct Arg {
    /// Name in the schema.
    pub name: String,
    /// What fills it.
    pub shape: Shape,
    /// True when the object must have it.
    pub required: bool,
}

/// How an argument is filled.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One mention.
    One(Slot),
    /// An array: one list mention, or several single ones.
    Many(Slot),
    /// One literal of the schema.
    Choice(Vec<String>),
    /// Several literals of the schema.
    Choices(Vec<String>),
    /// True or false.
    Flag,
    /// An object of arguments.
    Object(Vec<Arg>),
    /// An array of such objects.
    Objects(Vec<Arg>),
}

/// The type and unit of a value that a mention fills.
#[derive(Debug, Clone)]
pub struct Slot {
    kind: SlotKind,
    /// Name of the argument, which carries the unit (`term_km`).
    name: String,
    pattern: Option<regex::Regex>,
    max_length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotKind {
    Decimal,
    Number,
    Integer,
    Date,
    DateTime,
    Currency,
    Text,
    Json,
}

/// What resolving needs to know of the tenant.
#[derive(Debug, Clone)]
pub struct Locale {
    /// IANA name of the tenant's time zone.
    pub timezone: String,
}

/// Reads the arguments of an input schema, in its order. Arguments that no request can state
/// (deeper nesting, free objects) are left out.
pub fn args_of(schema: &Value) -> Vec<Arg> {
    object_args(schema, 0)
}

fn object_args(schema: &Value, depth: usize) -> Vec<Arg> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    properties
        .iter()
        .filter_map(|(name, property)| {
            let shape = shape_of(name, property, depth)?;
            Some(Arg { name: name.clone(), shape, required: required.contains(&name.as_str()) })
        })
        .collect()
}

fn shape_of(name: &str, schema: &Value, depth: usize) -> Option<Shape> {
    match schema["type"].as_str()? {
        "boolean" => Some(Shape::Flag),
        "string" => Some(match literals(schema) {
            Some(values) => Shape::Choice(values),
            None => Shape::One(Slot::of(name, schema)?),
        }),
        "number" | "integer" => Some(Shape::One(Slot::of(name, schema)?)),
        "array" => array_shape(name, &schema["items"], depth),
        "object" if schema.get("additionalProperties") == Some(&Value::Bool(true)) => {
            Some(Shape::One(Slot::json(name)))
        }
        "object" if depth < MAX_DEPTH => {
            Some(Shape::Object(object_args(schema, depth + 1))).filter(not_empty)
        }
        _ => None,
    }
}

fn array_shape(name: &str, items: &Value, depth: usize) -> Option<Shape> {
    match items["type"].as_str()? {
        "object" if depth < MAX_DEPTH => {
            Some(Shape::Objects(object_args(items, depth + 1))).filter(not_empty)
        }
        "string" if items.get("enum").is_some() => literals(items).map(Shape::Choices),
        "string" | "number" | "integer" => Some(Shape::Many(Slot::of(name, items)?)),
        _ => None,
    }
}

fn not_empty(shape: &Shape) -> bool {
    !matches!(shape, Shape::Object(args) | Shape::Objects(args) if args.is_empty())
}

fn literals(schema: &Value) -> Option<Vec<String>> {
    let values = schema["enum"].as_array()?;
    Some(values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
}

impl Slot {
    fn json(name: &str) -> Self {
        Self { kind: SlotKind::Json, name: name.to_owned(), pattern: None, max_length: 20_000 }
    }

    fn of(name: &str, schema: &Value) -> Option<Self> {
        let pattern = schema["pattern"].as_str();
        let kind = match schema["type"].as_str()? {
            "integer" => SlotKind::Integer,
            "number" => SlotKind::Number,
            _ => match (schema["format"].as_str(), pattern) {
                (Some("date"), _) => SlotKind::Date,
                (Some("date-time"), _) => SlotKind::DateTime,
                (_, Some("^[A-Z]{3}$")) => SlotKind::Currency,
                (_, Some(p)) if p.contains(r"(\.[0-9]") => SlotKind::Decimal,
                _ => SlotKind::Text,
            },
        };
        Some(Self {
            kind,
            name: name.to_owned(),
            pattern: pattern.and_then(|p| regex::Regex::new(p).ok()),
            max_length: schema["maxLength"].as_u64().map_or(usize::MAX, |n| n as usize),
        })
    }

    /// Tells whether the whole request may fill the argument (a note, a summary, a pasted text).
    pub fn takes_request(&self) -> bool {
        self.is_text() && self.max_length >= 300
    }

    /// Tells whether free words of some length stand there.
    fn is_text(&self) -> bool {
        self.kind == SlotKind::Text && self.pattern.is_none() && self.max_length >= 200
    }

    /// Writes the type as the planner sees it: `money`, `num kwh`, `dur month`, `date`, `id` …
    pub fn tag(&self) -> String {
        match self.kind {
            SlotKind::Decimal => "money".to_owned(),
            SlotKind::Number | SlotKind::Integer => match unit::of_name(&self.name) {
                Some(unit) => unit.tag().to_owned(),
                None => "num".to_owned(),
            },
            SlotKind::Date => "date".to_owned(),
            SlotKind::DateTime => "time".to_owned(),
            SlotKind::Currency => "currency".to_owned(),
            SlotKind::Text if self.is_text() => "text".to_owned(),
            SlotKind::Text => "id".to_owned(),
            SlotKind::Json => "block".to_owned(),
        }
    }

    /// Turns a mention into the value of this argument, or `None` when it cannot be one.
    ///
    /// Units are converted exactly where the calendar allows it: 30 years are 360 months, 2 weeks
    /// are 14 days, but a month is no number of days.
    pub fn resolve(&self, mention: &Mention, locale: &Locale) -> Option<Value> {
        let value = match self.kind {
            SlotKind::Decimal => Value::String(self.decimal(mention)?.to_string()),
            SlotKind::Number => number(unit::convert(&self.name, &mention.kind)?),
            SlotKind::Integer => {
                // An amount of money counts nothing.
                let counts = !matches!(mention.kind, Kind::Money { .. });
                let value = day_number(&self.name, mention)
                    .or_else(|| payments(&self.name, mention))
                    .or_else(|| hexadecimal(mention))
                    .or_else(|| unit::convert(&self.name, &mention.kind).filter(|_| counts))?;
                Value::from(value.is_integer().then(|| value.to_i64()).flatten()?)
            }
            SlotKind::Date => Value::String(unit::day(&self.name, &mention.kind)?),
            SlotKind::DateTime => {
                Value::String(unit::instant(&self.name, &mention.kind, &locale.timezone)?)
            }
            SlotKind::Currency => match &mention.kind {
                Kind::Currency { value } => Value::String(value.clone()),
                Kind::Money { currency, .. } if !currency.is_empty() => {
                    Value::String(currency.clone())
                }
                _ => return None,
            },
            SlotKind::Text => Value::String(self.text(mention)?),
            SlotKind::Json => match &mention.kind {
                Kind::Block { value } => {
                    serde_json::from_str(value).ok().filter(Value::is_object)?
                }
                _ => return None,
            },
        };
        self.fits(&value).then_some(value)
    }

    /// Tells whether a value named `name` in an earlier result may fill this argument. The units in
    /// both names must be of one kind; a text fills only an argument of its own name, and a bare
    /// number one whose name shares a word with its own, since nothing else says what it counts.
    pub fn takes(&self, name: &str, value: &Mention, locale: &Locale) -> bool {
        let tail = |long: &str, short: &str| {
            long.strip_suffix(short).is_some_and(|head| head.is_empty() || head.ends_with('_'))
        };
        // One element of `codes` is a `code`.
        let own = self.name.strip_suffix('s').unwrap_or(&self.name);
        let named = tail(own, name) || tail(name, own) || self.name == name;
        let shared = name.split('_').any(|word| self.name.split('_').any(|own| own == word));
        match (self.kind, &value.kind) {
            (SlotKind::Text, Kind::Id { .. } | Kind::Number { .. }) => named,
            (SlotKind::Text | SlotKind::Json, _) | (_, Kind::Id { .. }) => false,
            _ => {
                let units = match (unit::of_name(&self.name), unit::of_name(name)) {
                    (Some(unit), Some(_)) => unit::states(unit, &value.kind) || named,
                    (Some(_), None) => false,
                    (None, Some(unit)) => matches!(unit, unit::Unit::Measure(_)) && shared,
                    (None, None) => shared || !matches!(value.kind, Kind::Number { .. }),
                };
                units && self.resolve(value, locale).is_some()
            }
        }
    }

    /// Tells whether the argument is a share in percent.
    pub fn is_share(&self) -> bool {
        unit::of_name(&self.name) == Some(unit::Unit::Percent)
    }

    /// Tells whether a name has a word in common with the argument's, its unit aside.
    pub fn shares_word_with(&self, name: &str) -> bool {
        let own = |word: &str| word != "pct" && self.name.split('_').any(|own| own == word);
        name.split('_').any(own)
    }

    /// Tells whether the argument's name carries a unit.
    pub fn has_unit(&self) -> bool {
        unit::of_name(&self.name).is_some()
    }

    /// Tells whether a mention states the unit that the argument's name carries.
    pub fn states_unit(&self, mention: &Mention) -> bool {
        unit::of_name(&self.name).is_some_and(|unit| unit::states(unit, &mention.kind))
    }

    /// Turns a list mention into the array of this argument's values.
    pub fn resolve_list(&self, mention: &Mention, locale: &Locale) -> Option<Vec<Value>> {
        if let Kind::Id { value } = &mention.kind
            && self.kind == SlotKind::Integer
            && value.contains('/')
        {
            // D1/D7/D30 is one code to the eye and three days to the trade.
            let mut parts = value.split('/');
            let first = parts.next().map(|part| day_of_code(&self.name, part));
            // D1/7/30 leaves the letter out after the first.
            let days = first.into_iter().chain(parts.map(|part| {
                let code =
                    if part.starts_with(['D', 'd']) { part.to_owned() } else { format!("D{part}") };
                day_of_code(&self.name, &code)
            }));
            return days.map(|day| Some(Value::from(day?.to_i64()?))).collect();
        }
        let Kind::List { values, unit } = &mention.kind else { return None };
        values
            .iter()
            .map(|value| {
                let kind = unit::kind_of(value, unit);
                self.resolve(&Mention { kind, ..mention.clone() }, locale)
            })
            .collect()
    }

    fn decimal(&self, mention: &Mention) -> Option<Decimal> {
        match &mention.kind {
            Kind::Money { value, .. } => value.parse().ok(),
            Kind::Number { value, unit } if unit.is_empty() || unit::counts(unit) => {
                value.parse().ok()
            }
            // Hours and tonnes are billed by quantity.
            Kind::Number { value, .. } | Kind::Duration { value, .. }
                if self.name.ends_with("quantity") =>
            {
                value.parse().ok()
            }
            _ => None,
        }
    }

    fn text(&self, mention: &Mention) -> Option<String> {
        let text = match &mention.kind {
            Kind::Id { value } | Kind::Hex { value } | Kind::Name { value } => value.clone(),
            Kind::Block { value } => value.clone(),
            // An identifier may look like a number, an amount or a currency.
            Kind::Number { unit, .. } if unit.is_empty() => mention.text.clone(),
            Kind::Currency { .. } if self.pattern.is_some() => mention.text.clone(),
            _ => return None,
        };
        (text.chars().count() <= self.max_length).then_some(text)
    }

    fn fits(&self, value: &Value) -> bool {
        match (&self.pattern, value) {
            (Some(pattern), Value::String(text)) => pattern.is_match(text),
            _ => true,
        }
    }
}

/// Finds the shape at a path like `items.0.value`.
pub fn shape_at(args: &[Arg], path: &str) -> Option<Shape> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(n, r)| (n, Some(r)));
    let shape = &args.iter().find(|arg| arg.name == name)?.shape;
    let Some(rest) = rest else { return Some(shape.clone()) };
    match shape {
        Shape::Object(args) => shape_at(args, rest),
        Shape::Objects(args) => {
            let (index, rest) = rest.split_once('.')?;
            index.parse::<usize>().ok()?;
            shape_at(args, rest)
        }
        Shape::Many(slot) => rest.parse::<usize>().ok().map(|_| Shape::One(slot.clone())),
        Shape::Choices(values) => rest.parse::<usize>().ok().map(|_| Shape::Choice(values.clone())),
        _ => None,
    }
}

/// Reads a term as its monthly payments.
fn payments(name: &str, mention: &Mention) -> Option<Decimal> {
    let term = name == "payment_count" && matches!(mention.kind, Kind::Duration { .. });
    term.then(|| unit::convert("months", &mention.kind)).flatten()
}

/// Reads `D7` as day 7 where the argument counts days; elsewhere it is a code.
fn day_number(name: &str, mention: &Mention) -> Option<Decimal> {
    let Kind::Id { value } = &mention.kind else { return None };
    day_of_code(name, value)
}

fn day_of_code(name: &str, code: &str) -> Option<Decimal> {
    let digits = code.strip_prefix(['D', 'd']).filter(|_| matches!(name, "days" | "rank_day"))?;
    let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Reads `0x7E8` or `7E8h` as an integer.
fn hexadecimal(mention: &Mention) -> Option<Decimal> {
    let (Kind::Id { value } | Kind::Hex { value }) = &mention.kind else { return None };
    let lower = value.to_ascii_lowercase();
    let digits = lower.strip_prefix("0x").or_else(|| lower.strip_suffix('h')).unwrap_or(&lower);
    (digits.len() <= 8).then(|| i64::from_str_radix(digits, 16).ok()).flatten().map(Decimal::from)
}

/// Writes a decimal as the shortest JSON number of the same value.
pub(crate) fn number(value: Decimal) -> Value {
    if value.is_integer()
        && let Some(whole) = value.to_i64()
    {
        return Value::from(whole);
    }
    value
        .to_string()
        .parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mention::find;

    #[test]
    fn a_day_of_retention_is_its_number_and_not_a_hexadecimal() {
        let locale = Locale { timezone: "UTC".to_owned() };
        let today = jiff::civil::date(2026, 11, 24);
        let days = Slot::of("days", &json!({ "type": "integer" })).unwrap();
        let all = find("D7 and D1/D7/D30", today);
        assert_eq!(days.resolve(&all[0], &locale), Some(json!(7)));
        assert_eq!(days.resolve_list(&all[1], &locale), Some(vec![json!(1), json!(7), json!(30)]));
        let can = Slot::of("can_id", &json!({ "type": "integer" })).unwrap();
        assert_eq!(can.resolve(&all[0], &locale), Some(json!(0xD7)));
        assert_eq!(can.resolve_list(&all[1], &locale), None);
    }

    #[test]
    fn a_list_keeps_the_unit_that_its_numbers_share() {
        let locale = Locale { timezone: "UTC".to_owned() };
        let today = jiff::civil::date(2026, 11, 24);
        let all = find("3, 4 and 5 MW; D2/18/20; 10 hours", today);
        let slot = |name: &str, schema: Value| Slot::of(name, &schema).unwrap();
        let load = slot("load_kw", json!({ "type": "number" }));
        let values = vec![json!(3000), json!(4000), json!(5000)];
        assert_eq!(load.resolve_list(&all[0], &locale), Some(values));
        let money = json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,6})?$" });
        let prices = slot("prices_per_kwh", money.clone());
        assert_eq!(prices.resolve_list(&all[0], &locale), None, "a power is no price");
        let days = slot("days", json!({ "type": "integer" }));
        let values = vec![json!(2), json!(18), json!(20)];
        assert_eq!(days.resolve_list(&all[1], &locale), Some(values));
        assert_eq!(prices.resolve(&all[2], &locale), None);
        let quantity = slot("order_quantity", money);
        assert_eq!(quantity.resolve(&all[2], &locale), Some(json!("10")));
    }
}
