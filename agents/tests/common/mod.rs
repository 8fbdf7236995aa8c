//! One call of a tool on datasets in memory, without any approval.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use agents::pack::{MemoryEffects, shipped};
use agents::port::DatasetSource;
use agents::tool::{Limits, ToolContext, ToolError};
use serde_json::Value;

pub(crate) fn call(
    industry: &str,
    datasets: &dyn DatasetSource,
    tool: &str,
    arguments: &Value,
) -> Result<Value, ToolError> {
    let pack = shipped().unwrap().iter().find(|pack| pack.manifest.id == industry).unwrap();
    let (effects, limits) = (MemoryEffects::default(), Limits::default());
    let context = ToolContext {
        datasets,
        effects: &effects,
        systems: &agents::port::NoSystems,
        now: "2026-11-24T00:00:00Z".parse().unwrap(),
        approval: None,
        limits: &limits,
    };
    pack.call(tool, arguments, &context)
}
