//! Requests of a joint venture: its rules are read, and each refusal is noted in its table.

use std::sync::Arc;

use super::{Answer, Egress, EgressError, Outgoing, Pattern, Refusal, Rules};
use crate::ops::metrics;
use crate::store::{EgressRule, Store, StoreError, TenantId};

/// Reads the rules of a joint venture. A stored pattern that does not read any more allows nothing.
fn rules_of(stored: &[EgressRule]) -> Arc<Rules> {
    let read = |kind: &str| {
        let of_kind = stored.iter().filter(|rule| rule.kind == kind);
        of_kind.map(|rule| rule.pattern.parse().unwrap_or_else(|_| Pattern::nothing())).collect()
    };
    Arc::new(Rules { only: read("only"), private: read("private"), plain: false })
}

impl Egress {
    /// Returns what a joint venture may reach.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rules(store: &Store, tenant: TenantId) -> Result<Arc<Rules>, StoreError> {
        Ok(rules_of(&store.begin(tenant).await?.egress_rules().await?))
    }

    /// Sends a request for a joint venture and notes a refusal under `purpose`.
    ///
    /// # Errors
    /// As [`Egress::send`]; the store's failures are [`EgressError::Broken`].
    pub async fn send_as(
        &self,
        store: &Store,
        tenant: TenantId,
        purpose: &'static str,
        outgoing: &Outgoing,
    ) -> Result<Answer, EgressError> {
        let failed = |error: StoreError| EgressError::Broken(error.to_string());
        let rules = Self::rules(store, tenant).await.map_err(failed)?;
        let sent = self.send(Some(tenant), &rules, outgoing).await;
        if let Err(EgressError::Refused(refusal)) = &sent {
            note(store, tenant, purpose, refusal).await.map_err(failed)?;
        }
        sent
    }
}

/// Notes a refusal.
///
/// # Errors
/// [`StoreError::Database`].
pub(crate) async fn note(
    store: &Store,
    tenant: TenantId,
    purpose: &str,
    refusal: &Refusal,
) -> Result<(), StoreError> {
    tracing::warn!(%tenant, purpose, code = refusal.code, host = refusal.host, "a request was refused");
    metrics::count(metrics::REFUSALS, &[refusal.code]);
    let mut tx = store.begin(tenant).await?;
    tx.note_egress_refusal(purpose, &refusal.host, refusal.code).await?;
    tx.commit().await
}
