//! An experiment as it is fixed before it starts: unit, seed, holdout, metrics, window, least effect
//! worth having, and how it will be read. The SHA-256 of its canonical form is kept from the start on,
//! so that nobody can say later that something else was meant.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::assign::{Arm, WHOLE, arm, period_arm};
use super::micros::Micros;
use crate::pack::Kpi;

/// Most metrics of one experiment; with more, nothing would survive the correction for many.
pub const MAX_METRICS: usize = 20;

/// Longest unit or observation identifier, bytes.
pub const MAX_ID: usize = 200;

/// How units get an arm, and with it what may be said of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Each unit is in one arm for the whole window, drawn by hash.
    Randomised,
    /// One place, periods in random blocks of two.
    Switchback,
    /// The time before a change against the time after it. No cause can be read from it.
    BeforeAfter,
}

impl Method {
    /// Returns what the method is, for whoever reads a figure of it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Randomised => "randomised units",
            Self::Switchback => "switchback of random periods",
            Self::BeforeAfter => "before and after, not causal",
        }
    }

    /// Tells whether a difference may be called an effect.
    pub fn is_causal(self) -> bool {
        self != Self::BeforeAfter
    }
}

/// When the figures may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Once, when the window has ended.
    Fixed,
    /// On any day; the interval is wider and holds at all times at once.
    Sequence,
}

/// What a metric is over units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The values of a unit are summed; the metric is their mean over units.
    Mean,
    /// Values and weights are summed over units; the metric is the quotient.
    Ratio,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Up,
    /// Less is better.
    Down,
}

/// One metric; the first of a design is the primary one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// KPI of the pack.
    pub kpi: String,
    /// How it is taken over units.
    pub measure: Measure,
    /// Which way is better.
    pub better: Better,
    /// Least improvement that is worth having, in the unit of the metric (0.02 for two points).
    pub minimum: Micros,
    /// Cap on the summed values of a unit, for heavy tails; a redrawn interval of the uncapped values
    /// is then shown beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Micros>,
}

impl Metric {
    /// Builds the metric of a KPI; `None` ⇐ the KPI has no better side.
    pub fn of(kpi: &Kpi, minimum: Micros) -> Option<Self> {
        let better = match kpi.direction.as_str() {
            "up" => Better::Up,
            "down" => Better::Down,
            _ => return None,
        };
        Some(Self { kpi: kpi.id.clone(), measure: kpi.measure?, better, minimum, cap: None })
    }
}

/// An experiment as it is fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// Name in addresses: `[a-z0-9-]`, 1 to 64.
    pub name: String,
    /// What is tested, in a sentence.
    pub question: String,
    /// What a unit is: `player`, `site`, `vehicle`, `supplier`.
    pub unit: String,
    /// Text that the hash of the assignment begins with; another seed is another draw.
    pub seed: String,
    /// How units get an arm.
    pub method: Method,
    /// Share of units held out, 0.05 to 0.5; 0.5 for a switchback.
    pub holdout: Micros,
    /// Begin of the window. Observations before it are the covariate.
    pub start: Timestamp,
    /// End of the window, exclusive.
    pub end: Timestamp,
    /// Length of a period of a switchback or of before and after, hours.
    #[serde(default = "a_day")]
    pub period_hours: u32,
    /// When the change was made, for before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_at: Option<Timestamp>,
    /// When the figures may be read.
    pub reading: Reading,
    /// Units (or periods) expected by the end.
    pub planned_units: u32,
    /// What is measured; the first is what the experiment is judged by.
    pub metrics: Vec<Metric>,
}

fn a_day() -> u32 {
    24
}

/// Why a design cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {message}")]
pub struct DesignError {
    /// The field at fault.
    pub field: &'static str,
    /// What would be right.
    pub message: String,
}

/// Returns the SHA-256, in lower-case hex, of a value's canonical JSON.
///
/// # Source
/// RFC 8785 (JSON Canonicalization Scheme).
pub fn sha256<T: Serialize>(value: &T) -> String {
    hex::encode(Sha256::digest(canonical(value)))
}

/// Returns a value's canonical JSON. The types of this module serialise without fail.
pub(super) fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).unwrap_or_default()
}

impl Design {
    /// Returns the SHA-256 of the canonical form.
    pub fn sha256(&self) -> String {
        sha256(self)
    }

