//! A pack as one file: the same folder always gives the same bytes.
//!
//! An archive is a ZIP file whose first entry, `tessera-pack.json`, lists every other one with its size
//! and SHA-256; a signature covers that list and so the whole. Reading trusts nothing: sizes are checked
//! before anything is unpacked, what is unpacked is counted, and every byte is hashed.
//!
//! # Source
//! APPNOTE.TXT 6.3.10 (ZIP); RFC 8032 (Ed25519).

use std::collections::BTreeSet;
use std::io::{Cursor, Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use semver::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::load::{MAX_FILE_BYTES, MAX_FILES, MAX_PACK_BYTES};
use super::{Manifest, PackFiles, new::is_id};

/// Name of the list of files.
const LIST: &str = "tessera-pack.json";

/// Name of the signature.
const SIGNATURE: &str = "tessera-pack.sig";

/// What a signature begins with, so that it cannot be one of something else.
const CONTEXT: &[u8] = b"tessera pack archive v1\n";

/// Longest list or signature, bytes.
const MAX_LIST_BYTES: u64 = 2 << 20;

/// Largest archive that is read, bytes.
pub const MAX_ARCHIVE_BYTES: usize = 64 << 20;

/// Why an archive is refused.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The file is larger than any archive may be.
    #[error("the archive has {found} bytes; the limit is {MAX_ARCHIVE_BYTES}")]
    TooLarge {
        /// Its size, bytes.
        found: usize,
    },
    /// It is no archive of a pack, or a damaged one.
    #[error("this is no archive of a pack: {0}")]
    Damaged(String),
    /// An entry is none that a pack may have.
    #[error("the archive is refused: `{path}`: {why}")]
    Entry {
        /// Path inside the archive, escaped.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file is not the one that the list names.
    #[error("the archive is refused: `{0}` is not what the list of files says; it was changed")]
    Changed(String),
    /// The signature does not hold.
    #[error("the signature does not hold: {0}")]
    Forged(String),
    /// The files cannot be put into an archive.
    #[error("{0}")]
    Unfit(String),
}

/// One file of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Path inside the pack.
    pub path: String,
    /// Size in bytes.
    pub size: usize,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// The list of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Version of the format; 1.
    pub format: u32,
    /// Name of the pack.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The files, in order of their paths.
    pub files: Vec<Entry>,
}

/// Who signed an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    /// Public key, base64.
    key: String,
    /// Signature, base64.
    signature: String,
}

/// An archive that was read and checked.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The list of files.
    pub list: List,
    /// SHA-256 of the list, hexadecimal: names the contents, signed or not.
    pub digest: String,
    /// Public key whose signature holds, base64; absent where there is no signature.
    pub signer: Option<String>,
    /// The files.
    pub files: PackFiles,
}

fn failed(error: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::Damaged(error.to_string())
}

/// Makes the archive of a pack.
///
/// # Errors
/// [`ArchiveError::Unfit`] ⇐ `pack.toml` does not read, or its name or version is none.
pub fn build(files: &PackFiles) -> Result<Vec<u8>, ArchiveError> {
    let manifest = files.get("pack.toml");
    let manifest =
        manifest.ok_or_else(|| ArchiveError::Unfit("pack.toml is missing".to_owned()))?;
    let manifest: Manifest = toml::from_str(&String::from_utf8_lossy(manifest))
        .map_err(|error| ArchiveError::Unfit(format!("pack.toml: {error}")))?;
    let list = List {
        format: 1,
        id: manifest.id,
        version: manifest.version,
        files: files
            .below("")
            .map(|(path, bytes)| Entry {
                path: path.to_owned(),
                size: bytes.len(),
                sha256: hex::encode(Sha256::digest(bytes)),
            })
            .collect(),
    };
    named(&list).map_err(ArchiveError::Unfit)?;
    let reserved = list.files.iter().find(|entry| [LIST, SIGNATURE].contains(&entry.path.as_str()));
    if let Some(entry) = reserved {
        return Err(ArchiveError::Unfit(format!(
            "`{}` is a name of the archive's own",
            entry.path
        )));
    }
    let list = serde_json::to_vec_pretty(&list).map_err(failed)?;
    written(&list, None, files)
}

