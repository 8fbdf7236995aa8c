//! The parts of a run that people follow: steps, arguments with their origins, and sources.

use agents::event::Citation;
use agents::pack::Pack;
use agents::plan::Origin;
use agents::policy::Policy;
use serde_json::Value;

use super::markdown::{Html, render};
use super::view::{badge, cut};
use crate::view::{CallStatus, CallView, RunView};

/// The tools of a pack as pages name them.
#[derive(Clone, Copy)]
pub(super) struct Tools<'a>(Option<&'a Pack>);

impl<'a> Tools<'a> {
    /// Takes the pack; without one, tools keep their plain names.
    pub(super) fn of(pack: Option<&'a Pack>) -> Self {
        Self(pack)
    }

    /// Returns the title of a tool, or its name.
    pub(super) fn title(self, name: &str) -> String {
        let tool = self.0.and_then(|pack| pack.tool(name));
        tool.map_or_else(|| name.to_owned(), |tool| tool.title.clone())
    }

    /// Says what follows from a call of a tool, with the reason of the rule that asks for a person.
    pub(super) fn consequence(self, name: &str, rule: &str) -> String {
        let Some(pack) = self.0 else { return String::new() };
        let about = pack.tool(name).map(|tool| tool.description.clone()).unwrap_or_default();
        let first = about.split_inclusive(['.', '。']).next().unwrap_or_default().trim().to_owned();
        let rules = Policy::of(pack).map(|policy| policy.rules).unwrap_or_default();
        let why = rules.into_iter().find(|known| known.id == rule).map(|known| known.why);
        [first, why.unwrap_or_default()].join(" ").trim().to_owned()
    }

    /// Returns the position of an argument in the tool's schema: the order in which it is explained.
    fn position(self, name: &str, argument: &str) -> usize {
        let tool = self.0.and_then(|pack| pack.tool(name));
        let properties = tool.and_then(|tool| tool.input_schema.get("properties")?.as_object());
        properties
            .and_then(|properties| properties.keys().position(|key| key == argument))
            .unwrap_or(usize::MAX)
    }

    /// Lists the arguments of a call in the order of the schema, with the origin of each.
    pub(super) fn lines(
        self,
        name: &str,
        arguments: &Value,
        origins: &[Origin],
    ) -> Vec<ArgumentLine> {
        let mut lines = lines(arguments, origins);
        lines.sort_by_key(|line| self.position(name, &line.name));
        lines
    }
}

/// One step of the timeline.
#[derive(Debug, Clone)]
pub(super) struct StepLine {
    /// What happens.
    pub(super) title: String,
    /// More about it.
    pub(super) detail: String,
    /// Class: `done`, `now`, `wait` or `bad`.
    pub(super) class: &'static str,
}

/// An argument of a call and where its value came from.
#[derive(Debug, Clone)]
pub(super) struct ArgumentLine {
    /// Path.
    pub(super) name: String,
    /// Value as JSON.
    pub(super) value: String,
    /// Where it came from.
    pub(super) origin: String,
}

/// A source of the answer.
#[derive(Debug, Clone)]
pub(super) struct SourceLine {
    /// Title.
    pub(super) title: String,
    /// Where it is from.
    pub(super) origin: String,
    /// The passage quoted.
    pub(super) quote: Html,
}

/// Lists arguments, nested ones by their path, with the origin of each.
fn lines(arguments: &Value, origins: &[Origin]) -> Vec<ArgumentLine> {
    let Some(object) = arguments.as_object() else { return Vec::new() };
    object
        .iter()
        .map(|(name, value)| {
            let own = format!("/{name}");
            let said: Vec<String> = origins
                .iter()
                .filter_map(|origin| match origin {
                    Origin::Request { pointer, text } if under(pointer, &own) => {
                        Some(format!("“{}”", cut(text, 60)))
                    }
                    Origin::Result { pointer, call, field } if under(pointer, &own) => {
                        Some(format!("{} of call {}", field.replace(['_', '.'], " "), call + 1))
                    }
                    Origin::Choice { pointer } if under(pointer, &own) => {
                        Some("chosen by the planner".to_owned())
                    }
                    Origin::Assumed { pointer, .. } if under(pointer, &own) => {
                        Some("assumed".to_owned())
                    }
                    _ => None,
                })
                .collect();
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            ArgumentLine { name: name.clone(), value: cut(&shown, 400), origin: said.join(", ") }
        })
        .collect()
}

