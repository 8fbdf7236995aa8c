//! Changes of access, as the API, the pages and the command line make them: nobody gives what they do not
//! hold themselves.

use std::collections::HashSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Role, SCOPES};
use crate::error::Problem;
use crate::input::storable;
use crate::store::{ApiKey, Member, NewKey, NewMember, Noted, Secret, StoreError, TenantTx};

/// Longest label or name, characters.
const MAX_NAME: usize = 200;

/// Longest time that a replaced key stays valid: thirty days in hours.
pub const MAX_GRACE_HOURS: u32 = 720;

/// Hours that a replaced key stays valid where nothing is said.
pub const GRACE_HOURS: u32 = 24;

/// Who changes something, and what they may do themselves.
pub struct By<'a> {
    /// Name for people.
    pub subject: &'a str,
    /// Their scopes.
    pub scopes: &'a [String],
}

impl By<'_> {
    fn holds(&self, scopes: &[String]) -> Result<(), Problem> {
        match scopes.iter().find(|scope| !self.scopes.contains(scope)) {
            Some(scope) => Err(Problem::forbidden(scope)),
            None => Ok(()),
        }
    }
}

/// Notes a change in the audit chain. Members and keys stand there by their identifiers: a name of a
/// person cannot be taken out of a chain.
async fn note(tx: &mut TenantTx, by: &By<'_>, kind: &str, detail: Value) -> Result<(), StoreError> {
    tx.note(&Noted { kind, subject: by.subject, detail, ..Noted::default() }).await.map(drop)
}

fn named(text: &str, what: &str) -> Result<String, Problem> {
    let text = text.trim();
    storable(text, what)?;
    if text.chars().count() > MAX_NAME {
        let detail = format!("the {what} is longer than {MAX_NAME} characters");
        return Err(Problem::invalid("invalid_name", detail));
    }
    Ok(text.to_owned())
}

/// Reads a role.
///
/// # Errors
/// `invalid_role`.
pub fn role_of(name: &str) -> Result<Role, Problem> {
    Role::of(name).ok_or_else(|| {
        let names: Vec<&str> = Role::ALL.into_iter().map(Role::name).collect();
        Problem::invalid("invalid_role", format!("a role is one of {}", names.join(", ")))
    })
}

/// Makes a member; a person is also invited, and the secret of the invitation is returned.
///
/// # Errors
/// `missing_scope` ⇐ the role permits more than the caller's; `invalid_login`; `conflict` ⇐ the login is
/// taken.
pub async fn add_member(
    tx: &mut TenantTx,
    by: &By<'_>,
    new: NewMember,
) -> Result<(Uuid, Option<Secret>), Problem> {
    by.holds(&new.role.scopes())?;
    let login = new.login.trim().to_lowercase();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._@+-".contains(c);
    if !(2..=100).contains(&login.len())
        || !login.chars().all(fits)
        || !login.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Err(Problem::invalid(
            "invalid_login",
            "a login has 2 to 100 letters, digits and `._@+-` and begins with a letter or digit, as an e-mail address does",
        ));
    }
    // The name under which one-time links of the server act.
    if login == "owner" {
        return Err(Problem::invalid(
            "invalid_login",
            "the login `owner` stands for the server's own links",
        ));
    }
    let new = NewMember {
        login,
        name: named(&new.name, "name")?,
        organisation: named(&new.organisation, "organisation")?,
        ..new
    };
    let id = tx.add_member(&new).await?;
    let invite = if new.service { None } else { Some(tx.invite(id, by.subject).await?) };
    let detail = json!({"member": id, "role": new.role.name(), "service": new.service});
    note(tx, by, "member.added", detail).await?;
    Ok((id, invite))
}

/// Makes a new link by which a person sets a password.
///
/// # Errors
/// `missing_scope` ⇐ the member may do more than the caller; `not_found`; `conflict`.
pub async fn invite(tx: &mut TenantTx, by: &By<'_>, member: Uuid) -> Result<Secret, Problem> {
    by.holds(&tx.member(member).await?.role.scopes())?;
    let invite = tx.invite(member, by.subject).await?;
    note(tx, by, "member.invited", json!({ "member": member })).await?;
    Ok(invite)
}

