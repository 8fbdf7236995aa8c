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
use super::lead::{Choosing, Leads};
use super::preview;
use crate::mention::{Kind, Mention};
use crate::tool::Effect;

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
    /// What the values are likely for, by the name of the call; a call that is not here takes all that fit.
    pub leads: &'a [(String, Leads)],
}

/// An argument's place in a call, and what is likely to fill it.
#[derive(Clone, Copy)]
struct At<'a> {
    place: &'a str,
    leads: Option<&'a Leads>,
    /// Whether the call changes something: then a choice that the request does not make is asked for.
    acts: bool,
    /// Whether the request says that an act is only to be tried out.
    tries_out: bool,
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

impl At<'_> {
    fn is_preview(self) -> bool {
        self.acts && self.leads.is_some_and(|leads| leads.wants_preview(self.place, self.tries_out))
    }
}

impl<'a> Offer<'a> {
    /// What the request alone offers, before any call.
    pub fn of(request: &'a str, mentions: &'a [Mention], locale: &'a Locale) -> Self {
        Self { request, mentions, locale, planned: 0, fields: &[], leads: &[] }
    }

    /// Builds the JSON Schema that the planner's words obey where every step is open.
    pub fn schema(&self, cards: &[&Card]) -> Value {
        self.schema_of(cards, if self.planned == 0 { &OTHER_STEPS } else { &[END] })
    }

