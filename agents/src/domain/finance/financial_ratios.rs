//! Ratios of stated amounts or of a filing, with the numbers that went in.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::facts::{self, Company, Filter, Period};
use super::xbrl_facts::day;
use crate::tool::{ToolContext, ToolError, decode, money, warning};

/// Days of the year in the days-sales ratio where nothing else is said.
const DAYS: u32 = 365;

#[derive(Deserialize)]
struct Arguments {
    ratios: Vec<String>,
    inputs: Option<Map<String, Value>>,
    dataset: Option<String>,
    period_end: Option<String>,
    form: Option<String>,
    currency: Option<String>,
}

/// How a ratio is made of two inputs: `(top / bottom + shift) × factor`.
struct Ratio {
    name: &'static str,
    top: &'static str,
    bottom: &'static str,
    unit: &'static str,
}

const fn ratio(
    name: &'static str,
    top: &'static str,
    bottom: &'static str,
    unit: &'static str,
) -> Ratio {
    Ratio { name, top, bottom, unit }
}

const RATIOS: [Ratio; 10] = [
    ratio("revenue_growth_pct", "revenue", "prior_revenue", "percent"),
    ratio("gross_margin_pct", "gross_profit", "revenue", "percent"),
    ratio("operating_margin_pct", "operating_income", "revenue", "percent"),
    ratio("net_margin_pct", "net_income", "revenue", "percent"),
    ratio("current_ratio", "current_assets", "current_liabilities", "ratio"),
    ratio("debt_to_equity", "liabilities", "equity", "ratio"),
    ratio("return_on_equity_pct", "net_income", "equity", "percent"),
    ratio("return_on_assets_pct", "net_income", "assets", "percent"),
    ratio("dso_days", "receivables", "revenue", "day"),
    ratio("asset_turnover", "revenue", "assets", "ratio"),
];

/// The amounts by name, where they stand, and the days of the period.
#[derive(Default)]
struct Inputs {
    values: BTreeMap<&'static str, Decimal>,
    facts: Vec<Value>,
    days: Option<u32>,
}

