//! Trainings and gates that run on while their caller goes away. How far each is stands in the store.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agents::eval;
use agents::pack::Pack;
use agents::run::Agent;
use agents::synth::{Maker, Templates};
use jiff::Timestamp;
use runtime::train::{Example, Options, Progress, TrainError, train};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;

use super::{Addition, Gated, ModelError, Models, add, blocking, compare};
use crate::agent::Agents;
use crate::state::AppState;
use crate::store::{Model, Store, StoreError, TenantId};

/// Time between two notes of how far a job is.
const BEAT: Duration = Duration::from_secs(1);

/// Longest training, minutes.
const MAX_MINUTES: f64 = 24.0 * 60.0;

/// Most examples a tool.
const MAX_EXAMPLES: usize = 10_000;

/// What a training is to do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Name of the planner to be; the next number when absent.
    pub label: Option<String>,
    /// Time budget, minutes.
    pub minutes: f64,
    /// Most steps; as many as the time allows when absent.
    pub steps: Option<usize>,
    /// Examples made for each tool.
    pub examples: usize,
    /// Seed of the examples and of their order.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self { label: None, minutes: 10.0, steps: None, examples: 400, seed: 1 }
    }
}

impl Training {
    /// Checks the limits.
    ///
    /// # Errors
    /// What is out of bounds, as a sentence.
    pub fn checked(&self) -> Result<(), String> {
        if !(self.minutes > 0.0 && self.minutes <= MAX_MINUTES) {
            return Err(format!("`minutes` must be above 0 and at most {MAX_MINUTES}"));
        }
        if self.steps == Some(0) {
            return Err("`steps` must be 1 or more".to_owned());
        }
        if !(1..=MAX_EXAMPLES).contains(&self.examples) {
            return Err(format!("`examples` must be 1 to {MAX_EXAMPLES}"));
        }
        Ok(())
    }
}

/// Begins a training that continues the live planner on examples of the pack, and returns the job.
///
/// # Errors
/// [`ModelError::Store`] ⇐ another job of the joint venture runs.
pub async fn start_training(
    state: &AppState,
    tenant: TenantId,
    wish: Training,
    by: &str,
) -> Result<Uuid, ModelError> {
    let mut tx = state.store.begin(tenant).await?;
    let label = wish.label.clone().unwrap_or_else(|| "a new planner".to_owned());
    let job = tx.start_model_job("train", &label, None).await?;
    tx.commit().await?;
    let (state, by) = (state.clone(), by.to_owned());
    tokio::spawn(async move {
        let ended = run_training(&state, tenant, job, wish, by).await;
        settle(&state.store, tenant, job, ended).await;
    });
    Ok(job)
}

/// Begins a gate and returns the job.
///
/// # Errors
/// [`ModelError::Store`] ⇐ there is no such planner, or another job of the joint venture runs.
pub async fn start_gate(state: &AppState, tenant: TenantId, id: Uuid) -> Result<Uuid, ModelError> {
    let mut tx = state.store.begin(tenant).await?;
    let label = tx.model(id).await?.label;
    let job = tx.start_model_job("gate", &label, Some(id)).await?;
    tx.commit().await?;
    let state = state.clone();
    tokio::spawn(async move {
        let ended = run_gate(&state, tenant, job, id).await;
        settle(&state.store, tenant, job, ended).await;
    });
    Ok(job)
}

/// Notes how a job ended.
async fn settle(store: &Store, tenant: TenantId, job: Uuid, ended: Result<Model, ModelError>) {
    let noted = async {
        let mut tx = store.begin(tenant).await?;
        match &ended {
            Ok(model) => tx.end_model_job(job, model.id).await?,
            Err(error) => tx.fail_model_job(job, error.code(), &error.to_string()).await?,
        }
        tx.commit().await
    };
    let noted: Result<(), StoreError> = noted.await;
    if let Err(error) = noted {
        tracing::error!(%job, %error, "the end of a job cannot be noted");
    }
}

/// Tells how far a job is, and hears whether it should go on.
struct Note {
    store: Store,
    tenant: TenantId,
    job: Uuid,
    handle: Handle,
    stopped: watch::Receiver<bool>,
    last: Option<Instant>,
}

impl Note {
    fn of(state: &AppState, tenant: TenantId, job: Uuid) -> Self {
        let (store, stopped) = (state.store.clone(), state.stopped.clone());
        Self { store, tenant, job, handle: Handle::current(), stopped, last: None }
    }

    async fn write(&self, share: f64, said: &str) -> Result<bool, StoreError> {
        let mut tx = self.store.begin(self.tenant).await?;
        let goes_on = tx.note_model_job(self.job, share, said).await?;
        tx.commit().await?;
        Ok(goes_on)
    }

    /// For blocking threads. A note that cannot be written does not end the work.
    fn tell(&mut self, share: f64, said: &str) -> ControlFlow<()> {
        if *self.stopped.borrow() {
            return ControlFlow::Break(());
        }
        if self.last.is_some_and(|last| last.elapsed() < BEAT) {
            return ControlFlow::Continue(());
        }
        self.last = Some(Instant::now());
        match self.handle.clone().block_on(self.write(share, said)) {
            Ok(false) => ControlFlow::Break(()),
            Ok(true) | Err(_) => ControlFlow::Continue(()),
        }
    }

