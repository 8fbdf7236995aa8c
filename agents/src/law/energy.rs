//! Laws of the energy tools.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{Law, call, ensure, number, numbers};
use crate::demo::Chance;
use crate::pack::Pack;
use crate::tool::ToolContext;

/// Rounding that a plan's figures may carry, kW or kWh.
const SLACK: f64 = 2e-3;

pub(super) const LAWS: &[Law] = &[
    Law {
        name: "a battery's stored energy is what was charged less what was discharged and lost",
        industry: "energy",
        tool: "battery_dispatch",
        check: stored_energy_balances,
    },
    Law {
        name: "a battery stays within its power and its capacity and never charges while discharging",
        industry: "energy",
        tool: "battery_dispatch",
        check: limits_are_kept,
    },
    Law {
        name: "a site imports what its load and its battery take, and no plan costs more than none",
        industry: "energy",
        tool: "battery_dispatch",
        check: the_site_balances,
    },
];

/// A drawn battery, its prices and its plan.
struct Plan {
    capacity: f64,
    charge_limit: f64,
    discharge_limit: f64,
    /// Shares of one, each way.
    efficiency: (f64, f64),
    initial: f64,
    floor: f64,
    final_least: f64,
    load: Vec<f64>,
    hours: f64,
    result: Value,
}

fn plan(chance: &mut Chance, pack: &Pack, context: &ToolContext<'_>) -> Result<Plan, String> {
    let count = chance.random_range(2..9_usize);
    let prices: Vec<String> = (0..count)
        .map(|_| format!("{:.2}", f64::from(chance.random_range(-20..60_i32)) / 100.0))
        .collect();
    let load: Vec<f64> = (0..count).map(|_| f64::from(chance.random_range(0..120_u32))).collect();
    let capacity = f64::from(chance.random_range(5..200_u32));
    let floor = (capacity * chance.random_range(0.0..0.2)).floor();
    let initial = floor + ((capacity - floor) * chance.random_range(0.0..1.0)).floor();
    let final_least = floor + ((initial - floor) * chance.random_range(0.0..1.0)).floor();
    let minutes = [15, 30, 60][chance.random_range(0..3_usize)];
    let (charge_pct, discharge_pct) =
        (chance.random_range(70..=100_u32), chance.random_range(70..=100_u32));
    let (charge_limit, discharge_limit) =
        (f64::from(chance.random_range(1..80_u32)), f64::from(chance.random_range(1..80_u32)));
    let arguments = json!({
        "prices_per_kwh": prices, "load_kw": load, "interval_minutes": minutes,
        "capacity_kwh": capacity, "max_charge_kw": charge_limit,
        "max_discharge_kw": discharge_limit, "charge_efficiency_pct": charge_pct,
        "discharge_efficiency_pct": discharge_pct, "initial_soc_kwh": initial,
        "min_soc_kwh": floor, "final_soc_min_kwh": final_least,
        "allow_export": chance.random_bool(0.5),
    });
    let efficiency = (f64::from(charge_pct) / 100.0, f64::from(discharge_pct) / 100.0);
    let hours = f64::from(minutes) / 60.0;
    let result = call(pack, context, "battery_dispatch", &arguments)?;
    Ok(Plan {
        capacity,
        charge_limit,
        discharge_limit,
        efficiency,
        initial,
        floor,
        final_least,
        load,
        hours,
        result,
    })
}

fn stored_energy_balances(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let plan = plan(chance, pack, context)?;
    let (charge, discharge) =
        (numbers(&plan.result, "charge_kw")?, numbers(&plan.result, "discharge_kw")?);
    let soc = numbers(&plan.result, "soc_kwh")?;
    ensure(charge.len() == plan.load.len() && soc.len() == charge.len(), || {
        format!("expected {} intervals, found {}", plan.load.len(), soc.len())
    })?;
    let mut stored = plan.initial;
    for (t, ((c, d), found)) in charge.iter().zip(&discharge).zip(&soc).enumerate() {
        stored += (c * plan.efficiency.0 - d / plan.efficiency.1) * plan.hours;
        // The tolerance grows with the figures that were added.
        ensure((found - stored).abs() <= SLACK * (t + 1) as f64, || {
            format!("interval {t}: expected {stored} kWh stored, found {found}")
        })?;
    }
    let energy = |powers: &[f64]| powers.iter().sum::<f64>() * plan.hours;
    for (name, powers) in [("charged_kwh", &charge), ("discharged_kwh", &discharge)] {
        let (expected, found) = (energy(powers), number(&plan.result[name])?);
        ensure((expected - found).abs() <= SLACK * powers.len() as f64, || {
            format!("{name}: expected {expected}, found {found}")
        })?;
    }
    Ok(())
}

fn limits_are_kept(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let plan = plan(chance, pack, context)?;
    let within = |name: &str, least: f64, most: f64| -> Result<Vec<f64>, String> {
        let values = numbers(&plan.result, name)?;
        let outside = values.iter().find(|v| **v < least - SLACK || **v > most + SLACK);
        ensure(outside.is_none(), || {
            format!("{name}: expected {least} to {most}, found {outside:?}")
        })?;
        Ok(values)
    };
    let charge = within("charge_kw", 0.0, plan.charge_limit)?;
    let discharge = within("discharge_kw", 0.0, plan.discharge_limit)?;
    let soc = within("soc_kwh", plan.floor, plan.capacity)?;
    let both = charge.iter().zip(&discharge).position(|(c, d)| *c > SLACK && *d > SLACK);
    ensure(both.is_none(), || format!("charges and discharges at once in interval {both:?}"))?;
    let last = soc.last().copied().unwrap_or_default();
    ensure(last >= plan.final_least - SLACK, || {
        format!("expected at least {} kWh at the end, found {last}", plan.final_least)
    })
}

fn the_site_balances(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let plan = plan(chance, pack, context)?;
    let series = |name: &str| numbers(&plan.result, name);
    let (charge, discharge) = (series("charge_kw")?, series("discharge_kw")?);
    let (import, export) = (series("grid_import_kw")?, series("grid_export_kw")?);
    for t in 0..plan.load.len() {
        let needs = plan.load[t] + charge[t] - discharge[t];
        let found = import[t] - export[t];
        ensure((needs - found).abs() <= 2.0 * SLACK, || {
            format!("interval {t}: expected {needs} kW from the grid, found {found}")
        })?;
        ensure(import[t] <= SLACK || export[t] <= SLACK, || {
            format!("interval {t}: imports and exports at once")
        })?;
    }
    let gain = number(&plan.result["gain"])?;
    // Doing nothing is always allowed, so the best plan cannot cost more.
    ensure(gain >= -0.01, || format!("expected a gain of at least 0, found {gain}"))
}
