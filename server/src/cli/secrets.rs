//! The master key of the secrets at rest.

use clap::Subcommand;

use super::open::open;
use super::{CliError, say};
use crate::config::Config;
use crate::store::Store;
use crate::vault::Vault;
use crate::webhooks::keys::{ResealError, reseal};

#[derive(Debug, Subcommand)]
pub(super) enum SecretsCommand {
    /// Put a new master key before the old ones and seal every secret under it. With a key in the
    /// environment, put the new one before the old there first. Restart the server afterwards.
    Rotate {
        /// Drop the old keys afterwards; the server must be stopped.
        #[arg(long)]
        forget: bool,
    },
}

pub(super) async fn secrets(config: &Config, command: SecretsCommand) -> Result<(), CliError> {
    let SecretsCommand::Rotate { forget } = command;
    let opened = open(config, false).await?;
    let done = if forget && !opened.is_alone() {
        Err(CliError::Input(
            "a server runs on this store and holds the old key; stop it, or leave --forget out"
                .to_owned(),
        ))
    } else {
        rotate(config, &opened.store, forget).await
    };
    opened.close().await?;
    done
}

async fn rotate(config: &Config, store: &Store, forget: bool) -> Result<(), CliError> {
    let in_file = config.master_key.is_none();
    if in_file {
        // A store that never had a secret has no key yet; one is made and then rotated.
        drop(config.vault()?);
        Vault::add_key(&config.key_file())?;
    }
    let vault = config.vault()?;
    let mut changed = 0;
    for member in store.directory().await? {
        let mut tx = store.begin(member.tenant_id).await?;
        changed += reseal(&mut tx, &vault).await.map_err(|error| match error {
            ResealError::Store(error) => CliError::Store(error),
            ResealError::Vault(error) => CliError::Vault(error),
        })?;
        tx.commit().await?;
    }
    if in_file && forget {
        Vault::keep_newest(&config.key_file())?;
    }
    say(format_args!("{changed} secrets are sealed under the new key"))
}
