//! Internal rate of return of dated cash flows.

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use serde::Deserialize;
use serde_json::{Value, json};

use super::flows::{self, Flow, days, root};
use crate::tool::{ToolContext, ToolError, Window, decode, money, warning};

/// The search in thousandths: −99 % to 1000 % in steps of 0.1 percentage points.
const GRID: std::ops::Range<i32> = -990..10_000;

#[derive(Deserialize)]
struct Inline {
    date: Date,
    amount: String,
}

#[derive(Deserialize)]
struct Arguments {
    flows: Option<Vec<Inline>>,
    dataset: Option<String>,
    currency: Option<String>,
    discount_rate_pct: Option<f64>,
}

fn flows_of(
    args: &Arguments,
    arguments: &Value,
    context: &ToolContext<'_>,
) -> Result<Vec<Flow>, ToolError> {
    match (&args.flows, &args.dataset) {
        (Some(given), _) => given
            .iter()
            .enumerate()
            .map(|(i, flow)| {
                let amount = money::parse(&flow.amount, &format!("/flows/{i}/amount"))?;
                Ok(Flow { date: flow.date, amount })
            })
            .collect(),
        (None, Some(id)) => flows::read(context, id, &Window::from_arguments(arguments)?),
        (None, None) => Err(ToolError::invalid("", "give flows or a dataset")),
    }
}

/// Present value on the first day at a yearly rate; days over 365.
fn present(flows: &[(f64, f64)], rate: f64) -> f64 {
    flows.iter().map(|(years, amount)| amount / (1.0 + rate).powf(*years)).sum()
}

/// Returns every rate in the searched range that makes the present value zero, ascending.
fn roots(flows: &[(f64, f64)]) -> Vec<f64> {
    let at = |step: i32| f64::from(step) / 1000.0;
    let mut found = Vec::new();
    let mut before = present(flows, at(GRID.start));
    for step in GRID.start + 1..=GRID.end {
        let value = present(flows, at(step));
        if value == 0.0 {
            found.push(at(step));
        } else if before * value < 0.0 {
            found.extend(root(|rate| present(flows, rate), at(step - 1), at(step)));
        }
        before = value;
    }
    found
}

/// Solves the flows; several solutions are told and none is chosen.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ fewer than two flows, or all of one sign.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let flows = flows_of(&args, arguments, context)?;
    let has =
        |sign: fn(&Decimal) -> bool| flows.iter().any(|f| !f.amount.is_zero() && sign(&f.amount));
    if !has(Decimal::is_sign_negative) || !has(Decimal::is_sign_positive) {
        return Err(ToolError::invalid(
            "/flows",
            "a return needs money out (negative) and money back (positive)",
        ));
    }
    let Some(first) = flows.iter().map(|flow| flow.date).min() else {
        return Err(ToolError::no_data("there is no flow"));
    };
    let timed: Vec<(f64, f64)> = flows
        .iter()
        .map(|flow| (days(first, flow.date) / 365.0, flow.amount.to_f64().unwrap_or(f64::NAN)))
        .collect();
    let roots = roots(&timed);
    let mut warnings = Vec::new();
    match roots.len() {
        0 => warnings
            .push(warning("no_rate", "No rate between -99 and 1000 percent solves these flows.")),
        1 => {}
        _ => warnings.push(warning(
            "multiple_roots",
            "Several rates solve these flows; none of them is a safe answer.",
        )),
    }
    let currency = args.currency.as_deref().unwrap_or("USD");
    let npv = args.discount_rate_pct.map(|pct| {
        let value = present(&timed, pct / 100.0);
        money::format(Decimal::from_f64(value).unwrap_or_default(), currency)
    });
    let percent: Vec<f64> = roots.iter().map(|rate| (rate * 1e12).round() / 1e10).collect();
    let net: Decimal = flows.iter().map(|flow| flow.amount).sum();
    Ok(json!({
        "xirr_pct": if percent.len() == 1 { percent.first() } else { None },
        "roots_pct": percent,
        "multiple_roots": roots.len() > 1,
        "npv": npv,
        "net_cash": money::format(net, currency),
        "method": "Sum of amount/(1+r)^(days/365) = 0; sign changes on a grid of 0.1 percentage points, then bisection",
        "warnings": warnings,
    }))
}
