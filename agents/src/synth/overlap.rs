//! Which texts are too near each other: a training phrase and an evaluation case, a phrase and
//! another that says the same, a request and a text that is measured elsewhere.
//!
//! Texts are compared as tokens: a word folded to lower case, a Chinese character in simplified
//! script, and one mask for whatever a request states (numbers, dates, codes, names), so that other
//! values do not hide the same sentence.
//!
//! # Source
//! Resemblance of shingles: Broder, *On the resemblance and containment of documents* (1997). The
//! phrases of a tool are few hundreds, so the resemblance is computed and not estimated.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{LANGS, Phrase, Piece, Template, Templates};
use crate::judge::questions;
use crate::pack::{Pack, PackError};
use crate::{eval, lang, mention};

/// Tokens in a row that make an overlap, where none of them is Chinese.
pub const WORDS: usize = 8;

/// Tokens in a row that make an overlap, where one of them is a Chinese character: as much meaning
/// as eight words, which are one to two characters each.
pub const CHARACTERS: usize = 12;

/// Fewest tokens of an overlap that are not masks, or tables of values would all be alike.
const TELLING: usize = 5;

/// Resemblance from which a phrase counts as an evaluation case in other words.
pub const NEAR: f64 = 0.75;

/// Resemblance from which two phrases of one meaning count as one.
pub const SAME: f64 = 0.9;

/// Characters of a shingle.
const SHINGLE: usize = 3;

/// Stands for a value.
const MASK: char = '\u{fffc}';

/// A piece of a normalised text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Token {
    Word(String),
    Character(char),
    Value,
}

/// A text made ready for comparison.
#[derive(Debug, Clone, Default)]
pub struct Normal(Vec<Token>);

impl Normal {
    /// Normalises a request; what it states is masked.
    pub fn of_request(request: &str, today: Date) -> Self {
        let mut masked = String::with_capacity(request.len());
        let mut at = 0;
        for mention in mention::find(request, today) {
            masked.push_str(&request[at..mention.start]);
            masked.push(MASK);
            at = mention.end;
        }
        masked.push_str(&request[at..]);
        Self::of_masked(&masked)
    }

    /// Normalises a request as the planner sees it, each value as `[$k tag]`.
    pub fn of_annotated(text: &str) -> Self {
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("[$") {
            masked.push_str(before);
            let Some((tag, tail)) = after.split_once(']') else {
                rest = after;
                break;
            };
            // A digit must follow, or the brackets are the person's own.
            masked.push(if tag.starts_with(|c: char| c.is_ascii_digit()) { MASK } else { ' ' });
            rest = tail;
        }
        masked.push_str(rest);
        Self::of_masked(&masked)
    }

    /// Normalises a phrase; slots and the values in its own words are masked.
    pub fn of_phrase(phrase: &Phrase, today: Date) -> Self {
        let mask = MASK.to_string();
        let pieces = phrase.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Slot(_) => mask.as_str(),
        });
        Self::of_request(&pieces.collect::<String>(), today)
    }

    fn of_masked(text: &str) -> Self {
        let mut tokens: Vec<Token> = Vec::new();
        let mut word = String::new();
        for c in text.chars().chain([' ']) {
            let part = c.is_alphanumeric() && !lang::is_cjk(c);
            if part {
                word.extend(c.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                tokens.push(Token::Word(std::mem::take(&mut word)));
            }
            if lang::is_cjk(c) {
                tokens.push(Token::Character(lang::fold(c)));
            } else if c == MASK && tokens.last() != Some(&Token::Value) {
                tokens.push(Token::Value);
            }
        }
        Self(tokens)
    }

    /// Returns the digests of the runs of tokens that make an overlap; a shorter text is one run.
    fn runs(&self) -> Vec<u64> {
        let tokens = &self.0;
        let mut runs = Vec::new();
        for at in 0..tokens.len() {
            let Some(words) = tokens.get(at..at + WORDS) else { break };
            let chinese = |run: &[Token]| run.iter().any(|t| matches!(t, Token::Character(_)));
            let run = if chinese(words) { tokens.get(at..at + CHARACTERS) } else { Some(words) };
            let Some(run) = run else { continue };
            if run.iter().filter(|t| **t != Token::Value).count() >= TELLING {
                runs.push(digest(run));
            }
        }
        runs
    }

    /// Returns the digest of a text too short for a run.
    fn whole(&self) -> Option<u64> {
        let said = self.0.iter().any(|token| *token != Token::Value);
        (said && self.runs().is_empty()).then(|| digest(&self.0))
    }

    fn shingles(&self) -> Vec<u64> {
        let mut text: Vec<char> = Vec::new();
        for token in &self.0 {
            match token {
                Token::Word(word) => {
                    text.extend(word.chars());
                    text.push(' ');
                }
                Token::Character(c) => text.push(*c),
                Token::Value => text.push(MASK),
            }
        }
        let mut shingles: Vec<u64> = text.windows(SHINGLE).map(digest).collect();
        shingles.sort_unstable();
        shingles.dedup();
        shingles
    }
}

