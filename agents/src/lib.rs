//! Packs, tools, planning and runs: what an agent decides, without HTTP or SQL.
//!
//! The life of a request: [`tool`] defines what can be called, `pack` loads the tools, knowledge
//! and policy of an industry, `mention` finds the values in the request, `plan` asks a planner
//! for the calls, `run` steps them, and `retrieve` finds the passages that are cited.
//! Every effect leaves through a trait in [`port`].

pub mod domain;
pub mod pack;
pub mod port;
pub mod tool;
