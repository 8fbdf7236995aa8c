//! `tessera model list|add|promote|rollback|shadow`: the planners of a joint venture, from the machine
//! of the server. A running server uses what is promoted here with its next run.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::open::{Opened, open};
use super::super::{CliError, admin, demo, eval, say};
use super::gate::{bar, print};
use crate::agent::Agents;
use crate::config::Config;
use crate::models::api::{overview, view};
use crate::models::change::{self, verdict_of};
use crate::models::job::judge;
use crate::models::{Addition, ModelError, Models, add, pack_of};
use crate::store::{Model, TenantId};

/// Who changes planners from the command line.
const BY: &str = "command line";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RegistryCommand {
    /// List the planners of a joint venture, and which one plans.
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Register the planner of a folder as a candidate.
    Add {
        /// Folder with `config.json`, `tokenizer.json` and weights, as `model train` writes it.
        folder: PathBuf,
        /// Name for people; the next of v1, v2, … when absent.
        #[arg(long)]
        label: Option<String>,
        /// Version of the planner that it continues.
        #[arg(long, default_value = "")]
        base: String,
        #[command(flatten)]
        of: Of,
    },
    /// Make a candidate the planner of its joint venture, if the gate lets it pass.
    ///
    /// Runs the gate first where no verdict speaks about the planner that plans now. Ends with 1 when
    /// the candidate stays one.
    Promote {
        /// Identifier or label.
        id: String,
        #[command(flatten)]
        of: Of,
    },
    /// Go back to the planner before the present one; the program's own is the last.
    Rollback {
        #[command(flatten)]
        of: Of,
    },
    /// Let a planner plan each run beside the live one, for comparison only.
    Shadow {
        /// Identifier or label.
        id: String,
        /// Take it out of the shadow.
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        of: Of,
    },
}

/// Whose planners, and how to print.
#[derive(Debug, Args)]
pub(in crate::cli) struct Of {
    /// Pack whose demo joint venture is meant.
    #[arg(long, required_unless_present = "tenant")]
    pack: Option<String>,
    /// Name of the joint venture.
    #[arg(long, conflicts_with = "pack")]
    tenant: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl RegistryCommand {
    fn of(&self) -> &Of {
        match self {
            Self::List { of }
            | Self::Add { of, .. }
            | Self::Promote { of, .. }
            | Self::Rollback { of }
            | Self::Shadow { of, .. } => of,
        }
    }
}

/// Runs a command on the planners of a joint venture.
pub(super) async fn registry(config: &Config, command: RegistryCommand) -> Result<(), CliError> {
    if let Some(pack) = &command.of().pack {
        eval::find(pack)?;
    }
    let opened = open(config, false).await?;
    let done = run(config, &opened, command).await;
    opened.close().await?;
    done
}

async fn run(config: &Config, opened: &Opened, command: RegistryCommand) -> Result<(), CliError> {
    let store = &opened.store;
    let slug = match (&command.of().tenant, &command.of().pack) {
        (Some(tenant), _) => tenant.clone(),
        (None, pack) => {
            demo::ensure(store, &config.vault()?).await?;
            format!("demo-{}", pack.as_deref().unwrap_or_default())
        }
    };
    let tenant = admin::find(store, &slug).await?;
    let models = Models::open(config).map_err(CliError::Planner)?;
    let json = command.of().json;
    match command {
        RegistryCommand::List { .. } => {
            let mut tx = store.begin(tenant).await?;
            let shown = overview(&models, &mut tx).await;
            list(&shown.map_err(|problem| CliError::Input(problem.detail))?, json)
        }
        RegistryCommand::Add { folder, label, base, .. } => {
            let addition = Addition { folder, label, base, by: BY.to_owned() };
            let (model, new) = add(&Arc::new(models), store, tenant, &addition).await?;
            let said = if new { "a candidate" } else { "registered before" };
            told(
                &model,
                json,
                &format!("{}\t{}\t{}\t{said}", model.id, model.label, model.version()),
            )
        }
        RegistryCommand::Promote { id, .. } => {
            let agents = Arc::new(Agents::shipped(models).map_err(CliError::Pack)?);
            let id = find(opened, tenant, &id).await?;
            let model = promote(&agents, opened, tenant, id, json).await?;
            told(&model, json, &format!("{} ({}) plans from now on", model.label, model.version()))
        }
        RegistryCommand::Rollback { .. } => {
            let models = Arc::new(models);
            match change::rollback(&models, store, tenant, BY).await? {
                Some(model) => {
                    let said = format!("{} ({}) plans again", model.label, model.version());
                    told(&model, json, &said)
                }
                None => {
                    let version = models.default_planner().version().to_owned();
                    if json {
                        return say(json!({ "version": version, "state": "default" }));
                    }
                    say(format_args!("the program's own planner ({version}) plans again"))
                }
            }
        }
        RegistryCommand::Shadow { id, off, .. } => {
            let id = find(opened, tenant, &id).await?;
            let model = change::shadow(&Arc::new(models), store, tenant, id, !off).await?;
            told(&model, json, &format!("{} is a {} now", model.label, model.state.name()))
        }
    }
}

/// Finds a planner by its identifier or label.
async fn find(opened: &Opened, tenant: TenantId, wanted: &str) -> Result<Uuid, CliError> {
    let known = opened.store.begin(tenant).await?.models().await?;
    let found = known.iter().find(|one| one.label == wanted || one.id.to_string() == wanted);
    found.map(|model| model.id).ok_or_else(|| {
        let labels: Vec<&str> = known.iter().map(|model| model.label.as_str()).collect();
        CliError::Input(format!(
            "there is no planner `{wanted}`; there are: {}",
            if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }
        ))
    })
}

