//! API keys: stored as hashes, given scopes, rotated with an overlap, revoked at once.

use jiff::Timestamp;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Secret, Store, StoreError, TenantId, TenantTx, instant};
use crate::access::{Actor, ActorKind, Role};

/// An API key to be made.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// Label for people.
    pub label: String,
    /// What it permits.
    pub scopes: Vec<String>,
    /// Days until it ends; never when absent.
    pub days: Option<u16>,
    /// The member that acts with it, if it belongs to one.
    pub member: Option<Uuid>,
    /// Who made it.
    pub by: String,
}

/// An API key as it is listed; the secret is not stored.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Identifier.
    pub id: Uuid,
    /// Label for people.
    pub label: String,
    /// First characters of the secret.
    pub prefix: String,
    /// What it permits.
    pub scopes: Vec<String>,
    /// The member that acts with it.
    pub member: Option<Uuid>,
    /// The key that took its place.
    pub successor: Option<Uuid>,
    /// Who made it.
    pub created_by: String,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl ApiKey {
    /// Returns `revoked`, `expired`, `replaced` (valid until its grace ends) or `valid`.
    pub fn state(&self) -> &'static str {
        if self.revoked_at.is_some() {
            "revoked"
        } else if self.expires_at.is_some_and(|end| end <= Timestamp::now()) {
            "expired"
        } else if self.successor.is_some() {
            "replaced"
        } else {
            "valid"
        }
    }
}

/// A valid key and whose it is.
#[derive(Debug, Clone)]
pub struct FoundKey {
    /// Identifier of the key.
    pub key_id: Uuid,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Name for people of who acts: the member's, else the key's label.
    pub label: String,
    /// What it permits: no more than its member's role does.
    pub scopes: Vec<String>,
    /// Who acts.
    pub actor: Actor,
}

#[derive(FromRow)]
struct Row {
    key_id: Uuid,
    label: String,
    prefix: String,
    scopes: Vec<String>,
    member_id: Option<Uuid>,
    successor: Option<Uuid>,
    created_by: String,
    expires_at: Option<OffsetDateTime>,
    revoked_at: Option<OffsetDateTime>,
    last_used_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
}

impl From<Row> for ApiKey {
    fn from(row: Row) -> Self {
        Self {
            id: row.key_id,
            label: row.label,
            prefix: row.prefix,
            scopes: row.scopes,
            member: row.member_id,
            successor: row.successor,
            created_by: row.created_by,
            expires_at: row.expires_at.map(instant),
            revoked_at: row.revoked_at.map(instant),
            last_used_at: row.last_used_at.map(instant),
            created_at: instant(row.created_at),
        }
    }
}

const COLUMNS: &str =
    "select key_id, label, prefix, scopes, member_id, successor, created_by, expires_at,
    revoked_at, last_used_at, created_at from api_key where tenant_id = $1";

/// A member as far as it decides what a key or session may do.
#[derive(FromRow)]
pub(super) struct Holder {
    pub(super) member_id: Uuid,
    pub(super) kind: String,
    pub(super) login: String,
    pub(super) role: String,
    pub(super) disabled: bool,
}

impl Holder {
    /// Returns who acts, or nobody where the member is disabled.
    pub(super) fn actor(self) -> Option<Actor> {
        if self.disabled {
            return None;
        }
        Some(Actor {
            id: format!("member:{}", self.member_id),
            subject: self.login,
            role: Role::of(&self.role)?,
            kind: if self.kind == "person" { ActorKind::Person } else { ActorKind::Service },
        })
    }
}

#[derive(FromRow)]
struct Found {
    key_id: Uuid,
    label: String,
    scopes: Vec<String>,
    member_id: Option<Uuid>,
    stale: bool,
}

impl Store {
    /// Finds the valid key with this hash; `None` for unknown, revoked and expired ones alike, and for those
    /// of a disabled member.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<FoundKey>, StoreError> {
        let Some(tenant_id) = self.tenant_of(hash, "key").await? else { return Ok(None) };
        let mut tx = self.begin(tenant_id).await?;
        let row: Option<Found> = sqlx::query_as(
            "select key_id, label, scopes, member_id,
                    coalesce(last_used_at < now() - interval '1 minute', true) as stale
             from api_key
             where tenant_id = $1 and hash = $2 and revoked_at is null
               and (expires_at is null or expires_at > now())",
        )
        .bind(tenant_id)
        .bind(hash.as_slice())
        .fetch_optional(&mut *tx.tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let found = match tx.holder(&row).await? {
            Some(found) => found,
            None => return Ok(None),
        };
        if row.stale {
            sqlx::query(
                "update api_key set last_used_at = now() where tenant_id = $1 and key_id = $2",
            )
            .bind(tenant_id)
            .bind(row.key_id)
            .execute(&mut *tx.tx)
            .await?;
            tx.commit().await?;
        }
        Ok(Some(found))
    }
}

