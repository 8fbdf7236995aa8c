//! The terms under which a person decides on a call, and whether a journal holds that decision.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::flow::{AllowList, Decision, Flow, Reach, Reason, decide};
use super::{Policy, Verdict};
use crate::event::Event;
use crate::pack::Pack;
use crate::plan::{CallPlan, Origin};
use crate::provenance::{Label, Secrecy, of_call, of_result};

/// What a person is shown and bound to beside the arguments of a call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// Version of the tool, see [`crate::tool::ToolSpec::version`]; another version is another call.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tool_version: String,
    /// Rule of the pack that asks for a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Roles of the pack that may decide; empty for any that may approve at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Whether whoever asked may decide.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub self_approval: bool,
    /// Where each argument came from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
    /// Flows that would not have been allowed without a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

impl Terms {
    /// Returns the terms of a call that changes nothing: whoever asked may confirm it.
    pub fn of_unsure(pack: &Pack, call: &CallPlan) -> Self {
        Self {
            tool_version: version_of(pack, &call.tool),
            self_approval: true,
            origins: call.origins.clone(),
            ..Self::default()
        }
    }

    /// Returns the terms that a policy and the flow of its values set for a call.
    pub fn of(
        pack: &Pack,
        policy: &Policy,
        call: &CallPlan,
        verdict: &Verdict,
        flow: Decision,
    ) -> Self {
        let (rule, roles) = match verdict {
            Verdict::Approve { rule, roles } => (rule.clone(), roles.clone()),
            Verdict::Allow | Verdict::Deny { .. } => (String::new(), Vec::new()),
        };
        Self {
            tool_version: version_of(pack, &call.tool),
            self_approval: policy.rules.iter().any(|r| r.id == rule && r.self_approval),
            rule,
            roles,
            origins: call.origins.clone(),
            reasons: match flow {
                Decision::Approve(reasons) => reasons,
                Decision::Allow | Decision::Deny(_) => Vec::new(),
            },
        }
    }
}

fn version_of(pack: &Pack, tool: &str) -> String {
    pack.tool(tool).map(|spec| spec.version()).unwrap_or_default()
}

/// Decides by where the values came from about the last of `made`, a call of the plan `calls`. A
/// preview changes nothing, so its values may come from anywhere.
pub fn flow_of(pack: &Pack, calls: &[CallPlan], made: &[CallPlan]) -> Decision {
    let Some((call, earlier)) = made.split_last() else { return Decision::Allow };
    let tools = AllowList::of(calls.iter().map(|call| call.tool.as_str()));
    let mut results: Vec<Label> = Vec::with_capacity(earlier.len());
    for call in earlier {
        results.push(of_result(call.effect, &of_call(call, &results)));
    }
    let mut flow = pack.tool(&call.tool).map(|spec| Flow::of_tool(spec));
    if let Some(flow) = &mut flow
        && call.arguments.get("dry_run") == Some(&Value::Bool(true))
    {
        (flow.reach, flow.sinks) = (Reach::Read, Vec::new());
    }
    let arguments = of_call(call, &results);
    decide(&tools, Secrecy::Internal, &call.tool, flow.as_ref(), &arguments)
}

/// Returns who approved a call, if the last request for it was of exactly these arguments and this
/// version of its tool, and was approved. Anything else needs a new approval.
pub fn approver<'a>(
    journal: &'a [Event],
    call: usize,
    arguments_sha256: &str,
    tool_version: &str,
) -> Option<&'a str> {
    let mut asked = false;
    let mut by = None;
    for event in journal {
        match event {
            Event::ApprovalRequested { index, arguments_sha256: hash, terms, .. }
                if *index == call =>
            {
                asked = hash == arguments_sha256 && terms.tool_version == tool_version;
                by = None;
            }
            Event::ApprovalDecided { index, approved, by: who, arguments_sha256: hash, .. }
                if *index == call =>
            {
                by = (asked && *approved && hash == arguments_sha256).then_some(who.as_str());
            }
            _ => {}
        }
    }
    by
}

/// Returns the SHA-256, in lower-case hex, that binds a decision to one call: whose it is, its run and
/// place, the tool with its version, and the hash of its exact arguments.
///
/// # Source
/// RFC 8785 (JSON Canonicalization Scheme).
pub fn binding_sha256(
    scope: &str,
    run: &str,
    call: i64,
    (tool, tool_version): (&str, &str),
    arguments_sha256: &str,
) -> String {
    let bound = json!({
        "scope": scope, "run": run, "call": call, "tool": tool, "tool_version": tool_version,
        "arguments_sha256": arguments_sha256,
    });
    let canonical = serde_json_canonicalizer::to_vec(&bound).unwrap_or_default();
    hex::encode(Sha256::digest(&canonical))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Because;

    fn asked(index: usize, hash: &str, version: &str) -> Event {
        Event::ApprovalRequested {
            index,
            tool: "act".to_owned(),
            arguments: json!({}),
            arguments_sha256: hash.to_owned(),
            because: Because::Act,
            terms: Terms { tool_version: version.to_owned(), ..Terms::default() },
        }
    }

    fn decided(index: usize, hash: &str, approved: bool) -> Event {
        Event::ApprovalDecided {
            index,
            approved,
            by: "ann".to_owned(),
            reason: String::new(),
            arguments_sha256: hash.to_owned(),
        }
    }

    #[test]
    fn a_decision_holds_for_the_same_arguments_and_tool_version_only() {
        let journal = [asked(0, "aa", "v1"), decided(0, "aa", true)];
        assert_eq!(approver(&journal, 0, "aa", "v1"), Some("ann"));
        assert_eq!(approver(&journal, 0, "bb", "v1"), None, "other arguments");
        assert_eq!(approver(&journal, 0, "aa", "v2"), None, "another version");
        assert_eq!(approver(&journal, 1, "aa", "v1"), None, "another call");
        assert_eq!(approver(&[asked(0, "aa", "v1"), decided(0, "aa", false)], 0, "aa", "v1"), None);
        assert_eq!(approver(&[decided(0, "aa", true)], 0, "aa", ""), None, "nobody asked");
        let again = [&journal[..], &[asked(0, "aa", "v2")]].concat();
        assert_eq!(approver(&again, 0, "aa", "v1"), None, "a later request takes its place");
    }

    #[test]
    fn every_part_of_a_binding_counts() {
        let one = binding_sha256("t", "r", 0, ("tool", "v"), "h");
        for other in [
            binding_sha256("u", "r", 0, ("tool", "v"), "h"),
            binding_sha256("t", "s", 0, ("tool", "v"), "h"),
            binding_sha256("t", "r", 1, ("tool", "v"), "h"),
            binding_sha256("t", "r", 0, ("toolv", ""), "h"),
            binding_sha256("t", "r", 0, ("tool", "w"), "h"),
            binding_sha256("t", "r", 0, ("tool", "v"), "i"),
        ] {
            assert_ne!(one, other);
        }
    }
}
