//! What tools may reach, implemented on the tenant store.
//!
//! Tools run on blocking threads, so these ports wait for the store with the runtime's handle.
//! **Invariant:** a [`Host`] is bound to one tenant; nothing it is given can name another.

use std::sync::Arc;

use agents::port::{DatasetSource, EffectOutcome, EffectPort, EffectRequest};
use agents::tool::{Table, ToolError, Window};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::dataset::{dataset_fault, open_table, original};
use crate::store::{Model, ModelState, RunId, Store, StoreError, TenantId};

/// The datasets and the effect ledger of one tenant. Use it on blocking threads only.
#[derive(Debug, Clone)]
pub struct Host {
    store: Store,
    tenant: TenantId,
    handle: Handle,
}

/// The planner that a run takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The program's own.
    Default,
    /// The joint venture's with this digest.
    Model(String),
    /// One of this version, which nobody knows any more.
    Gone(String),
}

impl Host {
    /// Binds the ports to a tenant.
    pub fn new(store: Store, tenant: TenantId, handle: Handle) -> Self {
        Self { store, tenant, handle }
    }

    /// Returns the planner that a run takes: the live one of this moment, or, where the run was begun
    /// before, the one with which it began. `default` is the version of the program's own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_planner(&self, run: RunId, default: &str) -> Result<Taken, StoreError> {
        self.handle.block_on(async {
            let mut tx = self.store.begin(self.tenant).await?;
            let live = tx.model_in(ModelState::Live).await?;
            let version = live.as_ref().map_or_else(|| default.to_owned(), Model::version);
            let taken = tx.take_planner(run, &version).await?;
            let known = match live.filter(|live| live.version() == taken) {
                Some(live) => Some(live),
                None if taken == default => None,
                None => tx.models().await?.into_iter().find(|known| known.version() == taken),
            };
            tx.commit().await?;
            Ok(match known {
                Some(model) => Taken::Model(model.digest),
                None if taken == default => Taken::Default,
                None => Taken::Gone(taken),
            })
        })
    }

    async fn record(&self, request: &EffectRequest) -> Result<EffectOutcome, ToolError> {
        let reference = format!("EF-{}", Uuid::now_v7().simple());
        let mut tx = self.store.begin(self.tenant).await.map_err(unavailable)?;
        let earlier = tx
            .start_effect(
                &request.idempotency_key,
                &request.tool,
                &request.arguments,
                &request.arguments_sha256,
                &reference,
            )
            .await
            .map_err(unavailable)?;
        if let Some(earlier) = earlier {
            let same = earlier.tool == request.tool
                && earlier.arguments_sha256 == request.arguments_sha256;
            return if same {
                Ok(EffectOutcome { reference: earlier.reference, repeated: true })
            } else {
                Err(ToolError::invalid(
                    "/idempotency_key",
                    "this key was used with another tool or other arguments; use a new key",
                ))
            };
        }
        // The ledger itself is where the effect takes place until a connector is configured, so one
        // transaction holds both: it is never `started` without being `done`.
        tx.finish_effect(&request.idempotency_key, true).await.map_err(unavailable)?;
        tx.commit().await.map_err(unavailable)?;
        Ok(EffectOutcome { reference, repeated: false })
    }
}

fn unavailable(error: StoreError) -> ToolError {
    tracing::error!(%error, "a tool could not reach the store");
    drop(error);
    ToolError::Unavailable { message: "the store did not answer; try again".to_owned() }
}

impl DatasetSource for Host {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        open_table(&self.store, self.tenant, id, window, &self.handle)
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        self.handle
            .block_on(original(&self.store, self.tenant, id))
            .map(Into::into)
            .map_err(|error| dataset_fault(id, error))
    }
}

impl EffectPort for Host {
    fn perform(&self, request: &EffectRequest) -> Result<EffectOutcome, ToolError> {
        self.handle.block_on(self.record(request))
    }
}
