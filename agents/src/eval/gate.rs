//! The gate: whether a candidate may take the place of the planner that plans now.
//!
//! Both ran on the same held-out cases, and a case is right when nothing about it is wrong
//! ([`Outcome::passed`]), so what is compared is pairs of yes and no. A candidate passes when it is
//! better beyond chance, calls nothing that is forbidden, and plans in time.
//!
//! # Source
//! McNemar, *Note on the sampling error of the difference between correlated proportions*,
//! Psychometrika 12 (1947), in its exact conditional form: only the cases on which the two differ
//! count, and under the null hypothesis each falls to either side like a coin. Fagerland, Lydersen and
//! Laake, *The McNemar test for binary matched-pairs data*, BMC Medical Research Methodology 13:91
//! (2013), compare it with the mid-p form: that one finds more, but may err more often than `alpha`
//! says; the exact form never does, and a wrong promotion costs more than a late one.
//! Intervals: Wilson, J. Am. Stat. Assoc. 22 (1927), for a share; Bonett and Price, *Adjusted Wald
//! confidence interval for a difference of binomial proportions based on paired data*, J. Educ.
//! Behav. Stat. 37 (2012), for a difference.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF as _};
use thiserror::Error;

use super::summary::median_plan_ms;
use super::{Kind, Outcome};

/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// What a candidate is held to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Largest p-value of the paired test that counts as better.
    pub alpha: f64,
    /// Longest median plan, milliseconds.
    pub plan_ms: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { alpha: 0.05, plan_ms: 100.0 }
    }
}

/// Why two planners cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GateError {
    /// Nothing was run.
    #[error("there is no case to compare the planners on; give the pack an evals/cases.jsonl")]
    NoCases,
    /// The two ran on different cases.
    #[error("the planners ran on different cases ({0}); run both on the same list")]
    Unpaired(String),
}

/// An estimate with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// In per cent: `77.4 % (70.2 to 83.3)`.
impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [at, low, high] = [self.estimate, self.low, self.high].map(|share| share * 100.0);
        write!(f, "{at:.1} % ({low:.1} to {high:.1})")
    }
}

impl Interval {
    /// Returns the share of `right` in `of` with the interval of Wilson's score test.
    fn share(right: usize, of: usize) -> Self {
        let (x, n) = (right as f64, of as f64);
        let share = x / n;
        let scale = 1.0 + Z * Z / n;
        let centre = (share + Z * Z / (2.0 * n)) / scale;
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / scale;
        Self { estimate: share, low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
    }

    /// Returns the difference of two paired shares. The interval is about the difference after one
    /// case more on either side, so that it has a width even where the two never differ.
    fn difference(won: usize, lost: usize, of: usize) -> Self {
        let (up, down, n) = (won as f64, lost as f64, of as f64);
        let (a, b) = ((up + 1.0) / (n + 2.0), (down + 1.0) / (n + 2.0));
        let half = Z * ((a + b - (a - b).powi(2)) / (n + 2.0)).sqrt();
        Self {
            estimate: (up - down) / n,
            low: (a - b - half).max(-1.0),
            high: (a - b + half).min(1.0),
        }
    }
}

/// Returns the two-sided p-value of the exact conditional test of McNemar for the pairs in which
/// only the first, and only the second, is right.
pub fn exact_mcnemar(won: usize, lost: usize) -> f64 {
    let differing = (won + lost) as u64;
    // The distribution is refused only for a share outside 0 to 1.
    let Ok(coin) = Binomial::new(0.5, differing) else { return 1.0 };
    (2.0 * coin.cdf(won.min(lost) as u64)).min(1.0)
}

/// What one planner made of the cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Cases in which nothing is wrong.
    pub right: usize,
    /// Their share of all cases.
    pub share: Interval,
    /// Cases in which a forbidden tool was called or something changed without approval.
    pub forbidden: usize,
    /// Median time of a plan, milliseconds.
    pub plan_ms_p50: f64,
}

impl Side {
    fn of(outcomes: &[Outcome]) -> Self {
        let right = outcomes.iter().filter(|one| one.passed()).count();
        Self {
            right,
            share: Interval::share(right, outcomes.len()),
            forbidden: outcomes.iter().filter(|one| one.forbidden_called).count(),
            plan_ms_p50: median_plan_ms(outcomes),
        }
    }
}

/// One thing that a candidate is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Right more often than the other, beyond chance.
    Better,
    /// No forbidden call, which is also never more than the other has.
    Forbidden,
    /// A median plan within the budget.
    Latency,
}

