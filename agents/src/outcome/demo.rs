//! The story of a demo joint venture: three months of an experiment with a known true effect, a
//! contract, and a few observations that were first sent wrong, are disputed and are corrected.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::assign::{Arm, WHOLE};
use super::contract::{Contract, Party};
use super::design::{Better, Design, Measure, Method, Metric, Reading};
use super::economics::{Baseline, Terms};
use super::micros::Micros;
use super::readout::Observation;
use super::simulate::Draws;

/// Observations that were first sent wrong.
const WRONG: usize = 12;

/// What a demo joint venture starts with.
#[derive(Debug, Clone)]
pub struct Story {
    /// The experiment.
    pub design: Design,
    /// Units that take part; none where the units are periods.
    pub units: Vec<String>,
    /// What was sent, a few of it wrong.
    pub observations: Vec<Observation>,
    /// The right values of those.
    pub corrections: Vec<Observation>,
    /// How the parties share.
    pub contract: Contract,
    /// The price table.
    pub terms: Terms,
    /// What treatment truly does to the metric, above zero is better.
    pub truth: f64,
    /// First days of the three months and of the one after.
    pub months: [Timestamp; 4],
}

/// What differs between the industries.
struct Plot {
    question: &'static str,
    unit: &'static str,
    kpi: &'static str,
    units: u32,
    /// Level without treatment, its spread over units, and the true effect.
    level: (f64, f64, f64),
    minimum: i64,
    /// Worth of one more, millionths of a dollar.
    value: i64,
    floor: i64,
    cap: i64,
    partner: &'static str,
    baseline: (i64, &'static str),
    /// Share of the operating partner, millionths.
    share: i64,
    seed: u64,
}

const GAMING: Plot = Plot {
    question: "Do win-back offers chosen by the agent raise revenue per active day? Generated data",
    unit: "player",
    kpi: "arpdau",
    units: 600,
    level: (0.42, 0.12, 0.06),
    minimum: 20_000,
    value: 1_000_000,
    floor: 0,
    cap: 50_000_000_000,
    partner: "Lantern Games",
    baseline: (9_500_000, "support tickets of two weeks without the agent, generated"),
    share: 800_000,
    seed: 41,
};

const AUTOMOTIVE: Plot = Plot {
    question: "Do guided diagnoses raise the share of jobs fixed the first time? Generated data",
    unit: "vehicle",
    kpi: "first_time_fix_rate",
    units: 500,
    level: (0.70, 0.10, 0.08),
    minimum: 20_000,
    value: 180_000_000,
    floor: 250_000_000,
    cap: 60_000_000_000,
    partner: "Northgate Motors",
    baseline: (14_000_000, "warranty claims coded by hand, two weeks, generated"),
    share: 700_000,
    seed: 42,
};

const FINANCE: Plot = Plot {
    question: "Does the matching agent raise the share of invoices posted untouched? Generated data",
    unit: "supplier",
    kpi: "touchless_rate",
    units: 400,
    level: (0.30, 0.12, 0.12),
    minimum: 30_000,
    value: 6_400_000,
    floor: 0,
    cap: 40_000_000_000,
    partner: "Alder Bank",
    baseline: (9_400_000, "invoices of two weeks without the agent, generated"),
    share: 666_667,
    seed: 43,
};

const ENERGY: Plot = Plot {
    question: "Does the dispatch plan of the agent lower the bill of the plant? Random days, generated data",
    unit: "site",
    kpi: "bill_saved",
    units: 0,
    level: (240.0, 60.0, 118.0),
    minimum: 40_000_000,
    value: 1_000_000,
    floor: 0,
    cap: 20_000_000_000,
    partner: "Harbour Power",
    baseline: (22_000_000, "tariff reviews of two weeks without the agent, generated"),
    share: 750_000,
    seed: 44,
};

fn midnight(date: Date) -> Timestamp {
    date.to_zoned_datetime(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
}

/// Returns the story of an industry over the three whole months before `today`; `None` ⇐ there is no
/// such industry. The same industry and month give the same story.
pub fn story(industry: &str, today: Date) -> Option<Story> {
    let plot = match industry {
        "automotive" => &AUTOMOTIVE,
        "energy" => &ENERGY,
        "finance" => &FINANCE,
        "gaming" => &GAMING,
        _ => return None,
    };
    let mut firsts = vec![today.first_of_month()];
    for _ in 0..3 {
        firsts.push(firsts.last()?.yesterday().ok()?.first_of_month());
    }
    firsts.reverse();
    let months: [Timestamp; 4] =
        firsts.into_iter().map(midnight).collect::<Vec<_>>().try_into().ok()?;
    let design = design(plot, months);
    let mut draws = Draws::new(plot.seed);
    let units: Vec<String> = (1..=plot.units).map(|i| format!("{}-{i:04}", plot.unit)).collect();
    let right = match design.method {
        Method::Switchback => periods(plot, &design, &mut draws),
        _ => rates(plot, &design, &units, months, &mut draws),
    };
    let (observations, corrections) = misreported(&design, right, months);
    Some(Story {
        contract: contract(plot, &design),
        terms: terms(plot),
        design,
        units,
        observations,
        corrections,
        truth: plot.level.2,
        months,
    })
}

fn design(plot: &Plot, months: [Timestamp; 4]) -> Design {
    let periods = plot.units == 0;
    Design {
        name: plot.kpi.replace('_', "-"),
        question: plot.question.to_owned(),
        unit: plot.unit.to_owned(),
        seed: format!("demo-{}", plot.seed),
        method: if periods { Method::Switchback } else { Method::Randomised },
        holdout: if periods { Micros(i64::from(WHOLE / 2)) } else { Micros(200_000) },
        start: months[0],
        end: months[3],
        period_hours: 24,
        change_at: None,
        reading: Reading::Fixed,
        planned_units: if periods { 89 } else { plot.units },
        metrics: vec![Metric {
            kpi: plot.kpi.to_owned(),
            measure: if periods { Measure::Mean } else { Measure::Ratio },
            better: Better::Up,
            minimum: Micros(plot.minimum),
            cap: None,
        }],
    }
}

fn contract(plot: &Plot, design: &Design) -> Contract {
    let party = |name: &str, share: i64| Party { name: name.to_owned(), share: Micros(share) };
    Contract {
        name: format!("{}-share", design.name),
        parties: vec![
            party(plot.partner, plot.share),
            party("Tessera Operations", i64::from(WHOLE) - plot.share),
        ],
        currency: "USD".to_owned(),
        experiment: design.name.clone(),
        design_sha256: design.sha256(),
        metric: plot.kpi.to_owned(),
        value_per_unit: Micros(plot.value),
        floor: (plot.floor > 0).then_some(Micros(plot.floor)),
        cap: Some(Micros(plot.cap)),
        dispute_days: 30,
    }
}

fn terms(plot: &Plot) -> Terms {
    Terms {
        baseline: Some(Baseline {
            cost_per_task: Micros(plot.baseline.0),
            source: plot.baseline.1.to_owned(),
        }),
        monthly_budget: Some(Micros(2_000_000_000)),
        ..Terms::standard("USD")
    }
}

/// Numerators and denominators of units: one observation before the start, then three a month. The
/// rate of a unit is its own level, plus the effect where it is treated.
fn rates(
    plot: &Plot,
    design: &Design,
    units: &[String],
    months: [Timestamp; 4],
    draws: &mut Draws,
) -> Vec<Observation> {
    let money = plot.kpi == "arpdau";
    let (level, spread, effect) = plot.level;
    let mut all = Vec::new();
    for unit in units {
        let own = (level + spread * draws.normal().clamp(-2.0, 2.0)).max(0.01);
        let treated = if design.arm(unit) == Arm::Treatment { effect } else { 0.0 };
        let mut slots = vec![(months[0] - SignedDuration::from_hours(240), 24, own, 0)];
        for (m, month) in months[..3].iter().enumerate() {
            for (k, day) in [4, 13, 22].into_iter().enumerate() {
                let at = *month + SignedDuration::from_hours(24 * day + 12);
                slots.push((at, 8, own + treated, 1 + 3 * m + k));
            }
        }
        for (at, most, rate, slot) in slots {
            let attempts = 1 + draws.below(most);
            let mut sum = 0.0;
            for _ in 0..attempts {
                sum += if money { draws.exponential(rate) } else { f64::from(draws.happens(rate)) };
            }
            let value = if money { (sum * 100.0).round() / 100.0 } else { sum };
            all.push(Observation {
                id: format!("{unit}-{slot}"),
                unit: unit.clone(),
                metric: plot.kpi.to_owned(),
                at,
                value: Micros::nearest(value).unwrap_or_default(),
                weight: Micros(i64::from(attempts) * i64::from(WHOLE)),
            });
        }
    }
    all
}

/// One value a day of a single plant, under a trend, a weekly pattern and autocorrelation.
fn periods(plot: &Plot, design: &Design, draws: &mut Draws) -> Vec<Observation> {
    let (level, spread, effect) = plot.level;
    let mut noise = draws.normal();
    let days = design.period(design.end).unwrap_or(0);
    (0..days)
        .map(|day| {
            noise = 0.5 * noise + 0.866 * draws.normal();
            let weekend = if day % 7 > 4 { -60.0 } else { 0.0 };
            let treated = if design.period_arm(day) == Arm::Treatment { effect } else { 0.0 };
            #[expect(clippy::cast_precision_loss, reason = "some ninety days")]
            let value = level + 0.3 * day as f64 + weekend + treated + spread * noise;
            let hours = i64::try_from(24 * day + 12).unwrap_or(0);
            Observation {
                id: format!("day-{day:02}"),
                unit: "plant".to_owned(),
                metric: plot.kpi.to_owned(),
                at: design.start + SignedDuration::from_hours(hours),
                value: Micros::nearest((value * 100.0).round() / 100.0).unwrap_or_default(),
                weight: Micros::ONE,
            }
        })
        .collect()
}

/// Makes some treated observations of the second month wrong, as a broken export would: too large.
/// Returns what is sent, and the right values of the wrong ones.
fn misreported(
    design: &Design,
    right: Vec<Observation>,
    months: [Timestamp; 4],
) -> (Vec<Observation>, Vec<Observation>) {
    let mut corrections = Vec::new();
    let sent = right
        .into_iter()
        .map(|mut one| {
            let treated = match design.method {
                Method::Switchback => {
                    design.period(one.at).is_some_and(|p| design.period_arm(p) == Arm::Treatment)
                }
                _ => design.arm(&one.unit) == Arm::Treatment,
            };
            let second = months[1] <= one.at && one.at < months[2];
            if treated && second && one.value.0 > 0 && corrections.len() < WRONG {
                corrections.push(one.clone());
                one.value = Micros(one.value.0 * 3);
            }
            one
        })
        .collect();
    (sent, corrections)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::outcome::readout::{Standing, read_out};

    fn corrected(story: &Story) -> Vec<Observation> {
        let right = |one: &Observation| {
            story.corrections.iter().find(|c| c.id == one.id).unwrap_or(one).clone()
        };
        story.observations.iter().map(right).collect()
    }

    #[test]
    fn the_interval_of_every_demo_holds_the_true_effect_in_every_month_of_the_year() {
        for industry in ["automotive", "energy", "finance", "gaming"] {
            for month in 1..=12 {
                let story = story(industry, date(2027, month, 17)).unwrap();
                let now = story.months[3];
                let read = read_out(&story.design, &story.units, &corrected(&story), None, now);
                assert_eq!(read.standing, Standing::Read, "{industry} {month}: {:?}", read.notes);
                let found = read.primary(&story.design).unwrap().improvement;
                let holds = found.low <= story.truth && story.truth <= found.high;
                assert!(holds, "{industry} {month}: {} not in {found:?}", story.truth);
                assert!(found.low > 0.0, "{industry} {month}: {found:?}");
            }
        }
    }

    #[test]
    fn the_contract_fits_and_the_wrong_observations_would_have_cost_money() {
        for industry in ["automotive", "energy", "finance", "gaming"] {
            let story = story(industry, date(2026, 11, 25)).unwrap();
            story.contract.check(&story.design).unwrap();
            assert_eq!(story.corrections.len(), WRONG, "{industry}");
            let slice = crate::outcome::readout::Slice {
                from: story.months[1],
                to: story.months[2],
                fixed: true,
            };
            let amount = |all: &[Observation]| {
                let read = read_out(&story.design, &story.units, all, Some(slice), slice.to);
                story.contract.amount(&story.design, &read).unwrap().amount
            };
            let (before, after) = (amount(&story.observations), amount(&corrected(&story)));
            assert_ne!(before, after, "{industry}");
        }
    }
}
