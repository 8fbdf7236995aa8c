//! Making examples: render a phrase, read it back, and keep it only if the reading is exact.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use runtime::Prompt;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::line::{Called, labels_of};
use super::mask::Mask;
use super::point::{end, intent_of, point, put, starred, step_of};
use super::say::{Chance, Intent, Place, Said, say};
use super::vary::{bare, extended, planted, simplified, vary};
use super::verify::{Call, Checks};
use super::{Example, LANGS, Phrase, Piece, Template, Templates};
use crate::mention::{self, Mention};
use crate::pack::{Pack, PackError};
use crate::plan::arg::{Locale, shape_at};
use crate::plan::field::is_pending;
use crate::plan::{Card, Desk, Field, Offer, SHORTLIST};

/// Why a rendered phrase does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejected {
    /// The phrase names a slot that is not described or cannot be drawn.
    NoSlot(String),
    /// No argument of the tool has this path.
    NoArgument(String),
    /// The product does not find the value in the words.
    NotFound(String),
    /// A value breaks the tool's schema.
    Schema(String),
    /// The tool refuses the call on the pack's fixtures.
    Execution(String),
    /// The answer says a number that neither the result nor the arguments state.
    Facts(String),
    /// The request is near an evaluation case.
    Case(String),
    /// The request shares a run of words with a text of another source.
    Outside(String),
}

/// Examples by outcome, for the data card.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Examples made, by group and language.
    pub made: BTreeMap<(String, &'static str), usize>,
    /// Phrases rejected, by group and reason, with one rendering each.
    pub rejected: BTreeMap<(String, Rejected), (usize, String)>,
    /// Examples that repeated another one word for word.
    pub repeated: usize,
}

/// How often a request of one call has a clause more, and how often one more still.
const ADDED: [f64; 2] = [0.35, 0.12];

/// Examples that share a shortlist.
pub(super) const GROUP: usize = 16;

/// Share of groups whose tools go by other names.
const MASKED: f64 = 0.4;

/// Draws of an element of an array after the first, until it differs from those before it.
const REDRAWS: usize = 4;

/// Share of requests that state no value at all.
const BARE: f64 = 0.03;

/// Share of requests that hold an order of someone else's.
const PLANTED: f64 = 0.05;

/// Share of complete calls after which an example says that nothing else was asked for.
const ENDS: f64 = 0.25;

/// Times that a phrase is rendered again as it stands.
pub(super) const RETRIES: usize = 3;

/// The day that relative dates count from, 2026-06-15, in Unix seconds; fixed, so that a set can be
/// made again.
const TODAY: i64 = 1_781_481_600;

/// Makes examples of one pack.
pub struct Maker<'a> {
    pub(super) pack: &'a Pack,
    pub(super) templates: &'a Templates,
    pub(super) desk: Desk,
    pub(super) locale: Locale,
    pub(super) chance: Chance,
    pub(super) today: Date,
    pub(super) now: Timestamp,
    /// What an example must pass beyond being read back; nothing more when absent.
    pub(super) checks: Option<Checks>,
    /// Counts of what was made and rejected.
    pub report: Report,
}

/// A rendered phrase and what each of its slots meant.
pub(super) struct Rendered {
    pub(super) text: String,
    /// Path, span of the words, meaning.
    pub(super) said: Vec<(String, std::ops::Range<usize>, Intent)>,
}

/// The prompts and completions of a request, and its calls where they are complete.
pub(super) struct Made {
    pub(super) steps: Vec<(Prompt, String)>,
    pub(super) calls: Vec<Call>,
}

impl Rendered {
    /// Tells whether another element of the same array already has this value, which nobody says
    /// twice of codes or of plain elements (`evidence D09, D09`).
    fn states(&self, path: &str, kind: &str, intent: &Intent) -> bool {
        let family = starred(path);
        let distinct = family.ends_with(".*") || matches!(kind, "id" | "vin");
        let mut others = self.said.iter().filter(|(other, ..)| other != path);
        distinct && others.any(|(other, _, said)| said == intent && starred(other) == family)
    }
}

/// Path, span of the words and meaning of one slot.
pub(super) type Stated<'a> = (&'a str, &'a std::ops::Range<usize>, &'a Intent);

