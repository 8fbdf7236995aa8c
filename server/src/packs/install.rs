//! The way of an archive into a joint venture: checked, judged by its own cases, shown, consented to.
//!
//! [`examine`] finds out everything that a person needs for a decision and changes nothing; [`install`]
//! then changes all of it in one transaction. Runs that are under way keep their version.

use std::collections::BTreeMap;
use std::sync::Arc;

use agents::eval::{self, Summary};
use agents::judge::{Options, Report, judge};
use agents::pack::archive::{Archive, ArchiveError, open};
use agents::pack::check::{Severity, check};
use agents::pack::diff::Difference;
use agents::pack::{Pack, Permissions};
use agents::plan::Planner;
use agents::run::Agent;
use jiff::Timestamp;
use thiserror::Error;

use super::settings::{self, SettingsError};
use super::{Shelf, digest_of, id_of};
use crate::store::{PackRelease, StoreError, TenantTx};
use crate::vault::Vault;

/// Whose archives are let in.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Public keys, base64.
    pub keys: Vec<String>,
    /// Whether the operator lets in what nobody who is trusted has signed.
    pub anybody: bool,
}

/// Why an archive is not installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// It is damaged, forged or hostile.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Nobody who is trusted has signed it.
    #[error("{0}")]
    Untrusted(String),
    /// Its files have mistakes.
    #[error("the pack has mistakes:\n{}", .0.join("\n"))]
    Mistakes(Vec<String>),
    /// It does not keep what it promises.
    #[error("the pack does not keep what it promises:\n{}", .0.join("\n"))]
    Gate(Vec<String>),
    /// Settings are missing or malformed.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// There is no such version.
    #[error("{0}")]
    Absent(String),
    /// The archive cannot be kept.
    #[error("the archive cannot be kept: {0}")]
    Io(#[from] std::io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault.
    #[error("the settings cannot be kept: {0}")]
    Vault(String),
}

impl From<SettingsError> for InstallError {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Store(error) => Self::Store(error),
            SettingsError::Vault(error) => Self::Vault(error.to_string()),
        }
    }
}

/// What is known of an archive before it is let in.
#[derive(Debug)]
pub struct Examined {
    /// The archive.
    pub archive: Archive,
    /// Its pack.
    pub pack: Arc<Pack>,
    /// What it asks for.
    pub permissions: Permissions,
    /// Its judgement by its own known answers, rules, questions and answers.
    pub report: Report,
    /// What the planner makes of its cases.
    pub cases: Summary,
    /// What it changes against the version in use, and what the planner makes of that one's cases.
    pub against: Option<(Difference, Summary)>,
}

/// Reads an archive, refuses what nobody trusted has signed, and judges it. Takes seconds; call it on a
/// blocking thread.
///
/// # Errors
/// [`InstallError`]: the archive, its signer, its mistakes, or what it does not keep.
pub fn examine(
    bytes: &[u8],
    trust: &Trust,
    planner: &Arc<dyn Planner>,
    before: Option<&Pack>,
) -> Result<Examined, InstallError> {
    let archive = open(bytes)?;
    trusted(&archive, trust)?;
    let mistakes: Vec<String> = check(&archive.files)
        .into_iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| format!("{}:{}:{}: {}", one.file, one.line, one.column, one.message))
        .collect();
    if !mistakes.is_empty() {
        return Err(InstallError::Mistakes(mistakes));
    }
    let broken = |error: agents::pack::PackError| InstallError::Mistakes(vec![error.to_string()]);
    let pack = Arc::new(Pack::from_files(&archive.list.id, archive.files.clone()).map_err(broken)?);
    if agents::pack::shipped()
        .is_ok_and(|all| all.iter().any(|one| one.manifest.id == pack.manifest.id))
    {
        let said = format!(
            "`{}` is the name of a pack of this program; give the pack another",
            pack.manifest.id
        );
        return Err(InstallError::Untrusted(said));
    }
    let report = judge(&pack, &Options::default(), &mut |_| {}).map_err(broken)?;
    if !report.holds() {
        let failed = report.sections.iter().filter(|tally| !tally.holds);
        let faults = failed.flat_map(|tally| {
            let name = tally.section.name();
            tally
                .faults
                .iter()
                .map(move |fault| format!("{name}: {}: {}", fault.check, fault.message))
        });
        return Err(InstallError::Gate(faults.take(20).collect()));
    }
    let cases = ran(&pack, planner).map_err(broken)?;
    if cases.forbidden_violations > 0 {
        let said = format!("a forbidden tool was called in {} cases", cases.forbidden_violations);
        return Err(InstallError::Gate(vec![said]));
    }
    let same = before.filter(|before| before.manifest.id == pack.manifest.id);
    let against = match same {
        Some(before) => {
            let own = Arc::new(Pack {
                manifest: before.manifest.clone(),
                tools: before.tools.clone(),
                files: before.files.clone(),
            });
            Some((Difference::of(before, &pack), ran(&own, planner).map_err(broken)?))
        }
        None => None,
    };
    let permissions = Permissions::of(&pack);
    Ok(Examined { archive, pack, permissions, report, cases, against })
}

