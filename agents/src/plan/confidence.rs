//! How sure a planner may say it is, and below what it should not act alone.
//!
//! A planner's score (the least probability among the tokens that it chose) orders plans well but is
//! no probability of being right. [`Calibration`] turns it into one by isotonic regression on requests
//! that the planner never saw, and [`Selective`] measures what refusing the least sure plans buys.
//!
//! # Source
//! Zadrozny and Elkan, *Transforming classifier scores into accurate multiclass probability
//! estimates*, KDD 2002 (isotonic regression by pooling adjacent violators); Guo, Pleiss, Sun and
//! Weinberger, *On calibration of modern neural networks*, ICML 2017 (expected calibration error,
//! equation 3); El-Yaniv and Wiener, *On the foundations of noise-free selective classification*,
//! JMLR 11 (2010) (risk and coverage); Geifman, Uziel and El-Yaniv, *Bias-reduced uncertainty
//! estimation for deep neural classifiers*, ICLR 2019 (area under the risk-coverage curve).

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Fewest examples that a calibration is fitted on.
pub const FEWEST: usize = 50;

/// Share of wrong plans among those that are acted on, for the default threshold.
pub const RISK: f64 = 0.05;

/// Most blocks that isotonic regression starts from; each then holds enough examples to be a share.
const BLOCKS: usize = 40;

/// Bins of equal width of the expected calibration error.
const BINS: usize = 10;

/// Most points of a curve that is shown.
const POINTS: usize = 100;

/// A plan whose truth is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Graded {
    /// How sure the planner was: its score, or a calibrated confidence.
    pub score: f64,
    /// Whether the plan was right.
    pub right: bool,
}

/// Why no calibration was fitted or read.
#[derive(Debug, Error)]
pub enum CalibrationError {
    /// Too little to learn from.
    #[error("a calibration needs at least {FEWEST} graded plans; there are {0}")]
    TooFew(usize),
    /// The file is not one.
    #[error("calibration.json cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The numbers break what must hold.
    #[error("calibration.json does not hold: {0}; fit it again with `tessera model calibrate`")]
    Broken(&'static str),
}

/// A place of the calibration curve: a block of plans.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Knot {
    /// Plans in it.
    pub plans: usize,
    /// Their mean score.
    pub score: f64,
    /// Share of right plans in it.
    pub right: f64,
}

/// From scores to probabilities, and the threshold that goes with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// SHA-256 of the planner's files, hexadecimal; another planner needs another calibration.
    pub planner_sha256: String,
    /// Graded plans that it was fitted on.
    pub examples: usize,
    /// Of these, right ones.
    pub right: usize,
    /// The curve, its scores rising and its shares never falling.
    pub knots: Vec<Knot>,
    /// Confidence below which a plan is not acted on, where the tenant says nothing.
    pub abstain_below: f64,
    /// Share of wrong plans that the threshold was chosen for.
    pub risk: f64,
    /// Share of the examples that it lets through.
    pub coverage: f64,
}

impl Calibration {
    /// Fits a planner's scores. The threshold is the lowest confidence at which, among the examples
    /// that are at least as sure, the share of wrong ones is at most `risk`; 1 where there is none.
    ///
    /// # Errors
    /// [`CalibrationError::TooFew`].
    pub fn fit(
        planner_sha256: &str,
        graded: &[Graded],
        risk: f64,
    ) -> Result<Self, CalibrationError> {
        if graded.len() < FEWEST {
            return Err(CalibrationError::TooFew(graded.len()));
        }
        let mut fitted = Self {
            planner_sha256: planner_sha256.to_owned(),
            examples: graded.len(),
            right: graded.iter().filter(|one| one.right).count(),
            knots: tempered(isotonic(graded, graded.len().div_ceil(BLOCKS))),
            abstain_below: 0.0,
            risk,
            coverage: 1.0,
        };
        let confident: Vec<Graded> = graded
            .iter()
            .map(|one| Graded { score: fitted.of_score(one.score), right: one.right })
            .collect();
        let allowed = curve(&confident).into_iter().rfind(|point| point.risk <= risk);
        (fitted.abstain_below, fitted.coverage) = match allowed {
            // Nothing needs to be held back.
            Some(point) if point.coverage >= 1.0 => (0.0, 1.0),
            Some(point) => (point.threshold, point.coverage),
            None => (1.0, 0.0),
        };
        Ok(fitted)
    }