/// What is changed of a member.
#[derive(Debug, Default)]
pub struct MemberChange {
    /// The new role.
    pub role: Option<Role>,
    /// True disables, false enables.
    pub disabled: Option<bool>,
}

/// Changes a member; sessions end where the role changes or the member is disabled.
///
/// # Errors
/// `missing_scope` ⇐ the member may do, or would, more than the caller; `not_found`; `conflict` ⇐ nobody
/// would be owner any more.
pub async fn change_member(
    tx: &mut TenantTx,
    by: &By<'_>,
    member: Uuid,
    change: &MemberChange,
) -> Result<Member, Problem> {
    by.holds(&tx.member(member).await?.role.scopes())?;
    if let Some(role) = change.role {
        by.holds(&role.scopes())?;
        tx.set_role(member, role).await?;
    }
    if let Some(disabled) = change.disabled {
        tx.set_disabled(member, disabled).await?;
    }
    let role = change.role.map(Role::name);
    let detail = json!({"member": member, "role": role, "disabled": change.disabled});
    note(tx, by, "member.changed", detail).await?;
    Ok(tx.member(member).await?)
}

/// Makes a key of these scopes; of the member's, or else the caller's, where none are named.
///
/// # Errors
/// `missing_scope` ⇐ the caller lacks one; `invalid_scope` ⇐ there is none of this name, or the member's
/// role lacks it; `not_found`; `conflict` ⇐ the member is disabled.
pub async fn add_key(
    tx: &mut TenantTx,
    by: &By<'_>,
    mut new: NewKey,
) -> Result<(ApiKey, Secret), Problem> {
    let role = match new.member {
        Some(member) => Some(tx.member(member).await?.role),
        None => None,
    };
    if new.scopes.is_empty() {
        new.scopes = role.map_or_else(|| by.scopes.to_vec(), Role::scopes);
    }
    if let Some(scope) = new.scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
        let known = SCOPES.join(", ");
        return Err(Problem::invalid(
            "invalid_scope",
            format!("there is no scope `{scope}`; there are {known}"),
        ));
    }
    if let Some(role) = role
        && let Some(scope) = new.scopes.iter().find(|scope| !role.permits(scope))
    {
        let detail = format!("the member's role `{}` does not permit `{scope}`", role.name());
        return Err(Problem::invalid("invalid_scope", detail));
    }
    by.holds(&new.scopes)?;
    let mut seen = HashSet::new();
    new.scopes.retain(|scope| seen.insert(scope.clone()));
    new.label = named(&new.label, "label")?;
    if new.label.is_empty() {
        return Err(Problem::invalid("invalid_name", "the key has no label; say what it is for"));
    }
    let (id, secret) = tx.create_key(&new).await?;
    let detail = json!({"key": id, "scopes": new.scopes, "member": new.member, "days": new.days});
    note(tx, by, "key.made", detail).await?;
    Ok((tx.key(id).await?, secret))
}

/// Revokes a key; it holds for the next call.
///
/// # Errors
/// `not_found`; `conflict`.
pub async fn revoke_key(tx: &mut TenantTx, by: &By<'_>, key: Uuid) -> Result<(), Problem> {
    tx.revoke_key(key).await?;
    Ok(note(tx, by, "key.revoked", json!({ "key": key })).await?)
}

/// Makes a key in the place of another, which stays valid for a while.
///
/// # Errors
/// `missing_scope` ⇐ the key may do more than the caller; `invalid_grace`; `not_found`; `conflict`.
pub async fn rotate_key(
    tx: &mut TenantTx,
    by: &By<'_>,
    key: Uuid,
    grace_hours: Option<u32>,
    days: Option<u16>,
) -> Result<(ApiKey, Secret), Problem> {
    let grace = grace_hours.unwrap_or(GRACE_HOURS);
    if grace > MAX_GRACE_HOURS {
        let detail = format!("a replaced key stays valid for {MAX_GRACE_HOURS} hours at most");
        return Err(Problem::invalid("invalid_grace", detail));
    }
    by.holds(&tx.key(key).await?.scopes)?;
    let (next, secret) = tx.rotate_key(key, grace * 60, days, by.subject).await?;
    let detail = json!({"key": key, "next": next, "grace_hours": grace});
    note(tx, by, "key.rotated", detail).await?;
    Ok((tx.key(next).await?, secret))
}