impl TenantTx {
    async fn holder(&mut self, row: &Found) -> Result<Option<FoundKey>, StoreError> {
        let (key_id, tenant_id) = (row.key_id, self.tenant);
        let Some(member) = row.member_id else {
            let actor = Actor::key(key_id, &row.label, &row.scopes);
            let (label, scopes) = (row.label.clone(), row.scopes.clone());
            return Ok(Some(FoundKey { key_id, tenant_id, label, scopes, actor }));
        };
        let Some(actor) = self.actor_of(member).await? else { return Ok(None) };
        // A role that was lowered lowers the keys made before.
        let scopes = row.scopes.iter().filter(|scope| actor.role.permits(scope)).cloned().collect();
        let label = actor.subject.clone();
        Ok(Some(FoundKey { key_id, tenant_id, label, scopes, actor }))
    }

    /// Returns who acts as a member; `None` where the member is absent or disabled.
    pub(super) async fn actor_of(&mut self, member: Uuid) -> Result<Option<Actor>, StoreError> {
        let holder: Option<Holder> = sqlx::query_as(
            "select member_id, kind, login, role, disabled_at is not null as disabled
             from member where tenant_id = $1 and member_id = $2",
        )
        .bind(self.tenant)
        .bind(member)
        .fetch_optional(&mut *self.tx)
        .await?;
        Ok(holder.and_then(Holder::actor))
    }

    /// Makes an API key; the secret is in the return value and nowhere else.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ no such member; [`StoreError::Conflict`] ⇐ the member is disabled.
    pub async fn create_key(&mut self, new: &NewKey) -> Result<(Uuid, Secret), StoreError> {
        if let Some(member) = new.member
            && self.member(member).await?.disabled_at.is_some()
        {
            return Err(StoreError::Conflict("the member is disabled".to_owned()));
        }
        let (id, secret) = (Uuid::now_v7(), Secret::new("tsk"));
        self.add_credential(&secret.hash, "key").await?;
        sqlx::query(
            "insert into api_key (tenant_id, key_id, label, prefix, hash, scopes, expires_at, member_id,
                                  created_by)
             values ($1, $2, $3, $4, $5, $6, now() + make_interval(days => $7), $8, $9)",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(&new.label)
        .bind(secret.prefix())
        .bind(secret.hash.as_slice())
        .bind(&new.scopes)
        .bind(new.days.map(i32::from))
        .bind(new.member)
        .bind(&new.by)
        .execute(&mut *self.tx)
        .await?;
        Ok((id, secret))
    }

    /// Lists the keys, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn keys(&mut self) -> Result<Vec<ApiKey>, StoreError> {
        let text = sqlx::AssertSqlSafe(format!("{COLUMNS} order by key_id desc"));
        let rows: Vec<Row> =
            sqlx::query_as(text).bind(self.tenant).fetch_all(&mut *self.tx).await?;
        Ok(rows.into_iter().map(ApiKey::from).collect())
    }

    /// Returns a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn key(&mut self, id: Uuid) -> Result<ApiKey, StoreError> {
        let text = sqlx::AssertSqlSafe(format!("{COLUMNS} and key_id = $2"));
        let row: Option<Row> =
            sqlx::query_as(text).bind(self.tenant).bind(id).fetch_optional(&mut *self.tx).await?;
        row.map(ApiKey::from).ok_or(StoreError::NotFound("key"))
    }

    /// Makes a key in the place of another, which stays valid for `grace_minutes` or until it would have
    /// ended anyway. The new one ends after `days`, never when absent.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] ⇐ no longer valid, or replaced before.
    pub async fn rotate_key(
        &mut self,
        id: Uuid,
        grace_minutes: u32,
        days: Option<u16>,
        by: &str,
    ) -> Result<(Uuid, Secret), StoreError> {
        let old = self.key(id).await?;
        if old.state() != "valid" {
            let message = match old.successor {
                Some(next) => format!("the key was replaced by {next}; rotate that one"),
                None => format!("the key is {}; make a new one", old.state()),
            };
            return Err(StoreError::Conflict(message));
        }
        let (label, scopes, member) = (old.label, old.scopes, old.member);
        let new = NewKey { label, scopes, days, member, by: by.to_owned() };
        let (next, secret) = self.create_key(&new).await?;
        let replaced = sqlx::query(
            "update api_key set successor = $3,
                    expires_at = least(expires_at, now() + make_interval(mins => $4))
             where tenant_id = $1 and key_id = $2 and successor is null and revoked_at is null",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(next)
        .bind(i32::try_from(grace_minutes).unwrap_or(i32::MAX))
        .execute(&mut *self.tx)
        .await?;
        if replaced.rows_affected() == 0 {
            return Err(StoreError::Conflict(
                "the key was changed meanwhile; look again".to_owned(),
            ));
        }
        Ok((next, secret))
    }

    /// Revokes a key at once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ another tenant's, absent or already revoked.
    pub async fn revoke_key(&mut self, key: Uuid) -> Result<(), StoreError> {
        let hash: Option<Vec<u8>> = sqlx::query_scalar(
            "update api_key set revoked_at = now()
             where tenant_id = $1 and key_id = $2 and revoked_at is null returning hash",
        )
        .bind(self.tenant)
        .bind(key)
        .fetch_optional(&mut *self.tx)
        .await?;
        let hash = hash.ok_or(StoreError::NotFound("key"))?;
        self.remove_credentials(&[hash]).await
    }
}
