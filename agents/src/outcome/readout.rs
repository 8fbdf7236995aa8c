//! What an experiment says: from observations to intervals, or to the reasons why there are none.
//!
//! The read-out is the same whoever computes it: units in order of their names, sums exact until the
//! statistics begin, redrawn units from the design's seed. The lower bound comes first, oriented so
//! that above zero is better whichever way the metric goes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::adjust::{WORTHWHILE, cuped, linear, winsorised};
use super::assign::{Arm, place};
use super::bootstrap::bootstrap;
use super::check::{RATIO_LIMIT, holm, sample_ratio};
use super::design::{Better, Design, Measure, Method, Metric, Reading};
use super::distribution::count;
use super::micros::Micros;
use super::sample::{Difference, Sample, StatError, paired, welch};
use super::sequence::{BURN_IN, always_valid};

/// Level of every interval: 95 %.
pub const ALPHA: f64 = 0.05;

/// Redrawn experiments behind a bootstrap interval.
const REDRAWN: usize = 1_000;

/// One measured value of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Identifier that the sender gave; the same one counts once.
    pub id: String,
    /// The unit.
    pub unit: String,
    /// KPI of the pack.
    pub metric: String,
    /// When it was measured.
    pub at: Timestamp,
    /// The value, or the numerator of a ratio.
    pub value: Micros,
    /// The denominator of a ratio.
    #[serde(default = "one")]
    pub weight: Micros,
}

fn one() -> Micros {
    Micros::ONE
}

/// Where a read-out stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The arms' sizes do not fit the plan: the units were not drawn as said, or some were lost.
    Blocked,
    /// A fixed horizon that has not ended.
    NotDue,
    /// Too little was observed.
    TooFew,
    /// There are figures.
    Read,
}

/// What may be concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Even the lower bound is at least the minimum effect.
    Reached,
    /// The lower bound is above zero, and below the minimum effect.
    Better,
    /// Zero lies inside the interval.
    Open,
    /// The upper bound is below zero.
    Worse,
}

/// What one metric says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReading {
    /// KPI.
    pub kpi: String,
    /// Improvement by treatment: the lower bound first, above zero is better.
    #[serde(flatten)]
    pub improvement: Difference,
    /// p-value after Holm's correction over the metrics of the design.
    pub p_adjusted: f64,
    /// The metric in control and in treatment, as observed.
    pub levels: [f64; 2],
    /// Share of variance that the covariate took out, where it was used.
    pub explained: Option<f64>,
    /// How the interval was made, in words.
    pub method: String,
    /// Least improvement worth having.
    pub minimum: Micros,
    /// What may be concluded.
    pub verdict: Verdict,
    /// Interval of the uncapped values by redrawing, where the metric has a cap.
    pub uncapped: Option<Difference>,
    /// What the improvement is multiplied by to be a total: treated units, their summed weights, or
    /// treated periods.
    pub volume: Micros,
}

/// What an experiment says at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadOut {
    /// SHA-256 of the design.
    pub design_sha256: String,
    /// Begin of what was read.
    pub from: Timestamp,
    /// End of what was read, exclusive.
    pub to: Timestamp,
    /// What the method is, in words.
    pub method: String,
    /// Whether a difference may be called an effect.
    pub causal: bool,
    /// Where it stands.
    pub standing: Standing,
    /// Why there are no figures, or what to mind.
    pub notes: Vec<String>,
    /// Units (or periods) in control and in treatment.
    pub units: [usize; 2],
    /// p-value of the arms' sizes against the plan.
    pub sample_ratio_p: Option<f64>,
    /// The figures, the primary metric first.
    pub metrics: Vec<MetricReading>,
}

impl ReadOut {
    /// Returns the figures of the metric that a design is judged by.
    pub fn primary(&self, design: &Design) -> Option<&MetricReading> {
        let first = design.metrics.first()?;
        self.metrics.iter().find(|metric| metric.kpi == first.kpi)
    }
}

/// The slice of time that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Begin.
    pub from: Timestamp,
    /// End, exclusive.
    pub to: Timestamp,
    /// A slice that was fixed beforehand, such as a month of a contract: it is read once, at its end,
    /// with the interval of a fixed horizon.
    pub fixed: bool,
}

/// Sums of one unit: before the start, and in the slice.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    before: (i128, i128),
    within: (i128, i128),
}

/// Units by name with their arm and the sums of one metric.
type Units<'a> = BTreeMap<&'a str, (Arm, Sums)>;