impl<'a> Maker<'a> {
    /// Prepares to make examples of `pack` from some of its phrases and a seed. What the planner sees
    /// of the tools does not depend on which phrases these are.
    ///
    /// # Errors
    /// [`PackError`] when `fill.toml` is broken.
    pub fn new(pack: &'a Pack, templates: &'a Templates, seed: u64) -> Result<Self, PackError> {
        Ok(Self {
            desk: Desk::new(pack, &Templates::of(pack)?)?,
            pack,
            templates,
            locale: Locale { timezone: "UTC".to_owned() },
            chance: Chance::seed_from_u64(seed),
            today: super::set::TODAY,
            now: Timestamp::from_second(TODAY).unwrap_or_default(),
            checks: None,
            report: Report::default(),
        })
    }

    /// Makes about `count` examples: four fifths lead to a call, spread evenly over the tools.
    ///
    /// They come in groups that share a shortlist, so that training runs the shortlist once for all
    /// of a group; within it each request stands against tools that are near to another one's.
    pub fn make(&mut self, count: usize) -> Vec<Example> {
        let templates = self.templates;
        let tools: Vec<(&String, &Template)> = templates.tools.iter().collect();
        if tools.is_empty() {
            return Vec::new();
        }
        let mut groups = Vec::with_capacity(count / GROUP + 1);
        for i in 0..count.div_ceil(GROUP) {
            groups.push(self.group(tools[i % tools.len()]));
        }
        groups.shuffle(&mut self.chance);
        groups.into_iter().flatten().collect()
    }

    fn group(&mut self, (anchor, template): (&String, &Template)) -> Vec<Example> {
        let Some(shortlist) = self.shortlist(anchor, template) else { return Vec::new() };
        let mask = if self.chance.random_bool(MASKED) {
            let cards = shortlist.iter().filter_map(|name| self.desk.card(name));
            Mask::draw(cards, &self.templates.names, &mut self.chance)
        } else {
            Mask::default()
        };
        let mut examples = Vec::with_capacity(GROUP);
        for i in 0..GROUP {
            let lang = *[0, 0, 1, 2].choose(&mut self.chance).map_or(&LANGS[0], |i| &LANGS[*i]);
            let made = match i {
                4 | 9 | 14 => self.other(lang, &shortlist).into_iter().collect(),
                6 | 11 => self.chain(anchor, lang, &shortlist),
                _ => {
                    let tool =
                        if i == 0 { Some(anchor) } else { shortlist.choose(&mut self.chance) };
                    let templates = self.templates;
                    let template = tool.and_then(|tool| Some((tool, templates.tools.get(tool)?)));
                    template.map_or_else(Vec::new, |(tool, template)| {
                        self.call(tool, template, lang, &shortlist)
                    })
                }
            };
            for mut example in self.fresh(made) {
                mask.apply(&mut example.prompt, &mut example.completion);
                *self.report.made.entry((example.group.clone(), lang)).or_default() += 1;
                examples.push(example);
            }
        }
        examples
    }

    /// Draws a shortlist around a tool: those that its own words make likely, some of them swapped
    /// for others.
    pub(super) fn shortlist(&mut self, anchor: &str, template: &Template) -> Option<Vec<String>> {
        let lang = *LANGS.choose(&mut self.chance)?;
        let phrase = template.phrases(lang).call.choose(&mut self.chance)?;
        let words = Phrase::parse(phrase).words();
        let ranked = self.desk.rank(&words, &[]);
        let mut others: Vec<String> = ranked
            .into_iter()
            .map(|card| card.spec.name.clone())
            .filter(|name| name != anchor)
            .collect();
        if self.chance.random_bool(0.8) {
            others.truncate(SHORTLIST + 2);
        }
        others.shuffle(&mut self.chance);
        let size = if self.chance.random_bool(0.9) { SHORTLIST } else { 2 };
        let mut names = vec![anchor.to_owned()];
        names.extend(others.into_iter().take(size - 1));
        Some(names)
    }

    /// Renders every phrase of the pack until it counts, to show which ones cannot be learnt.
    pub fn check(&mut self) -> &Report {
        let templates = self.templates;
        for (tool, template) in &templates.tools {
            for lang in LANGS {
                for phrase in &template.phrases(lang).call {
                    let shortlist = std::slice::from_ref(tool);
                    self.insist(|maker| {
                        let parsed = Phrase::parse(phrase);
                        maker.render_call((tool, template), lang, (phrase, parsed), shortlist)
                    });
                }
            }
        }
        self.check_clauses();
        self.check_chains();
        &self.report
    }

