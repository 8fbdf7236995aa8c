//! What tools may reach, implemented on the tenant store.
//!
//! Tools run on blocking threads, so these ports wait for the store with the runtime's handle.
//! **Invariant:** a [`Host`] is bound to one tenant; nothing it is given can name another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agents::port::{
    DatasetSource, EffectOutcome, EffectPort, EffectRequest, HttpAnswer, HttpCall, NoSystems,
    Query, Rows, SystemPort,
};
use agents::tool::{Table, ToolError, Window};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::connector::{Connector, Made, Wanted};
use crate::dataset::{dataset_fault, open_table, original};
use crate::fault;
use crate::packs::systems::Systems;
use crate::store::{
    Lease, Model, ModelState, NewEffect, RunId, Store, StoreError, TenantId, TenantTx,
};

/// Age from which an effect that another run began and never ended counts as unknown, seconds: no
/// answer is waited for that long.
const ABANDONED_S: f64 = 300.0;

/// The datasets and the effect ledger of one tenant. Use it on blocking threads only.
#[derive(Debug, Clone)]
pub struct Host {
    store: Store,
    tenant: TenantId,
    handle: Handle,
    lease: Option<Lease>,
    cancel: Arc<AtomicBool>,
    connector: Option<Arc<Connector>>,
    systems: Option<Arc<Systems>>,
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
        Self {
            store,
            tenant,
            handle,
            lease: None,
            cancel: Arc::default(),
            connector: None,
            systems: None,
        }
    }

    /// Binds the ports to a leased run as well: an effect is begun only while the lease holds and
    /// `cancel` is not set.
    #[must_use]
    pub fn for_run(self, lease: Lease, cancel: Arc<AtomicBool>) -> Self {
        Self { lease: Some(lease), cancel, ..self }
    }

    /// Makes effects by a connector; without one the ledger is where they take place.
    #[must_use]
    pub fn with_connector(self, connector: Option<Arc<Connector>>) -> Self {
        Self { connector, ..self }
    }

    /// Reaches the systems that a pack declares; none without.
    #[must_use]
    pub fn with_systems(&self, systems: Option<Systems>) -> Self {
        Self { systems: systems.map(Arc::new), ..self.clone() }
    }

    /// Returns the sign that the run was cancelled or lost. What takes long looks at it.
    pub fn cancel(&self) -> &Arc<AtomicBool> {
        &self.cancel
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

    /// Begins an effect in the ledger. `Err` with the outcome that is known already, if one is.
    async fn begin_effect(
        &self,
        tx: &mut TenantTx,
        request: &EffectRequest,
        reference: &str,
    ) -> Result<Begun, ToolError> {
        if let Some(lease) = &self.lease {
            tx.hold(lease).await.map_err(unavailable)?;
        }
        let run = self.lease.map(|lease| lease.run);
        let new = NewEffect {
            key: &request.idempotency_key,
            tool: &request.tool,
            arguments: &request.arguments,
            arguments_sha256: &request.arguments_sha256,
            reference,
            run,
        };
        let Some(earlier) = tx.start_effect(new).await.map_err(unavailable)? else {
            return Ok(Begun::New);
        };
        if earlier.tool != request.tool || earlier.arguments_sha256 != request.arguments_sha256 {
            return Err(ToolError::invalid(
                "/idempotency_key",
                "this key was used with another tool or other arguments; use a new key",
            ));
        }
        if earlier.state == "done" {
            return Ok(Begun::Done(earlier.reference));
        }
        if earlier.state == "started" && earlier.run != run && earlier.age_s < ABANDONED_S {
            let message = "another run makes the same effect at this moment; it is waited for";
            return Err(ToolError::Unavailable { message: message.to_owned() });
        }
        Ok(Begun::InDoubt(earlier.reference))
    }

    /// Tells whether what makes the effect makes it once for each key.
    fn is_keyed(&self, request: &EffectRequest) -> bool {
        match (&request.call, &self.systems, &self.connector) {
            (Some(call), Some(systems), _) => systems.is_keyed(&call.system),
            (None, _, Some(connector)) => connector.is_keyed(),
            _ => false,
        }
    }

    /// Makes the effect by the request that the pack declares, or by the connector.
    async fn make(&self, request: &EffectRequest, reference: &str) -> Made {
        match (&request.call, &self.systems, &self.connector) {
            (Some(call), Some(systems), _) => systems.make(&self.store, self.tenant, call).await,
            (None, _, Some(connector)) => {
                let wanted = Wanted {
                    tenant: self.tenant,
                    tool: &request.tool,
                    arguments: &request.arguments,
                    key: &request.idempotency_key,
                    reference,
                };
                connector.make(wanted).await
            }
            _ => Made::Refused("the system of this tool cannot be reached from here".to_owned()),
        }
    }

    async fn record(&self, request: &EffectRequest) -> Result<EffectOutcome, ToolError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ToolError::Unavailable { message: "the run was cancelled".to_owned() });
        }
        let key = request.idempotency_key.as_str();
        let fresh = format!("EF-{}", Uuid::now_v7().simple());
        let mut tx = self.store.begin(self.tenant).await.map_err(unavailable)?;
        let (reference, doubtful) = match self.begin_effect(&mut tx, request, &fresh).await? {
            Begun::Done(reference) => return Ok(EffectOutcome { reference, repeated: true }),
            Begun::New => (fresh, false),
            Begun::InDoubt(reference) => (reference, true),
        };
        let keyed = self.is_keyed(request);
        if doubtful && !keyed {
            tx.finish_effect(key, "unknown", &reference).await.map_err(unavailable)?;
            tx.commit().await.map_err(unavailable)?;
            return Err(in_doubt(key, "the server stopped while it was made", false));
        }
        if request.call.is_none() && self.connector.is_none() {
            // The ledger itself is where the effect takes place, so one transaction holds both: it
            // is never `started` without being `done`.
            tx.finish_effect(key, "done", &reference).await.map_err(unavailable)?;
            tx.commit().await.map_err(unavailable)?;
            return Ok(EffectOutcome { reference, repeated: false });
        }
        tx.commit().await.map_err(unavailable)?;
        fault::point("effect.started");
        let made = self.make(request, &reference).await;
        fault::point("effect.made");
        let (state, outcome) = match made {
            Made::Done(given) => ("done", Ok(given.unwrap_or(reference.clone()))),
            Made::Refused(why) => ("void", Err(ToolError::not_permitted(why))),
            // An earlier call of the same key may have been heard.
            Made::NotDone(why) if doubtful => ("unknown", Err(in_doubt(key, &why, true))),
            Made::NotDone(message) => ("void", Err(ToolError::Unavailable { message })),
            Made::Unknown(why) => ("unknown", Err(in_doubt(key, &why, keyed))),
        };
        let known = outcome.as_ref().unwrap_or(&reference);
        let mut tx = self.store.begin(self.tenant).await.map_err(unavailable)?;
        tx.finish_effect(key, state, known).await.map_err(unavailable)?;
        tx.commit().await.map_err(unavailable)?;
        fault::point("effect.noted");
        outcome.map(|reference| EffectOutcome { reference, repeated: false })
    }
}

/// How an effect stands when it is to be made.
enum Begun {
    /// Its line was just written.
    New,
    /// It happened before, under this reference.
    Done(String),
    /// It was begun before and may have happened.
    InDoubt(String),
}

fn in_doubt(key: &str, why: &str, repeatable: bool) -> ToolError {
    ToolError::OutcomeUnknown {
        idempotency_key: key.to_owned(),
        repeatable,
        message: format!("{why}; look there for `{key}`, then say whether it happened"),
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

impl SystemPort for Host {
    fn http(&self, call: &HttpCall) -> Result<HttpAnswer, ToolError> {
        match &self.systems {
            Some(systems) => self.handle.block_on(systems.ask(&self.store, self.tenant, call)),
            None => NoSystems.http(call),
        }
    }

    fn tables(&self, tables: &[(String, Table)], query: &Query) -> Result<Rows, ToolError> {
        agents::pack::query_tables(tables, query)
    }
}
