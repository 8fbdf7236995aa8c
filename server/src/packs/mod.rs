//! Packs that joint ventures install: archives by digest, their agents, their settings and systems.
//!
//! An archive is a file of the data folder, named by the digest of its contents; which joint venture
//! uses which is in its rows. What is read is checked again, byte by byte, so that a file that was
//! changed on the disk is not run.

pub mod install;
pub mod settings;
pub mod systems;
pub mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agents::pack::Pack;
use agents::pack::archive::open;
use agents::plan::Planner;
use agents::run::Agent;

use crate::egress::Egress;
use crate::vault::Vault;

/// Agents that are kept ready; beyond it all are dropped and made anew as they are needed.
const READY: usize = 64;

/// Returns the name of the pack that a reference is about: `desk` of `desk@…`.
pub fn id_of(reference: &str) -> &str {
    reference.split_once('@').map_or(reference, |(id, _)| id)
}

/// Returns the digest of a reference to a pack that was installed.
pub fn digest_of(reference: &str) -> Option<&str> {
    let digest = reference.split_once('@')?.1;
    let fits = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then_some(digest)
}

/// The archives of a data folder.
#[derive(Debug, Clone)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// Returns the archives below a data folder.
    pub fn below(data: &Path) -> Self {
        Self(data.join("packs"))
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.0.join(format!("{digest}.tessera"))
    }

    /// Keeps an archive under its digest.
    ///
    /// # Errors
    /// The system's.
    pub fn put(&self, digest: &str, archive: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let beside = self.0.join(format!(".{digest}.{}", std::process::id()));
        std::fs::write(&beside, archive)?;
        std::fs::rename(beside, self.file(digest))
    }

    /// Returns the pack of a digest.
    ///
    /// # Errors
    /// Why there is none, as a sentence.
    pub fn pack(&self, digest: &str) -> Result<Pack, String> {
        let file = self.file(digest);
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let archive = open(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
        if archive.digest != digest {
            return Err(format!("{}: it holds other contents", file.display()));
        }
        Pack::from_files(&archive.list.id, archive.files).map_err(|error| error.to_string())
    }
}

/// What the agents of installed packs need.
#[derive(Clone)]
pub struct Packs {
    /// The archives.
    pub shelf: Shelf,
    /// The one way out.
    pub egress: Egress,
    /// Opens settings.
    pub vault: Arc<Vault>,
    ready: Arc<Mutex<BTreeMap<String, Arc<Agent>>>>,
}

impl Packs {
    /// Takes the archives of a data folder.
    pub fn new(data: &Path, egress: Egress, vault: Arc<Vault>) -> Self {
        Self { shelf: Shelf::below(data), egress, vault, ready: Arc::default() }
    }

    /// Returns the agent of a reference with a digest, made of its archive on its first use.
    pub(crate) fn agent(&self, reference: &str, planner: &Arc<dyn Planner>) -> Option<Arc<Agent>> {
        let digest = digest_of(reference)?;
        let ready = || self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = ready().get(digest) {
            return Some(Arc::clone(agent));
        }
        let made = self.shelf.pack(digest).and_then(|pack| {
            Agent::new(Arc::new(pack), Arc::clone(planner)).map_err(|error| error.to_string())
        });
        match made {
            Ok(agent) => {
                let agent = Arc::new(agent);
                let mut ready = ready();
                if ready.len() >= READY {
                    ready.clear();
                }
                ready.insert(digest.to_owned(), Arc::clone(&agent));
                Some(agent)
            }
            Err(error) => {
                tracing::error!(
                    pack = id_of(reference),
                    digest,
                    error,
                    "an installed pack cannot be used"
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_pack_and_where_it_was_installed_its_contents() {
        let digest = "ab".repeat(32);
        let installed = format!("desk@{digest}");
        assert_eq!((id_of(&installed), digest_of(&installed)), ("desk", Some(digest.as_str())));
        assert_eq!((id_of("finance"), digest_of("finance")), ("finance", None));
        assert_eq!(digest_of("desk@../../etc/passwd"), None);
    }

    #[test]
    fn an_archive_that_was_changed_on_the_disk_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::below(folder.path());
        let wanted = agents::pack::new::Wanted {
            id: "desk".to_owned(),
            title: "Desk".to_owned(),
            description: "Answers.".to_owned(),
            languages: vec!["en".to_owned()],
        };
        let files = agents::pack::new::scaffold(&wanted).unwrap();
        let archive = agents::pack::archive::build(&files).unwrap();
        let digest = open(&archive).unwrap().digest;
        shelf.put(&digest, &archive).unwrap();
        assert_eq!(shelf.pack(&digest).unwrap().manifest.id, "desk");
        let other = files.with([("README.md".to_owned(), "other".to_owned())]);
        shelf.put(&digest, &agents::pack::archive::build(&other).unwrap()).unwrap();
        assert!(shelf.pack(&digest).unwrap_err().contains("other contents"));
        assert!(shelf.pack(&"00".repeat(32)).is_err());
    }
}