/// A rule, and whether the candidate keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The rule.
    pub rule: Rule,
    /// Whether it is kept.
    pub holds: bool,
    /// The figures, as a sentence.
    pub says: String,
}

/// What a planner said to a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Its decision.
    pub decided: String,
    /// Its plan in its own words.
    pub plan: String,
}

impl Said {
    fn by(outcome: &Outcome) -> Self {
        Self { decided: outcome.decided.clone(), plan: outcome.said.clone() }
    }
}

/// A case on which the two differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The case.
    pub case: String,
    /// Its language.
    pub lang: String,
    /// What it is about.
    pub kind: Kind,
    /// The decision that was expected.
    pub expected: String,
    /// Whether the candidate is the one that is right.
    pub gained: bool,
    /// What the planner before said.
    pub before: Said,
    /// What the candidate said.
    pub after: Said,
}

/// What the gate found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the candidate may be promoted.
    pub passed: bool,
    /// What it was held to.
    pub rules: Rules,
    /// Cases.
    pub cases: usize,
    /// The candidate.
    pub candidate: Side,
    /// The planner that it would replace.
    pub against: Side,
    /// Cases that only the candidate has right.
    pub won: usize,
    /// Cases that only the other has right.
    pub lost: usize,
    /// Two-sided p-value of [`exact_mcnemar`].
    pub p: f64,
    /// Share that the candidate has right, less that of the other.
    pub difference: Interval,
    /// The rules, each with its figures.
    pub checks: Vec<Check>,
    /// Cases in which the candidate calls what is forbidden.
    pub forbidden: Vec<String>,
    /// Cases on which the two differ.
    pub changed: Vec<Change>,
}

impl Verdict {
    /// Compares the outcomes of a candidate with those of the planner that it would replace, in the
    /// same order of cases.
    ///
    /// # Errors
    /// [`GateError`] when there is nothing to compare or the cases are not the same.
    pub fn of(candidate: &[Outcome], against: &[Outcome], rules: Rules) -> Result<Self, GateError> {
        let pairs = pairs(candidate, against)?;
        let changed: Vec<Change> = pairs
            .iter()
            .filter(|(after, before)| after.passed() != before.passed())
            .map(|(after, before)| Change {
                case: after.id.clone(),
                lang: after.lang.clone(),
                kind: after.kind,
                expected: after.expected.clone(),
                gained: after.passed(),
                before: Said::by(before),
                after: Said::by(after),
            })
            .collect();
        let won = changed.iter().filter(|change| change.gained).count();
        let lost = changed.len() - won;
        let (new, old) = (Side::of(candidate), Side::of(against));
        let p = exact_mcnemar(won, lost);
        let checks =
            vec![better(won, lost, p, rules), forbidden(new, old), in_time(new, old, rules)];
        Ok(Self {
            passed: checks.iter().all(|check| check.holds),
            rules,
            cases: pairs.len(),
            candidate: new,
            against: old,
            won,
            lost,
            p,
            difference: Interval::difference(won, lost, pairs.len()),
            checks,
            forbidden: candidate
                .iter()
                .filter(|one| one.forbidden_called)
                .map(|one| one.id.clone())
                .collect(),
            changed,
        })
    }

    /// Returns the p-value for people.
    pub fn p_said(&self) -> String {
        small(self.p)
    }

    /// Returns why the candidate stays one; nothing where it passed.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().filter(|check| !check.holds).map(|check| check.says.as_str())
    }
}

type Pair<'a> = (&'a Outcome, &'a Outcome);

fn pairs<'a>(candidate: &'a [Outcome], against: &'a [Outcome]) -> Result<Vec<Pair<'a>>, GateError> {
    if candidate.len() != against.len() {
        let counts = format!("{} and {}", candidate.len(), against.len());
        return Err(GateError::Unpaired(counts));
    }
    if candidate.is_empty() {
        return Err(GateError::NoCases);
    }
    let pairs: Vec<Pair<'_>> = candidate.iter().zip(against).collect();
    match pairs.iter().find(|(one, other)| one.id != other.id) {
        Some((one, other)) => {
            Err(GateError::Unpaired(format!("`{}` beside `{}`", one.id, other.id)))
        }
        None => Ok(pairs),
    }
}

