//! A training example and its line in a file.

use std::collections::BTreeMap;

use runtime::Prompt;
use serde_json::{Value, json};

use super::Source;
use crate::plan::{AGAIN, END, mention_of};

/// One training example of the planner.
#[derive(Debug, Clone)]
pub struct Example {
    /// What the planner sees.
    pub prompt: Prompt,
    /// What it should say.
    pub completion: String,
    /// `pack/tool`, or `pack/none` and so on.
    pub group: String,
    /// What the request asks for: the names of its tools, which no masking changes, or one of
    /// [`OTHER_STEPS`](crate::plan::OTHER_STEPS); [`AGAIN`] beside them where one is called more than once.
    pub labels: Vec<String>,
    /// The call that is made.
    pub called: Called,
    /// Language of the phrase.
    pub lang: &'static str,
    /// True when the phrase is kept out of training.
    pub held_out: bool,
    /// Who gave it.
    pub source: Source,
}

impl Example {
    /// Returns the line of a training file.
    pub fn to_json(&self) -> Value {
        let mut line = json!({
            "prompt": self.prompt.to_json(),
            "completion": self.completion,
            "group": self.group,
            "labels": self.labels,
            "lang": self.lang,
            "split": if self.held_out { "heldout" } else { "train" },
            "source": self.source.to_string(),
        });
        if !self.called.name.is_empty() {
            line["call"] = json!(self.called.name);
            line["places"] = json!(self.called.places);
            line["choices"] = json!(self.called.choices);
        }
        if let Source::Run { consent, .. } = self.source {
            line["consent"] = json!(consent.name());
        }
        line
    }
}

/// Returns what the steps of a request say that it asks for.
pub(super) fn labels_of<'s>(completions: impl Iterator<Item = &'s str>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for completion in completions {
        let step: Value = serde_json::from_str(completion).unwrap_or_default();
        let Some(name) = step["step"].as_str().filter(|name| *name != END) else { continue };
        let name = if labels.iter().any(|label| label == name) { AGAIN } else { name };
        if !labels.iter().any(|label| label == name) {
            labels.push(name.to_owned());
        }
    }
    labels
}

/// What a step says of its call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Called {
    /// The name of the call, which no masking changes; empty where none is made, or nothing tells for
    /// which of several calls of one tool a value is.
    pub name: String,
    /// The places of its arguments that each mention fills, as [`Leads`](crate::plan::Leads) names them.
    pub places: BTreeMap<usize, Vec<String>>,
    /// What it chooses among literals, `PLACE=LITERAL`.
    pub choices: Vec<String>,
}

impl Called {
    /// Reads a step of a request with these labels.
    pub(super) fn of(completion: &str, labels: &[String]) -> Self {
        let step: Value = serde_json::from_str(completion).unwrap_or_default();
        let again = labels.iter().any(|label| label == AGAIN);
        let mut called = Self::default();
        if let (Some(name), Some(with), false) = (step["step"].as_str(), step.get("with"), again) {
            called.collect(with, "");
            name.clone_into(&mut called.name);
        }
        called
    }

    fn collect(&mut self, said: &Value, place: &str) {
        match said {
            Value::Object(object) => {
                object.iter().for_each(|(name, v)| self.collect(v, &format!("{place}/{name}")));
            }
            Value::Array(items) => {
                items.iter().for_each(|v| self.collect(v, &format!("{place}/*")));
            }
            Value::String(text) if text.starts_with('#') => {}
            Value::String(text) => match mention_of(text) {
                Some(id) => note(self.places.entry(id).or_default(), place.to_owned()),
                _ => note(&mut self.choices, format!("{place}={text}")),
            },
            Value::Bool(flag) => note(&mut self.choices, format!("{place}={flag}")),
            _ => {}
        }
    }
}

/// Adds a name that is not there yet, in order.
fn note(names: &mut Vec<String>, name: String) {
    if let Err(at) = names.binary_search(&name) {
        names.insert(at, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_a_call_name_arguments_and_not_elements() {
        let said = r##"{"step":"bill","with":{"rate":"$2","lines":[{"kwh":"$1"},{"kwh":"$3"}],
                       "days":["$2"],"mode":"day","dry":true,"sum":"#1.x"}}"##;
        let Called { name, places, choices } = Called::of(said, &["bill".to_owned()]);
        assert_eq!(
            (name.as_str(), choices),
            ("bill", vec!["/dry=true".into(), "/mode=day".into()])
        );
        let of = |id: usize| places[&id].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!((of(1), of(2), of(3)), (vec!["/lines/*/kwh"], vec!["/days/*", "/rate"], of(1)));
        assert_eq!(places.len(), 3);
        let again = ["bill".to_owned(), AGAIN.to_owned()];
        assert_eq!(Called::of(said, &again), Called::default());
        assert_eq!(Called::of(r#"{"step":"none"}"#, &[]).name, "");
    }

    #[test]
    fn a_request_asks_for_its_tools_once_and_says_where_one_is_needed_again() {
        let labels = |steps: &[&str]| {
            let said: Vec<String> =
                steps.iter().map(|s| json!({ "step": s }).to_string()).collect();
            labels_of(said.iter().map(String::as_str))
        };
        assert_eq!(labels(&["bill", "stats", "end"]), ["bill", "stats"]);
        assert_eq!(labels(&["bill", "bill", "bill", "end"]), ["bill", "again"]);
        assert_eq!(labels(&["person"]), ["person"]);
    }
}
