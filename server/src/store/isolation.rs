//! What the self-test of the walls between joint ventures reads: the catalogue, every table under a scope
//! that is not its own, and connections that were used before.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, FromRow};

use super::{Store, StoreError, TenantId, TenantTx};

/// Tables that are read before a tenant is known: identifiers, hashes, counts and times, nothing else.
pub const ROUTING: [&str; 6] =
    ["credential", "directory", "run_queue", "schedule_due", "sign_in_throttle", "webhook_queue"];

/// The one policy, as the catalogue prints it.
pub const POLICY: &str = "(tenant_id = ( SELECT (NULLIF(current_setting('tessera.tenant_id'::text, true), ''::text))::uuid AS \"nullif\"))";

/// A table with tenant data and what the catalogue says of its walls.
#[derive(Debug, Clone, FromRow)]
pub struct Wall {
    /// Name.
    pub table: String,
    /// Row-level security is on, for the owner of the table too.
    pub forced: bool,
    /// Number of policies.
    pub policies: i64,
    /// Number of those that are the one policy, for every command and the runtime role alone.
    pub exact: i64,
    /// Keys that do not begin with the tenant.
    pub loose: Vec<String>,
}

impl Wall {
    /// Says what is wrong with the wall, if anything.
    pub fn fault(&self) -> Option<String> {
        if !self.forced {
            return Some("row-level security is not forced".to_owned());
        }
        if self.policies != 1 || self.exact != 1 {
            return Some(format!(
                "{} policies, {} of them the right one",
                self.policies, self.exact
            ));
        }
        (!self.loose.is_empty())
            .then(|| format!("{} do not begin with tenant_id", self.loose.join(", ")))
    }
}

/// Rows of a table under some scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromRow)]
pub struct Seen {
    /// All that are shown.
    pub all: i64,
    /// Those of the tenant that was asked for.
    pub own: i64,
}

/// Returns a table's name as it may stand in a statement. Names come from the catalogue.
fn quoted(table: &str) -> String {
    format!("\"{}\"", table.replace('"', "\"\""))
}

impl Store {
    /// Lists every table with tenant data, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn walls(&self) -> Result<Vec<Wall>, StoreError> {
        let routing: Vec<String> = ROUTING.iter().map(|&name| name.to_owned()).collect();
        Ok(sqlx::query_as(
            "select c.relname::text as table, c.relrowsecurity and c.relforcerowsecurity as forced,
                    (select count(*) from pg_policies p
                     where p.schemaname = 'tessera' and p.tablename = c.relname) as policies,
                    (select count(*) from pg_policies p
                     where p.schemaname = 'tessera' and p.tablename = c.relname and p.cmd = 'ALL'
                       and p.permissive = 'PERMISSIVE' and p.roles = '{tessera_rt}'
                       and p.qual = $1 and p.with_check = $1) as exact,
                    array(select k.conname::text from pg_constraint k
                          join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
                          where k.conrelid = c.oid and k.contype in ('p', 'u', 'f')
                            and a.attname <> 'tenant_id' order by 1) as loose
             from pg_class c
             where c.relnamespace = 'tessera'::regnamespace and c.relkind in ('r', 'p')
               and c.relname <> '_sqlx_migrations' and c.relname <> all($2) order by 1",
        )
        .bind(POLICY)
        .bind(routing)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Says what would let the server around the policies: a role that is too strong, or a view, sequence or
    /// function that reads as its owner.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ways_around(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "select 'the role ' || rolname || ' is superuser, bypasses row-level security or owns the tables'
             from pg_roles where rolname = current_user
               and (rolsuper or rolbypassrls or pg_has_role(oid, 'tessera_owner', 'member'))
             union all
             select 'the function ' || proname || ' runs as its owner' from pg_proc
             where prosecdef and pronamespace = 'tessera'::regnamespace
             union all
             select 'the view or sequence ' || relname || ' has no policy' from pg_class
             where relkind in ('m', 'v', 'S') and relnamespace = 'tessera'::regnamespace
             union all
             select 'the role may truncate ' || relname from pg_class
             where relkind in ('r', 'p') and relnamespace = 'tessera'::regnamespace
               and has_table_privilege(oid, 'truncate')",
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Counts the rows of a table that are shown where no tenant is set.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rows_without_tenant(&self, table: &str) -> Result<i64, StoreError> {
        let text = format!("select count(*) from {}", quoted(table));
        Ok(sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(&self.pool).await?)
    }

    /// Uses the connections of the pool for two tenants in turn, at once and after transactions that were
    /// dropped half-way; returns how many rounds there were and how many foreign rows were shown.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn reuse_connections(
        &self,
        one: TenantId,
        two: TenantId,
    ) -> Result<(usize, i64), StoreError> {
        const ROUNDS: usize = 48;
        let mut tasks = tokio::task::JoinSet::new();
        for round in 0..ROUNDS {
            let (store, tenant) = (self.clone(), if round % 2 == 0 { one } else { two });
            tasks.spawn(async move {
                let mut tx = store.begin(tenant).await?;
                // One statement for both, so that both meet the same prepared plan.
                let foreign: i64 =
                    sqlx::query_scalar("select count(*) from api_key where tenant_id <> $1")
                        .bind(tenant)
                        .fetch_one(&mut *tx.tx)
                        .await?;
                // Every third transaction is dropped half-way; its connection goes back all the same.
                if round % 3 == 0 {
                    drop(tx);
                } else {
                    tx.commit().await?;
                }
                let unset: i64 = sqlx::query_scalar("select count(*) from api_key")
                    .fetch_one(&store.pool)
                    .await?;
                Ok::<i64, StoreError>(foreign + unset)
            });
        }
        let mut shown = 0;
        while let Some(done) = tasks.join_next().await {
            shown += done.unwrap_or(Ok(1))?;
        }
        Ok((ROUNDS, shown))
    }
}

