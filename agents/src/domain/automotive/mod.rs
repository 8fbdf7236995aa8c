//! Native tools of the automotive pack. They read what a person already has and never send anything
//! to a vehicle.

use crate::tool::NativeFn;

mod book_service;
mod bytes;
mod can;
mod can_decode;
mod dm1;
mod dtc_lookup;
mod instant;
mod obd_decode;
mod place;
mod recall_lookup;
mod replace_decision;
mod service_schedule;
mod uds_decode;
pub(crate) mod vin;
mod vin_decode;
mod vss_map;
mod vss_unit;
mod warranty_check;
mod weibull;

/// The tools of this industry, by name.
pub const TOOLS: &[(&str, NativeFn)] = &[
    ("book_service", book_service::run),
    ("can_decode", can_decode::run),
    ("dtc_lookup", dtc_lookup::run),
    ("obd_decode", obd_decode::run),
    ("recall_lookup", recall_lookup::run),
    ("replace_decision", replace_decision::run),
    ("service_schedule", service_schedule::run),
    ("uds_decode", uds_decode::run),
    ("vin_decode", vin_decode::run),
    ("vss_map", vss_map::run),
    ("warranty_check", warranty_check::run),
];
