//! Warranty coverage by date and distance, and the rules of a claim.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use serde::Deserialize;
use serde_json::{Value, json};

use super::vin;
use crate::tool::{Table, ToolContext, ToolError, Window, decode, money};

/// Days within which a second claim for the same part counts as a duplicate.
const DUPLICATE_DAYS: i32 = 90;

/// Claimed over book labour above which a claim is reviewed.
const LABOUR_RATIO: f64 = 1.3;

/// What a claim for goodwill may be over at most.
const GOODWILL: (i32, f64) = (30, 2000.0);

#[derive(Default, Deserialize)]
struct Claim {
    in_service_date: Option<Date>,
    repair_date: Option<Date>,
    odometer_km: Option<f64>,
    term_months: Option<i64>,
    term_km: Option<f64>,
    part: Option<String>,
    #[serde(default)]
    excluded_parts: Vec<String>,
    vin: Option<String>,
    claim_amount: Option<String>,
    currency: Option<String>,
    labour_hours_claimed: Option<f64>,
    labour_hours_book: Option<f64>,
    labour_rate: Option<String>,
    last_odometer_km: Option<f64>,
    previous_same_part_date: Option<Date>,
    dataset: Option<String>,
    #[serde(default = "twenty_five")]
    top: usize,
}

fn twenty_five() -> usize {
    25
}

/// What the terms and rules say of one claim.
struct Finding {
    covered: bool,
    end: Date,
    days_over: i32,
    km_over: f64,
    rules: Vec<&'static str>,
    ratio: Option<f64>,
    stake: Option<Decimal>,
    goodwill: bool,
}

impl Finding {
    fn to_json(&self) -> Value {
        json!({
            "covered": self.covered,
            "coverage_end": self.end.to_string(),
            "days_over": self.days_over,
            "km_over": self.km_over,
            "rules_hit": self.rules,
            "labour_ratio": self.ratio,
            "amount_at_stake": self.stake.map(|stake| money::round_to(stake, 2).to_string()),
            "goodwill_candidate": self.goodwill,
        })
    }
}

fn judge(claim: &Claim) -> Result<Finding, ToolError> {
    let missing = |name: &str| ToolError::invalid(format!("/{name}"), format!("{name} is missing"));
    let start = claim.in_service_date.ok_or_else(|| missing("in_service_date"))?;
    let repair = claim.repair_date.ok_or_else(|| missing("repair_date"))?;
    let odometer = claim.odometer_km.ok_or_else(|| missing("odometer_km"))?;
    let months = claim.term_months.ok_or_else(|| missing("term_months"))?;
    let end = start
        .checked_add(months.months())
        .map_err(|error| ToolError::invalid("/term_months", error.to_string()))?;
    let days_over = (repair - end).get_days().max(0);
    let km_over = claim.term_km.map_or(0.0, |limit| (odometer - limit).max(0.0));
    let excluded = claim.part.as_ref().is_some_and(|part| {
        claim.excluded_parts.iter().any(|other| other.eq_ignore_ascii_case(part))
    });
    let covered = days_over == 0 && km_over == 0.0 && !excluded && repair >= start;
    let duplicate = claim
        .previous_same_part_date
        .is_some_and(|earlier| (0..=DUPLICATE_DAYS).contains(&(repair - earlier).get_days()));
    let ratio = claim
        .labour_hours_claimed
        .zip(claim.labour_hours_book)
        .map(|(claimed, book)| claimed / book);
    let over_book = ratio.is_some_and(|ratio| ratio > LABOUR_RATIO);
    let vin_fails = claim.vin.as_ref().is_some_and(|text| {
        let vin = vin::clean(text);
        vin::market(&vin).is_some() && !vin::passes(&vin)
    });
    let rules: Vec<&'static str> = [
        ("time_expired", days_over > 0),
        ("distance_expired", km_over > 0.0),
        ("before_in_service", repair < start),
        ("excluded_part", excluded),
        ("duplicate_part_90d", duplicate),
        ("labour_over_book", over_book),
        ("odometer_rollback", claim.last_odometer_km.is_some_and(|last| odometer < last)),
        ("vin_check_failed", vin_fails),
    ]
    .into_iter()
    .filter_map(|(rule, hit)| hit.then_some(rule))
    .collect();
    let only_over = rules.iter().all(|rule| matches!(*rule, "time_expired" | "distance_expired"));
    let goodwill = !covered && only_over && days_over <= GOODWILL.0 && km_over <= GOODWILL.1;
    let stake = stake(claim, covered && !duplicate, over_book)?;
    Ok(Finding { covered, end, days_over, km_over, rules, ratio, stake, goodwill })
}

