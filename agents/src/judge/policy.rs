//! The cases that show what each rule of a policy does.

use std::rc::Rc;

use super::{Bench, Check, Verdict};
use crate::pack::PackError;
use crate::policy::{Case, Policy, Rule, Verdict as Judged};

/// Two checks for each rule, and one for the disclosure and the words that call for a person in
/// each language.
pub(super) fn checks<'a>(bench: &'a Bench<'a>) -> Result<Vec<Check<'a>>, PackError> {
    let policy = Rc::new(Policy::of(bench.pack)?);
    let mut checks = Vec::new();
    for at in 0..policy.rules.len() {
        let id = policy.rules[at].id.clone();
        let (allow, deny) = (Rc::clone(&policy), Rc::clone(&policy));
        checks.push(Check::new(format!("{id}: the case that it allows"), move || {
            allowed(bench, &allow, &allow.rules[at])
        }));
        checks.push(Check::new(format!("{id}: the case that it stops"), move || {
            stopped(bench, &deny, &deny.rules[at])
        }));
    }
    for lang in &bench.pack.manifest.languages {
        let policy = Rc::clone(&policy);
        checks.push(Check::new(format!("disclosure and escalation in {lang}"), move || {
            speaks(&policy, lang).into()
        }));
    }
    Ok(checks)
}

fn verdict(bench: &Bench<'_>, policy: &Policy, case: &Case) -> Judged {
    let effect = bench.pack.tool(&case.tool).map(|tool| tool.effect);
    let by = case.approved_by_role.as_deref();
    policy.judge(&case.tool, effect, &case.arguments, &case.role, by, &bench.limits)
}

fn allowed(bench: &Bench<'_>, policy: &Policy, rule: &Rule) -> Verdict {
    let Some(case) = &rule.allow else {
        return Verdict::Failed("expected an `allow` case, found none".to_owned());
    };
    match verdict(bench, policy, case) {
        Judged::Allow => Verdict::Passed,
        other => Verdict::Failed(format!("expected the call to be allowed, found {other:?}")),
    }
}

/// A case must be stopped by the rule that it belongs to, and not by another one; the case of a rule
/// that only allows shows where the allowance ends, so there any rule may stop it.
fn stopped(bench: &Bench<'_>, policy: &Policy, rule: &Rule) -> Verdict {
    let Some(case) = &rule.deny else {
        return Verdict::Failed("expected a `deny` case, found none".to_owned());
    };
    match verdict(bench, policy, case) {
        Judged::Deny { rule: by, .. } | Judged::Approve { rule: by, .. }
            if by == rule.id || rule.decision == "allow" =>
        {
            Verdict::Passed
        }
        other => Verdict::Failed(format!("expected this rule to stop the call, found {other:?}")),
    }
}

fn speaks(policy: &Policy, lang: &str) -> Result<(), String> {
    if policy.disclosure.get(lang).is_none_or(|text| text.trim().is_empty()) {
        return Err("expected a disclosure that people talk to a machine, found none".to_owned());
    }
    let words = policy.escalate.get(lang).map(Vec::as_slice).unwrap_or_default();
    if words.is_empty() {
        return Err("expected words after which a person takes over, found none".to_owned());
    }
    match words.iter().find(|word| policy.escalates(word).is_none()) {
        Some(word) => Err(format!("expected `{word}` to call for a person, but it does not")),
        None => Ok(()),
    }
}
