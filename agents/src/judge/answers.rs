//! Each known answer said in each language by its template.

use std::cell::OnceCell;
use std::rc::Rc;

use serde_json::Value;

use super::{Bench, Check};
use crate::answer::Answers;
use crate::pack::PackError;
use crate::tool::{ToolError, ToolSpec, Vector};

/// Result of a known answer, computed once for its three languages.
type Shared = Rc<OnceCell<Result<Value, ToolError>>>;

/// One check for each known answer and language.
pub(super) fn checks<'a>(bench: &'a Bench<'a>) -> Result<Vec<Check<'a>>, PackError> {
    let answers = Rc::new(Answers::of(bench.pack)?);
    let mut checks = Vec::new();
    for tool in bench.pack.tools.iter().filter(|tool| bench.options.wants(&tool.name)) {
        for (i, vector) in tool.vectors.iter().enumerate() {
            let shared = Shared::default();
            for lang in &bench.pack.manifest.languages {
                let (answers, shared) = (Rc::clone(&answers), Rc::clone(&shared));
                checks.push(Check::new(format!("{} vector {i} in {lang}", tool.name), move || {
                    said(bench, &answers, tool, vector, &shared, lang).into()
                }));
            }
        }
    }
    Ok(checks)
}

fn said(
    bench: &Bench<'_>,
    answers: &Answers,
    tool: &ToolSpec,
    vector: &Vector,
    shared: &Shared,
    lang: &str,
) -> Result<(), String> {
    let file = format!("answers/{}.{lang}.jinja", tool.name);
    if bench.pack.files.get(&file).is_none() {
        return Err(format!("expected {file}, found none"));
    }
    let result = shared.get_or_init(|| {
        bench.within(|context| bench.pack.call(&tool.name, &vector.arguments, context))
    });
    let result = result.as_ref().map_err(|error| format!("the tool gave no result: {error}"))?;
    let text = answers.say(&tool.name, &vector.arguments, result, lang)?;
    // The number comes first and stands out.
    if text.contains("**") { Ok(()) } else { Err(format!("expected a bold number, found: {text}")) }
}
