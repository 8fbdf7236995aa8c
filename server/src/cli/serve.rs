//! `tessera serve`: opens the store, makes the demo joint ventures on a first start, and listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::demo;
use super::open::{connector, open};
use super::{CliError, say};
use crate::access::isolation::PREFIX;
use crate::access::limit::Limit;
use crate::access::{Access, Origin};
use crate::agent::Agents;
use crate::audit;
use crate::auth::MAX_SESSIONS;
use crate::config::Config;
use crate::egress::Egress;
use crate::http::router;
use crate::jobs::{self, Rules, Worker};
use crate::models::{Models, shadow};
use crate::ops;
use crate::ops::traces::Collector;
use crate::outcomes::signing::seal_plain;
use crate::packs::Packs;
use crate::state::AppState;
use crate::store::Store;
use crate::vault::Vault;
use crate::webhooks::worker::{Options, Worker as Sender};

/// Time that calls in hand have to end after a stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until Ctrl-C or SIGTERM, then stops the database too.
pub(super) async fn serve(config: &Config) -> Result<(), CliError> {
    ops::logs::start(&config.log, config.log_format);
    let address = format!("{}:{}", config.host, config.port);
    // The port is taken first: a second start must not touch the first one's database.
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|source| CliError::Port { address: address.clone(), source })?;
    let mut opened = open(config, true).await?;
    let store = opened.store.clone();
    let served = tokio::select! {
        served = run(config, &store, listener) => served,
        never = opened.keep() => match never {},
    };
    opened.close().await?;
    served
}

async fn run(config: &Config, store: &Store, listener: TcpListener) -> Result<(), CliError> {
    let at = listener.local_addr()?;
    let connector = connector(config)?;
    let origin =
        Origin::new(config.public_url.as_deref(), config.proxies).map_err(CliError::Input)?;
    let access =
        Arc::new(Access { origin, limit: Limit::new(config.rate_limit), ..Access::default() });
    let vault = Arc::new(config.vault()?);
    let made = demo::ensure(store, &vault).await?;
    seal_signing_keys(store, &vault).await?;
    let models = Models::open(config).map_err(CliError::Planner)?;
    models.sweep();
    let (tell_shadow, planned) = shadow::channel();
    let egress = Egress::default();
    let packs = Packs::new(&config.data_folder(), egress.clone(), Arc::clone(&vault));
    let agents = Agents::shipped(models).map_err(CliError::Pack)?;
    let mut agents = agents.with_shadow(tell_shadow).with_packs(packs);
    let collector = config.otlp.as_deref().filter(|base| !base.is_empty());
    let collector = collector.map(|base| Collector::new(base, &config.otlp_headers)).transpose();
    let (tell_ended, ended) = ops::traces::channel();
    let collector = collector.map_err(CliError::Input)?;
    if collector.is_some() {
        agents = agents.with_traces(tell_ended);
    }
    let agents = Arc::new(agents);
    say(format_args!("Tessera listens on http://{at}"))?;
    match &config.database_url {
        Some(_) => say("Database: the server of DATABASE_URL")?,
        None => say(format_args!("Data: {}", config.data_folder().display()))?,
    }
    say(format_args!("Sign in once with http://{at}/login?token={}", login_token(store).await?))?;
    if made.is_empty() {
        say(
            "New keys are made with `tessera key new NAME`, login links with `tessera login NAME`.",
        )?;
    } else {
        say("Made one joint venture for each pack. The keys are shown only now:")?;
        for made in &made {
            say(format_args!("  {}\t{}", made.slug, made.key.text))?;
        }
    }
    let (stop, stopped) = watch::channel(false);
    let worker = Worker {
        store: store.clone(),
        stepper: Arc::clone(&agents) as _,
        rules: Rules::default(),
        connector,
    };
    let mut workers: Vec<_> = (0..config.workers.max(1))
        .map(|_| tokio::spawn(worker.clone().work(stopped.clone())))
        .collect();
    workers.push(tokio::spawn(jobs::schedule::watch(store.clone(), stopped.clone())));
    let shadow = shadow::work(store.clone(), Arc::clone(&agents), planned, stopped.clone());
    let shadow = tokio::spawn(shadow);
    let traces = collector.map(|collector| {
        tokio::spawn(ops::traces::export(store.clone(), collector, ended, stopped.clone()))
    });
    let retention = tokio::spawn(audit::retain(store.clone(), stopped.clone()));
    let models = Arc::clone(agents.models());
    let mut terminate = signal(SignalKind::terminate())?;
    let late = overdue(stopped.clone());
    let sender = Sender::new(store.clone(), egress.clone(), Arc::clone(&vault), Options::default());
    let sender = tokio::spawn(sender.work(stopped.clone()));
    let state = AppState { store: store.clone(), agents, egress, vault, access, stopped };
    if let Some(address) = config.metrics {
        let own = TcpListener::bind(address)
            .await
            .map_err(|source| CliError::Port { address: address.to_string(), source })?;
        let figures = ops::own_routes().with_state(state.clone());
        tokio::spawn(async move { drop(axum::serve(own, figures).await) });
    }
    let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        // Streams end, and workers after the step in hand; a run that waits is taken up by the
        // next start.
        stop.send_replace(true);
    });
    tokio::select! {
        served = server => served?,
        () = late => {}
    }
    // What is not done by then is taken up by the next start, or by another replica at once.
    let rest = async {
        for worker in workers {
            drop(worker.await);
        }
        drop(shadow.await);
        drop(retention.await);
        drop(sender.await);
        if let Some(traces) = traces {
            drop(traces.await);
        }
    };
    drop(tokio::time::timeout(DRAIN, rest).await);
    // A training ends after its step, a gate after its case; both note it.
    models.idle().await;
    say("Stopped.")
}

/// Seals the keys that sign statements where an earlier version kept them in plain.
async fn seal_signing_keys(store: &Store, vault: &Vault) -> Result<(), CliError> {
    for member in store.directory().await? {
        let mut tx = store.begin(member.tenant_id).await?;
        let sealed = seal_plain(&mut tx, vault).await;
        if sealed.map_err(|problem| CliError::Run(problem.detail))? > 0 {
            tx.commit().await?;
        }
    }
    Ok(())
}

/// Ends when calls in hand have had [`DRAIN`] since the stop.
async fn overdue(mut stopped: watch::Receiver<bool>) {
    // An error means that the server has ended by itself, which `select!` sees.
    drop(stopped.wait_for(|stopped| *stopped).await);
    tokio::time::sleep(DRAIN).await;
}

/// Returns a one-time token that signs in to every joint venture of this server; lasts an hour.
pub(super) async fn login_token(store: &Store) -> Result<String, CliError> {
    let mut links = Vec::new();
    let known = store.directory().await?.into_iter();
    for member in known.filter(|one| !one.slug.starts_with(PREFIX)).take(MAX_SESSIONS) {
        let mut tx = store.begin(member.tenant_id).await?;
        links.push(tx.create_login_link(60).await?.text);
        tx.commit().await?;
    }
    Ok(links.join("."))
}
