//! The files a planner consists of.

use std::borrow::Cow;
use std::path::Path;

use super::EngineError;
use super::packed::unpack;
use crate::intent::INTENTS_FILE;

/// Contents of a model's files; borrowed where they are embedded in the program.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// `config.json`.
    pub config: Cow<'static, [u8]>,
    /// `tokenizer.json`.
    pub tokenizer: Cow<'static, [u8]>,
    /// `model.safetensors`, or its shards, unpacked where they were packed (see [`pack`](super::pack)).
    pub weights: Vec<Cow<'static, [u8]>>,
    /// `intents.safetensors`, where the planner has one.
    pub intents: Option<Cow<'static, [u8]>>,
}

impl ModelFiles {
    /// Returns files that are part of the program (`include_bytes!`).
    pub fn embedded(
        config: &'static [u8],
        tokenizer: &'static [u8],
        weights: &'static [u8],
    ) -> Self {
        Self {
            config: Cow::Borrowed(config),
            tokenizer: Cow::Borrowed(tokenizer),
            weights: vec![unpack(Cow::Borrowed(weights))],
            intents: None,
        }
    }

    /// Adds an embedded `intents.safetensors`.
    #[must_use]
    pub fn with_intents(self, intents: &'static [u8]) -> Self {
        Self { intents: Some(Cow::Borrowed(intents)), ..self }
    }

    /// Reads `config.json`, `tokenizer.json` and every `*.safetensors` of a folder, of which
    /// `intents.safetensors` is no shard of the weights.
    ///
    /// # Errors
    /// [`EngineError::Io`] ⇐ a file is missing or cannot be read.
    pub fn from_folder(folder: &Path) -> Result<Self, EngineError> {
        let mut shards: Vec<_> = std::fs::read_dir(folder)
            .map_err(|source| io(folder, source))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
            .filter(|path| path.file_name().is_some_and(|name| name != INTENTS_FILE))
            .collect();
        shards.sort();
        if shards.is_empty() {
            return Err(io(&folder.join("model.safetensors"), std::io::ErrorKind::NotFound.into()));
        }
        let intents = folder.join(INTENTS_FILE);
        Ok(Self {
            config: read(&folder.join("config.json"))?,
            tokenizer: read(&folder.join("tokenizer.json"))?,
            weights: shards.iter().map(|path| read(path).map(unpack)).collect::<Result<_, _>>()?,
            intents: intents.exists().then(|| read(&intents)).transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<Cow<'static, [u8]>, EngineError> {
    std::fs::read(path).map(Cow::Owned).map_err(|source| io(path, source))
}

fn io(path: &Path, source: std::io::Error) -> EngineError {
    EngineError::Io { path: path.display().to_string(), source }
}
