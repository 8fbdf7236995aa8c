//! A training example and its line in a file.

use runtime::Prompt;
use serde_json::{Value, json};

use super::Source;
use crate::plan::{AGAIN, END};

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

#[cfg(test)]
mod tests {
    use super::*;

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
