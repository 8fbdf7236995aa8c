//! Secrets at rest: encrypted under a master key that the database never holds.
//!
//! Each joint venture has a data key, derived from the master key and its identifier. A ciphertext is
//! bound to its tenant, table and row, so that one that is copied elsewhere does not open. The master
//! key is in the environment, in a file that is named, or in `master.key` of the data folder, made on
//! the first start. There may be several, newest first: the first seals, all open.
//!
//! # Source
//! RFC 8439 and draft-irtf-cfrg-xchacha (XChaCha20-Poly1305, whose nonces may be drawn at random);
//! RFC 2104 (HMAC, as the function that derives).

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::store::TenantId;

/// Name of the file in the data folder.
const FILE: &str = "master.key";
/// First byte of a ciphertext: its format.
const FORMAT: u8 = 1;
/// Bytes before the ciphertext: format, key identifier, nonce.
const HEAD: usize = 1 + 4 + 24;

/// Why a secret cannot be kept or read.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The key is absent or cannot be read.
    #[error("the master key cannot be used: {0}")]
    Key(String),
    /// No key opens it, or it belongs to another row.
    #[error(
        "a stored secret does not open; hint: give the master key that it was stored under, or make the secret anew"
    )]
    Shut,
}

/// Where a secret is stored; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Whose it is.
    pub tenant: TenantId,
    /// Table.
    pub table: &'static str,
    /// Identifier of the row.
    pub row: Uuid,
}

impl Place {
    fn data(&self) -> Vec<u8> {
        [self.tenant.as_bytes(), self.row.as_bytes(), self.table.as_bytes()].concat()
    }
}

/// The master keys.
pub struct Vault {
    keys: Vec<[u8; 32]>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({} keys)", self.keys.len())
    }
}

fn id_of(key: &[u8; 32]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(b"tessera key").chain_update(key).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

fn cipher(key: &[u8; 32], tenant: TenantId) -> Result<XChaCha20Poly1305, VaultError> {
    let mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key);
    let mac = mac.map_err(|error| VaultError::Key(error.to_string()))?;
    let derived = mac.chain_update(b"tenant").chain_update(tenant.as_bytes()).finalize();
    let derived = derived.into_bytes();
    XChaCha20Poly1305::new_from_slice(&derived).map_err(|error| VaultError::Key(error.to_string()))
}

