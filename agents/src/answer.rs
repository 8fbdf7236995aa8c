//! What a run says to the person who asked: answers from templates, questions, refusals.
//!
//! A template says a tool's numbers; nothing here computes one. Sentences of the platform are in
//! [`phrase`], in the three languages.

mod facts;
mod phrase;

use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{Environment, Value as View, context};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::event::{Citation, Event};
use crate::pack::{Pack, PackError};
use crate::plan::{CallPlan, Origin};
use crate::tool::ToolSpec;

pub use facts::unfounded;
pub use phrase::Phrase;

/// The compiled answer templates of a pack.
#[derive(Debug)]
pub struct Answers {
    templates: Environment<'static>,
}

impl Answers {
    /// Compiles `answers/TOOL.LANG.jinja` of a pack.
    ///
    /// # Errors
    /// [`PackError::Invalid`] with the template's name and line.
    pub fn of(pack: &Pack) -> Result<Self, PackError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(minijinja::UndefinedBehavior::SemiStrict);
        templates.add_filter("money", money);
        templates.add_filter("num", num);
        templates.add_filter("pct", pct);
        for (path, bytes) in pack.files.below("answers/").filter(|(p, _)| p.ends_with(".jinja")) {
            let name = path.trim_start_matches("answers/").trim_end_matches(".jinja").to_owned();
            let text = String::from_utf8_lossy(bytes).into_owned();
            templates.add_template_owned(name, text).map_err(|error| PackError::Invalid {
                pack: pack.manifest.id.clone(),
                file: path.to_owned(),
                message: error.to_string(),
            })?;
        }
        Ok(Self { templates })
    }

    /// Says the result of one call by its template, or as a list of its values where the pack has
    /// none.
    ///
    /// # Errors
    /// A fault of the template, with its line.
    pub fn say(
        &self,
        tool: &str,
        arguments: &Value,
        result: &Value,
        lang: &str,
    ) -> Result<String, String> {
        let Some(template) = self.template(tool, lang) else { return Ok(listing(result)) };
        let view = context! { result => Serde(result), args => Serde(arguments) };
        template
            .render(view)
            .map(|text| text.trim().to_owned())
            .map_err(|error| format!("{error:#}"))
    }

    /// Says a result as [`Answers::say`] does and returns the numbers of the answer that neither the
    /// result nor the arguments state.
    ///
    /// # Errors
    /// A fault of the template, with its line.
    pub fn unfounded(
        &self,
        tool: &str,
        arguments: &Value,
        result: &Value,
        lang: &str,
    ) -> Result<Vec<String>, String> {
        let text = self.say(tool, arguments, result, lang)?;
        let template = self.template(tool, lang);
        let words = template.as_ref().map_or("", |template| template.source());
        Ok(unfounded(&text, &[result, arguments], words))
    }

    fn template(&self, tool: &str, lang: &str) -> Option<minijinja::Template<'_, '_>> {
        let names = [format!("{tool}.{lang}"), format!("{tool}.en")];
        names.iter().find_map(|name| self.templates.get_template(name).ok())
    }

    /// Builds the answer of a run from its calls and their results.
    pub(crate) fn results(
        &self,
        calls: &[CallPlan],
        results: &[&Value],
        citations: Vec<Citation>,
        lang: &str,
    ) -> Event {
        let mut parts = Vec::new();
        let mut warnings: Vec<String> = Vec::new();
        for (call, result) in calls.iter().zip(results) {
            match self.say(&call.tool, &call.arguments, result, lang) {
                Ok(text) => parts.push(text),
                Err(fault) => {
                    parts.push(listing(result));
                    warnings.push(format!("{}: {fault}", Phrase::Template.say(lang)));
                }
            }
            if let Some(assumed) = assumptions(call, lang) {
                parts.push(assumed);
            }
            let given = result.get("warnings").and_then(Value::as_array);
            warnings.extend(given.into_iter().flatten().filter_map(|warning| {
                warning.get("message").and_then(Value::as_str).map(str::to_owned)
            }));
        }
        warnings.extend(overdue(&citations, lang));
        Event::Answered { text: parts.join("\n\n"), citations, warnings }
    }

    /// Builds the answer that documents give.
    pub(crate) fn passages(&self, citations: Vec<Citation>, lang: &str) -> Event {
        let mut parts: Vec<String> = citations
            .iter()
            .filter_map(|citation| match citation {
                Citation::Document { title, heading, quote, .. } => {
                    Some(format!("**{title}** — {heading}\n\n{quote}"))
                }
                _ => None,
            })
            .collect();
        if parts.is_empty() {
            return Event::Refused {
                reason: "no_document".to_owned(),
                text: Phrase::NoDocument.say(lang).to_owned(),
            };
        }
        let as_of = citations.iter().find_map(|citation| match citation {
            Citation::Document { as_of, .. } => as_of.as_ref(),
            _ => None,
        });
        if let Some(day) = as_of {
            parts.insert(0, format!("{} {day}", Phrase::AsOf.say(lang)));
        }
        let warnings = overdue(&citations, lang);
        Event::Answered { text: parts.join("\n\n"), citations, warnings }
    }

    /// Asks for what a call lacks, with the schema's own description of each argument.
    pub(crate) fn asked(
        &self,
        tool: Option<&Arc<ToolSpec>>,
        missing: &[String],
        lang: &str,
    ) -> Event {
        let lines: Vec<String> = missing
            .iter()
            .map(|name| {
                let about = tool
                    .and_then(|tool| tool.input_schema["properties"][name]["description"].as_str())
                    .unwrap_or_default();
                if about.is_empty() {
                    format!("- `{name}`")
                } else {
                    format!("- `{name}`: {about}")
                }
            })
            .collect();
        let text = format!("{}\n\n{}", Phrase::Missing.say(lang), lines.join("\n"));
        Event::Asked { missing: missing.to_vec(), text }
    }

    /// Says that a call was refused or failed.
    pub(crate) fn failed(&self, tool: &str, code: &str, message: &str, lang: &str) -> Event {
        let lead = match code {
            "invalid_input" => Phrase::Invalid,
            "no_data" => Phrase::NoData,
            "not_permitted" => Phrase::NotPermitted,
            _ => Phrase::Failed,
        };
        Event::Failed {
            code: code.to_owned(),
            message: format!("{} (`{tool}`): {message}", lead.say(lang)),
        }
    }

    /// Says that a person turned the act down.
    pub(crate) fn rejected(&self, by: &str, reason: &str, lang: &str) -> Event {
        let lead = Phrase::Rejected.say(lang);
        let text = if reason.is_empty() {
            format!("{lead} ({by})")
        } else {
            format!("{lead} ({by}): {reason}")
        };
        Event::Refused { reason: "rejected".to_owned(), text }
    }

    /// Says that a rule forbids the call.
    pub(crate) fn forbidden(&self, rule: &str, why: &str, lang: &str) -> Event {
        Event::Refused {
            reason: "not_permitted".to_owned(),
            text: format!("{} ({rule}): {why}", Phrase::NotPermitted.say(lang)),
        }
    }

    /// Says that nothing here serves the request, and what does exist.
    pub(crate) fn no_tool(&self, pack: &Pack, lang: &str) -> Event {
        let titles: Vec<String> = pack.tools.iter().map(|t| format!("- {}", t.title)).collect();
        Event::Refused {
            reason: "no_tool".to_owned(),
            text: format!("{}\n\n{}", Phrase::NoTool.say(lang), titles.join("\n")),
        }
    }

    /// Says that a person takes over because it is not sure enough what was meant, and what was
    /// understood.
    pub(crate) fn unsure(
        &self,
        pack: &Pack,
        calls: &[CallPlan],
        confidence: f32,
        lang: &str,
    ) -> Event {
        let understood: Vec<String> = calls
            .iter()
            .map(|call| {
                let title = pack.tool(&call.tool).map_or(call.tool.as_str(), |tool| &tool.title);
                format!("- {title}: `{}`", call.arguments)
            })
            .collect();
        let lead = Phrase::Unsure.say(lang);
        Event::Refused {
            reason: "unsure".to_owned(),
            text: format!("{lead} ({:.0} %)\n\n{}", confidence * 100.0, understood.join("\n")),
        }
    }

    /// Says that a person takes over.
    pub(crate) fn person(&self, lang: &str) -> Event {
        Event::Refused { reason: "person".to_owned(), text: Phrase::Person.say(lang).to_owned() }
    }
}

