//! The data card of a training set: what is in it, who gave it, and what was left out and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::overlap::{self, Dropped, Nearness};
use super::verify::{TRIALS, Tally};
use super::{Example, Rejected, Report};

/// Renderings that a card shows of each reason.
const SAMPLES: usize = 5;

/// Dropped phrases that the page of a card shows; the JSON has all.
const WORST: usize = 40;

/// A pack that a set was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackLine {
    /// Identifier.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Tools with phrases.
    pub tools: usize,
    /// Phrases, a teacher's among them.
    pub phrases: usize,
    /// Phrases that no example is made of.
    pub dropped: usize,
}

/// Renderings that did not count for one reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// How many.
    pub count: usize,
    /// By group.
    pub by_group: BTreeMap<String, usize>,
    /// Some of them: group, what was wrong, the words.
    pub samples: Vec<[String; 3]>,
}

/// What was compared with reserved texts, and what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlapCounts {
    /// Evaluation cases and retrieval questions compared with.
    pub cases: usize,
    /// Texts of `--against` compared with.
    pub outside: usize,
    /// Phrases near a case.
    pub phrases_near_cases: usize,
    /// Phrases that share a run with an outside text.
    pub phrases_near_outside: usize,
    /// Phrases that say what another one says with the same words.
    pub duplicate_phrases: usize,
    /// Rendered requests that share a run with a case, of phrases that do not.
    pub requests_near_cases: usize,
    /// Rendered requests that share a run with an outside text.
    pub requests_near_outside: usize,
}

/// What a teacher was asked and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TeacherCard {
    /// Name of the model.
    pub model: String,
    /// Questions that were answered.
    pub answered: usize,
    /// Questions without an answer, by reason.
    pub failed: BTreeMap<String, usize>,
    /// Questions that were asked again after a failure.
    pub retries: usize,
    /// Tokens of the questions.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// Offered phrases and labels that were taken.
    pub taken: usize,
    /// Those that were not, by reason.
    pub rejected: BTreeMap<String, usize>,
}

impl TeacherCard {
    /// Adds what another pack's questions cost and gave.
    pub fn add(&mut self, other: &Self) {
        self.model.clone_from(&other.model);
        self.answered += other.answered;
        self.retries += other.retries;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.taken += other.taken;
        let sum = |all: &mut BTreeMap<String, usize>, more: &BTreeMap<String, usize>| {
            more.iter().for_each(|(why, n)| *all.entry(why.clone()).or_default() += n);
        };
        sum(&mut self.failed, &other.failed);
        sum(&mut self.rejected, &other.rejected);
    }
}

/// What runs gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunsCard {
    /// Accepted and corrected runs that consent let in.
    pub read: usize,
    /// Those that gave examples, by consent.
    pub taken: BTreeMap<String, usize>,
    /// Those that did not, by reason.
    pub rejected: BTreeMap<String, usize>,
}

/// The data card.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of the card's form; 1.
    pub format: u32,
    /// When the set was made, RFC 3339.
    pub made_at: String,
    /// How long that took.
    pub seconds: f64,
    /// Seed; the same seed, packs and version of the program give the same set.
    pub seed: u64,
    /// Examples asked for, a tool.
    pub per_tool: usize,
    /// SHA-256 of the file of examples.
    pub sha256: String,
    /// Packs.
    pub packs: Vec<PackLine>,
    /// Examples in the file.
    pub examples: usize,
    /// Examples by split: `train`, `heldout`.
    pub by_split: BTreeMap<String, usize>,
    /// Examples by language.
    pub by_language: BTreeMap<String, usize>,
    /// Examples by who gave them: `pack`, `teacher`, `run`.
    pub by_source: BTreeMap<String, usize>,
    /// Examples by tool or decision, then by language.
    pub by_tool: BTreeMap<String, BTreeMap<String, usize>>,
    /// Examples that repeated another one word for word.
    pub repeated: usize,
    /// What was run.
    pub checked: Tally,
    /// Renderings that did not count, by reason.
    pub rejected: BTreeMap<String, Rejection>,
    /// What was compared.
    pub overlap: OverlapCounts,
    /// Thresholds by name.
    pub thresholds: BTreeMap<String, f64>,
    /// Phrases that no example is made of.
    pub dropped: Vec<Dropped>,
    /// The teacher, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherCard>,
    /// Runs, where they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunsCard>,
}

