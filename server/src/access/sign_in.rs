//! Signing in with a password: attempts are counted by account and by address before they are tried, and an
//! unknown name is answered as a wrong password is, in text and in time.

use crate::error::Problem;
use crate::state::AppState;
use crate::store::{Place, SignedInBy, TenantId, Wait, hash_of};

/// Attempts on one account before each makes the next wait.
const FREE_BY_ACCOUNT: i32 = 5;

/// Attempts from one address before each makes the next wait; an office may share one.
const FREE_BY_ADDRESS: i32 = 40;

/// Why nobody was signed in.
#[derive(Debug)]
pub enum Refusal {
    /// Joint venture, name or password are not right; which of them is not said.
    Wrong,
    /// Too many attempts.
    Wait(Wait),
    /// It cannot be tried.
    Problem(Problem),
}

impl<E: Into<Problem>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

/// Signs a member in with a password and returns the joint venture and the session's secret.
///
/// # Errors
/// [`Refusal`]; nothing tells an unknown joint venture or name from a wrong password.
pub async fn sign_in(
    state: &AppState,
    slug: &str,
    login: &str,
    password: &str,
    place: &Place,
) -> Result<(TenantId, String), Refusal> {
    let (slug, login) = (slug.trim().to_lowercase(), login.trim().to_lowercase());
    let account = hash_of(&format!("account {slug} {login}"));
    let address = hash_of(&format!("address {}", place.address));
    let store = &state.store;
    if let Some(wait) = store.attempt(&address, FREE_BY_ADDRESS).await? {
        return Err(Refusal::Wait(wait));
    }
    if let Some(wait) = store.attempt(&account, FREE_BY_ACCOUNT).await? {
        return Err(Refusal::Wait(wait));
    }
    // No stored name holds this character, and no query may.
    let found = if slug.contains('\0') || login.contains('\0') {
        None
    } else {
        store.find_login(&slug, &login).await?
    };
    let stored = found.as_ref().map(|(_, _, stored)| stored.as_str());
    let right = state.access.hasher.verify(password, stored).await?;
    let Some((tenant, member, _)) = found.filter(|_| right) else { return Err(Refusal::Wrong) };
    store.forget_attempts(&account).await?;
    store.take_attempt_back(&address).await?;
    let mut tx = store.begin(tenant).await?;
    let secret = tx.create_session(SignedInBy::Member(member), &login, place).await?;
    tx.commit().await?;
    Ok((tenant, secret.text))
}
