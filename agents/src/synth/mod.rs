//! Training requests made from a pack's `synth/` folder: phrases with slots, drawn values, and the
//! ways people say them.
//!
//! An example counts only if the product's own reading of the rendered request (mentions, units,
//! the tool's schema) gives back exactly the arguments that were drawn, so the planner never learns
//! from a label that the product could not execute.

pub mod card;
mod chain;
mod example;
mod label;
mod line;
mod mask;
pub mod overlap;
mod point;
mod request;
mod say;
pub mod set;
mod source;
pub mod teacher;
mod vary;
pub mod verify;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::pack::{Pack, PackError};

pub use card::Card;
pub use chain::Chain;
pub use example::{Maker, Rejected, Report};
pub use label::{Labelled, RightCall};
pub use line::Example;
pub use mask::Names;
pub use source::{Consent, Source, Taught};

/// The languages of phrases, in the order of [`Phrases`].
pub const LANGS: [&str; 3] = ["en", "zh-Hant", "zh-Hans"];

/// How the value of an argument is drawn and said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotSpec {
    /// `money`, `number`, `integer`, `percent`, `duration`, `date`, `datetime`, `currency`, `id`,
    /// `name`, `text`, `list`, `hex`, `vin`, `dataset`, `choice`.
    pub kind: String,
    /// Smallest value.
    #[serde(default)]
    pub min: Option<f64>,
    /// Largest value; of a datetime after another one, the most hours between them.
    #[serde(default)]
    pub max: Option<f64>,
    /// Decimals of a drawn number.
    #[serde(default)]
    pub decimals: Option<u32>,
    /// Whether a value may be negative.
    #[serde(default)]
    pub signed: bool,
    /// Unit said after the number, or unit of a duration.
    #[serde(default)]
    pub unit: Option<String>,
    /// Other units with their factor to the argument's unit.
    #[serde(default)]
    pub units: BTreeMap<String, f64>,
    /// Values to choose from, or, for a choice, the ways to say each.
    #[serde(default)]
    pub values: Option<toml::Value>,
    /// Patterns of codes: `#` a digit, `@` a capital letter, `~` a hexadecimal digit.
    #[serde(default)]
    pub patterns: Vec<String>,
    /// Kind of a list's elements.
    #[serde(default)]
    pub of: Option<String>,
    /// Fewest elements.
    #[serde(default)]
    pub min_len: Option<usize>,
    /// Most elements.
    #[serde(default)]
    pub max_len: Option<usize>,
}

impl SlotSpec {
    /// Returns codes as the slot draws them, one of each pattern, where it draws codes.
    pub fn codes(&self) -> Vec<String> {
        if !matches!(self.kind.as_str(), "id" | "dataset" | "hex" | "vin" | "text") {
            return Vec::new();
        }
        let mut chance = <say::Chance as rand::SeedableRng>::seed_from_u64(1);
        let drawn = self.patterns.iter().map(|pattern| say::pattern(pattern, &mut chance));
        let vin = (self.kind == "vin").then(|| "WBA3A5C50CF256551".to_owned());
        drawn.chain(say::options(self)).chain(vin).collect()
    }
}

/// Phrases of one language.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phrases {
    /// Requests that lead to the tool.
    #[serde(default)]
    pub call: Vec<String>,
    /// What may be said beside any of them: a clause that states one argument more.
    #[serde(default)]
    pub add: Vec<String>,
    /// Requests that nothing serves.
    #[serde(default)]
    pub none: Vec<String>,
    /// Requests that a person must take.
    #[serde(default)]
    pub person: Vec<String>,
    /// Requests that a document answers.
    #[serde(default)]
    pub search: Vec<String>,
}

/// A file of the `synth/` folder.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Slots by the path of the argument (`items.0.value`).
    #[serde(default)]
    pub slots: BTreeMap<String, SlotSpec>,
    /// English phrases.
    #[serde(default)]
    pub en: Phrases,
    /// Phrases in Traditional Chinese.
    #[serde(default, rename = "zh-Hant")]
    pub zh_hant: Phrases,
    /// Phrases in Simplified Chinese.
    #[serde(default, rename = "zh-Hans")]
    pub zh_hans: Phrases,
}

impl Template {
    /// Returns the phrases of one of [`LANGS`].
    pub fn phrases(&self, lang: &str) -> &Phrases {
        match lang {
            "zh-Hant" => &self.zh_hant,
            "zh-Hans" => &self.zh_hans,
            _ => &self.en,
        }
    }

    /// As [`Template::phrases`], to add some.
    fn phrases_mut(&mut self, lang: &str) -> &mut Phrases {
        match lang {
            "zh-Hant" => &mut self.zh_hant,
            "zh-Hans" => &mut self.zh_hans,
            _ => &mut self.en,
        }
    }
}

