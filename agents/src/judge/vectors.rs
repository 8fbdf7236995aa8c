//! Known answers and calls that must be refused.

use super::{Bench, Check, Verdict};
use crate::tool::{InvalidCase, ToolSpec, Vector};

/// One check for each known answer of each tool.
pub(super) fn known<'a>(bench: &'a Bench<'a>) -> Vec<Check<'a>> {
    let tools = bench.pack.tools.iter().filter(|tool| bench.options.wants(&tool.name));
    tools
        .flat_map(|tool| {
            tool.vectors.iter().enumerate().map(move |(i, vector)| {
                Check::new(format!("{} vector {i}", tool.name), || answer(bench, tool, vector))
            })
        })
        .collect()
}

fn answer(bench: &Bench<'_>, tool: &ToolSpec, vector: &Vector) -> Verdict {
    match bench.within(|context| bench.pack.call(&tool.name, &vector.arguments, context)) {
        Ok(result) => {
            let faults: Vec<String> =
                vector.expect.iter().filter_map(|e| e.check(&result).err()).collect();
            if faults.is_empty() { Verdict::Passed } else { Verdict::Failed(faults.join("; ")) }
        }
        Err(error) => Verdict::Failed(format!("expected a result, got {}: {error}", error.code())),
    }
}

/// One check for each call that must be refused.
pub(super) fn refused<'a>(bench: &'a Bench<'a>) -> Vec<Check<'a>> {
    let tools = bench.pack.tools.iter().filter(|tool| bench.options.wants(&tool.name));
    tools
        .flat_map(|tool| {
            tool.invalid.iter().enumerate().map(move |(i, case)| {
                let name = format!("{} invalid {i} ({})", tool.name, case.why);
                Check::new(name, || refusal(bench, tool, case))
            })
        })
        .collect()
}

fn refusal(bench: &Bench<'_>, tool: &ToolSpec, case: &InvalidCase) -> Verdict {
    if case.semantic
        && let Err(error) = tool.check_arguments(&case.arguments)
    {
        return Verdict::Failed(format!(
            "expected the schema to accept the arguments and the tool to refuse them; the schema refuses: {error}"
        ));
    }
    match bench.within(|context| bench.pack.call(&tool.name, &case.arguments, context)) {
        Err(error) if error.code() == case.error => Verdict::Passed,
        Err(error) => {
            Verdict::Failed(format!("expected {}, got {}: {error}", case.error, error.code()))
        }
        Ok(_) => Verdict::Failed(format!("expected {}, but the call was accepted", case.error)),
    }
}
