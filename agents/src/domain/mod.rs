//! Native tools of the shipped packs, one folder per industry.
//!
//! Each tool is a file with `pub(crate) fn run(arguments, context) -> Result<Value, ToolError>`
//! whose formulas are pure functions, cited where they stand.

pub mod automotive;
pub mod energy;
pub mod finance;
pub mod gaming;

use crate::tool::NativeFn;

/// Looks up a native tool of an industry by name.
pub fn native(industry: &str, tool: &str) -> Option<NativeFn> {
    let tools = match industry {
        "finance" => finance::TOOLS,
        "energy" => energy::TOOLS,
        "automotive" => automotive::TOOLS,
        "gaming" => gaming::TOOLS,
        _ => return None,
    };
    tools.iter().find(|(name, _)| *name == tool).map(|(_, run)| *run)
}
