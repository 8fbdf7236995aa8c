//! The keys that sign statements, the public keys of parties, and what parties counter-signed.

use agents::outcome::receipt::{Countersignature, Handover, Registration};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::outcome::{read, written};
use super::{StoreError, TenantTx, instant};

/// A key that signs or signed a joint venture's statements.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// Number, from 1.
    pub version: i32,
    /// Identifier; the ciphertext is bound to it.
    pub id: Uuid,
    /// The secret as an earlier version kept it, until it is sealed.
    pub plain: Option<Vec<u8>>,
    /// The secret, sealed.
    pub sealed: Option<Vec<u8>>,
    /// Public key, hex.
    pub public_key: String,
    /// How the key before named this one.
    pub handover: Option<Handover>,
    /// Since when it signs.
    pub at: Timestamp,
}

/// The public key of a party.
#[derive(Debug, Clone)]
pub struct PartyKey {
    /// Number, from 1; the last one holds.
    pub version: i32,
    /// What the party said, signed by the key.
    pub registration: Registration,
    /// Who registered it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

#[derive(FromRow)]
struct KeyRow {
    version: i32,
    key_id: Uuid,
    secret: Option<Vec<u8>>,
    sealed: Option<Vec<u8>>,
    public_key: String,
    handover: Option<Value>,
    created_at: OffsetDateTime,
}

impl TenantTx {
    /// Returns the signing keys, oldest first; the last one signs.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn signing_keys(&mut self) -> Result<Vec<SigningKey>, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(
            "select version, key_id, secret, sealed, public_key, handover, created_at
             from signing_key where tenant_id = $1 order by version",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        let key = |row: KeyRow| {
            Ok(SigningKey {
                version: row.version,
                id: row.key_id,
                plain: row.secret,
                sealed: row.sealed,
                public_key: row.public_key,
                handover: row.handover.map(|value| read("handover", value)).transpose()?,
                at: instant(row.created_at),
            })
        };
        rows.into_iter().map(key).collect()
    }

    /// Keeps a signing key as the one that signs from now on; `false` where another took its number.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_signing_key(&mut self, new: &SigningKey) -> Result<bool, StoreError> {
        let handover = new.handover.as_ref().map(|one| written("handover", one)).transpose()?;
        let done = sqlx::query(
            "insert into signing_key (tenant_id, version, key_id, sealed, public_key, handover)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(new.version)
        .bind(new.id)
        .bind(&new.sealed)
        .bind(&new.public_key)
        .bind(handover)
        .execute(&mut *self.tx)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Puts a sealed secret in place of the plain one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn seal_signing_key(&mut self, id: Uuid, sealed: &[u8]) -> Result<(), StoreError> {
        sqlx::query(
            "update signing_key set secret = null, sealed = $3
             where tenant_id = $1 and key_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(sealed)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Keeps a party's key; the earlier ones stay.
    ///
    /// # Errors
    /// [`StoreError::Database`], also when two are registered at a time: one of them then fails.
    pub async fn add_party_key(&mut self, new: &Registration, by: &str) -> Result<i32, StoreError> {
        Ok(sqlx::query_scalar(
            "insert into party_key (tenant_id, party, version, public_key, registration, registered_by)
             select $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5
             from party_key where tenant_id = $1 and party = $2 returning version",
        )
        .bind(self.tenant)
        .bind(&new.party)
        .bind(&new.public_key)
        .bind(written("registration", new)?)
        .bind(by)
        .fetch_one(&mut *self.tx)
        .await?)
    }

    /// Returns the keys of the parties, by party and oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn party_keys(&mut self) -> Result<Vec<PartyKey>, StoreError> {
        let rows: Vec<(i32, Value, String, OffsetDateTime)> = sqlx::query_as(
            "select version, registration, registered_by, registered_at from party_key
             where tenant_id = $1 order by party, version limit 500",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        let key = |(version, registration, by, at)| {
            let registration = read("registration", registration)?;
            Ok(PartyKey { version, registration, by, at: instant(at) })
        };
        rows.into_iter().map(key).collect()
    }

    /// Keeps a party's signature over the receipt of a statement.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the party has signed.
    pub async fn add_countersignature(
        &mut self,
        statement: i32,
        new: &Countersignature,
        by: &str,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "insert into countersignature (tenant_id, statement, party, body, entered_by)
             values ($1, $2, $3, $4, $5) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(statement)
        .bind(&new.party)
        .bind(written("counter-signature", new)?)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            let message = format!("{} has signed this statement already", new.party);
            return Err(StoreError::Conflict(message));
        }
        Ok(())
    }

    /// Returns the signatures of parties over the receipt of a statement, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn countersignatures(
        &mut self,
        statement: i32,
    ) -> Result<Vec<Countersignature>, StoreError> {
        let bodies: Vec<Value> = sqlx::query_scalar(
            "select body from countersignature where tenant_id = $1 and statement = $2
             order by entered_at, party",
        )
        .bind(self.tenant)
        .bind(statement)
        .fetch_all(&mut *self.tx)
        .await?;
        bodies.into_iter().map(|body| read("counter-signature", body)).collect()
    }
}