fn trusted(archive: &Archive, trust: &Trust) -> Result<(), InstallError> {
    let known = archive.signer.as_ref().is_some_and(|signer| trust.keys.contains(signer));
    if known || trust.anybody {
        return Ok(());
    }
    Err(InstallError::Untrusted(match &archive.signer {
        Some(signer) => format!(
            "the archive is signed by {signer}, which is not trusted here; an operator trusts it with `--trust`"
        ),
        None => {
            "the archive is not signed; an operator lets it in with `--allow-unsigned`".to_owned()
        }
    }))
}

fn ran(pack: &Arc<Pack>, planner: &Arc<dyn Planner>) -> Result<Summary, agents::pack::PackError> {
    let agent = Agent::new(Arc::clone(pack), Arc::clone(planner))?;
    let cases = eval::cases(pack)?;
    let outcomes: Result<Vec<_>, _> =
        cases.iter().map(|case| eval::run(&agent, case, eval::CASES_AT)).collect();
    Ok(Summary::of(&outcomes?))
}

/// Lets an examined archive in: keeps it, its settings and the consent, and makes it the live version.
///
/// # Errors
/// [`InstallError::Settings`] ⇐ every value that is missing or malformed, none repeated if secret.
pub async fn install(
    tx: &mut TenantTx,
    vault: &Vault,
    shelf: &Shelf,
    examined: &Examined,
    (bytes, given): (&[u8], &BTreeMap<String, String>),
    by: &str,
) -> Result<(), InstallError> {
    let manifest = &examined.pack.manifest;
    let mut all = settings::read(tx, vault, &manifest.id).await?;
    // A setting that this version does not know any more stays stored, for a way back.
    all.retain(|id, _| manifest.settings.iter().any(|setting| setting.id == *id));
    all.extend(given.clone());
    manifest.configured(&all).map_err(InstallError::Settings)?;
    shelf.put(&examined.archive.digest, bytes)?;
    settings::keep(tx, vault, &manifest.id, given, by).await?;
    let release = PackRelease {
        digest: examined.archive.digest.clone(),
        pack: manifest.id.clone(),
        version: manifest.version.clone(),
        signer: examined.archive.signer.clone(),
        permissions: serde_json::to_value(&examined.permissions).unwrap_or_default(),
        installed_by: by.to_owned(),
        installed_at: Timestamp::now(),
        live_at: Timestamp::now(),
    };
    tx.put_pack_release(&release).await?;
    Ok(())
}

/// Changes settings of the pack in use.
///
/// # Errors
/// [`InstallError::Settings`]; [`InstallError::Absent`] ⇐ the joint venture has no installed pack.
pub async fn set(
    tx: &mut TenantTx,
    vault: &Vault,
    shelf: &Shelf,
    given: &BTreeMap<String, String>,
    by: &str,
) -> Result<(), InstallError> {
    let reference = tx.tenant().await?.pack;
    let digest = digest_of(&reference).ok_or_else(|| {
        InstallError::Absent(format!("`{reference}` is a pack of this program and has no settings"))
    })?;
    let pack = shelf.pack(digest).map_err(InstallError::Absent)?;
    let mut all = settings::read(tx, vault, &pack.manifest.id).await?;
    all.extend(given.clone());
    pack.manifest.configured(&all).map_err(InstallError::Settings)?;
    Ok(settings::keep(tx, vault, &pack.manifest.id, given, by).await?)
}

/// Makes the version that was live before the current one the live one again.
///
/// # Errors
/// [`InstallError::Absent`] ⇐ there is none, or its archive is gone.
pub async fn roll_back(tx: &mut TenantTx, shelf: &Shelf) -> Result<PackRelease, InstallError> {
    let reference = tx.tenant().await?.pack;
    let live = digest_of(&reference);
    let earlier =
        tx.pack_releases().await?.into_iter().find(|release| {
            release.pack == id_of(&reference) && Some(release.digest.as_str()) != live
        });
    let earlier = earlier.filter(|_| live.is_some()).ok_or_else(|| {
        let id = id_of(&reference);
        InstallError::Absent(format!("there is no other version of `{id}` to go back to"))
    })?;
    shelf.pack(&earlier.digest).map_err(InstallError::Absent)?;
    tx.put_pack_release(&earlier).await?;
    Ok(earlier)
}