    /// Renders every clause beside some phrase of its tool, as [`Maker::check`] does.
    fn check_clauses(&mut self) {
        let templates = self.templates;
        for (tool, template) in &templates.tools {
            for lang in LANGS {
                let phrases = template.phrases(lang);
                for clause in &phrases.add {
                    let shortlist = std::slice::from_ref(tool);
                    self.insist(|maker| {
                        let Some(phrase) = phrases.call.choose(&mut maker.chance) else {
                            return Vec::new();
                        };
                        let own = std::slice::from_ref(clause);
                        let whole = extended(Phrase::parse(phrase), own, lang, &mut maker.chance);
                        maker.render_call((tool, template), lang, (clause, whole), shortlist)
                    });
                }
            }
        }
    }

    fn call(
        &mut self,
        tool: &str,
        template: &Template,
        lang: &'static str,
        shortlist: &[String],
    ) -> Vec<Example> {
        let Some(phrase) = template.phrases(lang).call.choose(&mut self.chance) else {
            return Vec::new();
        };
        let mut phrase = phrase.clone();
        if lang == "zh-Hans"
            && self.chance.random_bool(0.35)
            && let Some(other) = template.phrases("zh-Hant").call.choose(&mut self.chance)
        {
            phrase = simplified(other);
        }
        let title = self.pack.tool(tool).map_or("", |tool| tool.title.as_str());
        let mut parsed = Phrase::parse(&phrase);
        let mut clauses = template.phrases(lang).add.clone();
        if lang == "zh-Hans" {
            clauses.extend(template.phrases("zh-Hant").add.iter().map(|c| simplified(c)));
        }
        for share in ADDED {
            if self.chance.random_bool(share) {
                parsed = extended(parsed, &clauses, lang, &mut self.chance);
            }
        }
        let mut varied = vary(parsed, title, lang, &mut self.chance);
        if self.chance.random_bool(BARE) {
            varied = bare(&varied);
        }
        if self.chance.random_bool(PLANTED)
            && let Some(spec) = self.pack.tools.choose(&mut self.chance)
            && spec.name != tool
        {
            varied = planted(varied, &spec.name, lang, &mut self.chance);
        }
        let made = self.render_call((tool, template), lang, (&phrase, varied), shortlist);
        if !made.is_empty() {
            return made;
        }
        // Where a variation lost the sense, the phrase itself is taken, and with other values where
        // the tool refuses those that were drawn.
        (0..RETRIES)
            .map(|_| {
                let plain = Phrase::parse(&phrase);
                self.render_call((tool, template), lang, (&phrase, plain), shortlist)
            })
            .find(|made| !made.is_empty())
            .unwrap_or_default()
    }

    /// Renders a phrase of one call; where the call is complete, some examples also say that it is
    /// all that was asked for.
    fn render_call(
        &mut self,
        (tool, template): (&str, &Template),
        lang: &'static str,
        (text, phrase): (&str, Phrase),
        shortlist: &[String],
    ) -> Vec<Example> {
        let group = format!("{}/{tool}", self.pack.manifest.id);
        let mut shown = text.to_owned();
        let made = self.try_call((tool, template), lang, &phrase, shortlist, &mut shown);
        match made.and_then(|made| self.passed(made, lang, text)) {
            Ok(steps) => {
                let keep = 1 + usize::from(self.chance.random_bool(ENDS));
                self.examples(steps.into_iter().take(keep), &group, lang, text)
            }
            Err(why) => {
                let entry = self.report.rejected.entry((group, why)).or_insert((0, shown));
                entry.0 += 1;
                Vec::new()
            }
        }
    }

    /// Makes an example of each prompt and completion of one request.
    pub(super) fn examples(
        &self,
        steps: impl Iterator<Item = (Prompt, String)>,
        group: &str,
        lang: &'static str,
        text: &str,
    ) -> Vec<Example> {
        let held_out = held_out(text);
        let steps: Vec<(Prompt, String)> = steps.collect();
        let labels = labels_of(steps.iter().map(|(_, completion)| completion.as_str()));
        steps
            .into_iter()
            .map(|(prompt, completion)| Example {
                called: Called::of(&completion, &labels),
                prompt,
                completion,
                group: group.to_owned(),
                labels: labels.clone(),
                lang,
                held_out,
                source: self.templates.taught.source_of(text),
            })
            .collect()
    }