/// Warns of each cited document that is past its review date.
fn overdue(citations: &[Citation], lang: &str) -> Vec<String> {
    let late = citations.iter().filter_map(|citation| match citation {
        Citation::Document { title, review_by, overdue: true, .. } => Some((title, review_by)),
        _ => None,
    });
    let lead = Phrase::Overdue.say(lang);
    late.map(|(title, review_by)| format!("{lead}: {title} ({review_by})")).collect()
}

/// Says which arguments nobody stated.
fn assumptions(call: &CallPlan, lang: &str) -> Option<String> {
    let assumed: Vec<String> = call
        .origins
        .iter()
        .filter_map(|origin| match origin {
            // Nobody needs to read a key, or in which language they read.
            Origin::Assumed { pointer, value }
                if !matches!(pointer.as_str(), "/idempotency_key" | "/lang") =>
            {
                Some(format!("`{} = {value}`", pointer.trim_start_matches('/')))
            }
            _ => None,
        })
        .collect();
    (!assumed.is_empty()).then(|| format!("{} {}", Phrase::Assumed.say(lang), assumed.join(", ")))
}

/// Lists the plain values of a result.
fn listing(result: &Value) -> String {
    let Some(object) = result.as_object() else { return result.to_string() };
    let plain = object.iter().filter(|(name, value)| {
        !value.is_object() && !value.is_array() && !matches!(name.as_str(), "method" | "standard")
    });
    let lines: Vec<String> = plain
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("- {}: {value}", name.replace('_', " "))
        })
        .collect();
    lines.join("\n")
}