fn needed(ratios: &[&Ratio]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for name in ratios.iter().flat_map(|ratio| [ratio.top, ratio.bottom]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn stated(given: &Map<String, Value>, names: &[&'static str]) -> Result<Inputs, ToolError> {
    let mut inputs = Inputs::default();
    for name in names {
        let at = format!("/inputs/{name}");
        let text = given.get(*name).and_then(Value::as_str).ok_or_else(|| {
            ToolError::invalid(&at, format!("`{name}` is needed for this ratio; state it"))
        })?;
        inputs.values.insert(name, money::parse(text, &at)?);
    }
    inputs.days = given.get("days").and_then(Value::as_u64).and_then(|days| days.try_into().ok());
    Ok(inputs)
}

/// Returns the days that may end the period before, the likeliest first.
fn a_year_before(end: Date) -> Vec<Date> {
    let same_day = end.checked_sub(1.year()).unwrap_or(end);
    // A 52-week year ends on another day of the month; a leap day moves the end of February.
    let mut days: Vec<Date> =
        (350..=380).filter_map(|days: i64| end.checked_sub(days.days()).ok()).collect();
    days.sort_by_key(|day| (*day - same_day).get_days().abs());
    days
}

fn reported(
    company: &Company,
    end: Date,
    args: &Arguments,
    names: &[&'static str],
) -> Result<Inputs, ToolError> {
    let quarter = matches!(args.form.as_deref(), Some("10-Q" | "6-K"));
    let filter = Filter {
        period: if quarter { Period::Quarter } else { Period::Annual },
        form: args.form.as_deref(),
        taxonomy: None,
        as_of: None,
    };
    let mut inputs = Inputs::default();
    let mut unit: Option<String> = args.currency.clone();
    for name in names {
        let (concept, ends) = match *name {
            "prior_revenue" => ("revenue", a_year_before(end)),
            other => (other, vec![end]),
        };
        let fact = company.find(concept, &ends, filter).ok_or_else(|| {
            ToolError::no_data(format!(
                "{} has no {name} for the period that ends on {end}",
                company.entity
            ))
        })?;
        if *unit.get_or_insert_with(|| fact.unit.clone()) != fact.unit {
            return Err(ToolError::invalid(
                "/currency",
                format!("{name} is reported in {}; all amounts must be of one currency", fact.unit),
            ));
        }
        if *name == "revenue" {
            let length = fact.start.map(|start| (fact.end - start).get_days() + 1);
            inputs.days = length.and_then(|days| days.try_into().ok());
        }
        inputs.values.insert(name, fact.value);
        inputs.facts.push(json!({
            "name": name,
            "concept": fact.concept,
            "value": fact.value.to_string(),
            "end": fact.end.to_string(),
            "accession": fact.accession,
        }));
    }
    Ok(inputs)
}

impl Ratio {
    /// Computes the ratio and says how.
    fn of(&self, inputs: &Inputs) -> Result<(f64, String), ToolError> {
        let value = |name: &str| inputs.values.get(name).copied().unwrap_or_default();
        let (top, bottom) = (value(self.top), value(self.bottom));
        let days = inputs.days.unwrap_or(DAYS);
        let quotient = top.checked_div(bottom).ok_or_else(|| {
            ToolError::invalid(
                format!("/inputs/{}", self.bottom),
                format!("{} is zero, so {} has no value", self.bottom, self.name),
            )
        })?;
        let is_growth = self.name == "revenue_growth_pct";
        let (shift, factor) = match self.unit {
            "percent" if is_growth => (Decimal::NEGATIVE_ONE, Decimal::ONE_HUNDRED),
            "percent" => (Decimal::ZERO, Decimal::ONE_HUNDRED),
            "day" => (Decimal::ZERO, Decimal::from(days)),
            _ => (Decimal::ZERO, Decimal::ONE),
        };
        let result = quotient.checked_add(shift).and_then(|sum| sum.checked_mul(factor));
        let result = result.and_then(|result| result.to_f64()).ok_or_else(|| {
            ToolError::invalid("/inputs", format!("{} is too large to be computed", self.name))
        })?;
        let tail = match self.unit {
            "percent" if is_growth => " - 1".to_owned(),
            "day" => format!(" * {days}"),
            _ => String::new(),
        };
        let formula = format!("{} / {}{tail} = {top} / {bottom}{tail}", self.top, self.bottom);
        Ok((result, formula))
    }
}

/// Computes the ratios.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ an amount that a ratio needs is absent, a denominator is zero, or
/// currencies differ; [`ToolError::NoData`] ⇐ the file or a fact is not there.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let ratios: Vec<&Ratio> =
        args.ratios.iter().filter_map(|name| RATIOS.iter().find(|r| r.name == *name)).collect();
    let names = needed(&ratios);
    let inputs = match (&args.dataset, &args.inputs) {
        (Some(dataset), _) => {
            let end = day(args.period_end.as_deref().unwrap_or_default(), "/period_end")?;
            let company = facts::read(context, dataset)?;
            reported(&company, end, &args, &names)?
        }
        (None, Some(given)) => stated(given, &names)?,
        (None, None) => return Err(ToolError::invalid("", "give `inputs` or `dataset`")),
    };
    let mut warnings = Vec::new();
    let mut results = Vec::with_capacity(ratios.len());
    for ratio in &ratios {
        let (value, formula) = ratio.of(&inputs)?;
        if inputs.values.get(ratio.bottom).is_some_and(Decimal::is_sign_negative) {
            warnings.push(warning(
                "negative_denominator",
                format!("{} is negative, so {} says little.", ratio.bottom, ratio.name),
            ));
        }
        results.push(json!({
            "ratio": ratio.name,
            "value": value,
            "unit": ratio.unit,
            "formula": formula,
        }));
    }
    Ok(json!({
        "results": results,
        "facts": inputs.facts,
        "method": "Ratios of closing balances and of the flows of one period, v1",
        "warnings": warnings,
    }))
}
