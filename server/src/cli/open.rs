//! Opens the store of a data folder: the private cluster, or the database that is named.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::connector::Connector;
use crate::postgres::{Cluster, InstanceLock, checked_folder};
use crate::store::{Address, Store};

use super::CliError;

/// Returns the connector that makes the effects of acts, where one is configured.
pub(super) fn connector(config: &Config) -> Result<Option<Arc<Connector>>, CliError> {
    let url = config.connector.as_deref();
    let made = url.map(|url| Connector::new(url, config.connector_keyed)).transpose();
    Ok(made.map_err(CliError::Input)?.map(Arc::new))
}

/// An open store and what has to be stopped after it.
pub(super) struct Opened {
    pub(super) store: Store,
    address: Address,
    cluster: Option<Cluster>,
    _lock: Option<InstanceLock>,
    /// True for a database of its own, whose other users are not known.
    external: bool,
}

/// Opens the store. A command that runs beside a server (`alone` false) shares its cluster and
/// leaves it running.
pub(super) async fn open(config: &Config, alone: bool) -> Result<Opened, CliError> {
    if let Some(url) = &config.database_url {
        let address = Address { owner: url.clone(), runtime: url.clone() };
        Store::migrate(&address).await?;
        return Ok(Opened {
            store: Store::connect(&address).await?,
            address,
            cluster: None,
            _lock: None,
            external: true,
        });
    }
    let root = checked_folder(&config.data_folder())?;
    let lock = match InstanceLock::take(&root) {
        Ok(lock) => Some(lock),
        Err(error) if alone => return Err(error.into()),
        Err(_) => None,
    };
    let cluster = Cluster::start(&root).await?;
    let address = cluster.address().await?;
    Store::migrate(&address).await?;
    let store = Store::connect(&address).await?;
    // Only who holds the folder's lock may stop the cluster.
    let cluster = lock.is_some().then_some(cluster);
    Ok(Opened { store, address, cluster, _lock: lock, external: false })
}

/// A database that may be empty, and what has to be stopped after it.
pub(super) struct Empty {
    address: Address,
    cluster: Option<Cluster>,
    _lock: Option<InstanceLock>,
}

/// Opens a database as it is, without bringing its schema up to date, and keeps servers out.
pub(super) async fn open_empty(config: &Config) -> Result<Empty, CliError> {
    if let Some(url) = &config.database_url {
        let address = Address { owner: url.clone(), runtime: url.clone() };
        return Ok(Empty { address, cluster: None, _lock: None });
    }
    let root = checked_folder(&config.data_folder())?;
    let lock = InstanceLock::take(&root)?;
    let cluster = Cluster::start(&root).await?;
    let address = cluster.address().await?;
    Ok(Empty { address, cluster: Some(cluster), _lock: Some(lock) })
}

impl Empty {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) async fn close(self) -> Result<(), CliError> {
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }
}

impl Opened {
    /// Returns where the database is.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Starts the private cluster again whenever its server dies. Never ends.
    pub(super) async fn keep(&mut self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let Some(cluster) = self.cluster.as_mut() else { continue };
            match cluster.revive().await {
                Ok(false) => {}
                Ok(true) => tracing::warn!("Postgres had died and was started again"),
                Err(error) => tracing::error!(%error, "Postgres has died and does not start"),
            }
        }
    }

    /// Tells whether no server works on the same store, as far as this machine shows.
    pub(super) fn is_alone(&self) -> bool {
        self.cluster.is_some() || self._lock.is_some() || self.external
    }

    /// Closes the store and stops the cluster.
    pub(super) async fn close(self) -> Result<(), CliError> {
        self.store.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }
}
