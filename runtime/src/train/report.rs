//! What a training run leaves behind: the report, and the state that another sitting goes on from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::TrainError;
use super::adam::Adam;

/// Name of the file that training goes on from; not part of a planner.
const STATE: &str = "training.state";

/// Held-out examples of a group and language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupScore {
    /// How many were measured.
    pub examples: usize,
    /// How many were right to the last token.
    pub right: usize,
}

/// What a training run came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Steps of the optimiser.
    pub steps: usize,
    /// Wall time of this sitting, minutes.
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
    /// Held-out tokens by layer and expert.
    pub load: Vec<Vec<usize>>,
}

impl Report {
    /// Returns the held-out score over all groups.
    pub fn total(&self) -> GroupScore {
        self.groups.values().fold(GroupScore::default(), |a, b| GroupScore {
            examples: a.examples + b.examples,
            right: a.right + b.right,
        })
    }

    /// Writes `report.json` and `report.html`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub(super) fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|((group, lang), s)| json!({"group": group, "lang": lang, "examples": s.examples, "right": s.right}))
            .collect();
        let total = self.total();
        let report = json!({
            "steps": self.steps, "minutes": self.minutes, "parameters": self.parameters,
            "active_parameters": self.active_parameters, "tokens_per_s": self.tokens_per_s,
            "held_out": {"examples": total.examples, "right": total.right},
            "curve": self.curve, "groups": groups, "expert_load": self.load,
        });
        put(folder, "report.json", report.to_string().as_bytes())?;
        put(folder, "report.html", self.html().as_bytes())
    }

    fn html(&self) -> String {
        let total = self.total();
        let mut rows = String::new();
        for ((group, lang), s) in &self.groups {
            let _ = write!(
                rows,
                "<tr><td>{group}<td>{lang}<td>{}<td>{}<td><progress max={} value={}></progress>",
                s.right, s.examples, s.examples, s.right
            );
        }
        format!(
            "<!doctype html><meta charset=utf-8><title>Training report</title>\
             <style>body{{font:16px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}td,th{{padding:.2rem .6rem;text-align:left}}svg{{width:100%;height:auto}}</style>\
             <h1>Training report</h1><p>{} steps in {:.1} minutes, {} weights ({} active), {:.0} tokens/s.\
             Held-out examples right: {} of {}.</p><h2>Loss</h2>{}<h2>Expert load by layer</h2>{}\
             <h2>Held-out accuracy</h2><table><tr><th>Group<th>Language<th>Right<th>Of<th>{rows}</table>",
            self.steps,
            self.minutes,
            self.parameters,
            self.active_parameters,
            self.tokens_per_s,
            total.right,
            total.examples,
            self.curve_svg(),
            self.load_svg(),
        )
    }

    fn curve_svg(&self) -> String {
        let most = self.curve.iter().map(|(_, loss, _)| *loss).fold(0.1, f64::max);
        let last = self.curve.last().map_or(1, |(step, _, _)| *step) as f64;
        let points: Vec<String> = self
            .curve
            .iter()
            .map(|(step, loss, _)| {
                format!(
                    "{:.1},{:.1}",
                    *step as f64 / last * 780.0 + 10.0,
                    210.0 - loss / most * 200.0
                )
            })
            .collect();
        format!(
            "<svg viewBox='0 0 800 220' role=img aria-label='Loss by step'><rect width=800 height=220 fill='#f4f4f2'/>\
             <polyline fill=none stroke='#1f6f5c' stroke-width=2 points='{}'/><text x=14 y=20>{most:.2}</text></svg>",
            points.join(" ")
        )
    }

    fn load_svg(&self) -> String {
        let mut bars = String::new();
        for (l, experts) in self.load.iter().enumerate() {
            let sum: usize = experts.iter().sum::<usize>().max(1);
            for (e, count) in experts.iter().enumerate() {
                let share = *count as f64 / sum as f64;
                let _ = write!(
                    bars,
                    "<rect x={} y={:.1} width=18 height={:.1} fill='#1f6f5c'/>",
                    10 + l * 190 + e * 21,
                    110.0 - share * 300.0,
                    share * 300.0
                );
            }
        }
        format!(
            "<svg viewBox='0 0 800 120' role=img aria-label='Expert load'><rect width=800 height=120 fill='#f4f4f2'/>{bars}</svg>"
        )
    }
}

/// Writes a file whole or not at all.
pub(super) fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
    let (path, draft) = (folder.join(name), folder.join(format!("{name}.part")));
    let fail = |source| TrainError::Io { path: path.display().to_string(), source };
    std::fs::write(&draft, bytes).map_err(fail)?;
    std::fs::rename(&draft, &path).map_err(fail)
}

/// Writes weights and moments.
pub(super) fn write_state(
    folder: &Path,
    weights: &[f32],
    adam: &Adam,
    spent: f64,
) -> Result<(), TrainError> {
    let mut bytes = Vec::with_capacity(weights.len() * 12 + 12);
    bytes.extend(adam.step.to_le_bytes());
    bytes.extend(spent.to_le_bytes());
    for values in [weights, &adam.first, &adam.second] {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    put(folder, STATE, &bytes)
}

/// Reads what [`write_state`] wrote for a model of `len` weights.
pub(super) fn read_state(folder: &Path, len: usize) -> Result<(Vec<f32>, Adam, f64), TrainError> {
    let path = folder.join(STATE);
    let bytes = std::fs::read(&path)
        .map_err(|source| TrainError::Io { path: path.display().to_string(), source })?;
    let damaged = || TrainError::Shape(format!("{STATE} does not fit the planner beside it"));
    let (head, body) = bytes.split_at_checked(12).ok_or_else(damaged)?;
    let step = i32::from_le_bytes(head[..4].try_into().map_err(|_| damaged())?);
    let spent = f64::from_le_bytes(head[4..].try_into().map_err(|_| damaged())?);
    if body.len() != len * 12 {
        return Err(damaged());
    }
    let mut values = body.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let mut take = || values.by_ref().take(len).collect::<Vec<f32>>();
    let (weights, first, second) = (take(), take(), take());
    Ok((weights, Adam { first, second, step }, spent))
}
