//! Sessions of browsers: an idle and an absolute end, listed without their secrets, ended on the server.

use jiff::Timestamp;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::secret::form_token;
use super::{Secret, Store, StoreError, TenantId, TenantTx, hash_of, instant};
use crate::access::{Actor, Role};

/// Hours after which a session ends whatever is done with it.
pub const SESSION_HOURS: u16 = 12;

/// Minutes without a call after which a session ends.
pub const IDLE_MINUTES: u16 = 120;

/// By what somebody signed in. The session ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedInBy {
    /// A one-time link of the server.
    Link,
    /// A member's password or invitation.
    Member(Uuid),
    /// An API key.
    Key(Uuid),
}

/// Where somebody signed in.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Network address.
    pub address: String,
    /// What the browser says of itself.
    pub agent: String,
}

/// A valid dashboard session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Identifier; not the secret.
    pub id: Uuid,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Who is signed in, for people.
    pub subject: String,
    /// Who is signed in.
    pub actor: Actor,
    /// What the role or key permits.
    pub scopes: Vec<String>,
    /// By what.
    pub by: SignedInBy,
    /// Token that every form of the session carries.
    pub csrf: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A session as it is listed.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Identifier.
    pub id: Uuid,
    /// Who is signed in, for people.
    pub subject: String,
    /// The member, if it is one.
    pub member: Option<Uuid>,
    /// Where from.
    pub place: Place,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub seen_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}

#[derive(FromRow)]
struct Row {
    session_id: Uuid,
    subject: String,
    member_id: Option<Uuid>,
    key_id: Option<Uuid>,
    address: String,
    agent: String,
    created_at: OffsetDateTime,
    seen_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    stale: bool,
}

/// Rows of sessions that have not ended by themselves.
const OPEN: &str =
    "select session_id, subject, member_id, key_id, address, agent, created_at, seen_at,
    expires_at, seen_at < now() - interval '1 minute' as stale from session
    where tenant_id = $1 and expires_at > now() and seen_at > now() - make_interval(mins => $2)";

impl Store {
    /// Finds the session of a secret unless it has ended, its member is disabled or its key is not valid any
    /// more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn find_session(&self, secret: &str) -> Result<Option<Session>, StoreError> {
        let hash = hash_of(secret);
        let Some(tenant_id) = self.tenant_of(&hash, "session").await? else { return Ok(None) };
        let mut tx = self.begin(tenant_id).await?;
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!("{OPEN} and hash = $3")))
            .bind(tenant_id)
            .bind(i32::from(IDLE_MINUTES))
            .bind(hash.as_slice())
            .fetch_optional(&mut *tx.tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let Some((by, actor, scopes)) = tx.powers(&row).await? else { return Ok(None) };
        if row.stale {
            sqlx::query("update session set seen_at = now() where tenant_id = $1 and hash = $2")
                .bind(tenant_id)
                .bind(hash.as_slice())
                .execute(&mut *tx.tx)
                .await?;
            tx.commit().await?;
        }
        Ok(Some(Session {
            id: row.session_id,
            tenant_id,
            subject: actor.subject.clone(),
            actor,
            scopes,
            by,
            csrf: form_token(secret),
            expires_at: instant(row.expires_at),
        }))
    }
}

impl TenantTx {
    /// Says what a session may do now, or nothing where what it came from is gone.
    async fn powers(
        &mut self,
        row: &Row,
    ) -> Result<Option<(SignedInBy, Actor, Vec<String>)>, StoreError> {
        if let Some(member) = row.member_id {
            let actor = self.actor_of(member).await?;
            return Ok(actor.map(|actor| {
                let scopes = actor.role.scopes();
                (SignedInBy::Member(member), actor, scopes)
            }));
        }
        if let Some(id) = row.key_id {
            let key = self.key(id).await?;
            if !matches!(key.state(), "valid" | "replaced") {
                return Ok(None);
            }
            let mut actor = Actor::key(id, &key.label, &key.scopes);
            let mut scopes = key.scopes;
            if let Some(member) = key.member {
                let Some(held) = self.actor_of(member).await? else { return Ok(None) };
                scopes.retain(|scope| held.role.permits(scope));
                actor = held;
            }
            return Ok(Some((SignedInBy::Key(id), actor, scopes)));
        }
        Ok(Some((SignedInBy::Link, Actor::link(), Role::Owner.scopes())))
    }

    /// Starts a session that ends after [`SESSION_HOURS`] at the latest, and forgets those that have ended.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_session(
        &mut self,
        by: SignedInBy,
        subject: &str,
        place: &Place,
    ) -> Result<Secret, StoreError> {
        let ended: Vec<Vec<u8>> = sqlx::query_scalar(
            "delete from session where tenant_id = $1
               and (expires_at <= now() or seen_at <= now() - make_interval(mins => $2)) returning hash",
        )
        .bind(self.tenant)
        .bind(i32::from(IDLE_MINUTES))
        .fetch_all(&mut *self.tx)
        .await?;
        self.remove_credentials(&ended).await?;
        let secret = Secret::new("tss");
        self.add_credential(&secret.hash, "session").await?;
        let (member, key) = match by {
            SignedInBy::Link => (None, None),
            SignedInBy::Member(id) => (Some(id), None),
            SignedInBy::Key(id) => (None, Some(id)),
        };
        sqlx::query(
            "insert into session (tenant_id, hash, session_id, subject, member_id, key_id, address, agent,
                                  expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(hours => $9))",
        )
        .bind(self.tenant)
        .bind(secret.hash.as_slice())
        .bind(Uuid::now_v7())
        .bind(subject)
        .bind(member)
        .bind(key)
        .bind(&place.address)
        .bind(&place.agent)
        .bind(i32::from(SESSION_HOURS))
        .execute(&mut *self.tx)
        .await?;
        Ok(secret)
    }

    /// Lists the sessions that have not ended, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sessions(&mut self) -> Result<Vec<OpenSession>, StoreError> {
        let rows: Vec<Row> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("{OPEN} order by session_id desc")))
                .bind(self.tenant)
                .bind(i32::from(IDLE_MINUTES))
                .fetch_all(&mut *self.tx)
                .await?;
        Ok(rows
            .into_iter()
            .map(|row| OpenSession {
                id: row.session_id,
                subject: row.subject,
                member: row.member_id,
                place: Place { address: row.address, agent: row.agent },
                created_at: instant(row.created_at),
                seen_at: instant(row.seen_at),
                expires_at: instant(row.expires_at),
            })
            .collect())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent, ended or another tenant's.
    pub async fn end_session(&mut self, id: Uuid) -> Result<(), StoreError> {
        let hash: Option<Vec<u8>> = sqlx::query_scalar(
            "delete from session where tenant_id = $1 and session_id = $2 returning hash",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_optional(&mut *self.tx)
        .await?;
        let hash = hash.ok_or(StoreError::NotFound("session"))?;
        self.remove_credentials(&[hash]).await
    }

    /// Ends every session of a member; returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn end_sessions_of(&mut self, member: Uuid) -> Result<usize, StoreError> {
        let hashes: Vec<Vec<u8>> = sqlx::query_scalar(
            "delete from session where tenant_id = $1 and (member_id = $2 or key_id in
                 (select key_id from api_key where tenant_id = $1 and member_id = $2)) returning hash",
        )
        .bind(self.tenant)
        .bind(member)
        .fetch_all(&mut *self.tx)
        .await?;
        self.remove_credentials(&hashes).await?;
        Ok(hashes.len())
    }
}
