//! Training examples: their file, their tokens, and the packs that one pass runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::pass::Pack;
use crate::intent::{Labelled, Pointed};
use crate::tokenizer::{BpeOptions, Prompt, Segment, Tokenizer, train_bpe};

/// Most branches of a pack.
const MAX_BRANCHES: usize = 16;

/// Most tokens of a pack; a longer example is a pack of its own.
const MAX_TOKENS: usize = 1536;

/// Name of the token that ends a completion.
const END: &str = "<|end|>";

/// Special token before a request.
const REQUEST: &str = "request";

/// Leading segments of a prompt that neighbours in the file may share.
const SHARED: usize = 2;

/// One line of a training file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// What stands before.
    pub prompt: Vec<Piece>,
    /// What the model should say.
    pub completion: String,
    /// What the example is about; accuracy is reported by group.
    #[serde(default)]
    pub group: String,
    /// What the request asks for, by names that no masking changed; empty where that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The call that the completion makes, by the name that no masking changed; empty where it makes
    /// none, or its arguments have other names here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub call: String,
    /// The places of the call's arguments that each reference of the request fills.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<usize, Vec<String>>,
    /// What the call chooses among literals, `PLACE=LITERAL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Language of the example.
    #[serde(default)]
    pub lang: String,
    /// `train`, or `heldout` for examples that are only measured.
    #[serde(default)]
    pub split: String,
    /// Who gave the example; training does not look at it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// One piece of a prompt, as in [`Segment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// A special token by its bare name.
    Special(String),
    /// Plain text.
    Text(String),
}

impl Example {
    /// Returns the request with its labels, in the domain that its group begins with; `None` ⇐ either
    /// is not known, or it is a later step of a request that is seen without it.
    pub fn labelled(&self) -> Option<Labelled<'_>> {
        let (domain, _) = self.group.split_once('/')?;
        let [.., Piece::Special(before), Piece::Text(text), Piece::Special(_)] = &self.prompt[..]
        else {
            return None;
        };
        let known = before == REQUEST && !self.labels.is_empty();
        known.then_some(Labelled { domain, text, labels: &self.labels })
    }

    /// Returns the request with the places that its references fill in one call; `None` ⇐ they are not
    /// known.
    pub fn pointed(&self) -> Option<Pointed<'_>> {
        let (domain, _) = self.group.split_once('/')?;
        let text = self.prompt.windows(2).find_map(|two| match two {
            [Piece::Special(before), Piece::Text(text)] if before == REQUEST => Some(text),
            _ => None,
        })?;
        let known = !self.call.is_empty();
        known.then_some(Pointed {
            domain,
            call: &self.call,
            text,
            places: &self.places,
            choices: &self.choices,
        })
    }

    /// Tells whether the example is kept out of training.
    pub fn is_held_out(&self) -> bool {
        self.split == "heldout"
    }
}

/// Reads a file of one example a line.
///
/// # Errors
/// [`TrainError::Data`] with the line and what is wrong with it.
pub fn read(path: &Path) -> Result<Vec<Example>, TrainError> {
    let fail = |line: usize, message: String| TrainError::Data {
        path: path.display().to_string(),
        line,
        message,
    };
    let file = std::fs::File::open(path).map_err(|e| fail(0, e.to_string()))?;
    let mut examples = Vec::new();
    for (i, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| fail(i + 1, e.to_string()))?;
        if !line.trim().is_empty() {
            examples.push(serde_json::from_str(&line).map_err(|e| fail(i + 1, e.to_string()))?);
        }
    }
    if examples.is_empty() {
        return Err(fail(0, "the file has no example".to_owned()));
    }
    Ok(examples)
}

/// Trains a vocabulary on the examples' own text.
///
/// # Errors
/// [`TrainError::Tokenizer`] ⇐ `vocab` leaves no room for the bytes.
pub(super) fn tokenizer(examples: &[&Example], vocab: usize) -> Result<Tokenizer, TrainError> {
    let mut corpus: Vec<&str> = Vec::new();
    let mut heads = BTreeSet::new();
    for example in examples {
        for (i, piece) in example.prompt.iter().enumerate() {
            match piece {
                // A shared head counts once, or its words would fill the vocabulary.
                Piece::Text(text) if i >= SHARED || heads.insert(text) => corpus.push(text),
                Piece::Text(_) | Piece::Special(_) => {}
            }
        }
        corpus.push(&example.completion);
    }
    let special = std::iter::once(END.to_owned()).chain(specials(examples)).collect();
    let options = BpeOptions { vocab_size: vocab, special, ..BpeOptions::default() };
    Ok(train_bpe(corpus, &options)?)
}

