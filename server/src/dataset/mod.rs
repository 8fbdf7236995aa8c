//! Datasets of a joint venture: imported whole or not at all, read by windows.
//!
//! [`import`] is the one way in, for the API, the pages, the command line and the demo data. The file
//! is stored first, under its hash; then rows and refused lines go into one transaction with the
//! version that they belong to, while the file is still being read. The same file under the same
//! mapping is the same version.

pub mod api;
mod read;
mod upload;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use agents::dataset::{
    Chunk, DatasetError, Inference, Mapping, Progress, Reject, Report, Sink, infer,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

pub(crate) use read::dataset_fault;
pub use read::{Page, Reference, open_table, original, page};
pub(crate) use upload::receive;

use crate::store::{NewVersion, Store, StoreError, TenantId};

/// Files that are received or imported at a time: each takes up to its own size in memory.
pub(crate) static AT_WORK: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(4)));

/// Pieces that may wait between the reader of a file and the store.
const AHEAD: usize = 16;
/// Refused lines that are stored at a time.
const REJECTS: usize = 500;
/// Time between two notes on how far an import is.
const BEAT: Duration = Duration::from_millis(300);
/// Refused lines in a preview.
const SHOWN: usize = 200;
/// Longest identifier that tools can name.
const MAX_ID: usize = 64;

/// Why an import came to nothing.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file or its mapping.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The identifier cannot be used.
    #[error("{0}")]
    Id(String),
}

/// A file that was uploaded.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Name of the file, for people and for telling formats apart.
    pub name: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

impl Upload {
    /// Builds an upload; a name keeps its last part only.
    pub fn new(name: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = name.chars().filter(|c| !c.is_control()).take(120).collect();
        Self { name, bytes: bytes.into() }
    }
}

/// What an import came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Dataset.
    pub id: String,
    /// Version that is now the current one.
    pub version: i32,
    /// Whether this file under this mapping was there already.
    pub repeated: bool,
    /// How it was read.
    pub mapping: Mapping,
    /// Rows, refused lines, notes.
    #[serde(flatten)]
    pub report: Report,
}

/// What an import would come to.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// The proposed mapping and what it rests on.
    #[serde(flatten)]
    pub inference: Inference,
    /// Rows, refused lines, notes of the whole file; absent when there would be no table.
    pub report: Option<Report>,
    /// Why there would be no table.
    pub fault: Option<String>,
    /// First refused lines.
    pub rejects: Vec<Reject>,
}

/// Checks the identifier of a dataset as tools take it.
///
/// # Errors
/// [`ImportError::Id`].
pub fn checked_id(id: &str) -> Result<(), ImportError> {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=MAX_ID).contains(&id.len())
        && id.bytes().all(ok)
        && id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    Err(ImportError::Id(format!(
        "`{}` cannot name a dataset; use 1 to {MAX_ID} of letters, digits, `_`, `.` and `-`, a letter or digit first",
        id.chars().take(80).collect::<String>()
    )))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn hash_of(mapping: &Mapping) -> String {
    // A mapping is a plain structure; its JSON cannot fail.
    sha256(&serde_json::to_vec(mapping).unwrap_or_default())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DatasetError> + Send + 'static,
) -> Result<T, ImportError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            tracing::error!(%error, "the reader of a file failed");
            Err(DatasetError::Unreadable("the file made its reader fail".to_owned()).into())
        }
    }
}

