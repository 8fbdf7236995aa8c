//! The MoE runtime: checkpoints, tokenizer, decoder, grammar-guided generation and training.
//!
//! It knows nothing of tools, tenants, HTTP or SQL; the `agents` crate calls it.

pub mod config;
mod kernel;
pub mod model;
pub mod tokenizer;
