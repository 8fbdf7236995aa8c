//! The shipped packs keep what they promise: laws, policy, answers, questions and cases.
//!
//! `DRAWS=1000 cargo test -p agents --test packs` tries the laws on more arguments.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use agents::judge::{Options, Section, Tally, judge};
use agents::pack::shipped;

/// Judges one section of every shipped pack.
fn tallies(section: Section) -> Vec<(String, Tally)> {
    let draws = std::env::var("DRAWS").ok().and_then(|draws| draws.parse().ok()).unwrap_or(16);
    let options = Options { sections: vec![section], draws, ..Options::default() };
    shipped()
        .unwrap()
        .iter()
        .map(|pack| {
            let report = judge(pack, &options, &mut |_| {}).unwrap();
            (report.pack, report.sections.into_iter().next().unwrap())
        })
        .collect()
}

fn hold(section: Section) {
    let mut faults = Vec::new();
    for (pack, tally) in tallies(section) {
        assert!(tally.total > 0, "{pack}: nothing was judged");
        let skipped: Vec<&str> = tally.skips.iter().map(|skip| skip.check.as_str()).collect();
        assert!(skipped.is_empty(), "{pack}: not judged: {skipped:?}");
        let found = tally.faults.iter().map(|f| format!("{pack}: {}: {}", f.check, f.message));
        if !tally.holds {
            faults.extend(found);
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_law_of_an_industry_holds() {
    hold(Section::Laws);
}

#[test]
fn every_rule_allows_one_case_and_stops_another() {
    hold(Section::Policy);
}

#[test]
fn each_known_answer_is_said_in_each_language_from_a_template() {
    hold(Section::Answers);
}

#[test]
fn nine_in_ten_questions_find_their_document_among_the_first_five() {
    hold(Section::Retrieval);
}

#[test]
fn the_cases_are_well_formed_and_enough_of_each_kind_language_and_tool() {
    hold(Section::CasesFormat);
}

#[test]
fn the_page_of_the_files_is_what_the_schemas_say() {
    let kept = include_str!("../../docs/pack-reference.md");
    let page = agents::pack::schema::reference();
    assert!(page == kept, "write it again: tessera pack schema --page docs/pack-reference.md");
}

#[test]
fn the_page_of_the_packs_is_what_they_hold() {
    let page = agents::pack::page(shipped().unwrap()).unwrap();
    let kept = include_str!("../../docs/packs.md");
    assert!(page == kept, "write it again: tessera pack docs --write docs/packs.md");
}
