//! Recall campaigns of a vehicle, from a table of the partner or the authority.

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

use super::vin;
use crate::tool::{Table, ToolContext, ToolError, Window, decode, warning};

/// The tenant's table of campaigns.
const RECALLS: &str = "automotive_recalls";

/// The tenant's fleet: `vehicle_id, vin, make, model, model_year`; optional.
const VEHICLES: &str = "automotive_vehicles";

/// Repairs done under campaigns: `campaign_number` and `vin` or `vehicle_id`; optional.
const REPAIRS: &str = "automotive_recall_repairs";

#[derive(Deserialize)]
struct Arguments {
    vin: Option<String>,
    vehicle_id: Option<String>,
    make: Option<String>,
    model: Option<String>,
    model_year: Option<i32>,
    dataset: Option<String>,
    as_of: Option<Date>,
}

/// What is known of the vehicle.
#[derive(Debug, Default)]
struct Vehicle {
    id: Option<String>,
    vin: Option<String>,
    model: Option<(String, String, i32)>,
}

/// Returns a table of the tenant that need not be there.
fn optional(context: &ToolContext<'_>, id: &str) -> Result<Option<Table>, ToolError> {
    match context.datasets.table(id, &Window::default()) {
        Ok(table) => Ok(Some(table)),
        Err(ToolError::NoData { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Completes what the request says of the vehicle from the tenant's fleet.
fn vehicle(args: &Arguments, context: &ToolContext<'_>) -> Result<Vehicle, ToolError> {
    let stated = args.make.clone().zip(args.model.clone()).zip(args.model_year);
    let mut vehicle = Vehicle {
        id: args.vehicle_id.clone(),
        vin: args.vin.as_deref().map(vin::clean),
        model: stated.map(|((make, model), year)| (make, model, year)),
    };
    if vehicle.id.is_none() && vehicle.vin.is_none() {
        return Ok(vehicle);
    }
    let row = optional(context, VEHICLES)?.and_then(|table| {
        let (id, vin) = (table.find("vehicle_id"), table.find("vin"));
        let is = |row: &[String], column: Option<usize>, wanted: Option<&str>| {
            matches!((column, wanted), (Some(at), Some(wanted)) if row[at].eq_ignore_ascii_case(wanted))
        };
        let row = table.rows.iter().find(|row| {
            is(row, id, vehicle.id.as_deref()) || is(row, vin, vehicle.vin.as_deref())
        })?;
        let cell = |name: &str| table.find(name).map(|at| row[at].clone()).filter(|t| !t.is_empty());
        let year = cell("model_year").and_then(|year| year.parse().ok());
        Some((cell("vehicle_id"), cell("vin"), cell("make").zip(cell("model")).zip(year)))
    });
    match row {
        Some((id, number, model)) => {
            vehicle.id = vehicle.id.or(id);
            vehicle.vin = vehicle.vin.or_else(|| number.map(|text| vin::clean(&text)));
            vehicle.model = vehicle.model.or(model.map(|((make, name), year)| (make, name, year)));
        }
        None if vehicle.vin.is_none() && vehicle.model.is_none() => {
            let id = vehicle.id.as_deref().unwrap_or_default();
            return Err(ToolError::no_data(format!("no vehicle `{id}` in the table {VEHICLES}")));
        }
        None => {}
    }
    Ok(vehicle)
}

/// The columns of a table of campaigns.
struct Columns<'a> {
    table: &'a Table,
    vins: Option<usize>,
}

impl Columns<'_> {
    fn cell<'r>(&self, row: &'r [String], name: &str) -> Result<&'r str, ToolError> {
        Ok(row[self.table.column(name)?].as_str())
    }

    fn date(&self, row: &[String], name: &str) -> Result<Date, ToolError> {
        let text = self.cell(row, name)?;
        text.parse().map_err(|_| {
            ToolError::invalid("/dataset", format!("`{text}` is no {name} YYYY-MM-DD"))
        })
    }

    /// Tells whether a campaign names the VIN.
    fn names(&self, row: &[String], number: &str) -> bool {
        self.vins.is_some_and(|at| row[at].split(';').any(|listed| vin::clean(listed) == number))
    }

    /// Tells whether a campaign gives only makes, models and years.
    fn lists_no_vin(&self, row: &[String]) -> bool {
        self.vins.is_none_or(|at| row[at].trim().is_empty())
    }

    /// Tells whether a campaign is about the make, model and year.
    fn covers(
        &self,
        row: &[String],
        (make, model, year): &(String, String, i32),
    ) -> Result<bool, ToolError> {
        let bound = |name: &str| -> Result<i32, ToolError> {
            let text = self.cell(row, name)?;
            text.parse()
                .map_err(|_| ToolError::invalid("/dataset", format!("`{text}` is no {name}")))
        };
        let same = |a: &str, b: &str| a.trim().to_lowercase() == b.trim().to_lowercase();
        Ok(same(self.cell(row, "make")?, make)
            && self.cell(row, "models")?.split(';').any(|listed| same(listed, model))
            && (bound("year_from")?..=bound("year_to")?).contains(year))
    }
}

