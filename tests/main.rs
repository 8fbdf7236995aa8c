//! Whole-system tests: the real binary, its database, and nothing in between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod a2a;
mod access;
mod api;
mod approvals;
mod ask;
mod audit;
mod backup;
mod canary;
mod compatible;
mod completions;
mod config;
mod control;
mod dashboard;
mod datasets;
mod deploy;
mod egress;
mod faults;
mod inbound;
mod jobs;
mod mcp;
mod models;
mod operations;
mod outcomes;
mod pack;
mod pack_author;
mod pack_install;
mod retries;
mod sets;
mod settings;
mod signing;
mod startup;
mod support;
mod tenancy;
mod traces;
mod upgrade;
mod walls;
mod webhook_pages;
mod webhooks;