#[expect(clippy::cast_precision_loss, reason = "statistics are floating-point")]
fn float(micros: i128) -> f64 {
    micros as f64 / 1e6
}

fn pair(sums: (i128, i128)) -> (f64, f64) {
    (float(sums.0), float(sums.1))
}

/// Reads an experiment. `population` are the units that were enrolled; where nobody was, it is the
/// units with an observation in the window. `now` decides whether a fixed horizon has ended.
pub fn read_out(
    design: &Design,
    population: &[String],
    observations: &[Observation],
    slice: Option<Slice>,
    now: Timestamp,
) -> ReadOut {
    let (from, to) = slice.map_or((design.start, design.end.min(now)), |s| (s.from, s.to));
    let mut out = ReadOut {
        design_sha256: design.sha256(),
        from,
        to,
        method: design.method.label().to_owned(),
        causal: design.method.is_causal(),
        standing: Standing::Read,
        notes: Vec::new(),
        units: [0, 0],
        sample_ratio_p: None,
        metrics: Vec::new(),
    };
    let end = slice.map_or(design.end, |s| s.to);
    let fixed = slice.is_some_and(|s| s.fixed) || design.reading == Reading::Fixed;
    if design.method == Method::Randomised {
        let members = members(design, population, observations, from, to);
        balance(design, &members, &mut out);
        if due(fixed, end, now, &mut out) {
            for metric in &design.metrics {
                let units = sums(design, &members, observations, metric, from, to);
                keep(metric, randomised(design, metric, &units, fixed), &mut out);
            }
        }
    } else if due(fixed, end, now, &mut out) {
        for metric in &design.metrics {
            keep(metric, by_period(design, metric, observations, from, to), &mut out);
        }
    }
    finish(&mut out);
    out
}

fn due(fixed: bool, end: Timestamp, now: Timestamp, out: &mut ReadOut) -> bool {
    if out.standing != Standing::Read {
        return false;
    }
    if fixed && now < end {
        out.standing = Standing::NotDue;
        out.notes.push(format!("fixed horizon: the figures are read once, on {end}, not before"));
        return false;
    }
    true
}

fn members<'a>(
    design: &Design,
    population: &'a [String],
    observations: &'a [Observation],
    from: Timestamp,
    to: Timestamp,
) -> BTreeMap<&'a str, Arm> {
    let own = |unit: &'a str| (unit, design.arm(unit));
    if population.is_empty() {
        let seen = observations.iter().filter(|o| from <= o.at && o.at < to);
        return seen.map(|o| own(&o.unit)).collect();
    }
    population.iter().map(|unit| own(unit)).collect()
}

/// Counts the arms and stops the read-out where their sizes do not fit the plan.
fn balance(design: &Design, members: &BTreeMap<&str, Arm>, out: &mut ReadOut) {
    let treated = members.values().filter(|arm| **arm == Arm::Treatment).count();
    out.units = [members.len() - treated, treated];
    let share = 1.0 - design.holdout.float();
    let p = sample_ratio(count(out.units[0]), count(treated), share);
    out.sample_ratio_p = Some(p);
    if p < RATIO_LIMIT {
        out.standing = Standing::Blocked;
        out.notes.push(format!(
            "{} units in control and {treated} in treatment do not fit a holdout of {} (p = {p:.2e}): \
             units were lost or not assigned by this experiment. Find the cause; no figure is shown",
            out.units[0], design.holdout
        ));
    }
    if members.len() < design.planned_units as usize {
        out.notes.push(format!(
            "{} of {} planned units so far",
            members.len(),
            design.planned_units
        ));
    }
}

fn sums<'a>(
    design: &Design,
    members: &BTreeMap<&'a str, Arm>,
    observations: &[Observation],
    metric: &Metric,
    from: Timestamp,
    to: Timestamp,
) -> Units<'a> {
    let mut units: Units<'a> =
        members.iter().map(|(unit, arm)| (*unit, (*arm, Sums::default()))).collect();
    for one in observations.iter().filter(|o| o.metric == metric.kpi) {
        let Some((_, sums)) = units.get_mut(one.unit.as_str()) else { continue };
        let place = if one.at < design.start {
            &mut sums.before
        } else if from <= one.at && one.at < to {
            &mut sums.within
        } else {
            continue;
        };
        place.0 += i128::from(one.value.0);
        place.1 += i128::from(one.weight.0);
    }
    units
}

