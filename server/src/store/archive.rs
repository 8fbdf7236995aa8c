//! Everything that a joint venture has, read table by table, for its exit.

use futures_util::TryStreamExt as _;
use sqlx::AssertSqlSafe;

use super::{StoreError, TenantTx};

/// Tables that hold nothing but credentials and what was done with them.
const WITHOUT: [&str; 5] =
    ["session", "login_link", "link_key", "member_invite", "approval_link_use"];

/// Columns that hold secrets, or what could be compared with one.
const SECRETS: &str = "array['hash', 'password', 'key', 'secret']";

impl TenantTx {
    /// Lists the tables that an archive holds: all with tenant data, but those of credentials.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn archive_tables(&mut self) -> Result<Vec<String>, StoreError> {
        let all: Vec<String> = sqlx::query_scalar(
            "select tablename::text from pg_policies where schemaname = 'tessera' order by 1",
        )
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(all.into_iter().filter(|table| !WITHOUT.contains(&table.as_str())).collect())
    }

    /// Gives each row of a table as a line of JSON, without secrets, and returns their number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ no table of the list; [`StoreError::Damaged`] ⇐ the line was not taken.
    pub async fn archive_rows(
        &mut self,
        table: &str,
        mut take: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<u64, StoreError> {
        // The name comes from the catalogue; nothing else is put into the statement.
        if !self.archive_tables().await?.iter().any(|known| known == table) {
            return Err(StoreError::NotFound("table"));
        }
        let statement =
            format!("select (to_jsonb(t) - {SECRETS})::text from {table} t where tenant_id = $1");
        let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(statement)).bind(self.tenant);
        let mut rows = rows.fetch(&mut *self.tx);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            take(&row).map_err(|error| StoreError::Damaged {
                what: "archive",
                message: error.to_string(),
            })?;
            count += 1;
        }
        Ok(count)
    }
}
