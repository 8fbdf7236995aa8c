//! Names become addresses here and nowhere else, in the moment of a connection.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::rules::{Rules, bare, judged};

/// Addresses of a name, later.
pub type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks names up.
pub trait Lookup: Debug + Send + Sync + 'static {
    /// Returns the addresses of a name.
    fn lookup(&self, host: String) -> Found;
}

/// The system's resolver.
#[derive(Debug)]
pub struct System;

impl Lookup for System {
    fn lookup(&self, host: String) -> Found {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Gives a client only addresses that its rules allow. One that they do not allow refuses the name
/// as a whole: a name with a public and a private address is not an honest one.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) rules: Arc<Rules>,
    /// Whether this client serves hosts that an operator allows to be private.
    pub(super) private: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let host = bare(name.as_str());
        let private = self.private && self.rules.allows_private(&host);
        let found = self.lookup.lookup(host.clone());
        Box::pin(async move {
            let addresses = found.await?;
            for address in &addresses {
                judged(&host, *address, private)?;
            }
            let sockets = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}
