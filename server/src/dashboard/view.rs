//! What the pages show: values ready for display, no logic in the templates.

use agents::plan::{MadeBy, Origin};
use agents::policy::flow::Reason;
use agents::tool::Effect;
use askama::Template;

use super::markdown::{Html, render};
use super::trace::{ArgumentLine, SourceLine, StepLine, Tools, source, steps};
use super::training::VerdictPart;
use crate::store::{Approval, Run, Status};
use crate::view::RunView;

/// What stands at the top of every page of a joint venture.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    /// Name in addresses.
    pub(super) slug: String,
    /// Name for people.
    pub(super) name: String,
    /// Title of its industry's pack.
    pub(super) pack: String,
    /// Who is signed in.
    pub(super) subject: String,
    /// Token that every form carries.
    pub(super) csrf: String,
    /// Approvals that wait.
    pub(super) pending: usize,
    /// Page that is shown: `runs`, `approvals`, `datasets`, `models` or `pack`.
    pub(super) here: &'static str,
}

/// A status word and its class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Badge {
    /// Word.
    pub(super) word: &'static str,
    /// Class of the style sheet.
    pub(super) class: &'static str,
}

/// Returns the badge of a status.
pub(super) fn badge(status: &str) -> Badge {
    let (word, class) = match status {
        "queued" => ("Queued", "wait"),
        "running" => ("Running", "wait"),
        "waiting_approval" => ("Needs approval", "ask"),
        "waiting_outcome" => ("Outcome unknown", "ask"),
        "waiting_input" => ("Asks back", "ask"),
        "done" => ("Answered", "good"),
        "refused" => ("Declined", "calm"),
        "cancelled" => ("Cancelled", "calm"),
        _ => ("Failed", "bad"),
    };
    Badge { word, class }
}

/// A line of a list of runs.
#[derive(Debug, Clone)]
pub(super) struct RunLine {
    /// Identifier.
    pub(super) id: String,
    /// The request, cut.
    pub(super) request: String,
    /// Where it stands.
    pub(super) badge: Badge,
    /// When it was made, UTC.
    pub(super) at: String,
    /// Language.
    pub(super) lang: String,
}

impl RunLine {
    /// Builds the line of a run.
    pub(super) fn of(run: &Run) -> Self {
        Self {
            id: run.id.to_string(),
            request: cut(&run.request, 110),
            badge: badge(run.status.name()),
            at: minute(&run.created_at.to_string()),
            lang: run.lang.clone(),
        }
    }
}

pub(super) fn cut(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most).chain(std::iter::once('…')).collect()
}

/// `2026-11-24T14:03:22Z` → `2026-11-24 14:03 UTC`.
fn minute(instant: &str) -> String {
    let day = instant.get(..10).unwrap_or(instant);
    format!("{day} {} UTC", instant.get(11..16).unwrap_or_default())
}

/// A joint venture on the first page.
#[derive(Debug, Clone)]
pub(super) struct Venture {
    /// Name in addresses.
    pub(super) slug: String,
    /// Name for people.
    pub(super) name: String,
    /// Title of its pack.
    pub(super) pack: String,
    /// What the pack does.
    pub(super) about: String,
    /// Approvals that wait.
    pub(super) pending: usize,
    /// Its latest run.
    pub(super) last: Option<RunLine>,
}

/// `/`
#[derive(Template)]
#[template(path = "ventures.html")]
pub(super) struct VenturesPage {
    /// Token of the form that signs out.
    pub(super) csrf: String,
    /// The joint ventures that the browser is signed in to.
    pub(super) ventures: Vec<Venture>,
}

/// `/jv/{slug}`
#[derive(Template)]
#[template(path = "runs.html")]
pub(super) struct RunsPage {
    /// Head of the page.
    pub(super) frame: Frame,
    /// Requests to try.
    pub(super) examples: Vec<String>,
    /// Runs that match.
    pub(super) runs: Vec<RunLine>,
    /// Words searched for.
    pub(super) search: String,
    /// Status filtered by.
    pub(super) status: String,
    /// Whether the oldest come first.
    pub(super) oldest: bool,
    /// Address of the next page, empty at the end.
    pub(super) next: String,
    /// A request that was refused, with the reason.
    pub(super) refused: Option<(String, String)>,
}

impl RunsPage {
    /// The statuses that can be filtered by: name, word, chosen.
    pub(super) fn statuses(&self) -> Vec<(&'static str, &'static str, bool)> {
        [
            Status::Done,
            Status::WaitingApproval,
            Status::WaitingOutcome,
            Status::WaitingInput,
            Status::Refused,
            Status::Failed,
            Status::Cancelled,
        ]
        .into_iter()
        .map(|status| (status.name(), badge(status.name()).word, self.status == status.name()))
        .collect()
    }

