//! The journal of a run as a stream of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::Problem;
use crate::state::AppState;
use crate::store::{RunId, StoreError, TenantId};

/// Wait between two looks at a journal that another process may write; a wake-up of this process
/// ends it early.
const POLL: Duration = Duration::from_millis(400);

/// Streams the journal from after `Last-Event-ID` to the end of the run, or until the server stops.
///
/// Each event has the position as `id`, the kind as `event` and the payload as `data`.
///
/// # Errors
/// `not_found` ⇐ absent or another tenant's run.
pub async fn journal(
    state: AppState,
    tenant: TenantId,
    run: RunId,
    headers: &HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, Problem> {
    state.store.begin(tenant).await?.get_run(run).await?;
    let after = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        if let Err(error) = follow(&state, tenant, run, after, &sender).await {
            tracing::warn!(%run, %error, "a stream ended early");
        }
    });
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::default()))
}

async fn follow(
    state: &AppState,
    tenant: TenantId,
    run: RunId,
    mut after: i64,
    sender: &mpsc::Sender<Result<Event, Infallible>>,
) -> Result<(), StoreError> {
    let mut wakes = state.store.wakes();
    let mut stopped = state.stopped.clone();
    while !*stopped.borrow() {
        let mut tx = state.store.begin(tenant).await?;
        // Read before the events: a final status means that they are all there.
        let ended = tx.get_run(run).await?.status.is_final();
        let events = tx.events(run, after).await?;
        drop(tx);
        for event in events {
            after = event.seq;
            let data = Event::default()
                .id(event.seq.to_string())
                .event(&event.kind)
                .data(event.payload.to_string());
            if sender.send(Ok(data)).await.is_err() {
                return Ok(());
            }
        }
        if ended {
            let end = Event::default().event("end").data("{}");
            drop(sender.send(Ok(end)).await);
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = wakes.recv() => {}
            _ = stopped.changed() => {}
            () = sender.closed() => return Ok(()),
        }
    }
    // The server stops. The reader comes back with the last position and goes on from there.
    Ok(())
}
