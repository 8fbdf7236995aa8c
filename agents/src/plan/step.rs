//! One step of the planner: the schema that it must obey for this request, and what its words mean.
//!
//! A step is `{"step":"TOOL","with":{"arg":"$2",…}}` or `{"step":"none"|"person"|"search"}`; after a
//! first call it is another call or `{"step":"end"}`. The schema is built for each request: a
//! reference stands among the values of an argument only if [`Slot::resolve`] accepts that mention
//! there, or [`Field::fills`] says that the value of an earlier call does.

use serde_json::{Map, Value, json};

use super::Origin;
use super::arg::{Arg, Locale, Shape, Slot};
use super::card::Card;
use super::field::Field;
use crate::mention::{Kind, Mention};

/// Most elements of an array that the planner writes out.
const MAX_ITEMS: usize = 12;

/// The steps that call no tool.
pub const OTHER_STEPS: [&str; 3] = ["none", "person", "search"];

/// The step that says that no further call is needed.
pub const END: &str = "end";

/// What a request offers to fill arguments with.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The request.
    pub request: &'a str,
    /// Its mentions.
    pub mentions: &'a [Mention],
    /// The tenant's locale.
    pub locale: &'a Locale,
    /// Calls planned so far.
    pub planned: usize,
    /// What these calls will give.
    pub fields: &'a [Field],
}

/// A step with its references replaced by values.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Name of the tool, one of [`OTHER_STEPS`], or [`END`].
    pub name: String,
    /// Arguments that the step fills; a value of an earlier call is pending, see [`Field::pending`].
    pub arguments: Map<String, Value>,
    /// Where each came from.
    pub origins: Vec<Origin>,
}

