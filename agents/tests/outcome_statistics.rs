//! The statistics of read-outs against known answers and against simulated truth.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use agents::outcome::adjust::{cuped, linear, quantile, winsorised};
use agents::outcome::bootstrap::bootstrap;
use agents::outcome::check::{holm, sample_ratio};
use agents::outcome::sample::{Difference, Sample, paired, welch};
use agents::outcome::sequence::always_valid;
use agents::outcome::simulate::{self, Design};
use serde::Deserialize;

/// Experiments of each design.
const EXPERIMENTS: u64 = 2_000;

#[derive(Deserialize)]
struct Expect {
    estimate: f64,
    low: f64,
    high: f64,
    p: f64,
    freedom: Option<f64>,
}

#[derive(Deserialize)]
struct Arms<T> {
    control: Vec<T>,
    treatment: Vec<T>,
    expect: Expect,
    #[serde(default)]
    theta: f64,
    #[serde(default)]
    explained: f64,
    #[serde(default)]
    ratios: [f64; 2],
    #[serde(default)]
    share: f64,
    #[serde(default)]
    cap: f64,
    #[serde(default)]
    times: usize,
    #[serde(default)]
    seed: u64,
}

#[derive(Deserialize)]
struct RatioTest {
    control: f64,
    treatment: f64,
    share: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Family {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct Look {
    estimate: f64,
    error: f64,
    units: f64,
    planned: f64,
    low: f64,
    high: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Pairs {
    differences: Vec<f64>,
    expect: Expect,
}

#[derive(Deserialize)]
struct Known {
    means: Vec<Arms<f64>>,
    cuped: Vec<Arms<(f64, f64)>>,
    ratios: Vec<Arms<(f64, f64)>>,
    heavy: Arms<f64>,
    bootstrap: Arms<f64>,
    ratio_tests: Vec<RatioTest>,
    families: Vec<Family>,
    sequences: Vec<Look>,
    pairs: Pairs,
}

fn known() -> Known {
    serde_json::from_str(include_str!("outcome/stats.json")).unwrap()
}

fn near(found: f64, expected: f64, what: &str) {
    let off = (found - expected).abs();
    assert!(off < 1e-6 * expected.abs().max(1.0), "{what}: {found}, expected {expected}");
}

fn agrees(found: &Difference, expected: &Expect, what: &str) {
    near(found.estimate, expected.estimate, what);
    near(found.low, expected.low, what);
    near(found.high, expected.high, what);
    near(found.p, expected.p, what);
    match (found.freedom, expected.freedom) {
        (Some(found), Some(expected)) => near(found, expected, what),
        (found, expected) => assert_eq!(found, expected, "{what}"),
    }
}

fn read(control: &[f64], treatment: &[f64]) -> Difference {
    let sample = |values: &[f64]| values.iter().copied().collect::<Sample>();
    welch(&sample(control), &sample(treatment), 0.05).unwrap()
}

#[test]
fn means_and_pairs_agree_with_scipy_and_statsmodels() {
    let known = known();
    for case in &known.means {
        agrees(&read(&case.control, &case.treatment), &case.expect, "means");
    }
    agrees(&paired(&known.pairs.differences, 0.05).unwrap(), &known.pairs.expect, "pairs");
}

#[test]
fn the_covariate_takes_out_what_a_regression_does() {
    for case in &known().cuped {
        let adjusted = cuped(&case.control, &case.treatment);
        near(adjusted.theta, case.theta, "theta");
        near(adjusted.explained, case.explained, "explained");
        agrees(&read(&adjusted.control, &adjusted.treatment), &case.expect, "cuped");
    }
}

#[test]
fn ratios_have_the_variance_of_the_delta_method() {
    for case in &known().ratios {
        let (control, treatment) =
            (linear(&case.control).unwrap(), linear(&case.treatment).unwrap());
        let mean = |values: &[f64]| values.iter().copied().collect::<Sample>().mean;
        near(mean(&control), case.ratios[0], "ratio of control");
        near(mean(&treatment), case.ratios[1], "ratio of treatment");
        agrees(&read(&control, &treatment), &case.expect, "ratio");
    }
}

#[test]
fn caps_and_redrawn_experiments_agree() {
    let Known { heavy, bootstrap: drawn, .. } = known();
    let all: Vec<f64> = heavy.control.iter().chain(&heavy.treatment).copied().collect();
    near(quantile(&all, heavy.share).unwrap(), heavy.cap, "cap");
    let (control, treatment) =
        (winsorised(&heavy.control, heavy.cap), winsorised(&heavy.treatment, heavy.cap));
    agrees(&read(&control, &treatment), &heavy.expect, "winsorised");
    let found = bootstrap(&drawn.control, &drawn.treatment, drawn.times, drawn.seed, 0.05).unwrap();
    agrees(&found, &drawn.expect, "bootstrap");
}

#[test]
fn checks_families_and_sequences_agree() {
    let known = known();
    for case in &known.ratio_tests {
        near(sample_ratio(case.control, case.treatment, case.share), case.p, "sample ratio");
    }
    for case in &known.families {
        for (found, expected) in holm(&case.p).iter().zip(&case.adjusted) {
            near(*found, *expected, "Holm");
        }
    }
    for case in &known.sequences {
        let fixed = Difference::of(case.estimate, case.error, None, 0.05).unwrap();
        let look = always_valid(&fixed, case.units, case.planned, 0.05).unwrap();
        near(look.low, case.low, "sequence");
        near(look.high, case.high, "sequence");
        near(look.p, case.p, "sequence");
    }
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    for design in Design::ALL {
        let held = simulate::coverage(design, EXPERIMENTS, 1).unwrap();
        assert!((0.935..=0.965).contains(&held), "{}: {held}", design.name());
    }
}

#[test]
fn looking_every_day_finds_nothing_where_nothing_is() {
    let found = simulate::peeking(EXPERIMENTS, 2).unwrap();
    assert!(found.sequence < 0.05, "{found:?}");
    // The same looks at a fixed interval: the test would notice if looks were not looks.
    assert!(found.fixed > 0.15, "{found:?}");
}

#[test]
fn the_covariate_narrows_by_what_it_explains() {
    let left = simulate::narrowing(EXPERIMENTS, 3).unwrap();
    assert!((0.36..=0.44).contains(&left), "{left}");
}

#[test]
fn an_unbalanced_split_is_caught_and_a_balanced_one_is_not() {
    let (balanced, lost) = simulate::unbalanced(200, 4);
    assert!(balanced <= 0.01, "{balanced}");
    assert!(lost >= 0.99, "{lost}");
}