/// Values of the units of an arm in order of their names.
fn values<T>(units: &Units<'_>, arm: Arm, one: impl Fn(&Sums) -> T) -> Vec<T> {
    units.values().filter(|(a, _)| *a == arm).map(|(_, sums)| one(sums)).collect()
}

fn sample(values: &[f64]) -> Sample {
    values.iter().copied().collect()
}

/// What a metric says before it is oriented and corrected for being one of several.
struct Raw {
    difference: Difference,
    levels: [f64; 2],
    explained: Option<f64>,
    method: String,
    uncapped: Option<Difference>,
    volume: i128,
    /// Units or periods of both arms.
    units: [usize; 2],
}

fn randomised(
    design: &Design,
    metric: &Metric,
    units: &Units<'_>,
    fixed: bool,
) -> Result<Raw, StatError> {
    let both = |one: &dyn Fn(&Sums) -> (f64, f64)| {
        [values(units, Arm::Control, one), values(units, Arm::Treatment, one)]
    };
    let within = both(&|sums| pair(sums.within));
    let plain = |pairs: &[(f64, f64)]| pairs.iter().map(|p| p.0).collect::<Vec<_>>();
    let (of_units, mut method) = match (metric.measure, metric.cap) {
        (Measure::Ratio, _) => {
            ([linear(&within[0])?, linear(&within[1])?], "ratio by the delta method".to_owned())
        }
        (Measure::Mean, None) => ([plain(&within[0]), plain(&within[1])], "means".to_owned()),
        (Measure::Mean, Some(cap)) => (
            [
                winsorised(&plain(&within[0]), cap.float()),
                winsorised(&plain(&within[1]), cap.float()),
            ],
            format!("means of values capped at {cap}"),
        ),
    };
    let levels = [sample(&of_units[0]).mean, sample(&of_units[1]).mean];
    let covariate = covariate(metric, &both(&|sums| pair(sums.before)));
    let [y_c, y_t] = &of_units;
    let zip = |y: &[f64], x: &[f64]| y.iter().copied().zip(x.iter().copied()).collect::<Vec<_>>();
    let adjusted = cuped(&zip(y_c, &covariate[0]), &zip(y_t, &covariate[1]));
    let explained = (adjusted.explained > WORTHWHILE).then_some(adjusted.explained);
    let (control, treatment) = match explained {
        Some(_) => (sample(&adjusted.control), sample(&adjusted.treatment)),
        None => (sample(y_c), sample(y_t)),
    };
    if explained.is_some() {
        method.push_str(", CUPED on the time before the start");
    }
    let mut difference = welch(&control, &treatment, ALPHA)?;
    if fixed {
        method.push_str(", Welch");
    } else {
        for (arm, n) in [("control", control.n), ("treatment", treatment.n)] {
            if n < BURN_IN {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "counts"
                )]
                let (found, need) = (n as usize, BURN_IN as usize);
                return Err(StatError::TooFew { arm, found, need });
            }
        }
        let planned = f64::from(design.planned_units);
        difference = always_valid(&difference, control.n + treatment.n, planned, ALPHA)?;
        method.push_str(", always-valid sequence");
    }
    let seed = u64::from(place(&design.seed, &metric.kpi));
    let uncapped = match metric.cap {
        Some(_) => {
            let (control, treatment) = (plain(&within[0]), plain(&within[1]));
            Some(bootstrap(&control, &treatment, REDRAWN, seed, ALPHA)?)
        }
        None => None,
    };
    let treated = units.values().filter(|(arm, _)| *arm == Arm::Treatment);
    let volume = match metric.measure {
        Measure::Mean => treated.count() as i128 * i128::from(Micros::ONE.0),
        Measure::Ratio => treated.map(|(_, sums)| sums.within.1).sum(),
    };
    let units = [y_c.len(), y_t.len()];
    Ok(Raw { difference, levels, explained, method, uncapped, volume, units })
}

/// The covariate of each unit: its sum before the start, or for a ratio how far its numerator was off
/// what its denominator let expect.
fn covariate(metric: &Metric, before: &[Vec<(f64, f64)>; 2]) -> [Vec<f64>; 2] {
    let all = before.iter().flatten();
    let (above, below) = all.fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
    let ratio = match metric.measure {
        Measure::Ratio if below > 0.0 => above / below,
        _ => 0.0,
    };
    let cap = metric.cap.map_or(f64::INFINITY, Micros::float);
    let of = |arm: &[(f64, f64)]| arm.iter().map(|p| (p.0 - ratio * p.1).min(cap)).collect();
    [of(&before[0]), of(&before[1])]
}

