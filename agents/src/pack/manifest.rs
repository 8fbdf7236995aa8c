//! `pack.toml`: who a pack is, what it must be told at its install, and which systems it reaches.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::design::Measure;

/// A measure of success that a joint venture may be judged by.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kpi {
    /// Stable identifier.
    pub id: String,
    /// How it is computed.
    pub definition: String,
    /// Unit of the value.
    pub unit: String,
    /// `up` when more is better, `down` when less is; anything else cannot be tested for.
    pub direction: String,
    /// How it is taken over units; absent for one that an experiment cannot read, such as a median.
    #[serde(default)]
    pub measure: Option<Measure>,
    /// What is randomised where it is tested, for example `player`.
    #[serde(default)]
    pub randomise: Option<String>,
}

/// How far a pack is: a draft is held to fewer cases and questions than a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Being written; one case for each tool and one question suffice.
    Draft,
    /// Ready for joint ventures.
    #[default]
    Release,
}

/// How the value of a setting is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Any text of one line.
    #[default]
    Text,
    /// A web address with `https`, or `http` for a host that the operator allows.
    Url,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// Something that a joint venture is asked for when it installs the pack.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Name by which the pack refers to it: `[a-z][a-z0-9_]{0,63}`.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_]{0,63}$"))]
    pub id: String,
    /// What it is and where it is found, for the person who is asked.
    pub description: String,
    /// Whether the pack cannot be installed without it.
    #[serde(default)]
    pub required: bool,
    /// Whether it is kept encrypted and never shown again.
    #[serde(default)]
    pub secret: bool,
    /// How it is written.
    #[serde(default)]
    pub format: Format,
    /// The values that it may have; any when empty.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Value where none is given; a secret has none.
    #[serde(default)]
    pub default: Option<String>,
}

impl Setting {
    /// Checks a value that somebody gives.
    ///
    /// # Errors
    /// What is wrong and what would be right. The sentence never repeats a secret.
    pub fn accepts(&self, value: &str) -> Result<(), String> {
        let id = &self.id;
        let wrong = |what: &str| Err(format!("`{id}` must be {what}"));
        if value.is_empty() || value.len() > 4096 || value.contains(['\n', '\r', '\0']) {
            return wrong("a text of one line, at most 4,096 bytes");
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| choice == value) {
            return Err(format!("`{id}` must be one of {}", self.choices.join(", ")));
        }
        match self.format {
            Format::Url if !value.starts_with("https://") && !value.starts_with("http://") => {
                wrong("an address such as `https://example.com`")
            }
            Format::Integer if value.parse::<i64>().is_err() => wrong("a whole number"),
            Format::Number if !value.parse::<f64>().is_ok_and(f64::is_finite) => wrong("a number"),
            Format::Boolean if !matches!(value, "true" | "false") => wrong("`true` or `false`"),
            _ => Ok(()),
        }
    }
}

/// How a request to a system shows who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer` and the value of a setting.
    Bearer {
        /// The setting with the token.
        setting: String,
    },
    /// A header with the value of a setting.
    Header {
        /// Name of the header.
        name: String,
        /// The setting with the value.
        setting: String,
    },
    /// A parameter of the address with the value of a setting.
    Query {
        /// Name of the parameter.
        name: String,
        /// The setting with the value.
        setting: String,
    },
    /// `Authorization: Basic` with the values of two settings.
    Basic {
        /// The setting with the name of the user.
        user: String,
        /// The setting with the password.
        password: String,
    },
}

impl Auth {
    /// Returns the settings that it needs.
    pub fn settings(&self) -> Vec<&str> {
        match self {
            Self::Bearer { setting }
            | Self::Header { setting, .. }
            | Self::Query { setting, .. } => {
                vec![setting]
            }
            Self::Basic { user, password } => vec![user, password],
        }
    }
}

/// A system that tools of the pack reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum System {
    /// A web service.
    Http {
        /// Name by which tools refer to it.
        id: String,
        /// Address before the paths of the tools: `https://api.example.com/v1`, or `{setting}` where the
        /// joint venture says it.
        url: String,
        /// How requests show who asks.
        #[serde(default)]
        auth: Option<Auth>,
        /// Header that carries the key of an act, where the service makes the effect of each key once.
        #[serde(default)]
        idempotency_header: Option<String>,
    },
}

impl System {
    /// Returns the name by which tools refer to it.
    pub fn id(&self) -> &str {
        match self {
            Self::Http { id, .. } => id,
        }
    }

    /// Returns the settings that it needs.
    pub fn settings(&self) -> Vec<&str> {
        match self {
            Self::Http { url, auth, .. } => {
                let mut all: Vec<&str> = setting_of(url).into_iter().collect();
                all.extend(auth.iter().flat_map(Auth::settings));
                all
            }
        }
    }
}