fn digest(value: &(impl std::hash::Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Shared shingles over all shingles, 0 to 1; both sorted.
fn resemblance(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0_usize);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let all = a.len() + b.len() - shared;
    if all == 0 { 0.0 } else { shared as f64 / all as f64 }
}

/// How a text is near another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nearness {
    /// It shares a run of tokens with an evaluation case, or is one.
    CaseRun,
    /// It resembles an evaluation case as a whole.
    CaseWording,
    /// It shares a run of tokens with a text of `--against`.
    OutsideRun,
    /// It resembles another phrase that leads to the same call.
    Duplicate,
}

/// A text that another is too near to.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// In which way.
    pub how: Nearness,
    /// Name of the other text.
    pub name: String,
    /// Resemblance of both, where it was computed.
    pub resemblance: Option<f64>,
}

/// Texts that no training example may be near to.
#[derive(Debug, Clone, Default)]
pub struct Reserved {
    names: Vec<(String, bool)>,
    cases: HashSet<u64>,
    runs: HashMap<u64, usize>,
    shingles: Vec<(usize, Vec<u64>)>,
}

impl Reserved {
    /// Adds the evaluation cases and retrieval questions of a pack. Returns how many.
    ///
    /// # Errors
    /// [`PackError`] when a file of cases does not read.
    pub fn add_cases(&mut self, pack: &Pack, today: Date) -> Result<usize, PackError> {
        let cases = eval::cases(pack)?.into_iter().map(|case| (case.id, case.request));
        let asked = questions(pack)?.into_iter().map(|q| (q.id, q.question));
        let before = self.names.len();
        for (id, text) in cases.chain(asked) {
            // A pack read from a folder may repeat the cases of the shipped one.
            if !self.cases.insert(digest(&(&id, &text))) {
                continue;
            }
            let normal = Normal::of_request(&text, today);
            let at = self.name(&id, false);
            if let Some(whole) = normal.whole() {
                self.runs.entry(whole).or_insert(at);
            }
            self.add_runs(at, &normal);
            self.shingles.push((at, normal.shingles()));
        }
        Ok(self.names.len() - before)
    }

    /// Adds a text of another source, of which only runs count.
    pub fn add_outside(&mut self, name: &str, text: &str, today: Date) {
        let at = self.name(name, true);
        self.add_runs(at, &Normal::of_request(text, today));
    }

    fn name(&mut self, name: &str, outside: bool) -> usize {
        self.names.push((name.to_owned(), outside));
        self.names.len() - 1
    }

    fn add_runs(&mut self, at: usize, normal: &Normal) {
        for run in normal.runs() {
            self.runs.entry(run).or_insert(at);
        }
    }

    /// Finds a text that shares a run with `normal`, or is the same.
    pub fn run(&self, normal: &Normal) -> Option<Hit> {
        let at = normal.runs().iter().chain(&normal.whole()).find_map(|run| self.runs.get(run))?;
        let (name, outside) = self.names.get(*at)?;
        let how = if *outside { Nearness::OutsideRun } else { Nearness::CaseRun };
        Some(Hit { how, name: name.clone(), resemblance: None })
    }

    /// Finds a text that shares a run with `normal` or resembles it as a whole.
    pub fn near(&self, normal: &Normal) -> Option<Hit> {
        let own = normal.shingles();
        let nearest = self
            .shingles
            .iter()
            .map(|(at, shingles)| (resemblance(&own, shingles), *at))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some(hit) = self.run(normal) {
            return Some(Hit { resemblance: nearest.map(|(score, _)| score), ..hit });
        }
        let (score, at) = nearest.filter(|(score, _)| *score >= NEAR)?;
        let name = self.names.get(at)?.0.clone();
        Some(Hit { how: Nearness::CaseWording, name, resemblance: Some(score) })
    }
}

/// A phrase that no example is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// `pack/tool`, `pack/chain`, `pack/none` and so on.
    pub group: String,
    /// Its language.
    pub lang: String,
    /// The phrase as its pack writes it.
    pub phrase: String,
    /// In which way it is too near.
    pub how: Nearness,
    /// The text that it is near to: the name of a case, a file, or another phrase.
    pub to: String,
    /// Resemblance of both, where it was computed.
    pub resemblance: Option<f64>,
}

