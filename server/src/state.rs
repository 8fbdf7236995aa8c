//! What every handler shares.

use std::sync::Arc;

use crate::agent::Agents;
use crate::store::Store;

/// The store and the agents. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The tenant store.
    pub store: Store,
    /// The agents of the shipped packs.
    pub agents: Arc<Agents>,
}