fn written(
    list: &[u8],
    signature: Option<&[u8]>,
    files: &PackFiles,
) -> Result<Vec<u8>, ArchiveError> {
    // Time, rights and compression are fixed, so that the bytes depend on the files alone.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let own = [(LIST, Some(list)), (SIGNATURE, signature)];
    let own = own.into_iter().filter_map(|(name, bytes)| Some((name, bytes?)));
    for (path, bytes) in own.chain(files.below("").map(|(path, bytes)| (path, bytes.as_ref()))) {
        zip.start_file(path, options).map_err(failed)?;
        zip.write_all(bytes).map_err(failed)?;
    }
    Ok(zip.finish().map_err(failed)?.into_inner())
}

/// Checks the name and version of a list.
fn named(list: &List) -> Result<(), String> {
    is_id(&list.id)?;
    Version::parse(&list.version)
        .map(drop)
        .map_err(|error| format!("`{}` is no version: {error}", list.version.escape_debug()))
}

/// Signs an archive; a signature that it has is replaced.
///
/// # Errors
/// [`ArchiveError`] ⇐ the archive does not read.
pub fn sign(archive: &[u8], key: &Key) -> Result<Vec<u8>, ArchiveError> {
    let (list, files) = contents(archive)?;
    let signature = key.0.sign(&[CONTEXT, &list].concat());
    let signed = Signed { key: key.public(), signature: STANDARD.encode(signature.to_bytes()) };
    let signed = serde_json::to_vec(&signed).map_err(failed)?;
    written(&list, Some(&signed), &files)
}

/// Reads an archive and checks every byte of it, and its signature where it has one. Whether the signer
/// is trusted is for the caller to say.
///
/// # Errors
/// [`ArchiveError`]. Memory and time are bounded by [`MAX_ARCHIVE_BYTES`] and [`MAX_PACK_BYTES`],
/// whatever the archive says of itself.
pub fn open(archive: &[u8]) -> Result<Archive, ArchiveError> {
    let (list_bytes, files) = contents(archive)?;
    let list: List = serde_json::from_slice(&list_bytes).map_err(failed)?;
    let mut zip = ZipArchive::new(Cursor::new(archive)).map_err(failed)?;
    let signer = match zip.index_for_name(SIGNATURE) {
        None => None,
        Some(at) => Some(signer_of(&own(&mut zip, at)?, &list_bytes)?),
    };
    let digest = hex::encode(Sha256::digest(&list_bytes));
    Ok(Archive { list, digest, signer, files })
}

fn signer_of(signed: &[u8], list: &[u8]) -> Result<String, ArchiveError> {
    let forged = |why: &str| ArchiveError::Forged(why.to_owned());
    let signed: Signed = serde_json::from_slice(signed).map_err(|_| forged("it does not read"))?;
    let key = public(&signed.key).ok_or_else(|| forged("its key is none"))?;
    let signature = STANDARD.decode(&signed.signature).ok();
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let signature = signature.ok_or_else(|| forged("it is no Ed25519 signature"))?;
    key.verify_strict(&[CONTEXT, list].concat(), &signature)
        .map_err(|_| forged("it is of other contents, or of another key"))?;
    Ok(signed.key)
}

