//! Every tool of the shipped packs says its known answers in every language.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use agents::answer::Answers;
use agents::pack::{FixtureSource, MemoryEffects, shipped};
use agents::tool::{Limits, ToolContext};

#[test]
fn each_known_answer_is_said_in_each_language_from_a_template() {
    let mut faults = Vec::new();
    for pack in shipped().unwrap() {
        let answers = Answers::of(pack).unwrap();
        let (datasets, effects) = (FixtureSource::of(pack).unwrap(), MemoryEffects::default());
        let limits = Limits::default();
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        for tool in &pack.tools {
            for lang in ["en", "zh-Hant", "zh-Hans"] {
                if pack.files.get(&format!("answers/{}.{lang}.jinja", tool.name)).is_none() {
                    faults.push(format!("{}/{}: no {lang} template", pack.manifest.id, tool.name));
                }
                for (i, vector) in tool.vectors.iter().enumerate() {
                    let context = ToolContext {
                        datasets: &datasets,
                        effects: &effects,
                        now,
                        approval: None,
                        limits: &limits,
                    };
                    let Ok(result) = pack.call(&tool.name, &vector.arguments, &context) else {
                        continue;
                    };
                    match answers.say(&tool.name, &vector.arguments, &result, lang) {
                        Ok(text) if text.contains("**") => {}
                        Ok(text) => {
                            faults
                                .push(format!("{} {i} {lang}: no bold number: {text}", tool.name));
                        }
                        Err(error) => faults.push(format!("{} {i} {lang}: {error}", tool.name)),
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
