//! `tessera ask`: one request from the command line, through the same store and workers as any other.
//!
//! Beside a running server the run is queued for its workers; otherwise one works in this process.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use agents::event::Citation;
use clap::Args;
use tokio::sync::watch;

use super::demo;
use super::open::{Opened, connector, open};
use super::{CliError, say};
use crate::agent::{Agents, new_run};
use crate::config::Config;
use crate::egress::Egress;
use crate::jobs::{Rules, Worker};
use crate::models::Models;
use crate::packs::Packs;
use crate::store::{NewRun, RunId, RunSource, Store, TenantId};
use crate::view::RunView;

/// Longest request in bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// Longest wait for an end.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct AskCommand {
    /// The request; read from standard input when absent or `-`.
    request: Option<std::ffi::OsString>,
    /// Pack whose demo joint venture is asked.
    #[arg(long, required_unless_present = "tenant")]
    pack: Option<String>,
    /// Joint venture to ask.
    #[arg(long, conflicts_with = "pack")]
    tenant: Option<String>,
    /// Print calls, results, citations and timings as JSON.
    #[arg(long)]
    json: bool,
}

/// Reads the request as UTF-8, bounded.
fn request(given: Option<std::ffi::OsString>) -> Result<String, CliError> {
    let text = match given.filter(|text| text != "-") {
        Some(text) => text
            .into_string()
            .map_err(|_| CliError::Input("the request is not valid UTF-8".to_owned()))?,
        None => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            String::from_utf8(bytes)
                .map_err(|_| CliError::Input("the request is not valid UTF-8".to_owned()))?
        }
    };
    if text.trim().is_empty() {
        return Err(CliError::Input(
            "the request is empty; say what you want to know or do".to_owned(),
        ));
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(CliError::Input(format!(
            "the request has more than {MAX_BYTES} bytes; upload long tables as a dataset and name it"
        )));
    }
    Ok(text)
}

fn known_pack(name: &str) -> Result<(), CliError> {
    let packs = agents::pack::shipped().map_err(|error| CliError::Pack(error.to_string()))?;
    let names: Vec<&str> = packs.iter().map(|pack| pack.manifest.id.as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(CliError::Input(format!("there is no pack `{name}`; there are: {}", names.join(", "))))
}

pub(super) async fn ask(config: &Config, command: AskCommand) -> Result<(), CliError> {
    let request = request(command.request)?;
    if let Some(pack) = &command.pack {
        known_pack(pack)?;
    }
    let opened = open(config, false).await?;
    let slug = match (&command.tenant, &command.pack) {
        (Some(tenant), _) => tenant.clone(),
        (None, pack) => format!("demo-{}", pack.as_deref().unwrap_or_default()),
    };
    let done = run(config, &opened, &slug, &request).await;
    opened.close().await?;
    let view = done?;
    if command.json {
        let text = serde_json::to_string_pretty(&view)
            .map_err(|error| CliError::Input(error.to_string()))?;
        say(text)?;
    } else {
        print(&view)?;
    }
    match view.status {
        "failed" => Err(CliError::Run(view.error.map_or_else(String::new, |fault| fault.code))),
        _ => Ok(()),
    }
}

async fn run(
    config: &Config,
    opened: &Opened,
    slug: &str,
    request: &str,
) -> Result<RunView, CliError> {
    let store = &opened.store;
    demo::ensure(store, &config.vault()?).await?;
    let tenant = super::admin::find(store, slug).await?;
    let mut tx = store.begin(tenant).await?;
    let pack = tx.tenant().await?.pack;
    let new = NewRun { source: RunSource::Cli, ..new_run(&pack, &pack, request, None) };
    let (id, _) = tx.create_run(&new).await?;
    tx.commit().await?;
    if opened.is_alone() {
        let models = Models::open(config).map_err(CliError::Planner)?;
        let vault = Arc::new(config.vault()?);
        let packs = Packs::new(&config.data_folder(), Egress::default(), vault);
        let agents = Agents::shipped(models).map_err(CliError::Pack)?.with_packs(packs);
        let (stop, stopped) = watch::channel(false);
        let worker = Worker {
            store: store.clone(),
            stepper: Arc::new(agents),
            rules: Rules::default(),
            connector: connector(config)?,
        };
        let worker = tokio::spawn(worker.work(stopped));
        let ended = wait(store, tenant, id).await;
        // The worker ends after the step in hand; a closed channel stops it as well.
        stop.send_replace(true);
        drop(worker.await);
        return ended;
    }
    wait(store, tenant, id).await
}

/// Waits until the run ended or needs a person.
async fn wait(store: &Store, tenant: TenantId, id: RunId) -> Result<RunView, CliError> {
    let begun = std::time::Instant::now();
    loop {
        let mut tx = store.begin(tenant).await?;
        let run = tx.get_run(id).await?;
        if run.status.is_final() || run.status.waits() {
            return Ok(RunView::of(&run, &tx.events(id, 0).await?));
        }
        drop(tx);
        if begun.elapsed() > PATIENCE {
            return Err(CliError::Input(format!(
                "run {id} did not end within {} s; the server's workers may be busy or stopped",
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

fn print(view: &RunView) -> Result<(), CliError> {
    if let Some(answer) = &view.answer {
        say(answer)?;
    }
    if let Some(fault) = &view.error {
        say(format_args!("{}: {}", fault.code, fault.message))?;
    }
    for call in view.calls.iter().filter(|call| call.decided_by.is_none()) {
        if call.status == crate::view::CallStatus::WaitingApproval {
            say(format_args!(
                "`{}` waits for a person's approval: open the run in the dashboard.\n{:#}",
                call.tool, call.arguments
            ))?;
        }
    }
    for warning in &view.warnings {
        say(format_args!("! {warning}"))?;
    }
    if !view.citations.is_empty() {
        say("\nSources")?;
    }
    for citation in &view.citations {
        match citation {
            Citation::Tool { tool, method, .. } => say(format_args!("- {tool}: {method}"))?,
            Citation::Document { document, title, version, heading, source, .. } => say(
                format_args!("- {title} ({document}, version {version}, “{heading}”): {source}"),
            )?,
            Citation::Dataset { dataset, .. } => say(format_args!("- dataset {dataset}"))?,
        }
    }
    say(format_args!(
        "\nrun {} · planned in {:.0} ms, called in {:.0} ms",
        view.id, view.timings.plan_ms, view.timings.calls_ms
    ))
}
