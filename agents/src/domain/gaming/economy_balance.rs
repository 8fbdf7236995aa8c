//! Virtual currency created and removed, before and after an update, and how wallets are spread.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{cells, tidy};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// A window of fewer days says more about weekdays than about an update.
const WEEK: usize = 7;

#[derive(Deserialize)]
struct Arguments {
    virtual_currency: String,
    dataset: Option<String>,
    daily_flows: Option<Vec<Daily>>,
    wallet_balances: Option<Vec<f64>>,
    change_date: Option<String>,
    #[serde(default = "five")]
    tolerance_pct: f64,
    timezone: Option<String>,
}

#[derive(Deserialize)]
struct Daily {
    date: String,
    source_amount: f64,
    sink_amount: f64,
}

fn five() -> f64 {
    5.0
}

/// Units created and removed.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    source: f64,
    sink: f64,
}

impl Flow {
    /// Created divided by removed; `None` ⇐ nothing was removed.
    fn ratio(self) -> Option<f64> {
        (self.sink > 0.0).then(|| self.source / self.sink)
    }

    /// Where the supply moves: past the band around 1, or with nothing removed at all.
    fn verdict(self, tolerance_pct: f64) -> &'static str {
        let band = tolerance_pct / 100.0;
        match self.ratio() {
            Some(ratio) if ratio > 1.0 + band => "inflating",
            Some(ratio) if ratio < 1.0 - band => "deflating",
            None if self.source > 0.0 => "inflating",
            _ => "stable",
        }
    }
}

type Days = BTreeMap<Date, Flow>;

/// Days counted and what they add up to.
type Total = (usize, Flow);

fn read(
    args: &Arguments,
    id: &str,
    context: &ToolContext<'_>,
    window: &Window,
) -> Result<Days, ToolError> {
    let zone = cells::zone(args.timezone.as_deref())?;
    let table = context.datasets.table(id, window)?;
    let (at, currency) = (table.column("event_time")?, table.column("virtual_currency")?);
    let (flow, amount) = (table.column("flow")?, table.column("amount")?);
    let mut days = Days::new();
    for row in
        table.rows.iter().filter(|row| row[currency].eq_ignore_ascii_case(&args.virtual_currency))
    {
        let day = cells::instant(&row[at], "/dataset")?.to_zoned_datetime(zone.clone()).date();
        let units = cells::number(&row[amount], "/dataset")?;
        if units < 0.0 {
            return Err(ToolError::invalid(
                "/dataset",
                format!("amount `{units}` is negative; a removal is a sink with a positive amount"),
            ));
        }
        let total = days.entry(day).or_default();
        match row[flow].as_str() {
            "source" => total.source += units,
            "sink" => total.sink += units,
            other => {
                return Err(ToolError::invalid(
                    "/dataset",
                    format!("flow `{other}` is neither source nor sink"),
                ));
            }
        }
    }
    if days.is_empty() {
        return Err(ToolError::no_data(format!(
            "{id} has no flows of `{}` in this window",
            args.virtual_currency
        )));
    }
    Ok(days)
}

fn inline(flows: &[Daily]) -> Result<Days, ToolError> {
    let mut days = Days::new();
    for (i, daily) in flows.iter().enumerate() {
        let pointer = format!("/daily_flows/{i}/date");
        let day = cells::day(&daily.date, &pointer)?;
        let flow = Flow { source: daily.source_amount, sink: daily.sink_amount };
        if days.insert(day, flow).is_some() {
            return Err(ToolError::invalid(pointer, format!("{day} is there twice")));
        }
    }
    Ok(days)
}

/// Adds the days up; `None` ⇐ there are none.
fn total<'a>(days: impl Iterator<Item = &'a Flow>) -> Option<Total> {
    let (mut count, mut sum) = (0, Flow::default());
    for flow in days {
        count += 1;
        sum.source += flow.source;
        sum.sink += flow.sink;
    }
    (count > 0).then_some((count, sum))
}

fn told((days, flow): Total) -> Value {
    json!({
        "days": days,
        "source_amount": tidy(flow.source),
        "sink_amount": tidy(flow.sink),
        "net_amount": tidy(flow.source - flow.sink),
        "source_sink_ratio": flow.ratio().map(tidy),
    })
}

