//! A pack's own data and an effect ledger in memory: what known answers and cases run against.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Pack, PackError};
use crate::port::{DatasetSource, EffectOutcome, EffectPort, EffectRequest};
use crate::tool::{Table, ToolError, Window};

/// `fixtures/index.toml`: the datasets that known answers and a demo joint venture use.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    /// The datasets.
    #[serde(default)]
    pub(super) dataset: Vec<Entry>,
}

/// A dataset of a pack.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Identifier.
    pub(super) id: String,
    /// File below `fixtures/`.
    pub(super) file: String,
    /// What it holds.
    #[serde(default)]
    #[expect(dead_code, reason = "said to the reader of the file")]
    description: Option<String>,
}

/// Datasets in memory: those of `fixtures/index.toml`, and others beside or in place of them.
#[derive(Debug, Default)]
pub struct FixtureSource(BTreeMap<String, (String, Arc<[u8]>)>);

impl FixtureSource {
    /// Reads the fixtures of a pack.
    ///
    /// # Errors
    /// [`PackError`] when the index is broken or names an absent file.
    pub fn of(pack: &Pack) -> Result<Self, PackError> {
        let Some(index) = pack.files.get("fixtures/index.toml") else { return Ok(Self::default()) };
        let name = pack.manifest.id.clone();
        let index: Index = toml::from_str(&String::from_utf8_lossy(index)).map_err(|error| {
            PackError::Invalid {
                pack: name.clone(),
                file: "fixtures/index.toml".to_owned(),
                message: error.to_string(),
            }
        })?;
        let mut datasets = BTreeMap::new();
        for entry in index.dataset {
            let file = format!("fixtures/{}", entry.file);
            let bytes = pack
                .files
                .get(&file)
                .ok_or_else(|| PackError::Missing { pack: name.clone(), file: file.clone() })?;
            datasets.insert(entry.id, (entry.file, Arc::clone(bytes)));
        }
        Ok(Self(datasets))
    }

    /// Adds a dataset, or puts it in the place of the one of its name.
    #[must_use]
    pub fn with(mut self, id: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.0.insert(id.to_owned(), (id.to_owned(), bytes.into()));
        self
    }

    /// Returns the ids, names of files and bytes of the datasets, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Arc<[u8]>)> {
        self.0.iter().map(|(id, (file, bytes))| (id.as_str(), file.as_str(), bytes))
    }
}

impl DatasetSource for FixtureSource {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        Ok(Table::from_csv(&self.file(id)?, id)?.within(window))
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        let found = self.0.get(id).map(|(_, bytes)| Arc::clone(bytes));
        found.ok_or_else(|| ToolError::no_data(format!("no dataset `{id}`")))
    }
}

/// Remembers effects instead of making them.
#[derive(Debug, Default)]
pub struct MemoryEffects(Mutex<BTreeMap<String, EffectRequest>>);

impl MemoryEffects {
    /// Returns how many effects happened.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl EffectPort for MemoryEffects {
    fn perform(&self, request: &EffectRequest) -> Result<EffectOutcome, ToolError> {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = format!("EF-{}", &request.arguments_sha256[..12]);
        if let Some(earlier) = ledger.get(&request.idempotency_key) {
            if earlier.arguments_sha256 != request.arguments_sha256 {
                return Err(ToolError::invalid(
                    "/idempotency_key",
                    "this key was used with other arguments",
                ));
            }
            return Ok(EffectOutcome { reference, repeated: true });
        }
        ledger.insert(request.idempotency_key.clone(), request.clone());
        Ok(EffectOutcome { reference, repeated: false })
    }
}
