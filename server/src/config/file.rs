//! The settings as a TOML file. Its keys are the names of the flags; what stands in it takes the place of
//! the defaults, so that the environment and the flags win over it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Command;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the file is looked for when none is named.
pub const USUAL: &str = "/etc/tessera/tessera.toml";

/// The settings of a server. Secrets that open others, such as the master key, stand in files of their
/// own or in the environment.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(title = "Tessera", rename = "Tessera")]
pub struct File {
    /// Folder for the database, logs and local keys.
    pub data: Option<PathBuf>,
    /// Port to listen on; 0 takes a free one.
    pub port: Option<u16>,
    /// Address to listen on.
    pub host: Option<String>,
    /// Address under which browsers reach the server, such as `https://agents.example`.
    pub public_url: Option<String>,
    /// Number of proxies before the server.
    pub proxies: Option<usize>,
    /// Calls that a key may make in a minute; 0 for as many as it likes.
    pub rate_limit: Option<u32>,
    /// Folder of a planner to use instead of the shipped one.
    pub planner: Option<PathBuf>,
    /// Folder of a larger planner, which plans what the planner in use is not sure of.
    pub larger_planner: Option<PathBuf>,
    /// Largest p-value at which the gate calls a planner better.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub gate_alpha: Option<f64>,
    /// Longest median plan that the gate lets pass, milliseconds.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub gate_plan_ms: Option<f64>,
    /// Confidence below which plans are not acted on without a person.
    #[schemars(range(min = 0, max = 1))]
    pub default_abstain_below: Option<f64>,
    /// Service that makes the effects of acts.
    pub connector: Option<String>,
    /// Says that the connector makes the effect of each key once.
    pub connector_keyed: Option<bool>,
    /// Runs driven at a time.
    pub workers: Option<u16>,
    /// File with the master key instead of `master.key` in the data folder.
    pub master_key_file: Option<PathBuf>,
    /// Address and port of a listener of the operators' own for `/metrics` and health.
    pub metrics: Option<SocketAddr>,
    /// Postgres to use instead of a private one.
    pub database_url: Option<String>,
    /// Which lines are logged, such as `info,sqlx=warn`.
    pub log: Option<String>,
    /// Form of the log.
    pub log_format: Option<LogFormat>,
    /// Collector of OpenTelemetry, which takes traces over HTTP at `/v1/traces` below it.
    pub otlp: Option<String>,
}

/// Form of the log.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, with line and column, as a text of several lines.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        Self::parse(&text).map_err(|error| format!("{shown}: {error}"))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`File::read`].
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// Returns the JSON Schema of the file.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Returns what is set, by the names of the settings.
    fn set(&self) -> Vec<(String, String)> {
        let Ok(Value::Object(members)) = serde_json::to_value(self) else { return Vec::new() };
        let text = |value: Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        let set = members.into_iter();
        set.filter_map(|(name, value)| Some((name.replace('-', "_"), text(value)?))).collect()
    }

    /// Makes what is set the default of a command line.
    #[must_use]
    pub fn defaults(&self, command: Command) -> Command {
        self.set().into_iter().fold(command, |command, (name, value)| {
            command.mut_arg(name, |argument| argument.default_value(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_or_has_another_type_is_named_with_its_place() {
        for (text, place, word) in [
            ("port = 7080\nprot = 1\n", "line 2, column 1", "prot"),
            ("port = \"x\"\n", "line 1, column 8", "u16"),
            ("port = 70000\n", "line 1, column 8", "70000"),
            ("log-format = \"xml\"\n", "line 1, column 14", "xml"),
            ("[server]\nport = 1\n", "line 1", "server"),
            ("port = = 1\n", "line 1, column 8", ""),
        ] {
            let error = File::parse(text).unwrap_err();
            assert!(error.contains(place) && error.contains(word), "{text}: {error}");
        }
        assert_eq!(File::parse("").unwrap(), File::default());
    }
}
