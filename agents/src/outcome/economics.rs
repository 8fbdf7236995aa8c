//! What a run costs, and whether a use case is worth its delivery.
//!
//! Cost per accepted task = (compute + tokens + tool fees + review + rework) / tasks accepted. Every
//! amount is exact; the price table is the joint venture's own and can be changed, and each change is
//! kept, so that a past figure can be computed again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::distribution::{count, critical};
use super::micros::{Micros, MicrosError};
use super::sample::Sample;

/// Seconds in an hour, minutes in an hour.
const HOUR: i128 = 3600;

/// Tasks below which a share of the baseline is too uncertain to decide by.
pub const ENOUGH_TASKS: u64 = 200;

/// Share of the baseline that the cost of an accepted task must stay under, as a rule of thumb.
pub const GATE: Micros = Micros(250_000);

/// Prices of a model by the token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    /// What the model is called.
    pub name: String,
    /// Price of a million tokens read.
    pub prompt_per_million: Micros,
    /// Price of a million tokens written.
    pub decoded_per_million: Micros,
}

/// What the partner pays for a task without the agent, measured before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Cost of a task.
    pub cost_per_task: Micros,
    /// Where the figure comes from, and of which weeks.
    pub source: String,
}

/// The price table of a joint venture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// ISO 4217 code of every amount.
    pub currency: String,
    /// An hour of the machine that plans.
    pub compute_per_hour: Micros,
    /// The local planner by the token, where it is billed so; else zero.
    #[serde(default)]
    pub local: TokenPrice,
    /// The remote large model to compare with.
    pub remote: TokenPrice,
    /// Fee of a call by tool; `*` holds for those not named.
    #[serde(default)]
    pub tool_fees: BTreeMap<String, Micros>,
    /// An hour of a person who reviews or repairs.
    pub wage_per_hour: Micros,
    /// What the partner pays without the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// What a month may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_budget: Option<Micros>,
}

impl Terms {
    /// Returns the table that a joint venture starts with: round figures to be replaced by its own.
    pub fn standard(currency: &str) -> Self {
        Self {
            currency: currency.to_owned(),
            compute_per_hour: Micros(400_000),
            local: TokenPrice { name: "local planner".to_owned(), ..TokenPrice::default() },
            remote: TokenPrice {
                name: "remote large model".to_owned(),
                prompt_per_million: Micros(3_000_000),
                decoded_per_million: Micros(15_000_000),
            },
            tool_fees: BTreeMap::new(),
            wage_per_hour: Micros(36_000_000),
            baseline: None,
            monthly_budget: None,
        }
    }

    /// Checks that nothing is negative and the currency is a code.
    ///
    /// # Errors
    /// The field at fault.
    pub fn check(&self) -> Result<(), String> {
        if self.currency.len() != 3 || !self.currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err("currency: an ISO 4217 code such as USD".to_owned());
        }
        let baseline = self.baseline.as_ref().map_or(Micros::ZERO, |b| b.cost_per_task);
        let named = [
            ("compute_per_hour", self.compute_per_hour),
            ("local", self.local.prompt_per_million.min(self.local.decoded_per_million)),
            ("remote", self.remote.prompt_per_million.min(self.remote.decoded_per_million)),
            ("wage_per_hour", self.wage_per_hour),
            ("baseline", baseline),
            ("monthly_budget", self.monthly_budget.unwrap_or_default()),
            ("tool_fees", self.tool_fees.values().copied().min().unwrap_or_default()),
        ];
        match named.iter().find(|(_, amount)| amount.0 < 0) {
            Some((field, _)) => Err(format!("{field}: must not be negative")),
            None => Ok(()),
        }
    }
}

