//! `tessera backup` and `tessera restore`: everything that a server holds, as a folder of files.
//!
//! The folder has the database as `pg_dump` writes it, the planners and packs of joint ventures, and a manifest
//! with the rows of every table and the digest of every file. A restore checks the files before it
//! begins and the rows after it has ended. The master key of the secrets at rest is left out.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::open::{Opened, open, open_empty};
use super::{CliError, say};
use crate::config::Config;
use crate::postgres::program;
use crate::store::{Address, Snapshot, Store};

const DUMP: &str = "database.dump";
const MANIFEST: &str = "manifest.json";
const MODELS: &str = "models";
const PACKS: &str = "packs";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Version of the program.
    version: String,
    /// When it was taken, RFC 3339.
    taken_at: String,
    /// Rows by table.
    rows: BTreeMap<String, i64>,
    /// SHA-256 by file.
    files: BTreeMap<String, String>,
}

fn digest(path: &Path) -> Result<String, CliError> {
    let mut file = std::fs::File::open(path)?;
    let (mut sum, mut block) = (Sha256::new(), vec![0_u8; 1 << 20]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex::encode(sum.finalize())),
            read => sum.update(&block[..read]),
        }
    }
}

/// Lists the files below a folder, by their paths from it.
fn files_below(root: &Path, folder: &Path, all: &mut Vec<PathBuf>) -> Result<(), CliError> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(root, &path, all)?;
        } else if let Ok(own) = path.strip_prefix(root) {
            all.push(own.to_owned());
        }
    }
    Ok(())
}

/// Copies planners or archives of packs; unfinished work of a training is left out.
fn copy_models(from: &Path, to: &Path) -> Result<(), CliError> {
    if !from.is_dir() {
        return Ok(());
    }
    let mut all = Vec::new();
    files_below(from, from, &mut all)?;
    for own in all.iter().filter(|own| !own.to_string_lossy().starts_with("work-")) {
        let target = to.join(own);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(from.join(own), target)?;
    }
    Ok(())
}

/// Runs a program of Postgres and says what it said where it fails.
fn run(mut command: Command, name: &str) -> Result<(), CliError> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(CliError::Backup(format!("{name} failed: {}", said.trim())))
}

pub(super) async fn backup(config: &Config, folder: &Path) -> Result<(), CliError> {
    if folder.exists() && std::fs::read_dir(folder)?.next().is_some() {
        return Err(CliError::Input(format!("{} is not empty", folder.display())));
    }
    std::fs::create_dir_all(folder)?;
    let opened = open(config, false).await?;
    let taken = take(config, &opened, folder).await;
    opened.close().await?;
    let manifest = taken?;
    let rows: i64 = manifest.rows.values().sum();
    say(format_args!("{}: {rows} rows, {} files", folder.display(), manifest.files.len()))?;
    // A backup that holds the key would give away what the key protects.
    say("The master key of the secrets at rest is not in it: keep it apart.")
}

async fn take(config: &Config, opened: &Opened, folder: &Path) -> Result<Manifest, CliError> {
    let taken_at = Timestamp::now().to_string();
    let mut snapshot = Snapshot::take(opened.address()).await?;
    let rows = snapshot.rows().await?;
    let mut dump = Command::new(program("pg_dump")?);
    dump.args(["--format=custom", "--schema=tessera", "--snapshot", &snapshot.id, "--file"])
        .arg(folder.join(DUMP))
        .arg(&opened.address().owner);
    run(dump, "pg_dump")?;
    drop(snapshot);
    for below in [MODELS, PACKS] {
        copy_models(&config.data_folder().join(below), &folder.join(below))?;
    }
    let mut all = Vec::new();
    files_below(folder, folder, &mut all)?;
    let mut files = BTreeMap::new();
    for own in all {
        files.insert(own.to_string_lossy().into_owned(), digest(&folder.join(&own))?);
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { version, taken_at, rows, files };
    let text = serde_json::to_string_pretty(&manifest).map_err(std::io::Error::other)?;
    // Last, so that a backup that broke off has no manifest and is not taken for one.
    std::fs::write(folder.join(MANIFEST), text)?;
    Ok(manifest)
}

fn read(folder: &Path) -> Result<Manifest, CliError> {
    let broken = |what: String| CliError::Input(format!("{}: {what}", folder.display()));
    let text = std::fs::read_to_string(folder.join(MANIFEST)).map_err(|error| {
        broken(format!("no {MANIFEST} that can be read ({error}); is this a whole backup?"))
    })?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| broken(format!("{MANIFEST}: {error}")))?;
    for (own, expected) in &manifest.files {
        if digest(&folder.join(own)).ok().as_ref() != Some(expected) {
            return Err(broken(format!("{own} is missing or was changed")));
        }
    }
    Ok(manifest)
}

pub(super) async fn restore(config: &Config, folder: &Path) -> Result<(), CliError> {
    let manifest = read(folder)?;
    let empty = open_empty(config).await?;
    let done = put_back(config, empty.address(), folder, &manifest).await;
    empty.close().await?;
    done?;
    let rows: i64 = manifest.rows.values().sum();
    say(format_args!("restored what was taken at {}: {rows} rows, as then", manifest.taken_at))
}

async fn put_back(
    config: &Config,
    address: &Address,
    folder: &Path,
    manifest: &Manifest,
) -> Result<(), CliError> {
    if Store::has_schema(address).await? {
        let message = "the database holds joint ventures already; restore into an empty data folder or database";
        return Err(CliError::Input(message.to_owned()));
    }
    Store::make_roles(address).await?;
    let mut command = Command::new(program("pg_restore")?);
    command
        .args(["--exit-on-error", "--single-transaction", "--dbname", &address.owner])
        .arg(folder.join(DUMP));
    run(command, "pg_restore")?;
    let found = Snapshot::take(address).await?.rows().await?;
    if found != manifest.rows {
        let message = "the restored tables do not hold the rows of the manifest";
        return Err(CliError::Backup(message.to_owned()));
    }
    for below in [MODELS, PACKS] {
        copy_models(&folder.join(below), &config.data_folder().join(below))?;
    }
    // A newer program brings the schema up to date; this also sets what a dump does not hold.
    Ok(Store::migrate(address).await?)
}
