//! Datasets: versions that never change, their rows in chunks, refused lines, and imports.
//!
//! A version is a file under a mapping. `dataset_head` names the current one, so that going back is a
//! change of one row. Files are kept once for each content.

use agents::dataset::{Chunk, Mapping, Reject, Report};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{StoreError, TenantTx, instant};

/// Bytes of a part of a stored file, before compression.
const PART: usize = 4 << 20;

/// A version of a dataset.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Name that tools are given.
    pub id: String,
    /// Version, from 1.
    pub version: i32,
    /// Whether it is the current one.
    pub current: bool,
    /// When the dataset was deleted.
    pub deleted_at: Option<Timestamp>,
    /// SHA-256 of the file; absent from versions of before files were shared.
    pub sha256: Option<String>,
    /// Name of the file as uploaded.
    pub file_name: String,
    /// Size of the file in bytes.
    pub size: i64,
    /// How the file was read; absent from versions of before imports.
    pub mapping: Option<Mapping>,
    /// What the import came to.
    pub report: Option<Report>,
    /// Who imported it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// A version that is about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewVersion<'a> {
    /// Dataset.
    pub id: &'a str,
    /// Number, from [`TenantTx::next_version`].
    pub version: i32,
    /// SHA-256 of the stored file.
    pub sha256: &'a str,
    /// SHA-256 of the mapping.
    pub mapping_sha256: &'a str,
    /// Name of the file.
    pub file_name: &'a str,
    /// Its size in bytes.
    pub size: usize,
    /// How it was read.
    pub mapping: &'a Mapping,
    /// What the import came to.
    pub report: &'a Report,
    /// Who imported it.
    pub by: &'a str,
}

/// Which chunks a reader wants.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Site.
    pub site: Option<String>,
    /// First instant included, microseconds since 1970.
    pub start: Option<i64>,
    /// First instant excluded.
    pub end: Option<i64>,
    /// First chunk.
    pub from: i32,
    /// Most chunks; all when absent.
    pub limit: Option<i64>,
}

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

macro_rules! versions {
    ($rest:literal) => {
        concat!(
            "select d.dataset_id, d.version, h.version as head, h.deleted_at, d.sha256, d.file_name,
                    coalesce(d.size, length(d.bytes)::bigint) as size, d.mapping, d.report,
                    d.created_by, d.created_at
             from dataset d
             join dataset_head h on h.tenant_id = d.tenant_id and h.dataset_id = d.dataset_id
             where d.tenant_id = $1 and ",
            $rest
        )
    };
}

fn dataset(row: &PgRow) -> Result<Dataset, StoreError> {
    let json = |name: &'static str| row.try_get::<Option<Value>, _>(name);
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        what: "dataset",
        message: error.to_string(),
    };
    let version: i32 = row.try_get("version")?;
    Ok(Dataset {
        id: row.try_get("dataset_id")?,
        version,
        current: row.try_get::<i32, _>("head")? == version,
        deleted_at: row.try_get::<Option<OffsetDateTime>, _>("deleted_at")?.map(instant),
        sha256: row.try_get("sha256")?,
        file_name: row.try_get("file_name")?,
        size: row.try_get("size")?,
        mapping: json("mapping")?.map(serde_json::from_value).transpose().map_err(damaged)?,
        report: json("report")?.map(serde_json::from_value).transpose().map_err(damaged)?,
        created_by: row.try_get("created_by")?,
        created_at: instant(row.try_get("created_at")?),
    })
}

fn value(what: &'static str, value: &impl serde::Serialize) -> Result<Value, StoreError> {
    serde_json::to_value(value)
        .map_err(|error| StoreError::Damaged { what, message: error.to_string() })
}

