//! Figures of a company filing, in the form of the SEC's company facts.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::tool::{ToolContext, ToolError};

/// Largest file, bytes; those of the largest filers stay below.
const MAX_BYTES: usize = 64 << 20;

/// Names for figures that filers report under one of several concepts, tried in order.
const ALIASES: [(&str, &[&str]); 11] = [
    (
        "revenue",
        &[
            "RevenueFromContractWithCustomerExcludingAssessedTax",
            "Revenues",
            "RevenueFromContractWithCustomerIncludingAssessedTax",
            "SalesRevenueNet",
            "Revenue",
        ],
    ),
    ("gross_profit", &["GrossProfit"]),
    ("net_income", &["NetIncomeLoss", "ProfitLoss"]),
    ("operating_income", &["OperatingIncomeLoss", "ProfitLossFromOperatingActivities"]),
    ("assets", &["Assets"]),
    ("liabilities", &["Liabilities"]),
    (
        "equity",
        &[
            "StockholdersEquity",
            "StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest",
            "EquityAttributableToOwnersOfParent",
            "Equity",
        ],
    ),
    ("current_assets", &["AssetsCurrent", "CurrentAssets"]),
    ("current_liabilities", &["LiabilitiesCurrent", "CurrentLiabilities"]),
    (
        "receivables",
        &[
            "AccountsReceivableNetCurrent",
            "ReceivablesNetCurrent",
            "CurrentTradeReceivables",
            "TradeAndOtherCurrentReceivables",
        ],
    ),
    ("cash", &["CashAndCashEquivalentsAtCarryingValue", "CashAndCashEquivalents"]),
];

/// A figure with its filing.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) concept: String,
    pub(super) value: Decimal,
    pub(super) unit: String,
    pub(super) start: Option<Date>,
    pub(super) end: Date,
    pub(super) form: String,
    pub(super) filed: Date,
    pub(super) accession: String,
    /// Whether another filing gives another value.
    pub(super) restated: bool,
}

/// Length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Annual,
    Quarter,
}

impl Period {
    fn holds(self, start: Date, end: Date) -> bool {
        let days = (end - start).get_days() + 1;
        match self {
            Self::Annual => (350..=380).contains(&days),
            Self::Quarter => (80..=100).contains(&days),
        }
    }
}

/// Which facts count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter<'f> {
    pub(super) period: Period,
    pub(super) form: Option<&'f str>,
    pub(super) taxonomy: Option<&'f str>,
    pub(super) as_of: Option<Date>,
}

/// A company's facts.
#[derive(Debug)]
pub(super) struct Company {
    pub(super) entity: String,
    /// Ten digits.
    pub(super) cik: String,
    taxonomies: Map<String, Value>,
}

fn fault(message: impl std::fmt::Display) -> ToolError {
    ToolError::invalid("/dataset", format!("the company facts cannot be read: {message}"))
}

/// Reads the file of a dataset.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ unknown dataset; [`ToolError::InvalidInput`] ⇐ not the form of the SEC's
/// company facts.
pub(super) fn read(context: &ToolContext<'_>, dataset: &str) -> Result<Company, ToolError> {
    let bytes = context.datasets.file(dataset)?;
    if bytes.len() > MAX_BYTES {
        return Err(fault("the file is larger than 64 MiB"));
    }
    let mut file: Value = serde_json::from_slice(&bytes).map_err(fault)?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let cik = text(&file["cik"]);
    let digits = !cik.is_empty() && cik.len() <= 10 && cik.bytes().all(|b| b.is_ascii_digit());
    let entity = file["entityName"].as_str().map(str::to_owned);
    match (entity, file["facts"].take()) {
        (Some(entity), Value::Object(taxonomies)) if digits => {
            Ok(Company { entity, cik: format!("{cik:0>10}"), taxonomies })
        }
        _ => Err(fault("it lacks `cik`, `entityName` or `facts`")),
    }
}

/// Returns the concepts that a name stands for.
pub(super) fn concepts(name: &str) -> Vec<&str> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    alias.map_or_else(|| vec![name], |(_, concepts)| concepts.to_vec())
}

impl Company {
    /// Returns the newest filed fact of a concept or alias whose period ends on a day of `ends`; of
    /// several days the one first in `ends` counts.
    ///
    /// The year of a fact is its period end: `fy` and `fp` describe the filing and are ignored.
    pub(super) fn find(&self, name: &str, ends: &[Date], filter: Filter<'_>) -> Option<Fact> {
        concepts(name).into_iter().find_map(|concept| self.newest(concept, ends, filter))
    }

    fn newest(&self, concept: &str, ends: &[Date], filter: Filter<'_>) -> Option<Fact> {
        let mut found: Vec<Fact> = self
            .taxonomies
            .iter()
            .filter(|(name, _)| filter.taxonomy.is_none_or(|only| only == *name))
            .filter_map(|(_, concepts)| concepts.get(concept)?.get("units")?.as_object())
            .flatten()
            .flat_map(|(unit, facts)| {
                facts.as_array().into_iter().flatten().map(move |f| (unit, f))
            })
            .filter_map(|(unit, fact)| fact_of(concept, unit, fact))
            .filter(|fact| {
                ends.contains(&fact.end)
                    && fact.start.is_none_or(|start| filter.period.holds(start, fact.end))
                    && filter.form.is_none_or(|form| is_form(&fact.form, form))
                    && filter.as_of.is_none_or(|day| fact.filed <= day)
            })
            .collect();
        let nearest = ends.iter().find(|end| found.iter().any(|fact| fact.end == **end))?;
        found.retain(|fact| fact.end == *nearest);
        found.sort_by(|a, b| (a.filed, &a.accession).cmp(&(b.filed, &b.accession)));
        let mut newest = found.last()?.clone();
        newest.restated =
            found.iter().any(|fact| fact.unit == newest.unit && fact.value != newest.value);
        Some(newest)
    }
}

/// An amended filing (`10-K/A`) is of the form that it amends.
fn is_form(form: &str, wanted: &str) -> bool {
    form.strip_suffix("/A").unwrap_or(form) == wanted
}

fn fact_of(concept: &str, unit: &str, fact: &Value) -> Option<Fact> {
    let text = |key: &str| fact.get(key).and_then(Value::as_str);
    let date = |key: &str| text(key)?.parse::<Date>().ok();
    let number = fact.get("val")?.as_number()?.to_string();
    let value = number.parse().ok().or_else(|| Decimal::from_scientific(&number).ok())?;
    Some(Fact {
        concept: concept.to_owned(),
        value: Decimal::normalize(&value),
        unit: unit.to_owned(),
        start: date("start"),
        end: date("end")?,
        form: text("form")?.to_owned(),
        filed: date("filed")?,
        accession: text("accn")?.to_owned(),
        restated: false,
    })
}
