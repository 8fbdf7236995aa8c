//! Outcomes: whether a joint venture earns more than it costs, and how sure that is.
//!
//! Everything here is pure: an experiment fixed before it starts ([`assign`] says who is in which
//! arm), statistics ([`sample`], [`adjust`], [`bootstrap`], [`sequence`], [`check`]) and simulated
//! experiments of known truth ([`simulate`]) that show that the statistics hold what they say.

pub mod adjust;
pub mod assign;
pub mod bootstrap;
pub mod check;
pub mod distribution;
pub mod sample;
pub mod sequence;
pub mod simulate;