    /// As [`Offer::schema`], for calls of these cards and these steps without a call; one of either
    /// must be there.
    pub fn schema_of(&self, cards: &[&Card], without_call: &[&str]) -> Value {
        let tries_out = preview::is_said(self.request);
        let mut steps: Vec<Value> = cards
            .iter()
            .map(|card| {
                let leads = self.leads.iter().find(|(call, _)| *call == card.spec.name);
                let acts = card.spec.effect == Effect::Act;
                let at = At { place: "", leads: leads.map(|(_, leads)| leads), acts, tries_out };
                json!({
                    "type": "object",
                    "properties": {
                        "step": {"const": card.spec.name},
                        "with": self.object(&card.args, at),
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

    fn object(&self, args: &[Arg], at: At<'_>) -> Value {
        let (mut properties, mut needed) = (Map::new(), Vec::new());
        for arg in args {
            let place = format!("{}/{}", at.place, arg.name);
            let own = At { place: &place, ..at };
            let Some(property) = self.property(arg, own) else { continue };
            if at.leads.is_some_and(|leads| leads.needs(&place)) || own.is_preview() {
                needed.push(arg.name.clone());
            }
            properties.insert(arg.name.clone(), property);
        }
        json!({"type": "object", "properties": properties, "required": needed,
               "additionalProperties": false})
    }

    /// Returns the schema of one argument, or `None` when nothing in the request can fill it.
    fn property(&self, arg: &Arg, at: At<'_>) -> Option<Value> {
        match &arg.shape {
            Shape::One(slot) => {
                let references = self.references(slot, arg.required, at);
                (!references.is_empty()).then(|| json!({"enum": references}))
            }
            Shape::Many(slot) => self.many(slot, arg.required, at),
            Shape::Choice(values) => {
                chosen(values, arg.required, at).map(|(_, values)| json!({ "enum": values }))
            }
            Shape::Choices(values) => {
                let place = format!("{}/*", at.place);
                chosen(values, arg.required, At { place: &place, ..at }).map(|(all, values)| {
                    let least = if all { values.len() } else { 1 };
                    json!({"type": "array", "items": {"enum": values}, "minItems": least,
                           "maxItems": values.len()})
                })
            }
            Shape::Flag if at.is_preview() => Some(json!({"type": "boolean", "enum": [true]})),
            Shape::Flag => {
                let both = ["true".to_owned(), "false".to_owned()];
                let (_, values) = chosen(&both, arg.required, at)?;
                let values: Vec<bool> = values.iter().map(|value| value == "true").collect();
                Some(json!({"type": "boolean", "enum": values}))
            }
            Shape::Object(_) | Shape::Objects(_)
                if !arg.required && at.leads.is_some_and(|leads| !leads.may_hold(at.place)) =>
            {
                None
            }
            Shape::Object(args) => self.filled(args, at),
            Shape::Objects(args) => self.rows(args, at).or_else(|| {
                let place = format!("{}/*", at.place);
                let object = self.filled(args, At { place: &place, ..at })?;
                Some(
                    json!({"type": "array", "items": object, "minItems": 1, "maxItems": MAX_ITEMS}),
                )
            }),
        }
    }

    /// An object is offered only if the request can fill all that it requires.
    fn filled(&self, args: &[Arg], at: At<'_>) -> Option<Value> {
        let possible = args.iter().filter(|a| a.required).all(|arg| {
            let place = format!("{}/{}", at.place, arg.name);
            self.property(arg, At { place: &place, ..at }).is_some()
        });
        let object = self.object(args, at);
        let any = object["properties"].as_object().is_some_and(|p| !p.is_empty());
        (possible && any).then_some(object)
    }

    /// The schema of an array of values: one list of the request, or single values of it.
    fn many(&self, slot: &Slot, required: bool, at: At<'_>) -> Option<Value> {
        let place = format!("{}/*", at.place);
        let items = At { place: &place, ..at };
        // A list of which it is known that it stands here leaves no other way to fill the array.
        let lists = self.lists(slot, at);
        let sure = |id: &&String| at.leads.is_some_and(|l| l.fills(at.place, number(id)));
        if let Some(list) = lists.iter().find(sure) {
            return Some(json!({ "enum": [list] }));
        }
        let singles = self.references(slot, required, items);
        let counted = at.leads.map(|leads| leads.at(&place)).unwrap_or_default();
        let told: Vec<&String> =
            singles.iter().filter(|single| counted.contains(&number(single))).collect();
        let each = |what: Value, least: usize, most: usize| json!({"type": "array", "items": what, "minItems": least, "maxItems": most});
        if told.len() > 1 && told.len() <= MAX_ITEMS && told.len() == singles.len() {
            let (first, n) = (told.iter().map(|one| json!({ "const": one })), told.len());
            return Some(json!({"type": "array", "prefixItems": first.collect::<Vec<_>>(),
                               "items": false, "minItems": n, "maxItems": n}));
        }
        let most = singles.len().min(MAX_ITEMS);
        let many = each(json!({ "enum": singles }), told.len().clamp(1, most.max(1)), most);
        match (lists.is_empty(), singles.is_empty()) {
            (true, true) => None,
            (true, false) => Some(many),
            (false, true) => Some(json!({"enum": lists})),
            (false, false) => Some(json!({"anyOf": [{"enum": lists}, many]})),
        }
    }

    /// The schema of objects whose values the request names one after the other.
    fn rows(&self, args: &[Arg], at: At<'_>) -> Option<Value> {
        let rows = at.leads?.rows(at.place, args)?;
        let fits = |name: &str, id: usize| {
            let slot = args.iter().find(|arg| arg.name == name).map(|arg| &arg.shape);
            let mention = self.mentions.iter().find(|mention| mention.id == id);
            matches!((slot, mention), (Some(Shape::One(slot)), Some(mention))
                if slot.resolve(mention, self.locale).is_some())
        };
        let whole = rows.iter().flatten().all(|(name, id)| fits(name, *id));
        let objects = rows.iter().map(|row| {
            let mut properties = Map::new();
            for arg in args {
                let stated = row.iter().find(|(name, _)| *name == arg.name);
                let place = format!("{}/*/{}", at.place, arg.name);
                let chosen = || self.property(arg, At { place: &place, ..at });
                let property = match &arg.shape {
                    Shape::One(_) => stated.map(|(_, id)| json!({ "const": format!("${id}") })),
                    Shape::Choice(_) | Shape::Choices(_) | Shape::Flag => chosen(),
                    _ => None,
                };
                properties.extend(property.map(|property| (arg.name.clone(), property)));
            }
            let needed: Vec<&String> = row.iter().map(|(name, _)| name).collect();
            json!({"type": "object", "properties": properties, "required": needed,
                   "additionalProperties": false})
        });
        (whole && rows.len() <= MAX_ITEMS).then(|| {
            json!({"type": "array", "prefixItems": objects.collect::<Vec<_>>(), "items": false,
                   "minItems": rows.len(), "maxItems": rows.len()})
        })
    }

    /// Returns the references that fit a slot. Where `strict`, and the request states its very unit
    /// (a percentage for a rate, kilowatt-hours for an energy), bare numbers are left out.
    fn references(&self, slot: &Slot, required: bool, at: At<'_>) -> Vec<String> {
        let fit: Vec<&Mention> = self
            .mentions
            .iter()
            .filter(|mention| slot.resolve(mention, self.locale).is_some())
            .collect();
        let allowed = |m: &&&Mention| match at.leads {
            None => true,
            // Nearly every tool has another way to get what a code or a dataset would give it.
            // A note says what the person says, so a value stands there only where it is meant.
            Some(leads) if slot.takes_request() && !matches!(m.kind, Kind::Block { .. }) => {
                leads.suits(at.place, m.id)
            }
            Some(leads) if required => leads.allows(at.place, m.id),
            Some(leads) if matches!(m.kind, Kind::Id { .. }) => leads.may_name(at.place, m.id),
            Some(leads) => leads.may_fill(at.place, m.id),
        };
        let likely: Vec<&Mention> = fit.iter().filter(allowed).copied().collect();
        // What must be filled is not left without a value by what is only likely.
        let open = likely.is_empty() && required && !slot.takes_request();
        let fit = if open { fit } else { likely };
        // In "3, 4, 5 kW" the unit stands after the last one only.
        let strict = !at.place.ends_with('*');
        let exact = strict && fit.iter().any(|mention| slot.states_unit(mention));
        let sure = |m: &&Mention| at.leads.is_some_and(|leads| leads.fills(at.place, m.id));
        let single = strict && fit.iter().filter(|m| sure(m)).count() == 1;
        // A share is a share of something: what a call can do without takes no share of something else.
        let of_it = |field: &&Field| required || !slot.is_share() || field.is_named_like(slot);
        let fields = self.fields.iter().filter(|field| field.fills(slot, self.locale));
        let fields = fields.filter(of_it);
        // The first of many is meant only where the request has nothing better.
        let stated = !fit.is_empty();
        let fields = fields.filter(|field| !(single || stated && field.is_of_many()));
        let fields: Vec<String> = fields.map(Field::reference).collect();
        // "And with that payment": what an earlier call gives goes before a value that nothing in the
        // request puts here.
        let suits = |m: &&&Mention| at.leads.is_none_or(|leads| leads.suits(at.place, m.id));
        let given = !fields.is_empty();
        fit.iter()
            .filter(|mention| !given || suits(mention))
            .filter(|mention| !exact || slot.states_unit(mention) || sure(mention))
            .filter(|mention| !single || sure(mention))
            .map(|mention| format!("${}", mention.id))
            .chain(fields)
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

    fn lists(&self, slot: &Slot, at: At<'_>) -> Vec<String> {
        self.mentions
            .iter()
            .filter(|mention| slot.resolve_list(mention, self.locale).is_some())
            .filter(|mention| at.leads.is_none_or(|leads| leads.allows(at.place, mention.id)))
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
        let id = mention_of(reference)?;
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

/// Returns which literals are open, and whether all of them are meant; `None` ⇐ the argument is not meant.
fn chosen(values: &[String], required: bool, at: At<'_>) -> Option<(bool, Vec<String>)> {
    let some = |told: Vec<String>| -> Vec<String> {
        values.iter().filter(|value| told.contains(value)).cloned().collect()
    };
    let (all, open) = match at.leads.map_or(Choosing::Open, |leads| leads.choosing(at.place)) {
        Choosing::Open => return Some((false, values.to_vec())),
        Choosing::Among(told) => (false, some(told)),
        Choosing::Surely(told) => (true, some(told)),
    };
    match open.is_empty() {
        false => Some((all, open)),
        true => (required && !at.acts).then(|| (false, values.to_vec())),
    }
}

/// Returns the number of the mention that a planner's word points at (`$2`).
pub fn mention_of(reference: &str) -> Option<usize> {
    reference.strip_prefix('$')?.parse().ok()
}

/// As [`mention_of`]; a reference to an earlier result has a number that no mention has.
fn number(reference: &str) -> usize {
    mention_of(reference).unwrap_or(usize::MAX)
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
