//! What a backup needs of the database: one snapshot that `pg_dump` and the counts share, and the
//! check that a restored database holds the same.
//!
//! Works as the owner, who must see every row: under row-level security an owner that cannot bypass it
//! is refused by Postgres rather than given a part.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{Address, Store, StoreError, options};

/// A transaction that keeps one state of the database in sight.
pub struct Snapshot {
    connection: PgConnection,
    /// Name under which `pg_dump --snapshot` sees the same state.
    pub id: String,
}

impl Snapshot {
    /// Takes a snapshot.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take(address: &Address) -> Result<Self, StoreError> {
        let mut connection = PgConnection::connect_with(&options(&address.owner)?).await?;
        sqlx::raw_sql(
            "set row_security = off; set idle_in_transaction_session_timeout = 0;
             begin isolation level repeatable read read only",
        )
        .execute(&mut connection)
        .await?;
        let id =
            sqlx::query_scalar("select pg_export_snapshot()").fetch_one(&mut connection).await?;
        Ok(Self { connection, id })
    }

    /// Counts the rows of every table.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rows(&mut self) -> Result<BTreeMap<String, i64>, StoreError> {
        let tables: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_class
             where relnamespace = 'tessera'::regnamespace and relkind in ('r', 'p') order by 1",
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut rows = BTreeMap::new();
        for table in tables {
            // The name comes from the catalogue and is quoted.
            let count = format!("select count(*) from tessera.\"{}\"", table.replace('"', "\"\""));
            let count =
                sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut self.connection).await?;
            rows.insert(table, count);
        }
        Ok(rows)
    }
}

impl Store {
    /// Tells whether the database holds a schema of this program.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn has_schema(address: &Address) -> Result<bool, StoreError> {
        let mut owner = PgConnection::connect_with(&options(&address.owner)?).await?;
        let found = sqlx::query_scalar(
            "select exists (select from pg_namespace where nspname = 'tessera')",
        )
        .fetch_one(&mut owner)
        .await?;
        owner.close().await?;
        Ok(found)
    }
}
