//! The data folder: who may use it, where its socket fits, and which process holds it.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::process::User;
use super::{ClusterError, io};

/// Longest socket path: `sun_path` has 108 bytes with its closing zero.
const MAX_SOCKET_PATH: usize = 107;
const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// Makes the folder where absent and shows that it can be written to.
///
/// # Errors
/// [`ClusterError::Folder`] naming the parent that blocks.
pub fn checked_folder(path: &Path) -> Result<PathBuf, ClusterError> {
    let refuse =
        |path: &Path, reason: String| ClusterError::Folder { path: path.to_owned(), reason };
    if let Err(error) = std::fs::create_dir_all(path) {
        let blocker = path.ancestors().find(|parent| parent.exists()).unwrap_or(path);
        return Err(refuse(
            blocker,
            format!(
                "{error} while making {}; hint: pass --data with a folder that you may write to",
                path.display()
            ),
        ));
    }
    let path = path.canonicalize().map_err(io(format!("resolving {}", path.display())))?;
    let probe = path.join(".write-probe");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(|error| {
        refuse(&path, format!("{error}; hint: pass --data with a folder that you may write to"))
    })?;
    User::choose()?.can_reach(&path)?;
    Ok(path)
}

/// The lock of one server on a data folder. The system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`ClusterError::InUse`] ⇐ another process holds it.
    pub fn take(root: &Path) -> Result<Self, ClusterError> {
        let path = root.join("tessera.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io(format!("opening {}", path.display())))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(io("reading the lock"))?;
                let pid = pid.trim().to_owned();
                return Err(ClusterError::InUse { path: root.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(io("locking the data folder")(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io("writing the lock"))?;
        Ok(Self { _file: file })
    }
}

/// Returns a folder for the socket: in the data folder where the path is short enough, else a
/// private one below the temporary folder, named by a hash.
pub(super) fn socket_folder(root: &Path, user: &User) -> Result<PathBuf, ClusterError> {
    let near = root.join("socket");
    let folder = if near.as_os_str().len() + SOCKET_NAME.len() <= MAX_SOCKET_PATH {
        near
    } else {
        let digest = hex::encode(&Sha256::digest(root.as_os_str().as_encoded_bytes())[..8]);
        let short = PathBuf::from(format!("/tmp/tessera-{}-{digest}", user.uid()));
        if short.as_os_str().len() + SOCKET_NAME.len() > MAX_SOCKET_PATH {
            return Err(ClusterError::Folder {
                path: short,
                reason: "its path is too long for a socket".to_owned(),
            });
        }
        short
    };
    std::fs::create_dir_all(&folder).map_err(io(format!("making {}", folder.display())))?;
    let found = std::fs::symlink_metadata(&folder).map_err(io("looking at the socket folder"))?;
    if !found.is_dir() || (found.uid() != user.uid() && found.uid() != user.own_uid()) {
        return Err(ClusterError::Folder {
            path: folder,
            reason: "it belongs to someone else, who could pose as the database; hint: remove it"
                .to_owned(),
        });
    }
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700))
        .map_err(io("protecting the socket folder"))?;
    user.own(&folder)?;
    Ok(folder)
}

/// Returns the process that the cluster's lock file names.
pub(super) fn postmaster(data: &Path) -> Option<u32> {
    std::fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// Tells whether the lock file names a living process.
pub(super) fn is_held(data: &Path) -> bool {
    let found = postmaster(data).is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
    found && !held_by_zombie(data)
}

/// Tells whether the lock file names a process that is dead but not yet reaped.
pub(super) fn held_by_zombie(data: &Path) -> bool {
    let Some(pid) = postmaster(data) else { return false };
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_on_the_same_folder_names_the_first_process() {
        let root = tempfile::tempdir().unwrap();
        let _first = InstanceLock::take(root.path()).unwrap();
        let error = InstanceLock::take(root.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn a_lock_left_by_a_dead_process_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("tessera.lock"), "1\n").unwrap();
        InstanceLock::take(root.path()).unwrap();
    }
}
