//! Every tool of every shipped pack gives its known answers and refuses its invalid cases.
//!
//! `TOOL=name cargo test -p agents --test vectors` narrows to one tool.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use agents::judge::{Options, Section, judge};
use agents::pack::shipped;

fn check(industry: &str) {
    let pack = shipped().unwrap().iter().find(|pack| pack.manifest.id == industry).unwrap();
    let options = Options {
        sections: vec![Section::Vectors, Section::Invalid],
        tool: std::env::var("TOOL").ok(),
        ..Options::default()
    };
    let report = judge(pack, &options, &mut |_| {}).unwrap();
    let faults: Vec<String> = report
        .sections
        .iter()
        .flat_map(|tally| &tally.faults)
        .map(|fault| format!("{}: {}", fault.check, fault.message))
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn finance_tools_give_their_known_answers() {
    check("finance");
}

#[test]
fn energy_tools_give_their_known_answers() {
    check("energy");
}

#[test]
fn automotive_tools_give_their_known_answers() {
    check("automotive");
}

#[test]
fn gaming_tools_give_their_known_answers() {
    check("gaming");
}
