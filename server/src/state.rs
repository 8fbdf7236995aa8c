//! What every handler shares.

use std::sync::Arc;

use tokio::sync::watch;

use crate::agent::Agents;
use crate::store::Store;

/// The store, the agents and the sign to stop. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The tenant store.
    pub store: Store,
    /// The agents of the shipped packs.
    pub agents: Arc<Agents>,
    /// Turns true when the server stops; what waits then ends, so that the stop does not wait for it.
    pub stopped: watch::Receiver<bool>,
}