impl Rejected {
    /// Returns the stable name of the reason.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoSlot(_) => "no_slot",
            Self::NoArgument(_) => "no_argument",
            Self::NotFound(_) => "not_read_back",
            Self::Schema(_) => "schema",
            Self::Execution(_) => "execution",
            Self::Facts(_) => "facts",
            Self::Case(_) => "near_case",
            Self::Outside(_) => "near_outside",
        }
    }

    /// Returns what is wrong: the argument, the tool's error, the text that it is near to.
    pub fn detail(&self) -> &str {
        match self {
            Self::NoSlot(text)
            | Self::NoArgument(text)
            | Self::NotFound(text)
            | Self::Schema(text)
            | Self::Execution(text)
            | Self::Facts(text)
            | Self::Case(text)
            | Self::Outside(text) => text,
        }
    }
}

impl Card {
    /// Starts a card.
    pub fn new(seed: u64, per_tool: usize) -> Self {
        let thresholds = [
            ("overlap_words", overlap::WORDS as f64),
            ("overlap_characters", overlap::CHARACTERS as f64),
            ("case_resemblance", overlap::NEAR),
            ("duplicate_resemblance", overlap::SAME),
            ("runs_per_phrase", f64::from(TRIALS)),
        ];
        Self {
            format: 1,
            seed,
            per_tool,
            thresholds: thresholds.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
            ..Self::default()
        }
    }

    /// Counts an example that is in the file.
    pub fn count(&mut self, example: &Example) {
        let split = if example.held_out { "heldout" } else { "train" };
        self.examples += 1;
        *self.by_split.entry(split.to_owned()).or_default() += 1;
        *self.by_language.entry(example.lang.to_owned()).or_default() += 1;
        *self.by_source.entry(example.source.kind().to_owned()).or_default() += 1;
        let of_tool = self.by_tool.entry(example.group.clone()).or_default();
        *of_tool.entry(example.lang.to_owned()).or_default() += 1;
    }

    /// Adds phrases that no example is made of.
    pub fn drop_phrases(&mut self, dropped: Vec<Dropped>) {
        for one in &dropped {
            match one.how {
                Nearness::CaseRun | Nearness::CaseWording => self.overlap.phrases_near_cases += 1,
                Nearness::OutsideRun => self.overlap.phrases_near_outside += 1,
                Nearness::Duplicate => self.overlap.duplicate_phrases += 1,
            }
        }
        self.dropped.extend(dropped);
        let score = |one: &Dropped| one.resemblance.unwrap_or_default();
        self.dropped.sort_by(|a, b| a.how.cmp(&b.how).then(score(b).total_cmp(&score(a))));
    }

    /// Adds the rejections of a pack's examples.
    pub fn reject(&mut self, report: &Report) {
        for ((group, why), (times, words)) in &report.rejected {
            let rejection = self.rejected.entry(why.kind().to_owned()).or_default();
            rejection.count += times;
            *rejection.by_group.entry(group.clone()).or_default() += times;
            if rejection.samples.len() < SAMPLES {
                let sample = [group.clone(), why.detail().to_owned(), words.clone()];
                rejection.samples.push(sample);
            }
            match why {
                Rejected::Case(_) => self.overlap.requests_near_cases += times,
                Rejected::Outside(_) => self.overlap.requests_near_outside += times,
                _ => {}
            }
        }
        self.repeated += report.repeated;
    }

    /// Notes when the set was made, to the second.
    pub fn date(&mut self, at: Timestamp) {
        self.made_at = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    }

