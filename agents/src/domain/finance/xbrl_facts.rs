//! Reported figures of a company, each with the filing that it stands in.

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

use super::facts::{self, Filter, Period};
use crate::tool::{ToolContext, ToolError, decode, warning};

#[derive(Deserialize)]
struct Arguments {
    dataset: String,
    concepts: Vec<String>,
    period_end: String,
    #[serde(default)]
    period: Option<String>,
    form: Option<String>,
    taxonomy: Option<String>,
    as_of: Option<String>,
}

/// Reads a day of the arguments.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` when it is not in the calendar.
pub(super) fn day(text: &str, pointer: &str) -> Result<Date, ToolError> {
    text.parse()
        .map_err(|_| ToolError::invalid(pointer, format!("`{text}` is no day of the calendar")))
}

/// Finds the figures.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ unknown file, or none of the concepts has a fact that ends on the day.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let end = day(&args.period_end, "/period_end")?;
    let filter = Filter {
        period: match args.period.as_deref() {
            Some("quarter") => Period::Quarter,
            _ => Period::Annual,
        },
        form: args.form.as_deref(),
        taxonomy: args.taxonomy.as_deref(),
        as_of: args.as_of.as_deref().map(|text| day(text, "/as_of")).transpose()?,
    };
    let company = facts::read(context, &args.dataset)?;
    let (mut found, mut missing, mut restated) = (Vec::new(), Vec::new(), Vec::new());
    for name in &args.concepts {
        let Some(fact) = company.find(name, &[end], filter) else {
            missing.push(name.clone());
            continue;
        };
        if fact.restated {
            restated.push(fact.concept.clone());
        }
        found.push(json!({
            "concept": fact.concept,
            "value": fact.value.to_string(),
            "unit": fact.unit,
            "start": fact.start.map(|start| start.to_string()),
            "end": fact.end.to_string(),
            "form": fact.form,
            "filed": fact.filed.to_string(),
            "accession": fact.accession,
        }));
    }
    if found.is_empty() {
        return Err(ToolError::no_data(format!(
            "{} has no such fact for the period that ends on {end}; check the date, the form and the names of the concepts",
            company.entity
        )));
    }
    let mut warnings = Vec::new();
    if !restated.is_empty() {
        warnings.push(warning(
            "restated",
            format!("Filings differ on {}; the newest is shown.", restated.join(", ")),
        ));
    }
    if !missing.is_empty() {
        warnings.push(warning("missing", format!("No fact for {}.", missing.join(", "))));
    }
    Ok(json!({
        "entity": company.entity,
        "cik": company.cik,
        "facts": found,
        "missing": missing,
        "restated": restated,
        "method": "SEC company facts by period end and length; the newest filing wins, v1",
        "warnings": warnings,
    }))
}
