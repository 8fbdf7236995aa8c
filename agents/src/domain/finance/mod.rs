//! Native tools of the finance pack.

use crate::tool::NativeFn;

/// The tools of this industry, by name.
pub const TOOLS: &[(&str, NativeFn)] = &[];