fn under(pointer: &str, own: &str) -> bool {
    pointer == own || pointer.starts_with(&format!("{own}/"))
}

fn call_step(call: &CallView, tools: Tools<'_>) -> StepLine {
    let took = call.ms.map(|ms| format!("{ms:.1} ms")).unwrap_or_default();
    let (title, detail, class) = match call.status {
        CallStatus::Planned => ("Will run:", String::new(), "wait"),
        CallStatus::WaitingApproval => {
            ("Waits for approval:", "nothing has been done yet".to_owned(), "now")
        }
        CallStatus::WaitingOutcome => (
            "Nobody knows whether it happened:",
            call.error.as_ref().map_or_else(String::new, |e| e.message.clone()),
            "now",
        ),
        CallStatus::Approved => ("Approved:", call.decided_by.clone().unwrap_or_default(), "now"),
        CallStatus::Rejected => {
            ("Turned down:", call.decided_by.clone().unwrap_or_default(), "bad")
        }
        CallStatus::Running => ("Runs:", String::new(), "now"),
        CallStatus::Done => ("Ran:", took, "done"),
        CallStatus::Failed => {
            ("Failed:", call.error.as_ref().map_or_else(String::new, |e| e.code.clone()), "bad")
        }
    };
    StepLine { title: format!("{title} {}", tools.title(&call.tool)), detail, class }
}

/// Lists the steps so far.
pub(super) fn steps(run: &RunView, ended: bool, tools: Tools<'_>) -> Vec<StepLine> {
    let mut steps =
        vec![StepLine { title: "Accepted".to_owned(), detail: run.lang.clone(), class: "done" }];
    match &run.plan {
        None if ended => {}
        None => {
            steps.push(StepLine { title: "Plans".to_owned(), detail: String::new(), class: "now" });
        }
        Some(plan) => {
            let decided = match run.decision {
                Some("call") => "Planned",
                Some("ask") => "Found something missing",
                Some("invalid") => "Found a value that cannot be used",
                Some("search") => "Searched the documents",
                Some("person") => "Left it to a person",
                _ => "Found no tool for it",
            };
            let detail = format!("{:.0} ms, confidence {:.0} %", plan.ms, plan.confidence * 100.0);
            steps.push(StepLine { title: decided.to_owned(), detail, class: "done" });
        }
    }
    steps.extend(run.calls.iter().map(|call| call_step(call, tools)));
    if ended {
        let class = if run.error.is_some() { "bad" } else { "done" };
        steps.push(StepLine {
            title: badge(run.status).word.to_owned(),
            detail: format!("{:.0} ms in all", run.timings.total_ms),
            class,
        });
    }
    steps
}

/// Says what an answer rests on.
pub(super) fn source(citation: &Citation, tools: Tools<'_>) -> SourceLine {
    match citation {
        Citation::Tool { tool, method, .. } => SourceLine {
            title: format!("Tool: {}", tools.title(tool)),
            origin: method.clone(),
            quote: Html::default(),
        },
        Citation::Document {
            document, title, version, heading, quote, source, review_by, ..
        } => SourceLine {
            title: format!("{title} — {heading}"),
            origin: format!("{source} · {document}, version {version}, reviewed until {review_by}"),
            quote: render(quote),
        },
        Citation::Dataset { dataset, .. } => SourceLine {
            title: format!("Dataset {dataset}"),
            origin: "uploaded by this joint venture".to_owned(),
            quote: Html::default(),
        },
    }
}