/// A phrase, the arguments that it implies, and its shingles.
type Seen = (String, String, Vec<u64>);

/// The phrases that stand, so that a further one can be told from them.
#[derive(Debug)]
pub struct Taken<'a> {
    reserved: &'a Reserved,
    today: Date,
    /// By group and language.
    seen: HashMap<(String, String), Vec<Seen>>,
}

impl<'a> Taken<'a> {
    /// Begins with no phrase.
    pub fn new(reserved: &'a Reserved, today: Date) -> Self {
        Self { reserved, today, seen: HashMap::new() }
    }

    /// Begins with the phrases of a pack.
    pub fn of(templates: &Templates, reserved: &'a Reserved, today: Date) -> Self {
        let mut taken = Self::new(reserved, today);
        for (group, lang, phrases) in lists(&mut templates.clone()) {
            for phrase in phrases {
                // What is near a reserved text leaves no trace; it is dropped elsewhere.
                drop(taken.take(&group, lang, phrase));
            }
        }
        taken
    }

    /// Takes a phrase of a group (a tool, the tools of a chain joined by `+`, or a decision).
    ///
    /// # Errors
    /// What it is too near to: a reserved text, or a phrase of the same group that says the same.
    pub fn take(&mut self, group: &str, lang: &str, text: &str) -> Result<(), Hit> {
        let phrase = Phrase::parse(text);
        if let Some(hit) = self.reserved.near(&Normal::of_phrase(&phrase, self.today)) {
            return Err(hit);
        }
        // Between phrases the names of the slots count: other values in the same place are other calls.
        let (words, implied) = text.split_once(" => ").unwrap_or((text, ""));
        let shingles = Normal::of_masked(words).shingles();
        let seen = self.seen.entry((group.to_owned(), lang.to_owned())).or_default();
        let twin = seen.iter().find_map(|(earlier, constants, own)| {
            let score = resemblance(own, &shingles);
            (constants == implied && score >= SAME).then(|| (earlier.clone(), score))
        });
        if let Some((name, score)) = twin {
            return Err(Hit { how: Nearness::Duplicate, name, resemblance: Some(score) });
        }
        seen.push((text.to_owned(), implied.to_owned(), shingles));
        Ok(())
    }
}

/// Takes out of a pack's phrases those that are near a reserved text, and of two that resemble each
/// other and lead to the same call the later one.
pub fn sift(
    pack: &str,
    templates: &Templates,
    reserved: &Reserved,
    today: Date,
) -> (Templates, Vec<Dropped>) {
    let mut kept = templates.clone();
    let mut dropped = Vec::new();
    let mut taken = Taken::new(reserved, today);
    for (group, lang, phrases) in lists(&mut kept) {
        phrases.retain(|text| {
            let Err(hit) = taken.take(&group, lang, text) else { return true };
            dropped.push(Dropped {
                group: format!("{pack}/{group}"),
                lang: lang.to_owned(),
                phrase: text.clone(),
                how: hit.how,
                to: hit.name,
                resemblance: hit.resemblance.map(|score| (score * 1000.0).round() / 1000.0),
            });
            false
        });
    }
    (kept, dropped)
}

