//! Native tools of the finance pack.
//!
//! Money is decimal from argument to result; only rates that are solved for are floating point.

use crate::tool::NativeFn;

mod aml_screen;
mod apr;
mod facts;
mod financial_ratios;
mod flows;
mod id_validate;
mod loan_schedule;
mod message;
mod names;
mod open_case;
mod payment_message_parse;
mod portfolio_risk;
mod reconcile;
mod sanctions_screen;
mod three_way_match;
mod xbrl_facts;
mod xirr;

/// The tools of this industry, by name.
pub const TOOLS: &[(&str, NativeFn)] = &[
    ("aml_screen", aml_screen::run),
    ("apr", apr::run),
    ("financial_ratios", financial_ratios::run),
    ("id_validate", id_validate::run),
    ("loan_schedule", loan_schedule::run),
    ("open_case", open_case::run),
    ("payment_message_parse", payment_message_parse::run),
    ("portfolio_risk", portfolio_risk::run),
    ("reconcile", reconcile::run),
    ("sanctions_screen", sanctions_screen::run),
    ("three_way_match", three_way_match::run),
    ("xbrl_facts", xbrl_facts::run),
    ("xirr", xirr::run),
];
