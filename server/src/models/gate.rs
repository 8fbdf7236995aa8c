//! The gate of a joint venture: runs a candidate and the planner that it would replace on the cases
//! of the pack, and keeps what was found with what it was found on.

use std::ops::ControlFlow;

use agents::eval::gate::{Rules, Verdict};
use agents::eval::{CASES, CASES_AT, Case, Outcome, run};
use agents::pack::Pack;
use agents::plan::PROMPT_VERSION;
use agents::run::Agent;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ModelError;

/// What a verdict rests on. Once any of it is another, the verdict says nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Version of the planner that would be replaced.
    pub against: String,
    /// Digest of its files.
    pub against_sha256: String,
    /// Identifier of the pack.
    pub pack: String,
    /// Its version.
    pub pack_version: String,
    /// SHA-256 of its cases.
    pub cases_sha256: String,
    /// Version of the prompt's form.
    pub prompt_version: u32,
}

impl Basis {
    /// Names a pack and the planner that a candidate would replace.
    pub fn of(pack: &Pack, against: &str, against_sha256: &str) -> Self {
        let cases = pack.files.get(CASES).map_or_else(Default::default, Sha256::digest);
        Self {
            against: against.to_owned(),
            against_sha256: against_sha256.to_owned(),
            pack: pack.manifest.id.clone(),
            pack_version: pack.manifest.version.clone(),
            cases_sha256: hex::encode(cases),
            prompt_version: PROMPT_VERSION,
        }
    }
}

/// A verdict as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gated {
    /// What it rests on.
    pub basis: Basis,
    /// When it was found.
    pub at: Timestamp,
    /// What was found.
    pub verdict: Verdict,
}

impl Gated {
    /// Tells whether the verdict still speaks about what is there now.
    pub fn holds_for(&self, basis: &Basis, rules: Rules) -> bool {
        self.basis == *basis && self.verdict.rules == rules
    }
}

/// Runs two agents on the same cases, in turn case by case, so that whatever else the machine does
/// slows both alike. `tell` hears how many of how many runs are done, and may stop.
///
/// # Errors
/// [`ModelError::Pack`] ⇐ a case or a fixture is broken; [`ModelError::Gate`] ⇐ there is no case;
/// [`ModelError::Stopped`].
pub fn compare(
    candidate: &Agent,
    against: &Agent,
    cases: &[Case],
    rules: Rules,
    tell: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Verdict, ModelError> {
    let total = 2 * cases.len();
    let (mut new, mut old): (Vec<Outcome>, Vec<Outcome>) = (Vec::new(), Vec::new());
    for case in cases {
        for (agent, outcomes) in [(candidate, &mut new), (against, &mut old)] {
            outcomes.push(run(agent, case, CASES_AT).map_err(ModelError::pack)?);
        }
        if tell(new.len() + old.len(), total).is_break() {
            return Err(ModelError::Stopped);
        }
    }
    Ok(Verdict::of(&new, &old, rules)?)
}

#[cfg(test)]
mod tests {
    use agents::eval::Kind;

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            id: "one".to_owned(),
            lang: "en".to_owned(),
            kind: Kind::Plain,
            calls_expected: true,
            facts_expected: false,
            expected: "call".to_owned(),
            decided: "call".to_owned(),
            decision_right: true,
            tool_right: true,
            arguments_right: true,
            facts_right: true,
            forbidden_called: false,
            confidence: 1.0,
            score: 1.0,
            plan_ms: 1.0,
            said: String::new(),
        }
    }

    #[test]
    fn a_verdict_speaks_about_one_pair_on_one_set_of_cases_under_one_set_of_rules() {
        let packs = agents::pack::shipped().unwrap();
        let basis = Basis::of(&packs[0], "before", "ab");
        let rules = Rules::default();
        let verdict = Verdict::of(&[outcome()], &[outcome()], rules).unwrap();
        let gated = Gated { basis: basis.clone(), at: Timestamp::UNIX_EPOCH, verdict };
        let stored: Gated = serde_json::from_value(serde_json::to_value(&gated).unwrap()).unwrap();
        assert_eq!(stored, gated);
        assert!(stored.holds_for(&basis, rules));
        for other in [
            Basis::of(&packs[1], "before", "ab"),
            Basis::of(&packs[0], "before", "cd"),
            Basis { pack_version: "9.0.0".to_owned(), ..basis.clone() },
            Basis { cases_sha256: String::new(), ..basis.clone() },
            Basis { prompt_version: 0, ..basis.clone() },
        ] {
            assert!(!stored.holds_for(&other, rules), "{other:?}");
        }
        assert!(!stored.holds_for(&basis, Rules { alpha: 0.01, ..rules }));
        assert!(!stored.holds_for(&basis, Rules { plan_ms: 50.0, ..rules }));
    }
}