impl Terms {
    /// Says where prices by the step (`token` of 1,000, `second`, `call`, `call:TOOL`, in micro-units)
    /// are other than this table; each as a sentence. Prices by the step are rounded up, and one price
    /// of tokens stands for both, so one between those of read and written tokens agrees.
    pub fn differing(&self, prices: &[(&str, i64)]) -> Vec<String> {
        let up = |amount: Micros, whole: i64| {
            amount.0.div_euclid(whole) + i64::from(amount.0.rem_euclid(whole) != 0)
        };
        let (read, written) = (self.local.prompt_per_million, self.local.decoded_per_million);
        let others = self.tool_fees.get("*").copied().unwrap_or_default();
        let range = |item: &str| match item {
            "token" => (up(read.min(written), 1000), up(read.max(written), 1000)),
            "second" => (up(self.compute_per_hour, 3600), up(self.compute_per_hour, 3600)),
            "call" => (others.0, others.0),
            tool => {
                let tool = tool.strip_prefix("call:").unwrap_or(tool);
                let fee = self.tool_fees.get(tool).copied().unwrap_or(others).0;
                (fee, fee)
            }
        };
        let set = |item: &str| prices.iter().find(|(name, _)| *name == item).map(|(_, p)| *p);
        let fees = self.tool_fees.keys().filter(|tool| *tool != "*");
        let mut items: Vec<String> = ["token", "second", "call"].map(str::to_owned).into();
        items.extend(fees.map(|tool| format!("call:{tool}")));
        let named = prices.iter().map(|(item, _)| (*item).to_owned());
        items.extend(named.filter(|item| item.starts_with("call:")));
        items.sort_unstable();
        items.dedup();
        let said = |item: &String| {
            let (low, high) = range(item);
            // A tool without a price of its own counts by that of a call.
            let counted = set(item).or_else(|| set("call").filter(|_| item.starts_with("call:")));
            let counted = counted.unwrap_or(0);
            (!(low..=high).contains(&counted)).then(|| {
                let table = if low == high { low.to_string() } else { format!("{low} to {high}") };
                format!(
                    "budgets count `{item}` as {counted} micro-units, the price table says {table}"
                )
            })
        };
        items.iter().filter_map(said).collect()
    }
}

/// What runs took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Runs that planned.
    pub runs: u64,
    /// Runs whose result a person accepted.
    pub accepted: u64,
    /// Runs whose result a person corrected.
    pub corrected: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub decoded_tokens: u64,
    /// Time of planning, microseconds.
    pub compute_us: u64,
    /// Calls by tool.
    pub tool_calls: BTreeMap<String, u64>,
    /// Time that people took to review, seconds.
    pub review_seconds: u64,
    /// Time that people took to repair, seconds.
    pub rework_seconds: u64,
}

/// What runs cost, in the currency of the terms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Time of the machine.
    pub compute: Micros,
    /// Tokens of the planner.
    pub tokens: Micros,
    /// Fees of tools.
    pub tools: Micros,
    /// Review by people.
    pub review: Micros,
    /// Repair by people.
    pub rework: Micros,
    /// All of it.
    pub total: Micros,
    /// Total by run; absent without runs.
    pub per_run: Option<Micros>,
    /// Total by accepted task; absent while none is accepted.
    pub per_accepted: Option<Micros>,
    /// The tokens at the prices of the remote model.
    pub remote_tokens: Micros,
    /// The total with the remote model in place of compute and local tokens.
    pub remote_total: Micros,
    /// The baseline of a task.
    pub baseline: Option<Micros>,
    /// Cost of an accepted task as a share of the baseline.
    pub share_of_baseline: Option<Micros>,
    /// Whether the gate holds: under [`GATE`] of the baseline over [`ENOUGH_TASKS`] tasks; absent while
    /// it cannot be said.
    pub gate_holds: Option<bool>,
}

fn tokens(price: &TokenPrice, effort: &Effort) -> Result<Micros, MicrosError> {
    let read = price.prompt_per_million.scaled(i128::from(effort.prompt_tokens), 1_000_000)?;
    read.plus(price.decoded_per_million.scaled(i128::from(effort.decoded_tokens), 1_000_000)?)
}

