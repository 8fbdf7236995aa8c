//! Native tools of the gaming pack.

use crate::tool::NativeFn;

mod gacha_odds;
mod orders;
mod rating_predict;
mod refund_request;
mod sample_size;

/// The tools of this industry, by name.
pub const TOOLS: &[(&str, NativeFn)] = &[
    ("gacha_odds", gacha_odds::run),
    ("rating_predict", rating_predict::run),
    ("refund_request", refund_request::run),
    ("sample_size", sample_size::run),
];

/// Rounds away the noise of binary fractions.
fn tidy(value: f64) -> f64 {
    (value * 1e8).round() / 1e8
}