/// Promotes a planner, after the gate where that has to run.
async fn promote(
    agents: &Arc<Agents>,
    opened: &Opened,
    tenant: TenantId,
    id: Uuid,
    json: bool,
) -> Result<Model, CliError> {
    let (models, store) = (agents.models(), &opened.store);
    let pack = pack_of(&store.begin(tenant).await?.tenant().await?.pack)?;
    match change::promote(models, store, tenant, &pack, id, BY).await {
        Err(ModelError::GateNeeded(_)) => {
            let model = judge(agents, store, tenant, id, bar()).await?;
            if let Some(gated) = verdict_of(&model).filter(|_| !json) {
                print(&gated.verdict, &[model.version(), gated.basis.against])?;
            }
            Ok(change::promote(models, store, tenant, &pack, id, BY).await?)
        }
        done => Ok(done?),
    }
}

fn told(model: &Model, json: bool, said: &str) -> Result<(), CliError> {
    if json { say(view(model)) } else { say(said) }
}

fn list(shown: &Value, json: bool) -> Result<(), CliError> {
    if json {
        return say(shown);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    say(format_args!(
        "{:<36}  {:<12} {:<19} {:<10} {:<10} made",
        "planner", "label", "version", "state", "gate"
    ))?;
    for one in shown["planners"].as_array().into_iter().flatten() {
        let gate = match one["gate"]["verdict"]["passed"].as_bool() {
            Some(true) => "passed",
            Some(false) => "kept back",
            None => "not run",
        };
        say(format_args!(
            "{:<36}  {:<12} {:<19} {:<10} {gate:<10} {} by {}",
            text(&one["id"]),
            text(&one["label"]),
            text(&one["version"]),
            text(&one["state"]),
            text(&one["created_at"]).get(..10).unwrap_or_default(),
            text(&one["created_by"]),
        ))?;
    }
    let default = text(&shown["default"]["version"]);
    let live = text(&shown["live"]["version"]);
    let state = if live == default { "live" } else { "ready" };
    say(format_args!("{:<36}  {:<12} {default:<19} {state}", "the program's own", ""))
}
