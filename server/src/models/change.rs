//! Which planner plans: promotion, going back, and the shadow. Each is one transaction, and the
//! workers see it with the next run.

use std::sync::Arc;

use agents::pack::Pack;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Gated, ModelError, Models, blocking};
use crate::store::{Model, ModelState, Promotion, Store, StoreError, TenantId, TenantTx};

/// Returns the verdict on a planner, if there is one that reads.
pub fn verdict_of(model: &Model) -> Option<Gated> {
    serde_json::from_value(model.verdict.clone()?).ok()
}

/// Makes a candidate the planner of its joint venture, if the gate let it pass against the planner
/// that plans now.
///
/// # Errors
/// [`ModelError::GateNeeded`] ⇐ no verdict speaks about what is there now;
/// [`ModelError::GateFailed`]; [`ModelError::Gone`]; [`ModelError::Store`] ⇐ it is absent, or plans
/// already.
pub async fn promote(
    models: &Arc<Models>,
    store: &Store,
    tenant: TenantId,
    pack: &Pack,
    id: Uuid,
    by: &str,
) -> Result<Model, ModelError> {
    let mut tx = store.begin(tenant).await?;
    tx.hold_models().await?;
    let model = tx.model(id).await?;
    if model.state == ModelState::Live {
        return Err(StoreError::Conflict(format!("`{}` plans already", model.label)).into());
    }
    let basis = models.basis(&mut tx, pack).await?;
    let gated = verdict_of(&model)
        .filter(|gated| gated.holds_for(&basis, models.rules()))
        .ok_or_else(|| ModelError::GateNeeded(model.label.clone()))?;
    if !gated.verdict.passed {
        let reasons: Vec<&str> = gated.verdict.reasons().collect();
        return Err(ModelError::GateFailed { label: model.label, reasons: reasons.join(" ") });
    }
    // Loaded before anyone depends on it, so that the first run does not wait.
    load(models, &model).await?;
    retire_live(&mut tx).await?;
    tx.set_model_state(id, ModelState::Live).await?;
    tx.add_promotion(Some(id), false, by).await?;
    let model = tx.model(id).await?;
    let told = told(Some(&model), models.default_planner().digest(), by);
    tx.publish("model.promoted", &id.to_string(), &told).await?;
    tx.commit().await?;
    Ok(model)
}

/// Goes back to the planner that planned before the present one, and returns it; none for the
/// program's own. Planners whose files are gone are passed over.
///
/// # Errors
/// [`ModelError::Store`] ⇐ the program's own planner plans, so there is nothing before it.
pub async fn rollback(
    models: &Arc<Models>,
    store: &Store,
    tenant: TenantId,
    by: &str,
) -> Result<Option<Model>, ModelError> {
    let mut tx = store.begin(tenant).await?;
    tx.hold_models().await?;
    if tx.model_in(ModelState::Live).await?.is_none() {
        let message = "the program's own planner plans; there is nothing to go back to";
        return Err(StoreError::Conflict(message.to_owned()).into());
    }
    let mut earlier = line(&tx.promotions().await?);
    earlier.pop();
    let mut target = None;
    for id in earlier.into_iter().rev() {
        let model = tx.model(id).await?;
        match load(models, &model).await {
            Ok(()) => {
                target = Some(id);
                break;
            }
            Err(error) => tracing::warn!(planner = %model.label, %error, "passed over"),
        }
    }
    retire_live(&mut tx).await?;
    if let Some(id) = target {
        tx.set_model_state(id, ModelState::Live).await?;
    }
    tx.add_promotion(target, true, by).await?;
    let model = match target {
        Some(id) => Some(tx.model(id).await?),
        None => None,
    };
    let told = told(model.as_ref(), models.default_planner().digest(), by);
    let subject = target.map_or_else(|| "default".to_owned(), |id| id.to_string());
    tx.publish("model.rolled_back", &subject, &told).await?;
    tx.commit().await?;
    Ok(model)
}

/// Puts a planner into the shadow of the live one, in place of another, or takes it out.
///
/// # Errors
/// [`ModelError::Gone`]; [`ModelError::Store`] ⇐ it is absent or plans already.
pub async fn shadow(
    models: &Arc<Models>,
    store: &Store,
    tenant: TenantId,
    id: Uuid,
    on: bool,
) -> Result<Model, ModelError> {
    let mut tx = store.begin(tenant).await?;
    tx.hold_models().await?;
    let model = tx.model(id).await?;
    match (model.state, on) {
        (ModelState::Live, _) => {
            let message = format!("`{}` plans already; a shadow stands beside it", model.label);
            return Err(StoreError::Conflict(message).into());
        }
        (ModelState::Shadow, false) => tx.set_model_state(id, ModelState::Candidate).await?,
        (ModelState::Shadow, true) | (_, false) => {}
        (_, true) => {
            load(models, &model).await?;
            if let Some(other) = tx.model_in(ModelState::Shadow).await? {
                tx.set_model_state(other.id, ModelState::Candidate).await?;
            }
            tx.set_model_state(id, ModelState::Shadow).await?;
        }
    }
    let model = tx.model(id).await?;
    tx.commit().await?;
    Ok(model)
}

async fn load(models: &Arc<Models>, model: &Model) -> Result<(), ModelError> {
    let (models, digest) = (Arc::clone(models), model.digest.clone());
    blocking(move || models.planner(&digest).map(drop)).await
}

/// Returns what is told of the planner that plans from now on: a registered one, or the program's own.
fn told(model: Option<&Model>, own: &str, by: &str) -> Value {
    json!({
        "object": "planner", "id": model.map(|model| model.id), "label": model.map(|model| &model.label),
        "sha256": model.map_or(own, |model| &model.digest), "by": by,
    })
}

async fn retire_live(tx: &mut TenantTx) -> Result<(), StoreError> {
    match tx.model_in(ModelState::Live).await? {
        Some(live) => tx.set_model_state(live.id, ModelState::Retired).await,
        None => Ok(()),
    }
}

/// Returns the promotions that stand, the present planner last: each going back took the last away.
fn line(history: &[Promotion]) -> Vec<Uuid> {
    let mut line: Vec<Uuid> = Vec::new();
    for change in history {
        if change.rollback {
            line.pop();
            while line.last().is_some_and(|last| Some(*last) != change.model) {
                line.pop();
            }
        } else {
            line.extend(change.model);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn going_back_takes_promotions_away_one_by_one_and_ends_at_the_programs_own() {
        let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
        let to = |model: Option<Uuid>, rollback| Promotion {
            model,
            rollback,
            by: String::new(),
            at: Timestamp::UNIX_EPOCH,
        };
        let mut history = vec![to(Some(a), false), to(Some(b), false), to(Some(a), false)];
        assert_eq!(line(&history), [a, b, a]);
        history.push(to(Some(b), true));
        assert_eq!(line(&history), [a, b]);
        history.push(to(Some(c), false));
        assert_eq!(line(&history), [a, b, c]);
        // The files of `b` are gone: it is passed over.
        history.push(to(Some(a), true));
        assert_eq!(line(&history), [a]);
        history.push(to(None, true));
        assert!(line(&history).is_empty());
        history.push(to(Some(c), false));
        assert_eq!(line(&history), [c]);
    }
}