    /// Writes the card for people, in Markdown.
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        self.write(&mut out).unwrap_or_default();
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# Data card\n")?;
        writeln!(
            out,
            "{} examples, made {} in {:.0} s with seed {}, {} asked for a tool. SHA-256 of the file: `{}`.",
            self.examples, self.made_at, self.seconds, self.seed, self.per_tool, self.sha256
        )?;
        writeln!(
            out,
            "\n| Pack | Version | Tools | Phrases | Dropped |\n|---|---|---:|---:|---:|"
        )?;
        for pack in &self.packs {
            let PackLine { id, version, tools, phrases, dropped } = pack;
            writeln!(out, "| {id} | {version} | {tools} | {phrases} | {dropped} |")?;
        }
        for (title, counts) in [
            ("Split", &self.by_split),
            ("Language", &self.by_language),
            ("Source", &self.by_source),
        ] {
            writeln!(out, "\n| {title} | Examples |\n|---|---:|")?;
            counts.iter().try_for_each(|(name, n)| writeln!(out, "| {name} | {n} |"))?;
        }
        self.write_checks(out)?;
        self.write_sources(out)?;
        self.write_dropped(out)?;
        self.write_tools(out)
    }

    fn write_checks(&self, out: &mut String) -> std::fmt::Result {
        let Tally { complete, run, results, approvals, no_data } = self.checked;
        writeln!(out, "\n## Verification\n")?;
        writeln!(
            out,
            "Requests with complete calls: {complete}; of these run on the pack's fixtures: {run} (each phrase until {TRIALS} renderings in a row ran). \
             Results that agree with schema and answer: {results}; acts that stopped for an approval: {approvals}; calls for which the fixtures hold no data: {no_data}.",
        )?;
        writeln!(out, "\n| Renderings left out because | Count | For example |\n|---|---:|---|")?;
        for (why, rejection) in &self.rejected {
            let shown = rejection
                .samples
                .first()
                .map(|[group, what, words]| format!("{group}: {}: {}", cell(what), cell(words)));
            let shown = shown.unwrap_or_default();
            writeln!(out, "| {} | {} | {shown} |", why.replace('_', " "), rejection.count)?;
        }
        writeln!(out, "| same as another | {} | |", self.repeated)?;
        let counts = &self.overlap;
        writeln!(out, "\n## Overlap\n")?;
        writeln!(
            out,
            "Compared with {} evaluation cases and {} outside texts, values masked: {} words in a row, {} where one is a Chinese character, \
             or a resemblance of {} with a case. Two phrases of one meaning count once from a resemblance of {}.",
            counts.cases,
            counts.outside,
            overlap::WORDS,
            overlap::CHARACTERS,
            overlap::NEAR,
            overlap::SAME
        )?;
        writeln!(out, "\n| | Phrases | Requests |\n|---|---:|---:|")?;
        let rows = [
            ("near a case", counts.phrases_near_cases, counts.requests_near_cases),
            ("near an outside text", counts.phrases_near_outside, counts.requests_near_outside),
            ("same words as another", counts.duplicate_phrases, self.repeated),
        ];
        rows.iter().try_for_each(|(what, a, b)| writeln!(out, "| {what} | {a} | {b} |"))
    }

    fn write_sources(&self, out: &mut String) -> std::fmt::Result {
        if let Some(teacher) = &self.teacher {
            writeln!(out, "\n## Teacher\n")?;
            writeln!(
                out,
                "`{}` answered {} questions ({} asked again) with {} tokens for {}; {} offers were taken.",
                teacher.model,
                teacher.answered,
                teacher.retries,
                teacher.completion_tokens,
                teacher.prompt_tokens,
                teacher.taken
            )?;
            reasons(out, "Questions without an answer", &teacher.failed)?;
            reasons(out, "Offers left out", &teacher.rejected)?;
        }
        if let Some(runs) = &self.runs {
            writeln!(out, "\n## Runs\n\n{} judged runs were let in by consent.", runs.read)?;
            reasons(out, "Runs taken, by consent", &runs.taken)?;
            reasons(out, "Runs left out", &runs.rejected)?;
        }
        Ok(())
    }

    fn write_dropped(&self, out: &mut String) -> std::fmt::Result {
        if self.dropped.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n## Phrases to write anew\n")?;
        writeln!(
            out,
            "| Group | Language | Phrase | Near to | Resemblance |\n|---|---|---|---|---:|"
        )?;
        for one in self.dropped.iter().take(WORST) {
            let score = one.resemblance.map_or_else(String::new, |score| format!("{score:.2}"));
            let (phrase, to) = (cell(&one.phrase), cell(&one.to));
            writeln!(out, "| {} | {} | {phrase} | {to} | {score} |", one.group, one.lang)?;
        }
        match self.dropped.len().saturating_sub(WORST) {
            0 => Ok(()),
            more => writeln!(out, "\n{more} more are in the card's JSON."),
        }
    }

    fn write_tools(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n## Examples by tool and language\n")?;
        let langs: Vec<&String> = self.by_language.keys().collect();
        let head: String = langs.iter().map(|lang| format!(" {lang} |")).collect();
        writeln!(out, "| |{head}\n|---|{}", "---:|".repeat(langs.len()))?;
        for (group, counts) in &self.by_tool {
            let cells: String = langs
                .iter()
                .map(|lang| format!(" {} |", counts.get(*lang).copied().unwrap_or_default()))
                .collect();
            writeln!(out, "| {group} |{cells}")?;
        }
        Ok(())
    }
}

fn reasons(out: &mut String, title: &str, counts: &BTreeMap<String, usize>) -> std::fmt::Result {
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| {title} | Count |\n|---|---:|")?;
    counts.iter().try_for_each(|(why, n)| writeln!(out, "| {} | {n} |", why.replace('_', " ")))
}

fn cell(text: &str) -> String {
    let text: String = text.chars().take(160).collect();
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
