//! Imports of datasets: how far each is, for whoever waits for it, and what became of it.

use agents::dataset::Report;
use jiff::Timestamp;
use sqlx::Row as _;
use uuid::Uuid;

use super::{StoreError, TenantTx, instant};

/// An import that runs, or what became of it.
#[derive(Debug, Clone)]
pub struct Import {
    /// Identifier.
    pub id: Uuid,
    /// Dataset.
    pub dataset: String,
    /// Name of the file.
    pub file_name: String,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// Share of the file that is read, 0 to 1.
    pub share: f64,
    /// Rows kept so far.
    pub rows: i64,
    /// Lines refused so far.
    pub refused: i64,
    /// The version that it made or found.
    pub version: Option<i32>,
    /// Whether the version was there already.
    pub repeated: bool,
    /// Code of the fault.
    pub code: Option<String>,
    /// What was wrong.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub updated_at: Timestamp,
}

impl TenantTx {
    /// Notes that an import begins; imports that ended a week ago are forgotten.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn start_import(&mut self, id: &str, file_name: &str) -> Result<Uuid, StoreError> {
        sqlx::query(
            "delete from dataset_import
             where tenant_id = $1 and updated_at < now() - interval '7 days'",
        )
        .bind(self.tenant)
        .execute(&mut *self.tx)
        .await?;
        let import = Uuid::now_v7();
        sqlx::query(
            "insert into dataset_import (tenant_id, import_id, dataset_id, file_name, state)
             values ($1, $2, $3, $4, 'running')",
        )
        .bind(self.tenant)
        .bind(import)
        .bind(id)
        .bind(file_name)
        .execute(&mut *self.tx)
        .await?;
        Ok(import)
    }

    /// Keeps the transaction from counting as forgotten while a file is read and nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn stay(&mut self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&mut *self.tx).await?;
        Ok(())
    }

    /// Notes how far an import is.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_import(
        &mut self,
        import: Uuid,
        share: f64,
        rows: i64,
        refused: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update dataset_import set share = $3, rows = $4, refused = $5, updated_at = now()
             where tenant_id = $1 and import_id = $2 and state = 'running'",
        )
        .bind(self.tenant)
        .bind(import)
        .bind(share)
        .bind(rows)
        .bind(refused)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Notes that an import made or found a version.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn end_import(
        &mut self,
        import: Uuid,
        version: i32,
        repeated: bool,
        report: &Report,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update dataset_import set state = 'done', share = 1, version = $3, repeated = $4,
                    rows = $5, refused = $6, updated_at = now()
             where tenant_id = $1 and import_id = $2",
        )
        .bind(self.tenant)
        .bind(import)
        .bind(version)
        .bind(repeated)
        .bind(i64::try_from(report.rows).unwrap_or(i64::MAX))
        .bind(i64::try_from(report.refused).unwrap_or(i64::MAX))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Notes that an import failed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn fail_import(
        &mut self,
        import: Uuid,
        code: &str,
        message: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update dataset_import set state = 'failed', code = $3, message = $4, updated_at = now()
             where tenant_id = $1 and import_id = $2",
        )
        .bind(self.tenant)
        .bind(import)
        .bind(code)
        .bind(message.replace('\0', ""))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns an import.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn import(&mut self, import: Uuid) -> Result<Import, StoreError> {
        let row = sqlx::query(
            "select import_id, dataset_id, file_name, state, share, rows, refused, version, repeated,
                    code, message, started_at, updated_at
             from dataset_import where tenant_id = $1 and import_id = $2",
        )
        .bind(self.tenant)
        .bind(import)
        .fetch_optional(&mut *self.tx)
        .await?
        .ok_or(StoreError::NotFound("import"))?;
        Ok(Import {
            id: row.try_get("import_id")?,
            dataset: row.try_get("dataset_id")?,
            file_name: row.try_get("file_name")?,
            state: row.try_get("state")?,
            share: row.try_get("share")?,
            rows: row.try_get("rows")?,
            refused: row.try_get("refused")?,
            version: row.try_get("version")?,
            repeated: row.try_get("repeated")?,
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            started_at: instant(row.try_get("started_at")?),
            updated_at: instant(row.try_get("updated_at")?),
        })
    }
}
