//! Native tools of the automotive pack. They read what a person already has and never send anything
//! to a vehicle.

use crate::tool::NativeFn;

mod uds_decode;
mod vin;
mod vin_decode;
mod warranty_check;

/// The tools of this industry, by name.
pub const TOOLS: &[(&str, NativeFn)] = &[
    ("uds_decode", uds_decode::run),
    ("vin_decode", vin_decode::run),
    ("warranty_check", warranty_check::run),
];
