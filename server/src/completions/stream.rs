//! Answers as server-sent events.
//!
//! The planner decides on a whole text before the first of it can be shown (an argument may still be
//! taken back), so a stream opens at once, is kept alive while it plans, and then brings the text in
//! pieces. The work is part of the stream: when the reader leaves, it is dropped and the work ends.

use std::convert::Infallible;
use std::future::Future;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};

/// Length of a piece, characters.
const PIECE: usize = 24;

/// Cuts a text into pieces that give the text when they are joined.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(PIECE).map(|piece| piece.iter().collect()).collect()
}

/// Sends what is there at once, then what the work comes to.
pub(super) fn events(
    first: Vec<Event>,
    rest: impl Future<Output = Vec<Event>> + Send + 'static,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let rest = stream::once(rest).flat_map(stream::iter);
    let all = stream::iter(first).chain(rest).map(Ok);
    Sse::new(all).keep_alive(KeepAlive::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_text_again() {
        for text in ["", "short", "每月付款 1,199.10 每月付款 1,199.10 每月付款 1,199.10"]
        {
            assert_eq!(pieces(text).concat(), text);
        }
        assert!(pieces(&"x".repeat(100)).len() > 3);
    }
}
