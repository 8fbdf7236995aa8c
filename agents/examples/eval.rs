//! Runs the evaluation cases of the shipped packs against a planner:
//! `cargo run --release -p agents --example eval -- PLANNER_FOLDER [PACK]`.

use std::sync::Arc;
use std::time::Duration;

use agents::eval;
use agents::pack::shipped;
use agents::plan::EnginePlanner;
use agents::run::Agent;
use runtime::{Engine, ModelFiles};

#[expect(clippy::print_stdout, reason = "a command for people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: eval PLANNER_FOLDER [PACK]")?;
    let only = arguments.next();
    let engine = Arc::new(Engine::load(&ModelFiles::from_folder(folder.as_ref())?)?);
    let planner = Arc::new(EnginePlanner::new(engine, "candidate", Duration::from_secs(20)));
    let now = "2026-11-24T12:00:00Z".parse()?;
    for pack in shipped()? {
        if only.as_ref().is_some_and(|only| *only != pack.manifest.id) {
            continue;
        }
        let agent = Agent::new(Arc::clone(pack), Arc::clone(&planner) as _)?;
        let (mut total, mut passed, mut decisions, mut tools) = (0, 0, 0, 0);
        for case in eval::cases(pack)? {
            let outcome = eval::run(&agent, &case, now)?;
            total += 1;
            passed += usize::from(outcome.passed());
            decisions += usize::from(outcome.decision_right);
            tools += usize::from(outcome.tool_right);
            if !outcome.passed() {
                println!(
                    "{}\t{}→{}\t{}\t{}",
                    case.id, outcome.expected, outcome.decided, case.request, outcome.said
                );
            }
        }
        println!(
            "{}: {passed} of {total} passed, decision right {decisions}, tool right {tools}",
            pack.manifest.id
        );
    }
    Ok(())
}
