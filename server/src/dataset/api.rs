//! Datasets over HTTP.

use agents::dataset::{Format, Mapping};
use agents::tool::Window;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

use super::{
    AT_WORK, ImportError, Job, Outcome, Reference, begin, checked_id, page, preview, receive,
    remap, run,
};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, Params};
use crate::state::AppState;
use crate::store::{Dataset, Import, StoreError, TenantId};

/// Longest wait for an import, seconds.
const MAX_WAIT: u64 = 60;
/// Most rows of a page.
const MAX_ROWS: usize = 5000;

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/datasets", get(list))
        .route(
            "/v1/datasets/{id}",
            // The upload counts its own bytes.
            get(read).delete(delete).merge(post(upload).layer(DefaultBodyLimit::disable())),
        )
        .route("/v1/datasets/{id}/versions", get(versions))
        .route("/v1/datasets/{id}/rows", get(rows))
        .route("/v1/datasets/{id}/rejects", get(rejects))
        .route("/v1/datasets/{id}/mapping", post(map))
        .route("/v1/datasets/{id}/restore", post(restore))
        .route("/v1/datasets/{id}/imports/{import}", get(progress))
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let error = match error {
            ImportError::Store(error) => return error.into(),
            ImportError::Id(detail) => return Self::invalid("invalid_dataset_id", detail),
            ImportError::Dataset(error) => error,
        };
        use agents::dataset::DatasetError::{Mapping, Stopped, TooLarge};
        match &error {
            TooLarge(detail) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "file_too_large",
                "The file is too large",
                detail,
            ),
            Stopped(_) => {
                StoreError::Conflict("the import was stopped; send it again".into()).into()
            }
            Mapping { pointer, message } => {
                Self::invalid(error.code(), format!("{pointer}: {message}"))
            }
            _ => Self::invalid(error.code(), error.to_string()),
        }
    }
}

/// A version as the API shows it.
pub(crate) fn view(known: &Dataset) -> Value {
    let report = known.report.clone().unwrap_or_default();
    let instant = |micros: i64| Timestamp::from_microsecond(micros).ok().map(|at| at.to_string());
    let mapping = known.mapping.as_ref();
    json!({
        "id": known.id, "version": known.version, "current": known.current,
        "format": mapping.and_then(|m| m.format).map_or("unread", Format::name),
        "file": known.file_name, "size": known.size, "sha256": known.sha256,
        "rows": report.rows, "refused": report.refused, "faults": report.faults, "sites": report.sites,
        "start": report.times.and_then(|(first, _)| instant(first)),
        "end": report.times.and_then(|(_, last)| instant(last)),
        "columns": report.columns, "notes": report.notes,
        "created_by": known.created_by, "created_at": known.created_at.to_string(),
        "deleted_at": known.deleted_at.map(|at| at.to_string()),
    })
}

fn told(outcome: &Outcome) -> Value {
    json!({
        "id": outcome.id, "version": outcome.version, "repeated": outcome.repeated,
        "mapping": outcome.mapping, "rows": outcome.report.rows, "refused": outcome.report.refused,
        "faults": outcome.report.faults, "sites": outcome.report.sites, "columns": outcome.report.columns,
        "notes": outcome.report.notes,
    })
}

fn view_import(import: &Import) -> Value {
    json!({
        "id": import.id, "dataset": import.dataset, "file": import.file_name, "state": import.state,
        "share": import.share, "rows": import.rows, "refused": import.refused, "version": import.version,
        "repeated": import.repeated, "code": import.code, "message": import.message,
        "started_at": import.started_at.to_string(), "updated_at": import.updated_at.to_string(),
    })
}

#[derive(Deserialize)]
struct Uploading {
    #[serde(default)]
    preview: bool,
    /// Mapping as JSON; a form may carry it as a field instead.
    mapping: Option<String>,
    /// Name of the file, where the body is the file itself.
    #[serde(default)]
    name: String,
    wait: Option<u64>,
}

