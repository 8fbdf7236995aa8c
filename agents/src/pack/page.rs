//! The page that describes packs, made from the packs themselves, so that it cannot say what is not
//! there.

use std::collections::BTreeMap;
use std::fmt::{Result as Written, Write as _};
use std::sync::{Arc, OnceLock};

use regex::Regex;

use super::{Pack, PackError};
use crate::eval::{self, Case, Kind};
use crate::judge::questions;
use crate::law;
use crate::policy::{Policy, Rule};
use crate::retrieve::{Document, Knowledge};
use crate::synth::LANGS;
use crate::tool::{Effect, ToolSpec};

const HEAD: &str = "# The packs

This page is made from the packs themselves by `tessera pack docs --write docs/packs.md`; a test fails when it is out of date.

## Commands

| Command | What it does |
|---|---|
| `tessera pack list` | Lists the packs and what each holds |
| `tessera pack test NAME` | Judges a pack; `--all` every pack, `--folder DIR` one that is not shipped |
| `tessera pack test NAME --only vectors,laws` | Judges only some sections: `vectors`, `laws`, `policy`, `retrieval`, `answers`, `cases-format` |
| `tessera pack test NAME --tool TOOL` | Judges only one tool's vectors, invalid cases, laws and answers |
| `tessera pack test NAME --seed 7 --draws 1000` | Draws other and more arguments for the laws |
| `tessera pack test NAME --json` | Prints the reports as JSON |
| `tessera pack docs` | Prints this page |
| `tessera pack new NAME` | Makes a new pack that works against its mock ([authoring.md](authoring.md)) |
| `tessera pack check NAME` | Finds every mistake of a pack's files, each with its line and what would be right; `--folder DIR`, `--json` |
| `tessera pack schema KIND` | Prints the JSON Schema of a kind of file; [pack-reference.md](pack-reference.md) describes every key |
| `tessera pack import openapi FILE --folder DIR` | Makes tools of an OpenAPI document |
| `tessera pack build --folder DIR`, `pack key`, `pack sign`, `pack verify` | Makes, signs and checks the archive of a pack |

A pack holds when every section does:

| Section | What is checked |
|---|---|
| vectors | Each known answer of each tool, and the result against its schema |
| invalid cases | Each call that must be refused, and the code of its error |
| laws | What holds for every call of a tool, on drawn arguments; a broken law names the seed that repeats it |
| policy | For each rule a case that it allows and one that it stops; disclosure and escalation words in each language |
| retrieval | For each question one of its documents is among the first five; one question in ten may miss |
| answers | Each known answer said in each language by a template, with its number in bold |
| cases format | Each evaluation case is well formed, and there are enough of each kind, language and tool |

Exit codes: 0 every section holds; 1 one does not; 2 there is no such pack, section, tool or folder.
Laws of a tool that a pack lacks are skipped and counted.

## Documents

A document of a pack is a file `knowledge/ID.md` that begins with lines of `key: value` between two lines of `---`.

| Key | What it says |
|---|---|
| `id`, `title`, `language`, `jurisdiction`, `source`, `version` | Who it is, in which language, where it holds and what it rests on |
| `effective_from` | First day on which it holds |
| `effective_to` | Last day on which it holds; open when absent |
| `supersedes` | Documents, between commas, in whose place it stands from its first day on |
| `review_by` | Day until which it counts as reviewed; an answer that cites it later carries a warning |

A question is answered as of today, or as of the day that it names: `as of 2025-03-01`, `in force in March 2025`, `2025年3月時`, `截至2024年6月30日`.
A month or year means its last day, or today while it still runs.
Documents that do not hold on that day, or in whose place another one stands, are left out.
";

/// Describes packs: tools, laws, documents, policy and cases of each.
///
/// # Errors
/// The first file of a pack that does not read.
pub fn page(packs: &[Arc<Pack>]) -> Result<String, PackError> {
    let mut out = HEAD.to_owned();
    for pack in packs {
        let knowledge = Knowledge::of(pack)?;
        let policy = Policy::of(pack)?;
        let cases = eval::cases(pack)?;
        let asked: Vec<String> = questions(pack)?.into_iter().map(|q| q.lang).collect();
        // Writing to a string cannot fail.
        out.push_str(&section(pack, &knowledge, &policy, &cases, &asked).unwrap_or_default());
    }
    Ok(out)
}

