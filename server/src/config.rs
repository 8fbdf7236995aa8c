//! Where the server keeps its data and listens: flags win over the environment, which wins over the file
//! of settings, which wins over defaults.

mod file;

use std::net::SocketAddr;
use std::path::PathBuf;

use agents::eval::gate::Rules;
use clap::Args;

use crate::vault::{Vault, VaultError};

pub use file::{File, LogFormat, USUAL};

/// Settings of a start.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// File of settings; `/etc/tessera/tessera.toml` where there is one.
    #[arg(long, env = "TESSERA_CONFIG", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for the database, logs and local keys.
    #[arg(long, env = "TESSERA_DATA", global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "TESSERA_PORT", default_value_t = 7080, global = true)]
    pub port: u16,
    /// Address to listen on.
    #[arg(long, env = "TESSERA_HOST", default_value = "127.0.0.1", global = true)]
    pub host: String,
    /// Address under which browsers reach the server, such as `https://agents.example`. With `https` cookies
    /// are sent over TLS alone.
    #[arg(long, env = "TESSERA_PUBLIC_URL", global = true, value_name = "URL")]
    pub public_url: Option<String>,
    /// Number of proxies before the server, each of which adds an address to `X-Forwarded-For`.
    #[arg(long, env = "TESSERA_PROXIES", default_value_t = 0, global = true, value_name = "N")]
    pub proxies: usize,
    /// Folder of a planner to use instead of the shipped one.
    #[arg(long, env = "TESSERA_PLANNER", global = true, value_name = "DIR")]
    pub planner: Option<PathBuf>,
    /// Largest p-value at which the gate calls a planner better than the one before.
    #[arg(
        long,
        env = "TESSERA_GATE_ALPHA",
        default_value_t = Rules::default().alpha,
        global = true,
        value_name = "P",
        value_parser = share
    )]
    pub gate_alpha: f64,
    /// Longest median plan that the gate lets pass, milliseconds.
    #[arg(
        long,
        env = "TESSERA_GATE_PLAN_MS",
        default_value_t = Rules::default().plan_ms,
        global = true,
        value_name = "MS",
        value_parser = positive
    )]
    pub gate_plan_ms: f64,
    /// Folder of a larger planner, which plans what the planner in use is not sure of.
    #[arg(long, env = "TESSERA_LARGER_PLANNER", global = true, value_name = "DIR")]
    pub larger_planner: Option<PathBuf>,
    /// Confidence below which plans are not acted on without a person, where a joint venture says
    /// nothing: 0 switches it off; the threshold of the planner's calibration when absent.
    #[arg(
        long,
        env = "TESSERA_ABSTAIN_BELOW",
        global = true,
        value_name = "SHARE",
        value_parser = closed_share
    )]
    pub default_abstain_below: Option<f64>,
    /// Service that makes the effects of acts, called with an `Idempotency-Key`; without one they are
    /// only written to the ledger.
    #[arg(long, env = "TESSERA_CONNECTOR", global = true, value_name = "URL")]
    pub connector: Option<String>,
    /// Says that the connector makes the effect of each key once, however often it is called.
    #[arg(long, env = "TESSERA_CONNECTOR_KEYED", global = true)]
    pub connector_keyed: bool,
    /// Calls that an API key may make in a minute, on each replica; 0 for any number.
    #[arg(
        long,
        env = "TESSERA_RATE_LIMIT",
        default_value_t = 6000,
        global = true,
        value_name = "N"
    )]
    pub rate_limit: u32,
    /// Runs driven at a time.
    #[arg(long, env = "TESSERA_WORKERS", default_value_t = 2, global = true, value_name = "N")]
    pub workers: u16,
    /// Master key of the secrets at rest: 32 bytes in base64, newest first where there are several.
    #[arg(
        long,
        env = "TESSERA_MASTER_KEY",
        global = true,
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub master_key: Option<String>,
    /// File with the master key instead of `master.key` in the data folder.
    #[arg(long, env = "TESSERA_MASTER_KEY_FILE", global = true, value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
    /// Address and port of a listener of the operators' own for `/metrics` and health.
    #[arg(long, env = "TESSERA_METRICS", global = true, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Which lines are logged, such as `info,sqlx=warn` or `server=debug,warn`.
    #[arg(
        long,
        env = "TESSERA_LOG",
        global = true,
        value_name = "FILTER",
        default_value = "info,sqlx=warn"
    )]
    pub log: String,
    /// Form of the log; `text` on a terminal, else `json`.
    #[arg(long, env = "TESSERA_LOG_FORMAT", global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Collector of OpenTelemetry, which takes the traces of runs over HTTP at `/v1/traces` below it.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", global = true, value_name = "URL")]
    pub otlp: Option<String>,
    /// Headers for the collector, such as `authorization=Bearer KEY`, parted by commas.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        global = true,
        hide_env_values = true,
        value_name = "NAME=VALUE",
        default_value = ""
    )]
    pub otlp_headers: String,
    /// Postgres to use instead of a private one.
    #[arg(long, env = "DATABASE_URL", global = true, hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
}

/// Reads a number above zero.
///
/// # Errors
/// What is needed, as a sentence.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number above zero is needed".to_owned()),
    }
}

/// Reads a number from zero to one.
///
/// # Errors
/// What is needed, as a sentence.
pub fn closed_share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1 is needed".to_owned())
}

/// Reads a number above zero and below one.
///
/// # Errors
/// What is needed, as a sentence.
pub fn share(text: &str) -> Result<f64, String> {
    positive(text)
        .ok()
        .filter(|share| *share < 1.0)
        .ok_or_else(|| "a number between 0 and 1 is needed".to_owned())
}

impl Config {
    /// Returns what a candidate planner is held to.
    pub fn rules(&self) -> Rules {
        Rules { alpha: self.gate_alpha, plan_ms: self.gate_plan_ms }
    }

    /// Returns the file with the master key.
    pub fn key_file(&self) -> PathBuf {
        self.master_key_file.clone().unwrap_or_else(|| Vault::file_of(&self.data_folder()))
    }

    /// Opens the vault of the secrets at rest; makes the key of a data folder on the first start.
    ///
    /// # Errors
    /// [`VaultError::Key`].
    pub fn vault(&self) -> Result<Vault, VaultError> {
        match &self.master_key {
            Some(text) => Vault::read(text),
            None => Vault::open(&self.key_file(), self.master_key_file.is_none()),
        }
    }

    /// Returns the data folder: the one named, `/var/lib/tessera` for root, else the user's own.
    pub fn data_folder(&self) -> PathBuf {
        if let Some(named) = &self.data {
            return named.clone();
        }
        match std::env::var_os("HOME").map(PathBuf::from) {
            Some(home) if home.as_path() != std::path::Path::new("/root") => {
                std::env::var_os("XDG_DATA_HOME")
                    .map_or_else(|| home.join(".local/share"), PathBuf::from)
                    .join("tessera")
            }
            _ => PathBuf::from("/var/lib/tessera"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_must_be_above_zero_and_shares_below_one_as_well() {
        assert!(positive("0.5").is_ok() && share("0.05").is_ok());
        for text in ["0", "-1", "NaN", "inf", "soon"] {
            assert!(positive(text).is_err() && share(text).is_err(), "{text}");
        }
        assert!(share("1").is_err());
    }
}