/// Quantile of sorted values, linear between the two nearest.
///
/// # Source
/// Hyndman and Fan 1996, type 7.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * cells::count(sorted.len().saturating_sub(1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ≤ at < len")]
    let below = at.floor() as usize;
    let low = sorted.get(below).copied().unwrap_or(0.0);
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    low + (at - at.floor()) * (high - low)
}

/// Gini coefficient of sorted values, 0 when nobody has anything.
///
/// # Source
/// `G = Σ (2i − n − 1) x_i / (n Σ x_i)`, without small-sample correction.
fn gini(sorted: &[f64]) -> f64 {
    let n = cells::count(sorted.len());
    let sum: f64 = sorted.iter().sum();
    if sum <= 0.0 {
        return 0.0;
    }
    let weighted: f64 = sorted
        .iter()
        .enumerate()
        .map(|(i, x)| (2.0 * cells::count(i + 1) - n - 1.0) * (x / sum))
        .sum();
    weighted / n
}

fn wallets(balances: &[f64]) -> Value {
    let mut sorted = balances.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = cells::count(sorted.len());
    json!({
        "players": sorted.len(),
        "median": tidy(quantile(&sorted, 0.5)),
        "p90": tidy(quantile(&sorted, 0.9)),
        "mean": tidy(sorted.iter().map(|x| x / n).sum()),
        "gini": tidy(gini(&sorted)),
    })
}

/// The totals before and from the day of an update on.
fn split(days: &Days, change: Date) -> Result<(Total, Total), ToolError> {
    let none = |side: &str| ToolError::no_data(format!("there are no days {side} {change}"));
    let before = total(days.range(..change).map(|(_, flow)| flow)).ok_or_else(|| none("before"))?;
    let after = total(days.range(change..).map(|(_, flow)| flow)).ok_or_else(|| none("from"))?;
    Ok((before, after))
}

/// Compares what a virtual currency gains and loses.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a day twice, an unknown flow, a negative amount;
/// [`ToolError::NoData`] ⇐ no flows of this currency, or none on a side of the update.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let change =
        args.change_date.as_deref().map(|text| cells::day(text, "/change_date")).transpose()?;
    let days = match (&args.dataset, &args.daily_flows) {
        (Some(id), _) => Some(read(&args, id, context, &window)?),
        (None, Some(flows)) => Some(inline(flows)?),
        (None, None) => None,
    };
    let whole = days.as_ref().and_then(|days| total(days.values()));
    let sides = match (&days, change) {
        (Some(days), Some(change)) => Some(split(days, change)?),
        _ => None,
    };
    let ratio_change = sides.and_then(|((_, before), (_, after))| {
        let before = before.ratio().filter(|ratio| *ratio > 0.0)?;
        Some((after.ratio()? / before - 1.0) * 100.0)
    });
    let judged = sides.map(|(_, after)| after).or(whole);
    let mut warnings = Vec::new();
    let shortest = match sides {
        Some(((before, _), (after, _))) => Some(before.min(after)),
        None => whole.map(|(days, _)| days),
    };
    if let Some(days) = shortest.filter(|days| *days < WEEK) {
        warnings.push(warning(
            "short_window",
            format!(
                "Only {days} days on a side; with less than {WEEK}, weekdays alone move the ratio."
            ),
        ));
    }
    if judged.is_some_and(|(_, flow)| flow.ratio().is_none()) {
        warnings.push(warning("no_sinks", "Nothing was removed, so there is no ratio."));
    }
    let result = json!({
        "virtual_currency": args.virtual_currency,
        "total": whole.map(told),
        "before": sides.map(|(before, _)| told(before)),
        "after": sides.map(|(_, after)| told(after)),
        "ratio_change_pct": ratio_change.map(tidy),
        "verdict": judged.map(|(_, flow)| flow.verdict(args.tolerance_pct)),
        "wallets": args.wallet_balances.as_deref().map(wallets),
        "method": "Totals and ratio per window; quantiles type 7; Gini without correction",
        "warnings": warnings,
    });
    Ok(result)
}
