//! Native tools of the gaming pack.

use crate::tool::NativeFn;

mod ab_test;
mod cells;
mod cohort_retention;
mod economy_balance;
mod fraud_screen;
mod gacha_odds;
mod grant_item;
mod match_balance;
mod orders;
mod player_lookup;
mod players;
mod rating_predict;
mod rating_update;
mod refund_request;
mod sample_size;

/// The tools of this industry, by name.
pub const TOOLS: &[(&str, NativeFn)] = &[
    ("ab_test", ab_test::run),
    ("cohort_retention", cohort_retention::run),
    ("economy_balance", economy_balance::run),
    ("fraud_screen", fraud_screen::run),
    ("gacha_odds", gacha_odds::run),
    ("grant_item", grant_item::run),
    ("match_balance", match_balance::run),
    ("player_lookup", player_lookup::run),
    ("rating_predict", rating_predict::run),
    ("rating_update", rating_update::run),
    ("refund_request", refund_request::run),
    ("sample_size", sample_size::run),
];

/// Rounds away the noise of binary fractions; what is too large to have any stays as it is.
fn tidy(value: f64) -> f64 {
    // Adding nothing turns a negative zero into a plain one.
    let rounded = (value * 1e8).round() / 1e8 + 0.0;
    if rounded.is_finite() { rounded } else { value }
}
