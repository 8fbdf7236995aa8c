//! The planner that ships in the program.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agents::plan::{EnginePlanner, Planner};
use runtime::{Engine, EngineError, ModelFiles};
use sha2::{Digest, Sha256};

static CONFIG: &[u8] = include_bytes!("../../runtime/planner/config.json");
static TOKENIZER: &[u8] = include_bytes!("../../runtime/planner/tokenizer.json");
static WEIGHTS: &[u8] = include_bytes!("../../runtime/planner/model.safetensors");

/// Longest that one plan may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the files of the planner of a folder, or of the shipped one.
///
/// # Errors
/// [`EngineError::Io`] ⇐ a file is missing or cannot be read.
pub fn files(folder: Option<&Path>) -> Result<ModelFiles, EngineError> {
    match folder {
        Some(folder) => ModelFiles::from_folder(folder),
        None => Ok(ModelFiles::embedded(CONFIG, TOKENIZER, WEIGHTS)),
    }
}

/// Returns the planner of a folder, or the shipped one.
///
/// # Errors
/// What is wrong with the folder's files, as a sentence.
pub fn load(folder: Option<&Path>) -> Result<Arc<dyn Planner>, String> {
    let Some(folder) = folder else { return shipped().map_err(ToString::to_string) };
    let files = ModelFiles::from_folder(folder).map_err(|error| error.to_string())?;
    let digest = files.weights.iter().fold(Sha256::new(), Sha256::chain_update);
    let engine = Engine::load(&files).map_err(|error| format!("{}: {error}", folder.display()))?;
    let version = format!("folder-{}", &hex::encode(digest.finalize())[..12]);
    Ok(Arc::new(EnginePlanner::new(Arc::new(engine), version, LIMIT)))
}

/// Returns the shipped planner, loaded once. Its version names the weights by their SHA-256.
///
/// # Errors
/// The engine's reason when the embedded files do not fit each other.
pub fn shipped() -> Result<Arc<dyn Planner>, &'static EngineError> {
    static PLANNER: OnceLock<Result<Arc<EnginePlanner>, EngineError>> = OnceLock::new();
    PLANNER
        .get_or_init(|| {
            let engine = Engine::load(&ModelFiles::embedded(CONFIG, TOKENIZER, WEIGHTS))?;
            let digest = hex::encode(Sha256::digest(WEIGHTS));
            let version = format!("shipped-{}", &digest[..12]);
            Ok(Arc::new(EnginePlanner::new(Arc::new(engine), version, LIMIT)))
        })
        .as_ref()
        .map(|planner| Arc::clone(planner) as Arc<dyn Planner>)
}
