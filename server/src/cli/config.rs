//! `tessera config`: the file of settings, checked and described.

use std::path::PathBuf;

use clap::Subcommand;

use super::{CliError, say};
use crate::config::{Config, File};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Checks a file of settings, or the one that is in use.
    Check {
        /// The file.
        file: Option<PathBuf>,
    },
    /// Prints the JSON Schema of the file.
    Schema,
}

/// Checks or describes the file of settings.
pub(super) fn config(config: &Config, command: ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&File::schema());
            say(schema.map_err(|error| CliError::Input(error.to_string()))?)
        }
        ConfigCommand::Check { file } => {
            let Some(file) = file.or_else(|| config.config.clone()) else {
                return Err(CliError::Input("no file is in use; name one".to_owned()));
            };
            let read = File::read(&file).map_err(CliError::Input)?;
            super::parsed(&read, ["tessera"]).map_err(|error| {
                CliError::Input(format!("{}: {}", file.display(), error.to_string().trim_end()))
            })?;
            say(format_args!("{}: right", file.display()))
        }
    }
}
