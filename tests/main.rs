//! Whole-system tests: the real binary, its database, and nothing in between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod startup;
mod support;
mod tenancy;
