//! Examples from requests that people or a teacher wrote, and from what should be done with them.
//!
//! A label is verified as a phrase is: it must obey the grammar that the planner would be held to
//! for this very request, its values must be stated there, the schema must accept the call, and the
//! call must run.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use runtime::{Prompt, Segment};
use serde_json::{Map, Value, json};

use super::example::{Made, Maker};
use super::point::{end, intent_of, point, starred, step_of};
use super::say::Intent;
use super::{Consent, Example, LANGS, Rejected, Source};
use crate::lang;
use crate::mention::{self, Mention};
use crate::plan::arg::{Arg, Locale, Shape};
use crate::plan::{Card, Desk, END, Field, OTHER_STEPS, SHORTLIST};

/// Arguments that the platform supplies where a request does not state them.
const SUPPLIED: [&str; 3] = ["currency", "lang", "timezone"];

/// Names that stand for those of a joint venture's runs.
const STAND_INS: [&str; 6] = ["Alder", "Birch", "Cedar", "Hazel", "Maple", "Rowan"];

/// As [`STAND_INS`], where the name is Chinese.
const STAND_INS_CHINESE: [&str; 6] = ["甲公司", "乙公司", "丙公司", "丁公司", "戊公司", "己公司"];

/// A call that a person or an accepted run says is right.
#[derive(Debug, Clone, PartialEq)]
pub struct RightCall {
    /// Name of the tool.
    pub tool: String,
    /// Arguments; a value of an earlier result as `{"$from": 0, "pointer": "/payment"}`.
    pub arguments: Value,
    /// JSON pointers of arguments that nobody stated and the platform supplied.
    pub assumed: BTreeSet<String>,
}

/// A request and what should be done with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled<'a> {
    /// The request.
    pub request: &'a str,
    /// Its language.
    pub lang: &'a str,
    /// Who says so.
    pub source: Source,
}

