//! The audit chain outwards: its export, the erasure of what a joint venture keeps about a person, and
//! the retention that erases by age.

pub mod api;

use std::io;
use std::time::Duration;

use agents::audit::{FORMAT, GENESIS, Line};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::store::{Noted, RunId, Store, StoreError, TenantId, TenantTx};

/// Lines read from the store at once.
const PAGE: u16 = 500;

/// Wait between two looks at what is past its retention.
const RETAIN_EVERY: Duration = Duration::from_mins(15);

/// A piece of an export: whole lines of NDJSON.
pub type Piece = Result<Vec<u8>, io::Error>;

/// Writes the chain of a joint venture and the journals of all its runs, entries first. Where the
/// reader goes away, the writing ends.
///
/// # Errors
/// [`StoreError`]; the export then lacks its end, which its reader sees.
pub async fn export(tx: &mut TenantTx, out: &mpsc::Sender<Piece>) -> Result<(), StoreError> {
    let tenant = tx.tenant().await?;
    let head = Line::Export {
        format: FORMAT,
        tenant: tenant.id.to_string(),
        name: tenant.slug,
        at: Timestamp::now().to_string(),
    };
    if !send(out, &[head]).await {
        return Ok(());
    }
    let (mut entries, mut last, mut head) = (0, 0, GENESIS.to_owned());
    loop {
        let page = tx.audit_entries(last, PAGE).await?;
        let Some(end) = page.last() else { break };
        (last, head) = (end.seq, end.sha256.clone());
        entries += page.len() as u64;
        let lines: Vec<Line> = page.into_iter().map(Line::Entry).collect();
        if !send(out, &lines).await {
            return Ok(());
        }
    }
    let (mut events, mut after) = (0, (Uuid::nil(), 0));
    loop {
        let page = tx.audit_events(after, PAGE).await?;
        let Some(end) = page.last() else { break };
        after = (end.run.parse().unwrap_or_default(), end.seq);
        events += page.len() as u64;
        let lines: Vec<Line> = page.into_iter().map(Line::Event).collect();
        if !send(out, &lines).await {
            return Ok(());
        }
    }
    send(out, &[Line::End { entries, events, head }]).await;
    Ok(())
}

async fn send(out: &mpsc::Sender<Piece>, lines: &[Line]) -> bool {
    let mut text = Vec::new();
    for line in lines {
        // A line is a plain structure; its JSON cannot fail.
        text.extend(serde_json::to_vec(line).unwrap_or_default());
        text.push(b'\n');
    }
    out.send(Ok(text)).await.is_ok()
}

/// What an erasure did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Runs whose content was erased.
    pub runs: Vec<RunId>,
}

/// Erases the content of every ended run that mentions a subject, each in its own transaction. A
/// training set made later has no example of them, because a set is made from journals.
///
/// # Errors
/// [`StoreError`]; what was erased before stays so, and asking again goes on.
pub async fn erase_subject(
    store: &Store,
    tenant: TenantId,
    subject: &str,
    by: (&str, &str),
    why: &str,
) -> Result<Erased, StoreError> {
    let runs = store.begin(tenant).await?.runs_that_mention(subject).await?;
    for run in &runs {
        let mut tx = store.begin(tenant).await?;
        tx.erase_run(*run, by, why).await?;
        tx.commit().await?;
    }
    Ok(Erased { runs })
}

/// Erases what is past the retention of its joint venture.
///
/// # Errors
/// [`StoreError`].
pub async fn retain_once(store: &Store) -> Result<u64, StoreError> {
    let mut erased = 0;
    for member in store.directory().await? {
        let mut tx = store.begin(member.tenant_id).await?;
        let Some(days) = tx.retention().await? else { continue };
        let runs = tx.runs_past(days).await?;
        drop(tx);
        for run in runs {
            let mut tx = store.begin(member.tenant_id).await?;
            tx.erase_run(run, ("", "retention"), &format!("older than {days} days")).await?;
            tx.commit().await?;
            erased += 1;
        }
    }
    Ok(erased)
}

/// Erases by age until `stop` turns true.
pub async fn retain(store: Store, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match retain_once(&store).await {
            Ok(0) => {}
            Ok(erased) => tracing::info!(erased, "content past its retention was erased"),
            Err(error) => tracing::warn!(%error, "retention waits"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETAIN_EVERY) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Sets for how many days content is kept, and notes it.
///
/// # Errors
/// [`StoreError`].
pub async fn set_retention(
    tx: &mut TenantTx,
    days: Option<i32>,
    (actor, subject): (&str, &str),
) -> Result<(), StoreError> {
    tx.set_retention(days, subject).await?;
    let detail = json!({ "days": days });
    tx.note(&Noted { kind: "retention.set", run: None, actor, subject, detail }).await.map(drop)
}