fn section(
    pack: &Pack,
    knowledge: &Knowledge,
    policy: &Policy,
    cases: &[Case],
    asked: &[String],
) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let out = &mut text;
    let manifest = &pack.manifest;
    writeln!(out, "\n## {}\n", manifest.title)?;
    writeln!(out, "`{}` {}: {}", manifest.id, manifest.version, manifest.description)?;
    tools(out, pack, knowledge)?;
    laws(out, pack)?;
    documents(out, knowledge.documents(), asked)?;
    rules(out, policy)?;
    kinds(out, cases)?;
    Ok(text)
}

fn tools(out: &mut String, pack: &Pack, knowledge: &Knowledge) -> Written {
    writeln!(out, "\n### Tools of {}\n", pack.manifest.id)?;
    writeln!(out, "| Tool | Effect | Method | Standard or source | Vectors | Invalid cases |")?;
    writeln!(out, "|---|---|---|---|---:|---:|")?;
    let (mut vectors, mut invalid) = (0, 0);
    for tool in &pack.tools {
        writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            tool.name,
            effect(tool.effect),
            cell(&tool.method),
            cell(&standard(tool, knowledge)),
            tool.vectors.len(),
            tool.invalid.len()
        )?;
        (vectors, invalid) = (vectors + tool.vectors.len(), invalid + tool.invalid.len());
    }
    writeln!(out, "| {} tools | | | | {vectors} | {invalid} |", pack.tools.len())
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Pure => "pure",
        Effect::Read => "read",
        Effect::Propose => "propose",
        Effect::Act => "act",
    }
}

/// Returns the standards that a tool's method names; where it names none, the source of the
/// document that explains the tool.
fn standard(tool: &ToolSpec, knowledge: &Knowledge) -> String {
    static NAMES: OnceLock<Option<Regex>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        Regex::new(concat!(
            r"\b(?:(?:ISO(?:/IEC)?|IEC|IEEE|SAE|RFC|GB|NAESB) [A-Z]*\.?\d[\w.-]*\w",
            r"|\d+ CFR [\d.]*\d(?: Appendix [A-Z])?|Directive \d+/\d+/[A-Z]+|OpenADR \d\.\d",
            r"|GHG Protocol Scope 2 Guidance|NREL/TP-[\w-]+|COVESA VSS \d\.\d|JMLR \d{4}",
            r"|Glickman \d{4}|SWIFT MT|SEC companyfacts)",
        ))
        .ok()
    });
    let mut found: Vec<&str> = Vec::new();
    for name in names.iter().flat_map(|names| names.find_iter(&tool.method)) {
        if !found.contains(&name.as_str()) {
            found.push(name.as_str());
        }
    }
    if !found.is_empty() {
        return found.join(", ");
    }
    let mut explaining = knowledge.explaining(&tool.name);
    explaining.next().map(|document| document.source.clone()).unwrap_or_default()
}

fn laws(out: &mut String, pack: &Pack) -> Written {
    let laws = law::of(&pack.manifest.id);
    if laws.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nLaws that hold for every call:\n")?;
    laws.iter().try_for_each(|law| writeln!(out, "- `{}`: {}.", law.tool, law.name))
}

fn documents(out: &mut String, documents: &[Document], asked: &[String]) -> Written {
    writeln!(out, "\n### Documents by language and jurisdiction\n")?;
    let rows = documents.iter().map(|d| (d.jurisdiction.as_str(), d.language.as_str()));
    counted(out, "Jurisdiction", rows)?;
    let questions = by_language(asked.iter().map(String::as_str));
    writeln!(out, "\nQuestions of the retrieval test: {}.", or_none(&questions))
}

fn rules(out: &mut String, policy: &Policy) -> Written {
    writeln!(out, "\n### Policy rules\n")?;
    writeln!(out, "| Rule | Decision | About | Why |\n|---|---|---|---|")?;
    for rule in &policy.rules {
        let row = (cell(&decision(rule)), cell(&about(rule)), cell(&rule.why));
        writeln!(out, "| `{}` | {} | {} | {} |", rule.id, row.0, row.1, row.2)?;
    }
    let words = policy.escalate.iter().map(|(lang, words)| format!("{} {lang}", words.len()));
    let words: Vec<String> = words.collect();
    writeln!(out, "\nWords after which a person takes over: {}.", or_none(&words.join(", ")))
}