/// Tells what an import would come to, and stores nothing.
///
/// # Errors
/// [`ImportError`] when not even a mapping can be proposed.
pub async fn preview(
    store: &Store,
    tenant: TenantId,
    id: &str,
    upload: Upload,
    wish: Mapping,
) -> Result<Preview, ImportError> {
    #[derive(Default)]
    struct Look(Vec<Reject>);
    impl Sink for Look {
        fn chunk(&mut self, _: Chunk) -> Result<(), DatasetError> {
            Ok(())
        }
        fn reject(&mut self, reject: Reject) -> Result<(), DatasetError> {
            if self.0.len() < SHOWN {
                self.0.push(reject);
            }
            Ok(())
        }
    }
    let (zone, before) = context(store, tenant, id).await?;
    blocking(move || {
        let inference = settle(&upload, &wish, &zone, before)?;
        let mut look = Look::default();
        let (report, fault) =
            match agents::dataset::import(&upload.bytes, &inference.mapping, &mut look) {
                Ok(report) => (Some(report), None),
                Err(error) => (None, Some(error.to_string())),
            };
        Ok(Preview { inference, report, fault, rejects: look.0 })
    })
    .await
}

/// Returns the time zone of the joint venture and how the dataset's current version was read.
async fn context(
    store: &Store,
    tenant: TenantId,
    id: &str,
) -> Result<(String, Option<Mapping>), StoreError> {
    let mut tx = store.begin(tenant).await?;
    let zone = tx.tenant().await?.timezone;
    match tx.dataset(id, None).await {
        Ok(known) => Ok((zone, known.mapping)),
        Err(StoreError::NotFound(_)) => Ok((zone, None)),
        Err(error) => Err(error),
    }
}

/// Infers a mapping. What was confirmed for the dataset before holds for the columns that the new
/// file shares, so that next month's file need not be confirmed again.
fn settle(
    upload: &Upload,
    wish: &Mapping,
    zone: &str,
    before: Option<Mapping>,
) -> Result<Inference, DatasetError> {
    let fresh = infer(&upload.bytes, &upload.name, wish, zone)?;
    let Some(mut before) = before.filter(|before| before.format == fresh.mapping.format) else {
        return Ok(fresh);
    };
    let shared = |source: &str| fresh.mapping.columns.iter().any(|c| c.source == source);
    before.columns.retain(|column| shared(&column.source));
    // How the file is taken apart is the new file's own.
    let inherited = Mapping {
        timezone: before.timezone,
        time: before.time,
        site: before.site,
        columns: before.columns,
        ..Mapping::default()
    };
    let wish = merged(inherited, wish.clone());
    Ok(infer(&upload.bytes, &upload.name, &wish, zone).unwrap_or(fresh))
}

/// Stores a file so that it can be mapped later, and returns its hash.
///
/// # Errors
/// [`StoreError`].
pub async fn keep(store: &Store, tenant: TenantId, upload: &Upload) -> Result<String, StoreError> {
    let bytes = Arc::clone(&upload.bytes);
    let hash = tokio::task::spawn_blocking(move || sha256(&bytes))
        .await
        .map_err(|error| StoreError::Conflict(error.to_string()))?;
    let mut tx = store.begin(tenant).await?;
    tx.put_file(&hash, &upload.bytes).await?;
    tx.commit().await?;
    Ok(hash)
}

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct Job {
    /// Dataset.
    pub id: String,
    /// The file.
    pub upload: Upload,
    /// What the caller wants of the mapping; the rest is inferred.
    pub wish: Mapping,
    /// Who imports.
    pub by: String,
}

