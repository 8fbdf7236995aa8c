//! Domain packs: an industry's tools, knowledge, policy, answers and cases, as files.
//!
//! The shipped packs are embedded in the binary ([`shipped`]); others are read from a folder.
//! A pack is data: native tools are looked up in [`crate::domain`], everything else is text.
//! [`check`] finds every mistake of a pack's files; [`schema`] describes them for editors.

pub mod archive;
pub mod check;
pub mod diff;
mod fixtures;
pub mod import;
mod load;
mod manifest;
mod mock;
pub mod new;
mod page;
mod permissions;
pub mod schema;

pub use fixtures::{FixtureSource, MemoryEffects};
pub use load::{Pack, PackError, PackFiles, json_lines, shipped};
pub use manifest::{Auth, Format, Kpi, Manifest, Setting, Stage, System, setting_of};
pub use mock::{MockSystems, query_tables, use_engine};
pub use page::page;
pub use permissions::Permissions;
