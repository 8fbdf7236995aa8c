//! `tessera pack install`, `pack releases`, `pack rollback` and `pack set`: packs of a joint venture.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::Command;

use agents::eval::Summary;
use agents::pack::{Manifest, Setting};
use clap::{Args, Subcommand};

use super::open::open;
use super::{CliError, admin, pack_seal, say};
use crate::config::Config;
use crate::packs::install::{Examined, InstallError, Trust, examine, install, roll_back, set};
use crate::packs::{Shelf, digest_of, settings};
use crate::planner;
use crate::store::{NewTenant, Store, TenantId};
use crate::vault::Vault;

#[derive(Debug, Subcommand)]
pub(super) enum HeldCommand {
    /// Install an archive for a joint venture, or upgrade to it.
    ///
    /// Shows who signed it, what it asks for, what its cases come to and what it changes, and asks for
    /// consent. Runs that are under way keep their version. Ends with 2 when it is refused.
    Install(InstallCommand),
    /// List the versions of packs that a joint venture has.
    Releases {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Go back to the version that was live before.
    Rollback {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Change settings of the installed pack.
    Set {
        /// Name of the joint venture.
        tenant: String,
        #[command(flatten)]
        values: Values,
    },
}

/// Values of settings.
#[derive(Debug, Args)]
pub(super) struct Values {
    /// Value of a setting; a secret is better given by `--set-file`, because a command line is seen by
    /// others.
    #[arg(long = "set", value_name = "ID=VALUE", value_parser = pair)]
    given: Vec<(String, String)>,
    /// Value of a setting, in a file.
    #[arg(long = "set-file", value_name = "ID=FILE", value_parser = pair)]
    files: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct InstallCommand {
    /// The archive.
    archive: PathBuf,
    /// Name of the joint venture.
    #[arg(long)]
    tenant: String,
    /// Make the joint venture, with this pack.
    #[arg(long)]
    make: bool,
    #[command(flatten)]
    values: Values,
    /// Public key whose packs are let in; may be given several times.
    #[arg(long, env = "TESSERA_PACK_TRUST", value_delimiter = ',', value_name = "PUBLIC_KEY")]
    trust: Vec<String>,
    /// Let it in although nobody who is trusted has signed it.
    #[arg(long)]
    allow_unsigned: bool,
    /// Let it in although the planner makes less of its cases than of those of the version in use.
    #[arg(long)]
    accept_worse: bool,
    /// Consent without being asked.
    #[arg(long)]
    yes: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (id, value) = text.split_once('=').ok_or("write ID=VALUE")?;
    Ok((id.to_owned(), value.to_owned()))
}

fn refused(error: InstallError) -> CliError {
    match error {
        InstallError::Store(error) => CliError::Store(error),
        InstallError::Io(error) => CliError::Io(error),
        other => CliError::Input(other.to_string()),
    }
}

impl Values {
    fn read(&self) -> Result<BTreeMap<String, String>, CliError> {
        let mut all: BTreeMap<String, String> = self.given.iter().cloned().collect();
        for (id, file) in &self.files {
            let text = std::fs::read_to_string(file)
                .map_err(|error| CliError::Input(format!("{file}: {error}")))?;
            all.insert(id.clone(), text.trim_end_matches(['\n', '\r']).to_owned());
        }
        Ok(all)
    }
}

pub(super) async fn held(config: &Config, command: HeldCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = on(config, &opened.store, command).await;
    opened.close().await?;
    done
}

async fn on(config: &Config, store: &Store, command: HeldCommand) -> Result<(), CliError> {
    let shelf = Shelf::below(&config.data_folder());
    match command {
        HeldCommand::Install(command) => let_in(config, store, &shelf, command).await,
        HeldCommand::Releases { tenant } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            let pack = tx.tenant().await?.pack;
            for one in tx.pack_releases().await? {
                let live = if digest_of(&pack) == Some(&one.digest) { "live" } else { "kept" };
                let signer = one.signer.as_deref().unwrap_or("unsigned");
                say(format_args!(
                    "{live}\t{} {}\t{}\t{signer}\t{}\t{}",
                    one.pack,
                    one.version,
                    &one.digest[..12],
                    one.installed_by,
                    one.installed_at
                ))?;
            }
            Ok(())
        }
        HeldCommand::Rollback { tenant } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            let release = roll_back(&mut tx, &shelf).await.map_err(refused)?;
            tx.commit().await?;
            say(format_args!("{tenant} is back at {} {}", release.pack, release.version))
        }
        HeldCommand::Set { tenant, values } => {
            let mut tx = store.begin(admin::find(store, &tenant).await?).await?;
            let (given, vault) = (values.read()?, config.vault()?);
            set(&mut tx, &vault, &shelf, &given, "command line").await.map_err(refused)?;
            tx.commit().await?;
            let names: Vec<&str> = given.keys().map(String::as_str).collect();
            say(format_args!("set {}", names.join(", ")))
        }
    }
}

async fn let_in(
    config: &Config,
    store: &Store,
    shelf: &Shelf,
    command: InstallCommand,
) -> Result<(), CliError> {
    let bytes = pack_seal::read(&command.archive)?;
    let trust = Trust { keys: command.trust.clone(), anybody: command.allow_unsigned };
    let tenant = match command.make {
        true => None,
        false => Some(admin::find(store, &command.tenant).await?),
    };
    let before = match tenant {
        Some(tenant) => {
            let reference = store.begin(tenant).await?.tenant().await?.pack;
            digest_of(&reference).and_then(|digest| shelf.pack(digest).ok())
        }
        None => None,
    };
    let folder = config.planner.clone();
    let examining = tokio::task::spawn_blocking(move || {
        let planner = planner::load(folder.as_deref()).map_err(CliError::Planner)?;
        let examined = examine(&bytes, &trust, &planner, before.as_ref()).map_err(refused)?;
        Ok::<_, CliError>((bytes, examined))
    });
    let (bytes, examined) = examining.await.map_err(std::io::Error::other)??;
    show(&examined)?;
    if let Some((_, old)) = &examined.against
        && share(&examined.cases) < share(old)
        && !command.accept_worse
    {
        let said = "the planner makes less of its cases than of those of the version in use; `--accept-worse` lets it in";
        return Err(CliError::Input(said.to_owned()));
    }
    let vault = config.vault()?;
    let mut given = command.values.read()?;
    asked_for(store, tenant, &vault, &examined.pack.manifest, &mut given).await?;
    if !command.yes && !consented()? {
        return Err(CliError::Input("nothing was installed".to_owned()));
    }
    let tenant = match tenant {
        Some(tenant) => tenant,
        None => {
            // What is wrong with the settings must not leave a joint venture without a pack.
            let manifest = &examined.pack.manifest;
            manifest.configured(&given).map_err(InstallError::Settings).map_err(refused)?;
            let new = NewTenant {
                slug: command.tenant.clone(),
                name: command.tenant.clone(),
                pack: format!("{}@{}", manifest.id, examined.archive.digest),
                currency: "USD".to_owned(),
                timezone: "UTC".to_owned(),
            };
            store.create_tenant(&new).await?
        }
    };
    let mut tx = store.begin(tenant).await?;
    install(&mut tx, &vault, shelf, &examined, (&bytes, &given), "command line")
        .await
        .map_err(refused)?;
    tx.commit().await?;
    let list = &examined.archive.list;
    say(format_args!("{} has {} {}", command.tenant, list.id, list.version))
}

fn share(cases: &Summary) -> f64 {
    cases.all.exact_call.unwrap_or(1.0)
}

fn show(examined: &Examined) -> Result<(), CliError> {
    let list = &examined.archive.list;
    say(format_args!("{} {}, contents {}", list.id, list.version, examined.archive.digest))?;
    say(match &examined.archive.signer {
        Some(signer) => format!("signed by {signer}"),
        None => "not signed".to_owned(),
    })?;
    for (name, what) in examined.permissions.lines() {
        say(format_args!("{name}: {what}"))?;
    }
    let checks: usize = examined.report.sections.iter().map(|tally| tally.passed).sum();
    let cases = &examined.cases;
    say(format_args!(
        "{checks} of its own checks hold; of {} cases the planner plans {:.0}% exactly",
        cases.all.cases,
        share(cases) * 100.0
    ))?;
    let Some((difference, old)) = &examined.against else { return Ok(()) };
    say(format_args!(
        "against the version in use, which plans {:.0}% exactly:",
        share(old) * 100.0
    ))?;
    for (what, changes) in [
        ("tool", &difference.tools),
        ("rule", &difference.rules),
        ("document", &difference.documents),
    ] {
        for line in changes.lines() {
            say(format_args!("  {what} {line}"))?;
        }
    }
    for (name, what) in difference.beyond.lines() {
        say(format_args!("  now also {name}: {what}"))?;
    }
    Ok(())
}

/// Asks on a terminal for the settings that are needed and that nobody gave.
async fn asked_for(
    store: &Store,
    tenant: Option<TenantId>,
    vault: &Vault,
    manifest: &Manifest,
    given: &mut BTreeMap<String, String>,
) -> Result<(), CliError> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let kept = match tenant {
        Some(tenant) => {
            let read = settings::read(&mut store.begin(tenant).await?, vault, &manifest.id).await;
            read.map_err(|error| refused(error.into()))?
        }
        None => BTreeMap::new(),
    };
    let open = manifest.settings.iter().filter(|setting| {
        setting.required
            && setting.default.is_none()
            && !given.contains_key(&setting.id)
            && !kept.contains_key(&setting.id)
    });
    for setting in open.cloned().collect::<Vec<Setting>>() {
        let value = loop {
            let value = typed(&setting)?;
            match setting.accepts(&value) {
                Ok(()) => break value,
                Err(fault) => say(fault)?,
            }
        };
        given.insert(setting.id, value);
    }
    Ok(())
}

/// Reads a line; what is secret is not shown while it is typed.
fn typed(setting: &Setting) -> Result<String, CliError> {
    let mut err = std::io::stderr().lock();
    write!(err, "{} ({}): ", setting.id, setting.description)?;
    err.flush()?;
    let echo = |how: &str| Command::new("stty").arg(how).status().is_ok_and(|done| done.success());
    let hidden = setting.secret && echo("-echo");
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if hidden {
        echo("echo");
        writeln!(err)?;
    }
    match read? {
        0 => Err(CliError::Input(format!("`{}` is needed", setting.id))),
        _ => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
    }
}

fn consented() -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        let said = "without a terminal consent is given with `--yes`";
        return Err(CliError::Input(said.to_owned()));
    }
    let mut err = std::io::stderr().lock();
    write!(err, "Let it in with what it asks for? [y/N] ")?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
