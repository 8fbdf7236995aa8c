//! The tenant store: the only module with SQL, and [`TenantTx`] the only door to a tenant's rows.
//!
//! A transaction is bound to one tenant by `set local tessera.tenant_id`; row-level security is the
//! net, and every statement names the tenant as well. The server connects as `tessera_rt`, which
//! owns nothing and cannot bypass row-level security; [`Store::migrate`] alone uses the owner.
//! Keys, links and sessions are found before a tenant is known through `credential`, which maps
//! SHA-256 hashes of 256-bit secrets to tenants and holds nothing else.
//! Statements are checked at run time by the tests of this crate, not at compile time: building
//! then needs no database.

mod approval;
mod archive;
mod audit;
mod backup;
mod budget;
mod completion;
mod dataset;
mod document;
mod effect;
mod egress;
mod import;
mod isolation;
mod key;
mod member;
mod model;
mod model_job;
mod outcome;
mod outcome_money;
mod pack;
mod queue;
mod run;
mod schedule;
mod secret;
mod session;
mod shadow;
mod signing;
mod switch;
mod tenant;
mod thread;
mod throttle;
mod training;
mod vote;
mod webhook;
mod webhook_inbound;
mod webhook_log;
mod webhook_outbox;

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Postgres, Transaction};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::sync::broadcast;
use uuid::Uuid;

pub use approval::{Approval, Decided, NewApproval};
pub use audit::{AuditFilter, Noted};
pub use backup::Snapshot;
pub use budget::{Amounts, Budget, Charge, Exceeded, NewBudget, Period, Price, Resource};
pub use completion::NewCompletion;
pub use dataset::{Dataset, NewVersion, Wanted};
pub use document::Document;
pub use effect::{EffectRecord, NewEffect};
pub use egress::{EgressRefusal, EgressRule};
pub use import::Import;
pub use isolation::{POLICY, ROUTING, Seen, Wall};
pub use key::{ApiKey, FoundKey, NewKey};
pub use member::{Invited, Member, NewMember, Standing};
pub use model::{Model, ModelState, NewModel, Promotion};
pub use model_job::ModelJob;
pub use outcome::{Experiment, OutcomeEvent, Received};
pub use outcome_money::{DayEffort, Dispute, KeptContract, SetTerms, Statement};
pub use pack::{PackRelease, PackSetting};
pub use queue::{Lease, QueueDepth};
pub use run::{NewRun, Page, Run, RunEvent, RunFilter, Status, Usage};
pub use schedule::{Due, NewSchedule, Schedule, Start, StartOutcome};
pub use secret::{Secret, form_token, hash_of, same};
pub use session::{IDLE_MINUTES, OpenSession, Place, SESSION_HOURS, Session, SignedInBy};
pub use shadow::{ShadowCounts, ShadowPlan};
pub use signing::{PartyKey, SigningKey};
pub use switch::{Switch, SwitchScope};
pub use tenant::{Membership, NewTenant, Tenant};
pub use thread::{Busy, Thread};
pub use throttle::Wait;
pub use training::{Allowed, JudgedRun, Judgement, RunSource, Verdict};
pub use vote::{ApprovalRule, Delegation, Vote};
pub use webhook::{Endpoint, EndpointSecret, EndpointSettings};
pub use webhook_inbound::{Inbound, NewInbound, NewSource, Source};
pub use webhook_log::{Delivery, LoggedAttempt, Replay};
pub use webhook_outbox::{Attempt, EVENT_TYPES, Settled, Taken, WEBHOOKS, event_name};

/// Identifier of a tenant.
pub type TenantId = Uuid;
/// Identifier of a run.
pub type RunId = Uuid;

/// Oldest server whose row-level security has no known leak, as `server_version_num`.
///
/// # Source
/// CVE-2025-8713: fixed in 13.22, 14.19, 15.14, 16.10, 17.6.
const SAFE_VERSIONS: [(i32, i32); 3] = [(15, 150_014), (16, 160_010), (17, 170_006)];

/// Why the store refused.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database answered with an error or cannot be reached.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema cannot be brought up to date.
    #[error("the schema cannot be migrated: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The server is too old.
    #[error(
        "Postgres {found} leaks statistics past row-level security (CVE-2025-8713); hint: use 15.14, 16.10, 17.6 or later"
    )]
    Version {
        /// `server_version_num`.
        found: i32,
    },
    /// The runtime role could read other tenants' rows.
    #[error(
        "the role {role} can bypass row-level security; hint: `alter role {role} nosuperuser nobypassrls`"
    )]
    Role {
        /// Name of the role.
        role: String,
    },
    /// The row does not exist for this tenant.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The same key was used for something else, or the state does not allow the change.
    #[error("{0}")]
    Conflict(String),
    /// The thread has an open run, and the new one is not to wait for it.
    #[error(
        "the thread `{thread}` has an open run ({run}); wait for it, cancel it, or send `\"busy\": \"queue\"`"
    )]
    Busy {
        /// Name of the thread.
        thread: String,
        /// The open run.
        run: RunId,
    },
    /// A stored value does not read as what it should be.
    #[error("a stored {what} is damaged: {message}")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl StoreError {
    /// Tells whether the same may succeed later without anybody doing anything: the database is away
    /// for a while, or another writer was in the way.
    ///
    /// # Source
    /// PostgreSQL, Appendix A: classes 08, 40, 53, 55 and 57 of SQLSTATE.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
                ["08", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class))
            }),
            Self::Database(error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::WorkerCrashed
                    | sqlx::Error::Tls(_)
            ),
            _ => false,
        }
    }
}