fn decision(rule: &Rule) -> String {
    match &rule.limit {
        Some(limit) => format!(
            "deny above {} {} of `{}`",
            limit.max.as_deref().unwrap_or("the tenant's limit"),
            limit.unit,
            limit.argument
        )
        .replace("  ", " "),
        None => rule.decision.replace('_', " "),
    }
}

fn about(rule: &Rule) -> String {
    let mut parts: Vec<String> =
        rule.tools.iter().chain(&rule.forbidden_tools).map(|tool| format!("`{tool}`")).collect();
    if parts.is_empty() {
        parts = rule.effects.iter().map(|e| effect(*e).to_owned()).collect();
    }
    if !rule.roles.is_empty() {
        parts.push(format!("roles {}", rule.roles.join(", ")));
    }
    if !rule.approver_roles.is_empty() {
        parts.push(format!("approved by {}", rule.approver_roles.join(", ")));
    }
    parts.join("; ")
}

fn kinds(out: &mut String, cases: &[Case]) -> Written {
    writeln!(out, "\n### Evaluation cases by kind and language\n")?;
    counted(out, "Kind", cases.iter().map(|case| (kind(case.kind), case.lang.as_str())))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Plain => "plain",
        Kind::Chain => "chain",
        Kind::Ask => "ask",
        Kind::Refuse => "refuse",
        Kind::Inject => "inject",
    }
}

/// Writes how many there are of each kind in each language.
fn counted<'a>(
    out: &mut String,
    title: &str,
    items: impl Iterator<Item = (&'a str, &'a str)>,
) -> Written {
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (row, lang) in items {
        *counts.entry(row).or_default().entry(lang).or_default() += 1;
    }
    writeln!(out, "| {title} | {} | All |\n|---|---:|---:|---:|---:|", LANGS.join(" | "))?;
    let mut sums = [0; 4];
    for (row, langs) in &counts {
        let mut line = [0; 4];
        for (place, lang) in line.iter_mut().zip(LANGS) {
            *place = langs.get(lang).copied().unwrap_or_default();
        }
        line[3] = langs.values().sum();
        sums.iter_mut().zip(line).for_each(|(sum, count)| *sum += count);
        writeln!(out, "| {row} | {} | {} | {} | {} |", line[0], line[1], line[2], line[3])?;
    }
    writeln!(out, "| All | {} | {} | {} | {} |", sums[0], sums[1], sums[2], sums[3])
}

fn by_language<'a>(langs: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for lang in langs {
        *counts.entry(lang).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(lang, count)| format!("{count} {lang}")).collect();
    parts.join(", ")
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Keeps a text from ending its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::shipped;

    fn of(tool: &str) -> String {
        for pack in shipped().unwrap() {
            if let Some(spec) = pack.tool(tool) {
                return standard(spec, &Knowledge::of(pack).unwrap());
            }
        }
        panic!("no tool {tool}")
    }

    #[test]
    fn the_standards_of_a_tool_are_those_that_its_method_names() {
        assert_eq!(of("vin_decode"), "ISO 3779, 49 CFR 565.15, GB 16735");
        assert_eq!(of("interval_stats"), "NAESB REQ.21");
        assert_eq!(of("uds_decode"), "ISO 14229-1");
    }

    #[test]
    fn a_tool_whose_method_names_none_shows_the_source_of_its_document() {
        assert!(of("tariff_bill").contains("Regulatory Assistance Project"));
    }

    #[test]
    fn every_tool_and_rule_of_every_pack_is_on_the_page() {
        let packs = shipped().unwrap();
        let text = page(packs).unwrap();
        for pack in packs {
            for tool in &pack.tools {
                assert!(text.contains(&format!("| `{}` | ", tool.name)), "{}", tool.name);
            }
            for rule in &Policy::of(pack).unwrap().rules {
                assert!(text.contains(&format!("| `{}` | ", rule.id)), "{}", rule.id);
            }
        }
    }
}
