//! Native tools of the energy pack.
//!
//! Power is kW, energy kWh, and a reading is labelled by the start of its interval. Tools that take
//! a series read it through [`series`], which knows tables and Green Button files.

use crate::tool::NativeFn;

mod battery_dispatch;
mod carbon_scope2;
mod dr_baseline;
mod dr_respond;
pub(crate) mod espi;
mod ev_charge_plan;
mod forecast_model;
mod interval_stats;
mod load_forecast;
mod number;
mod openadr_event_parse;
mod pv_yield;
mod reliability_indices;
mod series;
mod tariff_bill;

/// The tools of this industry, by name.
pub const TOOLS: &[(&str, NativeFn)] = &[
    ("battery_dispatch", battery_dispatch::run),
    ("carbon_scope2", carbon_scope2::run),
    ("dr_baseline", dr_baseline::run),
    ("dr_respond", dr_respond::run),
    ("ev_charge_plan", ev_charge_plan::run),
    ("interval_stats", interval_stats::run),
    ("load_forecast", load_forecast::run),
    ("openadr_event_parse", openadr_event_parse::run),
    ("pv_yield", pv_yield::run),
    ("reliability_indices", reliability_indices::run),
    ("tariff_bill", tariff_bill::run),
];
