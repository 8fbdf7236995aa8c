//! The MoE runtime: checkpoints, tokenizer, decoder, grammar-guided generation and training.
//!
//! It knows nothing of tools, tenants, HTTP or SQL; the `agents` crate calls it.

pub mod config;
pub mod engine;
pub mod export;
pub mod gguf;
pub mod grammar;
pub mod intent;
mod kernel;
pub mod model;
mod prefix;
pub mod tokenizer;
pub mod train;

pub use engine::{Completion, Engine, EngineError, ModelFiles, Request};
pub use grammar::Grammar;
pub use intent::{Intents, NOTHING, Places};
pub use kernel::Packing;
pub use tokenizer::{Prompt, Segment};
