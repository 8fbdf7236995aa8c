//! `tessera serve`: opens the store, makes the demo joint ventures on a first start, and listens.

use agents::pack::{FixtureSource, Pack};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::admin::all_scopes;
use super::open::open;
use super::{CliError, say};
use crate::config::Config;
use crate::store::{NewTenant, Secret, Store};

/// Serves until Ctrl-C or SIGTERM, then stops the database too.
pub(super) async fn serve(config: &Config) -> Result<(), CliError> {
    let address = format!("{}:{}", config.host, config.port);
    // The port is taken first: a second start must not touch the first one's database.
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|source| CliError::Port { address: address.clone(), source })?;
    let opened = open(config, true).await?;
    let served = run(config, &opened.store, listener).await;
    opened.close().await?;
    served
}

async fn run(config: &Config, store: &Store, listener: TcpListener) -> Result<(), CliError> {
    let at = listener.local_addr()?;
    let made = demo(store).await?;
    say(format_args!("Tessera listens on http://{at}"))?;
    match &config.database_url {
        Some(_) => say("Database: the server of DATABASE_URL")?,
        None => say(format_args!("Data: {}", config.data_folder().display()))?,
    }
    if made.is_empty() {
        say(
            "New keys are made with `tessera key new NAME`, login links with `tessera login NAME`.",
        )?;
    } else {
        say("Made one joint venture for each pack. The keys are shown only now:")?;
        for (slug, key) in &made {
            say(format_args!("  {slug}\t{}", key.text))?;
        }
    }
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, router(store.clone()))
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        })
        .await?;
    say("Stopped.")
}

fn router(store: Store) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(serde_json::json!({ "status": "ok" })) }))
        .route("/readyz", get(ready))
        .with_state(store)
}

async fn ready(State(store): State<Store>) -> StatusCode {
    match store.ping().await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Makes a joint venture for each pack where the directory is empty; returns names and keys.
async fn demo(store: &Store) -> Result<Vec<(String, Secret)>, CliError> {
    let packs = agents::pack::shipped().map_err(|error| CliError::Pack(error.to_string()))?;
    let known = store.directory().await?;
    let mut made = Vec::new();
    for pack in packs {
        let slug = format!("demo-{}", pack.manifest.id);
        // Looked up one by one: a first start that was killed half-way is completed by the next.
        if known.iter().all(|tenant| tenant.slug != slug) {
            let key = demo_of(store, pack, &slug).await?;
            made.push((slug, key));
        }
    }
    Ok(made)
}

async fn demo_of(store: &Store, pack: &Pack, slug: &str) -> Result<Secret, CliError> {
    let fixtures = FixtureSource::of(pack).map_err(|error| CliError::Pack(error.to_string()))?;
    let id = store
        .create_tenant(&NewTenant {
            slug: slug.to_owned(),
            name: format!("{} demo", pack.manifest.title),
            pack: pack.manifest.id.clone(),
            currency: "USD".to_owned(),
            timezone: "UTC".to_owned(),
        })
        .await?;
    let mut tx = store.begin(id).await?;
    for (name, bytes) in fixtures.iter() {
        tx.put_dataset(name, "application/octet-stream", bytes).await?;
    }
    let key = tx.create_key("demo", &all_scopes(), None).await?;
    tx.commit().await?;
    Ok(key)
}