    pub(super) fn try_call(
        &mut self,
        (tool, template): (&str, &Template),
        lang: &'static str,
        phrase: &Phrase,
        shortlist: &[String],
        shown: &mut String,
    ) -> Result<Made, Rejected> {
        let rendered = self.render(template, phrase, lang)?;
        shown.clone_from(&rendered.text);
        let mentions = mention::find(&rendered.text, self.today);
        let Some(card) = self.desk.card(tool) else {
            return Err(Rejected::NoArgument(tool.to_owned()));
        };
        let said: Vec<Stated<'_>> =
            rendered.said.iter().map(|(p, s, i)| (p.as_str(), s, i)).collect();
        let with = self.filled(card, &said, &phrase.constants, &mentions)?;
        let completion = step_of(card, &with);
        let offer = self.offer(&rendered.text, &mentions, 0, &[]);
        let complete = self.verify(card, &offer, &completion)?;
        let prompt = self.prompt(&rendered.text, &mentions, shortlist);
        let mut steps = vec![(prompt.clone(), completion.clone())];
        let mut calls = Vec::new();
        if let Some(arguments) = complete {
            calls.push((tool.to_owned(), arguments));
            let cards: Vec<&Card> = shortlist.iter().filter_map(|n| self.desk.card(n)).collect();
            let fields = Field::of(0, &card.spec);
            let outlook = self.offer(&rendered.text, &mentions, 1, &fields).outlook(&cards);
            steps.push((Desk::after(prompt, &completion, &outlook), end()));
        }
        Ok(Made { steps, calls })
    }

