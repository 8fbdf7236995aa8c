//! Rules that could not be met, and cases that show nothing.

use serde_json::Value;

use super::super::names::meant;
use super::super::{Bag, File, Opened, said};

const DECISIONS: [&str; 4] = ["allow", "require_approval", "deny", "deny_above"];

/// Roles of those who ask and approve; `guest` is nobody's and shows where an allowance ends.
const ROLES: [&str; 5] = ["viewer", "operator", "approver", "admin", "guest"];

pub(super) fn check(opened: &Opened<'_>, bag: &mut Bag) {
    let Some(file) = &opened.policy else { return };
    let languages = opened.manifest.iter().flat_map(|(_, manifest)| &manifest.languages);
    for lang in languages {
        for (key, what) in [
            ("disclosure", "a sentence that people talk to a machine"),
            ("escalate", "words after which a person takes over"),
        ] {
            let there = &file.value[key][lang];
            let empty = there.as_str().map_or_else(
                || there.as_array().is_none_or(Vec::is_empty),
                |text| text.trim().is_empty(),
            );
            if empty {
                let message = format!("`{key}` has nothing in `{lang}`, a language of the pack");
                let fault = said("language", message).hint(format!("write there {what}"));
                bag.error(file, file.key(&format!("/{key}")), fault);
            }
        }
    }
    for (at, rule) in file.value["rule"].as_array().into_iter().flatten().enumerate() {
        one(opened, file, at, rule, bag);
    }
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn one(opened: &Opened<'_>, file: &File<'_>, at: usize, rule: &Value, bag: &mut Bag) {
    let pointer = |rest: &str| format!("/rule/{at}/{rest}");
    let decision = rule["decision"].as_str().unwrap_or_default();
    if !DECISIONS.contains(&decision) {
        let fault = said("wrong_value", format!("`{decision}` is no decision"));
        bag.error(file, file.place(&pointer("decision")), fault.hint(meant(decision, DECISIONS)));
    }
    let mut names = |key: &str, known: &mut dyn FnMut(&str, &str, &mut Bag)| {
        for (n, name) in texts(rule, key).into_iter().enumerate() {
            known(&pointer(&format!("{key}/{n}")), name, bag);
        }
    };
    names("tools", &mut |place, name, bag| super::tool(opened, file, place, name, bag));
    for key in ["roles", "approver_roles"] {
        names(key, &mut |place, name, bag| {
            if !ROLES.contains(&name) {
                let fault = said("wrong_value", format!("`{name}` is no role"));
                bag.error(file, file.place(place), fault.hint(meant(name, ROLES)));
            }
        });
    }
    let forbidden = texts(rule, "forbidden_tools");
    for key in ["allow", "deny"] {
        if rule[key].is_null() {
            let fault =
                said("no_case", format!("the rule has no case `{key}`, which shows what it does"));
            let hint = format!(
                "add `{key} = {{ role = \"operator\", tool = \"…\", arguments = {{ … }} }}`"
            );
            bag.error(file, file.place(&pointer("id")), fault.hint(hint));
            continue;
        }
        let name = rule[key]["tool"].as_str().unwrap_or_default();
        if !forbidden.contains(&name) {
            super::tool(opened, file, &pointer(&format!("{key}/tool")), name, bag);
        }
    }
    limit(opened, file, at, rule, bag);
}

fn limit(opened: &Opened<'_>, file: &File<'_>, at: usize, rule: &Value, bag: &mut Bag) {
    let limit = &rule["limit"];
    if limit.is_null() {
        if rule["decision"] == "deny_above" {
            let fault = said("no_limit", "`deny_above` needs a `limit`");
            let hint = "add `limit = { argument = \"amount\", max = \"1000\", unit = \"USD\" }`";
            bag.error(file, file.place(&format!("/rule/{at}/decision")), fault.hint(hint));
        }
        return;
    }
    if let Some(max) =
        limit["max"].as_str().filter(|max| max.parse::<rust_decimal::Decimal>().is_err())
    {
        let fault = said("wrong_value", format!("`{max}` is no decimal number"));
        bag.error(file, file.place(&format!("/rule/{at}/limit/max")), fault);
    }
    let argument = limit["argument"].as_str().unwrap_or_default();
    for name in texts(rule, "tools") {
        let Some((_, spec)) = opened.tools.get(name) else { continue };
        let Some(known) = spec.input_schema["properties"].as_object() else { continue };
        if !known.contains_key(argument) {
            let fault = said("unknown_argument", format!("`{name}` has no argument `{argument}`"));
            let hint = meant(argument, known.keys().map(String::as_str));
            bag.error(file, file.place(&format!("/rule/{at}/limit/argument")), fault.hint(hint));
        }
    }
}
