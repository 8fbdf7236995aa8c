//! The server: the tenant store, the command line, and everything that talks to the outside.
//!
//! [`cli`] reads the command line and [`config`] the settings; [`postgres`] runs the private
//! database; [`store`] holds every row of every tenant behind one door; [`host`] gives tools their
//! tenant's data and nobody else's; [`jobs`] drives the runs.

mod a2a;
pub mod access;
pub mod agent;
pub mod api;
pub mod approvals;
pub mod audit;
pub mod auth;
pub mod cli;
mod completions;
pub mod config;
pub mod connector;
pub mod control;
pub mod dashboard;
pub mod dataset;
pub mod egress;
pub mod error;
pub mod fault;
pub mod host;
pub mod http;
pub mod input;
pub mod jobs;
pub mod live;
mod mcp;
pub mod models;
pub mod openapi;
pub mod ops;
pub mod outcomes;
pub mod packs;
pub mod planner;
pub mod postgres;
pub mod settings;
pub mod state;
pub mod store;
pub mod teacher;
pub mod training;
pub mod vault;
pub mod view;
pub mod webhooks;
