//! `tessera pack build`, `pack key`, `pack sign` and `pack verify`: a pack as one file that can be trusted.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use agents::pack::archive::{Archive, Key, MAX_ARCHIVE_BYTES, build, open, public, sign};
use agents::pack::check::{Severity, check};
use agents::pack::{Pack, Permissions};
use clap::Args;
use serde_json::json;

use super::{CliError, pack_write, say};

#[derive(Debug, Args)]
pub(super) struct BuildCommand {
    /// Folder of the pack.
    #[arg(long)]
    folder: PathBuf,
    /// File to write; `ID-VERSION.tessera` in the current folder when absent.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct KeyCommand {
    /// File to write the secret key to; it must not exist.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SignCommand {
    /// The archive; the signature is put into it.
    archive: PathBuf,
    /// File of the secret key.
    #[arg(long)]
    key: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    /// The archive.
    archive: PathBuf,
    /// Public key that must have signed it; may be given several times.
    #[arg(long, value_name = "PUBLIC_KEY")]
    trust: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

fn refused(error: impl std::fmt::Display) -> CliError {
    CliError::Input(error.to_string())
}

/// Makes the archive of a folder that has no mistakes.
pub(super) fn build_pack(command: &BuildCommand) -> Result<(), CliError> {
    let files = pack_write::read(&command.folder)?;
    let errors = check(&files).into_iter().filter(|one| one.severity == Severity::Error).count();
    if errors > 0 {
        let shown = command.folder.display();
        return Err(CliError::Judged(format!(
            "{shown} has {errors} errors; `tessera pack check --folder {shown}` shows them"
        )));
    }
    let bytes = build(&files).map_err(refused)?;
    let archive = open(&bytes).map_err(refused)?;
    let name = format!("{}-{}.tessera", archive.list.id, archive.list.version);
    let out = command.out.clone().unwrap_or_else(|| PathBuf::from(name));
    std::fs::write(&out, &bytes)?;
    say(format_args!(
        "wrote {} ({} files, {} bytes), contents {}",
        out.display(),
        archive.list.files.len(),
        bytes.len(),
        archive.digest
    ))
}

/// Makes a key that signs packs.
pub(super) fn key(command: &KeyCommand) -> Result<(), CliError> {
    let key = Key::from_bytes(rand::random());
    let shown = command.out.display();
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&command.out);
    let mut file = made.map_err(|error| {
        CliError::Input(format!("{shown}: {error}; a key is never written over another file"))
    })?;
    writeln!(file, "{}", key.text())?;
    say(format_args!("wrote {shown}; keep it to yourself"))?;
    say(format_args!("public key {}", key.public()))
}

/// Signs an archive in its place.
pub(super) fn sign_pack(command: &SignCommand) -> Result<(), CliError> {
    let shown = command.key.display();
    let text = std::fs::read_to_string(&command.key)
        .map_err(|error| CliError::Input(format!("{shown}: {error}")))?;
    let key = Key::read(&text).ok_or_else(|| {
        CliError::Input(format!("{shown} holds no key; `tessera pack key --out FILE` makes one"))
    })?;
    let signed = sign(&read(&command.archive)?, &key).map_err(refused)?;
    // A reader sees the archive as it was or signed, never half of it.
    let beside = command.archive.with_extension("signing");
    std::fs::write(&beside, signed)?;
    std::fs::rename(&beside, &command.archive)?;
    say(format_args!("signed {} by {}", command.archive.display(), key.public()))
}

/// Reads an archive, no more of it than one may have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let input = |error| CliError::Input(format!("{}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(input)?.len();
    if size > MAX_ARCHIVE_BYTES as u64 {
        return Err(CliError::Input(format!(
            "{} has {size} bytes; the limit is {MAX_ARCHIVE_BYTES}",
            path.display()
        )));
    }
    std::fs::read(path).map_err(input)
}

/// Checks an archive and says what it asks for.
pub(super) fn verify(command: &VerifyCommand) -> Result<(), CliError> {
    for key in &command.trust {
        if public(key).is_none() {
            return Err(CliError::Input(format!("`{key}` is no public key")));
        }
    }
    let archive = open(&read(&command.archive)?).map_err(refused)?;
    let Archive { list, digest, signer, files } = archive;
    let pack = Pack::from_files(&list.id, files).map_err(refused)?;
    let asked = Permissions::of(&pack);
    let trusted = signer.as_ref().is_some_and(|signer| command.trust.contains(signer));
    if command.json {
        say(json!({
            "id": list.id, "version": list.version, "digest": digest, "files": list.files.len(),
            "signer": signer, "trusted": trusted, "permissions": asked,
        }))?;
    } else {
        say(format_args!(
            "{} {}, {} files, contents {digest}",
            list.id,
            list.version,
            list.files.len()
        ))?;
        match &signer {
            Some(signer) => say(format_args!("signed by {signer}"))?,
            None => say("not signed")?,
        }
        for (name, what) in asked.lines() {
            say(format_args!("{name}: {what}"))?;
        }
    }
    if command.trust.is_empty() || trusted {
        return Ok(());
    }
    Err(CliError::Input("it is not signed by a key that was named with --trust".to_owned()))
}
