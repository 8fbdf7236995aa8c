//! The folder in which a planner travels: its own files, the weights in eight bits.

use std::path::Path;

use super::{ExportError, Parts, io};
use crate::engine::{ModelFiles, pack};
use crate::intent::INTENTS_FILE;
use crate::model::ModelError;

/// Writes `config.json`, `tokenizer.json`, `model.safetensors` with its matrices packed (see
/// [`pack`]) and `intents.safetensors`, where the planner has one, into `folder`, which is made when absent.
///
/// # Errors
/// [`ExportError::Config`], [`ExportError::Model`], [`ExportError::Tokenizer`] ⇐ a file is refused;
/// [`ExportError::Form`] ⇐ the weights are in several files, or no token ends a text;
/// [`ExportError::Io`] ⇐ the folder cannot be written.
pub fn packed(files: &ModelFiles, folder: &Path) -> Result<(), ExportError> {
    Parts::of(files, "eight bits")?;
    let [weights] = &files.weights[..] else {
        let reason = "its weights are in several files".to_owned();
        return Err(ExportError::Form { form: "eight bits", reason });
    };
    let weights = pack(weights).map_err(ModelError::Safetensors)?;
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(io(&path))
    };
    write("config.json", &files.config)?;
    write("tokenizer.json", &files.tokenizer)?;
    write("model.safetensors", &weights)?;
    files.intents.as_ref().map_or(Ok(()), |intents| write(INTENTS_FILE, intents))
}
