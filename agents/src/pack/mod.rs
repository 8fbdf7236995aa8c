//! Domain packs: an industry's tools, knowledge, policy, answers and cases, as files.
//!
//! The shipped packs are embedded in the binary ([`shipped`]); others are read from a folder.
//! A pack is data: native tools are looked up in [`crate::domain`], everything else is text.

mod fixtures;
mod load;
mod manifest;
mod page;

pub use fixtures::{FixtureSource, MemoryEffects};
pub use load::{Pack, PackError, PackFiles, json_lines, shipped};
pub use manifest::{Kpi, Manifest};
pub use page::page;
