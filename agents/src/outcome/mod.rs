//! Outcomes: whether a joint venture earns more than it costs, and how sure that is.
//!
//! Everything here is pure: an experiment fixed before it starts ([`design`], [`assign`]), what it says
//! ([`readout`]) by statistics ([`sample`], [`adjust`], [`bootstrap`], [`sequence`], [`check`]) that
//! simulated experiments of known truth put to the test ([`simulate`]), what a run costs
//! ([`economics`]), and what parties owe each other ([`contract`], [`statement`], [`receipt`], [`signature`])
//! in exact decimals ([`micros`]). [`demo`] draws the story of the demo joint ventures.

pub mod adjust;
pub mod assign;
pub mod bootstrap;
pub mod check;
pub mod contract;
pub mod demo;
pub mod design;
pub mod distribution;
pub mod economics;
pub mod micros;
pub mod readout;
pub mod receipt;
pub mod sample;
pub mod sequence;
pub mod signature;
pub mod simulate;
pub mod statement;

#[cfg(test)]
mod tests;