impl TenantTx {
    /// Counts the rows of a table that are shown in this scope, and those of a tenant among them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rows_seen(&mut self, table: &str, of: TenantId) -> Result<Seen, StoreError> {
        let text = format!(
            "select count(*) as all, count(*) filter (where tenant_id = $1) as own from {}",
            quoted(table)
        );
        Ok(sqlx::query_as(AssertSqlSafe(text)).bind(of).fetch_one(&mut *self.tx).await?)
    }

    /// Tries to write a row of another tenant: every column of one of this tenant's rows, under the other's
    /// name. Tells whether the database refused; a table without a row cannot be tried.
    ///
    /// # Errors
    /// [`StoreError::Database`] ⇐ the columns cannot be read.
    pub async fn refuses_to_write_for(
        &mut self,
        table: &str,
        other: TenantId,
    ) -> Result<bool, StoreError> {
        let text = format!("update {} set tenant_id = $2 where tenant_id = $1", quoted(table));
        sqlx::query("savepoint tried").execute(&mut *self.tx).await?;
        let tried = sqlx::query(AssertSqlSafe(text))
            .bind(self.tenant)
            .bind(other)
            .execute(&mut *self.tx)
            .await;
        sqlx::query("rollback to savepoint tried").execute(&mut *self.tx).await?;
        Ok(match tried {
            Ok(done) => done.rows_affected() == 0,
            Err(_) => true,
        })
    }

    /// Returns a digest of every table's rows of this tenant, by which a change shows. When a key or session
    /// was last used is left out.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn digests(
        &mut self,
        tables: &[String],
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let mut digests = BTreeMap::new();
        for table in tables {
            let text = format!(
                "select coalesce(md5(string_agg(md5(line), '' order by line)), '') from (
                    select (to_jsonb(t) - 'last_used_at' - 'seen_at')::text as line from {} t
                    where tenant_id = $1) lines",
                quoted(table)
            );
            let digest: String = sqlx::query_scalar(AssertSqlSafe(text))
                .bind(self.tenant)
                .fetch_one(&mut *self.tx)
                .await?;
            digests.insert(table.clone(), digest);
        }
        Ok(digests)
    }

    /// Returns identifiers of this tenant's rows by kind, which is the column: every column of UUIDs, and
    /// those of names in addresses.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn identifiers(&mut self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let routing: Vec<String> = ROUTING.iter().map(|&name| name.to_owned()).collect();
        let columns: Vec<(String, String)> = sqlx::query_as(
            "select table_name::text, column_name::text from information_schema.columns
             where table_schema = 'tessera' and table_name <> all($1) and column_name <> 'tenant_id'
               and table_name in (select tablename from pg_policies where schemaname = 'tessera')
               and (data_type = 'uuid'
                    or data_type = 'text' and (column_name like '%\\_id' or column_name in ('slug', 'login')))
             order by 1, 2",
        )
        .bind(routing)
        .fetch_all(&mut *self.tx)
        .await?;
        let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, column) in columns {
            let name = quoted(&column);
            let text = format!(
                "select distinct {name}::text from {} where tenant_id = $1 and {name} is not null
                 order by 1 desc limit 4",
                quoted(&table)
            );
            let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(text))
                .bind(self.tenant)
                .fetch_all(&mut *self.tx)
                .await?;
            let kind = kinds.entry(column).or_default();
            kind.extend(found);
            kind.sort();
            kind.dedup();
        }
        kinds.retain(|_, ids| !ids.is_empty());
        Ok(kinds)
    }
}