/// Reads a switchback or a before and after, whose units are periods.
fn by_period(
    design: &Design,
    metric: &Metric,
    observations: &[Observation],
    from: Timestamp,
    to: Timestamp,
) -> Result<Raw, StatError> {
    let mut periods: BTreeMap<u64, (i128, i128)> = BTreeMap::new();
    for one in observations {
        if one.metric == metric.kpi
            && from <= one.at
            && one.at < to
            && let Some(period) = design.period(one.at)
        {
            let sums = periods.entry(period).or_default();
            sums.0 += i128::from(one.value.0);
            sums.1 += i128::from(one.weight.0);
        }
    }
    let value = |sums: &(i128, i128)| match metric.measure {
        Measure::Mean => float(sums.0),
        Measure::Ratio => float(sums.0) / float(sums.1),
    };
    periods.retain(|_, sums| metric.measure == Measure::Mean || sums.1 > 0);
    let of = |arm: Arm| -> Vec<f64> {
        let own = periods.iter().filter(|(period, _)| design.period_arm(**period) == arm);
        own.map(|(_, sums)| value(sums)).collect()
    };
    let (control, treatment) = (of(Arm::Control), of(Arm::Treatment));
    let levels = [sample(&control).mean, sample(&treatment).mean];
    let (difference, method) = if design.method == Method::Switchback {
        let blocks = periods.iter().filter(|(period, _)| *period % 2 == 0);
        let both = blocks.filter_map(|(period, sums)| {
            let (first, second) = (value(sums), value(periods.get(&(period + 1))?));
            let treated_first = design.period_arm(*period) == Arm::Treatment;
            Some(if treated_first { first - second } else { second - first })
        });
        let differences: Vec<f64> = both.collect();
        (paired(&differences, ALPHA)?, "blocks of two periods, one-sample t")
    } else {
        (welch(&sample(&control), &sample(&treatment), ALPHA)?, "means of periods, Welch")
    };
    let treated =
        periods.iter().filter(|(period, _)| design.period_arm(**period) == Arm::Treatment);
    let volume = match metric.measure {
        Measure::Mean => treated.count() as i128 * i128::from(Micros::ONE.0),
        Measure::Ratio => treated.map(|(_, sums)| sums.1).sum(),
    };
    Ok(Raw {
        difference,
        levels,
        explained: None,
        method: method.to_owned(),
        uncapped: None,
        volume,
        units: [control.len(), treatment.len()],
    })
}

/// Orients a metric and adds it, or the reason why it says nothing.
fn keep(metric: &Metric, raw: Result<Raw, StatError>, out: &mut ReadOut) {
    let raw = match raw {
        Ok(raw) => raw,
        Err(error) => return out.notes.push(format!("{}: {error}", metric.kpi)),
    };
    if out.units == [0, 0] {
        out.units = raw.units;
    }
    let oriented = |difference: Difference| match metric.better {
        Better::Up => difference,
        Better::Down => difference.negated(),
    };
    let improvement = oriented(raw.difference);
    let verdict = if improvement.low > 0.0 && improvement.low >= metric.minimum.float() {
        Verdict::Reached
    } else if improvement.low > 0.0 {
        Verdict::Better
    } else if improvement.high < 0.0 {
        Verdict::Worse
    } else {
        Verdict::Open
    };
    out.metrics.push(MetricReading {
        kpi: metric.kpi.clone(),
        improvement,
        p_adjusted: improvement.p,
        levels: raw.levels,
        explained: raw.explained,
        method: raw.method,
        minimum: metric.minimum,
        verdict,
        uncapped: raw.uncapped.map(oriented),
        volume: Micros(i64::try_from(raw.volume).unwrap_or(i64::MAX)),
    });
}

fn finish(out: &mut ReadOut) {
    if out.standing == Standing::Read && out.metrics.is_empty() {
        out.standing = Standing::TooFew;
    }
    let adjusted = holm(&out.metrics.iter().map(|m| m.improvement.p).collect::<Vec<_>>());
    for (metric, p) in out.metrics.iter_mut().zip(adjusted) {
        metric.p_adjusted = p;
    }
    if out.standing == Standing::Read && !out.causal {
        out.notes.push(
            "before and after: other things changed as well; this is no effect and is not billed"
                .to_owned(),
        );
    }
}
