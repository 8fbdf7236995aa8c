//! Pattern rules over transactions. An alert is a reason to look, with the transactions that prove
//! it.

mod flow;
mod window;

use std::collections::BTreeSet;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::{ToolContext, ToolError, Window, decode, money, warning};

/// Rules in the order of the contract.
const RULES: [&str; 6] =
    ["structuring", "fan_in", "fan_out", "cycle", "rapid_pass_through", "dormant_burst"];
/// Name of cash as a counterparty.
const CASH: &str = "CASH";
/// Threshold of a cash report where nothing else is said, from 31 CFR 1010.311.
const THRESHOLD: &str = "10000.00";
/// Most transactions of a call.
const MAX_ROWS: usize = 500_000;

#[derive(Deserialize)]
struct Inline {
    transaction_id: String,
    date: String,
    #[serde(default)]
    from_account: String,
    #[serde(default)]
    to_account: String,
    amount: String,
    kind: String,
}

#[derive(Deserialize)]
struct Arguments {
    transactions: Option<Vec<Inline>>,
    dataset: Option<String>,
    customer_id: Option<String>,
    currency: String,
    rules: Option<Vec<String>>,
    reporting_threshold: Option<String>,
    #[serde(default = "seven")]
    window_days: i32,
}

fn seven() -> i32 {
    7
}

/// A transaction; lines are sorted by date, then by their order in the data.
#[derive(Debug)]
struct Transaction {
    id: String,
    date: Date,
    from: String,
    to: String,
    amount: Decimal,
    kind: String,
}

impl Transaction {
    fn is_transfer(&self) -> bool {
        self.kind == "transfer" && !self.from.is_empty() && !self.to.is_empty()
    }
}

/// What a rule found: transactions by position and the accounts concerned.
struct Alert {
    rule: &'static str,
    transactions: Vec<usize>,
    accounts: Vec<String>,
    explanation: String,
}

/// The data and the measures of the rules.
struct Screen {
    rows: Vec<Transaction>,
    threshold: Decimal,
    window_days: i32,
}

fn of_table(
    context: &ToolContext<'_>,
    id: &str,
    window: &Window,
    customer: Option<&str>,
) -> Result<Vec<Inline>, ToolError> {
    let table = context.datasets.table(id, window)?;
    let key = table.column("transaction_id")?;
    let (date, amount, kind) =
        (table.column("date")?, table.column("amount")?, table.column("kind")?);
    let (from, to) = (table.column("from_account")?, table.column("to_account")?);
    let owner = table.find("customer_id");
    let rows = table.rows.into_iter().filter(|row| match (customer, owner) {
        (None, _) => true,
        (Some(wanted), Some(owner)) => row[owner] == wanted,
        // A table without customers names accounts only.
        (Some(wanted), None) => row[from] == wanted || row[to] == wanted,
    });
    Ok(rows
        .map(|row| Inline {
            transaction_id: row[key].clone(),
            date: row[date].clone(),
            from_account: row[from].clone(),
            to_account: row[to].clone(),
            amount: row[amount].clone(),
            kind: row[kind].clone(),
        })
        .collect())
}

fn checked(rows: Vec<Inline>) -> Result<Vec<Transaction>, ToolError> {
    let mut ids = BTreeSet::new();
    let mut out = Vec::with_capacity(rows.len());
    for (i, row) in rows.into_iter().enumerate() {
        let at = format!("/transactions/{i}");
        if !ids.insert(row.transaction_id.clone()) {
            return Err(ToolError::invalid(
                at,
                format!("transaction `{}` comes twice; ids are unique", row.transaction_id),
            ));
        }
        let amount = money::parse(&row.amount, &at)?;
        if amount <= Decimal::ZERO || amount >= Decimal::from(1_000_000_000_000_000u64) {
            return Err(ToolError::invalid(
                at,
                format!("amount `{}` is not positive or too large", row.amount),
            ));
        }
        let date = row.date.get(..10).and_then(|day| day.parse().ok());
        let date = date.ok_or_else(|| {
            ToolError::invalid(&at, format!("`{}` is no date YYYY-MM-DD", row.date))
        })?;
        out.push(Transaction {
            id: row.transaction_id,
            date,
            from: row.from_account,
            to: row.to_account,
            amount,
            kind: row.kind,
        });
    }
    // Stable, so that rows of one day keep the order of the data.
    out.sort_by_key(|row| row.date);
    Ok(out)
}

