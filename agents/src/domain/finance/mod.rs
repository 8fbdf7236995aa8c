//! Native tools of the finance pack.
//!
//! Money is decimal from argument to result; only rates that are solved for are floating point.

use crate::tool::NativeFn;

mod apr;
mod flows;
mod id_validate;
mod loan_schedule;
mod portfolio_risk;
mod three_way_match;
mod xirr;

/// The tools of this industry, by name.
pub const TOOLS: &[(&str, NativeFn)] = &[
    ("apr", apr::run),
    ("id_validate", id_validate::run),
    ("loan_schedule", loan_schedule::run),
    ("portfolio_risk", portfolio_risk::run),
    ("three_way_match", three_way_match::run),
    ("xirr", xirr::run),
];
