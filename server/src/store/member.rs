//! Members of a joint venture: people who sign in and service accounts that act by keys.

use jiff::Timestamp;
use serde_json::json;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::tenant::refused;
use super::{Noted, Secret, Store, StoreError, TenantId, TenantTx, instant};
use crate::access::Role;

/// Hours for which an invitation can be used.
const INVITE_HOURS: i32 = 72;

/// A member to be made.
#[derive(Debug, Clone)]
pub struct NewMember {
    /// True for a service account.
    pub service: bool,
    /// Name by which a person signs in, unique in the joint venture: lower-case letters, digits and `._@+-`.
    pub login: String,
    /// Name for people.
    pub name: String,
    /// Which party of the joint venture the member belongs to.
    pub organisation: String,
    /// Role.
    pub role: Role,
    /// Who made it.
    pub by: String,
}

/// Whether a member may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A person who has set no password yet.
    Invited,
    /// May act.
    Active,
    /// May not.
    Disabled,
}

impl Standing {
    /// Name in the API and on pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// A member. What is stored of the password stays in the store.
#[derive(Debug, Clone)]
pub struct Member {
    /// Identifier.
    pub id: Uuid,
    /// True for a service account.
    pub service: bool,
    /// Name by which a person signs in.
    pub login: String,
    /// Name for people; may be empty.
    pub name: String,
    /// Party of the joint venture; may be empty.
    pub organisation: String,
    /// Role.
    pub role: Role,
    /// Whether the member may act.
    pub standing: Standing,
    /// When the member was disabled.
    pub disabled_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whose invitation a secret is.
#[derive(Debug, Clone)]
pub struct Invited {
    /// The joint venture.
    pub tenant_id: TenantId,
    /// Its name for people.
    pub tenant: String,
    /// Its name in addresses.
    pub slug: String,
    /// The member.
    pub member: Uuid,
    /// Name by which the member signs in.
    pub login: String,
}

#[derive(FromRow)]
struct Row {
    member_id: Uuid,
    kind: String,
    login: String,
    name: String,
    organisation: String,
    role: String,
    known: bool,
    disabled_at: Option<OffsetDateTime>,
    created_by: String,
    created_at: OffsetDateTime,
}

impl TryFrom<Row> for Member {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let service = row.kind == "service";
        let role = Role::of(&row.role)
            .ok_or_else(|| StoreError::Damaged { what: "role", message: row.role.clone() })?;
        let standing = match (row.disabled_at, service || row.known) {
            (Some(_), _) => Standing::Disabled,
            (None, true) => Standing::Active,
            (None, false) => Standing::Invited,
        };
        Ok(Self {
            id: row.member_id,
            service,
            login: row.login,
            name: row.name,
            organisation: row.organisation,
            role,
            standing,
            disabled_at: row.disabled_at.map(instant),
            created_by: row.created_by,
            created_at: instant(row.created_at),
        })
    }
}

const COLUMNS: &str =
    "select member_id, kind, login, name, organisation, role, password is not null as known,
    disabled_at, created_by, created_at from member where tenant_id = $1";

const MALFORMED: &str = "a login has 2 to 100 lower-case letters, digits and `._@+-` and begins with a letter or digit; names have at most 200 characters";

impl Store {
    /// Finds the member who signs in by a name, with what is stored of the password; `None` for an unknown
    /// joint venture, an unknown name, no password and a disabled member alike.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn find_login(
        &self,
        slug: &str,
        login: &str,
    ) -> Result<Option<(TenantId, Uuid, String)>, StoreError> {
        let tenant: Option<TenantId> =
            sqlx::query_scalar("select tenant_id from directory where slug = $1")
                .bind(slug)
                .fetch_optional(&self.pool)
                .await?;
        // An unknown joint venture is asked as a known one is, so that it takes as long.
        let id = tenant.unwrap_or(Uuid::nil());
        let mut tx = self.begin(id).await?;
        let found: Option<(Uuid, String)> = sqlx::query_as(
            "select member_id, password from member
             where tenant_id = $1 and login = $2 and password is not null and disabled_at is null",
        )
        .bind(id)
        .bind(login)
        .fetch_optional(&mut *tx.tx)
        .await?;
        Ok(found.map(|(member, password)| (id, member, password)))
    }

