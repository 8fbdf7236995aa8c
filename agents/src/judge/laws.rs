//! The laws of an industry on drawn arguments.

use super::{Bench, Check, Verdict};
use crate::law;

/// One check for each law of the pack's industry; a law of an absent tool is skipped.
pub(super) fn checks<'a>(bench: &'a Bench<'a>) -> Vec<Check<'a>> {
    let options = bench.options;
    law::of(&bench.pack.manifest.id)
        .iter()
        .filter(|law| options.wants(law.tool))
        .map(|law| {
            Check::new(format!("{}: {}", law.tool, law.name), move || {
                if bench.pack.tool(law.tool).is_none() {
                    return Verdict::Skipped(format!("the pack has no tool `{}`", law.tool));
                }
                let held = bench
                    .within(|context| law.hold(bench.pack, context, options.seed, options.draws));
                held.into()
            })
        })
        .collect()
}
