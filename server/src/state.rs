//! What every handler shares.

use std::sync::Arc;

use tokio::sync::watch;

use crate::access::Access;
use crate::agent::Agents;
use crate::egress::Egress;
use crate::store::Store;
use crate::vault::Vault;

/// The store, the agents, what sign-in needs and the sign to stop. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The tenant store.
    pub store: Store,
    /// The agents of the shipped packs.
    pub agents: Arc<Agents>,
    /// The one way out.
    pub egress: Egress,
    /// Opens and seals the secrets at rest.
    pub vault: Arc<Vault>,
    /// Where the server is reached, and how passwords are hashed.
    pub access: Arc<Access>,
    /// Turns true when the server stops; what waits then ends, so that the stop does not wait for it.
    pub stopped: watch::Receiver<bool>,
}
