//! Payments and schedule of a fixed-rate loan.

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::{ToolContext, ToolError, decode, money};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Repayment {
    #[default]
    Annuity,
    EqualPrincipal,
    InterestOnly,
}

#[derive(Deserialize)]
struct Arguments {
    principal: String,
    annual_rate_pct: f64,
    months: u32,
    #[serde(default)]
    repayment: Repayment,
    currency: String,
    first_due_date: Option<Date>,
    #[serde(default = "three")]
    rows: usize,
}

fn three() -> usize {
    3
}

/// One payment of a schedule.
#[derive(Debug, Clone, Copy)]
struct Row {
    interest: Decimal,
    principal: Decimal,
    balance: Decimal,
}

impl Row {
    fn payment(&self) -> Decimal {
        self.interest + self.principal
    }
}

/// Returns the level payment `P·i / (1 − (1+i)^−n)`, rounded to the minor unit.
///
/// The discount factor is multiplied up rather than raised, so that no rate overflows.
fn level_payment(principal: Decimal, rate: Decimal, months: u32, currency: &str) -> Decimal {
    let count = Decimal::from(months);
    if rate.is_zero() {
        return money::round(principal / count, currency);
    }
    let discount = Decimal::ONE / (Decimal::ONE + rate);
    let factor = (0..months).fold(Decimal::ONE, |v, _| v * discount);
    money::round(principal * rate / (Decimal::ONE - factor), currency)
}

/// Builds the schedule: interest is rounded each month and the last payment clears the balance.
fn schedule(
    principal: Decimal,
    rate: Decimal,
    months: u32,
    repayment: Repayment,
    currency: &str,
) -> Vec<Row> {
    let level = level_payment(principal, rate, months, currency);
    let equal = money::round(principal / Decimal::from(months), currency);
    let mut balance = principal;
    let mut rows = Vec::with_capacity(months as usize);
    for number in 1..=months {
        let interest = money::round(balance * rate, currency);
        let planned = match repayment {
            Repayment::Annuity => level - interest,
            Repayment::EqualPrincipal => equal,
            Repayment::InterestOnly => Decimal::ZERO,
        };
        // Rounding up each month may repay a little early; nobody pays more than is owed.
        let principal = if number == months { balance } else { planned.min(balance) };
        balance -= principal;
        rows.push(Row { interest, principal, balance });
    }
    rows
}

/// Computes payments, total interest and schedule.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ nothing is borrowed.
///
/// # Source
/// Annuity formula; rounding as in the method of the contract.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let principal = money::parse(&args.principal, "/principal")?;
    if principal <= Decimal::ZERO {
        return Err(ToolError::invalid("/principal", "the principal must be above 0"));
    }
    let percent = Decimal::from_f64(args.annual_rate_pct)
        .ok_or_else(|| ToolError::invalid("/annual_rate_pct", "the rate is no number"))?;
    let rate = percent / Decimal::from(1200);
    let rows = schedule(principal, rate, args.months, args.repayment, &args.currency);
    let amount = |value: Decimal| money::format(value, &args.currency);
    let interest: Decimal = rows.iter().map(|row| row.interest).sum();
    let last = rows.len().saturating_sub(1);
    let shown: Vec<Value> = rows
        .iter()
        .enumerate()
        .filter(|(i, _)| *i < args.rows || *i == last)
        .map(|(i, row)| {
            let due = args.first_due_date.and_then(|first| {
                let months = i64::try_from(i).unwrap_or(i64::MAX);
                first.checked_add(months.months()).ok().map(|day| day.to_string())
            });
            json!({
                "number": i + 1,
                "due_date": due,
                "payment": amount(row.payment()),
                "interest": amount(row.interest),
                "principal": amount(row.principal),
                "balance": amount(row.balance),
            })
        })
        .collect();
    let payment = |row: Option<&Row>| amount(row.map_or(Decimal::ZERO, Row::payment));
    Ok(json!({
        "first_payment": payment(rows.first()),
        "last_payment": payment(rows.last()),
        "total_interest": amount(interest),
        "total_paid": amount(principal + interest),
        "rows": shown,
        "currency": args.currency,
        "method": "Fixed-rate loan, rate/12 a month, interest rounded monthly to the minor unit, last payment clears the balance",
        "warnings": [],
    }))
}
