//! Planners from their files: the one that ships in the program, and those of folders.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agents::plan::{Calibration, EnginePlanner, Planner};
use runtime::intent::INTENTS_FILE;
use runtime::{Engine, EngineError, ModelFiles};
use sha2::{Digest, Sha256};

static CONFIG: &[u8] = include_bytes!("../../runtime/planner/config.json");
static TOKENIZER: &[u8] = include_bytes!("../../runtime/planner/tokenizer.json");
static CALIBRATION: &[u8] = include_bytes!("../../runtime/planner/calibration.json");
static INTENTS: &[u8] = include_bytes!("../../runtime/planner/intents.safetensors");
static WEIGHTS: &[u8] = include_bytes!("../../runtime/planner/model.safetensors");

/// Name of the file beside a planner that says how its scores are to be read.
pub const CALIBRATION_FILE: &str = "calibration.json";

/// Longest that one plan may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the files of a planner by their names, in order.
pub fn named(files: &ModelFiles) -> Vec<(String, &[u8])> {
    let shards = files.weights.len();
    let weights = files.weights.iter().enumerate().map(|(at, bytes)| {
        let name = match shards {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{shards:05}.safetensors", at + 1),
        };
        (name, bytes.as_ref())
    });
    let mut all = vec![("config.json".to_owned(), files.config.as_ref())];
    all.extend(weights);
    if let Some(intents) = &files.intents {
        all.insert(1, (INTENTS_FILE.to_owned(), intents.as_ref()));
    }
    all.push(("tokenizer.json".to_owned(), files.tokenizer.as_ref()));
    all
}

/// Returns what names a planner by its content: the SHA-256 of what
/// `sha256sum config.json intents.safetensors model*.safetensors tokenizer.json` prints, without the
/// second where there is none, hexadecimal.
pub fn digest(files: &ModelFiles) -> String {
    let sums = named(files).into_iter().fold(Sha256::new(), |sums, (name, bytes)| {
        sums.chain_update(format!("{}  {name}\n", hex::encode(Sha256::digest(bytes))))
    });
    hex::encode(sums.finalize())
}

/// Loads a planner whose version is `kind` and the beginning of its digest.
///
/// # Errors
/// The engine's reason when the files do not fit each other.
pub fn from_files(files: &ModelFiles, kind: &str) -> Result<EnginePlanner, EngineError> {
    let digest = digest(files);
    let engine = Arc::new(Engine::load(files)?);
    let version = format!("{kind}-{}", &digest[..12]);
    Ok(EnginePlanner::new(engine, version, LIMIT).with_digest(digest))
}

/// Returns the files of a folder's planner, or of the shipped one.
///
/// # Errors
/// [`EngineError::Io`] ⇐ one is missing or cannot be read.
pub fn files(folder: Option<&Path>) -> Result<ModelFiles, EngineError> {
    match folder {
        Some(folder) => ModelFiles::from_folder(folder),
        None => Ok(ModelFiles::embedded(CONFIG, TOKENIZER, WEIGHTS).with_intents(INTENTS)),
    }
}

/// Returns the calibration that lies in a folder; `None` where none does.
///
/// # Errors
/// What is wrong with the file, as a sentence.
pub fn calibration(folder: &Path) -> Result<Option<Calibration>, String> {
    let path = folder.join(CALIBRATION_FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    Calibration::from_json(&bytes).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns the planner of a folder, or the shipped one.
///
/// # Errors
/// What is wrong with the folder's files, as a sentence.
pub fn load(folder: Option<&Path>) -> Result<Arc<dyn Planner>, String> {
    let Some(folder) = folder else { return shipped().map_err(ToString::to_string) };
    let files = files(Some(folder)).map_err(|error| error.to_string())?;
    let planner = from_files(&files, "folder");
    let planner = planner.map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(Arc::new(planner.with_calibration(calibration(folder)?)))
}

/// Returns the shipped planner, loaded once.
///
/// # Errors
/// The engine's reason when the embedded files do not fit each other.
pub fn shipped() -> Result<Arc<dyn Planner>, &'static EngineError> {
    static PLANNER: OnceLock<Result<Arc<EnginePlanner>, EngineError>> = OnceLock::new();
    PLANNER
        .get_or_init(|| {
            let planner = from_files(&files(None)?, "shipped")?;
            // A test reads the embedded file, so it is one.
            Ok(Arc::new(planner.with_calibration(Calibration::from_json(CALIBRATION).ok())))
        })
        .as_ref()
        .map(|planner| Arc::clone(planner) as Arc<dyn Planner>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_calibration_is_that_of_the_shipped_planner() {
        let fitted = Calibration::from_json(CALIBRATION).unwrap();
        assert_eq!(fitted.planner_sha256, digest(&files(None).unwrap()), "calibrate it anew");
        assert!(shipped().unwrap().calibration().is_some());
    }

    #[test]
    fn a_planner_is_named_by_all_of_its_files() {
        let files = |config: &'static [u8], weights: &'static [u8]| {
            digest(&ModelFiles::embedded(config, b"t", weights))
        };
        // printf c > config.json; printf w > model.safetensors; printf t > tokenizer.json;
        // sha256sum config.json model*.safetensors tokenizer.json | sha256sum
        assert_eq!(
            files(b"c", b"w"),
            "752877c021d2d21ca159c237d971327f189e5d2a2ff3c465145355716492879d"
        );
        assert_ne!(files(b"c", b"w"), files(b"d", b"w"));
        assert_ne!(files(b"c", b"w"), files(b"c", b"v"));
    }
}