    /// Returns the probability that a plan of this score is right.
    pub fn confidence(&self, score: f32) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "a probability")]
        let confidence = self.of_score(f64::from(score)) as f32;
        confidence
    }

    /// Interpolates between the knots; beyond the last ones the curve is level.
    fn of_score(&self, score: f64) -> f64 {
        let after = self.knots.partition_point(|knot| knot.score < score);
        match (after.checked_sub(1).and_then(|i| self.knots.get(i)), self.knots.get(after)) {
            (Some(a), Some(b)) => {
                a.right + (b.right - a.right) * (score - a.score) / (b.score - a.score)
            }
            (Some(end), None) | (None, Some(end)) => end.right,
            (None, None) => score,
        }
    }

    /// Reads `calibration.json`.
    ///
    /// # Errors
    /// [`CalibrationError::Json`]; [`CalibrationError::Broken`] ⇐ a curve that falls, or a number
    /// that is no share.
    pub fn from_json(bytes: &[u8]) -> Result<Self, CalibrationError> {
        let read: Self = serde_json::from_slice(bytes)?;
        let share = |value: f64| (0.0..=1.0).contains(&value);
        if read.knots.is_empty() || !read.knots.iter().all(|k| share(k.score) && share(k.right)) {
            return Err(CalibrationError::Broken("its knots are no shares"));
        }
        let rising =
            |pair: &[Knot]| pair[0].score < pair[1].score && pair[0].right <= pair[1].right;
        if !read.knots.windows(2).all(rising) {
            return Err(CalibrationError::Broken("its curve falls"));
        }
        if !share(read.abstain_below) {
            return Err(CalibrationError::Broken("its threshold is no share"));
        }
        Ok(read)
    }

    /// Returns the text of `calibration.json`.
    pub fn to_json(&self) -> String {
        // Numbers and texts alone: their JSON cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// Isotonic regression: the non-decreasing step curve with the least squared error. Examples enter in
/// blocks of at least `smallest`; equal scores share a block.
fn isotonic(graded: &[Graded], smallest: usize) -> Vec<Knot> {
    #[derive(Clone, Copy)]
    struct Block {
        examples: f64,
        score: f64,
        right: f64,
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for group in by_score(graded).chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()) {
        let own = Block {
            examples: group.len() as f64,
            score: group.iter().map(|one| one.score).sum(),
            right: group.iter().filter(|one| one.right).count() as f64,
        };
        match blocks.last_mut().filter(|_| open) {
            Some(last) => {
                last.examples += own.examples;
                last.score += own.score;
                last.right += own.right;
            }
            None => blocks.push(own),
        }
        open = blocks.last().is_some_and(|last| last.examples < smallest as f64);
    }
    let share = |block: &Block| block.right / block.examples;
    let mut pooled: Vec<Block> = Vec::new();
    for block in blocks {
        pooled.push(block);
        while let [.., before, last] = pooled.as_slice()
            && share(before) >= share(last)
        {
            let last = *last;
            pooled.pop();
            if let Some(before) = pooled.last_mut() {
                before.examples += last.examples;
                before.score += last.score;
                before.right += last.right;
            }
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let knot = |b: &Block| Knot {
        plans: b.examples as usize,
        score: b.score / b.examples,
        right: share(b),
    };
    pooled.iter().map(knot).collect()
}

/// Takes certainty from the ends of the curve, since no number of right plans makes the next one
/// certain: by Laplace's rule of succession, but never past the neighbouring block.
fn tempered(mut knots: Vec<Knot>) -> Vec<Knot> {
    let succession =
        |knot: &Knot| (knot.right * knot.plans as f64 + 1.0) / (knot.plans as f64 + 2.0);
    let last = knots.len().saturating_sub(1);
    for at in [0, last] {
        let below = at.checked_sub(1).and_then(|i| knots.get(i)).map_or(0.0, |knot| knot.right);
        let above = knots.get(at + 1).map_or(1.0, |knot| knot.right);
        if let Some(knot) = knots.get_mut(at).filter(|k| k.right <= 0.0 || k.right >= 1.0) {
            knot.right = succession(knot).clamp(below, above);
        }
    }
    knots
}

fn by_score(graded: &[Graded]) -> Vec<Graded> {
    let mut sorted = graded.to_vec();
    sorted.sort_by(|a, b| a.score.total_cmp(&b.score));
    sorted
}

/// A threshold, and what comes of acting only on plans that are at least as sure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Least confidence that is acted on.
    pub threshold: f64,
    /// Share of the plans that are acted on.
    pub coverage: f64,
    /// Share of wrong plans among these.
    pub risk: f64,
}

/// The risk-coverage curve: a point for each confidence that occurs, the surest first.
fn curve(graded: &[Graded]) -> Vec<Point> {
    let mut sorted = by_score(graded);
    sorted.reverse();
    let (mut taken, mut wrong) = (0.0, 0.0);
    sorted
        .chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq())
        .map(|group| {
            taken += group.len() as f64;
            wrong += group.iter().filter(|one| !one.right).count() as f64;
            Point {
                threshold: group[0].score,
                coverage: taken / graded.len() as f64,
                risk: wrong / taken,
            }
        })
        .collect()
}

/// A bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Plans in it.
    pub plans: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// Their share of right ones.
    pub right: f64,
}