    /// Whether a filter is set.
    pub(super) fn filtered(&self) -> bool {
        !self.search.is_empty() || !self.status.is_empty()
    }
}

/// A call in the trace.
#[derive(Debug, Clone)]
pub(super) struct CallCard {
    /// Title of the tool.
    pub(super) title: String,
    /// Name of the tool.
    pub(super) tool: String,
    /// What it changes.
    pub(super) effect: &'static str,
    /// Its arguments.
    pub(super) arguments: Vec<ArgumentLine>,
    /// Result as indented JSON.
    pub(super) result: String,
    /// Time taken.
    pub(super) ms: String,
    /// Fault, if it failed.
    pub(super) fault: String,
}

/// An approval that can be decided on the page.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// Identifier.
    pub(super) id: String,
    /// The run.
    pub(super) run: String,
    /// The request that led to it; empty where the page shows it anyway.
    pub(super) request: String,
    /// Title of the tool that would act.
    pub(super) title: String,
    /// Tool that would act.
    pub(super) tool: String,
    /// Whether it is asked because the planner is not sure what was meant.
    pub(super) unsure: bool,
    /// What exactly would be done.
    pub(super) arguments: Vec<ArgumentLine>,
    /// What follows from approving, in words.
    pub(super) consequence: String,
    /// Why a person is asked, beside that the call acts.
    pub(super) reasons: Vec<String>,
    /// Who must decide: `one approver` or `two different people`, with roles.
    pub(super) who: String,
    /// Version of the tool.
    pub(super) version: String,
    /// Who has approved so far.
    pub(super) agreed: Vec<String>,
    /// Until when it can be decided.
    pub(super) expires: String,
}

impl Ask {
    /// Builds the form of an approval.
    pub(super) fn of(approval: &Approval, origins: &[Origin], tools: Tools<'_>) -> Self {
        let kept: Vec<Origin> =
            serde_json::from_value(approval.origins.clone()).unwrap_or_default();
        let origins = if kept.is_empty() { origins } else { kept.as_slice() };
        let reasons: Vec<Reason> =
            serde_json::from_value(approval.reasons.clone()).unwrap_or_default();
        Self {
            id: approval.id.to_string(),
            run: approval.run_id.to_string(),
            request: String::new(),
            title: tools.title(&approval.tool),
            tool: approval.tool.clone(),
            unsure: approval.because == "unsure",
            arguments: tools.lines(&approval.tool, &approval.arguments, origins),
            consequence: tools.consequence(&approval.tool, &approval.rule),
            reasons: reasons.iter().map(Reason::say).collect(),
            who: who_decides(approval),
            version: approval.tool_version.clone(),
            agreed: Vec::new(),
            expires: minute(&approval.expires_at.to_string()),
        }
    }
}

/// Says who must decide.
fn who_decides(approval: &Approval) -> String {
    let roles = match approval.roles.as_slice() {
        [] => String::new(),
        roles => format!(" ({})", roles.join(" or ")),
    };
    let people = if approval.needed > 1 { "two different people" } else { "one person" };
    let own = if approval.self_approval { "" } else { ", not who asked" };
    format!("{people}{roles}{own}")
}

