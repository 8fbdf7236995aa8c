//! Text to token ids and back, and the training of a byte-level BPE vocabulary.
//!
//! The file is a Hugging Face `tokenizer.json`, so `transformers` and llama.cpp read what is trained
//! here. Special tokens are never found in text: they are named by [`Segment::Special`], so what a
//! user or a document writes cannot pose as part of the prompt's frame.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior};

/// Where text is cut before merges: one digit at a time, Han apart from Latin, and a word may carry
/// the space or underscore before it. Written without look-around so that it runs in linear time.
const PRE_TOKENIZER: &str =
    r"\p{N}|[ _]?[\p{Latin}\p{M}]+|\p{Han}+|\p{L}| ?[^\s\p{L}\p{N}\p{M}_]+|_+|\s+";

/// Names that end a text when the checkpoint does not say which token does, best first.
const END_NAMES: [&str; 5] = ["<|end|>", "<|im_end|>", "<|endoftext|>", "</s>", "<eos>"];

/// Why a tokenizer cannot be read, trained or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file is missing or is not a `tokenizer.json`.
    #[error("tokenizer cannot be loaded: {0}")]
    Load(String),
    /// The corpus or the options do not give a vocabulary.
    #[error("tokenizer cannot be trained: {0}")]
    Train(String),
    /// The library refused the text.
    #[error("text cannot be tokenized: {0}")]
    Encode(String),
    /// The template names a special token the vocabulary does not have.
    #[error(
        "the vocabulary has no special token `{0}`; use the tokenizer the model was trained with"
    )]
    UnknownSpecial(String),
}

/// One piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A special token by its bare name: `tools` stands for `<|tools|>`. A name that already has
    /// brackets (`</s>`) is taken as it is.
    Special(String),
    /// Text in which nothing is special.
    Text(String),
}

/// A prompt as a list of pieces, built by the caller's template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Pieces in order.
    pub segments: Vec<Segment>,
}

impl Prompt {
    /// Returns an empty prompt.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the special token `<|name|>`.
    #[must_use]
    pub fn special(mut self, name: &str) -> Self {
        self.segments.push(Segment::Special(name.to_owned()));
        self
    }

    /// Appends plain text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.segments.push(Segment::Text(text.into()));
        self
    }

    /// Returns the pieces as a training file has them: `{"special":"tools"}`, `{"text":"…"}`.
    pub fn to_json(&self) -> Value {
        let pieces = self.segments.iter().map(|segment| match segment {
            Segment::Special(name) => json!({ "special": name }),
            Segment::Text(text) => json!({ "text": text }),
        });
        pieces.collect()
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::new().text(text)
    }
}

impl From<Vec<Segment>> for Prompt {
    fn from(segments: Vec<Segment>) -> Self {
        Self { segments }
    }
}