    /// Offers what a rendered request states, and what `fields` of earlier calls give.
    pub(super) fn offer<'o>(
        &'o self,
        request: &'o str,
        mentions: &'o [Mention],
        planned: usize,
        fields: &'o [Field],
    ) -> Offer<'o> {
        Offer { planned, fields, ..Offer::of(request, mentions, &self.locale) }
    }

    /// Points each argument at the mention that was rendered for it.
    pub(super) fn filled(
        &self,
        card: &Card,
        said: &[Stated<'_>],
        constants: &[(String, Value)],
        mentions: &[Mention],
    ) -> Result<Value, Rejected> {
        let tool = &card.spec.name;
        let mut with = Value::Object(Map::new());
        for (path, span, intent) in said {
            let shape = shape_at(&card.args, path)
                .ok_or_else(|| Rejected::NoArgument((*path).to_owned()))?;
            let near = |m: &&Mention| m.start < span.end && m.end > span.start;
            let near: Vec<&Mention> = mentions.iter().filter(near).collect();
            let value = point(&shape, intent, &near, &self.locale)
                .ok_or_else(|| Rejected::NotFound((*path).to_owned()))?;
            put(&mut with, path, value);
        }
        for (path, value) in constants {
            let Some(shape) = shape_at(&card.args, path) else {
                let covered = self.desk.fills().covers(tool, &starred(path));
                if covered || Card::is_platforms(path) {
                    continue;
                }
                return Err(Rejected::NoArgument(path.clone()));
            };
            let all: Vec<&Mention> = mentions.iter().collect();
            match point(&shape, &intent_of(value), &all, &self.locale) {
                Some(value) => put(&mut with, path, value),
                None if self.desk.fills().covers(tool, &starred(path)) => {}
                None => return Err(Rejected::NotFound(path.clone())),
            }
        }
        Ok(with)
    }

    /// Reads the completion as the product would and checks the arguments' own schema. Returns them
    /// where nothing is missing; else the phrase leaves something out and the product asks for it.
    pub(super) fn verify(
        &self,
        card: &Card,
        offer: &Offer<'_>,
        completion: &str,
    ) -> Result<Option<Value>, Rejected> {
        let step = offer
            .read(completion, &[card])
            .ok_or_else(|| Rejected::Schema("unreadable".to_owned()))?;
        let mut arguments = step.arguments;
        let setting = crate::plan::Setting {
            run: "synth",
            request: offer.request,
            currency: "USD",
            said_currency: None,
            locale: &self.locale,
            mentions: offer.mentions,
            now: self.now,
        };
        self.desk.fills().apply(&card.spec, &mut arguments, &setting);
        let arguments = Value::Object(arguments);
        if !card.spec.missing(&arguments).is_empty() {
            return Ok(None);
        }
        if is_pending(&arguments) {
            return Ok(Some(arguments));
        }
        let checked = card.spec.check_arguments(&arguments);
        checked.map(|()| Some(arguments)).map_err(|e| Rejected::Schema(e.to_string()))
    }

    fn other(&mut self, lang: &'static str, shortlist: &[String]) -> Option<Example> {
        let phrases = self.templates.other.phrases(lang);
        let kinds =
            [("none", &phrases.none), ("person", &phrases.person), ("search", &phrases.search)];
        let (step, phrases) = *kinds.choose(&mut self.chance)?;
        let phrase = phrases.choose(&mut self.chance)?;
        let varied = vary(Phrase::parse(phrase), "", lang, &mut self.chance);
        let text = self.roughen(&varied.words(), lang);
        let mentions = mention::find(&text, self.today);
        let prompt = self.prompt(&text, &mentions, shortlist);
        let steps = vec![(prompt, json!({ "step": step }).to_string())];
        let group = format!("{}/{step}", self.pack.manifest.id);
        match self.passed(Made { steps, calls: Vec::new() }, lang, phrase) {
            Ok(steps) => self.examples(steps.into_iter(), &group, lang, phrase).pop(),
            Err(why) => {
                self.report.rejected.entry((group, why)).or_insert((0, text)).0 += 1;
                None
            }
        }
    }

    pub(super) fn prompt(&self, text: &str, mentions: &[Mention], shortlist: &[String]) -> Prompt {
        let mut cards: Vec<&Card> = shortlist.iter().filter_map(|n| self.desk.card(n)).collect();
        Desk::prompt(text, mentions, &mut cards)
    }

    pub(super) fn render(
        &mut self,
        template: &Template,
        phrase: &Phrase,
        lang: &'static str,
    ) -> Result<Rendered, Rejected> {
        let mut rendered = Rendered { text: String::new(), said: Vec::new() };
        let mut earliest: Option<Date> = None;
        let pieces = &phrase.pieces;
        for (i, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Text(words) => {
                    let words = self.roughen(words, lang);
                    rendered.text.push_str(&words);
                }
                Piece::Slot(path) => {
                    let spec =
                        template.slots.get(path).ok_or_else(|| Rejected::NoSlot(path.clone()))?;
                    let after = match pieces.get(i + 1) {
                        Some(Piece::Text(text)) => text.as_str(),
                        _ => "",
                    };
                    let before = rendered.text.clone();
                    let place = Place { before: &before, after, lang };
                    let mut draw = || {
                        say(spec, place, earliest, &mut self.chance)
                            .ok_or_else(|| Rejected::NoSlot(path.clone()))
                    };
                    let mut said = draw()?;
                    for _ in 0..REDRAWS {
                        if rendered.states(path, &spec.kind, &said.intent) {
                            said = draw()?;
                        }
                    }
                    earliest = day_of(&said.intent).or(earliest);
                    let said = self.quoted(said, spec.kind.as_str(), lang, &before, after);
                    let start = rendered.text.len();
                    rendered.text.push_str(&said.words);
                    rendered.said.push((path.clone(), start..rendered.text.len(), said.intent));
                }
            }
        }
        Ok(rendered)
    }

    /// Puts quotation marks around a text that the product would not find without them.
    fn quoted(&self, mut said: Said, kind: &str, lang: &str, before: &str, after: &str) -> Said {
        let Intent::Text(value) = &said.intent else { return said };
        if !matches!(kind, "text" | "name" | "id" | "dataset") {
            return said;
        }
        let trial = format!("{before}{}{after}", said.words);
        let span = before.len()..before.len() + said.words.len();
        let found = mention::find(&trial, self.today).into_iter().any(|m| {
            m.start <= span.start
                && m.end >= span.end
                && m.text.contains(value.as_str())
                && m.text.len() == value.len()
        });
        if !found {
            said.words = match lang {
                "en" => format!("\"{value}\""),
                _ => format!("「{value}」"),
            };
        }
        said
    }

    /// Writes words as hurried people do: lower case, a slip of the keys, no last full stop.
    fn roughen(&mut self, words: &str, lang: &str) -> String {
        let mut text = words.to_owned();
        if lang != "en" {
            return text;
        }
        if self.chance.random_bool(0.12) {
            text = text.to_lowercase();
        }
        if self.chance.random_bool(0.06) {
            let letters: Vec<usize> = text
                .char_indices()
                .filter(|(i, c)| {
                    c.is_ascii_lowercase()
                        && text[i + 1..].starts_with(|n: char| n.is_ascii_lowercase())
                })
                .map(|(i, _)| i)
                .collect();
            if let Some(&at) = letters.choose(&mut self.chance) {
                let swapped = format!("{}{}", &text[at + 1..at + 2], &text[at..at + 1]);
                text.replace_range(at..at + 2, &swapped);
            }
        }
        if self.chance.random_bool(0.15) && text.ends_with(['.', '?']) {
            text.pop();
        }
        text
    }
}

fn day_of(intent: &Intent) -> Option<Date> {
    match intent {
        Intent::Day(day) => Some(*day),
        Intent::Instant(instant) => instant.get(..10)?.parse().ok(),
        _ => None,
    }
}

pub(super) fn held_out(phrase: &str) -> bool {
    Sha256::digest(phrase.as_bytes())[0] < 10
}
