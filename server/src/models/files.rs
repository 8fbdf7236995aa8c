//! The files of planners on this machine, each in a folder named by its content.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agents::plan::Calibration;
use runtime::ModelFiles;
use uuid::Uuid;

use super::ModelError;
use crate::planner;

/// How the name of a folder of unfinished work begins.
const WORK: &str = "work-";

/// Age at which unfinished work counts as left behind.
const ABANDONED: Duration = Duration::from_hours(48);

/// The folder of all planners. Nothing in it is changed once it has its name, so joint ventures may
/// share what is the same.
#[derive(Debug, Clone)]
pub struct Files(PathBuf);

impl Files {
    /// Takes the folder `models` of a data folder; it is made with the first planner.
    pub fn below(data: &Path) -> Self {
        Self(data.join("models"))
    }

    /// Returns the folder of a planner, whether it is there or not.
    pub fn folder(&self, digest: &str) -> PathBuf {
        self.0.join(digest)
    }

    /// Returns a folder for work that is not finished; the caller removes it.
    pub fn work(&self, id: Uuid) -> PathBuf {
        self.0.join(format!("{WORK}{id}"))
    }

    /// Removes what a training left that was ended by force. No training lasts as long as
    /// [`ABANDONED`], so none that runs loses its folder.
    pub fn sweep(&self) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().filter_map(Result::ok);
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(WORK)) {
            let age = entry.metadata().and_then(|of| of.modified()).map(|at| at.elapsed());
            if matches!(age, Ok(Ok(age)) if age > ABANDONED) {
                // What cannot be removed now is met again at the next start.
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
    }

    /// Keeps a planner's files and returns its digest. Folders appear whole or not at all.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn put(&self, files: &ModelFiles) -> Result<String, ModelError> {
        let digest = planner::digest(files);
        let folder = self.folder(&digest);
        if folder.is_dir() {
            return Ok(digest);
        }
        let draft = self.work(Uuid::now_v7());
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(&draft)?;
            for (name, bytes) in planner::named(files) {
                std::fs::write(draft.join(name), bytes)?;
            }
            match std::fs::rename(&draft, &folder) {
                // Another was faster with the same content.
                Err(_) if folder.is_dir() => std::fs::remove_dir_all(&draft),
                renamed => renamed,
            }
        };
        write().map_err(|source| ModelError::Io { path: folder, source })?;
        Ok(digest)
    }

    /// Keeps the calibration of a planner beside its folder; a later one takes its place.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn put_calibration(&self, fitted: &Calibration) -> Result<(), ModelError> {
        let path = self.calibration_path(&fitted.planner_sha256);
        std::fs::write(&path, fitted.to_json()).map_err(|source| ModelError::Io { path, source })
    }

    /// Reads the calibration of a planner; `None` where it was never calibrated.
    pub fn calibration(&self, digest: &str) -> Option<Calibration> {
        let bytes = std::fs::read(self.calibration_path(digest)).ok()?;
        let read = Calibration::from_json(&bytes);
        read.inspect_err(|error| tracing::warn!(digest, %error, "a calibration is left out")).ok()
    }

    fn calibration_path(&self, digest: &str) -> PathBuf {
        self.0.join(format!("{digest}.calibration.json"))
    }

    /// Reads a planner's files.
    ///
    /// # Errors
    /// [`ModelError::Gone`] ⇐ they are not there, or are not what their name says.
    pub fn get(&self, digest: &str) -> Result<ModelFiles, ModelError> {
        let gone = |why: String| ModelError::Gone { digest: digest.to_owned(), why };
        let files = ModelFiles::from_folder(&self.folder(digest))
            .map_err(|error| gone(error.to_string()))?;
        if planner::digest(&files) != digest {
            return Err(gone(format!("{} was changed", self.folder(digest).display())));
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_once_and_a_changed_or_missing_one_is_told() {
        let data = tempfile::tempdir().unwrap();
        let files = Files::below(data.path());
        let planner = ModelFiles::embedded(b"c", b"t", b"w");
        let digest = files.put(&planner).unwrap();
        assert_eq!(files.put(&planner).unwrap(), digest);
        assert_eq!(std::fs::read_dir(data.path().join("models")).unwrap().count(), 1);
        assert_eq!(files.get(&digest).unwrap().weights[0].as_ref(), b"w");

        std::fs::write(files.folder(&digest).join("model.safetensors"), b"v").unwrap();
        assert!(matches!(files.get(&digest), Err(ModelError::Gone { .. })));
        assert!(matches!(files.get(&"0".repeat(64)), Err(ModelError::Gone { .. })));
    }

    #[test]
    fn work_that_was_left_behind_is_removed_and_nothing_else() {
        let data = tempfile::tempdir().unwrap();
        let files = Files::below(data.path());
        files.sweep();
        let planner = files.put(&ModelFiles::embedded(b"c", b"t", b"w")).unwrap();
        let (old, new) = (files.work(Uuid::from_u128(1)), files.work(Uuid::from_u128(2)));
        let long_ago = std::time::SystemTime::now() - 2 * ABANDONED;
        for folder in [&old, &new] {
            std::fs::create_dir(folder).unwrap();
        }
        for folder in [&old, &files.folder(&planner)] {
            std::fs::File::open(folder).unwrap().set_modified(long_ago).unwrap();
        }
        files.sweep();
        assert!(!old.exists() && new.exists() && files.get(&planner).is_ok());
    }
}
