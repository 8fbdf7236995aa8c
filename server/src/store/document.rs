//! Uploaded documents, each version kept.

use jiff::Timestamp;
use time::OffsetDateTime;

use super::{StoreError, TenantTx, instant};

/// A document of the tenant's own knowledge.
#[derive(Debug, Clone)]
pub struct Document {
    /// Identifier.
    pub id: String,
    /// Version, from 1.
    pub version: i32,
    /// Title.
    pub title: String,
    /// Language: `en`, `zh-Hant` or `zh-Hans`.
    pub lang: String,
    /// Publication that it states as its source.
    pub source: String,
    /// Text, Markdown.
    pub body: String,
    /// When this version was uploaded.
    pub created_at: Timestamp,
}

impl TenantTx {
    /// Stores the next version of a document and returns its number.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ another upload of the same document ran at the same time.
    pub async fn put_document(
        &mut self,
        id: &str,
        title: &str,
        lang: &str,
        source: &str,
        body: &str,
    ) -> Result<i32, StoreError> {
        sqlx::query_scalar(
            "insert into document (tenant_id, document_id, version, title, lang, source, body)
             select $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5, $6
             from document where tenant_id = $1 and document_id = $2
             on conflict do nothing returning version",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(title)
        .bind(lang)
        .bind(source)
        .bind(body)
        .fetch_optional(&mut *self.tx)
        .await?
        .ok_or_else(|| StoreError::Conflict(format!("`{id}` is being uploaded; try again")))
    }

    /// Lists the newest version of each document, by identifier.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn documents(&mut self) -> Result<Vec<Document>, StoreError> {
        let rows: Vec<(String, i32, String, String, String, String, OffsetDateTime)> =
            sqlx::query_as(
                "select distinct on (document_id) document_id, version, title, lang, source, body,
                        created_at
                 from document where tenant_id = $1 order by document_id, version desc",
            )
            .bind(self.tenant)
            .fetch_all(&mut *self.tx)
            .await?;
        Ok(rows
            .into_iter()
            .map(|(id, version, title, lang, source, body, at)| Document {
                id,
                version,
                title,
                lang,
                source,
                body,
                created_at: instant(at),
            })
            .collect())
    }
}
