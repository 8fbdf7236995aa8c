//! What another version of a pack changes, for the person who lets it in.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Pack, Permissions};

/// What is new, gone and other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Names whose contents are other.
    pub changed: Vec<String>,
}

impl Changes {
    fn of<T: PartialEq>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Self {
        let only = |one: &BTreeMap<String, T>, other: &BTreeMap<String, T>| -> Vec<String> {
            one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
        };
        let differs =
            |name: &&String| before.get(*name).is_some_and(|old| Some(old) != after.get(*name));
        Self {
            added: only(after, before),
            removed: only(before, after),
            changed: after.keys().filter(differs).cloned().collect(),
        }
    }

    /// Tells whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Lists them with a sign each.
    pub fn lines(&self) -> Vec<String> {
        let signed = [("+", &self.added), ("-", &self.removed), ("~", &self.changed)];
        signed
            .iter()
            .flat_map(|(sign, names)| names.iter().map(move |n| format!("{sign} {n}")))
            .collect()
    }
}

/// What differs between two versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Tools, by what a caller may rely on.
    pub tools: Changes,
    /// Rules of the policy.
    pub rules: Changes,
    /// Documents.
    pub documents: Changes,
    /// What is asked for beyond what was.
    pub beyond: Permissions,
}

impl Difference {
    /// Compares two versions.
    pub fn of(before: &Pack, after: &Pack) -> Self {
        let tools = |pack: &Pack| {
            pack.tools.iter().map(|tool| (tool.name.clone(), tool.version())).collect()
        };
        Self {
            tools: Changes::of(&tools(before), &tools(after)),
            rules: Changes::of(&rules(before), &rules(after)),
            documents: Changes::of(&documents(before), &documents(after)),
            beyond: Permissions::of(after).beyond(&Permissions::of(before)),
        }
    }
}

fn rules(pack: &Pack) -> BTreeMap<String, Value> {
    let text =
        pack.files.get("policy.toml").map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let policy: Value = toml::from_str(&text.unwrap_or_default()).unwrap_or_default();
    let rules = policy["rule"].as_array().into_iter().flatten();
    rules.filter_map(|rule| Some((rule["id"].as_str()?.to_owned(), rule.clone()))).collect()
}

fn documents(pack: &Pack) -> BTreeMap<String, Vec<u8>> {
    let all = pack.files.below("knowledge/");
    all.map(|(path, bytes)| (path["knowledge/".len()..].to_owned(), bytes.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::new::{Wanted, scaffold};

    #[test]
    fn what_another_version_changes_is_told_by_name() {
        let wanted = Wanted {
            id: "desk".to_owned(),
            title: "Desk".to_owned(),
            description: "Answers.".to_owned(),
            languages: vec!["en".to_owned()],
        };
        let files = scaffold(&wanted).unwrap();
        let before = Pack::from_files("desk", files.clone()).unwrap();
        assert!(Difference::of(&before, &before).tools.is_empty());
        let text = |path: &str| String::from_utf8(files.get(path).unwrap().to_vec()).unwrap();
        let after = files.with([
            (
                "tools/find_order.toml".to_owned(),
                text("tools/find_order.toml").replace("/orders/{", "/all/{"),
            ),
            (
                "policy.toml".to_owned(),
                text("policy.toml").replace("id = \"reads\"", "id = \"all\""),
            ),
            (
                "pack.toml".to_owned(),
                text("pack.toml").replace("orders.example.com", "other.example.com"),
            ),
        ]);
        let after = Pack::from_files("desk", after).unwrap();
        let found = Difference::of(&before, &after);
        assert_eq!(found.tools.lines(), ["~ find_order"]);
        assert_eq!(found.rules.lines(), ["+ all", "- reads"]);
        assert_eq!(found.beyond.lines(), [("reaches", "other.example.com".to_owned())]);
        assert!(found.documents.is_empty());
    }
}