/// Reads a number or a decimal string.
fn decimal(value: &View) -> Option<Decimal> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().ok().or_else(|| Decimal::from_scientific(&text).ok())
}

fn grouped(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    let groups: Vec<&str> = whole
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|chunk| std::str::from_utf8(chunk).ok())
        .collect();
    let fraction = fraction.map(|f| format!(".{f}")).unwrap_or_default();
    format!("{sign}{}{fraction}", groups.join(","))
}

/// `1199.1` → `1,199.10`: an amount with separators and at least two decimals.
fn money(value: &View) -> String {
    match decimal(value) {
        Some(amount) => {
            let mut amount = amount.normalize();
            if amount.scale() < 2 {
                amount.rescale(2);
            }
            grouped(&amount.to_string())
        }
        None => value.to_string(),
    }
}

/// `12345.678|num(1)` → `12,345.7`.
fn num(value: &View, decimals: Option<u32>) -> String {
    match decimal(value) {
        Some(number) => {
            let places = decimals.unwrap_or(2);
            let strategy = rust_decimal::RoundingStrategy::MidpointAwayFromZero;
            let mut rounded = number.round_dp_with_strategy(places, strategy);
            rounded.rescale(places);
            grouped(&rounded.to_string())
        }
        None => value.to_string(),
    }
}

/// `6.5` → `6.5%`; the value is in percent already.
fn pct(value: &View, decimals: Option<u32>) -> String {
    match decimals {
        Some(_) => format!("{}%", num(value, decimals)),
        None => match decimal(value) {
            Some(number) => format!("{}%", number.round_dp(2).normalize()),
            None => value.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_separators_and_their_decimals() {
        assert_eq!(money(&View::from("1199.1")), "1,199.10");
        assert_eq!(money(&View::from("-1234567.891")), "-1,234,567.891");
        assert_eq!(num(&View::from(617.5), Some(1)), "617.5");
        assert_eq!(num(&View::from(1_250_000), Some(0)), "1,250,000");
        assert_eq!(pct(&View::from(95.0), None), "95%");
    }

    #[test]
    fn every_template_of_the_shipped_packs_compiles() {
        for pack in crate::pack::shipped().unwrap() {
            Answers::of(pack).unwrap();
        }
    }
}
