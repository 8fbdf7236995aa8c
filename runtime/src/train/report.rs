//! What a training run came to, as JSON for programs and a page for people.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::data::Example;
use super::state::put;
use super::{TrainError, page};

/// Held-out examples of a group and language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupScore {
    /// How many were measured.
    pub examples: usize,
    /// How many were right to the last token.
    pub right: usize,
}

/// Tokens by layer and expert.
pub type Load = Vec<Vec<usize>>;

/// What a training run came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Steps of the optimiser.
    pub steps: usize,
    /// Wall time of all sittings, minutes.
    pub minutes: f64,
    /// Weights in all.
    pub parameters: usize,
    /// Weights that one token passes through.
    pub active_parameters: usize,
    /// Tokens a second at the end, shared heads counted once.
    pub tokens_per_s: f64,
    /// Step, loss in nats a token, share of training examples that were exact.
    pub curve: Vec<(usize, f64, f64)>,
    /// Held-out scores by group and language.
    pub groups: BTreeMap<(String, String), GroupScore>,
    /// Held-out requests, and those whose likeliest label is right.
    pub intents: GroupScore,
    /// Held-out tokens by industry (what stands before the slash of a group), layer and expert.
    pub load: BTreeMap<String, Load>,
}

/// What stands before the slash of a group.
fn industry(group: &str) -> &str {
    group.split('/').next().unwrap_or(group)
}

impl GroupScore {
    fn plus(self, other: Self) -> Self {
        Self { examples: self.examples + other.examples, right: self.right + other.right }
    }
}

impl Report {
    /// Returns the held-out score over all groups.
    pub fn total(&self) -> GroupScore {
        self.groups.values().fold(GroupScore::default(), |a, b| a.plus(*b))
    }

    /// Returns the held-out scores by industry.
    pub fn by_industry(&self) -> BTreeMap<&str, GroupScore> {
        self.folded(|(group, _)| industry(group))
    }

    /// Returns the held-out scores by language.
    pub fn by_language(&self) -> BTreeMap<&str, GroupScore> {
        self.folded(|(_, lang)| lang)
    }

    fn folded<'a>(
        &'a self,
        key: impl Fn(&'a (String, String)) -> &'a str,
    ) -> BTreeMap<&'a str, GroupScore> {
        let mut folded: BTreeMap<&str, GroupScore> = BTreeMap::new();
        for (of, score) in &self.groups {
            let entry = folded.entry(key(of)).or_default();
            *entry = entry.plus(*score);
        }
        folded
    }

    /// Counts one held-out example.
    pub(super) fn count(&mut self, example: &Example, right: bool) {
        let key = (example.group.clone(), example.lang.clone());
        let score = self.groups.entry(key).or_default();
        *score = score.plus(GroupScore { examples: 1, right: usize::from(right) });
    }

    /// Counts the tokens that the experts had of an example's industry.
    pub(super) fn add_load(&mut self, example: &Example, load: &[Vec<usize>]) {
        let total = self.load.entry(industry(&example.group).to_owned()).or_default();
        total.resize(load.len(), Vec::new());
        for (total, layer) in total.iter_mut().zip(load) {
            total.resize(layer.len(), 0);
            total.iter_mut().zip(layer).for_each(|(t, n)| *t += n);
        }
    }

    /// Reads what an earlier sitting left of its curve and time; nothing where it left no report.
    pub(super) fn begun(folder: &Path) -> Self {
        let read = std::fs::read(folder.join("report.json")).ok();
        let value: Value =
            read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self {
            minutes: value["minutes"].as_f64().unwrap_or(0.0),
            curve: serde_json::from_value(value["curve"].clone()).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Writes `report.json` and `report.html`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub(super) fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let score = |name: &str, s: GroupScore| json!({"name": name, "examples": s.examples, "right": s.right});
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|((group, lang), s)| json!({"group": group, "lang": lang, "examples": s.examples, "right": s.right}))
            .collect();
        let list = |scores: BTreeMap<&str, GroupScore>| -> Vec<Value> {
            scores.into_iter().map(|(name, s)| score(name, s)).collect()
        };
        let total = self.total();
        let report = json!({
            "steps": self.steps, "minutes": self.minutes, "parameters": self.parameters,
            "active_parameters": self.active_parameters, "tokens_per_s": self.tokens_per_s,
            "held_out": {"examples": total.examples, "right": total.right},
            "recognised": {"examples": self.intents.examples, "right": self.intents.right},
            "by_industry": list(self.by_industry()), "by_language": list(self.by_language()),
            "groups": groups, "expert_load": self.load, "curve": self.curve,
        });
        put(folder, "report.json", report.to_string().as_bytes())?;
        put(folder, "report.html", page::html(self).as_bytes())
    }
}
