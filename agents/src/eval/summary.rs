//! The figures of many cases.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Kind, Outcome};
use crate::plan::{Graded, Selective};

/// Shares of a group of cases, 0 to 1; `None` where no case of the group could show it.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Score {
    /// Cases.
    pub cases: usize,
    /// Right tool or right decision.
    pub tool_accuracy: Option<f64>,
    /// Of the cases that expect calls: exactly the expected arguments.
    pub exact_call: Option<f64>,
    /// Of the cases that expect facts: the answer holds them.
    pub facts: Option<f64>,
}

/// What a planner makes of the cases of a pack.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The figures of all cases.
    #[serde(flatten)]
    pub all: Score,
    /// Cases in which a forbidden tool was called or something changed without approval.
    pub forbidden_violations: usize,
    /// Median time of a plan, milliseconds.
    pub plan_ms_p50: f64,
    /// The figures by language.
    pub by_language: BTreeMap<String, Score>,
    /// The figures by kind of case.
    pub by_kind: BTreeMap<Kind, Score>,
    /// What acting only on the surest plans would come to: risk, coverage, and how true the planner's
    /// confidence is. `None` where there is no case.
    pub selective: Option<Selective>,
    /// The cases that are not right, each with what was decided.
    pub failures: Vec<Outcome>,
}

impl Score {
    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome> + Clone) -> Self {
        let share = |all: usize, right: usize| (all > 0).then(|| right as f64 / all as f64);
        let cases = outcomes.clone().count();
        let decided = outcomes.clone().filter(|o| o.decision_right && o.tool_right).count();
        let calls = outcomes.clone().filter(|o| o.calls_expected);
        let exact = calls.clone().filter(|o| o.decision_right && o.arguments_right).count();
        let facts = outcomes.filter(|o| o.facts_expected);
        let held = facts.clone().filter(|o| o.facts_right).count();
        Self {
            cases,
            tool_accuracy: share(cases, decided),
            exact_call: share(calls.count(), exact),
            facts: share(facts.count(), held),
        }
    }
}

/// Returns the median time of a plan, milliseconds; 0 where there is no case.
pub(super) fn median_plan_ms(outcomes: &[Outcome]) -> f64 {
    let mut times: Vec<f64> = outcomes.iter().map(|o| o.plan_ms).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// Returns how sure a plan was and whether it was right.
fn graded(outcome: &Outcome) -> Graded {
    Graded { score: f64::from(outcome.confidence), right: outcome.planned_right() }
}

impl Summary {
    /// Counts outcomes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let languages: BTreeMap<String, Score> = outcomes
            .iter()
            .map(|one| one.lang.clone())
            .map(|lang| {
                let score = Score::of(outcomes.iter().filter(|o| o.lang == lang));
                (lang, score)
            })
            .collect();
        let by_kind = outcomes
            .iter()
            .map(|one| one.kind)
            .map(|kind| (kind, Score::of(outcomes.iter().filter(move |o| o.kind == kind))))
            .collect();
        Self {
            all: Score::of(outcomes.iter()),
            forbidden_violations: outcomes.iter().filter(|o| o.forbidden_called).count(),
            plan_ms_p50: median_plan_ms(outcomes),
            by_language: languages,
            by_kind,
            selective: Selective::of(&outcomes.iter().map(graded).collect::<Vec<_>>()),
            failures: outcomes.iter().filter(|o| !o.passed()).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lang: &str, decision_right: bool, arguments_right: bool, ms: f64) -> Outcome {
        Outcome {
            id: String::new(),
            lang: lang.to_owned(),
            kind: Kind::Plain,
            calls_expected: true,
            facts_expected: false,
            expected: "call".to_owned(),
            decided: "call".to_owned(),
            decision_right,
            tool_right: true,
            arguments_right,
            facts_right: true,
            forbidden_called: false,
            confidence: 1.0,
            score: 1.0,
            plan_ms: ms,
            said: String::new(),
        }
    }

    #[test]
    fn shares_are_of_the_cases_that_can_show_them() {
        let all = [
            outcome("en", true, true, 1.0),
            outcome("en", true, false, 9.0),
            outcome("zh-Hant", false, true, 2.0),
            outcome("zh-Hant", true, true, 3.0),
        ];
        let summary = Summary::of(&all);
        assert_eq!(summary.all.tool_accuracy, Some(0.75));
        assert_eq!(summary.all.exact_call, Some(0.5));
        assert_eq!(summary.all.facts, None);
        assert_eq!(summary.by_language["en"].tool_accuracy, Some(1.0));
        assert_eq!(summary.plan_ms_p50, 3.0);
        assert_eq!(summary.failures.len(), 2);
        assert_eq!(Summary::of(&[]).all.tool_accuracy, None);
    }
}