/// Returns the money that may be recovered; `None` when no amount is known.
fn stake(claim: &Claim, sound: bool, over_book: bool) -> Result<Option<Decimal>, ToolError> {
    let read = |text: &Option<String>, at: &str| {
        text.as_deref().map(|text| money::parse(text, at)).transpose()
    };
    let amount = read(&claim.claim_amount, "/claim_amount")?;
    let rate = read(&claim.labour_rate, "/labour_rate")?;
    if !sound {
        return Ok(amount);
    }
    let hours = claim
        .labour_hours_claimed
        .zip(claim.labour_hours_book)
        .and_then(|(claimed, book)| Decimal::from_f64(claimed - book));
    Ok(match (over_book, hours, rate) {
        (true, Some(hours), Some(rate)) => Some(hours * rate),
        (true, _, _) => None,
        (false, _, _) => amount.or(rate).map(|_| Decimal::ZERO),
    })
}

/// Reads a claim from a row; an empty cell is an absent value.
fn of_row(table: &Table, row: &[String]) -> Result<Claim, ToolError> {
    let cell = |name: &str| {
        table.find(name).map(|column| row[column].trim()).filter(|text| !text.is_empty())
    };
    let bad = |name: &str, text: &str| {
        ToolError::invalid("/dataset", format!("{}: `{text}` is no {name}", table.source))
    };
    let date = |name: &str| {
        cell(name).map(|text| text.parse::<Date>().map_err(|_| bad(name, text))).transpose()
    };
    let number = |name: &str| {
        cell(name).map(|text| text.parse::<f64>().map_err(|_| bad(name, text))).transpose()
    };
    let text = |name: &str| cell(name).map(str::to_owned);
    let months = cell("term_months")
        .map(|text| text.parse::<i64>().map_err(|_| bad("term_months", text)))
        .transpose()?;
    Ok(Claim {
        in_service_date: date("in_service_date")?,
        repair_date: date("repair_date")?,
        odometer_km: number("odometer_km")?,
        term_months: months,
        term_km: number("term_km")?,
        part: text("part"),
        vin: text("vin"),
        claim_amount: text("claim_amount"),
        labour_hours_claimed: number("labour_hours_claimed")?,
        labour_hours_book: number("labour_hours_book")?,
        labour_rate: text("labour_rate"),
        last_odometer_km: number("last_odometer_km")?,
        previous_same_part_date: date("previous_same_part_date")?,
        ..Claim::default()
    })
}

/// Ranks the claims of a table that hit a rule, by what is at stake.
fn ranked(table: &Table, top: usize) -> Result<Vec<Value>, ToolError> {
    let id = table.column("claim_id")?;
    let mut hits = Vec::new();
    for row in &table.rows {
        let finding = judge(&of_row(table, row)?)?;
        if !finding.rules.is_empty() {
            hits.push((row[id].clone(), finding));
        }
    }
    // A stable sort: claims of equal stake keep the order of the table.
    hits.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.stake.unwrap_or_default()));
    Ok(hits
        .into_iter()
        .take(top)
        .map(|(id, finding)| {
            let mut claim = json!({ "claim_id": id });
            if let (Some(claim), Value::Object(rest)) = (claim.as_object_mut(), finding.to_json()) {
                claim.extend(rest);
            }
            claim
        })
        .collect())
}

/// Keeps the claims whose repair lies in the window; a table of claims has no other time.
fn repaired_within(mut table: Table, window: &Window) -> Table {
    let bounded = window.start.is_some() || window.end.is_some();
    if let (true, None, Some(column)) = (bounded, table.time_column(), table.find("repair_date")) {
        table.rows.retain(|row| {
            let day = row[column].parse::<Date>().ok();
            let at = day.and_then(|day| day.to_zoned_datetime(TimeZone::UTC).ok());
            at.is_some_and(|at| window.contains(at.timestamp()))
        });
    }
    table
}

/// Judges one claim, or ranks a table of them. A person decides in the end.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no row in the window; [`ToolError::InvalidInput`] ⇐ a cell does not read.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let claim: Claim = decode(arguments)?;
    let (result, ranked, checked, currency) = match &claim.dataset {
        Some(id) => {
            let window = Window::from_arguments(arguments)?;
            let table = repaired_within(context.datasets.table(id, &window)?, &window);
            if table.rows.is_empty() {
                return Err(ToolError::no_data(format!("`{id}` has no claim in this window")));
            }
            let currency = table.find("currency").map(|column| table.rows[0][column].clone());
            (None, ranked(&table, claim.top)?, table.rows.len(), currency)
        }
        None => (Some(judge(&claim)?.to_json()), Vec::new(), 1, claim.currency.clone()),
    };
    Ok(json!({
        "result": result,
        "ranked": ranked,
        "claims_checked": checked,
        "currency": currency,
        "decision": "for_review",
        "method": "Calendar months with the day clamped to the month end, last day inclusive; claim rules of the pack",
        "warnings": [],
    }))
}