/// What refusing the least sure plans buys, and whether the planner knows how sure it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selective {
    /// The risk-coverage curve, from the surest plans to all; thinned where it is long.
    pub curve: Vec<Point>,
    /// Area under the curve: the mean risk over all coverages. Lower is better; ranking at random
    /// gives the overall share of wrong plans.
    pub aurc: f64,
    /// The least area that any ranking of these plans has.
    pub aurc_best: f64,
    /// Expected calibration error over ten bins.
    pub ece: f64,
    /// The bins that hold plans.
    pub bins: Vec<Bin>,
}

impl Selective {
    /// Measures graded plans; `None` where there is none.
    pub fn of(graded: &[Graded]) -> Option<Self> {
        if graded.is_empty() {
            return None;
        }
        let full = curve(graded);
        let n = graded.len() as f64;
        // Plans of equal confidence are acted on together, so each has the risk of its group's end.
        let mut before = 0.0;
        let aurc = full
            .iter()
            .map(|point| {
                let width = point.coverage - before;
                before = point.coverage;
                point.risk * width
            })
            .sum();
        let right = graded.iter().filter(|one| one.right).count();
        let best = |i: usize| i.saturating_sub(right) as f64 / i as f64;
        let aurc_best = (1..=graded.len()).map(best).sum::<f64>() / n;
        let bins = bins(graded);
        let gap = |bin: &Bin| bin.plans as f64 * (bin.confidence - bin.right).abs();
        let ece = bins.iter().map(gap).sum::<f64>() / n;
        Some(Self { curve: thinned(full), aurc, aurc_best, ece, bins })
    }

    /// Returns the risk of acting on at least this share of the plans.
    pub fn risk_at(&self, coverage: f64) -> f64 {
        let point = self.curve.iter().find(|point| point.coverage >= coverage - 1e-9);
        point.map_or(0.0, |point| point.risk)
    }
}

fn thinned(full: Vec<Point>) -> Vec<Point> {
    let last = full.len().saturating_sub(1);
    let step = full.len().div_ceil(POINTS).max(1);
    let kept = full.into_iter().enumerate().filter(|(i, _)| i % step == 0 || *i == last);
    kept.map(|(_, point)| point).collect()
}

