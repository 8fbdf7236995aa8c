//! The planners of joint ventures: which there are, which one plans, and how one comes to plan.
//!
//! A planner is a row of its joint venture ([`crate::store::Model`]) and a folder of files that its
//! digest names ([`Files`]). The one in state `live` plans; where there is none, the program's own
//! does, which is always there and is what going back ends at. Workers look the live one up for each
//! new run, so a change needs no restart.

pub mod api;
pub mod change;
mod files;
pub mod gate;
pub mod job;
mod set;
pub mod shadow;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agents::eval::gate::{GateError, Rules};
use agents::pack::{Pack, shipped};
use agents::plan::Planner;
use runtime::train::TrainError;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::planner;
use crate::store::{Model, ModelState, NewModel, Store, StoreError, TenantId, TenantTx};

pub use files::Files;
pub use gate::{Basis, Gated, compare};

/// Planners kept in memory beside the program's own. Each holds its weights and up to 256 MiB of
/// keys and values of past prompts.
const KEPT: usize = 4;

/// Largest report of a training that is kept, bytes.
const MAX_REPORT: u64 = 4 << 20;

/// Why a planner cannot be used, judged or made.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// The files of a registered planner are not there any more.
    #[error("the files of the planner {} cannot be used: {why}; add them again, or go back to the planner before", &digest[..12])]
    Gone {
        /// Digest of the files.
        digest: String,
        /// What is wrong.
        why: String,
    },
    /// A folder holds no planner that runs here.
    #[error("this is no planner that runs here: {0}")]
    Unusable(String),
    /// A pack is broken.
    #[error("the pack is broken: {0}")]
    Pack(String),
    /// There is nothing to compare.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// No verdict speaks about what is there now.
    #[error(
        "`{0}` was not compared with the planner that plans now on the pack's cases; run the gate first"
    )]
    GateNeeded(String),
    /// The gate keeps the candidate back.
    #[error("`{label}` stays a candidate. {reasons}")]
    GateFailed {
        /// The candidate.
        label: String,
        /// Why, as sentences.
        reasons: String,
    },
    /// Training failed.
    #[error("the training failed: {0}")]
    Train(#[from] TrainError),
    /// Someone or the end of the server stopped it.
    #[error("it was stopped before its end; start it again")]
    Stopped,
}

impl ModelError {
    /// Wraps what is wrong with a pack.
    pub fn pack(error: impl std::fmt::Display) -> Self {
        Self::Pack(error.to_string())
    }