/// Tells whether the tenant records the repair of a campaign; `None` ⇐ it keeps no such record, or
/// the vehicle is not known by its number.
fn completed(repairs: Option<&Table>, campaign: &str, vehicle: &Vehicle) -> Option<bool> {
    let table = repairs?;
    if vehicle.id.is_none() && vehicle.vin.is_none() {
        return None;
    }
    let number = table.find("campaign_number")?;
    let (id, vin) = (table.find("vehicle_id"), table.find("vin"));
    Some(table.rows.iter().any(|row| {
        let is = |column: Option<usize>, wanted: &Option<String>| {
            matches!((column, wanted), (Some(at), Some(wanted)) if row[at] == *wanted)
        };
        row[number] == campaign && (is(id, &vehicle.id) || is(vin, &vehicle.vin))
    }))
}

fn campaign(columns: &Columns<'_>, row: &[String], done: Option<bool>) -> Result<Value, ToolError> {
    let text = |name: &str| columns.cell(row, name);
    Ok(json!({
        "campaign_number": text("campaign_number")?,
        "authority": text("authority")?,
        "component": text("component")?,
        "summary": text("summary")?,
        "remedy": text("remedy")?,
        "published_date": columns.date(row, "published_date")?.to_string(),
        "do_not_drive": text("do_not_drive")?.eq_ignore_ascii_case("true"),
        "completed": done,
    }))
}

fn warnings(basis: &str, listed: Date, as_of: Option<Date>) -> Vec<Value> {
    let mut warnings = Vec::new();
    if basis == "model" {
        warnings.push(warning(
            "matched_by_model",
            "Matched by make, model and year; whether this very vehicle is affected, only its VIN tells.",
        ));
    }
    if as_of.is_some_and(|as_of| as_of > listed) {
        warnings.push(warning(
            "list_is_older",
            format!("The table is of {listed}; later campaigns are not in it."),
        ));
    }
    warnings
}

/// Lists the campaigns of a vehicle, newest first. An empty list proves nothing beyond its table.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no table, an empty one, an unknown vehicle, or a VIN that neither the
/// campaigns nor the fleet know; [`ToolError::InvalidInput`] ⇐ a VIN with I, O or Q, or a cell that
/// does not read.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    if args.vin.as_deref().is_some_and(|text| vin::weighted_sum(&vin::clean(text)).is_none()) {
        return Err(ToolError::invalid("/vin", "the letters I, O and Q never stand in a VIN"));
    }
    let id = args.dataset.as_deref().unwrap_or(RECALLS);
    let table = context.datasets.table(id, &Window::default())?;
    let vehicle = vehicle(&args, context)?;
    let columns = Columns { vins: table.find("vins"), table: &table };
    let repairs = optional(context, REPAIRS)?;
    let mut listed: Option<Date> = None;
    let (mut by_vin, mut by_model) = (Vec::new(), Vec::new());
    for row in &table.rows {
        listed = listed.max(Some(columns.date(row, "list_as_of")?));
        let published = columns.date(row, "published_date")?;
        if args.as_of.is_some_and(|as_of| published > as_of) {
            continue;
        }
        if vehicle.vin.as_deref().is_some_and(|number| columns.names(row, number)) {
            by_vin.push((published, row));
        } else if let Some(model) = &vehicle.model
            && (vehicle.vin.is_none() || columns.lists_no_vin(row))
            && columns.covers(row, model)?
        {
            by_model.push((published, row));
        }
    }
    let listed = listed.ok_or_else(|| ToolError::no_data(format!("`{id}` lists no campaign")))?;
    let has_list = vehicle.vin.is_some() && columns.vins.is_some();
    if !has_list && vehicle.model.is_none() {
        return Err(ToolError::no_data(format!(
            "`{id}` lists no VINs and the fleet does not know this one; give make, model and model_year"
        )));
    }
    let basis = if has_list && by_model.is_empty() { "vin" } else { "model" };
    let mut found = by_vin;
    found.extend(by_model);
    found.sort_by_key(|(published, _)| std::cmp::Reverse(*published));
    let recalls = found
        .iter()
        .map(|(_, row)| {
            let number = columns.cell(row, "campaign_number")?;
            campaign(&columns, row, completed(repairs.as_ref(), number, &vehicle))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let open = || recalls.iter().filter(|recall| recall["completed"] != Value::Bool(true));
    Ok(json!({
        "open_count": open().count(),
        "do_not_drive": open().any(|recall| recall["do_not_drive"] == Value::Bool(true)),
        "match_basis": basis,
        "list_as_of": listed.to_string(),
        "method": "Exact match by VIN where the table lists VINs, else make and model without case and model year inside the campaign's range; no inference",
        "warnings": warnings(basis, listed, args.as_of),
        "recalls": recalls,
    }))
}
