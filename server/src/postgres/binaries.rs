//! Where the Postgres programs are on this machine.

use std::path::{Path, PathBuf};

use super::ClusterError;

/// Oldest major version with security-invoker views and the row-level security that is relied on.
const LEAST_MAJOR: u32 = 15;

/// Finds the folder of `initdb` and `postgres`: `TESSERA_PG_BIN`, the highest Debian version, `PATH`,
/// then Homebrew and the folders of Red Hat's packages.
pub(super) fn find() -> Result<PathBuf, ClusterError> {
    if let Some(named) = std::env::var_os("TESSERA_PG_BIN") {
        let named = PathBuf::from(named);
        return if complete(&named) {
            Ok(named)
        } else {
            Err(ClusterError::Folder {
                path: named,
                reason: "TESSERA_PG_BIN names a folder without `initdb` and `postgres`".to_owned(),
            })
        };
    }
    versioned(Path::new("/usr/lib/postgresql"))
        .or_else(on_path)
        .or_else(|| {
            fixed(&[
                "/opt/homebrew/opt/postgresql@17/bin",
                "/usr/pgsql-17/bin",
                "/usr/pgsql-16/bin",
            ])
        })
        .ok_or_else(|| ClusterError::NoBinaries { hint: install_hint() })
}

fn complete(folder: &Path) -> bool {
    folder.join("initdb").is_file() && folder.join("postgres").is_file()
}

fn versioned(root: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(root).ok()?;
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .filter(|(major, path)| *major >= LEAST_MAJOR && complete(&path.join("bin")))
        .max_by_key(|(major, _)| *major)
        .map(|(_, path)| path.join("bin"))
}

fn on_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| complete(folder))
}

fn fixed(folders: &[&str]) -> Option<PathBuf> {
    folders.iter().map(PathBuf::from).find(|folder| complete(folder))
}

fn install_hint() -> String {
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let command = if cfg!(target_os = "macos") {
        "brew install postgresql@17"
    } else if system.contains("debian") || system.contains("ubuntu") {
        "apt-get install -y postgresql"
    } else if system.contains("alpine") {
        "apk add postgresql"
    } else if system.contains("fedora") || system.contains("rhel") {
        "dnf install -y postgresql-server"
    } else {
        "the package `postgresql` of this system"
    };
    format!("install it with `{command}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_complete_version_wins() {
        let root = tempfile::tempdir().unwrap();
        for (version, program) in
            [("9", "postgres"), ("15", "postgres"), ("16", "postgres"), ("17", "psql")]
        {
            let bin = root.path().join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("initdb"), "").unwrap();
            std::fs::write(bin.join(program), "").unwrap();
        }
        assert_eq!(versioned(root.path()), Some(root.path().join("16/bin")));
    }
}
