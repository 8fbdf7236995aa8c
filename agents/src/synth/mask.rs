//! Other names for a pack's tools and arguments, from `synth/_names.toml`.
//!
//! A planner that always meets the same tools learns their names by heart and never reads their
//! cards. In a part of the examples tools and arguments go by other names, so that what a card says
//! is all that there is to go by, and a tool that the planner never met can be used.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use runtime::{Prompt, Segment};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::say::Chance;
use crate::pack::Pack;
use crate::plan::Card;

/// How often a tool, its title and an argument go by another name in a masked example.
const RENAMED: f64 = 0.7;

/// The other names of one tool.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// Names of the tool.
    #[serde(default)]
    names: Vec<String>,
    /// Titles of the tool.
    #[serde(default)]
    titles: Vec<String>,
    /// Names of its arguments, also of those inside objects, by their own.
    #[serde(default)]
    arguments: BTreeMap<String, Vec<String>>,
}

/// Reads `synth/_names.toml`.
pub(super) fn parse(text: &str, pack: &Pack) -> Result<BTreeMap<String, Names>, String> {
    let all: BTreeMap<String, Names> = toml::from_str(text).map_err(|error| error.to_string())?;
    match all.keys().find(|name| pack.tool(name).is_none()) {
        Some(name) => Err(format!("there is no tool `{name}` in the pack")),
        None => Ok(all),
    }
}

/// What the tools of one shortlist are called.
#[derive(Debug, Clone, Default)]
pub(super) struct Mask(BTreeMap<String, Other>);

#[derive(Debug, Clone)]
struct Other {
    name: String,
    line: String,
    arguments: BTreeMap<String, String>,
}

impl Mask {
    /// Draws names for the tools of a shortlist.
    pub(super) fn draw<'c>(
        cards: impl Iterator<Item = &'c Card>,
        names: &BTreeMap<String, Names>,
        chance: &mut Chance,
    ) -> Self {
        let mut mask = Self::default();
        for card in cards {
            let Some(of) = names.get(&card.spec.name) else { continue };
            let mut pick = |others: &[String], own: &str| match others.choose(chance) {
                Some(other) if chance.random_bool(RENAMED) => other.clone(),
                _ => own.to_owned(),
            };
            let name = pick(&of.names, &card.spec.name);
            let title = pick(&of.titles, &card.spec.title);
            let arguments: BTreeMap<String, String> =
                of.arguments.iter().map(|(own, others)| (own.clone(), pick(others, own))).collect();
            let called = |own: &str| arguments.get(own).cloned().unwrap_or_else(|| own.to_owned());
            let line = card.line_as(&name, &title, &called);
            mask.0.insert(card.spec.name.clone(), Other { name, line, arguments });
        }
        mask
    }

    /// Renames a prompt and what should be said.
    pub(super) fn apply(&self, prompt: &mut Prompt, completion: &mut String) {
        if self.0.is_empty() {
            return;
        }
        let mut before = "";
        for segment in &mut prompt.segments {
            match segment {
                Segment::Special(name) => before = name.as_str(),
                Segment::Text(text) if before == "tools" => *text = self.cards(text),
                Segment::Text(text) if before == "plan" => *text = self.step(text),
                Segment::Text(_) => {}
            }
        }
        *completion = self.step(completion);
    }

    /// Renames cards, and puts them in the order of their names again.
    fn cards(&self, lines: &str) -> String {
        let mut cards: Vec<(&str, &str)> = lines
            .lines()
            .map(|line| {
                let own = line.split('(').next().unwrap_or(line);
                match self.0.get(own) {
                    Some(other) => (other.name.as_str(), other.line.as_str()),
                    None => (own, line),
                }
            })
            .collect();
        cards.sort_by_key(|(name, _)| *name);
        cards.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    }

    /// Renames a step.
    fn step(&self, text: &str) -> String {
        let Ok(mut step) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
        let other = step["step"].as_str().and_then(|own| self.0.get(own));
        let Some(other) = other else { return text.to_owned() };
        step["step"] = Value::String(other.name.clone());
        step["with"] = renamed(&step["with"], &other.arguments);
        step.to_string()
    }
}

fn renamed(value: &Value, names: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(own, value)| (names.get(own).unwrap_or(own).clone(), renamed(value, names)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(|item| renamed(item, names)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::pack::shipped;
    use crate::plan::{Desk, END};
    use crate::synth::Templates;

    #[test]
    fn a_masked_example_names_only_what_its_cards_show() {
        let pack = shipped().unwrap().iter().find(|p| p.manifest.id == "finance").unwrap();
        let names: BTreeMap<String, Names> = toml::from_str(
            "[loan_schedule]\nnames = [\"zz_plan\"]\ntitles = [\"Way back\"]\n\
             [loan_schedule.arguments]\nprincipal = [\"sum\"]\nmonths = [\"term\"]\n",
        )
        .unwrap();
        let desk = Desk::new(pack, &Templates::of(pack).unwrap()).unwrap();
        let cards = [desk.card("loan_schedule").unwrap(), desk.card("xirr").unwrap()];
        let said = r#"{"step":"loan_schedule","with":{"principal":"$1","months":"$2"}}"#;
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let mask = Mask::draw(cards.into_iter(), &names, &mut Chance::seed_from_u64(seed));
            let mut prompt = Desk::prompt("pay back 5", &[], &mut cards.clone());
            prompt = Desk::after(prompt, said, "#1.first_payment");
            let mut completion = said.to_owned();
            mask.apply(&mut prompt, &mut completion);
            let Segment::Text(lines) = &prompt.segments[1] else { panic!("no cards") };
            let step: Value = serde_json::from_str(&completion).unwrap();
            let line = lines.lines().find(|l| l.starts_with(step["step"].as_str().unwrap()));
            for argument in step["with"].as_object().unwrap().keys() {
                assert!(line.unwrap().contains(&format!("{argument}:")), "{argument} in {lines}");
            }
            assert!(prompt.segments.contains(&Segment::Text(completion.clone())));
            assert!(lines.lines().is_sorted() && lines.contains("xirr("));
            let mut end = format!(r#"{{"step":"{END}"}}"#);
            mask.apply(&mut prompt, &mut end);
            assert!(end.contains(END));
            seen.insert(completion);
        }
        // Tool and two arguments, each by one of two names.
        assert_eq!(seen.len(), 8);
    }
}