fn bins(graded: &[Graded]) -> Vec<Bin> {
    let mut sums = [(0usize, 0.0, 0usize); BINS];
    for one in graded {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a bin from 0 to 9"
        )]
        let bin = ((one.score.clamp(0.0, 1.0) * BINS as f64) as usize).min(BINS - 1);
        sums[bin].0 += 1;
        sums[bin].1 += one.score;
        sums[bin].2 += usize::from(one.right);
    }
    let filled = sums.into_iter().filter(|(plans, _, _)| *plans > 0);
    filled
        .map(|(plans, confidence, right)| Bin {
            plans,
            confidence: confidence / plans as f64,
            right: right as f64 / plans as f64,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graded(all: &[(f64, bool)]) -> Vec<Graded> {
        all.iter().map(|(score, right)| Graded { score: *score, right: *right }).collect()
    }

    #[test]
    fn pooling_gives_the_isotonic_means() {
        // 0 1 0 1 1 0 1: the falls are pooled into 0, 1/2, 2/3, 1.
        let all = graded(&[
            (0.1, false),
            (0.2, true),
            (0.3, false),
            (0.4, true),
            (0.5, true),
            (0.6, false),
            (0.7, true),
        ]);
        let knots = isotonic(&all, 1);
        let shares: Vec<f64> = knots.iter().map(|knot| knot.right).collect();
        assert_eq!(shares, [0.0, 0.5, 2.0 / 3.0, 1.0]);
        assert!((knots[1].score - 0.25).abs() < 1e-12 && (knots[2].score - 0.5).abs() < 1e-12);
        // Equal scores are one block, whatever their order.
        let tied = isotonic(&graded(&[(0.5, true), (0.5, false), (0.5, false), (0.5, true)]), 1);
        assert_eq!(tied, [Knot { plans: 4, score: 0.5, right: 0.5 }]);
    }

    /// Of each ten plans of one score, as many right as the score's tenth says.
    fn honest() -> Vec<Graded> {
        let tens = [2usize, 5, 9, 10];
        tens.iter()
            .flat_map(|right| {
                let score = *right as f64 / 10.0;
                (0..200).map(move |i| Graded { score, right: i % 10 < *right })
            })
            .collect()
    }

    #[test]
    fn the_threshold_is_the_lowest_that_keeps_the_risk() {
        let all = honest();
        // Acting on 1.0 and 0.9 errs in 20 of 400; adding 0.5 errs in 120 of 600.
        let fitted = Calibration::fit("sha", &all, 0.05).unwrap();
        assert!((fitted.abstain_below - 0.9).abs() < 1e-12, "{fitted:?}");
        assert!((fitted.coverage - 0.5).abs() < 1e-12);
        assert!((fitted.confidence(0.5) - 0.5).abs() < 1e-6);
        assert!((fitted.confidence(0.7) - 0.7).abs() < 1e-6, "between two knots");
        assert!((fitted.confidence(0.0) - 0.2).abs() < 1e-6, "level beyond the ends");
        let top = f64::from(fitted.confidence(1.0));
        assert!((top - 201.0 / 202.0).abs() < 1e-6, "200 right ones of 200 are no certainty");
        assert_eq!(Calibration::fit("sha", &all, 0.5).unwrap().abstain_below, 0.0);
        let wrong: Vec<Graded> = all.iter().map(|one| Graded { right: false, ..*one }).collect();
        let none = Calibration::fit("sha", &wrong, 0.05).unwrap();
        assert_eq!((none.abstain_below, none.coverage), (1.0, 0.0));
        assert!(matches!(
            Calibration::fit("sha", &all[..FEWEST - 1], 0.05),
            Err(CalibrationError::TooFew(49))
        ));
    }

    #[test]
    fn the_figures_of_a_ranking_are_those_worked_by_hand() {
        // Surest first: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 1/2.
        let all = graded(&[(0.9, true), (0.8, false), (0.7, true), (0.6, false)]);
        let found = Selective::of(&all).unwrap();
        let risks: Vec<f64> = found.curve.iter().map(|point| point.risk).collect();
        assert_eq!(risks, [0.0, 0.5, 1.0 / 3.0, 0.5]);
        assert!((found.aurc - (0.5 + 1.0 / 3.0 + 0.5) / 4.0).abs() < 1e-12);
        // The best ranking has both right ones first: risks 0, 0, 1/3, 1/2.
        assert!((found.aurc_best - (1.0 / 3.0 + 0.5) / 4.0).abs() < 1e-12);
        assert!((found.ece - (0.1 + 0.8 + 0.3 + 0.6) / 4.0).abs() < 1e-12);
        assert!((found.risk_at(0.5) - 0.5).abs() < 1e-12);
        assert!((found.risk_at(0.25)).abs() < 1e-12);
        assert!(Selective::of(&[]).is_none());
        assert!(Selective::of(&honest()).unwrap().ece < 1e-12);
    }

    #[test]
    fn a_calibration_is_read_back_and_a_broken_one_is_refused() {
        let fitted = Calibration::fit("sha", &honest(), RISK).unwrap();
        assert_eq!(Calibration::from_json(fitted.to_json().as_bytes()).unwrap(), fitted);
        let falling = fitted.to_json().replacen("\"right\": 0.2", "\"right\": 0.99", 1);
        assert!(matches!(
            Calibration::from_json(falling.as_bytes()),
            Err(CalibrationError::Broken("its curve falls"))
        ));
        assert!(matches!(Calibration::from_json(b"{}"), Err(CalibrationError::Json(_))));
    }

    proptest! {
        #[test]
        fn a_surer_score_never_means_less(all in prop::collection::vec((0.0f64..=1.0, any::<bool>()), 50..300),
                                          a in 0.0f32..=1.0, b in 0.0f32..=1.0) {
            let all = graded(&all);
            let fitted = Calibration::fit("", &all, RISK).unwrap();
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(fitted.confidence(low) <= fitted.confidence(high) + 1e-6);
            prop_assert!((0.0..=1.0).contains(&fitted.confidence(a)));
            let again = Calibration::from_json(fitted.to_json().as_bytes()).unwrap();
            prop_assert_eq!(again, fitted);
        }

        #[test]
        fn no_ranking_beats_the_best(all in prop::collection::vec((0.0f64..=1.0, any::<bool>()), 1..200)) {
            let all = graded(&all);
            let found = Selective::of(&all).unwrap();
            prop_assert!(found.aurc >= found.aurc_best - 1e-12 && found.aurc <= 1.0);
            prop_assert!(found.curve.len() <= POINTS + 1);
            let end = found.curve.last().unwrap();
            let wrong = all.iter().filter(|one| !one.right).count() as f64 / all.len() as f64;
            prop_assert!((end.coverage - 1.0).abs() < 1e-9 && (end.risk - wrong).abs() < 1e-9);
        }
    }
}