impl Vault {
    /// Reads keys, each 32 bytes in base64, newest first, parted by spaces, commas or lines.
    ///
    /// # Errors
    /// [`VaultError::Key`] ⇐ there is none, or one is no such key.
    pub fn read(text: &str) -> Result<Self, VaultError> {
        let words = text.split([' ', ',', '\n', '\r', '\t']).filter(|word| !word.is_empty());
        let keys: Vec<[u8; 32]> = words
            .map(|word| {
                let bytes = STANDARD.decode(word).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.ok_or_else(|| {
                    VaultError::Key(
                        "write 32 random bytes in base64, for example by `openssl rand -base64 32`"
                            .to_owned(),
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(VaultError::Key("it is empty".to_owned()));
        }
        Ok(Self { keys })
    }

    /// Reads the keys of a file; makes it with a new one where it is absent and may be made.
    ///
    /// # Errors
    /// [`VaultError::Key`] ⇐ the file cannot be read or made.
    pub fn open(path: &Path, make: bool) -> Result<Self, VaultError> {
        let failed =
            |error: std::io::Error| VaultError::Key(format!("{}: {error}", path.display()));
        if let (true, Some(folder)) = (make, path.parent()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&text),
            Err(error) if make && error.kind() == std::io::ErrorKind::NotFound => {
                let key = STANDARD.encode(rand::random::<[u8; 32]>());
                write_new(path, &key).map_err(failed)?;
                // Another process may have made it first; what the file says holds.
                Self::read(&std::fs::read_to_string(path).map_err(failed)?)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the file of a data folder.
    pub fn file_of(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Puts a new key before those of a file, in one step.
    ///
    /// # Errors
    /// [`VaultError::Key`] ⇐ the file cannot be written.
    pub fn add_key(path: &Path) -> Result<(), VaultError> {
        let failed =
            |error: std::io::Error| VaultError::Key(format!("{}: {error}", path.display()));
        let before = std::fs::read_to_string(path).map_err(failed)?;
        Self::replace(path, &format!("{}\n{before}", STANDARD.encode(rand::random::<[u8; 32]>())))
    }

    /// Keeps only the newest key of a file.
    ///
    /// # Errors
    /// [`VaultError::Key`] ⇐ the file cannot be read or written.
    pub fn keep_newest(path: &Path) -> Result<(), VaultError> {
        let newest = Self::open(path, false)?.keys.first().map(|key| STANDARD.encode(key));
        Self::replace(path, &newest.unwrap_or_default())
    }

    fn replace(path: &Path, text: &str) -> Result<(), VaultError> {
        let failed =
            |error: std::io::Error| VaultError::Key(format!("{}: {error}", path.display()));
        let beside = path.with_extension(format!("key.{}", Uuid::now_v7()));
        write_new(&beside, text).and_then(|()| std::fs::rename(&beside, path)).map_err(failed)
    }

    /// Encrypts a secret for its place.
    ///
    /// # Errors
    /// [`VaultError::Key`] ⇐ there is no key.
    pub fn seal(&self, place: &Place, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let none = || VaultError::Key("there is none".to_owned());
        let key = self.keys.first().ok_or_else(none)?;
        let nonce: [u8; 24] = rand::random();
        let payload = Payload { msg: plain, aad: &place.data() };
        let sealed = cipher(key, place.tenant)?.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| VaultError::Key("encryption failed".to_owned()))?;
        Ok([&[FORMAT][..], &id_of(key), &nonce, &sealed].concat())
    }

    /// Decrypts the secret of a place.
    ///
    /// # Errors
    /// [`VaultError::Shut`] ⇐ it was sealed for another place or under another key, or is damaged.
    pub fn unseal(&self, place: &Place, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let Some((head, sealed)) = sealed.split_at_checked(HEAD) else {
            return Err(VaultError::Shut);
        };
        let key = self.keys.iter().find(|key| head[0] == FORMAT && id_of(key) == head[1..5]);
        let key = key.ok_or(VaultError::Shut)?;
        let nonce = <[u8; 24]>::try_from(&head[5..]).map_err(|_| VaultError::Shut)?;
        let payload = Payload { msg: sealed, aad: &place.data() };
        let opened = cipher(key, place.tenant)?.decrypt(&XNonce::from(nonce), payload);
        opened.map_err(|_| VaultError::Shut)
    }

    /// Tells whether a secret is sealed under the newest key.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        self.keys.first().is_some_and(|key| sealed.get(1..5) == Some(&id_of(key)[..]))
    }
}

/// Writes a file that only its owner may read; one that is there stays.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => file.write_all(text.as_bytes()).and_then(|()| file.sync_all()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tenant: u128, row: u128) -> Place {
        Place { tenant: Uuid::from_u128(tenant), table: "t", row: Uuid::from_u128(row) }
    }

    #[test]
    fn a_secret_opens_in_its_own_row_and_nowhere_else() {
        let vault = Vault::read(&STANDARD.encode([7; 32])).unwrap();
        let own = place(1, 2);
        let sealed = vault.seal(&own, b"secret").unwrap();
        assert_eq!(vault.unseal(&own, &sealed).unwrap(), b"secret");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        let other_table = Place { table: "u", ..own };
        for elsewhere in [place(1, 3), place(2, 2), other_table] {
            assert!(matches!(vault.unseal(&elsewhere, &sealed), Err(VaultError::Shut)));
        }
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(vault.unseal(&own, &flipped).is_err(), "byte {at}");
            assert!(vault.unseal(&own, &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_ne!(vault.seal(&own, b"secret").unwrap(), sealed, "a nonce is used twice");
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = Vault::file_of(folder.path());
        let before = Vault::open(&path, true).unwrap();
        let sealed = before.seal(&place(1, 2), b"secret").unwrap();
        Vault::add_key(&path).unwrap();
        let both = Vault::open(&path, false).unwrap();
        assert_eq!(both.unseal(&place(1, 2), &sealed).unwrap(), b"secret");
        assert!(before.is_current(&sealed) && !both.is_current(&sealed));
        let again = both.seal(&place(1, 2), b"secret").unwrap();
        Vault::keep_newest(&path).unwrap();
        let new = Vault::open(&path, false).unwrap();
        assert_eq!(new.unseal(&place(1, 2), &again).unwrap(), b"secret");
        assert!(new.unseal(&place(1, 2), &sealed).is_err());
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for text in ["", "short", "AAAA", &STANDARD.encode([1; 31])] {
            assert!(Vault::read(text).is_err(), "{text}");
        }
    }
}
