//! Grammars that hold the planner to well-formed output.
//!
//! A grammar is compiled once against the vocabulary and kept; each generation then walks its own
//! matcher, which says which tokens may follow and which must. What must follow is never decoded.

mod compiler;
mod matcher;

pub use compiler::{GrammarCompiler, GrammarError};
pub use matcher::{Mask, Matcher};

use serde_json::{Value, json};

/// A grammar before it is compiled against a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grammar {
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    /// Text of a JSON Schema, keys in their own order.
    JsonSchema(String),
    /// Text of a grammar in the Lark notation of llguidance.
    Lark(String),
}

impl Grammar {
    /// Returns the grammar of compact JSON that a schema accepts: no white space, properties in the
    /// schema's order.
    ///
    /// Give strings and arrays a `maxLength` and `maxItems`, so that a weak model cannot run on.
    /// A schema that brings its own `x-guidance` settings keeps them.
    pub fn from_json_schema(schema: &Value) -> Self {
        Self { source: Source::JsonSchema(compact(schema).to_string()) }
    }

    /// Returns a grammar in the Lark notation of llguidance; `start` is its first rule. Schemas
    /// within `%json` take [`compact`] settings only if they carry them.
    pub fn from_lark(text: &str) -> Self {
        Self { source: Source::Lark(text.to_owned()) }
    }

    /// Returns the grammar of any text up to the end token.
    pub fn free_text() -> Self {
        Self::from_lark("start: /(.|\\n)*/")
    }
}

/// Returns the schema with the settings under which its JSON has no white space, which makes about
/// half of a tool call's tokens follow from what stands before them.
pub fn compact(schema: &Value) -> Value {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        other => other.clone(),
    };
    if let Some(object) = schema.as_object_mut() {
        object
            .entry("x-guidance")
            .or_insert_with(|| json!({"whitespace_flexible": false, "coerce_one_of": true}));
    }
    schema
}