/// Reads a public key in base64.
pub fn public(text: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = STANDARD.decode(text.trim()).ok()?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

/// Reads the list and the files that it names.
fn contents(archive: &[u8]) -> Result<(Vec<u8>, PackFiles), ArchiveError> {
    if archive.len() > MAX_ARCHIVE_BYTES {
        return Err(ArchiveError::TooLarge { found: archive.len() });
    }
    // The reader keeps something of every entry, so that they are counted before it does.
    let headers = archive.windows(4).filter(|four| four == b"PK\x01\x02").count();
    if headers > MAX_FILES + 2 {
        return Err(ArchiveError::Damaged(format!("it has more than {MAX_FILES} files")));
    }
    let mut zip = ZipArchive::new(Cursor::new(archive)).map_err(failed)?;
    let at = zip.index_for_name(LIST).ok_or_else(|| failed(format!("it has no `{LIST}`")))?;
    let list_bytes = own(&mut zip, at)?;
    let list: List = serde_json::from_slice(&list_bytes).map_err(failed)?;
    named(&list).map_err(ArchiveError::Damaged)?;
    if list.format != 1 {
        return Err(failed(format!("its format is {}, and this program reads 1", list.format)));
    }
    let refuse = |path: &str, why: &str| ArchiveError::Entry {
        path: path.chars().take(200).collect::<String>().escape_debug().to_string(),
        why: why.to_owned(),
    };
    let listed: BTreeSet<&str> = list.files.iter().map(|entry| entry.path.as_str()).collect();
    let names: Result<Vec<String>, _> =
        zip.file_names().map(|name| name.map(std::borrow::Cow::into_owned)).collect();
    for name in names.map_err(failed)?.iter().filter(|name| *name != LIST && *name != SIGNATURE) {
        if !listed.contains(name.as_str()) {
            return Err(refuse(name, "the list of files does not name it"));
        }
    }
    let total: usize = list.files.iter().map(|entry| entry.size.min(MAX_PACK_BYTES + 1)).sum();
    if total > MAX_PACK_BYTES {
        return Err(refuse(LIST, &format!("its files have more than {MAX_PACK_BYTES} bytes")));
    }
    let mut files = PackFiles::default();
    for entry in &list.files {
        if entry.size > MAX_FILE_BYTES {
            return Err(refuse(&entry.path, &format!("a file has at most {MAX_FILE_BYTES} bytes")));
        }
        let at = zip.index_for_name(&entry.path);
        let at = at.ok_or_else(|| refuse(&entry.path, "it is listed and not there"))?;
        let file = zip.by_index(at).map_err(failed)?;
        if file.is_symlink() || file.is_dir() {
            return Err(refuse(&entry.path, "a pack holds files and no links"));
        }
        let mut bytes = Vec::with_capacity(entry.size.min(1 << 20));
        // One byte more than promised is enough to see that the promise does not hold.
        file.take(entry.size as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() != entry.size || hex::encode(Sha256::digest(&bytes)) != entry.sha256 {
            return Err(ArchiveError::Changed(entry.path.escape_debug().to_string()));
        }
        files.insert(&entry.path, bytes).map_err(|why| refuse(&entry.path, &why))?;
    }
    let manifest = files.get("pack.toml").map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let manifest: Manifest = toml::from_str(&manifest.unwrap_or_default())
        .map_err(|error| refuse("pack.toml", error.message()))?;
    if manifest.id != list.id || manifest.version != list.version {
        return Err(refuse("pack.toml", "it names another pack or version than the list of files"));
    }
    Ok((list_bytes, files))
}

/// Reads an entry of the archive's own.
fn own(zip: &mut ZipArchive<Cursor<&[u8]>>, at: usize) -> Result<Vec<u8>, ArchiveError> {
    let file = zip.by_index(at).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_LIST_BYTES {
        return Err(failed(format!("its list has more than {MAX_LIST_BYTES} bytes")));
    }
    Ok(bytes)
}

/// A key that signs packs.
pub struct Key(SigningKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.public())
    }
}

impl Key {
    /// Makes a key of 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&bytes))
    }

    /// Reads a key as [`Key::text`] writes it; `None` ⇐ it is none.
    pub fn read(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = STANDARD.decode(text.trim()).ok()?.try_into().ok()?;
        Some(Self::from_bytes(bytes))
    }

    /// Returns the secret key in base64, for its file.
    pub fn text(&self) -> String {
        STANDARD.encode(self.0.to_bytes())
    }

    /// Returns the public key in base64: what trusts its packs is told.
    pub fn public(&self) -> String {
        STANDARD.encode(self.0.verifying_key().to_bytes())
    }
}

#[cfg(test)]
mod tests;
