//! Whatever the weights are, what is decoded under a schema validates against it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use std::sync::LazyLock;

use proptest::prelude::*;
use runtime::engine::{Engine, Finish, Request};
use runtime::grammar::Grammar;
use runtime::tokenizer::Prompt;
use serde_json::{Map, Value, json};

static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| (0..3).map(common::engine).collect());

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-50_i64..50, 0_i64..500).prop_map(|(low, span)| {
            json!({"type": "integer", "minimum": low, "maximum": low + span})
        }),
        (0_usize..3, 1_usize..10).prop_map(|(low, span)| {
            json!({"type": "string", "minLength": low, "maxLength": low + span})
        }),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "string", "format": "date"})),
        Just(json!({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"})),
        Just(json!({"type": "number", "minimum": 0, "maximum": 1})),
        Just(json!({"const": "每月還款"})),
        proptest::collection::vec("[a-z每月 \"\\\\]{1,6}", 1..4)
            .prop_map(|names| json!({"enum": names})),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0_usize..3).prop_map(|(items, most)| {
                json!({"type": "array", "items": items, "minItems": 0, "maxItems": most})
            }),
            proptest::collection::btree_map("[a-z_]{1,8}", (inner.clone(), any::<bool>()), 1..4)
                .prop_map(|fields| {
                    let required: Vec<&String> =
                        fields.iter().filter(|(_, (_, needed))| *needed).map(|(k, _)| k).collect();
                    let properties: Map<String, Value> =
                        fields.iter().map(|(k, (v, _))| (k.clone(), v.clone())).collect();
                    json!({
                        "type": "object", "properties": properties, "required": required,
                        "additionalProperties": false
                    })
                }),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"anyOf": [a, b]})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn everything_decoded_under_a_schema_validates(schema in schema(), seed in 0_usize..3, user in ".{0,20}") {
        let prompt = Prompt::new().special("user").text(user).special("plan");
        let grammar = Grammar::from_json_schema(&schema);
        let request = Request { prompt: &prompt, grammar: &grammar, max_tokens: 1500, deadline: None, cancel: None };
        let out = ENGINES[seed].generate(&request).unwrap();
        // A number may be given digits without end; what is cut off is no document.
        prop_assume!(out.finish == Finish::Complete);
        let value: Value = serde_json::from_str(&out.text)
            .map_err(|e| TestCaseError::fail(format!("{e}: {}", out.text)))?;
        let valid = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        prop_assert!(valid.is_valid(&value), "{} under {schema}", out.text);
    }
}