impl TenantTx {
    /// Stores a file under its hash, unless it is there. Files that no version names a day after
    /// they came are removed on the way.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_file(&mut self, sha256: &str, bytes: &[u8]) -> Result<(), StoreError> {
        sqlx::query(
            "delete from dataset_file f where f.tenant_id = $1 and f.sha256 <> $2
               and f.created_at < now() - interval '1 day'
               and not exists (select from dataset d where d.tenant_id = $1 and d.sha256 = f.sha256)",
        )
        .bind(self.tenant)
        .bind(sha256)
        .execute(&mut *self.tx)
        .await?;
        for (part, body) in bytes.chunks(PART).enumerate() {
            let body = agents::dataset::pack(body);
            sqlx::query(
                "insert into dataset_file (tenant_id, sha256, part, body) values ($1, $2, $3, $4)
                 on conflict do nothing",
            )
            .bind(self.tenant)
            .bind(sha256)
            .bind(i32::try_from(part).unwrap_or(i32::MAX))
            .bind(body)
            .execute(&mut *self.tx)
            .await?;
        }
        Ok(())
    }

    /// Returns a stored file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`].
    pub async fn file(&mut self, sha256: &str) -> Result<Vec<u8>, StoreError> {
        let parts: Vec<Vec<u8>> = sqlx::query_scalar(
            "select body from dataset_file where tenant_id = $1 and sha256 = $2 order by part",
        )
        .bind(self.tenant)
        .bind(sha256)
        .fetch_all(&mut *self.tx)
        .await?;
        if parts.is_empty() {
            return Err(StoreError::NotFound("file"));
        }
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend(
                agents::dataset::unpack(&part)
                    .map_err(|why| StoreError::Damaged { what: "file", message: why.to_owned() })?,
            );
        }
        Ok(bytes)
    }

    /// Returns the file of a version as it was uploaded.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn original(&mut self, dataset: &Dataset) -> Result<Vec<u8>, StoreError> {
        if let Some(sha256) = &dataset.sha256 {
            return self.file(sha256).await;
        }
        sqlx::query_scalar(
            "select bytes from dataset where tenant_id = $1 and dataset_id = $2 and version = $3",
        )
        .bind(self.tenant)
        .bind(&dataset.id)
        .bind(dataset.version)
        .fetch_optional(&mut *self.tx)
        .await?
        .flatten()
        .ok_or(StoreError::NotFound("dataset"))
    }

    /// Holds a dataset against other imports until the transaction ends, and returns the number of
    /// its next version.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ another import of it runs.
    pub async fn next_version(&mut self, id: &str) -> Result<i32, StoreError> {
        let free: bool =
            sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtextextended($1, 7310978))")
                .bind(format!("{}/{id}", self.tenant))
                .fetch_one(&mut *self.tx)
                .await?;
        if !free {
            return Err(StoreError::Conflict(format!("`{id}` is being imported; try again")));
        }
        Ok(sqlx::query_scalar(
            "select coalesce(max(version), 0) + 1 from dataset where tenant_id = $1 and dataset_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_one(&mut *self.tx)
        .await?)
    }

    /// Returns the version that the same file under the same mapping made before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn same_version(
        &mut self,
        id: &str,
        sha256: &str,
        mapping_sha256: &str,
    ) -> Result<Option<i32>, StoreError> {
        Ok(sqlx::query_scalar(
            "select version from dataset where tenant_id = $1 and dataset_id = $2 and sha256 = $3
               and mapping_sha256 = $4",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(sha256)
        .bind(mapping_sha256)
        .fetch_optional(&mut *self.tx)
        .await?)
    }

    /// Stores a chunk of a version that [`Self::add_version`] adds later in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_chunk(
        &mut self,
        id: &str,
        version: i32,
        at: i32,
        chunk: &Chunk,
    ) -> Result<(), StoreError> {
        let (site_min, site_max) = chunk.span.sites.as_ref().map(|(a, b)| (a, b)).unzip();
        let (time_min, time_max) = chunk.span.times.unzip();
        sqlx::query(
            "insert into dataset_chunk (tenant_id, dataset_id, version, chunk, row_count, site_min,
                                        site_max, time_min, time_max, body)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(version)
        .bind(at)
        .bind(i32::try_from(chunk.rows).unwrap_or(i32::MAX))
        .bind(site_min)
        .bind(site_max)
        .bind(time_min)
        .bind(time_max)
        .bind(&chunk.body)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Stores refused lines, numbered from `from`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_rejects(
        &mut self,
        id: &str,
        version: i32,
        from: i32,
        rejects: &[Reject],
    ) -> Result<(), StoreError> {
        let texts = |field: fn(&Reject) -> &String| rejects.iter().map(field).cloned().collect();
        let (columns, values, reasons, fixes): (
            Vec<String>,
            Vec<String>,
            Vec<String>,
            Vec<String>,
        ) = (
            texts(|reject| &reject.column),
            texts(|reject| &reject.value),
            texts(|reject| &reject.reason),
            texts(|reject| &reject.fix),
        );
        let lines: Vec<i64> =
            rejects.iter().map(|reject| i64::try_from(reject.line).unwrap_or(i64::MAX)).collect();
        sqlx::query(
            "insert into dataset_reject (tenant_id, dataset_id, version, ordinal, line, column_name,
                                         value, reason, fix)
             select $1, $2, $3, $4 + r.at::integer - 1, r.line, r.column_name, r.value, r.reason, r.fix
             from unnest($5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[])
                  with ordinality as r (line, column_name, value, reason, fix, at)",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(version)
        .bind(from)
        .bind(lines)
        .bind(columns)
        .bind(values)
        .bind(reasons)
        .bind(fixes)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Stores a version and makes it the current one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_version(&mut self, new: &NewVersion<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "insert into dataset (tenant_id, dataset_id, version, media_type, sha256, mapping_sha256,
                                  file_name, size, mapping, report, created_by)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(self.tenant)
        .bind(new.id)
        .bind(new.version)
        .bind(new.mapping.format.map_or("file", agents::dataset::Format::name))
        .bind(new.sha256)
        .bind(new.mapping_sha256)
        .bind(new.file_name)
        .bind(i64::try_from(new.size).unwrap_or(i64::MAX))
        .bind(value("mapping", new.mapping)?)
        .bind(value("report", new.report)?)
        .bind(new.by)
        .execute(&mut *self.tx)
        .await?;
        self.set_current(new.id, new.version).await
    }

    /// Makes a version the current one, also of a dataset that was deleted.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ there is no such version.
    pub async fn set_current(&mut self, id: &str, version: i32) -> Result<(), StoreError> {
        let done = sqlx::query(
            "insert into dataset_head (tenant_id, dataset_id, version)
             select tenant_id, dataset_id, version from dataset
             where tenant_id = $1 and dataset_id = $2 and version = $3
             on conflict (tenant_id, dataset_id)
             do update set version = excluded.version, deleted_at = null, updated_at = now()",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(version)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("version of this dataset"));
        }
        Ok(())
    }

    /// Lists the current version of each dataset, by name; those deleted on request.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn datasets(&mut self, deleted: bool) -> Result<Vec<Dataset>, StoreError> {
        let rows = sqlx::query(versions!(
            "d.version = h.version and (h.deleted_at is not null) = $2 order by d.dataset_id"
        ))
        .bind(self.tenant)
        .bind(deleted)
        .fetch_all(&mut *self.tx)
        .await?;
        rows.iter().map(dataset).collect()
    }

    /// Returns a version of a dataset, the current one when none is named.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent, deleted or another tenant's.
    pub async fn dataset(&mut self, id: &str, version: Option<i32>) -> Result<Dataset, StoreError> {
        let row = sqlx::query(versions!(
            "d.dataset_id = $2 and d.version = coalesce($3, h.version) and h.deleted_at is null"
        ))
        .bind(self.tenant)
        .bind(id)
        .bind(version)
        .fetch_optional(&mut *self.tx)
        .await?;
        dataset(&row.ok_or(StoreError::NotFound("dataset"))?)
    }

    /// Lists the versions of a dataset, newest first, also of a deleted one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn dataset_versions(&mut self, id: &str) -> Result<Vec<Dataset>, StoreError> {
        let rows = sqlx::query(versions!("d.dataset_id = $2 order by d.version desc"))
            .bind(self.tenant)
            .bind(id)
            .fetch_all(&mut *self.tx)
            .await?;
        if rows.is_empty() {
            return Err(StoreError::NotFound("dataset"));
        }
        rows.iter().map(dataset).collect()
    }

    /// Returns the chunks that may hold wanted rows, each with its number.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn chunks(
        &mut self,
        id: &str,
        version: i32,
        wanted: &Wanted,
    ) -> Result<Vec<(i32, Vec<u8>)>, StoreError> {
        Ok(sqlx::query_as(
            "select chunk, body from dataset_chunk
             where tenant_id = $1 and dataset_id = $2 and version = $3 and chunk >= $4
               and ($5::text is null or site_min is null or $5 between site_min and site_max)
               and ($6::bigint is null or time_max is null or time_max >= $6)
               and ($7::bigint is null or time_min is null or time_min < $7)
             order by chunk limit $8",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(version)
        .bind(wanted.from)
        .bind(&wanted.site)
        .bind(wanted.start)
        .bind(wanted.end)
        .bind(wanted.limit)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Lists refused lines, in order of the file, from after `after`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rejects(
        &mut self,
        id: &str,
        version: i32,
        after: i32,
        limit: i64,
    ) -> Result<Vec<(i32, Reject)>, StoreError> {
        let rows: Vec<(i32, i64, String, String, String, String)> = sqlx::query_as(
            "select ordinal, line, column_name, value, reason, fix from dataset_reject
             where tenant_id = $1 and dataset_id = $2 and version = $3 and ordinal > $4
             order by ordinal limit $5",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(version)
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *self.tx)
        .await?;
        let reject = |(ordinal, line, column, value, reason, fix): (_, i64, _, _, _, _)| {
            (ordinal, Reject { line: line.unsigned_abs(), column, value, reason, fix })
        };
        Ok(rows.into_iter().map(reject).collect())
    }

    /// Deletes a dataset; [`Self::set_current`] brings it back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent, deleted already or another tenant's.
    pub async fn delete_dataset(&mut self, id: &str) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update dataset_head set deleted_at = now(), updated_at = now()
             where tenant_id = $1 and dataset_id = $2 and deleted_at is null",
        )
        .bind(self.tenant)
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("dataset")) } else { Ok(()) }
    }

    /// Removes a dataset with all its versions, rows and files that no other dataset uses. Nothing
    /// brings it back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's; [`StoreError::Conflict`] ⇐ an import
    /// of it runs.
    pub async fn purge_dataset(&mut self, id: &str) -> Result<(), StoreError> {
        if self.next_version(id).await? == 1 {
            return Err(StoreError::NotFound("dataset"));
        }
        for statement in [
            "delete from dataset_head where tenant_id = $1 and dataset_id = $2",
            "delete from dataset_import where tenant_id = $1 and dataset_id = $2",
            "delete from dataset_file f where f.tenant_id = $1
               and exists (select from dataset d where d.tenant_id = $1 and d.dataset_id = $2
                             and d.sha256 = f.sha256)
               and not exists (select from dataset d where d.tenant_id = $1 and d.dataset_id <> $2
                                 and d.sha256 = f.sha256)",
            "delete from dataset where tenant_id = $1 and dataset_id = $2",
        ] {
            sqlx::query(statement).bind(self.tenant).bind(id).execute(&mut *self.tx).await?;
        }
        Ok(())
    }

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
