//! Administration of joint ventures, on the machine of the server.

use clap::Subcommand;

use super::open::open;
use super::{CliError, say};
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

pub(super) async fn login(config: &Config, slug: &str) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let tenant = find(&opened.store, slug).await;
    let done = match tenant {
        Ok(tenant) => {
            let mut tx = opened.store.begin(tenant).await?;
            let link = tx.create_login_link(60).await?;
            tx.commit().await?;
            say(format_args!("{}/login?token={}", address(config), link.text))
        }
        Err(error) => Err(error),
    };
    opened.close().await?;
    done
}

/// Returns the address of the server's pages: the public one, or where it listens.
pub(super) fn address(config: &Config) -> String {
    match &config.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}:{}", config.host, config.port),
    }
}
