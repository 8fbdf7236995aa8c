//! Endpoints of outbound webhooks on the machine of the server.

use clap::Subcommand;
use jiff::Timestamp;
use uuid::Uuid;

use super::open::open;
use super::{CliError, admin, say};
use crate::config::Config;
use crate::egress::Egress;
use crate::error::Problem;
use crate::store::{EndpointSettings, Replay, Store, TenantId, event_name};
use crate::webhooks::api::{GRACE_HOURS, test_event};
use crate::webhooks::sign::SigningSecret;
use crate::webhooks::{checked, keys};

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// List the endpoints of a joint venture.
    List {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Add an endpoint and print its secret once.
    Add {
        /// Name of the joint venture.
        tenant: String,
        /// Address.
        url: String,
        /// Type of event that it wants, `run.*` for all of a kind; may be repeated; all when absent.
        #[arg(long = "event", value_name = "TYPE")]
        events: Vec<String>,
        /// Send one event after the other.
        #[arg(long)]
        ordered: bool,
        /// Sign by Ed25519 and print the public key.
        #[arg(long)]
        v1a: bool,
    },
    /// List the newest deliveries of an endpoint.
    Log {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the endpoint.
        endpoint: Uuid,
        /// Only `pending`, `delivered`, `failed` or `held` ones.
        #[arg(long)]
        state: Option<String>,
    },
    /// Send an event that tests an endpoint.
    Test {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the endpoint.
        endpoint: Uuid,
    },
    /// Send events again, under the identifiers that they had.
    Replay {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the endpoint.
        endpoint: Uuid,
        /// From this instant, RFC 3339.
        #[arg(long)]
        from: Timestamp,
        /// Before this instant; now when absent.
        #[arg(long)]
        to: Option<Timestamp>,
        /// Only what did not get through.
        #[arg(long)]
        failed_only: bool,
    },
    /// Send to an endpoint again, what was held first.
    Enable {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the endpoint.
        endpoint: Uuid,
    },
    /// Delete an endpoint with its log.
    Delete {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the endpoint.
        endpoint: Uuid,
    },
}

fn input(problem: Problem) -> CliError {
    CliError::Input(problem.detail)
}

pub(super) async fn webhook(config: &Config, command: WebhookCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = on(config, &opened.store, command).await;
    opened.close().await?;
    done
}

async fn on(config: &Config, store: &Store, command: WebhookCommand) -> Result<(), CliError> {
    match command {
        WebhookCommand::List { tenant } => list(store, admin::find(store, &tenant).await?).await,
        WebhookCommand::Add { tenant, url, events, ordered, v1a } => {
            let tenant = admin::find(store, &tenant).await?;
            let settings = EndpointSettings { url, description: String::new(), events, ordered };
            add(config, store, tenant, &settings, v1a).await
        }
        WebhookCommand::Log { tenant, endpoint, state } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            for one in tx.deliveries(endpoint, state.as_deref(), None, 50).await? {
                let last = one.last_error.or(one.last_status.map(|status| status.to_string()));
                say(format_args!(
                    "{}\t{}\t{}\t{} attempts\t{}\t{}",
                    event_name(one.event),
                    one.kind,
                    one.state,
                    one.attempts,
                    last.unwrap_or_default(),
                    one.created_at
                ))?;
            }
            Ok(())
        }
        WebhookCommand::Test { tenant, endpoint } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            let event = test_event(&mut tx, endpoint, "command line").await.map_err(input)?;
            tx.commit().await?;
            say(event_name(event))
        }
        WebhookCommand::Replay { tenant, endpoint, from, to, failed_only } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            let to = to.unwrap_or_else(Timestamp::now);
            let count = tx.replay(endpoint, Replay::Span { from, to, failed_only }).await?;
            tx.commit().await?;
            say(format_args!("{count} events are sent again"))
        }
        WebhookCommand::Enable { tenant, endpoint } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            let count = tx.enable_endpoint(endpoint).await?;
            tx.commit().await?;
            say(format_args!("enabled; {count} events that were held are sent"))
        }
        WebhookCommand::Delete { tenant, endpoint } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            tx.delete_endpoint(endpoint).await?;
            tx.commit().await?;
            say(format_args!("deleted {endpoint}"))
        }
    }
}

async fn list(store: &Store, tenant: TenantId) -> Result<(), CliError> {
    for one in store.begin(tenant).await?.endpoints().await? {
        let state = one.disabled_because.unwrap_or_else(|| "enabled".to_owned());
        let events = if one.events.is_empty() { "all".to_owned() } else { one.events.join(",") };
        say(format_args!("{}\t{state}\t{events}\t{}", one.id, one.url))?;
    }
    Ok(())
}

async fn add(
    config: &Config,
    store: &Store,
    tenant: TenantId,
    settings: &EndpointSettings,
    asymmetric: bool,
) -> Result<(), CliError> {
    checked(settings, &*Egress::rules(store, tenant).await?).map_err(input)?;
    let vault = config.vault()?;
    let mut tx = store.begin(tenant).await?;
    let endpoint = tx.add_endpoint(settings, "command line").await?;
    let secret = SigningSecret::new(asymmetric);
    let shown = keys::install(&mut tx, &vault, endpoint.id, &secret, GRACE_HOURS).await;
    let shown = shown.map_err(input)?;
    tx.commit().await?;
    say(format_args!("{}\t{shown}", endpoint.id))
}
