//! Hosts that a joint venture may reach, on the machine of the server.

use clap::Subcommand;

use super::open::open;
use super::{CliError, admin, say};
use crate::config::Config;
use crate::egress::Pattern;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum EgressCommand {
    /// List the hosts that a joint venture may reach, and what was refused lately.
    List {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Allow a host.
    Allow {
        /// Name of the joint venture.
        tenant: String,
        /// `example.com`, `*.example.com`, `10.0.0.7:8000`.
        #[arg(value_name = "HOST")]
        pattern: Pattern,
        /// Allow it although it is on this machine or its network, also without TLS.
        #[arg(long)]
        private: bool,
    },
    /// Take a host off the list.
    Remove {
        /// Name of the joint venture.
        tenant: String,
        /// As it is listed.
        #[arg(value_name = "HOST")]
        pattern: Pattern,
        /// It is one of the private ones.
        #[arg(long)]
        private: bool,
    },
}

pub(super) async fn egress(config: &Config, command: EgressCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = on(&opened.store, command).await;
    opened.close().await?;
    done
}

fn kind(private: bool) -> &'static str {
    if private { "private" } else { "only" }
}

async fn on(store: &Store, command: EgressCommand) -> Result<(), CliError> {
    match command {
        EgressCommand::List { tenant } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            for rule in tx.egress_rules().await? {
                say(format_args!("{}\t{}\t{}", rule.kind, rule.pattern, rule.decided_by))?;
            }
            for refused in tx.egress_refusals().await? {
                say(format_args!(
                    "refused\t{}\t{}\t{}\t{} times, last {}",
                    refused.host, refused.purpose, refused.code, refused.count, refused.last_at
                ))?;
            }
            Ok(())
        }
        EgressCommand::Allow { tenant, pattern, private } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            tx.add_egress_rule(kind(private), &pattern.to_string(), "command line").await?;
            tx.commit().await?;
            say(format_args!("{tenant} may reach {pattern}"))
        }
        EgressCommand::Remove { tenant, pattern, private } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            tx.remove_egress_rule(kind(private), &pattern.to_string()).await?;
            tx.commit().await?;
            say(format_args!("{pattern} is off the list of {tenant}"))
        }
    }
}