impl Offer<'_> {
    /// Builds the JSON Schema that the planner's words obey where every step is open.
    pub fn schema(&self, cards: &[&Card]) -> Value {
        self.schema_of(cards, if self.planned == 0 { &OTHER_STEPS } else { &[END] })
    }

    /// As [`Offer::schema`], for calls of these cards and these steps without a call; one of either
    /// must be there.
    pub fn schema_of(&self, cards: &[&Card], without_call: &[&str]) -> Value {
        let mut steps: Vec<Value> = cards
            .iter()
            .map(|card| {
                json!({
                    "type": "object",
                    "properties": {
                        "step": {"const": card.spec.name},
                        "with": self.object(&card.args),
                    },
                    "required": ["step", "with"],
                    "additionalProperties": false,
                })
            })
            .collect();
        if without_call.is_empty() {
            return json!({ "anyOf": steps });
        }
        steps.push(json!({
            "type": "object",
            "properties": {"step": {"enum": without_call}},
            "required": ["step"],
            "additionalProperties": false,
        }));
        json!({ "anyOf": steps })
    }

    fn object(&self, args: &[Arg]) -> Value {
        let properties: Map<String, Value> = args
            .iter()
            .filter_map(|arg| Some((arg.name.clone(), self.property(&arg.shape)?)))
            .collect();
        json!({"type": "object", "properties": properties, "additionalProperties": false})
    }

    /// Returns the schema of one argument, or `None` when nothing in the request can fill it.
    fn property(&self, shape: &Shape) -> Option<Value> {
        match shape {
            Shape::One(slot) => {
                let references = self.references(slot, true);
                (!references.is_empty()).then(|| json!({"enum": references}))
            }
            Shape::Many(slot) => {
                let lists = self.lists(slot);
                // In "3, 4, 5 kW" the unit stands after the last one only.
                let singles = self.references(slot, false);
                let many = json!({
                    "type": "array", "items": {"enum": singles}, "minItems": 1, "maxItems": MAX_ITEMS,
                });
                match (lists.is_empty(), singles.is_empty()) {
                    (true, true) => None,
                    (true, false) => Some(many),
                    (false, true) => Some(json!({"enum": lists})),
                    (false, false) => Some(json!({"anyOf": [{"enum": lists}, many]})),
                }
            }
            Shape::Choice(values) => Some(json!({"enum": values})),
            Shape::Choices(values) => Some(json!({
                "type": "array", "items": {"enum": values}, "minItems": 1, "maxItems": values.len(),
            })),
            Shape::Flag => Some(json!({"type": "boolean"})),
            Shape::Object(args) => self.filled(args),
            Shape::Objects(args) => self.filled(args).map(|object| {
                json!({"type": "array", "items": object, "minItems": 1, "maxItems": MAX_ITEMS})
            }),
        }
    }

    /// An object is offered only if the request can fill all that it requires.
    fn filled(&self, args: &[Arg]) -> Option<Value> {
        let possible =
            args.iter().filter(|a| a.required).all(|a| self.property(&a.shape).is_some());
        let object = self.object(args);
        let any = object["properties"].as_object().is_some_and(|p| !p.is_empty());
        (possible && any).then_some(object)
    }

    /// Returns the references that fit a slot. Where `strict`, and the request states its very unit
    /// (a percentage for a rate, kilowatt-hours for an energy), bare numbers are left out.
    fn references(&self, slot: &Slot, strict: bool) -> Vec<String> {
        let fit: Vec<&Mention> = self
            .mentions
            .iter()
            .filter(|mention| slot.resolve(mention, self.locale).is_some())
            .collect();
        let exact = strict && fit.iter().any(|mention| slot.states_unit(mention));
        let fields = self.fields.iter().filter(|field| field.fills(slot, self.locale));
        fit.into_iter()
            .filter(|mention| !exact || slot.states_unit(mention))
            .map(|mention| format!("${}", mention.id))
            .chain(fields.map(Field::reference))
            .collect()
    }

    /// Lists the values of earlier calls that an argument of these tools could take: what the
    /// planner is shown of results that do not exist yet.
    pub fn outlook(&self, cards: &[&Card]) -> String {
        fn slots<'a>(args: &'a [Arg], out: &mut Vec<&'a Slot>) {
            for arg in args {
                match &arg.shape {
                    Shape::One(slot) | Shape::Many(slot) => out.push(slot),
                    Shape::Object(args) | Shape::Objects(args) => slots(args, out),
                    Shape::Choice(_) | Shape::Choices(_) | Shape::Flag => {}
                }
            }
        }
        let mut all = Vec::new();
        cards.iter().for_each(|card| slots(&card.args, &mut all));
        let useful = self.fields.iter().filter(|f| all.iter().any(|s| f.fills(s, self.locale)));
        useful.map(Field::reference).collect::<Vec<_>>().join(" ")
    }

    fn lists(&self, slot: &Slot) -> Vec<String> {
        self.mentions
            .iter()
            .filter(|mention| slot.resolve_list(mention, self.locale).is_some())
            .map(|mention| format!("${}", mention.id))
            .collect()
    }

    /// Reads the planner's words. `None` ⇐ they are not a step over these cards; the grammar makes
    /// that impossible for a planner that obeys it.
    pub fn read(&self, output: &str, cards: &[&Card]) -> Option<Step> {
        let step: Value = serde_json::from_str(output).ok()?;
        let name = step["step"].as_str()?.to_owned();
        let mut origins = Vec::new();
        if name == END || OTHER_STEPS.contains(&name.as_str()) {
            return Some(Step { name, arguments: Map::new(), origins });
        }
        let card = cards.iter().find(|card| card.spec.name == name)?;
        let said = without_echoes(&card.args, step["with"].as_object()?);
        let arguments = self.read_object(&card.args, &said, "", &mut origins)?;
        Some(Step { name, arguments, origins })
    }

    fn read_object(
        &self,
        args: &[Arg],
        said: &Map<String, Value>,
        path: &str,
        origins: &mut Vec<Origin>,
    ) -> Option<Map<String, Value>> {
        let mut object = Map::new();
        for (name, said) in said {
            let arg = args.iter().find(|arg| arg.name == *name)?;
            let value = self.read_value(&arg.shape, said, &format!("{path}/{name}"), origins)?;
            object.insert(name.clone(), value);
        }
        Some(object)
    }

    fn read_value(
        &self,
        shape: &Shape,
        said: &Value,
        path: &str,
        origins: &mut Vec<Origin>,
    ) -> Option<Value> {
        match shape {
            Shape::One(slot) => self.read_one(slot, said.as_str()?, path, origins),
            Shape::Many(slot) => match said {
                Value::String(reference) => {
                    let mention = self.mention(reference)?;
                    origins.push(from_request(path, mention));
                    slot.resolve_list(mention, self.locale).map(Value::Array)
                }
                _ => self.read_items(said, path, |said, path| {
                    self.read_one(slot, said.as_str()?, path, origins)
                }),
            },
            Shape::Choice(_) | Shape::Choices(_) | Shape::Flag => {
                origins.push(Origin::Choice { pointer: path.to_owned() });
                Some(said.clone())
            }
            Shape::Object(args) => {
                self.read_object(args, said.as_object()?, path, origins).map(Value::Object)
            }
            Shape::Objects(args) => self.read_items(said, path, |said, path| {
                self.read_object(args, said.as_object()?, path, origins).map(Value::Object)
            }),
        }
    }

    fn read_items(
        &self,
        said: &Value,
        path: &str,
        mut read: impl FnMut(&Value, &str) -> Option<Value>,
    ) -> Option<Value> {
        let items = said.as_array()?.iter().enumerate();
        items
            .map(|(i, item)| read(item, &format!("{path}/{i}")))
            .collect::<Option<_>>()
            .map(Value::Array)
    }

    fn read_one(
        &self,
        slot: &Slot,
        reference: &str,
        path: &str,
        origins: &mut Vec<Origin>,
    ) -> Option<Value> {
        if reference.starts_with('#') {
            let field = self.fields.iter().find(|field| field.reference() == reference)?;
            origins.push(Origin::Result {
                pointer: path.to_owned(),
                call: field.call,
                field: field.name.clone(),
            });
            return field.fills(slot, self.locale).then(|| field.pending());
        }
        let mention = self.mention(reference)?;
        origins.push(from_request(path, mention));
        slot.resolve(mention, self.locale)
    }

    fn mention(&self, reference: &str) -> Option<&Mention> {
        let id: usize = reference.strip_prefix('$')?.parse().ok()?;
        self.mentions.iter().find(|mention| mention.id == id)
    }

    /// Returns the currency of the amounts that a step refers to, when the request named one.
    pub fn currency_of(&self, origins: &[Origin]) -> Option<String> {
        self.mentions.iter().find_map(|mention| match &mention.kind {
            Kind::Money { currency, .. } | Kind::Currency { value: currency }
                if !currency.is_empty()
                    && (origins.is_empty()
                        || matches!(mention.kind, Kind::Currency { .. })
                        || origins.iter().any(
                            |o| matches!(o, Origin::Request { text, .. } if *text == mention.text),
                        )) =>
            {
                Some(currency.clone())
            }
            _ => None,
        })
    }
}

/// Drops optional arguments that point at a value which another argument already has: one value
/// rarely means two things, and a planner that is at a loss repeats itself. Two required arguments
/// may share a value (`25 kW each way`), and so may the two ends of a window.
fn without_echoes(args: &[Arg], said: &Map<String, Value>) -> Map<String, Value> {
    let find = |name: &String| args.iter().find(|arg| arg.name == *name);
    let required = |name: &String| find(name).is_some_and(|arg| arg.required);
    let mut taken: Vec<&Value> =
        said.iter().filter(|(name, _)| required(name)).map(|(_, value)| value).collect();
    let mut kept = Map::new();
    for (name, value) in said {
        let single = find(name).is_some_and(|arg| matches!(arg.shape, Shape::One(_)));
        let window = matches!(name.as_str(), "start" | "end" | "currency");
        let echo = single && !window && !required(name) && taken.contains(&value);
        if !echo {
            kept.insert(name.clone(), value.clone());
            taken.push(value);
        }
    }
    kept
}

fn from_request(path: &str, mention: &Mention) -> Origin {
    Origin::Request { pointer: path.to_owned(), text: mention.text.clone() }
}