    /// Names a pack that is not part of the program.
    pub fn not_installed(pack: &str) -> Self {
        Self::Pack(format!("`{pack}` is not installed"))
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(StoreError::NotFound(_)) => "not_found",
            Self::Store(StoreError::Conflict(_)) => "conflict",
            Self::Store(_) => "store_unavailable",
            Self::Io { .. } | Self::Pack(_) => "internal",
            Self::Gone { .. } => "planner_gone",
            Self::Unusable(_) => "invalid_planner",
            Self::Gate(_) => "no_cases",
            Self::GateNeeded(_) => "gate_needed",
            Self::GateFailed { .. } => "gate_failed",
            Self::Train(_) => "training_failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The planners of this machine, and what a candidate is held to.
pub struct Models {
    files: Files,
    default: Arc<dyn Planner>,
    /// Plans what another planner is not sure of.
    larger: Option<Arc<dyn Planner>>,
    /// Threshold of joint ventures that set none; the planner's own when absent.
    abstain_below: Option<f64>,
    /// Folder of the default planner; the program itself when absent.
    default_folder: Option<PathBuf>,
    rules: Rules,
    /// Planners in memory, the one used last at the end.
    loaded: Mutex<Vec<Arc<dyn Planner>>>,
    /// A training or a gate takes the whole machine, so there is one at a time.
    work: Arc<Semaphore>,
}

impl Models {
    /// Opens the planners of a data folder and loads the default one.
    ///
    /// # Errors
    /// What is wrong with the default planner's files, as a sentence.
    pub fn open(config: &Config) -> Result<Self, String> {
        Ok(Self {
            files: Files::below(&config.data_folder()),
            default: planner::load(config.planner.as_deref())?,
            larger: config
                .larger_planner
                .as_deref()
                .map(|folder| planner::load(Some(folder)))
                .transpose()?,
            abstain_below: config.default_abstain_below,
            default_folder: config.planner.clone(),
            rules: config.rules(),
            loaded: Mutex::default(),
            work: Arc::new(Semaphore::new(1)),
        })
    }

    /// Returns what a candidate is held to.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Returns the planner that plans where no other is live.
    pub fn default_planner(&self) -> &Arc<dyn Planner> {
        &self.default
    }

    /// Returns the planner that plans what another one is not sure of.
    pub fn larger(&self) -> Option<&Arc<dyn Planner>> {
        self.larger.as_ref()
    }

    /// Returns the threshold of joint ventures that set none.
    pub fn abstain_below(&self) -> Option<f64> {
        self.abstain_below
    }

    /// Returns the folder with a planner's files, for a training that continues it.
    ///
    /// # Errors
    /// [`ModelError::Gone`]; [`ModelError::Io`].
    fn folder_of(&self, digest: &str) -> Result<PathBuf, ModelError> {
        if digest == self.default.digest() {
            let files = planner::files(self.default_folder.as_deref())
                .map_err(|error| ModelError::Unusable(error.to_string()))?;
            self.files.put(&files)?;
        }
        Ok(self.files.folder(digest))
    }

    /// Returns a registered planner, from memory or its files. Reads and checks tens of megabytes on
    /// the first use; call it on a blocking thread.
    ///
    /// # Errors
    /// [`ModelError::Gone`].
    pub fn planner(&self, digest: &str) -> Result<Arc<dyn Planner>, ModelError> {
        if digest == self.default.digest() {
            return Ok(Arc::clone(&self.default));
        }
        if let Some(known) = self.recall(digest) {
            return Ok(known);
        }
        let files = self.files.get(digest)?;
        let loaded = planner::from_files(&files, "model").map_err(|error| ModelError::Gone {
            digest: digest.to_owned(),
            why: error.to_string(),
        })?;
        let calibration = self.files.calibration(digest);
        let loaded: Arc<dyn Planner> = Arc::new(loaded.with_calibration(calibration));
        self.keep(Arc::clone(&loaded));
        Ok(loaded)
    }

    fn recall(&self, digest: &str) -> Option<Arc<dyn Planner>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let at = loaded.iter().position(|known| known.digest() == digest)?;
        let known = loaded.remove(at);
        loaded.push(Arc::clone(&known));
        Some(known)
    }

    /// Keeps a planner in memory in place of the one that was not used for longest. Runs that plan
    /// with that one keep it to their end.
    fn keep(&self, planner: Arc<dyn Planner>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|known| known.digest() != planner.digest());
        if loaded.len() >= KEPT {
            loaded.remove(0);
        }
        loaded.push(planner);
    }

    /// Returns version and digest of the planner that plans for a joint venture.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn live(&self, tx: &mut TenantTx) -> Result<(String, String), StoreError> {
        Ok(match tx.model_in(ModelState::Live).await? {
            Some(model) => (model.version(), model.digest),
            None => (self.default.version().to_owned(), self.default.digest().to_owned()),
        })
    }

    /// Returns what a verdict on a candidate of a joint venture must rest on now.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn basis(&self, tx: &mut TenantTx, pack: &Pack) -> Result<Basis, StoreError> {
        let (version, digest) = self.live(tx).await?;
        Ok(Basis::of(pack, &version, &digest))
    }

    /// Removes what trainings left that were ended by force, long ago.
    pub fn sweep(&self) {
        self.files.sweep();
    }

    /// Waits until no training and no gate runs.
    pub async fn idle(&self) {
        // The semaphore is never closed.
        drop(self.work.acquire().await);
    }
}

/// A planner in a folder that is to be registered.
#[derive(Debug, Clone)]
pub struct Addition {
    /// Folder with `config.json`, `tokenizer.json`, weights, and the report of its training.
    pub folder: PathBuf,
    /// Name for people; the next number when absent.
    pub label: Option<String>,
    /// Version of the planner that it continues; empty where that is not known.
    pub base: String,
    /// Who adds it.
    pub by: String,
}

