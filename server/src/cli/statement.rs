//! Contracts, statements, disputes and who signs, on the command line. `statement verify`, `keygen` and
//! `countersign` need neither a server nor a network: a party runs them on a machine of its own.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use agents::outcome::contract::Contract;
use agents::outcome::readout::Observation;
use agents::outcome::receipt::{Countersignature, Export, Kept, Receipt, Seal, verify};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::open::open;
use super::outcome::{BY, kpis, loaded, told, with_tenant};
use super::{CliError, admin, say};
use crate::config::Config;
use crate::outcomes::Act;
use crate::outcomes::ledger::{add_contract, dispute, export, month, reject, settle, state};
use crate::outcomes::pdf;
use crate::outcomes::signing::{countersign, rotate};

#[derive(Debug, Subcommand)]
pub(super) enum StatementCommand {
    /// Keep a contract of a JSON file; it never changes.
    Contract {
        /// File, as `POST /v1/contracts` takes it.
        file: PathBuf,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// List the statements and credit notes.
    List {
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Make the statement of a month.
    Make {
        /// Name of the contract.
        contract: String,
        /// Month, UTC, such as 2026-10.
        month: String,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Write a statement with its events, receipt and signatures to a file.
    Export {
        /// Number of the statement.
        number: i32,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
        /// Write it on paper (PDF) instead.
        #[arg(long)]
        pdf: bool,
    },
    /// Compute an exported statement again, offline, and name what differs.
    Verify(VerifyCommand),
    /// Dispute a statement.
    Dispute {
        /// Number of the statement.
        number: i32,
        /// What is wrong.
        #[arg(long)]
        reason: String,
        /// Observation that is wrong, by identifier; may be repeated.
        #[arg(long = "observation")]
        observations: Vec<String>,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// List the disputes.
    Disputes {
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Settle a dispute by a credit note over corrected observations, or reject it without any.
    Decide {
        /// Identifier of the dispute.
        dispute: Uuid,
        /// What is answered.
        #[arg(long)]
        answer: String,
        /// File with an array of the corrected observations, in full.
        #[arg(long)]
        corrected: Option<PathBuf>,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Make a party's key in a file, offline, and print what registers it.
    Keygen {
        /// Name of the party, as the contract has it.
        #[arg(long)]
        party: String,
        /// Name of the joint venture.
        #[arg(long)]
        venture: String,
        /// File for the secret key; it must not exist.
        #[arg(long)]
        out: PathBuf,
    },
    /// Check an exported statement and sign its receipt for a party, offline; prints the signature.
    Countersign {
        /// The export.
        file: PathBuf,
        /// Name of the party, as the contract has it.
        #[arg(long)]
        party: String,
        /// File of the party's secret key.
        #[arg(long)]
        secret: PathBuf,
        /// Public key that the joint venture gave, hex.
        #[arg(long)]
        key: Option<String>,
    },
    /// Keep the signature of a party that `countersign` printed to a file.
    Accept {
        /// The signature.
        file: PathBuf,
        /// Number of the statement.
        #[arg(long)]
        number: i32,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// List the keys that sign and signed, and those of the parties.
    Keys {
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Put a new key in place of the one that signs; the old one names it.
    RotateKey {
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct VerifyCommand {
    /// The export.
    file: PathBuf,
    /// Public key that the joint venture gave, hex; one from before a rotation leads to later ones.
    #[arg(long)]
    key: Option<String>,
    /// The receipt (or whole export) that was kept when the statement came.
    #[arg(long)]
    receipt: Option<PathBuf>,
    /// Party that must have signed too, with its public key: `NAME=HEX`; may be repeated.
    #[arg(long = "party", value_name = "NAME=HEX", value_parser = party_key)]
    parties: Vec<(String, String)>,
}

fn party_key(text: &str) -> Result<(String, String), String> {
    let parts = text.rsplit_once('=').filter(|(name, key)| !name.is_empty() && key.len() == 64);
    let (name, key) = parts.ok_or("write NAME=HEX with the 64 digits of the public key")?;
    Ok((name.to_owned(), key.to_lowercase()))
}

pub(super) async fn statement(config: &Config, command: StatementCommand) -> Result<(), CliError> {
    match command {
        StatementCommand::Verify(command) => check(&command),
        StatementCommand::Keygen { party, venture, out } => keygen(&party, &venture, &out),
        StatementCommand::Countersign { file, party, secret, key } => {
            sign(&file, &party, &secret, key.as_deref())
        }
        StatementCommand::Accept { .. }
        | StatementCommand::Keys { .. }
        | StatementCommand::RotateKey { .. } => signing(config, command).await,
        StatementCommand::Dispute { .. }
        | StatementCommand::Disputes { .. }
        | StatementCommand::Decide { .. } => disputes(config, command).await,
        StatementCommand::List { tenant } => list(config, &tenant).await,
        StatementCommand::Contract { file, tenant } => {
            let contract: Contract = loaded(&file)?;
            with_tenant!(config, &tenant, |tx| {
                add_contract(&mut tx, &contract, BY).await.map_err(told)?;
                say(format_args!("{} is kept, {}", contract.name, contract.sha256()))?;
            })
        }
        StatementCommand::Make { contract, month: text, tenant } => {
            let (period, vault) = (month(&text).map_err(told)?, config.vault()?);
            with_tenant!(config, &tenant, |tx| {
                let made = state(&mut tx, &contract, period, Act::now(BY, &vault)).await;
                say(format_args!("Made statement {}", made.map_err(told)?))?;
            })
        }
        StatementCommand::Export { number, tenant, out, pdf: true } => {
            with_tenant!(config, &tenant, |tx| {
                let kept = tx.statement(number).await?;
                std::fs::write(&out, pdf::render(&kept, &tx.countersignatures(number).await?))?;
                say(format_args!("Wrote {}", out.display()))?;
            })
        }
        StatementCommand::Export { number, tenant, out, .. } => {
            with_tenant!(config, &tenant, |tx| {
                let export = export(&mut tx, number).await.map_err(told)?;
                std::fs::write(&out, format!("{:#}\n", json!(export)))?;
                say(format_args!(
                    "Wrote {} with {} events; receipt {}, public key {}",
                    out.display(),
                    export.events.len(),
                    export.receipt.fingerprint(),
                    export.receipt.public_key
                ))?;
            })
        }
    }
}

async fn list(config: &Config, tenant: &str) -> Result<(), CliError> {
    with_tenant!(config, tenant, |tx| {
        for one in tx.statements(None).await?.iter().rev() {
            let document = &one.document;
            let parts = document.payable.iter();
            let currency = &document.contract.currency;
            let parts = parts.map(|p| format!("{} {}", p.party, p.amount.money(currency)));
            let parts: Vec<String> = parts.collect();
            say(format_args!(
                "{}\t{} to {}\t{} {currency}",
                pdf::title(document),
                document.from,
                document.to,
                parts.join(", ")
            ))?;
        }
    })
}

async fn disputes(config: &Config, command: StatementCommand) -> Result<(), CliError> {
    match command {
        StatementCommand::Dispute { number, reason, observations, tenant } => {
            with_tenant!(config, &tenant, |tx| {
                let now = Timestamp::now();
                let id = dispute(&mut tx, number, &reason, &observations, now, BY).await;
                say(format_args!("Opened dispute {}", id.map_err(told)?))?;
            })
        }
        StatementCommand::Decide { dispute: id, answer, corrected, tenant } => {
            let corrected: Vec<Observation> =
                corrected.as_deref().map(loaded).transpose()?.unwrap_or_default();
            let vault = config.vault()?;
            with_tenant!(config, &tenant, |tx| {
                if corrected.is_empty() {
                    reject(&mut tx, id, &answer, BY).await.map_err(told)?;
                    say("Rejected.")?;
                } else {
                    let (kpis, act) = (kpis(&mut tx).await?, Act::now(BY, &vault));
                    let note = settle(&mut tx, &kpis, id, &corrected, &answer, act).await;
                    say(format_args!("Settled by credit note {}", note.map_err(told)?))?;
                }
            })
        }
        command => {
            let StatementCommand::Disputes { tenant } = command else { return Ok(()) };
            with_tenant!(config, &tenant, |tx| {
                for one in tx.disputes().await? {
                    say(format_args!(
                        "{}\tstatement {}\t{}\t{}",
                        one.id, one.statement, one.state, one.reason
                    ))?;
                }
            })
        }
    }
}

async fn signing(config: &Config, command: StatementCommand) -> Result<(), CliError> {
    match command {
        StatementCommand::Accept { file, number, tenant } => {
            let new: Countersignature = loaded(&file)?;
            with_tenant!(config, &tenant, |tx| {
                countersign(&mut tx, number, &new, BY).await.map_err(told)?;
                say(format_args!("{} has signed statement {number}", new.party))?;
            })
        }
        StatementCommand::RotateKey { tenant } => {
            let vault = config.vault()?;
            with_tenant!(config, &tenant, |tx| {
                let next = rotate(&mut tx, Act::now(BY, &vault)).await.map_err(told)?;
                say(format_args!("{} signs from now on", next.public_key))?;
                if next.handover.is_none() && next.version > 1 {
                    say("The key before does not open and could not name it; tell the parties.")?;
                }
            })
        }
        command => {
            let StatementCommand::Keys { tenant } = command else { return Ok(()) };
            with_tenant!(config, &tenant, |tx| {
                for key in tx.signing_keys().await? {
                    let named = if key.handover.is_some() { "named by the one before" } else { "" };
                    say(format_args!("signs\t{}\tsince {}\t{named}", key.public_key, key.at))?;
                }
                for key in tx.party_keys().await? {
                    let said = &key.registration;
                    say(format_args!(
                        "{}\t{}\tsince {}\tby {}",
                        said.party, said.public_key, key.at, key.by
                    ))?;
                }
            })
        }
    }
}

fn keygen(party: &str, venture: &str, out: &Path) -> Result<(), CliError> {
    let secret: [u8; 32] = rand::random();
    let seal = Seal::of(&secret).map_err(|error| CliError::Input(error.to_string()))?;
    let failed = |error: std::io::Error| CliError::Input(format!("{}: {error}", out.display()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let mut file = made.map_err(failed)?;
    file.write_all(format!("{}\n", hex::encode(secret)).as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    say(json!(seal.register(venture, party)))
}

/// Reads the secret key that [`keygen`] wrote.
fn secret_key(file: &Path) -> Result<Seal, CliError> {
    let wrong = || CliError::Input(format!("{} holds no secret key", file.display()));
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::Input(format!("{}: {error}", file.display())))?;
    let bytes = hex::decode(text.trim()).map_err(|_| wrong())?;
    Seal::of(&bytes).map_err(|_| wrong())
}

fn sign(file: &Path, party: &str, secret: &Path, key: Option<&str>) -> Result<(), CliError> {
    let export: Export = loaded(file)?;
    let faults = verify(&export, Kept { public_key: key, ..Kept::default() });
    if !faults.is_empty() {
        let detail = format!(
            "{} is not signed, since it does not hold: {}",
            file.display(),
            faults.join("; ")
        );
        return Err(CliError::Run(detail));
    }
    if !export.document.contract.parties.iter().any(|known| known.name == party) {
        return Err(CliError::Input(format!("`{party}` is no party of the contract")));
    }
    say(json!(secret_key(secret)?.countersign(party, &export.receipt.sha256(), Timestamp::now())))
}

fn check(command: &VerifyCommand) -> Result<(), CliError> {
    let VerifyCommand { file, key, receipt, parties } = command;
    let export: Export = loaded(file)?;
    let kept = receipt.as_deref().map(kept_receipt).transpose()?;
    let held = Kept { public_key: key.as_deref(), receipt: kept.as_ref(), parties };
    let faults = verify(&export, held);
    for fault in &faults {
        say(format_args!("WRONG: {fault}"))?;
    }
    if !faults.is_empty() {
        return Err(CliError::Run(format!("{} does not hold", file.display())));
    }
    let document = &export.document;
    say(format_args!(
        "Holds: {} of {}, {} events, receipt {}",
        pdf::title(document),
        document.venture,
        export.events.len(),
        export.receipt.fingerprint()
    ))?;
    for part in &document.payable {
        let currency = &document.contract.currency;
        say(format_args!("{}\t{} {currency}", part.party, part.amount.money(currency)))?;
    }
    for one in &export.countersignatures {
        say(format_args!("Signed by {} with the key {}", one.party, one.public_key))?;
    }
    if key.is_none() {
        say("The key is the one in the file; pass --key with the key that you were given.")?;
    }
    Ok(())
}

/// Reads a receipt, alone or within an export.
fn kept_receipt(file: &Path) -> Result<Receipt, CliError> {
    match loaded::<Receipt>(file) {
        Ok(receipt) => Ok(receipt),
        Err(error) => loaded::<Export>(file).map(|export| export.receipt).map_err(|_| error),
    }
}
