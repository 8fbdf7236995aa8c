//! Packs, tools, planning and runs: what an agent decides, without HTTP or SQL.
pub mod answer;
pub mod dataset;
pub mod demo;
pub mod domain;
pub mod eval;
pub mod event;
pub mod lang;
pub mod mention;
pub mod pack;
pub mod plan;
pub mod policy;
pub mod port;
pub mod retrieve;
pub mod run;
pub mod synth;
pub mod tool;