    /// Waits for its turn: a job takes the whole machine.
    async fn turn(
        &mut self,
        models: &Models,
    ) -> Result<tokio::sync::OwnedSemaphorePermit, ModelError> {
        let mut waiting = std::pin::pin!(Arc::clone(&models.work).acquire_owned());
        loop {
            tokio::select! {
                permit = &mut waiting => return permit.map_err(|_| ModelError::Stopped),
                () = tokio::time::sleep(BEAT) => {}
            }
            let goes_on = self.write(0.0, "waits for another job of this machine").await;
            if *self.stopped.borrow() || matches!(goes_on, Ok(false)) {
                return Err(ModelError::Stopped);
            }
        }
    }
}

async fn run_gate(
    state: &AppState,
    tenant: TenantId,
    job: Uuid,
    id: Uuid,
) -> Result<Model, ModelError> {
    let mut note = Note::of(state, tenant, job);
    let _turn = note.turn(state.agents.models()).await?;
    judge(&state.agents, &state.store, tenant, id, move |done, of| {
        note.tell(done as f64 / of as f64, &format!("{done} of {of} plans made"))
    })
    .await
}

/// Runs the gate on a registered planner against the one that plans now, and keeps the verdict.
///
/// # Errors
/// [`ModelError`].
pub async fn judge(
    agents: &Arc<Agents>,
    store: &Store,
    tenant: TenantId,
    id: Uuid,
    mut tell: impl FnMut(usize, usize) -> ControlFlow<()> + Send + 'static,
) -> Result<Model, ModelError> {
    let mut tx = store.begin(tenant).await?;
    let pack = tx.tenant().await?.pack;
    let model = tx.model(id).await?;
    let agent = agents.get(&pack).ok_or_else(|| ModelError::Pack(format!("`{pack}` is absent")))?;
    let basis = agents.models().basis(&mut tx, agent.pack()).await?;
    drop(tx);
    let (agents, against) = (Arc::clone(agents), basis.against_sha256.clone());
    let verdict = blocking(move || {
        let models = agents.models();
        let agent = agents.get(&pack).ok_or(ModelError::Stopped)?;
        let with = |digest: &str| -> Result<Agent, ModelError> {
            Ok(agent.with_planner(models.planner(digest)?))
        };
        let (candidate, against) = (with(&model.digest)?, with(&against)?);
        let cases = eval::cases(agent.pack()).map_err(ModelError::pack)?;
        compare(&candidate, &against, &cases, models.rules(), &mut tell)
    })
    .await?;
    let gated = Gated { basis, at: Timestamp::now(), verdict };
    let gated = serde_json::to_value(&gated).map_err(ModelError::pack)?;
    let mut tx = store.begin(tenant).await?;
    tx.set_verdict(id, &gated).await?;
    let model = tx.model(id).await?;
    tx.commit().await?;
    Ok(model)
}

async fn run_training(
    state: &AppState,
    tenant: TenantId,
    job: Uuid,
    wish: Training,
    by: String,
) -> Result<Model, ModelError> {
    let mut note = Note::of(state, tenant, job);
    let models = state.agents.models();
    let _turn = note.turn(models).await?;
    let mut tx = state.store.begin(tenant).await?;
    let pack = super::pack_of(&tx.tenant().await?.pack)?;
    let (base, digest) = models.live(&mut tx).await?;
    drop(tx);
    let work = models.files.work(job);
    let (own, out, label) = (Arc::clone(models), work.clone(), wish.label.clone());
    let trained = blocking(move || {
        let init = own.folder_of(&digest)?;
        continued(&pack, &init, &out, &wish, &mut note)
    })
    .await;
    let added = match trained {
        Ok(()) => {
            let addition = Addition { folder: work.clone(), label, base, by };
            add(models, &state.store, tenant, &addition).await.map(|(model, _)| model)
        }
        Err(error) => Err(error),
    };
    // Checkpoints are large. What is left after a fault is of no use to anyone.
    drop(tokio::fs::remove_dir_all(work).await);
    added
}

/// Continues the planner of a folder on examples of a pack, and writes the outcome to another.
fn continued(
    pack: &Pack,
    init: &Path,
    out: &Path,
    wish: &Training,
    note: &mut Note,
) -> Result<(), ModelError> {
    let go_on = |go: ControlFlow<()>| if go.is_break() { Err(ModelError::Stopped) } else { Ok(()) };
    go_on(note.tell(0.0, "makes examples"))?;
    let examples = examples(pack, wish)?;
    let options = Options {
        out: out.to_owned(),
        minutes: wish.minutes,
        steps: wish.steps,
        seed: wish.seed,
        init: Some(init.to_owned()),
        pace: BEAT,
        ..Options::default()
    };
    let trained = train(&examples, &options, &mut |progress| {
        note.tell(progress.done, &said(&progress, wish.minutes))
    });
    match trained {
        Ok(_) => Ok(()),
        Err(TrainError::Stopped(_)) => Err(ModelError::Stopped),
        Err(error) => Err(error.into()),
    }
}

fn said(progress: &Progress, minutes: f64) -> String {
    format!(
        "step {}, loss {:.4}, {:.1} % exact, {:.0} tokens/s, at most {:.1} min left",
        progress.step,
        progress.loss,
        progress.exact * 100.0,
        progress.tokens_per_s,
        (1.0 - progress.done) * minutes
    )
}

/// Makes the training set of a pack.
fn examples(pack: &Pack, wish: &Training) -> Result<Vec<Example>, ModelError> {
    let templates = Templates::of(pack).map_err(ModelError::pack)?;
    let mut maker = Maker::new(pack, &templates, wish.seed).map_err(ModelError::pack)?;
    maker
        .make(wish.examples * pack.tools.len())
        .into_iter()
        .map(|example| serde_json::from_value(example.to_json()).map_err(ModelError::pack))
        .collect()
}