/// Returns the bracketed names of the special tokens that the examples use, in order.
pub(super) fn specials(examples: &[&Example]) -> Vec<String> {
    let pieces = examples.iter().flat_map(|example| &example.prompt);
    let names: BTreeSet<String> = pieces
        .filter_map(|piece| match piece {
            Piece::Special(name) => Some(format!("<|{name}|>")),
            Piece::Text(_) => None,
        })
        .collect();
    names.into_iter().collect()
}

fn prompt(pieces: &[Piece]) -> Prompt {
    let segments = pieces.iter().map(|piece| match piece {
        Piece::Special(name) => Segment::Special(name.clone()),
        Piece::Text(text) => Segment::Text(text.clone()),
    });
    Prompt { segments: segments.collect() }
}

/// Cuts examples into packs: neighbours with the same head share it.
///
/// Returns with each pack the indices of its examples.
///
/// # Errors
/// [`TrainError::Tokenizer`] ⇐ a special token that the vocabulary lacks.
pub(super) fn packs(
    examples: &[&Example],
    tokenizer: &Tokenizer,
) -> Result<Vec<(Pack, Vec<usize>)>, TrainError> {
    let end = tokenizer.special(END)?;
    let mut packs: Vec<(Pack, Vec<usize>)> = Vec::new();
    let mut head: &[Piece] = &[];
    for (i, example) in examples.iter().enumerate() {
        let cut = SHARED.min(example.prompt.len());
        let (own_head, rest) = example.prompt.split_at(cut);
        let before = tokenizer.encode_prompt(&prompt(rest))?;
        let said = tokenizer.encode(&example.completion)?;
        let fits = packs.last().is_some_and(|(pack, of)| {
            of.len() < MAX_BRANCHES
                && pack.tokens.len() + before.len() + said.len() <= MAX_TOKENS
                && own_head == head
        });
        if !fits {
            let tokens = tokenizer.encode_prompt(&prompt(own_head))?;
            packs.push((Pack { prefix: tokens.len(), tokens, ..Pack::default() }, Vec::new()));
            head = own_head;
        }
        if let Some((pack, of)) = packs.last_mut() {
            let start = pack.tokens.len();
            pack.tokens.extend(&before);
            pack.tokens.extend(&said);
            let first = start + before.len() - 1;
            for (at, token) in said.iter().chain(std::iter::once(&end)).enumerate() {
                pack.targets.push((first + at, *token));
                pack.owners.push(of.len());
            }
            pack.branches.push(start..pack.tokens.len());
            of.push(i);
        }
    }
    Ok(packs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(head: &str, request: &str, said: &str) -> Example {
        Example {
            prompt: vec![
                Piece::Special("tools".into()),
                Piece::Text(head.into()),
                Piece::Special("request".into()),
                Piece::Text(request.into()),
            ],
            completion: said.into(),
            group: String::new(),
            labels: Vec::new(),
            call: String::new(),
            places: BTreeMap::new(),
            choices: Vec::new(),
            lang: String::new(),
            split: String::new(),
            source: String::new(),
        }
    }

    #[test]
    fn neighbours_share_their_head_and_targets_end_with_the_end() {
        let all =
            [example("abc", "one", "x1"), example("abc", "two", "y2"), example("q", "z", "w")];
        let refs: Vec<&Example> = all.iter().collect();
        let tokenizer = tokenizer(&refs, 400).unwrap();
        let packs = packs(&refs, &tokenizer).unwrap();
        assert_eq!(packs.iter().map(|(_, of)| of.len()).collect::<Vec<_>>(), [2, 1]);
        let (pack, _) = &packs[0];
        assert_eq!(pack.branches.len(), 2);
        assert_eq!(
            pack.tokens[pack.branches[1].clone()].first(),
            Some(&tokenizer.special("request").unwrap())
        );
        let end = tokenizer.special("end").unwrap();
        assert_eq!(pack.targets.iter().filter(|(_, token)| *token == end).count(), 2);
        // Each target is the token after its row.
        for ((row, token), owner) in pack.targets.iter().zip(&pack.owners) {
            let next = row + 1;
            if next < pack.branches[*owner].end {
                assert_eq!(pack.tokens[next], *token);
            }
        }
    }
}
