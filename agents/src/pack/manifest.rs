//! `pack.toml`: who a pack is.

use serde::{Deserialize, Serialize};

use crate::outcome::design::Measure;

/// A measure of success that a joint venture may be judged by.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kpi {
    /// Stable identifier.
    pub id: String,
    /// How it is computed.
    pub definition: String,
    /// Unit of the value.
    pub unit: String,
    /// `up` when more is better, `down` when less is; anything else cannot be tested for.
    pub direction: String,
    /// How it is taken over units; absent for one that an experiment cannot read, such as a median.
    #[serde(default)]
    pub measure: Option<Measure>,
    /// What is randomised where it is tested, for example `player`.
    #[serde(default)]
    pub randomise: Option<String>,
}

/// The contents of `pack.toml`. Unknown keys are errors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the pack format; 1.
    pub format: u32,
    /// Name of the pack's folder: `[a-z0-9-]{1,64}`.
    pub id: String,
    /// Semantic version of the contents.
    pub version: String,
    /// Title for people.
    pub title: String,
    /// What the pack does, in one sentence.
    pub description: String,
    /// BCP 47 tags of the languages it answers in.
    pub languages: Vec<String>,
    /// Jurisdictions that its knowledge covers.
    #[serde(default)]
    pub jurisdictions: Vec<String>,
    /// Kinds of data that its tools touch.
    #[serde(default)]
    pub data_classes: Vec<String>,
    /// Requests that a demo shows, one a language.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Measures of success.
    #[serde(default, rename = "kpi")]
    pub kpis: Vec<Kpi>,
}