fn mapping_of(text: Option<&str>) -> Result<Mapping, Problem> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(Mapping::default());
    };
    serde_json::from_str(text)
        .map_err(|error| Problem::invalid("invalid_mapping", format!("the mapping: {error}")))
}

async fn upload(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Params(query): Params<Uploading>,
    request: Request,
) -> Result<Response, Problem> {
    key.permits("data:write")?;
    checked_id(&id)?;
    let wish = mapping_of(query.mapping.as_deref())?;
    let permit = AT_WORK.clone().acquire_owned().await.map_err(|_| Problem::internal())?;
    let form = receive(request, &query.name).await?;
    let Some(file) = form.file else {
        return Err(Problem::invalid(
            "no_file",
            "send the file as the body, or as the field `file`",
        ));
    };
    let wish = match form.fields.get("mapping") {
        Some(text) => mapping_of(Some(text))?,
        None => wish,
    };
    if query.preview {
        let looked = preview(&state.store, key.0.tenant_id, &id, file, wish).await?;
        return Ok(Json(looked).into_response());
    }
    let job = Job { id, upload: file, wish, by: key.0.label.clone() };
    answer(&state, key.0.tenant_id, job, query.wait, permit).await
}

/// Runs an import that goes on when the caller leaves, and answers with its end or, after the wait,
/// with where to ask.
async fn answer(
    state: &AppState,
    tenant: TenantId,
    job: Job,
    wait: Option<u64>,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let noted = begin(&state.store, tenant, &job).await?;
    let at = format!("/v1/datasets/{}/imports/{noted}", job.id);
    let store = state.store.clone();
    let task = tokio::spawn(async move {
        let done = run(&store, tenant, job, noted, &mut |_| {}).await;
        drop(permit);
        done
    });
    let wait = Duration::from_secs(wait.unwrap_or(MAX_WAIT).min(MAX_WAIT));
    match tokio::time::timeout(wait, task).await {
        Ok(Ok(done)) => {
            let outcome = done?;
            let status = if outcome.repeated { StatusCode::OK } else { StatusCode::CREATED };
            let location = format!("/v1/datasets/{}", outcome.id);
            Ok((status, [("location", location)], Json(told(&outcome))).into_response())
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "an import failed");
            Err(Problem::internal())
        }
        Err(_) => {
            let body = json!({ "import": noted, "state": "running", "progress": at });
            Ok((StatusCode::ACCEPTED, [("location", at)], Json(body)).into_response())
        }
    }
}