/// Returns what an effort cost.
///
/// # Errors
/// [`MicrosError::TooLarge`].
pub fn cost(terms: &Terms, effort: &Effort) -> Result<Costs, MicrosError> {
    let compute = terms.compute_per_hour.scaled(i128::from(effort.compute_us), HOUR * 1_000_000)?;
    let local = tokens(&terms.local, effort)?;
    let others = terms.tool_fees.get("*").copied().unwrap_or_default();
    let fees = effort.tool_calls.iter().map(|(tool, calls)| {
        terms.tool_fees.get(tool).unwrap_or(&others).scaled(i128::from(*calls), 1)
    });
    let tools = Micros::sum(fees.collect::<Result<Vec<_>, _>>()?)?;
    let review = terms.wage_per_hour.scaled(i128::from(effort.review_seconds), HOUR)?;
    let rework = terms.wage_per_hour.scaled(i128::from(effort.rework_seconds), HOUR)?;
    let people = Micros::sum([tools, review, rework])?;
    let total = Micros::sum([compute, local, people])?;
    let remote_tokens = tokens(&terms.remote, effort)?;
    let by = |n: u64| if n == 0 { Ok(None) } else { total.scaled(1, i128::from(n)).map(Some) };
    let per_accepted = by(effort.accepted)?;
    let baseline = terms.baseline.as_ref().map(|b| b.cost_per_task);
    let share_of_baseline = match (per_accepted, baseline) {
        (Some(cost), Some(base)) if base.0 > 0 => {
            Some(cost.scaled(i128::from(Micros::ONE.0), i128::from(base.0))?)
        }
        _ => None,
    };
    let enough = effort.accepted >= ENOUGH_TASKS;
    Ok(Costs {
        compute,
        tokens: local,
        tools,
        review,
        rework,
        total,
        per_run: by(effort.runs)?,
        per_accepted,
        remote_tokens,
        remote_total: remote_tokens.plus(people)?,
        baseline,
        share_of_baseline,
        gate_holds: share_of_baseline.filter(|_| enough).map(|share| share < GATE),
    })
}

/// What a month will cost if days go on as they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Days that it is drawn from.
    pub days: usize,
    /// Lower end of the 95 % range of thirty days.
    pub low: Micros,
    /// Thirty mean days.
    pub expected: Micros,
    /// Upper end.
    pub high: Micros,
    /// The budget is below the upper end.
    pub may_exceed: bool,
}

/// Forecasts thirty days from the costs of past days: their mean, and a range for the sum of thirty
/// further such days. `None` ⇐ fewer than seven days.
pub fn forecast(days: &[Micros], budget: Option<Micros>) -> Option<Forecast> {
    if days.len() < 7 {
        return None;
    }
    let sample: Sample = days.iter().map(|day| day.float()).collect();
    let n = count(days.len());
    // A sum of thirty has the variance of thirty days, and the mean behind it has one of its own.
    let spread = (sample.variance() * (30.0 + 900.0 / n)).sqrt();
    let half = critical(0.05, Some(n - 1.0)) * spread;
    let expected = 30.0 * sample.mean;
    let high = Micros::nearest(expected + half)?;
    Some(Forecast {
        days: days.len(),
        low: Micros::nearest((expected - half).max(0.0))?,
        expected: Micros::nearest(expected)?,
        high,
        may_exceed: budget.is_some_and(|budget| budget < high),
    })
}

/// A use case before anything is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseCase {
    /// Tasks a month.
    pub tasks_per_month: u32,
    /// Minutes that a task saves.
    pub minutes_saved: Micros,
    /// An hour of who does it today.
    pub wage_per_hour: Micros,
    /// What delivery costs in the first year.
    pub delivery_cost: Micros,
    /// Days until the data can be reached.
    pub days_to_data: u32,
}

/// Multiple of the delivery cost that a year must save.
pub const MULTIPLE: Micros = Micros(5_000_000);

/// Days within which the data must be at hand.
pub const DAYS_TO_DATA: u32 = 14;

/// What the screen says of a use case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screen {
    /// What a year saves: tasks × minutes × wage × 12.
    pub yearly_value: Micros,
    /// That divided by the delivery cost; absent where delivery is free.
    pub multiple: Option<Micros>,
    /// Whether to go on.
    pub go: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// Screens a use case of low value out before money is spent on it.