impl Maker<'_> {
    /// Reads the requests that follow as stated at this instant in this time zone.
    pub fn as_of(&mut self, now: Timestamp, timezone: &str) {
        let zone = TimeZone::get(timezone).unwrap_or(TimeZone::UTC);
        self.now = now;
        self.today = now.to_zoned_datetime(zone).date();
        self.locale = Locale { timezone: timezone.to_owned() };
    }

    /// Makes the examples of a request whose right steps are in the planner's own words.
    ///
    /// # Errors
    /// Why the label does not count.
    pub fn labelled(
        &mut self,
        of: &Labelled<'_>,
        steps: &[Value],
    ) -> Result<Vec<Example>, Rejected> {
        let (made, group) = self.read_steps(of.request, steps)?;
        self.finished(of, made, &group)
    }

    /// Makes the examples of a request whose right decision, and calls with their values, are known.
    ///
    /// # Errors
    /// Why the label does not count; [`Rejected::NotFound`] ⇐ the request does not state a value.
    pub fn corrected(
        &mut self,
        of: &Labelled<'_>,
        decision: &str,
        calls: &[RightCall],
    ) -> Result<Vec<Example>, Rejected> {
        if calls.is_empty() {
            return self.labelled(of, &[json!({ "step": decision })]);
        }
        let mentions = mention::find(of.request, self.today);
        let mut fields: Vec<Field> = Vec::new();
        let mut steps = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let unknown = || Rejected::NoArgument(call.tool.clone());
            let card = self.desk.card(&call.tool).ok_or_else(unknown)?;
            let pointed = Pointing { maker: self, card, mentions: &mentions, fields: &fields };
            let with = pointed.object(&card.args, &call.arguments, "", &call.assumed)?;
            steps.push(json!({ "step": call.tool, "with": with }));
            fields.extend(Field::of(at, &card.spec));
        }
        let (made, group) = self.read_steps(of.request, &steps)?;
        if (decision == "ask") != made.calls.is_empty() {
            let message = "a question needs a call that lacks something, and a call lacks nothing";
            return Err(Rejected::Schema(message.to_owned()));
        }
        self.finished(of, made, &group)
    }

    /// Returns what the planner would see of a request: its prompt and the tools in it, the right
    /// ones among them.
    pub(super) fn seen(&self, request: &str, right: &[&str]) -> (Prompt, Vec<String>) {
        let mentions = mention::find(request, self.today);
        let mut names: Vec<String> = Vec::new();
        let likely = self.desk.shortlist(request, &mentions);
        let likely = likely.iter().map(|card| card.spec.name.as_str());
        for name in right.iter().copied().chain(likely) {
            let known = self.desk.card(name).is_some() && !names.iter().any(|one| one == name);
            if known && names.len() < SHORTLIST {
                names.push(name.to_owned());
            }
        }
        (self.prompt(request, &mentions, &names), names)
    }

    fn read_steps(&self, request: &str, steps: &[Value]) -> Result<(Made, String), Rejected> {
        let broken = |what: &str| Rejected::Schema(what.to_owned());
        let named: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
        if named.is_empty() || named.len() != steps.len() {
            return Err(broken("a plan has steps, each with its name"));
        }
        let mentions = mention::find(request, self.today);
        let (mut prompt, names) = self.seen(request, &named);
        let cards: Vec<&Card> = names.iter().filter_map(|name| self.desk.card(name)).collect();
        let mut made = Made { steps: Vec::new(), calls: Vec::new() };
        let mut fields: Vec<Field> = Vec::new();
        let tools: Vec<&str> = named.iter().copied().filter(|name| *name != END).collect();
        for (at, (name, step)) in named.iter().zip(steps).enumerate() {
            if OTHER_STEPS.contains(name) {
                if named.len() > 1 {
                    return Err(broken("a request is refused or handed over as a whole"));
                }
                made.steps.push((prompt, json!({ "step": name }).to_string()));
                return Ok((made, (*name).to_owned()));
            }
            if *name == END {
                if at + 1 == named.len() && at > 0 {
                    break;
                }
                return Err(broken("`end` stands after the calls"));
            }
            let card = self.desk.card(name).filter(|_| names.iter().any(|one| one == name));
            let card = card.ok_or_else(|| Rejected::NoArgument((*name).to_owned()))?;
            let offer = self.offer(request, &mentions, at, &fields);
            if !obeys(&offer.schema(&[card]), step) {
                return Err(broken("the step points at what the request does not state"));
            }
            let completion = step_of(card, &step["with"]);
            made.steps.push((prompt.clone(), completion.clone()));
            let Some(arguments) = self.verify(card, &offer, &completion)? else {
                made.calls.clear();
                return if at + 1 == tools.len() {
                    Ok((made, group_of(&tools)))
                } else {
                    Err(broken("a call before the last lacks an argument"))
                };
            };
            made.calls.push(((*name).to_owned(), arguments));
            fields.extend(Field::of(at, &card.spec));
            let outlook = self.offer(request, &mentions, at + 1, &fields).outlook(&cards);
            prompt = Desk::after(prompt, &completion, &outlook);
        }
        made.steps.push((prompt, end()));
        Ok((made, group_of(&tools)))
    }

    /// Verifies what was made and counts it.
    fn finished(
        &mut self,
        of: &Labelled<'_>,
        made: Made,
        group: &str,
    ) -> Result<Vec<Example>, Rejected> {
        let lang = LANGS.into_iter().find(|lang| *lang == of.lang).unwrap_or(LANGS[0]);
        let group = format!("{}/{group}", self.pack.manifest.id);
        let steps = self.passed(made, lang, of.request)?;
        let mut examples = self.examples(steps.into_iter(), &group, lang, of.request);
        let pooled = matches!(of.source, Source::Run { consent: Consent::Pooled, .. });
        for example in &mut examples {
            example.source = of.source.clone();
            if pooled {
                example.prompt = nameless(&example.prompt);
            }
        }
        let examples = self.fresh(examples);
        *self.report.made.entry((group, lang)).or_default() += examples.len();
        Ok(examples)
    }
}

/// Puts stand-ins in place of the names in a prompt: what another joint venture's planner learns from
/// must name nobody. Every other value is a mask already.
fn nameless(prompt: &Prompt) -> Prompt {
    let segments = prompt.segments.iter().map(|segment| match segment {
        Segment::Text(text) => Segment::Text(without_names(text)),
        special => special.clone(),
    });
    Prompt { segments: segments.collect() }
}

