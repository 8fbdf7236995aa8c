//! The one way out: every HTTP request that leaves this program is sent by [`Egress`], and no other
//! module builds a client.
//!
//! Five layers keep a request that a tenant, a model or a file may have written away from this machine
//! and its network. The address is parsed before it is judged ([`rules`]); a name is judged by what it
//! resolves to in the moment of the connection, so that a second answer of a name server changes
//! nothing ([`resolve`]); redirects are not followed, or each is judged as an address of its own;
//! proxies that the environment names are ignored; and the peer that answered is judged once more.
//! Tenants share no connections. Bodies are bounded as they are unpacked, and time as a whole.

pub mod address;
pub mod api;
mod client;
pub mod resolve;
pub mod rules;
mod tenant;

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use thiserror::Error;

pub use client::Egress;
pub use rules::{Pattern, Refusal, Rules, Target, target};
pub(crate) use tenant::note;

/// Bounds of one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time from the first byte out to the last byte in.
    pub time: Duration,
    /// Longest answer, bytes after unpacking.
    pub body: usize,
    /// Whether a longer answer is cut there; it fails otherwise.
    pub cut: bool,
    /// Redirects that a GET may follow.
    pub redirects: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), body: 1024 * 1024, cut: false, redirects: 0 }
    }
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Method.
    pub method: Method,
    /// Address as somebody wrote it.
    pub url: String,
    /// Headers, with any credential.
    pub headers: HeaderMap,
    /// Body; empty for none.
    pub body: Vec<u8>,
    /// Bounds.
    pub limits: Limits,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, unpacked, at most as long as the limit.
    pub body: Vec<u8>,
    /// Whether more came than is kept.
    pub cut: bool,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum EgressError {
    /// The request may not leave. Another try comes to the same.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer in time.
    #[error("no whole answer came within {0:?}")]
    Late(Duration),
    /// The answer is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// No connection stood, so that nothing was sent; holds no address.
    #[error("{0}")]
    Unreachable(String),
    /// Sending or reading failed; holds no address.
    #[error("{0}")]
    Broken(String),
}
