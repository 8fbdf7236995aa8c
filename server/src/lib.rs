//! The server: the tenant store and everything that talks to the outside.
//!
//! [`postgres`] runs the private database; [`store`] holds every row of every tenant behind one door.

pub mod postgres;
pub mod store;