/// Imports a file and makes it the current version of a dataset.
///
/// # Errors
/// [`ImportError`]; nothing is then changed.
pub async fn import(
    store: &Store,
    tenant: TenantId,
    job: Job,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, ImportError> {
    let noted = begin(store, tenant, &job).await?;
    run(store, tenant, job, noted, tell).await
}

/// Notes that an import begins, so that others can see how far it is.
///
/// # Errors
/// [`ImportError::Id`]; [`ImportError::Store`].
pub async fn begin(store: &Store, tenant: TenantId, job: &Job) -> Result<Uuid, ImportError> {
    checked_id(&job.id)?;
    let mut tx = store.begin(tenant).await?;
    let noted = tx.start_import(&job.id, &job.upload.name).await?;
    tx.commit().await?;
    Ok(noted)
}

/// As [`import`], for an import that [`begin`] noted; what became of it is noted too.
///
/// # Errors
/// [`ImportError`]; nothing but the note is then changed.
pub async fn run(
    store: &Store,
    tenant: TenantId,
    job: Job,
    noted: Uuid,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, ImportError> {
    let done = import_noted(store, tenant, job, noted, tell).await;
    let mut tx = store.begin(tenant).await?;
    match &done {
        Ok(outcome) => {
            tx.end_import(noted, outcome.version, outcome.repeated, &outcome.report).await?;
        }
        Err(error) => {
            let code = match error {
                ImportError::Dataset(error) => error.code(),
                ImportError::Store(StoreError::Conflict(_)) => "conflict",
                ImportError::Store(_) => "store_unavailable",
                ImportError::Id(_) => "invalid_dataset_id",
            };
            tx.fail_import(noted, code, &error.to_string()).await?;
        }
    }
    tx.commit().await?;
    done
}

async fn import_noted(
    store: &Store,
    tenant: TenantId,
    job: Job,
    noted: Uuid,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, ImportError> {
    let (zone, before) = context(store, tenant, &job.id).await?;
    let (upload, wish) = (job.upload.clone(), job.wish);
    let (hash, mapping) = blocking(move || {
        let mapping = settle(&upload, &wish, &zone, before)?.mapping;
        Ok((sha256(&upload.bytes), mapping))
    })
    .await?;
    let mapping_hash = hash_of(&mapping);

    let mut tx = store.begin(tenant).await?;
    let version = tx.next_version(&job.id).await?;
    if let Some(version) = tx.same_version(&job.id, &hash, &mapping_hash).await? {
        tx.set_current(&job.id, version).await?;
        let known = tx.dataset(&job.id, Some(version)).await?;
        tx.commit().await?;
        let report = known.report.unwrap_or_default();
        return Ok(Outcome { id: job.id, version, repeated: true, mapping, report });
    }
    tx.put_file(&hash, &job.upload.bytes).await?;

    let (sender, mut pieces) = mpsc::channel(AHEAD);
    let (bytes, read_by) = (Arc::clone(&job.upload.bytes), mapping.clone());
    let reader = tokio::task::spawn_blocking(move || {
        let mut out = Sender { sender, rejects: Vec::new() };
        let report = agents::dataset::import(&bytes, &read_by, &mut out)?;
        out.flush()?;
        Ok::<_, DatasetError>(report)
    });
    let (mut chunks, mut faults) = (0, 1);
    let mut last = Instant::now();
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Chunk(chunk) => {
                tx.add_chunk(&job.id, version, chunks, &chunk).await?;
                chunks += 1;
            }
            Piece::Rejects(rejects) => {
                tx.add_rejects(&job.id, version, faults, &rejects).await?;
                faults += i32::try_from(rejects.len()).unwrap_or(i32::MAX);
            }
            Piece::Progress(progress) => {
                tell(progress);
                if last.elapsed() >= BEAT {
                    last = Instant::now();
                    note(store, tenant, noted, progress).await?;
                }
            }
        }
    }
    let report = reader.await.map_err(|error| {
        tracing::error!(%error, "the reader of a file failed");
        DatasetError::Unreadable("the file made its reader fail".to_owned())
    })??;
    tx.add_version(&NewVersion {
        id: &job.id,
        version,
        sha256: &hash,
        mapping_sha256: &mapping_hash,
        file_name: &job.upload.name,
        size: job.upload.bytes.len(),
        mapping: &mapping,
        report: &report,
        by: &job.by,
    })
    .await?;
    tx.commit().await?;
    Ok(Outcome { id: job.id, version, repeated: false, mapping, report })
}

async fn note(
    store: &Store,
    tenant: TenantId,
    noted: Uuid,
    progress: Progress,
) -> Result<(), StoreError> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut tx = store.begin(tenant).await?;
    tx.note_import(noted, progress.share, count(progress.rows), count(progress.refused)).await?;
    tx.commit().await
}

enum Piece {
    Chunk(Chunk),
    Rejects(Vec<Reject>),
    Progress(Progress),
}

