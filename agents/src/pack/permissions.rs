//! What a pack may do, for the person who installs it: told from its files, so that it cannot say less.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Pack, System, setting_of};
use crate::tool::Effect;
use crate::tool::body::Body;

/// What a pack asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Hosts that its tools reach; `{setting}` where the joint venture says which.
    pub hosts: BTreeSet<String>,
    /// Effects of its tools.
    pub effects: BTreeSet<Effect>,
    /// Tools that change something outside.
    pub acts: BTreeSet<String>,
    /// Kinds of data that its tools touch.
    pub data_classes: BTreeSet<String>,
    /// Secrets that it is given.
    pub secrets: BTreeSet<String>,
    /// Queries over datasets of the joint venture.
    pub queries: BTreeSet<String>,
}

impl Permissions {
    /// Reads what a pack asks for.
    pub fn of(pack: &Pack) -> Self {
        let manifest = &pack.manifest;
        let mut asked = Self {
            data_classes: manifest.data_classes.iter().cloned().collect(),
            ..Self::default()
        };
        for system in &manifest.systems {
            let System::Http { url, .. } = system;
            asked.hosts.insert(host(url));
        }
        for tool in &pack.tools {
            asked.effects.insert(tool.effect);
            if tool.effect == Effect::Act {
                asked.acts.insert(tool.name.clone());
            }
            if let Some(Body::Sql(_)) = &tool.body {
                asked.queries.insert(tool.name.clone());
            }
        }
        let secret = manifest.settings.iter().filter(|setting| setting.secret);
        asked.secrets = secret.map(|setting| setting.id.clone()).collect();
        asked
    }

    /// Returns what this asks for and `before` did not.
    pub fn beyond(&self, before: &Self) -> Self {
        fn more<T: Ord + Clone>(now: &BTreeSet<T>, before: &BTreeSet<T>) -> BTreeSet<T> {
            now.difference(before).cloned().collect()
        }
        Self {
            hosts: more(&self.hosts, &before.hosts),
            effects: more(&self.effects, &before.effects),
            acts: more(&self.acts, &before.acts),
            data_classes: more(&self.data_classes, &before.data_classes),
            secrets: more(&self.secrets, &before.secrets),
            queries: more(&self.queries, &before.queries),
        }
    }

    /// Lists them as lines of a name and what it is, nothing for what is not asked for.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        fn joined(items: &BTreeSet<String>) -> String {
            items.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        }
        let effects = self.effects.iter().map(|effect| format!("{effect:?}").to_lowercase());
        let effects = effects.collect::<Vec<_>>().join(", ");
        let all = [
            ("reaches", joined(&self.hosts)),
            ("effects", effects),
            ("changes something by", joined(&self.acts)),
            ("touches data", joined(&self.data_classes)),
            ("is given the secrets", joined(&self.secrets)),
            ("queries datasets by", joined(&self.queries)),
        ];
        all.into_iter().filter(|(_, what)| !what.is_empty()).collect()
    }
}

/// Returns the host and port of an address, or the setting that says it.
fn host(url: &str) -> String {
    if setting_of(url).is_some() {
        return url.to_owned();
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_without_path_user_or_letter_case() {
        assert_eq!(host("https://u:p@Api.Example.com:8443/v1?x#y"), "api.example.com:8443");
        assert_eq!(host("{base}"), "{base}");
    }

    #[test]
    fn what_is_more_than_before_is_told_alone() {
        let of = |hosts: &[&str]| Permissions {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..Permissions::default()
        };
        let more = of(&["a.com", "b.com"]).beyond(&of(&["a.com"]));
        assert_eq!(more.lines(), [("reaches", "b.com".to_owned())]);
        assert!(of(&["a.com"]).beyond(&of(&["a.com"])).lines().is_empty());
    }
}