/// A vocabulary with its merge rules.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Load`] ⇐ not such a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        tokenizers::Tokenizer::from_bytes(bytes)
            .map(Self::wrap)
            .map_err(|e| TokenizerError::Load(e.to_string()))
    }

    /// Reads a `tokenizer.json` on disk.
    ///
    /// # Errors
    /// [`TokenizerError::Load`] ⇐ the file is missing or not such a file.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let bytes = std::fs::read(path)
            .map_err(|e| TokenizerError::Load(format!("{}: {e}", path.display())))?;
        Self::from_bytes(&bytes)
    }

    fn wrap(mut inner: tokenizers::Tokenizer) -> Self {
        // Makes `<|tools|>` inside text come out as ordinary tokens.
        inner.set_encode_special_tokens(true);
        Self { inner }
    }

    /// Returns the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Load`] ⇐ the library cannot write it.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(true).map_err(|e| TokenizerError::Load(e.to_string()))
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Returns the ids of `text`, in which nothing is special.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] ⇐ the library refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| TokenizerError::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the ids of a prompt: each text piece by itself, each special token as one id.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownSpecial`] ⇐ a name the vocabulary does not have.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for segment in &prompt.segments {
            match segment {
                Segment::Text(text) => ids.extend(self.encode(text)?),
                Segment::Special(name) => ids.push(self.special(name)?),
            }
        }
        Ok(ids)
    }

    /// Returns the id of a special token by its bare or bracketed name.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownSpecial`] ⇐ no such token.
    pub fn special(&self, name: &str) -> Result<u32, TokenizerError> {
        let full = if name.starts_with('<') || name.starts_with('[') {
            name.to_owned()
        } else {
            format!("<|{name}|>")
        };
        self.inner.token_to_id(&full).ok_or(TokenizerError::UnknownSpecial(full))
    }

    /// Adds special tokens by their bracketed names at the end of the vocabulary; those that are there
    /// stay where they are.
    ///
    /// # Errors
    /// [`TokenizerError::Train`] ⇐ the library refuses them.
    pub fn with_special(&self, names: &[String]) -> Result<Self, TokenizerError> {
        let mut inner = self.inner.clone();
        let new = names.iter().filter(|name| inner.token_to_id(name).is_none());
        let new: Vec<AddedToken> =
            new.map(|name| AddedToken::from(name.clone(), true).normalized(false)).collect();
        inner.add_special_tokens(&new);
        let text = inner.to_string(false).map_err(|e| TokenizerError::Train(e.to_string()))?;
        Self::from_bytes(text.as_bytes())
    }

    /// Returns the token that ends a text by its usual name, if there is one.
    pub fn end_token(&self) -> Option<u32> {
        END_NAMES.iter().find_map(|name| self.inner.token_to_id(name))
    }

    /// Returns the token of an id as it stands in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns the special tokens by id, in the order of their ids.
    pub fn specials(&self) -> Vec<(u32, String)> {
        self.added_where(true)
    }

    /// Returns the added tokens that are ordinary text, in the order of their ids.
    pub fn added(&self) -> Vec<(u32, String)> {
        self.added_where(false)
    }

    fn added_where(&self, special: bool) -> Vec<(u32, String)> {
        let added = self.inner.get_added_tokens_decoder();
        let mut found: Vec<(u32, String)> = added
            .into_iter()
            .filter(|(_, token)| token.special == special)
            .map(|(id, token)| (id, token.content))
            .collect();
        found.sort();
        found
    }

    /// Returns the merges by rank, each as two tokens with a blank between them.
    ///
    /// # Errors
    /// [`TokenizerError::Load`] ⇐ the vocabulary is not one of byte pairs.
    pub fn merges(&self) -> Result<Vec<String>, TokenizerError> {
        let fail = || TokenizerError::Load("the vocabulary has no merges".to_owned());
        let file: Value = serde_json::from_str(&self.to_json()?).map_err(|_| fail())?;
        let merges = file["model"]["merges"].as_array().ok_or_else(fail)?;
        merges
            .iter()
            .map(|merge| match merge {
                Value::String(pair) => Some(pair.clone()),
                Value::Array(pair) => {
                    Some(format!("{} {}", pair.first()?.as_str()?, pair.get(1)?.as_str()?))
                }
                _ => None,
            })
            .collect::<Option<_>>()
            .ok_or_else(fail)
    }

    /// Returns the text of `ids` without special tokens.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] ⇐ the library cannot decode them.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, true).map_err(|e| TokenizerError::Encode(e.to_string()))
    }

    /// Returns the library's tokenizer, for the grammar compiler.
    pub(crate) fn library(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }
}

/// What a trained vocabulary shall hold.
#[derive(Debug, Clone)]
pub struct BpeOptions {
    /// Ids in all, special and added tokens included; a small corpus may give fewer.
    pub vocab_size: usize,
    /// How often a pair must occur to be merged.
    pub min_frequency: u64,
    /// Tokens like `<|tools|>`: ids 0, 1, … in this order, never found in text.
    pub special: Vec<String>,
    /// Ordinary text that is always one token; ids at the end of the vocabulary.
    pub added: Vec<String>,
}

impl Default for BpeOptions {
    fn default() -> Self {
        Self { vocab_size: 8192, min_frequency: 2, special: Vec::new(), added: Vec::new() }
    }
}

