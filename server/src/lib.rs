//! The server: the tenant store, the command line, and everything that talks to the outside.
//!
//! [`cli`] reads the command line and [`config`] the settings; [`postgres`] runs the private
//! database; [`store`] holds every row of every tenant behind one door; [`host`] gives tools their
//! tenant's data and nobody else's; [`jobs`] drives the runs.

pub mod cli;
pub mod config;
pub mod host;
pub mod jobs;
pub mod postgres;
pub mod store;
