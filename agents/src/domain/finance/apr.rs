//! Annual percentage rate of a credit.

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::{Value, json};

use super::flows::{self, days, root};
use crate::tool::{ToolContext, ToolError, Window, decode, money};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rule {
    UsRegZ,
    EuCcd,
}

#[derive(Deserialize)]
struct Arguments {
    rule: Rule,
    amount_financed: Option<String>,
    payment_amount: Option<String>,
    payment_count: Option<u32>,
    advance_date: Option<Date>,
    first_payment_date: Option<Date>,
    dataset: Option<String>,
    currency: String,
}

/// A credit: what was financed, and each payment with its time in the unit of the rule.
struct Credit {
    financed: f64,
    /// Whole unit periods, fraction of one, amount.
    payments: Vec<(f64, f64, f64)>,
    odd_days: i32,
    financed_exact: Decimal,
    paid_exact: Decimal,
}

/// Returns whole months and odd days before the first payment, counted back from it.
///
/// # Source
/// 12 CFR 1026 Appendix J (b)(4): unit periods are counted from the last advance backward.
fn first_period(advance: Date, first: Date) -> Result<(u32, i32), ToolError> {
    if first <= advance {
        return Err(ToolError::invalid(
            "/first_payment_date",
            "the first payment must follow the advance",
        ));
    }
    let mut months = 0;
    let mut start = first;
    while let Ok(earlier) = first.checked_sub(i64::from(months + 1).months()) {
        if earlier < advance {
            break;
        }
        months += 1;
        start = earlier;
    }
    Ok((months, (start - advance).get_days()))
}

fn regular(args: &Arguments) -> Result<Credit, ToolError> {
    let missing =
        || ToolError::invalid("", "give amount_financed, payment_amount and payment_count");
    let read =
        |text: &Option<String>, at: &str| money::parse(text.as_deref().ok_or_else(missing)?, at);
    let financed = read(&args.amount_financed, "/amount_financed")?;
    let payment = read(&args.payment_amount, "/payment_amount")?;
    let count = args.payment_count.ok_or_else(missing)?;
    for (value, at) in [(financed, "/amount_financed"), (payment, "/payment_amount")] {
        if value <= Decimal::ZERO {
            return Err(ToolError::invalid(at, "the amount must be above 0"));
        }
    }
    let amount = payment.to_f64().unwrap_or(f64::NAN);
    let dated = args.advance_date.zip(args.first_payment_date);
    let (first, odd_days) = match dated {
        Some((advance, first)) => first_period(advance, first)?,
        None => (1, 0),
    };
    let payments = (0..count)
        .map(|k| {
            let time = match (args.rule, dated) {
                (Rule::EuCcd, Some((advance, first))) => {
                    let due = first.checked_add(i64::from(k).months()).unwrap_or(first);
                    (days(advance, due) / 365.0, 0.0)
                }
                (Rule::EuCcd, None) => (f64::from(k + 1) / 12.0, 0.0),
                (Rule::UsRegZ, _) => (f64::from(first + k), f64::from(odd_days) / 30.0),
            };
            (time.0, time.1, amount)
        })
        .collect();
    Ok(Credit {
        financed: financed.to_f64().unwrap_or(f64::NAN),
        payments,
        odd_days,
        financed_exact: financed,
        paid_exact: payment * Decimal::from(count),
    })
}

/// Reads dated flows: advances are negative, payments positive.
fn dated(context: &ToolContext<'_>, id: &str, arguments: &Value) -> Result<Credit, ToolError> {
    let flows = flows::read(context, id, &Window::from_arguments(arguments)?)?;
    let Some(start) = flows.iter().map(|flow| flow.date).min() else {
        return Err(ToolError::no_data(format!("`{id}` has no flow")));
    };
    let sum = |sign: fn(&Decimal) -> bool| -> Decimal {
        flows.iter().map(|flow| flow.amount).filter(sign).sum()
    };
    let advanced = -sum(Decimal::is_sign_negative);
    let paid = sum(Decimal::is_sign_positive);
    if advanced.is_zero() || paid.is_zero() {
        return Err(ToolError::invalid(
            "/dataset",
            "a credit needs an advance (negative) and payments (positive)",
        ));
    }
    let payments = flows
        .iter()
        .map(|flow| (days(start, flow.date) / 365.0, 0.0, flow.amount.to_f64().unwrap_or(f64::NAN)))
        .collect();
    Ok(Credit { financed: 0.0, payments, odd_days: 0, financed_exact: advanced, paid_exact: paid })
}

/// Lower ends of the search for a rate a unit period, the widest first.
const LOWS: [f64; 4] = [-0.99, -0.9, -0.5, -0.1];

/// Present value of the payments less what was financed, at a rate a unit period.
fn excess(credit: &Credit, rate: f64) -> f64 {
    let value: f64 = credit
        .payments
        .iter()
        .map(|(whole, fraction, amount)| {
            amount / ((1.0 + fraction * rate) * (1.0 + rate).powf(*whole))
        })
        .sum();
    value - credit.financed
}

/// Computes the rate by the United States or the European rule.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ amounts not above 0, or no rate from −99 % to 10,000 % balances
/// the credit.
///
/// # Source
/// 12 CFR 1026 Appendix J; Directive 2008/48/EC Annex I.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let credit = match &args.dataset {
        Some(_) if args.rule == Rule::UsRegZ => {
            return Err(ToolError::invalid(
                "/dataset",
                "dated flows are computed by the rule eu_ccd; for us_reg_z give the amounts",
            ));
        }
        Some(id) => dated(context, id, arguments)?,
        None => regular(&args)?,
    };
    // Far below zero the value of many payments leaves the range of a double; start above that.
    let low = LOWS.into_iter().find(|low| excess(&credit, *low).is_finite()).unwrap_or(0.0);
    let rate = root(|rate| excess(&credit, rate), low, 100.0).ok_or_else(|| {
        ToolError::invalid("", "no rate balances these payments; check the amounts")
    })?;
    let (unrounded, places) = match args.rule {
        Rule::UsRegZ => (rate * 1200.0, 2),
        Rule::EuCcd => (rate * 100.0, 1),
    };
    let scale = 10f64.powi(places);
    let regular = args.rule == Rule::UsRegZ;
    Ok(json!({
        "apr_pct": (unrounded * scale).round() / scale,
        "apr_unrounded_pct": (unrounded * 1e10).round() / 1e10,
        "finance_charge": money::format(credit.paid_exact - credit.financed_exact, &args.currency),
        "total_of_payments": money::format(credit.paid_exact, &args.currency),
        "odd_days": credit.odd_days,
        "tolerance_pct": regular.then_some(0.125),
        "currency": args.currency,
        "method": if regular {
            "12 CFR 1026 Appendix J, actuarial, unit period one month"
        } else {
            "Directive 2008/48/EC Annex I, effective annual rate"
        },
        "warnings": [],
    }))
}
