//! Administration of joint ventures and their keys, on the machine of the server.

use clap::Subcommand;
use uuid::Uuid;

use super::open::open;
use super::{CliError, say};
use crate::auth::SCOPES;
use crate::config::{Config, closed_share};
use crate::store::{NewTenant, Store, TenantId};

#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// List the joint ventures.
    List,
    /// Make a joint venture on a pack.
    New {
        /// Name in addresses, for example `harbour-power`.
        slug: String,
        /// Pack to install.
        #[arg(long)]
        pack: String,
        /// Name for people; the slug when absent.
        #[arg(long)]
        name: Option<String>,
        /// ISO 4217 code assumed where a request names no currency.
        #[arg(long, default_value = "USD")]
        currency: String,
        /// IANA time zone assumed where a request names none.
        #[arg(long, default_value = "UTC")]
        timezone: String,
    },
    /// Show or change what may be trained on the runs of a joint venture.
    Consent {
        /// Name of the joint venture.
        slug: String,
        /// Where the runs came from: `api`, `page` or `cli`.
        #[arg(long, requires = "level")]
        source: Option<String>,
        /// What may be trained: `none`, `own` (its own planner alone) or `pooled` (any planner).
        #[arg(long, requires = "source")]
        level: Option<String>,
    },
    /// Change a setting of a joint venture.
    Set {
        /// Name of the joint venture.
        tenant: String,
        /// Confidence below which plans are not acted on without a person, 0 to 1; 0 switches this
        /// off, and `default` takes the threshold of the planner's calibration.
        #[arg(long, value_parser = threshold)]
        abstain_below: Threshold,
    },
}

/// A setting that may be left to the planner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Threshold(Option<f64>);

fn threshold(text: &str) -> Result<Threshold, String> {
    if text == "default" {
        return Ok(Threshold(None));
    }
    let share = closed_share(text).map_err(|what| format!("`default`, or {what}"))?;
    Ok(Threshold(Some(share)))
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print its secret once.
    New {
        /// Name of the joint venture.
        tenant: String,
        /// Label for people.
        #[arg(long, default_value = "command line")]
        label: String,
        /// Days until it ends; never when absent.
        #[arg(long)]
        days: Option<u16>,
    },
    /// List the keys of a joint venture.
    List {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Revoke a key.
    Revoke {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the key.
        key: Uuid,
    },
}

/// Returns every scope, for keys of the owner.
pub(super) fn all_scopes() -> Vec<String> {
    SCOPES.map(str::to_owned).to_vec()
}

pub(super) async fn find(store: &Store, slug: &str) -> Result<TenantId, CliError> {
    let known = store.directory().await?;
    known.iter().find(|tenant| tenant.slug == slug).map(|tenant| tenant.tenant_id).ok_or_else(
        || {
            let names: Vec<&str> = known.iter().map(|tenant| tenant.slug.as_str()).collect();
            CliError::Input(format!(
                "there is no joint venture `{slug}`; there are: {}",
                names.join(", ")
            ))
        },
    )
}

pub(super) async fn tenant(config: &Config, command: TenantCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = match command {
        TenantCommand::List => list(&opened.store).await,
        TenantCommand::New { slug, pack, name, currency, timezone } => {
            let name = name.unwrap_or_else(|| slug.clone());
            make(&opened.store, &NewTenant { slug, name, pack, currency, timezone }).await
        }
        TenantCommand::Consent { slug, source, level } => {
            let change = source.as_deref().zip(level.as_deref());
            super::consent::consent(&opened.store, &slug, change).await
        }
        TenantCommand::Set { tenant, abstain_below } => {
            set(&opened.store, &tenant, abstain_below).await
        }
    };
    opened.close().await?;
    done
}

async fn list(store: &Store) -> Result<(), CliError> {
    for member in store.directory().await? {
        let tenant = store.begin(member.tenant_id).await?.tenant().await?;
        say(format_args!(
            "{}\t{}\t{}\t{}",
            tenant.slug, tenant.pack, tenant.currency, tenant.name
        ))?;
    }
    Ok(())
}

async fn set(store: &Store, slug: &str, abstain_below: Threshold) -> Result<(), CliError> {
    let mut tx = store.begin(find(store, slug).await?).await?;
    tx.set_abstain_below(abstain_below.0).await?;
    tx.commit().await?;
    let shown = abstain_below.0.map_or_else(|| "default".to_owned(), |share| share.to_string());
    say(format_args!("{slug}: abstain_below {shown}"))
}

async fn make(store: &Store, new: &NewTenant) -> Result<(), CliError> {
    let packs = agents::pack::shipped().map_err(|error| CliError::Pack(error.to_string()))?;
    if !packs.iter().any(|pack| pack.manifest.id == new.pack) {
        let names: Vec<&str> = packs.iter().map(|pack| pack.manifest.id.as_str()).collect();
        let names = names.join(", ");
        return Err(CliError::Input(format!(
            "there is no pack `{}`; there are: {names}",
            new.pack
        )));
    }
    let id = store.create_tenant(new).await?;
    say(format_args!("made {} ({id})", new.slug))
}

pub(super) async fn key(config: &Config, command: KeyCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = key_on(&opened.store, command).await;
    opened.close().await?;
    done
}

async fn key_on(store: &Store, command: KeyCommand) -> Result<(), CliError> {
    match command {
        KeyCommand::New { tenant, label, days } => {
            let mut tx = store.begin(find(store, &tenant).await?).await?;
            let secret = tx.create_key(&label, &all_scopes(), days).await?;
            tx.commit().await?;
            say(secret.text)
        }
        KeyCommand::List { tenant } => {
            for key in store.begin(find(store, &tenant).await?).await?.keys().await? {
                let state = if key.revoked_at.is_some() { "revoked" } else { "valid" };
                say(format_args!("{}\t{}…\t{state}\t{}", key.id, key.prefix, key.label))?;
            }
            Ok(())
        }
        KeyCommand::Revoke { tenant, key } => {
            let mut tx = store.begin(find(store, &tenant).await?).await?;
            tx.revoke_key(key).await?;
            tx.commit().await?;
            say(format_args!("revoked {key}"))
        }
    }
}

pub(super) async fn login(config: &Config, slug: &str) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let tenant = find(&opened.store, slug).await;
    let done = match tenant {
        Ok(tenant) => {
            let mut tx = opened.store.begin(tenant).await?;
            let link = tx.create_login_link(60).await?;
            tx.commit().await?;
            say(format_args!("http://{}:{}/login?token={}", config.host, config.port, link.text))
        }
        Err(error) => Err(error),
    };
    opened.close().await?;
    done
}
