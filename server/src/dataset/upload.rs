//! A file on its way in: counted while it arrives, and refused where it goes over the limit.

use std::collections::BTreeMap;

use agents::dataset::MAX_BYTES;
use axum::extract::multipart::Field;
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::{StatusCode, header};
use futures_util::StreamExt as _;

use super::Upload;
use crate::error::Problem;

/// Longest text field beside the file, bytes: a mapping of some hundred columns fits.
const MAX_FIELD: usize = 256 << 10;
/// Most fields of a form.
const MAX_FIELDS: usize = 4000;

/// What arrived: the file, and the fields beside it.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// The file.
    pub(crate) file: Option<Upload>,
    /// The fields.
    pub(crate) fields: BTreeMap<String, String>,
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "file_too_large",
        "The file is too large",
        format!("the limit of a file is {MAX_BYTES} bytes (128 MiB); upload it in parts"),
    )
}

fn broken(error: impl std::fmt::Display) -> Problem {
    tracing::debug!(%error, "an upload broke off");
    Problem::new(
        StatusCode::BAD_REQUEST,
        "body_not_read",
        "The body could not be read",
        "the upload broke off or is no valid form; send it again",
    )
}

/// Receives a file, as the whole body or as the field `file` of a form.
///
/// # Errors
/// `file_too_large`, `body_not_read`, `invalid_form`.
pub(crate) async fn receive(request: Request, name: &str) -> Result<Form, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("multipart/")) {
        let form = Multipart::from_request(request, &()).await.map_err(broken)?;
        return receive_form(form).await;
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|l| l.parse().ok());
    if length.is_some_and(|length: usize| length > MAX_BYTES) {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(length.unwrap_or(0).min(MAX_BYTES));
    let mut stream = request.into_body().into_data_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(broken)?;
        if bytes.len() + part.len() > MAX_BYTES {
            return Err(too_large());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Form { file: Some(Upload::new(name, bytes)), fields: BTreeMap::new() })
}

async fn receive_form(mut form: Multipart) -> Result<Form, Problem> {
    let mut received = Form::default();
    let mut count = 0;
    while let Some(field) = form.next_field().await.map_err(broken)? {
        count += 1;
        if count > MAX_FIELDS {
            return Err(Problem::invalid("invalid_form", "the form has too many fields"));
        }
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            if received.file.is_some() {
                return Err(Problem::invalid("invalid_form", "send one file at a time"));
            }
            let file_name = field.file_name().unwrap_or_default().to_owned();
            let bytes = bounded(field, MAX_BYTES).await?;
            received.file = Some(Upload::new(&file_name, bytes));
            continue;
        }
        let bytes = bounded(field, MAX_FIELD).await?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Problem::invalid("invalid_utf8", format!("`{name}` is not UTF-8")))?;
        received.fields.insert(name, text);
    }
    Ok(received)
}

async fn bounded(mut field: Field<'_>, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(part) = field.chunk().await.map_err(broken)? {
        if bytes.len() + part.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}
