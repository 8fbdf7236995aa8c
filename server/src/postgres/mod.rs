//! The private Postgres cluster: found, made, started, watched and stopped with the server.
//!
//! The cluster lives in the data folder, listens on a Unix socket only, and lets in by peer
//! authentication just the users that this process may run as; there is no password and no port.
//! A cluster that already runs, because an earlier server was killed, is attached to.

mod binaries;
mod folder;
mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use thiserror::Error;

use crate::store::Address;

pub use folder::{InstanceLock, checked_folder};

/// Longest wait for a cluster to answer. Recovery after a crash took 0.55 s where measured.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Wait between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why the private cluster cannot serve.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// No usable binaries on this machine.
    #[error(
        "no Postgres 15 or later on this machine; hint: {hint}, or set TESSERA_PG_BIN to its bin folder, or DATABASE_URL to a running server"
    )]
    NoBinaries {
        /// How to install them here.
        hint: String,
    },
    /// The data folder cannot be used.
    #[error("the data folder {path} cannot be used: {reason}")]
    Folder {
        /// The folder, or the parent that blocks.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Another server works on the same folder.
    #[error(
        "another tessera (process {pid}) uses {path}; hint: stop it, or pass another --data folder"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Process that holds it, as far as known.
        pid: String,
    },
    /// Root has no user to run Postgres as.
    #[error(
        "Postgres refuses to run as root and there is no `postgres` user; hint: run `useradd --system postgres`, or run tessera as an ordinary user"
    )]
    NoUser,
    /// A Postgres program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// The end of what it said.
        output: String,
    },
    /// The cluster does not answer.
    #[error("Postgres did not answer in {} s; its log is {log}", READY_WITHIN.as_secs())]
    NotReady {
        /// Its log.
        log: PathBuf,
    },
    /// The system refused something else.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ClusterError {
    let what = what.into();
    move |source| ClusterError::Io { what, source }
}

/// Returns the path of a client program of Postgres, such as `pg_dump`.
///
/// # Errors
/// [`ClusterError::NoBinaries`] ⇐ none on this machine.
pub fn program(name: &str) -> Result<PathBuf, ClusterError> {
    Ok(binaries::find()?.join(name))
}

/// A running private cluster. [`Cluster::stop`] ends it; dropping leaves it to the next start.
#[derive(Debug)]
pub struct Cluster {
    child: Option<std::process::Child>,
    data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

impl Cluster {
    /// Makes the cluster below `root` where absent and returns once it answers.
    ///
    /// # Errors
    /// [`ClusterError`], each with what to do.
    pub async fn start(root: &Path) -> Result<Self, ClusterError> {
        let user = process::User::choose()?;
        let data = root.join("postgres");
        let socket = folder::socket_folder(root, &user)?;
        let log = root.join("postgres.log");
        let mut cluster = Self { child: None, data, socket, log };
        cluster.launch(user).await?;
        Ok(cluster)
    }

    /// Starts the cluster again if its server has died; `true` when it had.
    ///
    /// # Errors
    /// [`ClusterError`] when it cannot be started now; it may be tried again.
    pub async fn revive(&mut self) -> Result<bool, ClusterError> {
        let died = match self.child.as_mut() {
            Some(child) => child.try_wait().map_err(io("waiting for postgres"))?.is_some(),
            None => !folder::is_held(&self.data),
        };
        if died {
            self.child = None;
            self.launch(process::User::choose()?).await?;
        }
        Ok(died)
    }

    async fn launch(&mut self, user: process::User) -> Result<(), ClusterError> {
        let cluster = self;
        if cluster.data.join("PG_VERSION").exists() && cluster.answers().await {
            return Ok(());
        }
        let bin = binaries::find()?;
        let log = cluster.log.clone();
        let (data, socket) = (cluster.data.clone(), cluster.socket.clone());
        if !data.join("PG_VERSION").exists() {
            let bin = bin.clone();
            let user = user.clone();
            tokio::task::spawn_blocking(move || process::init(&bin, &data, &user))
                .await
                .map_err(|error| io("initdb")(std::io::Error::other(error)))??;
        }
        process::write_access(&cluster.data, &user)?;
        let deadline = tokio::time::Instant::now() + READY_WITHIN;
        cluster.child = Some(process::spawn(&bin, &cluster.data, &socket, &log, &user)?);
        while tokio::time::Instant::now() < deadline {
            if cluster.answers().await {
                return Ok(());
            }
            if let Some(child) = cluster.child.as_mut()
                && child.try_wait().map_err(io("waiting for postgres"))?.is_some()
            {
                // A dead postmaster that nobody has reaped yet still holds the lock file.
                if !folder::held_by_zombie(&cluster.data) && !cluster.answers().await {
                    let output = process::tail(&log);
                    return Err(ClusterError::Program { program: "postgres", output });
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
                cluster.child = Some(process::spawn(&bin, &cluster.data, &socket, &log, &user)?);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(ClusterError::NotReady { log })
    }

    fn url(&self, user: &str, database: &str) -> String {
        let socket: String = self
            .socket
            .to_string_lossy()
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect();
        format!("postgres://{user}@{socket}/{database}")
    }

    async fn answers(&self) -> bool {
        if !self.socket.join(".s.PGSQL.5432").exists() {
            return false;
        }
        match PgConnection::connect(&self.url("tessera_super", "postgres")).await {
            Ok(connection) => connection.close().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Creates the database where absent and returns its addresses.
    ///
    /// # Errors
    /// [`ClusterError::Program`] with the server's answer.
    pub async fn address(&self) -> Result<Address, ClusterError> {
        let failed = |error: sqlx::Error| ClusterError::Program {
            program: "create database",
            output: error.to_string(),
        };
        let mut connection =
            PgConnection::connect(&self.url("tessera_super", "postgres")).await.map_err(failed)?;
        let found: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = 'tessera')")
                .fetch_one(&mut connection)
                .await
                .map_err(failed)?;
        if !found {
            sqlx::raw_sql("create database tessera")
                .execute(&mut connection)
                .await
                .map_err(failed)?;
        }
        connection.close().await.map_err(failed)?;
        Ok(Address {
            owner: self.url("tessera_super", "tessera"),
            runtime: self.url("tessera_rt", "tessera"),
        })
    }

    /// Stops the cluster and waits until its files are at rest.
    ///
    /// # Errors
    /// [`ClusterError::Io`] when it cannot be waited for.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        let child = self.child.take();
        let data = self.data.clone();
        tokio::task::spawn_blocking(move || process::stop(child, &data))
            .await
            .map_err(|error| io("stopping postgres")(std::io::Error::other(error)))?
    }
}
