//! A pack's policy: who may call what, what a person must approve, and when a person takes over.
//! [`flow`] judges a call by where its values came from.

pub mod flow;
pub mod terms;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::lang;
use crate::pack::{Pack, PackError};
use crate::tool::{Effect, Limits};

/// A ceiling on one argument.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Ceiling {
    /// Name under which a tenant may set its own.
    #[serde(default)]
    pub name: String,
    /// Argument that is bounded.
    pub argument: String,
    /// Largest allowed value, a decimal.
    #[serde(default)]
    pub max: Option<String>,
    /// Unit of the value.
    #[serde(default)]
    pub unit: String,
    /// Roles that the ceiling binds; empty for all.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A call that shows what a rule does.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Case {
    /// Role of whoever asks.
    pub role: String,
    /// Role of whoever approved, if anyone did.
    #[serde(default)]
    pub approved_by_role: Option<String>,
    /// Name of the tool.
    pub tool: String,
    /// Arguments of the call.
    #[serde(default)]
    pub arguments: Value,
}

/// One rule of a policy.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Rule {
    /// Stable name.
    pub id: String,
    /// Reason, for the person who meets the rule.
    pub why: String,
    /// Tools that the rule is about.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Effects that the rule is about.
    #[serde(default)]
    pub effects: Vec<Effect>,
    /// Roles that may call; empty for all.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Tools that are never called.
    #[serde(default)]
    pub forbidden_tools: Vec<String>,
    /// `allow`, `require_approval`, `deny` or `deny_above`.
    #[schemars(extend("enum" = ["allow", "require_approval", "deny", "deny_above"]))]
    pub decision: String,
    /// Roles that may approve.
    #[serde(default)]
    pub approver_roles: Vec<String>,
    /// Whether whoever asks may approve.
    #[serde(default)]
    pub self_approval: bool,
    /// Ceiling of a `deny_above` rule.
    #[serde(default)]
    pub limit: Option<Ceiling>,
    /// A case that the policy allows.
    #[serde(default)]
    pub allow: Option<Case>,
    /// A case that the policy does not allow outright.
    #[serde(default)]
    pub deny: Option<Case>,
}

/// What the policy says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The call may run.
    Allow,
    /// A person of one of these roles must approve it first.
    Approve {
        /// Rule that asks for it.
        rule: String,
        /// Roles that may approve.
        roles: Vec<String>,
    },
    /// The call must not run.
    Deny {
        /// Rule that forbids it.
        rule: String,
        /// Its reason.
        why: String,
    },
}

/// The policy of a pack.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "policy.toml")]
pub struct Policy {
    /// Version of the format; 1.
    #[serde(default)]
    pub format: u32,
    /// Sentence that tells people they talk to a machine, by language.
    #[serde(default)]
    pub disclosure: BTreeMap<String, String>,
    /// Words after which a person takes over, by language.
    #[serde(default)]
    pub escalate: BTreeMap<String, Vec<String>>,
    /// The rules, in order.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

impl Policy {
    /// Reads `policy.toml`; a pack without one lets pure and read calls run and asks before an act.
    ///
    /// # Errors
    /// [`PackError::Invalid`] with line and column.
    pub fn of(pack: &Pack) -> Result<Self, PackError> {
        let Some(bytes) = pack.files.get("policy.toml") else { return Ok(Self::default()) };
        toml::from_str(&String::from_utf8_lossy(bytes)).map_err(|error| PackError::Invalid {
            pack: pack.manifest.id.clone(),
            file: "policy.toml".to_owned(),
            message: error.to_string(),
        })
    }

    /// Returns the word of a request that calls for a person. Latin words match whole words only.
    pub fn escalates(&self, request: &str) -> Option<&str> {
        let folded: String = request.to_lowercase().chars().map(lang::fold).collect();
        self.escalate.values().flatten().map(String::as_str).find(|word| {
            let word: String = word.to_lowercase().chars().map(lang::fold).collect();
            folded.match_indices(&word).any(|(at, _)| {
                let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
                !word.is_ascii()
                    || (edge(folded[..at].chars().next_back())
                        && edge(folded[at + word.len()..].chars().next()))
            })
        })
    }

    /// Judges a call. The strictest rule wins: a denial over an approval over an allowance.
    pub fn judge(
        &self,
        tool: &str,
        effect: Option<Effect>,
        arguments: &Value,
        role: &str,
        approved_by_role: Option<&str>,
        limits: &Limits,
    ) -> Verdict {
        let mut verdict = match effect {
            Some(Effect::Act) if approved_by_role.is_none() => {
                Verdict::Approve { rule: "acts-need-approval".to_owned(), roles: Vec::new() }
            }
            _ => Verdict::Allow,
        };
        for rule in &self.rules {
            let deny = || Verdict::Deny { rule: rule.id.clone(), why: rule.why.clone() };
            if rule.forbidden_tools.iter().any(|name| name == tool) {
                return deny();
            }
            let about = rule.tools.iter().any(|name| name == tool)
                || (rule.tools.is_empty() && effect.is_some_and(|e| rule.effects.contains(&e)));
            if !about {
                continue;
            }
            let role_is_out = !rule.roles.is_empty() && !rule.roles.iter().any(|r| r == role);
            if role_is_out || rule.decision == "deny" || rule.exceeds(arguments, role, limits) {
                return deny();
            }
            if rule.decision == "require_approval" {
                let approved = approved_by_role.is_some_and(|by| {
                    rule.approver_roles.is_empty() || rule.approver_roles.iter().any(|r| r == by)
                });
                verdict = if approved {
                    Verdict::Allow
                } else {
                    Verdict::Approve { rule: rule.id.clone(), roles: rule.approver_roles.clone() }
                };
            }
        }
        let dry_run = arguments.get("dry_run") == Some(&Value::Bool(true));
        match verdict {
            Verdict::Approve { .. } if dry_run => Verdict::Allow,
            other => other,
        }
    }
}

impl Rule {
    fn exceeds(&self, arguments: &Value, role: &str, limits: &Limits) -> bool {
        let Some(ceiling) = self.limit.as_ref().filter(|_| self.decision == "deny_above") else {
            return false;
        };
        if !ceiling.roles.is_empty() && !ceiling.roles.iter().any(|bound| bound == role) {
            return false;
        }
        let read = |value: &Value| -> Option<Decimal> {
            value.as_str().map_or_else(|| value.to_string().parse().ok(), |s| s.parse().ok())
        };
        let max = limits.get(&ceiling.name).or(ceiling.max.as_deref());
        let max = max.and_then(|max| max.parse::<Decimal>().ok());
        let value = arguments.get(&ceiling.argument).and_then(read);
        matches!((value, max), (Some(value), Some(max)) if value > max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_call_for_a_person_only_as_whole_words() {
        let mut policy = Policy::default();
        policy.escalate.insert("en".to_owned(), vec!["sue".to_owned(), "律師".to_owned()]);
        assert_eq!(policy.escalates("I will SUE you"), Some("sue"));
        assert_eq!(policy.escalates("an issue with the tissue"), None);
        assert_eq!(policy.escalates("我要找律师"), Some("律師"));
    }
}