/// Runs the rules.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ an id comes twice, an amount is not positive, a cell does not read,
/// or the threshold is not positive; [`ToolError::NoData`] ⇐ no transaction in the window.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let threshold = args.reporting_threshold.as_deref().unwrap_or(THRESHOLD);
    let threshold = money::parse(threshold, "/reporting_threshold")?;
    if threshold <= Decimal::ZERO {
        return Err(ToolError::invalid("/reporting_threshold", "a threshold is above zero"));
    }
    let rows = match (args.transactions, &args.dataset) {
        (Some(rows), _) => rows,
        (None, Some(id)) => of_table(context, id, &window, args.customer_id.as_deref())?,
        (None, None) => {
            return Err(ToolError::invalid("", "give `transactions` or `dataset`"));
        }
    };
    if rows.is_empty() {
        return Err(ToolError::no_data("there is no transaction in this window"));
    }
    if rows.len() > MAX_ROWS {
        return Err(ToolError::invalid(
            "/dataset",
            format!("at most {MAX_ROWS} transactions a call; narrow `start` and `end`"),
        ));
    }
    let screen = Screen { rows: checked(rows)?, threshold, window_days: args.window_days };
    let wanted = |rule: &str| args.rules.as_ref().is_none_or(|only| only.iter().any(|r| r == rule));
    let cycles = flow::cycles(&screen);
    let mut alerts: Vec<Alert> = Vec::new();
    for rule in RULES.into_iter().filter(|rule| wanted(rule)) {
        let mut found = match rule {
            "structuring" => window::structuring(&screen),
            "fan_in" => window::fan(&screen, true),
            "fan_out" => window::fan(&screen, false),
            "cycle" => flow::cycle_alerts(&screen, &cycles.found),
            "rapid_pass_through" => flow::pass_through(&screen, &cycles.found),
            _ => window::dormant_burst(&screen),
        };
        found.sort_by_key(|alert| alert.transactions.first().copied());
        alerts.extend(found);
    }
    Ok(report(&screen, &alerts, &args.currency, cycles.capped))
}

fn report(screen: &Screen, alerts: &[Alert], currency: &str, capped: bool) -> Value {
    let alerts: Vec<Value> = alerts
        .iter()
        .map(|alert| {
            let rows: Vec<&Transaction> =
                alert.transactions.iter().map(|i| &screen.rows[*i]).collect();
            let total: Decimal = rows.iter().map(|row| row.amount).sum();
            let days = |f: fn(Date, Date) -> Date| rows.iter().map(|row| row.date).reduce(f);
            json!({
                "rule": alert.rule,
                "transaction_ids": rows.iter().map(|row| &row.id).collect::<Vec<_>>(),
                "accounts": alert.accounts,
                "total_amount": money::format(total, currency),
                "first_date": days(Ord::min).map(|day| day.to_string()),
                "last_date": days(Ord::max).map(|day| day.to_string()),
                "explanation": alert.explanation,
            })
        })
        .collect();
    let mut warnings = vec![warning(
        "no_tipping_off",
        "Confidential: an alert is a reason for review, not a finding, and the customer must not learn of it.",
    )];
    if capped {
        warnings.push(warning(
            "search_capped",
            "Some accounts have too many transfers to follow every cycle; narrow the window.",
        ));
    }
    json!({
        "alerts": alerts,
        "transactions_read": screen.rows.len(),
        "confidential": true,
        "currency": currency,
        "method": "Named pattern rules on consecutive calendar days; transfers between accounts for flows, v1",
        "warnings": warnings,
    })
}