/// Hands pieces from the reading thread to the transaction.
struct Sender {
    sender: mpsc::Sender<Piece>,
    rejects: Vec<Reject>,
}

impl Sender {
    fn send(&mut self, piece: Piece) -> Result<(), DatasetError> {
        self.sender
            .blocking_send(piece)
            .map_err(|_| DatasetError::Stopped("the store took no more".to_owned()))
    }

    fn flush(&mut self) -> Result<(), DatasetError> {
        if self.rejects.is_empty() {
            return Ok(());
        }
        let rejects = std::mem::take(&mut self.rejects);
        self.send(Piece::Rejects(rejects))
    }
}

impl Sink for Sender {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), DatasetError> {
        self.send(Piece::Chunk(chunk))
    }

    fn reject(&mut self, reject: Reject) -> Result<(), DatasetError> {
        self.rejects.push(reject);
        if self.rejects.len() >= REJECTS { self.flush() } else { Ok(()) }
    }

    fn progress(&mut self, progress: Progress) -> Result<(), DatasetError> {
        self.send(Piece::Progress(progress))
    }
}

/// Reads the file of a version again under another mapping, as a new version.
///
/// # Errors
/// [`ImportError`]; nothing is then changed.
pub async fn remap(
    store: &Store,
    tenant: TenantId,
    reference: &Reference,
    wish: Mapping,
    by: &str,
) -> Result<Job, ImportError> {
    let mut tx = store.begin(tenant).await?;
    let known = tx.dataset(&reference.id, reference.version).await?;
    let bytes = tx.original(&known).await?;
    // What was confirmed before stays confirmed, also of a version that is not the current one.
    let wish = known.mapping.map_or(wish.clone(), |before| merged(before, wish));
    let upload = Upload { name: known.file_name, bytes: bytes.into() };
    Ok(Job { id: known.id, upload, wish, by: by.to_owned() })
}

/// Lays a wish over an earlier mapping. When the file is taken apart another way its columns may be
/// others, so the earlier ones do not count then.
fn merged(before: Mapping, wish: Mapping) -> Mapping {
    let reshaped = (wish.format.is_some() && wish.format != before.format)
        || (wish.delimiter.is_some() && wish.delimiter != before.delimiter)
        || (wish.header_line.is_some() && wish.header_line != before.header_line)
        || (wish.encoding.is_some() && wish.encoding != before.encoding)
        || (wish.sheet.is_some() && wish.sheet != before.sheet);
    if reshaped {
        return Mapping { timezone: wish.timezone.clone().or(before.timezone), ..wish };
    }
    let mut columns = before.columns;
    for column in wish.columns {
        match columns.iter_mut().find(|known| known.source == column.source) {
            Some(known) => {
                let earlier = known.clone();
                *known = agents::dataset::Column {
                    name: column.name.or(earlier.name),
                    kind: column.kind.or(earlier.kind),
                    // A new unit makes the old conversion senseless.
                    to: column.to.or(if column.unit.is_some() { None } else { earlier.to }),
                    unit: column.unit.or(earlier.unit),
                    format: column.format.or(earlier.format),
                    skip: column.skip,
                    source: earlier.source,
                };
            }
            None => columns.push(column),
        }
    }
    // The roles follow names; where only a name changes, the inference finds them again.
    let role = |wish: Option<String>, before: Option<String>| match wish {
        Some(wish) => Some(wish),
        None => before.filter(|name| columns.iter().any(|c| c.target() == name)),
    };
    let (time, site) = (role(wish.time, before.time), role(wish.site, before.site));
    Mapping {
        format: wish.format.or(before.format),
        encoding: wish.encoding.or(before.encoding),
        delimiter: wish.delimiter.or(before.delimiter),
        header_line: wish.header_line.or(before.header_line),
        decimal: wish.decimal.or(before.decimal),
        sheet: wish.sheet.or(before.sheet),
        timezone: wish.timezone.or(before.timezone),
        time,
        site,
        columns,
    }
}