fn without_names(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[$") {
        out.push_str(before);
        out.push_str("[$");
        rest = after;
        let Some((tag, tail)) = after.split_once(']') else { break };
        if let Some((id, name)) = tag.split_once(" name ") {
            let chinese = name.chars().any(lang::is_cjk);
            let names = if chinese { &STAND_INS_CHINESE } else { &STAND_INS };
            let at = id.parse::<usize>().unwrap_or_default() % names.len();
            out.push_str(&format!("{id} name {}]", names[at]));
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

fn group_of(tools: &[&str]) -> String {
    match tools {
        [one] => (*one).to_owned(),
        _ => "chain".to_owned(),
    }
}

fn obeys(schema: &Value, step: &Value) -> bool {
    jsonschema::validator_for(schema).is_ok_and(|validator| validator.is_valid(step))
}

/// Turns values back into the references by which a planner states them.
struct Pointing<'a> {
    maker: &'a Maker<'a>,
    card: &'a Card,
    mentions: &'a [Mention],
    fields: &'a [Field],
}

impl Pointing<'_> {
    fn object(
        &self,
        args: &[Arg],
        value: &Value,
        path: &str,
        assumed: &BTreeSet<String>,
    ) -> Result<Value, Rejected> {
        let mut with = Map::new();
        for (name, value) in value.as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let pointer = format!("/{}", path.replace('.', "/"));
            if assumed.contains(&pointer) || Card::is_platforms(name) {
                continue;
            }
            let said = match args.iter().find(|arg| arg.name == *name) {
                Some(arg) => self.value(&arg.shape, value, &path, assumed)?,
                None => None,
            };
            match said {
                Some(said) => drop(with.insert(name.clone(), said)),
                None if self.is_supplied(name, &path, value) => {}
                None => return Err(Rejected::NotFound(path)),
            }
        }
        Ok(Value::Object(with))
    }

    fn value(
        &self,
        shape: &Shape,
        value: &Value,
        path: &str,
        assumed: &BTreeSet<String>,
    ) -> Result<Option<Value>, Rejected> {
        if let Some(call) = value["$from"].as_u64() {
            let pointer = value["pointer"].as_str().unwrap_or_default();
            let mut fields = self.fields.iter();
            let field = fields.find(|f| f.call as u64 == call && f.pointer == pointer);
            return Ok(field.map(|field| Value::String(field.reference())));
        }
        match (shape, value) {
            (Shape::Object(args), Value::Object(_)) => {
                self.object(args, value, path, assumed).map(Some)
            }
            (Shape::Objects(args), Value::Array(items)) => {
                let items = items.iter().enumerate();
                let said =
                    items.map(|(i, v)| self.object(args, v, &format!("{path}.{i}"), assumed));
                said.collect::<Result<Value, _>>().map(Some)
            }
            (Shape::Many(slot), Value::Array(items)) if !items.iter().all(Value::is_number) => {
                let one = Shape::One(slot.clone());
                let said = items.iter().map(|item| self.find(&one, item));
                Ok(said.collect::<Option<Vec<_>>>().map(Value::Array))
            }
            _ => Ok(self.find(shape, value)),
        }
    }

    /// Finds the mention that states a value, as a literal, a number or an instant.
    fn find(&self, shape: &Shape, value: &Value) -> Option<Value> {
        let all: Vec<&Mention> = self.mentions.iter().collect();
        let mut ways = vec![intent_of(value)];
        if let Some(text) = value.as_str() {
            ways.extend(text.parse().ok().map(Intent::Number));
            ways.push(Intent::Instant(text.to_owned()));
        }
        ways.iter().find_map(|intent| point(shape, intent, &all, &self.maker.locale))
    }

    /// Tells whether an argument that the request does not state is the platform's, the pack's or the
    /// schema's to supply.
    fn is_supplied(&self, name: &str, path: &str, value: &Value) -> bool {
        let spec = &self.card.spec;
        let property = &spec.input_schema["properties"][name];
        let text = self.card.args.iter().any(|arg| {
            arg.name == name && matches!(&arg.shape, Shape::One(slot) if slot.takes_request())
        });
        let default = property.get("default").is_some_and(|default| default == value);
        text || default
            || SUPPLIED.contains(&name)
            || self.maker.desk.fills().covers(&spec.name, &starred(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::shipped;
    use crate::synth::Templates;

    fn with_finance(test: impl FnOnce(&mut Maker<'_>)) {
        let pack = shipped().unwrap().iter().find(|pack| pack.manifest.id == "finance").unwrap();
        let templates = Templates::of(pack).unwrap();
        let maker = Maker::new(pack, &templates, 1).unwrap();
        let mut maker = maker.checked(std::sync::Arc::default()).unwrap();
        test(&mut maker);
    }

    const REQUEST: &str = "We borrow 250,000 at 4.1% over 20 years. What is due each month?";

    fn of(request: &str) -> Labelled<'_> {
        Labelled { request, lang: "en", source: Source::Teacher("t".to_owned()) }
    }

    fn call(arguments: Value) -> RightCall {
        RightCall { tool: "loan_schedule".to_owned(), arguments, assumed: BTreeSet::new() }
    }

    #[test]
    fn right_calls_become_the_steps_that_a_planner_would_write() {
        with_finance(|maker| {
            let right = json!({"principal": "250000", "annual_rate_pct": 4.1, "months": 240,
                               "currency": "USD", "repayment": "annuity"});
            let examples = maker.corrected(&of(REQUEST), "call", &[call(right)]).unwrap();
            let said: Vec<&str> = examples.iter().map(|e| e.completion.as_str()).collect();
            let step = r#"{"step":"loan_schedule","with":{"principal":"$1","annual_rate_pct":"$2","months":"$3","repayment":"annuity"}}"#;
            assert_eq!(said, [step, r#"{"step":"end"}"#]);
            assert_eq!(examples[0].group, "finance/loan_schedule");
            let words = format!("{:?}", examples[0].prompt);
            assert!(!words.contains("250,000"), "the amount is masked");
        });
    }

    #[test]
    fn a_value_that_the_request_does_not_state_is_refused() {
        with_finance(|maker| {
            let wrong = json!({"principal": "251000", "annual_rate_pct": 4.1, "months": 240});
            let found = maker.corrected(&of(REQUEST), "call", &[call(wrong)]);
            assert_eq!(found.unwrap_err(), Rejected::NotFound("principal".to_owned()));
        });
    }

    #[test]
    fn steps_outside_the_grammar_of_the_request_are_refused() {
        with_finance(|maker| {
            for step in [
                json!({"step": "loan_schedule", "with": {"principal": "$9"}}),
                json!({"step": "loan_schedule", "with": {"principal": "250000"}}),
                json!({"step": "loan_schedule", "with": {"principal": "$2"}}),
                json!({"step": "loan_schedule", "with": {"repayment": "balloon"}}),
                json!({"step": "release_all_payments", "with": {}}),
                json!({"step": "end"}),
                json!({"with": {}}),
            ] {
                assert!(
                    maker.labelled(&of(REQUEST), std::slice::from_ref(&step)).is_err(),
                    "{step}"
                );
            }
            let none = maker.labelled(&of("Sing me a song"), &[json!({"step": "none"})]).unwrap();
            assert_eq!((none.len(), none[0].group.as_str()), (1, "finance/none"));
        });
    }

    #[test]
    fn a_pooled_example_names_nobody_and_an_own_one_keeps_what_the_planner_needs() {
        with_finance(|maker| {
            let request = "Screen \"Ivan Petrovich Sidorov\" against the sanctions list";
            let right = RightCall {
                tool: "sanctions_screen".to_owned(),
                arguments: json!({"name": "Ivan Petrovich Sidorov"}),
                assumed: BTreeSet::new(),
            };
            for (consent, named) in [(Consent::Pooled, false), (Consent::Own, true)] {
                let source = Source::Run { tenant: "t".to_owned(), run: "r".to_owned(), consent };
                let of = Labelled { request, lang: "en", source };
                let examples = maker.corrected(&of, "call", std::slice::from_ref(&right)).unwrap();
                let seen = examples[0].to_json().to_string();
                assert_eq!(seen.contains("Petrovich"), named, "{seen}");
                assert_eq!(examples[0].to_json()["consent"], consent.name());
            }
        });
    }

    #[test]
    fn what_is_asked_for_is_taught_as_the_call_that_lacks_it() {
        with_finance(|maker| {
            let request = "What is the instalment on 90,000 at 3.3%?";
            let known = json!({"principal": "90000", "annual_rate_pct": 3.3});
            let examples = maker.corrected(&of(request), "ask", &[call(known.clone())]).unwrap();
            assert_eq!(examples.len(), 1, "nothing ends after a question");
            assert!(maker.corrected(&of(request), "call", &[call(known)]).is_err());
        });
    }
}
