//! A planner in the forms that other programs read: a folder for `transformers` and a GGUF file for
//! llama.cpp. Both hold the same numbers, so greedy decoding gives the same tokens there as here.

mod folder;
mod gguf;
mod packed;

pub use folder::safetensors;
pub use gguf::gguf;
pub use packed::packed;

use std::path::Path;

use crate::config::{ConfigError, MoeConfig};
use crate::engine::ModelFiles;
use crate::model::ModelError;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Number format of the matrices in a GGUF file; norms and routers are always f32, as llama.cpp's
/// converter writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Half precision.
    F16,
    /// Single precision.
    F32,
    /// Eight bits with a scale for each 32 (`Q8_0`); matrices whose rows are no multiple of that stay in
    /// half precision.
    Q8,
}

/// Why a planner cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights are refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer is refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The other program cannot run this planner.
    #[error("this planner has no form in {form}: {reason}")]
    Form {
        /// The form that was asked for.
        form: &'static str,
        /// What it lacks.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Reason of the operating system.
        source: std::io::Error,
    },
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> ExportError + '_ {
    |source| ExportError::Io { path: path.display().to_string(), source }
}

/// What every form is made from.
struct Parts {
    config: MoeConfig,
    tokenizer: Tokenizer,
    /// Token that ends a text.
    end: u32,
}

impl Parts {
    fn of(files: &ModelFiles, form: &'static str) -> Result<Self, ExportError> {
        let refuse = |reason: &str| ExportError::Form { form, reason: reason.to_owned() };
        let config = MoeConfig::from_json(&files.config)?;
        let tokenizer = Tokenizer::from_bytes(&files.tokenizer)?;
        if tokenizer.vocab_size() > config.vocab_size {
            return Err(refuse("the tokenizer has more tokens than the embedding has rows"));
        }
        let stated = config.eos_token_id.as_ref().and_then(|ids| ids.as_slice().first().copied());
        let end = stated.or_else(|| tokenizer.end_token());
        let end = end.ok_or_else(|| refuse("no token ends a text; set eos_token_id"))?;
        Ok(Self { config, tokenizer, end })
    }
}