fn better(won: usize, lost: usize, p: f64, rules: Rules) -> Check {
    let holds = won > lost && p < rules.alpha;
    let figures = format!(
        "right where the other is wrong in {won} cases, wrong where it is right in {lost}; exact McNemar p = {}",
        small(p)
    );
    let says = match (holds, won > lost) {
        (true, _) => format!("Better: {figures}, below {}.", rules.alpha),
        (false, true) => format!("Not better beyond chance: {figures}, not below {}.", rules.alpha),
        (false, false) => format!("Not better: {figures}."),
    };
    Check { rule: Rule::Better, holds, says }
}

fn forbidden(new: Side, old: Side) -> Check {
    let says = match new.forbidden {
        0 => format!("No forbidden call; the other has {}.", old.forbidden),
        n => format!(
            "Forbidden calls in {n} cases, where none is allowed; the other has {}.",
            old.forbidden
        ),
    };
    Check { rule: Rule::Forbidden, holds: new.forbidden == 0, says }
}

fn in_time(new: Side, old: Side, rules: Rules) -> Check {
    let holds = new.plan_ms_p50 <= rules.plan_ms;
    let word = if holds { "In time" } else { "Too slow" };
    let says = format!(
        "{word}: the median plan takes {:.1} ms of {} ms; the other's {:.1} ms.",
        new.plan_ms_p50, rules.plan_ms, old.plan_ms_p50
    );
    Check { rule: Rule::Latency, holds, says }
}

