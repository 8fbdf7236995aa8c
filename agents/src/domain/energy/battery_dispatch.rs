//! When a battery should charge and discharge against known prices.

use good_lp::solvers::SolutionStatus;
use good_lp::{
    Expression, Solution, SolverModel, Variable, WithTimeLimit, constraint, microlp, variable,
    variables,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::number::{self, amount, price, tidy};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// Time the solver may take, s.
const TIME_LIMIT_S: f64 = 20.0;
/// Most intervals of a dataset, as in the schema of the inline form.
const MAX_INTERVALS: usize = 288;

#[derive(Deserialize)]
struct Arguments {
    prices_per_kwh: Option<Vec<String>>,
    price_dataset: Option<String>,
    export_prices_per_kwh: Option<Vec<String>>,
    load_kw: Option<Vec<f64>>,
    load_dataset: Option<String>,
    #[serde(default = "hour")]
    interval_minutes: f64,
    capacity_kwh: f64,
    max_charge_kw: f64,
    max_discharge_kw: f64,
    #[serde(default = "ninety_five")]
    charge_efficiency_pct: f64,
    #[serde(default = "ninety_five")]
    discharge_efficiency_pct: f64,
    #[serde(default)]
    initial_soc_kwh: f64,
    #[serde(default)]
    min_soc_kwh: f64,
    #[serde(default)]
    final_soc_min_kwh: f64,
    #[serde(default = "yes")]
    allow_export: bool,
    grid_import_limit_kw: Option<f64>,
    demand_charge_per_kw: Option<String>,
    wear_cost_per_kwh: Option<String>,
    currency: Option<String>,
}

fn hour() -> f64 {
    60.0
}
fn ninety_five() -> f64 {
    95.0
}
fn yes() -> bool {
    true
}

/// The numbers of the problem; every series has one value per interval.
struct Problem {
    import: Vec<f64>,
    export: Vec<f64>,
    load: Vec<f64>,
    hours: f64,
    demand: f64,
    wear: f64,
    charge_share: f64,
    discharge_share: f64,
}

/// A plan; kW per interval.
struct Plan {
    charge: Vec<f64>,
    discharge: Vec<f64>,
    optimal: bool,
}

fn prices(texts: &[String], pointer: &str) -> Result<Vec<f64>, ToolError> {
    texts.iter().enumerate().map(|(i, text)| price(text, &format!("{pointer}/{i}"))).collect()
}

fn column(
    context: &ToolContext<'_>,
    id: &str,
    window: &Window,
    name: &str,
) -> Result<Vec<f64>, ToolError> {
    let table = context.datasets.table(id, window)?;
    let at = table.column(name)?;
    if table.rows.is_empty() {
        return Err(ToolError::no_data(format!("`{id}` has no rows in this window")));
    }
    if table.rows.len() > MAX_INTERVALS {
        return Err(ToolError::invalid(
            "/start",
            format!("`{id}` has {} rows here; cut it to {MAX_INTERVALS}", table.rows.len()),
        ));
    }
    table.rows.iter().map(|row| number::cell(&row[at], &format!("/{name}"))).collect()
}

fn same_length(series: &[f64], wanted: usize, pointer: &str) -> Result<(), ToolError> {
    if series.len() == wanted {
        return Ok(());
    }
    Err(ToolError::invalid(
        pointer,
        format!("{} values for {wanted} intervals; give one value per price", series.len()),
    ))
}

fn check_energy(args: &Arguments) -> Result<(), ToolError> {
    let limits = [
        ("/initial_soc_kwh", args.initial_soc_kwh),
        ("/min_soc_kwh", args.min_soc_kwh),
        ("/final_soc_min_kwh", args.final_soc_min_kwh),
    ];
    for (pointer, value) in limits {
        if value > args.capacity_kwh {
            return Err(ToolError::invalid(
                pointer,
                format!("{value} kWh is above the capacity of {} kWh", args.capacity_kwh),
            ));
        }
    }
    Ok(())
}

fn problem(
    args: &Arguments,
    arguments: &Value,
    context: &ToolContext<'_>,
) -> Result<Problem, ToolError> {
    check_energy(args)?;
    let window = Window::from_arguments(arguments)?;
    let inline =
        args.prices_per_kwh.as_deref().map(|p| prices(p, "/prices_per_kwh")).transpose()?;
    if let (Some(prices), Some(load)) = (&inline, &args.load_kw) {
        same_length(load, prices.len(), "/load_kw")?;
    }
    let import = match (inline, &args.price_dataset) {
        (Some(prices), _) => prices,
        (None, Some(id)) => {
            // Prices hold for all sites, so the site filter is for the load alone.
            let window = Window { site_id: None, ..window.clone() };
            column(context, id, &window, "price_per_kwh")?
        }
        (None, None) => return Err(ToolError::invalid("", "give prices_per_kwh or price_dataset")),
    };
    let n = import.len();
    let load = match (&args.load_kw, &args.load_dataset) {
        (Some(load), _) => load.clone(),
        (None, Some(id)) => column(context, id, &window, "load_kw")?,
        (None, None) => vec![0.0; n],
    };
    same_length(&load, n, "/load_kw")?;
    let export = match &args.export_prices_per_kwh {
        Some(texts) => prices(texts, "/export_prices_per_kwh")?,
        None => import.clone(),
    };
    same_length(&export, n, "/export_prices_per_kwh")?;
    let money = |text: &Option<String>, pointer: &str| {
        text.as_deref().map_or(Ok(0.0), |text| price(text, pointer))
    };
    Ok(Problem {
        import,
        export,
        load,
        hours: args.interval_minutes / 60.0,
        demand: money(&args.demand_charge_per_kw, "/demand_charge_per_kw")?,
        wear: money(&args.wear_cost_per_kwh, "/wear_cost_per_kwh")?,
        charge_share: args.charge_efficiency_pct / 100.0,
        discharge_share: args.discharge_efficiency_pct / 100.0,
    })
}

/// Solves the program.
///
/// A binary stands in an interval only where the relaxation could gain from doing two opposite
/// things at once: charging and discharging pays only at prices of zero or below, importing and
/// exporting only when the export price is the higher one. Elsewhere the optimum is the same.
fn solve(args: &Arguments, p: &Problem) -> Result<Plan, ToolError> {
    let n = p.import.len();
    let export_limit = if args.allow_export { f64::INFINITY } else { 0.0 };
    let import_limit = args.grid_import_limit_kw.unwrap_or(f64::INFINITY);
    let mut vars = variables!();
    let charge: Vec<Variable> = vars.add_vector(variable().min(0.0).max(args.max_charge_kw), n);
    let discharge: Vec<Variable> =
        vars.add_vector(variable().min(0.0).max(args.max_discharge_kw), n);
    let import: Vec<Variable> = vars.add_vector(variable().min(0.0).max(import_limit), n);
    let export: Vec<Variable> = vars.add_vector(variable().min(0.0).max(export_limit), n);
    let soc: Vec<Variable> =
        vars.add_vector(variable().min(args.min_soc_kwh).max(args.capacity_kwh), n);
    let peak = vars.add(variable().min(0.0));
    let mut cost = Expression::from(0.0) + p.demand * peak;
    let mut rules = Vec::new();
    for t in 0..n {
        cost +=
            p.hours * (p.import[t] * import[t] - p.export[t] * export[t] + p.wear * discharge[t]);
        rules.push(constraint!(import[t] - export[t] == p.load[t] + charge[t] - discharge[t]));
        rules.push(constraint!(peak >= import[t]));
        let before = if t == 0 {
            Expression::from(args.initial_soc_kwh)
        } else {
            Expression::from(soc[t - 1])
        };
        let gained = p.hours * p.charge_share * charge[t];
        let drawn = p.hours / p.discharge_share * discharge[t];
        rules.push(constraint!(before + gained - drawn == soc[t]));
        if p.import[t] <= 0.0 || p.export[t] <= 0.0 {
            let charging = vars.add(variable().binary());
            rules.push(constraint!(charge[t] <= args.max_charge_kw * charging));
            rules.push(constraint!(
                discharge[t] <= args.max_discharge_kw - args.max_discharge_kw * charging
            ));
        }
        if args.allow_export && p.export[t] > p.import[t] {
            let importing = vars.add(variable().binary());
            let most = (p.load[t] + args.max_charge_kw).min(import_limit);
            rules.push(constraint!(import[t] <= most * importing));
            rules.push(constraint!(
                export[t] <= args.max_discharge_kw - args.max_discharge_kw * importing
            ));
        }
    }
    rules.push(constraint!(soc[n - 1] >= args.final_soc_min_kwh));
    let mut model = vars.minimise(cost).using(microlp).with_time_limit(TIME_LIMIT_S);
    for rule in rules {
        model.add_constraint(rule);
    }
    let solution = model.solve().map_err(|error| match error {
        good_lp::ResolutionError::Infeasible => ToolError::invalid(
            "",
            "no plan keeps all limits; check grid_import_limit_kw, the load and the energy limits",
        ),
        other => ToolError::Unavailable {
            message: format!("the solver found no plan ({other}); use fewer intervals"),
        },
    })?;
    let values = |vars: &[Variable]| vars.iter().map(|v| solution.value(*v).max(0.0)).collect();
    Ok(Plan {
        charge: values(&charge),
        discharge: values(&discharge),
        optimal: matches!(solution.status(), SolutionStatus::Optimal),
    })
}

/// Removes charging and discharging at once, which a tie in price may leave, at the same energy.
fn net_out(plan: &mut Plan, p: &Problem) {
    for (charge, discharge) in plan.charge.iter_mut().zip(&mut plan.discharge) {
        let stored = *charge * p.charge_share - *discharge / p.discharge_share;
        *charge = tidy(stored.max(0.0) / p.charge_share);
        *discharge = tidy((-stored).max(0.0) * p.discharge_share);
    }
}

fn cost(p: &Problem, import: &[f64], export: &[f64]) -> f64 {
    let energy: f64 = (0..import.len())
        .map(|t| p.hours * (p.import[t] * import[t] - p.export[t] * export[t]))
        .sum();
    energy + p.demand * maximum(import)
}

fn maximum(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Plans the battery.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ series of different lengths, energies above the capacity, no
/// feasible plan; [`ToolError::Unavailable`] ⇐ no plan in time; the data's errors.
///
/// # Cost
/// At most 20 s in the solver; 288 intervals with load and demand charge took 0.07 s unoptimised.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let p = problem(&args, arguments, context)?;
    let mut plan = solve(&args, &p)?;
    net_out(&mut plan, &p);
    let n = p.import.len();
    let mut stored = args.initial_soc_kwh;
    let (mut import, mut export, mut soc) = (Vec::new(), Vec::new(), Vec::new());
    for t in 0..n {
        let net = p.load[t] + plan.charge[t] - plan.discharge[t];
        import.push(tidy(net.max(0.0)));
        export.push(tidy((-net).max(0.0)));
        stored +=
            p.hours * (plan.charge[t] * p.charge_share - plan.discharge[t] / p.discharge_share);
        soc.push(tidy(if stored.abs() < 1e-6 { 0.0 } else { stored }));
    }
    let discharged: f64 = plan.discharge.iter().map(|kw| kw * p.hours).sum();
    let without = cost(&p, &p.load, &vec![0.0; n]);
    let with = cost(&p, &import, &export) + p.wear * discharged;
    let mut warnings = Vec::new();
    if stored < args.initial_soc_kwh - 1e-6 {
        warnings.push(warning(
            "initial_energy_used",
            "The plan ends with less energy than it began with; part of the gain is that energy.",
        ));
    }
    if p.demand > 0.0 && args.interval_minutes > 15.0 {
        warnings.push(warning(
            "coarse_demand",
            "Intervals longer than the demand window overstate what peak shaving saves.",
        ));
    }
    let currency = args.currency.as_deref();
    Ok(json!({
        "gain": amount(without - with, currency)?,
        "cost_without_battery": amount(without, currency)?,
        "cost_with_battery": amount(with, currency)?,
        "currency": args.currency,
        "charged_kwh": tidy(plan.charge.iter().map(|kw| kw * p.hours).sum()),
        "charge_kw": plan.charge,
        "discharge_kw": plan.discharge,
        "peak_import_kw": maximum(&import),
        "grid_import_kw": import,
        "grid_export_kw": export,
        "soc_kwh": soc,
        "discharged_kwh": tidy(discharged),
        "peak_without_battery_kw": maximum(&p.load),
        "interval_minutes": args.interval_minutes,
        "solver_status": if plan.optimal { "optimal" } else { "time_limit" },
        "method": "Mixed-integer linear program (branch and bound), v1",
        "warnings": warnings,
    }))
}
