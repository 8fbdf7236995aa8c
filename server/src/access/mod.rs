//! Who may do what in a joint venture: roles, members, their passwords and sessions, and API keys.
//!
//! A [`Role`] stands for a set of scopes. A session carries its member's role, a key the scopes that it
//! was given; both say with [`Actor`] who acts, so that a journal, an approval or a limit can name a
//! person and tell one from another. [`Access`] is what sign-in and headers need beside the store: the
//! address under which the server is known, the proxies before it, and the hashing of passwords.

pub mod api;
pub mod change;
pub mod isolation;
pub mod limit;
mod origin;
mod password;
mod role;
mod sign_in;

pub use origin::{Origin, address_of, secured};
pub use password::{Hasher, MAX_PASSWORD, MIN_PASSWORD, checked_password};
pub use role::{Actor, ActorKind, Role, SCOPES, all_scopes};
pub use sign_in::{Refusal, sign_in};

/// What sign-in and headers need beside the store.
#[derive(Debug, Default)]
pub struct Access {
    /// Where the server is reached.
    pub origin: Origin,
    /// Hashes passwords.
    pub hasher: Hasher,
    /// How many calls a key may make.
    pub limit: limit::Limit,
}