    /// Finds the invitation with this hash; `None` for unknown, used and expired ones alike, and where the
    /// member is disabled.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn find_invite(&self, hash: &[u8; 32]) -> Result<Option<Invited>, StoreError> {
        let Some(tenant_id) = self.tenant_of(hash, "invite").await? else { return Ok(None) };
        let mut tx = self.begin(tenant_id).await?;
        let row: Option<(Uuid, String)> = sqlx::query_as(
            "select m.member_id, m.login from member_invite i
             join member m on m.tenant_id = i.tenant_id and m.member_id = i.member_id
             where i.tenant_id = $1 and i.hash = $2 and i.used_at is null and i.expires_at > now()
               and m.disabled_at is null",
        )
        .bind(tenant_id)
        .bind(hash.as_slice())
        .fetch_optional(&mut *tx.tx)
        .await?;
        let Some((member, login)) = row else { return Ok(None) };
        let tenant = tx.tenant().await?;
        Ok(Some(Invited { tenant_id, tenant: tenant.name, slug: tenant.slug, member, login }))
    }
}

impl TenantTx {
    /// Makes a member. A person gets in by [`TenantTx::invite`], a service account by keys.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the login is taken or malformed.
    pub async fn add_member(&mut self, new: &NewMember) -> Result<Uuid, StoreError> {
        let id = Uuid::now_v7();
        let made = sqlx::query(
            "insert into member (tenant_id, member_id, kind, login, name, organisation, role, created_by)
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant_id, login) do nothing",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(if new.service { "service" } else { "person" })
        .bind(&new.login)
        .bind(&new.name)
        .bind(&new.organisation)
        .bind(new.role.name())
        .bind(&new.by)
        .execute(&mut *self.tx)
        .await
        .map_err(|error| refused(error, MALFORMED))?;
        if made.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!("there is a member `{}` already", new.login)));
        }
        Ok(id)
    }

    /// Lists the members, by login.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn members(&mut self) -> Result<Vec<Member>, StoreError> {
        let text = sqlx::AssertSqlSafe(format!("{COLUMNS} order by login"));
        let rows: Vec<Row> =
            sqlx::query_as(text).bind(self.tenant).fetch_all(&mut *self.tx).await?;
        rows.into_iter().map(Member::try_from).collect()
    }

    /// Returns a member.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn member(&mut self, id: Uuid) -> Result<Member, StoreError> {
        let text = sqlx::AssertSqlSafe(format!("{COLUMNS} and member_id = $2"));
        let row: Option<Row> =
            sqlx::query_as(text).bind(self.tenant).bind(id).fetch_optional(&mut *self.tx).await?;
        row.ok_or(StoreError::NotFound("member")).and_then(Member::try_from)
    }

    /// Returns what is stored of a member's password.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn password_of(&mut self, id: Uuid) -> Result<Option<String>, StoreError> {
        let found: Option<Option<String>> = sqlx::query_scalar(
            "select password from member where tenant_id = $1 and member_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_optional(&mut *self.tx)
        .await?;
        Ok(found.flatten())
    }

    /// Makes a link by which a person sets a password, once and within three days; links made before cannot
    /// be used any more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] ⇐ a service account, or disabled.
    pub async fn invite(&mut self, id: Uuid, by: &str) -> Result<Secret, StoreError> {
        let member = self.member(id).await?;
        if member.service {
            let message = "a service account does not sign in; make a key for it";
            return Err(StoreError::Conflict(message.to_owned()));
        }
        if member.disabled_at.is_some() {
            return Err(StoreError::Conflict("the member is disabled; enable it first".to_owned()));
        }
        self.end_invites_of(id).await?;
        let secret = Secret::new("tsi");
        self.add_credential(&secret.hash, "invite").await?;
        sqlx::query(
            "insert into member_invite (tenant_id, hash, member_id, expires_at, created_by)
             values ($1, $2, $3, now() + make_interval(hours => $4), $5)",
        )
        .bind(self.tenant)
        .bind(secret.hash.as_slice())
        .bind(id)
        .bind(INVITE_HOURS)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(secret)
    }

    async fn end_invites_of(&mut self, id: Uuid) -> Result<(), StoreError> {
        let hashes: Vec<Vec<u8>> = sqlx::query_scalar(
            "update member_invite set used_at = now()
             where tenant_id = $1 and member_id = $2 and used_at is null returning hash",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_all(&mut *self.tx)
        .await?;
        self.remove_credentials(&hashes).await
    }

    /// Uses an invitation up and sets the password; every session of the member ends.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ unknown, used or expired.
    pub async fn redeem_invite(
        &mut self,
        hash: &[u8; 32],
        password: &str,
    ) -> Result<Uuid, StoreError> {
        let member: Option<Uuid> = sqlx::query_scalar(
            "update member_invite set used_at = now()
             where tenant_id = $1 and hash = $2 and used_at is null and expires_at > now()
             returning member_id",
        )
        .bind(self.tenant)
        .bind(hash.as_slice())
        .fetch_optional(&mut *self.tx)
        .await?;
        let member = member.ok_or(StoreError::NotFound("invitation"))?;
        self.remove_credentials(&[hash.to_vec()]).await?;
        self.set_password(member, password).await?;
        Ok(member)
    }

    /// Sets what is stored of a password; every session and invitation of the member ends.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent, disabled or no person.
    pub async fn set_password(&mut self, id: Uuid, password: &str) -> Result<(), StoreError> {
        let set = sqlx::query(
            "update member set password = $3, password_at = now()
             where tenant_id = $1 and member_id = $2 and kind = 'person' and disabled_at is null",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(password)
        .execute(&mut *self.tx)
        .await?;
        if set.rows_affected() == 0 {
            return Err(StoreError::NotFound("member"));
        }
        self.end_invites_of(id).await?;
        self.end_sessions_of(id).await?;
        let noted = Noted {
            kind: "member.password_set",
            actor: &format!("member:{id}"),
            detail: json!({ "member": id }),
            ..Noted::default()
        };
        self.note(&noted).await.map(drop)
    }

    /// Changes a member's role; every session of the member ends where it does.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] ⇐ nobody would be owner any more.
    pub async fn set_role(&mut self, id: Uuid, role: Role) -> Result<(), StoreError> {
        let member = self.member(id).await?;
        if member.role == role {
            return Ok(());
        }
        if role != Role::Owner {
            self.keep_an_owner(&member).await?;
        }
        sqlx::query("update member set role = $3 where tenant_id = $1 and member_id = $2")
            .bind(self.tenant)
            .bind(id)
            .bind(role.name())
            .execute(&mut *self.tx)
            .await?;
        self.end_sessions_of(id).await?;
        Ok(())
    }

    /// Disables a member, whose sessions and invitations end and whose keys are refused, or enables it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] ⇐ nobody would be owner any more.
    pub async fn set_disabled(&mut self, id: Uuid, disabled: bool) -> Result<(), StoreError> {
        let member = self.member(id).await?;
        if disabled {
            self.keep_an_owner(&member).await?;
            self.end_sessions_of(id).await?;
            self.end_invites_of(id).await?;
        }
        sqlx::query(
            "update member set disabled_at = case when $3 then coalesce(disabled_at, now()) end
             where tenant_id = $1 and member_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(disabled)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Refuses to take the last owner who can sign in away. The rows are locked, so that two owners cannot
    /// take each other away at once.
    async fn keep_an_owner(&mut self, member: &Member) -> Result<(), StoreError> {
        if member.role != Role::Owner || member.standing != Standing::Active || member.service {
            return Ok(());
        }
        let owners: Vec<Uuid> = sqlx::query_scalar(
            "select member_id from member where tenant_id = $1 and role = 'owner' and kind = 'person'
               and password is not null and disabled_at is null order by member_id for update",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        if owners.iter().any(|owner| *owner != member.id) {
            return Ok(());
        }
        let message = "this is the last owner who can sign in; make another one first";
        Err(StoreError::Conflict(message.to_owned()))
    }
}
