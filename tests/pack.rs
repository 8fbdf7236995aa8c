//! The commands about packs, on the built program: what they print, and how they end.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::{Folder, output};

fn pack(arguments: &[&str]) -> Output {
    // No database is needed, so the folder must stay untouched.
    let folder = Folder::new();
    let done = output(&folder.path(), &[&["pack"], arguments].concat());
    assert!(!folder.path().exists(), "judging a pack made a data folder");
    done
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Copies a shipped pack into a folder, so that it can be broken.
pub(crate) fn copy_of(name: &str, to: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents/packs").join(name);
    let to = to.join(name);
    copy(&from, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Replaces a text of a file that must hold it.
fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} does not hold `{from}`", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn the_packs_are_listed_with_their_tools() {
    let listed = pack(&["list"]);
    assert!(listed.status.success(), "{listed:?}");
    let listed = text(&listed.stdout);
    for name in ["automotive", "energy", "finance", "gaming"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{listed}");
    }
}

#[test]
fn a_judgement_prints_a_table_with_totals_and_no_bar_into_a_pipe() {
    let judged = pack(&["test", "energy", "--only", "vectors,laws,policy,answers"]);
    assert_eq!(judged.status.code(), Some(0), "{judged:?}");
    let said = text(&judged.stdout);
    for section in ["vectors", "invalid cases", "laws", "policy", "answers", "total"] {
        let row = said.lines().find(|line| line.starts_with(section) && line.ends_with("holds"));
        assert!(row.is_some(), "no row `{section}` in {said}");
    }
    assert!(!said.contains('\r') && !said.contains('\u{1b}'), "a bar went into the pipe: {said}");
}

#[test]
fn every_shipped_pack_keeps_all_that_it_promises_and_its_report_is_json() {
    let judged = pack(&["test", "--all", "--draws", "16", "--json"]);
    assert_eq!(judged.status.code(), Some(0), "{judged:?}");
    let reports: Value = serde_json::from_slice(&judged.stdout).unwrap();
    let reports = reports.as_array().unwrap();
    assert_eq!(reports.len(), 4);
    for report in reports {
        let sections = report["sections"].as_array().unwrap();
        assert_eq!(sections.len(), 7, "{report}");
        for tally in sections {
            assert!(tally["holds"] == true && tally["skipped"] == 0, "{report}");
            assert!(tally["passed"].as_u64().unwrap() > 0, "{report}");
        }
    }
}

#[test]
fn a_broken_pack_ends_with_one_and_each_fault_says_what_was_expected_and_found() {
    let folder = Folder::new();
    let broken = copy_of("energy", &folder.path());
    edit(&broken.join("tools/carbon_scope2.json"), "617.5", "617.6");
    edit(&broken.join("policy.toml"), "committed_reduction_kw = 900", "committed_reduction_kw = 9");
    std::fs::remove_file(broken.join("answers/pv_yield.zh-Hans.jinja")).unwrap();
    let judged = pack(&["test", "--folder", broken.to_str().unwrap()]);
    assert_eq!(judged.status.code(), Some(1), "{judged:?}");
    let said = text(&judged.stdout);
    for fault in [
        "vectors: carbon_scope2 vector 0: ",
        "expected 617.6",
        "promised-reduction-limit: the case that it stops: expected this rule to stop the call",
        "answers: pv_yield vector 0 in zh-Hans: expected answers/pv_yield.zh-Hans.jinja",
    ] {
        assert!(said.contains(fault), "`{fault}` is not in {said}");
    }
    assert!(text(&judged.stderr).contains("energy"), "{judged:?}");
    let only = pack(&["test", "--folder", broken.to_str().unwrap(), "--only", "laws"]);
    assert_eq!(only.status.code(), Some(0), "{only:?}");
}

#[test]
fn a_document_that_does_not_read_is_a_fault_that_names_its_file() {
    let folder = Folder::new();
    let broken = copy_of("energy", &folder.path());
    edit(&broken.join("knowledge/energy-k01.md"), "review_by: ", "reviewed: ");
    let judged = pack(&["test", "--folder", broken.to_str().unwrap(), "--only", "retrieval"]);
    assert_eq!(judged.status.code(), Some(1), "{judged:?}");
    let said = text(&judged.stdout);
    assert!(said.contains("knowledge/energy-k01.md: `review_by` is missing"), "{said}");
}

#[test]
fn what_does_not_exist_is_named_and_ends_with_two() {
    for (arguments, says) in [
        (vec!["test", "mining"], "there is no pack `mining`; there are: automotive"),
        (vec!["test", "energy", "--tool", "loan_schedule"], "no chosen pack has a tool"),
        (vec!["test", "--folder", "/nowhere/at/all"], "/nowhere/at/all"),
        (vec!["test", "energy", "--only", "luck"], "luck"),
        (vec!["test"], "required"),
    ] {
        let refused = pack(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(text(&refused.stderr).contains(says), "{refused:?}");
    }
}

#[test]
fn the_page_of_the_packs_is_printed_and_written() {
    let printed = pack(&["docs"]);
    assert!(printed.status.success(), "{printed:?}");
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path()).unwrap();
    let file = folder.path().join("packs.md");
    let written = pack(&["docs", "--write", file.to_str().unwrap()]);
    assert!(written.status.success(), "{written:?}");
    assert_eq!(std::fs::read(file).unwrap(), printed.stdout);
    assert!(text(&printed.stdout).contains("| `vin_decode` | pure | "));
}

#[tokio::test]
async fn a_document_past_its_review_is_told_to_every_reader_in_the_language_of_the_question() {
    use crate::ask::Client;
    use crate::support::Server;

    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "energy");
    // Every shipped document is to be reviewed before that day.
    let request = "How is a demand charge worked out, as of 2040-01-01?";
    let run = client.ask("energy", request).await;
    let warnings: Vec<&str> =
        run["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let warning = warnings.iter().find(|warning| warning.contains("past its review date"));
    let warning = warning.unwrap_or_else(|| panic!("no warning: {run:#}"));
    let cited = run["citations"].as_array().unwrap();
    let cited = cited.iter().find(|citation| citation["overdue"] == true);
    assert_eq!(cited.unwrap()["as_of"], "2040-01-01", "{run:#}");
    let chinese = client.ask("energy", "需量電費的棘輪條款是什麼意思？截至2040年1月1日").await;
    let warnings = chinese["warnings"].to_string();
    assert!(warnings.contains("此文件已過複審日期"), "{chinese:#}");

    let printed = output(&folder.path(), &["ask", "--pack", "energy", request]);
    assert!(text(&printed.stdout).contains(&format!("! {warning}")), "{printed:?}");
}
