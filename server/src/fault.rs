//! Named points at which a test may end the process, as a power cut would.
//!
//! `TESSERA_CRASH_AT=NAME:N` aborts at the N-th time that the point is passed. It is for tests of the
//! built program only; without the variable a point costs one comparison.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Variable that names the point and how often it is passed before the end.
pub const VARIABLE: &str = "TESSERA_CRASH_AT";

/// Every point, in the order in which a run with an act passes them.
pub const POINTS: [&str; 13] = [
    "run.stored",
    "run.claimed",
    "plan.making",
    "plan.unwritten",
    "plan.written",
    "approval.unwritten",
    "approval.written",
    "call.announced",
    "effect.started",
    "effect.made",
    "effect.noted",
    "call.unwritten",
    "answer.written",
];

struct Crash {
    at: String,
    left: AtomicU32,
}

static CRASH: OnceLock<Option<Crash>> = OnceLock::new();

fn asked() -> Option<Crash> {
    let text = std::env::var(VARIABLE).ok()?;
    let (at, times) = text.split_once(':').unwrap_or((text.as_str(), "1"));
    Some(Crash { at: at.to_owned(), left: AtomicU32::new(times.parse().unwrap_or(1)) })
}

/// Ends the process here if the environment asks for it.
pub fn point(name: &str) {
    let Some(crash) = CRASH.get_or_init(asked) else { return };
    if crash.at == name && crash.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        std::process::abort();
    }
}