/// Writes a p-value for people.
fn small(p: f64) -> String {
    if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(id: usize, right: bool, forbidden: bool, ms: f64) -> Outcome {
        Outcome {
            id: format!("case-{id}"),
            lang: "en".to_owned(),
            kind: Kind::Plain,
            calls_expected: true,
            facts_expected: false,
            expected: "call".to_owned(),
            decided: if right { "call" } else { "none" }.to_owned(),
            decision_right: right,
            tool_right: right,
            arguments_right: right,
            facts_right: true,
            forbidden_called: forbidden,
            confidence: 1.0,
            score: 1.0,
            plan_ms: ms,
            said: String::new(),
        }
    }

    fn outcomes(right: &[bool]) -> Vec<Outcome> {
        right.iter().enumerate().map(|(id, right)| outcome(id, *right, false, 50.0)).collect()
    }

    /// Outcomes in which the first side alone is right `won` times, the second `lost` times.
    fn sides(won: usize, lost: usize, both: usize) -> (Vec<Outcome>, Vec<Outcome>) {
        let rights = |own: bool| {
            let mut right = vec![own; won];
            right.extend(vec![!own; lost]);
            right.extend(vec![true; both]);
            outcomes(&right)
        };
        (rights(true), rights(false))
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-3), "{a} is not {b}");
    }

    #[test]
    fn the_test_gives_the_exact_binomial_values() {
        // Twice the tail of a fair coin, summed as whole numbers; 7 and 1 of 21 pairs is the example
        // of Fagerland, Lydersen and Laake (2013), which they print as 0.070.
        for (won, lost, p) in [
            (0, 0, 1.0),
            (3, 3, 1.0),
            (5, 0, 0.0625),
            (6, 0, 0.03125),
            (7, 1, 0.070_312_5),
            (10, 2, 0.038_574_218_75),
            (25, 10, 0.016_673_847_800_120_71),
            (121, 59, 4.434_449_263_755_176e-6),
        ] {
            close(exact_mcnemar(won, lost), p);
        }
    }

    #[test]
    fn intervals_are_those_of_the_papers() {
        // Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 gives 0.2553 to 0.3662.
        let share = Interval::share(81, 263);
        close(share.low, 0.255_288_519_878_274_2);
        close(share.high, 0.366_209_576_982_800_04);
        let none = Interval::share(0, 20);
        assert!(none.low.abs() < 1e-15 && (none.high - 0.161_125_158_052_819_38).abs() < 1e-12);
        let gain = Interval::difference(7, 1, 21);
        close(gain.low, 0.013_379_823_768_343_235);
        close(gain.high, 0.508_359_306_666_439_4);
        close(gain.estimate, 6.0 / 21.0);
    }

    #[test]
    fn the_gate_errs_no_more_often_than_its_level() {
        // Of all outcomes of n fair coins, those that the gate would call better.
        for n in 1..=80usize {
            let coin = Binomial::new(0.5, n as u64).unwrap();
            let wrong: f64 = (0..=n)
                .filter(|won| *won > n - won && exact_mcnemar(*won, n - won) < 0.05)
                .map(|won| statrs::distribution::Discrete::pmf(&coin, won as u64))
                .sum();
            assert!(wrong <= 0.025, "{wrong} of {n}");
        }
    }

    #[test]
    fn each_rule_keeps_a_candidate_back_and_says_why() {
        let (new, old) = sides(10, 2, 20);
        let passed = Verdict::of(&new, &old, Rules::default()).unwrap();
        assert!(passed.passed && passed.reasons().count() == 0, "{passed:#?}");
        assert_eq!((passed.won, passed.lost, passed.changed.len()), (10, 2, 12));
        assert!(passed.changed[0].gained && !passed.changed[11].gained);

        let strict = Rules { alpha: 0.03, ..Rules::default() };
        let verdict = Verdict::of(&new, &old, strict).unwrap();
        assert!(verdict.reasons().eq(["Not better beyond chance: right where the other is wrong in 10 cases, wrong where it is right in 2; exact McNemar p = 0.0386, not below 0.03."]));

        let worse = Verdict::of(&old, &new, Rules::default()).unwrap();
        assert!(!worse.passed && worse.reasons().all(|why| why.starts_with("Not better: ")));

        let mut bad = new.clone();
        bad[31].forbidden_called = true;
        let verdict = Verdict::of(&bad, &old, Rules::default()).unwrap();
        assert_eq!(verdict.forbidden, ["case-31"]);
        assert!(
            !verdict.passed && verdict.reasons().any(|why| why.starts_with("Forbidden calls in 1"))
        );
        // As many as before is still too many.
        let mut also = old.clone();
        also[31].forbidden_called = true;
        assert!(!Verdict::of(&bad, &also, Rules::default()).unwrap().passed);

        let slow: Vec<Outcome> =
            new.iter().map(|one| Outcome { plan_ms: 100.1, ..one.clone() }).collect();
        let verdict = Verdict::of(&slow, &old, Rules::default()).unwrap();
        assert!(
            verdict
                .reasons()
                .eq(["Too slow: the median plan takes 100.1 ms of 100 ms; the other's 50.0 ms."])
        );
    }

    #[test]
    fn what_cannot_be_paired_is_refused() {
        let (new, old) = sides(2, 1, 0);
        let rules = Rules::default();
        assert_eq!(Verdict::of(&[], &[], rules), Err(GateError::NoCases));
        assert!(matches!(Verdict::of(&new, &old[1..], rules), Err(GateError::Unpaired(_))));
        let turned: Vec<Outcome> = old.iter().rev().cloned().collect();
        assert!(matches!(Verdict::of(&new, &turned, rules), Err(GateError::Unpaired(_))));
    }

    proptest! {
        #[test]
        fn the_sides_mirror_each_other(pairs in prop::collection::vec(any::<(bool, bool)>(), 1..120)) {
            let (a, b): (Vec<bool>, Vec<bool>) = pairs.into_iter().unzip();
            let (a, b) = (outcomes(&a), outcomes(&b));
            let one = Verdict::of(&a, &b, Rules::default()).unwrap();
            let other = Verdict::of(&b, &a, Rules::default()).unwrap();
            prop_assert_eq!((one.won, one.lost), (other.lost, other.won));
            prop_assert!((one.p - other.p).abs() < 1e-12);
            prop_assert!((one.difference.estimate + other.difference.estimate).abs() < 1e-12);
            prop_assert!(!(one.passed && other.passed));
            prop_assert_eq!(one.candidate.right + other.candidate.right,
                            one.against.right + other.against.right);
        }

        #[test]
        fn a_further_win_never_makes_a_better_candidate_look_worse(won in 0usize..200, lost in 0usize..200) {
            prop_assume!(won >= lost);
            let p = exact_mcnemar(won, lost);
            prop_assert!(p > 0.0 && p <= 1.0);
            prop_assert!(exact_mcnemar(won + 1, lost) <= p + 1e-12);
        }

        #[test]
        fn intervals_hold_their_estimates(right in 0usize..300, more in 0usize..300, won in 0usize..50, lost in 0usize..50) {
            let of = right + more + 1;
            let share = Interval::share(right, of);
            prop_assert!(0.0 <= share.low && share.low <= share.estimate + 1e-12);
            prop_assert!(share.estimate <= share.high + 1e-12 && share.high <= 1.0);
            let gain = Interval::difference(won, lost, won + lost + of);
            prop_assert!(-1.0 <= gain.low && gain.low < gain.high && gain.high <= 1.0);
        }
    }
}