/// Where the database is: one address for the owner and one for the running server.
#[derive(Debug, Clone)]
pub struct Address {
    /// Connects as a role that may create roles and schemas; used for migrations only.
    pub owner: String,
    /// Connects for everything else.
    pub runtime: String,
}

/// A wake-up: something about this run changed. Carries no data; readers look it up themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// Tenant of the run.
    pub tenant: TenantId,
    /// The run; [`WEBHOOKS`] for what is about none.
    pub run: RunId,
}

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    wakes: broadcast::Sender<Wake>,
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    Ok(PgConnectOptions::from_str(url)?.application_name("tessera").options([
        ("search_path", "tessera"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "60s"),
    ]))
}

impl Store {
    /// Creates the roles and the schema where absent and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Version`] ⇐ a server with a known leak; [`StoreError::Migration`].
    pub async fn migrate(address: &Address) -> Result<(), StoreError> {
        Self::make_roles(address).await?;
        let mut owner = PgConnection::connect_with(&options(&address.owner)?).await?;
        sqlx::raw_sql(
            "do $$ begin
                perform pg_advisory_xact_lock(7310977);
                if not exists (select from pg_namespace where nspname = 'tessera') then
                    execute format('grant create on database %I to tessera_owner', current_database());
                    create schema tessera authorization tessera_owner;
                end if;
                grant usage on schema tessera to tessera_rt;
                execute format('revoke temporary on database %I from public', current_database());
            end $$",
        )
        .execute(&mut owner)
        .await?;
        sqlx::raw_sql("set role tessera_owner").execute(&mut owner).await?;
        let mut steps = sqlx::migrate!("../migrations");
        // A program of the version before starts beside a newer one and reads its schema, which only
        // adds to the one it knows.
        steps.set_ignore_missing(true);
        steps.run(&mut owner).await?;
        owner.close().await?;
        Ok(())
    }

    /// Creates the roles where absent.
    ///
    /// # Errors
    /// [`StoreError::Version`] ⇐ a server with a known leak; [`StoreError::Database`].
    pub async fn make_roles(address: &Address) -> Result<(), StoreError> {
        let mut owner = PgConnection::connect_with(&options(&address.owner)?).await?;
        check_version(&mut owner).await?;
        sqlx::raw_sql(
            "do $$ begin
                perform pg_advisory_xact_lock(7310977);
                if not exists (select from pg_roles where rolname = 'tessera_owner') then
                    create role tessera_owner nologin;
                end if;
                if not exists (select from pg_roles where rolname = 'tessera_rt') then
                    create role tessera_rt login nosuperuser nobypassrls nocreatedb nocreaterole;
                end if;
                execute format('grant tessera_owner, tessera_rt to %I', current_user);
            end $$",
        )
        .execute(&mut owner)
        .await?;
        owner.close().await?;
        Ok(())
    }

    /// Opens the pool of the running server; every connection acts as `tessera_rt`.
    ///
    /// # Errors
    /// [`StoreError::Role`] ⇐ the role could see other tenants; [`StoreError::Database`].
    pub async fn connect(address: &Address) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(3))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql("set role tessera_rt").execute(connection).await?;
                    Ok(())
                })
            })
            .connect_with(options(&address.runtime)?)
            .await?;
        let (role, bypass): (String, bool) = sqlx::query_as(
            "select rolname::text, rolsuper or rolbypassrls from pg_roles where rolname = current_user",
        )
        .fetch_one(&pool)
        .await?;
        if bypass {
            return Err(StoreError::Role { role });
        }
        Ok(Self { pool, wakes: broadcast::channel(1024).0 })
    }

    /// Opens a transaction in which only the rows of `tenant` exist.
    ///
    /// # Errors
    /// [`StoreError::Database`] when no connection is free in 3 s.
    pub async fn begin(&self, tenant: TenantId) -> Result<TenantTx, StoreError> {
        // The identifier is a typed UUID, so the text cannot hold anything but hex and dashes.
        let begin = format!("begin; set local tessera.tenant_id = '{tenant}'");
        let tx = self.pool.begin_with(AssertSqlSafe(begin)).await?;
        Ok(TenantTx { tx, tenant, wakes: self.wakes.clone(), wake: Vec::new() })
    }

    /// Tells whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Database`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Subscribes to wake-ups of this process. Another replica's changes are not among them, so a
    /// reader also polls, at least once a second.
    pub fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.wakes.subscribe()
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn check_version(connection: &mut PgConnection) -> Result<(), StoreError> {
    let found: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(connection)
        .await?;
    let major = found / 10_000;
    let safe = match SAFE_VERSIONS.iter().find(|(version, _)| *version == major) {
        Some((_, least)) => found >= *least,
        None => major > 17,
    };
    if safe { Ok(()) } else { Err(StoreError::Version { found }) }
}

/// A transaction of one tenant. Dropping it rolls back.
#[derive(Debug)]
pub struct TenantTx {
    tx: Transaction<'static, Postgres>,
    tenant: TenantId,
    wakes: broadcast::Sender<Wake>,
    wake: Vec<RunId>,
}

impl TenantTx {
    /// Returns the tenant that the transaction is bound to.
    pub fn tenant_id(&self) -> TenantId {
        self.tenant
    }

    /// Commits, then wakes the readers of the runs that changed.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing is then stored.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.tx.commit().await?;
        for run in self.wake {
            // No reader is not an error.
            drop(self.wakes.send(Wake { tenant: self.tenant, run }));
        }
        Ok(())
    }

    fn wake(&mut self, run: RunId) {
        if !self.wake.contains(&run) {
            self.wake.push(run);
        }
    }
}

/// Converts a stored time, which has microseconds and UTC.
fn instant(at: OffsetDateTime) -> Timestamp {
    i64::try_from(at.unix_timestamp_nanos() / 1_000)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}