/// Returns every list of phrases with its group and language.
fn lists(templates: &mut Templates) -> Vec<(String, &'static str, &mut Vec<String>)> {
    let mut all = Vec::new();
    for (tool, template) in &mut templates.tools {
        let Template { en, zh_hant, zh_hans, .. } = template;
        for (lang, phrases) in LANGS.into_iter().zip([en, zh_hant, zh_hans]) {
            all.push((tool.clone(), lang, &mut phrases.call));
            all.push((tool.clone(), lang, &mut phrases.add));
        }
    }
    let Template { en, zh_hant, zh_hans, .. } = &mut templates.other;
    for (lang, phrases) in LANGS.into_iter().zip([en, zh_hant, zh_hans]) {
        all.push(("none".to_owned(), lang, &mut phrases.none));
        all.push(("person".to_owned(), lang, &mut phrases.person));
        all.push(("search".to_owned(), lang, &mut phrases.search));
    }
    for chain in &mut templates.chains {
        let group = chain.tools.join("+");
        let super::Chain { en, zh_hant, zh_hans, .. } = chain;
        for (lang, phrases) in LANGS.into_iter().zip([en, zh_hant, zh_hans]) {
            all.push((group.clone(), lang, phrases));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn today() -> Date {
        jiff::civil::date(2026, 6, 15)
    }

    fn request(text: &str) -> Normal {
        Normal::of_request(text, today())
    }

    fn reserved(cases: &[&str]) -> Reserved {
        let mut reserved = Reserved::default();
        let lines = cases.iter().enumerate().map(|(i, text)| {
            let case = serde_json::json!({"id": format!("c{i}"), "request": text, "lang": "en"});
            format!("{case}\n")
        });
        let manifest = "format = 1\nid = \"p\"\nversion = \"1.0.0\"\ntitle = \"P\"\n\
                        description = \"p\"\nlanguages = []\n";
        let files = crate::pack::PackFiles::default().with([
            ("pack.toml".to_owned(), manifest.to_owned()),
            ("evals/cases.jsonl".to_owned(), lines.collect()),
        ]);
        let pack = Pack::from_files("p", files).unwrap();
        assert_eq!(reserved.add_cases(&pack, today()).unwrap(), cases.len());
        reserved
    }

    #[test]
    fn other_values_do_not_hide_a_case() {
        let reserved =
            reserved(&["What is the monthly payment on a 200,000 loan at 6% over 360 months?"]);
        let same = "what is the monthly payment on a 31,500 loan at 4.2% over 12 months";
        assert_eq!(reserved.run(&request(same)).unwrap().how, Nearness::CaseRun);
        let phrase = Phrase::parse("What is the monthly payment on a {principal} loan at {rate}?");
        assert!(reserved.near(&Normal::of_phrase(&phrase, today())).is_some());
        let other = "Our bank wants to know what we would pay for 31,500 at 4.2% over a year";
        assert_eq!(reserved.near(&request(other)), None);
    }

    #[test]
    fn a_text_is_the_same_before_and_after_the_planners_annotation() {
        let text = "Rename ord-6001 [now] and pay $14.99, 第二期";
        let mentions = mention::find(text, today());
        let annotated = Normal::of_annotated(&mention::annotate(text, &mentions));
        assert_eq!(annotated.0, request(text).0);
    }

    #[test]
    fn chinese_is_compared_by_characters_in_either_script() {
        let reserved =
            reserved(&["我們工廠用電1,250,000度，排放係數0.494，請問範疇二排放多少公噸？"]);
        let hit = reserved.run(&request("请问范畴二排放多少公吨，本月33万度，系数0.5"));
        assert_eq!(hit, None, "eleven characters in a row are not twelve");
        let hit = reserved.run(&request("排放系数0.5，请问范畴二排放多少公吨？"));
        assert_eq!(hit.unwrap().how, Nearness::CaseRun);
    }

    #[test]
    fn a_short_case_is_met_only_by_itself() {
        let reserved = reserved(&["Tell me a joke"]);
        assert!(reserved.run(&request("tell me a joke!")).is_some());
        assert!(reserved.run(&request("tell me a joke about banks")).is_none());
    }

    #[test]
    fn a_wording_near_a_case_is_found_without_a_shared_run() {
        let reserved = reserved(&["Could you check this IBAN please: DE89370400440532013000"]);
        let phrase = Phrase::parse("could you please check this IBAN: {value}");
        let hit = reserved.near(&Normal::of_phrase(&phrase, today())).unwrap();
        assert_eq!((hit.how, hit.name.as_str()), (Nearness::CaseWording, "c0"));
    }

    #[test]
    fn phrases_of_the_same_words_count_once_unless_they_lead_to_other_calls() {
        let template = |call: &[&str]| Template {
            en: super::super::Phrases {
                call: call.iter().map(|text| (*text).to_owned()).collect(),
                ..Default::default()
            },
            ..Template::default()
        };
        let mut templates = Templates::default();
        templates.tools.insert(
            "t".to_owned(),
            template(&[
                "How much is the interest on {a} at {b}?",
                "how much is the interest on {a} at {b}",
                "How much is the interest on {a} at {b}? => rows=12",
                "How much is the interest at {b} on {a}?",
                "Interest for {a} at {b}, please.",
            ]),
        );
        let (kept, dropped) = sift("p", &templates, &Reserved::default(), today());
        assert_eq!(dropped.len(), 1, "{dropped:#?}");
        assert_eq!(dropped[0].how, Nearness::Duplicate);
        assert_eq!(kept.tools["t"].en.call.len(), 4);
    }

    #[test]
    fn outside_texts_count_by_runs_alone() {
        let mut reserved = Reserved::default();
        reserved.add_outside("bfcl", "ok", today());
        reserved.add_outside(
            "bfcl",
            "Can you retrieve the details for the user who has black as their special request?",
            today(),
        );
        assert_eq!(reserved.run(&request("ok")), None);
        let text = "Now retrieve the details for the user who has black hair";
        assert_eq!(reserved.run(&request(text)).unwrap().how, Nearness::OutsideRun);
    }
}