/// The templates of a pack: by tool, and those that call no tool.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    /// Templates by name of the tool.
    pub tools: BTreeMap<String, Template>,
    /// Requests that lead to no call.
    pub other: Template,
    /// Requests that lead to several calls.
    pub chains: Vec<Chain>,
    /// Other names of tools and arguments.
    pub names: BTreeMap<String, Names>,
    /// Which of the phrases a teacher gave.
    pub taught: Taught,
}

impl Templates {
    /// Reads the `synth/` folder of a pack; a pack without one has no templates.
    ///
    /// # Errors
    /// [`PackError::Invalid`] naming the file, its line and what is wrong.
    pub fn of(pack: &Pack) -> Result<Self, PackError> {
        let mut templates = Self::default();
        for (path, bytes) in pack.files.below("synth/").filter(|(p, _)| p.ends_with(".toml")) {
            let invalid = |message: String| PackError::Invalid {
                pack: pack.manifest.id.clone(),
                file: path.to_owned(),
                message,
            };
            let text = String::from_utf8_lossy(bytes);
            let name = path.trim_start_matches("synth/").trim_end_matches(".toml");
            if name == "_chains" {
                templates.chains = chain::parse(&text, pack).map_err(invalid)?;
                continue;
            }
            if name == "_names" {
                templates.names = mask::parse(&text, pack).map_err(invalid)?;
                continue;
            }
            let template: Template =
                toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
            if name == "_other" {
                templates.other = template;
            } else if pack.tool(name).is_some() {
                templates.tools.insert(name.to_owned(), template);
            } else {
                return Err(invalid(format!("there is no tool `{name}` in the pack")));
            }
        }
        Ok(templates)
    }

    /// Returns the top-level arguments that the phrases of a tool state.
    pub fn practised(&self, tool: &str) -> Vec<String> {
        let Some(template) = self.tools.get(tool) else { return Vec::new() };
        let mut names: Vec<String> = Vec::new();
        let mut add = |path: &str| {
            let name = path.split('.').next().unwrap_or(path).trim().to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        };
        for lang in LANGS {
            let phrases = template.phrases(lang);
            for phrase in phrases.call.iter().chain(&phrases.add) {
                let phrase = Phrase::parse(phrase);
                phrase.slots().for_each(&mut add);
                phrase.constants.iter().for_each(|(path, _)| add(path));
            }
        }
        self.chains.iter().flat_map(|chain| chain.arguments_of(tool)).for_each(|path| add(&path));
        names
    }
}

/// A phrase: text and slots in turn, and the arguments that its wording implies.
#[derive(Debug, Clone, PartialEq)]
pub struct Phrase {
    /// Pieces in order.
    pub pieces: Vec<Piece>,
    /// Path and value of each implied argument.
    pub constants: Vec<(String, Value)>,
}

/// A piece of a phrase.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Words.
    Text(String),
    /// Path of the argument that is said here.
    Slot(String),
}

impl Phrase {
    /// Reads `words {slot} words => path=value; path=value`.
    pub fn parse(text: &str) -> Self {
        let (words, implied) = text.split_once(" => ").unwrap_or((text, ""));
        let mut pieces = Vec::new();
        let mut rest = words;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((path, tail)) = after.split_once('}') else { break };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Slot(path.to_owned()));
            rest = tail;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let constants = implied
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .map(|(path, value)| {
                let value = value.trim();
                let json = serde_json::from_str(value);
                (path.trim().to_owned(), json.unwrap_or_else(|_| Value::String(value.to_owned())))
            })
            .collect();
        Self { pieces, constants }
    }

    /// Writes the phrase as [`Phrase::parse`] reads it.
    pub fn write(&self) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Slot(path) => format!("{{{path}}}"),
        });
        let words: String = pieces.collect();
        let implied = self.constants.iter().map(|(path, value)| match value.as_str() {
            Some(text) => format!("{path}={text}"),
            None => format!("{path}={value}"),
        });
        match implied.collect::<Vec<_>>().join("; ") {
            implied if implied.is_empty() => words,
            implied => format!("{words} => {implied}"),
        }
    }

    /// Returns the paths of the slots.
    pub fn slots(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Slot(path) => Some(path.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Returns the words without the slots.
    pub fn words(&self) -> String {
        self.words_with(|_| String::new())
    }

    /// Returns the words with something in place of each slot.
    pub fn words_with(&self, said: impl Fn(&str) -> String) -> String {
        let words = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Slot(path) => format!(" {} ", said(path)),
        });
        words.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_has_pieces_and_implied_arguments() {
        let phrase = Phrase::parse("pmt {principal} @ {rate} => repayment=interest_only; rows=12");
        assert_eq!(phrase.slots().collect::<Vec<_>>(), ["principal", "rate"]);
        assert_eq!(phrase.words(), "pmt    @   ");
        assert_eq!(phrase.constants[0], ("repayment".to_owned(), Value::from("interest_only")));
        assert_eq!(phrase.constants[1], ("rows".to_owned(), Value::from(12)));
        assert_eq!(Phrase::parse(&phrase.write()), phrase);
    }
}