/// Trains a byte-level BPE vocabulary.
///
/// Digits stand alone, Han and Latin text never share a token, and all 256 bytes are in the
/// vocabulary, so every text has ids. The same corpus gives the same file.
///
/// # Errors
/// [`TokenizerError::Train`] ⇐ `vocab_size` leaves no room for the bytes and the given tokens.
pub fn train_bpe<S: AsRef<str>>(
    corpus: impl IntoIterator<Item = S>,
    options: &BpeOptions,
) -> Result<Tokenizer, TokenizerError> {
    let fail = |e: tokenizers::Error| TokenizerError::Train(e.to_string());
    let floor = 256 + options.special.len() + options.added.len();
    if options.vocab_size < floor {
        return Err(TokenizerError::Train(format!(
            "vocab_size must be at least {floor}: 256 bytes and the given tokens"
        )));
    }
    let split = Split::new(
        SplitPattern::Regex(PRE_TOKENIZER.to_owned()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(fail)?;
    let mut inner = tokenizers::Tokenizer::new(BPE::default());
    inner.with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)),
    ])));
    inner.with_decoder(Some(ByteLevel::new(false, false, false)));
    let special: Vec<AddedToken> = options
        .special
        .iter()
        .map(|t| AddedToken::from(t.clone(), true).normalized(false))
        .collect();
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(options.vocab_size - options.added.len())
        .min_frequency(options.min_frequency)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
        .build();
    let lines: Vec<String> =
        corpus.into_iter().flat_map(|text| without_added(text.as_ref(), &options.added)).collect();
    let mut trainer = TrainerWrapper::BpeTrainer(trainer);
    inner.train(&mut trainer, lines.iter()).map_err(fail)?;
    let added: Vec<AddedToken> = options
        .added
        .iter()
        .map(|t| AddedToken::from(t.clone(), false).normalized(false))
        .collect();
    inner.add_tokens(&added);
    // Reading it back gives exactly what users of the file will have.
    let text = inner.to_string(false).map_err(fail)?;
    Tokenizer::from_bytes(text.as_bytes())
}

/// Cuts `text` at every added token, which needs no merges of its own.
fn without_added(text: &str, added: &[String]) -> Vec<String> {
    let mut parts = vec![text.to_owned()];
    for token in added.iter().filter(|t| text.contains(t.as_str())) {
        parts = parts.iter().flat_map(|p| p.split(token.as_str()).map(str::to_owned)).collect();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained() -> Tokenizer {
        let corpus = [
            "Borrow 35000 at 6.49% over 60 months 請計算每月還款額",
            "borrow borrow 每月還款 每月還款 months months {\"amount\":35000}",
            "calc_loan calc_loan 请计算 loan還款 loan還款 loan還款",
        ];
        let options = BpeOptions {
            vocab_size: 400,
            special: vec!["<|end|>".into(), "<|tools|>".into()],
            added: vec!["{\"amount\":".into()],
            ..BpeOptions::default()
        };
        train_bpe(corpus, &options).unwrap()
    }

    #[test]
    fn every_text_survives_a_round_trip() {
        let tokenizer = trained();
        for text in ["a  b\n\tc_d __x", "每月 NT$3,000 👍🏽", "", " 12.5%\u{0}é", "Привет мир"]
        {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }

    #[test]
    fn digits_stand_alone_and_scripts_do_not_mix() {
        let tokenizer = trained();
        assert_eq!(tokenizer.encode("35000").unwrap().len(), 5);
        for id in tokenizer.encode("loan還款 loan還款").unwrap() {
            let text = tokenizer.decode(&[id]).unwrap();
            let latin = text.chars().any(|c| c.is_ascii_alphabetic());
            let han = text.chars().any(|c| ('\u{4e00}'..'\u{9fff}').contains(&c));
            assert!(!(latin && han), "{text}");
        }
        assert_eq!(tokenizer.encode("{\"amount\":").unwrap().len(), 1);
    }

    #[test]
    fn text_cannot_smuggle_a_special_token() {
        let tokenizer = trained();
        let tools = tokenizer.special("tools").unwrap();
        assert!(!tokenizer.encode("<|tools|>").unwrap().contains(&tools));
        let prompt = Prompt::new().special("tools").text("<|tools|>");
        let ids = tokenizer.encode_prompt(&prompt).unwrap();
        assert_eq!(ids.iter().filter(|id| **id == tools).count(), 1);
        assert!(matches!(tokenizer.special("nope"), Err(TokenizerError::UnknownSpecial(_))));
    }

    #[test]
    fn a_special_token_is_added_at_the_end_and_only_once() {
        let tokenizer = trained();
        let names = ["<|tools|>".to_owned(), "<|result|>".to_owned()];
        let wider = tokenizer.with_special(&names).unwrap();
        assert_eq!(wider.vocab_size(), tokenizer.vocab_size() + 1);
        assert_eq!(wider.special("result").unwrap() as usize, tokenizer.vocab_size());
        assert_eq!(wider.special("tools").unwrap(), tokenizer.special("tools").unwrap());
        let text = "Borrow 35000 請計算 {\"amount\":1}";
        assert_eq!(wider.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    }

    #[test]
    fn training_is_repeatable() {
        assert_eq!(trained().to_json().unwrap(), trained().to_json().unwrap());
    }
}