    /// Checks the design against the KPIs of the pack.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn check(&self, kpis: &[Kpi]) -> Result<(), DesignError> {
        let fault = |field, message: String| Err(DesignError { field, message });
        let named = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !named(&self.name) {
            return fault("name", "1 to 64 of a-z, 0-9 and -".to_owned());
        }
        for (field, text) in
            [("question", &self.question), ("unit", &self.unit), ("seed", &self.seed)]
        {
            if text.trim().is_empty() || text.len() > 500 || text.contains('\0') {
                return fault(field, "1 to 500 bytes of text".to_owned());
            }
        }
        let half = self.holdout == Micros(i64::from(WHOLE / 2));
        match self.method {
            Method::Randomised if !(50_000..=500_000).contains(&self.holdout.0) => {
                return fault("holdout", "0.05 to 0.5 of the units".to_owned());
            }
            Method::Switchback if !half => {
                return fault("holdout", "a switchback holds out 0.5 of its periods".to_owned());
            }
            _ => {}
        }
        if self.end <= self.start {
            return fault("end", "must be after `start`".to_owned());
        }
        if !(1..=24 * 31).contains(&self.period_hours) {
            return fault("period_hours", "1 to 744 hours".to_owned());
        }
        self.check_change()?;
        if self.planned_units < 4 {
            return fault("planned_units", "at least 4".to_owned());
        }
        self.check_metrics(kpis)
    }

    fn check_change(&self) -> Result<(), DesignError> {
        let within = self.change_at.is_some_and(|at| self.start < at && at < self.end);
        if (self.method == Method::BeforeAfter) != self.change_at.is_some()
            || (self.change_at.is_some() && !within)
        {
            let message = "when the change was made, within the window, for `before_after` only";
            return Err(DesignError { field: "change_at", message: message.to_owned() });
        }
        if self.method != Method::Randomised && self.reading == Reading::Sequence {
            let message = "`sequence` needs randomised units; read at the end with `fixed`";
            return Err(DesignError { field: "reading", message: message.to_owned() });
        }
        Ok(())
    }

    fn check_metrics(&self, kpis: &[Kpi]) -> Result<(), DesignError> {
        let fault = |message: String| Err(DesignError { field: "metrics", message });
        if self.metrics.is_empty() || self.metrics.len() > MAX_METRICS {
            return fault(format!("1 to {MAX_METRICS} metrics, the primary one first"));
        }
        let mut seen = BTreeSet::new();
        for metric in &self.metrics {
            let known = kpis.iter().find(|kpi| kpi.id == metric.kpi);
            let Some(known) = known else {
                let all: Vec<&str> = kpis.iter().map(|kpi| kpi.id.as_str()).collect();
                return fault(format!("no KPI `{}`; the pack has {}", metric.kpi, all.join(", ")));
            };
            match Metric::of(known, metric.minimum) {
                Some(given) if given.measure != metric.measure || given.better != metric.better => {
                    return fault(format!("`{}` is defined otherwise by the pack", metric.kpi));
                }
                None => {
                    return fault(format!("`{}` has no better side to test for", metric.kpi));
                }
                Some(_) => {}
            }
            if metric.minimum.0 < 0 || metric.cap.is_some_and(|cap| cap.0 <= 0) {
                return fault(format!("`{}`: minimum and cap must not be negative", metric.kpi));
            }
            if metric.cap.is_some() && metric.measure == Measure::Ratio {
                return fault(format!("`{}`: a cap is for means", metric.kpi));
            }
            if !seen.insert(&metric.kpi) {
                return fault(format!("`{}` is named twice", metric.kpi));
            }
        }
        Ok(())
    }

    /// Returns the arm of a unit of a randomised design.
    pub fn arm(&self, unit: &str) -> Arm {
        arm(&self.seed, u32::try_from(self.holdout.0).unwrap_or(WHOLE), unit)
    }

    /// Returns the period that an instant falls into, counted from the start; `None` before it.
    pub fn period(&self, at: Timestamp) -> Option<u64> {
        let seconds = at.as_second() - self.start.as_second();
        u64::try_from(seconds).ok().map(|s| s / (u64::from(self.period_hours) * 3600))
    }

    /// Returns the arm of a period; for before and after, treatment from the change on.
    pub fn period_arm(&self, period: u64) -> Arm {
        match self.change_at.and_then(|at| self.period(at)) {
            Some(change) if period < change => Arm::Control,
            Some(_) => Arm::Treatment,
            None => period_arm(&self.seed, period),
        }
    }
}