/// The part of a run's page that changes while it runs.
#[derive(Template, Clone)]
#[template(path = "live.html")]
pub(super) struct LivePart {
    /// Name of the joint venture in addresses.
    pub(super) slug: String,
    /// Token of the forms.
    pub(super) csrf: String,
    /// Identifier of the run.
    pub(super) id: String,
    /// Where it stands.
    pub(super) badge: Badge,
    /// Whether nothing can follow.
    pub(super) ended: bool,
    /// Language of the answer.
    pub(super) lang: String,
    /// Whether nobody decided in time.
    pub(super) lapsed: bool,
    /// Steps so far.
    pub(super) steps: Vec<StepLine>,
    /// Answer, question or refusal.
    pub(super) answer: Option<Html>,
    /// Code and message of a failure.
    pub(super) fault: Option<(String, String)>,
    /// Sentences that go with the answer.
    pub(super) warnings: Vec<String>,
    /// What the answer rests on.
    pub(super) sources: Vec<SourceLine>,
    /// The approval that is waited for.
    pub(super) ask: Option<Ask>,
    /// The calls in full.
    pub(super) calls: Vec<CallCard>,
    /// How the plan came about.
    pub(super) plan: Vec<(&'static str, String)>,
    /// What is said of the run, once it has ended.
    pub(super) verdict: Option<VerdictPart>,
}

/// `/jv/{slug}/runs/{run}`
#[derive(Template)]
#[template(path = "run.html")]
pub(super) struct RunPage {
    /// Head of the page.
    pub(super) frame: Frame,
    /// The request as given.
    pub(super) request: String,
    /// Its language.
    pub(super) lang: String,
    /// Arguments that the run asks back for, in words.
    pub(super) missing: String,
    /// When it was made.
    pub(super) at: String,
    /// Identifier of the run.
    pub(super) id: String,
    /// Whether nothing can follow.
    pub(super) ended: bool,
    /// Whether the page reloads itself where scripts are off.
    pub(super) reload: bool,
    /// The part that changes, rendered.
    pub(super) live: Html,
}

/// A tool on the page of a pack.
#[derive(Debug, Clone)]
pub(super) struct ToolLine {
    /// Name.
    pub(super) name: String,
    /// Title.
    pub(super) title: String,
    /// What it does.
    pub(super) about: String,
    /// What it changes.
    pub(super) effect: &'static str,
    /// Algorithm and standard.
    pub(super) method: String,
}

/// `/jv/{slug}/pack`
#[derive(Template)]
#[template(path = "pack.html")]
pub(super) struct PackPage {
    /// Head of the page.
    pub(super) frame: Frame,
    /// Version of the pack.
    pub(super) version: String,
    /// What it does.
    pub(super) about: String,
    /// Its tools.
    pub(super) tools: Vec<ToolLine>,
    /// Its documents: title, language, source, review date.
    pub(super) documents: Vec<(String, String, String, String)>,
}

/// Any page that is not there or may not be seen.
#[derive(Template)]
#[template(path = "problem.html")]
pub(super) struct ProblemPage {
    /// HTTP status.
    pub(super) status: u16,
    /// What happened.
    pub(super) title: String,
    /// What to do.
    pub(super) detail: String,
}

/// Says an effect to people.
pub(super) fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Pure => "computes",
        Effect::Read => "reads data",
        Effect::Propose => "proposes",
        Effect::Act => "acts, after approval",
    }
}

impl LivePart {
    /// Builds the changing part of a run's page.
    pub(super) fn of(
        slug: &str,
        csrf: &str,
        run: &RunView,
        ended: bool,
        approval: Option<&Approval>,
        tools: Tools<'_>,
    ) -> Self {
        let origins: Vec<&[Origin]> = match run.plan.as_ref().map(|plan| &plan.decision) {
            Some(agents::plan::Decision::Call { calls }) => {
                calls.iter().map(|c| c.origins.as_slice()).collect()
            }
            _ => Vec::new(),
        };
        let origin = |index: usize| origins.get(index).copied().unwrap_or_default();
        let calls = run.calls.iter().map(|call| CallCard {
            title: tools.title(&call.tool),
            tool: call.tool.clone(),
            effect: effect(call.effect),
            arguments: tools.lines(&call.tool, &call.arguments, origin(call.index)),
            result: call.result.as_ref().map(|r| format!("{r:#}")).unwrap_or_default(),
            ms: call.ms.map(|ms| format!("{ms:.2} ms")).unwrap_or_default(),
            fault: call.error.as_ref().map(|e| e.message.clone()).unwrap_or_default(),
        });
        let plan = run.plan.as_ref().map_or_else(Vec::new, |plan| {
            vec![
                ("Planner", plan.model.clone()),
                ("Made with", made_with(&plan.made_by)),
                ("Shortlist", plan.shortlist.join(", ")),
                ("Its words", plan.output.clone()),
                ("Tokens", format!("{} read, {} chosen", plan.prompt_tokens, plan.decoded_tokens)),
                ("Time", format!("{:.1} ms", plan.ms)),
            ]
        });
        Self {
            slug: slug.to_owned(),
            csrf: csrf.to_owned(),
            id: run.id.clone(),
            badge: badge(run.status),
            ended,
            steps: steps(run, ended, tools),
            lang: run.lang.clone(),
            answer: run.answer.as_deref().map(render),
            fault: run.error.as_ref().map(|fault| (fault.code.clone(), fault.message.clone())),
            warnings: run.warnings.clone(),
            sources: run.citations.iter().map(|cited| source(cited, tools)).collect(),
            ask: approval.map(|asked| {
                Ask::of(
                    asked,
                    origin(usize::try_from(asked.call_index).unwrap_or(usize::MAX)),
                    tools,
                )
            }),
            lapsed: run.status == "waiting_approval" && approval.is_none(),
            calls: calls.collect(),
            plan,
            verdict: None,
        }
    }
}

/// Says which pack and prompt made a plan.
fn made_with(made_by: &MadeBy) -> String {
    let MadeBy { pack, pack_version, prompt_version, model_sha256 } = made_by;
    if pack.is_empty() {
        return "not noted".to_owned();
    }
    let sum = if model_sha256.is_empty() { "" } else { ", SHA-256 " };
    format!("pack {pack} {pack_version}, prompt {prompt_version}{sum}{model_sha256}")
}

/// Formats an instant for people.
pub(super) fn when(instant: &jiff::Timestamp) -> String {
    minute(&instant.to_string())
}