/// Returns the setting that an address names, where it is `{setting}` and nothing else.
pub fn setting_of(url: &str) -> Option<&str> {
    url.strip_prefix('{')?.strip_suffix('}')
}

/// The contents of `pack.toml`. Unknown keys are errors.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pack.toml")]
pub struct Manifest {
    /// Version of the pack format; 1.
    #[schemars(range(min = 1, max = 1))]
    pub format: u32,
    /// Name of the pack's folder: `[a-z0-9-]{1,64}`.
    #[schemars(regex(pattern = r"^[a-z0-9-]{1,64}$"))]
    pub id: String,
    /// Semantic version of the contents.
    pub version: String,
    /// Versions of this program that the pack works with, for example `>=0.1, <1`.
    #[serde(default)]
    pub platform: Option<String>,
    /// How far the pack is.
    #[serde(default)]
    pub stage: Stage,
    /// Title for people.
    pub title: String,
    /// What the pack does, in one sentence.
    pub description: String,
    /// BCP 47 tags of the languages it answers in: `en`, `zh-Hant`, `zh-Hans`.
    #[schemars(length(min = 1))]
    pub languages: Vec<String>,
    /// Jurisdictions that its knowledge covers.
    #[serde(default)]
    pub jurisdictions: Vec<String>,
    /// Kinds of data that its tools touch.
    #[serde(default)]
    pub data_classes: Vec<String>,
    /// Requests that a demo shows, one a language.
    #[serde(default)]
    pub examples: Vec<String>,
    /// What a joint venture is asked for at the install.
    #[serde(default, rename = "setting")]
    pub settings: Vec<Setting>,
    /// Systems that its tools reach.
    #[serde(default, rename = "system")]
    pub systems: Vec<System>,
    /// Measures of success.
    #[serde(default, rename = "kpi")]
    pub kpis: Vec<Kpi>,
}

impl Manifest {
    /// Returns a system by its name.
    pub fn system(&self, id: &str) -> Option<&System> {
        self.systems.iter().find(|system| system.id() == id)
    }

    /// Checks the values that a joint venture gives, and returns them with the defaults of the rest.
    ///
    /// # Errors
    /// Every fault: what is missing, unknown or malformed. No sentence repeats a secret.
    pub fn configured(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Vec<String>> {
        let mut faults = Vec::new();
        let known = |id: &String| self.settings.iter().any(|setting| setting.id == *id);
        for id in given.keys().filter(|id| !known(id)) {
            let names: Vec<&str> = self.settings.iter().map(|one| one.id.as_str()).collect();
            faults.push(match names.is_empty() {
                true => format!("the pack has no setting `{id}`; it has none"),
                false => format!("the pack has no setting `{id}`; it has {}", names.join(", ")),
            });
        }
        let mut values = BTreeMap::new();
        for setting in &self.settings {
            match given.get(&setting.id).or(setting.default.as_ref()) {
                Some(value) => match setting.accepts(value) {
                    Ok(()) => drop(values.insert(setting.id.clone(), value.clone())),
                    Err(fault) => faults.push(fault),
                },
                None if setting.required => {
                    faults.push(format!("`{}` is missing: {}", setting.id, setting.description));
                }
                None => {}
            }
        }
        if faults.is_empty() { Ok(values) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_joint_venture_gives_is_checked_as_a_whole_and_secrets_are_not_repeated() {
        let manifest: Manifest = toml::from_str(
            r#"
            format = 1
            id = "x"
            version = "1.0.0"
            title = "X"
            description = "x"
            languages = ["en"]
            [[setting]]
            id = "token"
            description = "Token of the service"
            required = true
            secret = true
            [[setting]]
            id = "region"
            description = "Region"
            choices = ["eu", "us"]
            default = "eu"
            [[setting]]
            id = "db"
            description = "Database"
            secret = true
            format = "url"
            "#,
        )
        .unwrap();
        let given = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned()));
            manifest.configured(&pairs.collect())
        };
        let values = given(&[("token", "s3cret")]).unwrap();
        assert_eq!(values["region"], "eu");
        let faults = given(&[("region", "mars"), ("db", "hunter2"), ("nope", "1")]).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
        let said = faults.join("\n");
        assert!(said.contains("`token` is missing: Token of the service"), "{said}");
        assert!(said.contains("one of eu, us") && !said.contains("hunter2"), "{said}");
        assert!(given(&[("token", "a\r\nX-Other: b")]).is_err(), "a header could be smuggled in");
    }
}
