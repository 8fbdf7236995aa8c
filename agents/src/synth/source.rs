//! Who gave an example, and what may be trained on it.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a joint venture allows to be trained on its runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Nothing.
    #[default]
    None,
    /// The planner of this joint venture alone.
    Own,
    /// Any planner.
    Pooled,
}

impl Consent {
    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Own => "own",
            Self::Pooled => "pooled",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::None, Self::Own, Self::Pooled].into_iter().find(|one| one.name() == name)
    }

    /// Tells whether a planner may be trained on it: `own` says whether the planner belongs to the
    /// joint venture that consented.
    pub fn permits(self, own: bool) -> bool {
        match self {
            Self::None => false,
            Self::Own => own,
            Self::Pooled => true,
        }
    }
}

/// Who gave an example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// A phrase of the pack.
    #[default]
    Pack,
    /// A teacher, by the name of its model.
    Teacher(String),
    /// A run of a joint venture.
    Run {
        /// Identifier of the joint venture.
        tenant: String,
        /// Identifier of the run.
        run: String,
        /// What it allowed when the example was made; training asks again.
        consent: Consent,
    },
}

impl Source {
    /// Returns the word by which a data card counts it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Teacher(_) => "teacher",
            Self::Run { .. } => "run",
        }
    }

    /// Reads what [`Source`] writes: the joint venture and the run of an example that a run gave.
    pub fn run_of(text: &str) -> Option<(&str, &str)> {
        text.strip_prefix("run:")?.split_once(':')
    }
}

/// The phrases that a teacher gave.
#[derive(Debug, Clone, Default)]
pub struct Taught {
    /// Name of its model.
    pub model: String,
    /// Its phrases as they stand among those of the pack.
    pub phrases: HashSet<String>,
}

impl Taught {
    /// Tells who gave a phrase, or one of several that are joined by line breaks.
    pub(super) fn source_of(&self, text: &str) -> Source {
        let own = |phrase: &str| self.phrases.contains(phrase);
        if !self.phrases.is_empty() && (own(text) || text.lines().any(own)) {
            return Source::Teacher(self.model.clone());
        }
        Source::Pack
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pack => f.write_str("pack"),
            Self::Teacher(model) => write!(f, "teacher:{model}"),
            Self::Run { tenant, run, .. } => write!(f, "run:{tenant}:{run}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consent_is_read_back_and_permits_no_more_than_it_says() {
        for (consent, own, others) in [
            (Consent::None, false, false),
            (Consent::Own, true, false),
            (Consent::Pooled, true, true),
        ] {
            assert_eq!(Consent::of(consent.name()), Some(consent));
            assert_eq!((consent.permits(true), consent.permits(false)), (own, others));
        }
        assert_eq!(Consent::of("all"), None);
    }

    #[test]
    fn a_runs_example_names_its_run() {
        let source =
            Source::Run { tenant: "t".to_owned(), run: "r".to_owned(), consent: Consent::Own };
        assert_eq!(Source::run_of(&source.to_string()), Some(("t", "r")));
        assert_eq!(Source::run_of(&Source::Teacher("run".to_owned()).to_string()), None);
    }
}