///
/// # Errors
/// [`MicrosError::TooLarge`].
pub fn screen(case: &UseCase) -> Result<Screen, MicrosError> {
    let yearly = case.minutes_saved.scaled(i128::from(case.tasks_per_month) * 12, 60)?;
    let yearly_value = yearly.times(case.wage_per_hour)?;
    let multiple = match case.delivery_cost.0 {
        ..=0 => None,
        cost => Some(yearly_value.scaled(i128::from(Micros::ONE.0), i128::from(cost))?),
    };
    let mut reasons = Vec::new();
    if multiple.is_some_and(|multiple| multiple < MULTIPLE) {
        reasons.push(format!("a year saves less than {MULTIPLE} times the delivery cost"));
    }
    if case.days_to_data > DAYS_TO_DATA {
        reasons.push(format!("the data cannot be reached within {DAYS_TO_DATA} days"));
    }
    Ok(Screen { yearly_value, multiple, go: reasons.is_empty(), reasons })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Micros {
        text.parse().unwrap()
    }

    fn effort() -> Effort {
        Effort {
            runs: 400,
            accepted: 300,
            corrected: 20,
            prompt_tokens: 2_000_000,
            decoded_tokens: 100_000,
            compute_us: 90_000_000,
            tool_calls: BTreeMap::from([("lookup".to_owned(), 100), ("pay".to_owned(), 7)]),
            review_seconds: 6_000,
            rework_seconds: 1_200,
        }
    }

    #[test]
    fn a_cost_is_the_sum_of_its_parts_worked_by_hand() {
        let mut terms = Terms::standard("USD");
        terms.tool_fees =
            BTreeMap::from([("*".to_owned(), micros("0.01")), ("pay".to_owned(), micros("0.25"))]);
        terms.baseline =
            Some(Baseline { cost_per_task: micros("9.4"), source: "two weeks".to_owned() });
        let cost = cost(&terms, &effort()).unwrap();
        // 90 s of 0.40 an hour; 100 × 0.01 + 7 × 0.25; 6,000 s and 1,200 s of 36 an hour.
        assert_eq!(cost.compute, micros("0.01"));
        assert_eq!(cost.tools, micros("2.75"));
        assert_eq!((cost.review, cost.rework), (micros("60"), micros("12")));
        assert_eq!(cost.total, micros("74.76"));
        assert_eq!(cost.per_accepted, Some(micros("0.2492")));
        // 2 × 3.00 + 0.1 × 15.00 in place of compute.
        assert_eq!(cost.remote_tokens, micros("7.5"));
        assert_eq!(cost.remote_total, micros("82.25"));
        assert_eq!(cost.share_of_baseline, Some(micros("0.026511")));
        assert_eq!(cost.gate_holds, Some(true));
    }

    #[test]
    fn prices_of_budgets_that_say_something_else_are_named() {
        let mut terms = Terms::standard("USD");
        terms.compute_per_hour = micros("3.6");
        terms.local.prompt_per_million = micros("1");
        terms.local.decoded_per_million = micros("4");
        terms.tool_fees =
            BTreeMap::from([("*".to_owned(), micros("0.01")), ("pay".to_owned(), micros("0.25"))]);
        let same = [("token", 2_500), ("second", 1_000), ("call", 10_000), ("call:pay", 250_000)];
        assert_eq!(terms.differing(&same), [""; 0]);
        let mut other = same.to_vec();
        other[3].1 = 240_000;
        other.push(("call:refund", 5));
        let said = terms.differing(&other);
        assert_eq!(
            said,
            [
                "budgets count `call:pay` as 240000 micro-units, the price table says 250000",
                "budgets count `call:refund` as 5 micro-units, the price table says 10000",
            ]
        );
        // A tool without a price of its own is counted by that of a call.
        assert!(terms.differing(&same[..3])[0].contains("`call:pay` as 10000"));
        assert_eq!(terms.differing(&[]).len(), 4);
    }

    #[test]
    fn nothing_accepted_costs_nothing_by_the_task_and_passes_no_gate() {
        let cost = cost(&Terms::standard("USD"), &Effort::default()).unwrap();
        assert_eq!((cost.per_run, cost.per_accepted, cost.gate_holds), (None, None, None));
    }

    #[test]
    fn a_use_case_of_low_value_is_screened_out_with_its_reasons() {
        let mut case = UseCase {
            tasks_per_month: 3_000,
            minutes_saved: micros("8"),
            wage_per_hour: micros("30"),
            delivery_cost: micros("20000"),
            days_to_data: 10,
        };
        let good = screen(&case).unwrap();
        assert_eq!(good.yearly_value, micros("144000"));
        assert_eq!((good.multiple, good.go), (Some(micros("7.2")), true));
        case.tasks_per_month = 300;
        case.days_to_data = 30;
        let poor = screen(&case).unwrap();
        assert!(!poor.go && poor.reasons.len() == 2, "{poor:?}");
    }

    #[test]
    fn a_forecast_needs_a_week_and_warns_of_the_budget() {
        let days =
            [micros("10"), micros("12"), micros("8"), micros("11"), micros("9"), micros("10")];
        assert_eq!(forecast(&days, None), None);
        let days = [days.as_slice(), &[micros("10")]].concat();
        let found = forecast(&days, Some(micros("310"))).unwrap();
        assert_eq!(found.expected, micros("300"));
        assert!(found.low < found.expected && found.expected < found.high && found.may_exceed);
    }
}
