//! Passwords: argon2id off the async threads, at most as many at a time as there are processors, so that a
//! flood of sign-ins takes neither the memory nor the threads of the calls beside it.
//!
//! # Source
//! RFC 9106; OWASP, *Password Storage Cheat Sheet* (19 MiB, two passes, one lane); OWASP ASVS 5.0, 6.2.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::error::Problem;

/// Fewest characters of a password.
pub const MIN_PASSWORD: usize = 12;

/// Most characters of a password.
pub const MAX_PASSWORD: usize = 128;

/// Memory of one hash, KiB.
const MEMORY: u32 = 19_456;

/// Passes over it.
const PASSES: u32 = 2;

/// Longest time that a hash waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hashes passwords. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hasher {
    turns: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self { turns: Arc::new(Semaphore::new(processors)) }
    }
}

fn argon() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// A hash of nobody's password. An unknown name is checked against it, so that it takes as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let random = rand::random::<[u8; 32]>();
    argon().hash_password(&random).map(|hash| hash.to_string()).unwrap_or_default()
});

impl Hasher {
    /// Returns what is stored of a password.
    ///
    /// # Errors
    /// `busy` ⇐ too many wait for their turn; `internal`.
    pub async fn hash(&self, password: &str) -> Result<String, Problem> {
        let password = password.to_owned();
        self.turn(move || argon().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?
            .map_err(|error| {
                tracing::error!(%error, "a password cannot be hashed");
                Problem::internal()
            })
    }

    /// Tells whether a password is the one that was stored; where nothing was, it takes as long and is not.
    ///
    /// # Errors
    /// `busy` ⇐ too many wait for their turn.
    pub async fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool, Problem> {
        let (password, known) = (password.to_owned(), stored.is_some());
        let stored = stored.map(str::to_owned);
        self.turn(move || {
            let stored = stored.as_deref().unwrap_or(NOBODY.as_str());
            let right = PasswordHash::new(stored)
                .is_ok_and(|hash| argon().verify_password(password.as_bytes(), &hash).is_ok());
            right && known
        })
        .await
    }

    async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many sign-ins at a time",
                "nothing was changed; try again in a moment",
            ));
        };
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|_| Problem::internal())
    }
}

/// Passwords that are tried first.
///
/// # Source
/// The list of Django 5.2 (`django/contrib/auth/common-passwords.txt.gz`, BSD-3-Clause), its entries of five
/// and more ASCII characters; `server/assets/common_passwords.LICENSE` has the licence.
static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("../../assets/common_passwords.txt").lines().collect());

/// Tells whether a password is a common one, bare, repeated, or with digits and signs around it.
fn is_common(lower: &str) -> bool {
    let core = lower.trim_matches(|c: char| !c.is_alphabetic());
    COMMON.contains(lower)
        || COMMON.contains(core)
        || COMMON.contains(unit(lower))
        || COMMON.contains(unit(core))
}

/// Returns the shortest text of which this one is a repetition.
fn unit(text: &str) -> &str {
    let fits = |length: &usize| {
        text.len().is_multiple_of(*length)
            && text.get(..*length).is_some_and(|unit| unit.repeat(text.len() / length) == text)
    };
    let length = (1..text.len()).find(fits).unwrap_or(text.len());
    text.get(..length).unwrap_or(text)
}

/// Checks a new password. There are no rules of composition; what is short, common, or made of one's own
/// names is refused.
///
/// # Errors
/// `weak_password` with what would be right.
pub fn checked_password(password: &str, names: &[&str]) -> Result<(), Problem> {
    let weak = |detail: String| Err(Problem::invalid("weak_password", detail));
    let length = password.chars().count();
    if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&length) {
        return weak(format!(
            "the password has {length} characters; take {MIN_PASSWORD} to {MAX_PASSWORD}, for example four words that do not belong together"
        ));
    }
    let lower = password.to_lowercase();
    let mut seen: Vec<char> = lower.chars().collect();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() < 5 {
        return weak("the password repeats a few characters; take more different ones".to_owned());
    }
    if is_common(&lower) {
        return weak("this password is among those that are tried first; take another".to_owned());
    }
    let named = names.iter().filter(|name| name.chars().count() >= 4);
    if let Some(name) = named.into_iter().find(|name| {
        let rest = lower.replace(&name.to_lowercase(), "");
        rest.chars().count() + 6 < length
    }) {
        return weak(format!("the password is little more than the name `{name}`; take another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_repeated_common_and_own_passwords_are_refused_and_a_phrase_is_not() {
        for weak in [
            "short",
            "aaaaaaaaaaaaaaa",
            "abababababab",
            "passwordpassword",
            "Password1234!!",
            "1qaz2wsx3edc",
            "harbour-power-1",
            &"x1y2z3".repeat(40),
        ] {
            assert!(checked_password(weak, &["harbour-power"]).is_err(), "{weak}");
        }
        for good in ["correct horse battery staple", "四個不相干的詞語放在一起就好", "kY8!vq2#Lm0z"]
        {
            assert!(checked_password(good, &["harbour-power", "ana"]).is_ok(), "{good}");
        }
    }

    #[tokio::test]
    async fn a_password_is_kept_as_argon2id_and_only_the_right_one_passes() {
        let hasher = Hasher::default();
        let stored = hasher.hash("correct horse battery staple").await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(hasher.verify("correct horse battery staple", Some(&stored)).await.unwrap());
        assert!(!hasher.verify("correct horse battery stable", Some(&stored)).await.unwrap());
        assert!(!hasher.verify("correct horse battery staple", None).await.unwrap());
        assert!(!hasher.verify("x", Some("damaged")).await.unwrap());
    }
}
