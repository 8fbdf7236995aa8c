//! Where the server keeps its data and listens: flags win over the environment, which wins over defaults.

use std::path::PathBuf;

use clap::Args;

/// Settings of a start.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Folder for the database, logs and local keys.
    #[arg(long, env = "TESSERA_DATA", global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "TESSERA_PORT", default_value_t = 7080, global = true)]
    pub port: u16,
    /// Address to listen on.
    #[arg(long, env = "TESSERA_HOST", default_value = "127.0.0.1", global = true)]
    pub host: String,
    /// Folder of a planner to use instead of the shipped one.
    #[arg(long, env = "TESSERA_PLANNER", global = true, value_name = "DIR")]
    pub planner: Option<PathBuf>,
    /// Postgres to use instead of a private one.
    #[arg(long, env = "DATABASE_URL", global = true, hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
}

impl Config {
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