/// Copies a planner's files to their place and registers it as a candidate of a joint venture. Tells
/// whether it is new.
///
/// # Errors
/// [`ModelError::Unusable`] ⇐ the folder holds no planner that runs here; [`ModelError::Io`];
/// [`ModelError::Store`].
pub async fn add(
    models: &Arc<Models>,
    store: &Store,
    tenant: TenantId,
    addition: &Addition,
) -> Result<(Model, bool), ModelError> {
    let (own, folder) = (Arc::clone(models), addition.folder.clone());
    let (digest, size, report) = blocking(move || {
        let files = planner::files(Some(&folder))
            .map_err(|error| ModelError::Unusable(error.to_string()))?;
        let loaded = planner::from_files(&files, "model")
            .map_err(|error| ModelError::Unusable(error.to_string()))?;
        let digest = own.files.put(&files)?;
        let calibration = planner::calibration(&folder).map_err(ModelError::Unusable)?;
        let calibration = calibration.filter(|fitted| fitted.planner_sha256 == digest);
        calibration.iter().try_for_each(|fitted| own.files.put_calibration(fitted))?;
        own.keep(Arc::new(loaded.with_calibration(calibration)));
        let size = planner::named(&files).iter().map(|(_, bytes)| bytes.len()).sum();
        Ok((digest, size, report_of(&folder)))
    })
    .await?;
    let mut tx = store.begin(tenant).await?;
    let pack = tx.tenant().await?.pack;
    let pack_version = pack_of(&pack)?.manifest.version.clone();
    let added = tx
        .add_model(&NewModel {
            label: addition.label.as_deref(),
            pack: &pack,
            pack_version: &pack_version,
            base: &addition.base,
            digest: &digest,
            size,
            report: report.as_deref(),
            by: &addition.by,
        })
        .await?;
    tx.commit().await?;
    Ok(added)
}

/// Reads the report that a training left beside its planner.
fn report_of(folder: &Path) -> Option<String> {
    let path = folder.join("report.html");
    let size = std::fs::metadata(&path).ok()?.len();
    (size <= MAX_REPORT).then(|| std::fs::read_to_string(path).ok())?
}

/// Returns a shipped pack.
///
/// # Errors
/// [`ModelError::Pack`].
pub fn pack_of(id: &str) -> Result<Arc<Pack>, ModelError> {
    let packs = shipped().map_err(ModelError::pack)?;
    let found = packs.iter().find(|pack| pack.manifest.id == id);
    found.map(Arc::clone).ok_or_else(|| ModelError::not_installed(id))
}

/// Runs what computes for long away from the threads that answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, ModelError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "work on a planner failed");
            Err(ModelError::Unusable("its files made the program fail".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use agents::plan::{PlanError, Words};
    use runtime::Prompt;
    use serde_json::Value;

    use super::*;

    struct Named(&'static str);

    impl Planner for Named {
        fn complete(&self, _: &Prompt, _: &Value) -> Result<Words, PlanError> {
            Ok(Words::default())
        }

        fn version(&self) -> &str {
            self.0
        }

        fn digest(&self) -> &str {
            self.0
        }

        fn chains(&self) -> bool {
            false
        }
    }

    #[test]
    fn planners_in_memory_are_bounded_and_the_one_not_used_for_longest_leaves_first() {
        let data = tempfile::tempdir().unwrap();
        let models = Models {
            files: Files::below(data.path()),
            default: Arc::new(Named("own")),
            default_folder: None,
            rules: Rules::default(),
            loaded: Mutex::default(),
            work: Arc::new(Semaphore::new(1)),
            larger: None,
            abstain_below: None,
        };
        for name in ["a", "b", "c", "d"] {
            models.keep(Arc::new(Named(name)));
        }
        assert!(models.planner("a").is_ok(), "a planner in memory was read from its files");
        models.keep(Arc::new(Named("e")));
        assert_eq!(models.loaded.lock().unwrap().len(), KEPT);
        assert!(models.recall("b").is_none() && models.recall("a").is_some());
        assert!(models.planner("own").is_ok(), "the program's own is always there");
        assert!(matches!(models.planner(&"b".repeat(64)), Err(ModelError::Gone { .. })));
    }
}