async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let all = state.store.begin(key.0.tenant_id).await?.datasets(false).await?;
    Ok(Json(json!({ "datasets": all.iter().map(view).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
struct Which {
    version: Option<i32>,
}

async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Params(which): Params<Which>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let known = state.store.begin(key.0.tenant_id).await?.dataset(&id, which.version).await?;
    let mut shown = view(&known);
    shown["mapping"] = json!(known.mapping);
    Ok(Json(shown))
}

async fn versions(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let all = state.store.begin(key.0.tenant_id).await?.dataset_versions(&id).await?;
    Ok(Json(json!({ "versions": all.iter().map(view).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
struct RowsQuery {
    start: Option<String>,
    end: Option<String>,
    site_id: Option<String>,
    version: Option<i32>,
    limit: Option<usize>,
    #[serde(default)]
    after: String,
}

async fn rows(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Params(query): Params<RowsQuery>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let window = Window::from_arguments(&json!({
        "start": query.start, "end": query.end, "site_id": query.site_id,
    }))
    .map_err(|error| Problem::invalid("invalid_query", error.to_string()))?;
    let limit = query.limit.unwrap_or(500).clamp(1, MAX_ROWS);
    let reference = Reference { id, version: query.version };
    let tenant = key.0.tenant_id;
    let page = page(&state.store, tenant, &reference, &window, &query.after, limit).await?;
    let lines: Vec<u64> = page.rows.iter().map(|row| row.line).collect();
    let cells: Vec<&[String]> = page.rows.iter().map(|row| row.cells.as_slice()).collect();
    Ok(Json(json!({
        "columns": page.columns, "rows": cells, "lines": lines, "next": page.next,
    })))
}

#[derive(Deserialize)]
struct RejectsQuery {
    version: Option<i32>,
    #[serde(default)]
    after: i32,
    limit: Option<i64>,
}

async fn rejects(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Params(query): Params<RejectsQuery>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let known = tx.dataset(&id, query.version).await?;
    let limit = query.limit.unwrap_or(200).clamp(1, 1000);
    let found = tx.rejects(&id, known.version, query.after, limit).await?;
    let full = i64::try_from(found.len()).is_ok_and(|count| count == limit);
    let next = found.last().filter(|_| full).map(|(ordinal, _)| *ordinal);
    let report = known.report.unwrap_or_default();
    Ok(Json(json!({
        "id": id, "version": known.version, "refused": report.refused, "faults": report.faults,
        "rejects": found.iter().map(|(_, reject)| reject).collect::<Vec<_>>(), "next": next,
    })))
}

#[derive(Deserialize)]
struct Mapped {
    version: Option<i32>,
    wait: Option<u64>,
}

async fn map(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Params(query): Params<Mapped>,
    Body(wish): Body<Mapping>,
) -> Result<Response, Problem> {
    key.permits("data:write")?;
    let tenant = key.0.tenant_id;
    let permit = AT_WORK.clone().acquire_owned().await.map_err(|_| Problem::internal())?;
    let reference = Reference { id, version: query.version };
    let job = remap(&state.store, tenant, &reference, wish, &key.0.label).await?;
    answer(&state, tenant, job, query.wait, permit).await
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Restoring {
    version: Option<i32>,
}

async fn restore(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Body(body): Body<Restoring>,
) -> Result<Json<Value>, Problem> {
    key.permits("data:write")?;
    Ok(Json(view(&restored(&state.store, key.0.tenant_id, &id, body.version).await?)))
}

/// Makes a version the current one; without one, brings a deleted dataset back or goes to the
/// version before the current one.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Conflict`] ⇐ there is no earlier version.
pub(crate) async fn restored(
    store: &crate::store::Store,
    tenant: TenantId,
    id: &str,
    version: Option<i32>,
) -> Result<Dataset, StoreError> {
    let mut tx = store.begin(tenant).await?;
    let all = tx.dataset_versions(id).await?;
    let current = all.iter().find(|known| known.current);
    let version = match (version, current) {
        (Some(version), _) => version,
        (None, Some(current)) if current.deleted_at.is_some() => current.version,
        (None, current) => {
            let current = current.map_or(i32::MAX, |known| known.version);
            let earlier = all.iter().find(|known| known.version < current);
            earlier
                .ok_or_else(|| StoreError::Conflict(format!("`{id}` has no earlier version")))?
                .version
        }
    };
    tx.set_current(id, version).await?;
    let known = tx.dataset(id, Some(version)).await?;
    tx.commit().await?;
    Ok(known)
}

#[derive(Deserialize)]
struct Deleting {
    #[serde(default)]
    purge: bool,
}

async fn delete(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Params(query): Params<Deleting>,
) -> Result<Json<Value>, Problem> {
    key.permits("data:write")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    if query.purge {
        tx.purge_dataset(&id).await?;
    } else {
        tx.delete_dataset(&id).await?;
    }
    tx.commit().await?;
    Ok(Json(json!({ "id": id, "deleted": true, "purged": query.purge })))
}

async fn progress(
    State(state): State<AppState>,
    key: Key,
    Path((id, import)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let import: Uuid = import.parse().map_err(|_| Problem::not_found("import"))?;
    let import = state.store.begin(key.0.tenant_id).await?.import(import).await?;
    if import.dataset != id {
        return Err(Problem::not_found("import"));
    }
    Ok(Json(view_import(&import)))
}
