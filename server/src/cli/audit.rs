//! `tessera audit`: exports the chain of a joint venture, checks an export offline, and erases.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::PathBuf;

use agents::audit::Verifier;
use clap::Subcommand;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::admin::find;
use super::open::open;
use super::{CliError, say};
use crate::audit::{Piece, erase_subject, export, set_retention};
use crate::config::Config;

/// Who acts on the command line, for the chain.
const ACTOR: (&str, &str) = ("command line", "command line");

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check an export without a server or a database, and name the first link that does not hold.
    Verify {
        /// The export, as `audit export` or `GET /v1/audit/export` wrote it.
        file: PathBuf,
        /// Hash of the last entry as it was noted down earlier; the export must hold it.
        #[arg(long)]
        head: Option<String>,
    },
    /// Write the chain of a joint venture and the journals of its runs as NDJSON.
    Export {
        /// Name of the joint venture.
        tenant: String,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write everything that a joint venture has as one archive: its tables without secrets, and its
    /// audit chain.
    Archive {
        /// Name of the joint venture.
        tenant: String,
        /// Zip file to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Erase what the ended runs say that mention a person; hashes, times and decisions stay.
    Erase {
        /// Name of the joint venture.
        tenant: String,
        /// What identifies the person: a number, a name, an address.
        #[arg(long)]
        subject: String,
        /// Why, for the chain; do not name the person here.
        #[arg(long)]
        reason: String,
    },
    /// Set for how many days the content of ended runs is kept.
    Retain {
        /// Name of the joint venture.
        tenant: String,
        /// Days; 0 keeps it for ever.
        #[arg(long, value_parser = clap::value_parser!(i32).range(0..=36_500))]
        days: i32,
    },
}

pub(super) async fn audit(config: &Config, command: AuditCommand) -> Result<(), CliError> {
    match command {
        AuditCommand::Verify { file, head } => verify(&file, head.as_deref()),
        AuditCommand::Export { tenant, out } => write(config, &tenant, &out).await,
        AuditCommand::Archive { tenant, out } => archive(config, &tenant, &out).await,
        AuditCommand::Erase { tenant, subject, reason } => {
            if subject.trim().chars().count() < 3 {
                return Err(CliError::Input(
                    "the subject must have at least three characters".to_owned(),
                ));
            }
            let opened = open(config, false).await?;
            let tenant = find(&opened.store, &tenant).await?;
            let erased =
                erase_subject(&opened.store, tenant, subject.trim(), ACTOR, &reason).await?;
            opened.close().await?;
            say(format_args!("erased the content of {} runs", erased.runs.len()))
        }
        AuditCommand::Retain { tenant, days } => {
            let opened = open(config, false).await?;
            let mut tx = opened.store.begin(find(&opened.store, &tenant).await?).await?;
            set_retention(&mut tx, (days > 0).then_some(days), ACTOR).await?;
            tx.commit().await?;
            opened.close().await?;
            say(format_args!(
                "{tenant}: content of ended runs is kept for {}",
                match days {
                    0 => "ever".to_owned(),
                    days => format!("{days} days"),
                }
            ))
        }
    }
}

fn verify(file: &PathBuf, head: Option<&str>) -> Result<(), CliError> {
    let mut verifier = Verifier::new();
    for line in BufReader::new(std::fs::File::open(file)?).lines() {
        verifier.read(&line?).map_err(|broken| {
            CliError::Broken(format!("line {}: {}", broken.line, broken.message))
        })?;
    }
    let verified = verifier.finish().map_err(|broken| {
        CliError::Broken(format!("after line {}: {}", broken.line, broken.message))
    })?;
    if let Some(head) = head.filter(|head| *head != verified.head) {
        return Err(CliError::Broken(format!("the last entry is {}, not {head}", verified.head)));
    }
    say(format_args!(
        "{}: the chain holds: {} entries, {} events, {} runs closed, {} open, {} payloads erased, {} events of before the chain; head {}",
        verified.name,
        verified.entries,
        verified.events,
        verified.closed,
        verified.open,
        verified.erased,
        verified.unchained,
        verified.head
    ))
}

async fn write(config: &Config, slug: &str, out: &PathBuf) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let mut tx = opened.store.begin(find(&opened.store, slug).await?).await?;
    let mut file = tokio::fs::File::create(out).await?;
    let (sender, mut pieces) = mpsc::channel::<Piece>(4);
    let written = async {
        while let Some(piece) = pieces.recv().await {
            file.write_all(&piece?).await?;
        }
        file.sync_all().await
    };
    let exported = async {
        let done = export(&mut tx, &sender).await;
        drop(sender);
        done
    };
    let (exported, written) = tokio::join!(exported, written);
    drop(tx);
    exported?;
    written?;
    opened.close().await?;
    say(format_args!("wrote {}", out.display()))
}

async fn archive(config: &Config, slug: &str, out: &PathBuf) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let mut tx = opened.store.begin(find(&opened.store, slug).await?).await?;
    let mut zip = ZipWriter::new(BufWriter::new(std::fs::File::create(out)?));
    let options = SimpleFileOptions::default();
    let mut rows = 0;
    for table in tx.archive_tables().await? {
        zip.start_file(format!("tables/{table}.ndjson"), options).map_err(broken_zip)?;
        rows += tx.archive_rows(&table, |row| writeln!(zip, "{row}")).await?;
    }
    zip.start_file("audit.ndjson", options).map_err(broken_zip)?;
    let (sender, mut pieces) = mpsc::channel::<Piece>(4);
    let exported = async {
        let done = export(&mut tx, &sender).await;
        drop(sender);
        done
    };
    let written = async {
        while let Some(piece) = pieces.recv().await {
            zip.write_all(&piece?)?;
        }
        Ok::<(), std::io::Error>(())
    };
    let (exported, written) = tokio::join!(exported, written);
    drop(tx);
    exported?;
    written?;
    zip.finish().map_err(broken_zip)?.flush()?;
    opened.close().await?;
    say(format_args!("wrote {}: {rows} rows and the audit chain", out.display()))
}

fn broken_zip(error: zip::result::ZipError) -> CliError {
    CliError::Io(std::io::Error::other(error))
}
