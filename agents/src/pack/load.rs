//! Reads a pack from the binary or from a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use include_dir::{Dir, include_dir};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::Manifest;
use crate::domain;
use crate::tool::{NativeFn, ToolContext, ToolError, ToolSpec};

static SHIPPED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/packs");

/// Most files of a pack.
pub(super) const MAX_FILES: usize = 5_000;

/// Largest file of a pack, bytes.
pub(super) const MAX_FILE_BYTES: usize = 16 << 20;

/// Most bytes of the files of a pack together.
pub(super) const MAX_PACK_BYTES: usize = 64 << 20;

/// Why a pack cannot be loaded.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file that the pack needs is absent.
    #[error("{pack}: {file} is missing")]
    Missing {
        /// Folder of the pack.
        pack: String,
        /// Path inside the pack.
        file: String,
    },
    /// A file does not read as what it should be.
    #[error("{pack}/{file}: {message}")]
    Invalid {
        /// Folder of the pack.
        pack: String,
        /// Path inside the pack.
        file: String,
        /// What is wrong, with line and column where known.
        message: String,
    },
    /// The folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Path on disk.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The files of a pack by path inside it (`tools/apr.json`), sorted.
#[derive(Debug, Clone, Default)]
pub struct PackFiles(BTreeMap<String, Arc<[u8]>>);

impl PackFiles {
    fn embedded(dir: &Dir<'_>) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![dir.clone()];
        while let Some(folder) = folders.pop() {
            folders.extend(folder.dirs().cloned());
            for file in folder.files() {
                let path = file.path().strip_prefix(dir.path()).unwrap_or(file.path());
                files.insert(path.to_string_lossy().into_owned(), Arc::from(file.contents()));
            }
        }
        Self(files)
    }

    /// Reads a folder and those below it. Names that begin with a dot are an editor's or a version
    /// control's and are left out; links are refused, because they lead out of the pack.
    ///
    /// # Errors
    /// [`PackError::Io`] naming the path; [`PackError::Invalid`] ⇐ a link, or more or larger files than a
    /// pack may have.
    pub fn from_folder(root: &Path) -> Result<Self, PackError> {
        let fail = |path: &Path, source| PackError::Io { path: path.display().to_string(), source };
        let mut files = Self::default();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|e| fail(&folder, e))? {
                let entry = entry.map_err(|e| fail(&folder, e))?;
                let path = entry.path();
                let kind = entry.file_type().map_err(|e| fail(&path, e))?;
                let Ok(inside) = path.strip_prefix(root) else { continue };
                let inside = inside.to_string_lossy().replace('\\', "/");
                let refuse = |message: String| PackError::Invalid {
                    pack: root.display().to_string(),
                    file: inside.clone(),
                    message,
                };
                if entry.file_name().to_string_lossy().starts_with('.') {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    let size = entry.metadata().map_err(|e| fail(&path, e))?.len();
                    if size > MAX_FILE_BYTES as u64 {
                        return Err(refuse(format!("a file has at most {MAX_FILE_BYTES} bytes")));
                    }
                    let bytes = std::fs::read(&path).map_err(|e| fail(&path, e))?;
                    files.insert(&inside, bytes).map_err(refuse)?;
                } else {
                    return Err(refuse("a pack holds files and folders, no links".to_owned()));
                }
            }
        }
        Ok(files)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// What a pack may have at most, or why this is no path inside one, as a sentence.
    pub fn insert(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), String> {
        let plain = |step: &str| !step.is_empty() && step != "." && step != "..";
        if path.len() > 256
            || !path.split('/').all(plain)
            || path.contains(['\\', ':', '\0'])
            || path.chars().any(char::is_control)
        {
            return Err(format!("`{}` is no path inside a pack", path.escape_debug()));
        }
        if bytes.len() > MAX_FILE_BYTES {
            return Err(format!("a file has at most {MAX_FILE_BYTES} bytes"));
        }
        if self.0.len() >= MAX_FILES {
            return Err(format!("a pack has at most {MAX_FILES} files"));
        }
        if self.bytes() + bytes.len() > MAX_PACK_BYTES {
            return Err(format!(
                "the files of a pack have at most {MAX_PACK_BYTES} bytes together"
            ));
        }
        match self.0.insert(path.to_owned(), Arc::from(bytes)) {
            None => Ok(()),
            Some(_) => Err(format!("`{path}` stands twice")),
        }
    }

    /// Returns the bytes of all files together.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|bytes| bytes.len()).sum()
    }

    /// Returns the files with others beside them or in their place.
    #[must_use]
    pub fn with(&self, files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all = self.0.clone();
        all.extend(files.into_iter().map(|(path, text)| (path, Arc::from(text.into_bytes()))));
        Self(all)
    }

    /// Returns a file.
    pub fn get(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.0.get(path)
    }

    /// Returns the files below a folder, in order of their paths.
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a Arc<[u8]>)> {
        self.0
            .range(folder.to_owned()..)
            .take_while(move |(p, _)| p.starts_with(folder))
            .map(|(path, bytes)| (path.as_str(), bytes))
    }
}

impl FromIterator<(String, String)> for PackFiles {
    /// Collects texts by their paths inside the pack.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(files: I) -> Self {
        Self(files.into_iter().map(|(path, text)| (path, Arc::from(text.into_bytes()))).collect())
    }
}

/// A loaded pack.
#[derive(Debug)]
pub struct Pack {
    /// Contents of `pack.toml`.
    pub manifest: Manifest,
    /// Tools in order of their names.
    pub tools: Vec<Arc<ToolSpec>>,
    /// Every file, for knowledge, answers, cases and fixtures.
    pub files: PackFiles,
}

impl Pack {
    /// Builds a pack from its files.
    ///
    /// # Errors
    /// The first fault; `pack check` lists all of them.
    pub fn from_files(name: &str, files: PackFiles) -> Result<Self, PackError> {
        let manifest = files.get("pack.toml").ok_or_else(|| PackError::Missing {
            pack: name.to_owned(),
            file: "pack.toml".to_owned(),
        })?;
        let invalid = |file: &str, message: String| PackError::Invalid {
            pack: name.to_owned(),
            file: file.to_owned(),
            message,
        };
        let manifest: Manifest = toml::from_str(&String::from_utf8_lossy(manifest))
            .map_err(|error| invalid("pack.toml", error.to_string()))?;
        let mut tools = Vec::new();
        for (path, bytes) in files.below("tools/") {
            let read: Result<ToolSpec, String> = if path.ends_with(".json") {
                serde_json::from_slice(bytes).map_err(|error| error.to_string())
            } else if path.ends_with(".toml") {
                toml::from_str(&String::from_utf8_lossy(bytes)).map_err(|error| error.to_string())
            } else {
                continue;
            };
            tools.push(Arc::new(read.map_err(|message| invalid(path, message))?));
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { manifest, tools, files })
    }

    /// Returns a tool by name.
    pub fn tool(&self, name: &str) -> Option<&Arc<ToolSpec>> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// Reads a file that holds one JSON value a line; a pack without the file has none.
    ///
    /// # Errors
    /// [`PackError::Invalid`] naming the line.
    pub fn lines<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, PackError> {
        let Some(bytes) = self.files.get(path) else { return Ok(Vec::new()) };
        json_lines(&String::from_utf8_lossy(bytes)).map_err(|(line, message)| PackError::Invalid {
            pack: self.manifest.id.clone(),
            file: format!("{path}:{line}"),
            message,
        })
    }

    /// Returns the native body of a tool.
    pub fn native(&self, name: &str) -> Option<NativeFn> {
        domain::native(&self.manifest.id, name)
    }

    /// Checks the arguments, runs the tool and checks its result.
    ///
    /// # Errors
    /// The tool's error; [`ToolError::Unavailable`] when the tool is unknown or breaks its own
    /// output schema.
    pub fn call(
        &self,
        name: &str,
        arguments: &Value,
        context: &ToolContext<'_>,
    ) -> Result<Value, ToolError> {
        let unavailable = |message: String| ToolError::Unavailable { message };
        let spec = self.tool(name).ok_or_else(|| unavailable(format!("no tool `{name}`")))?;
        spec.check_arguments(arguments)?;
        let result = match (spec.run_declared(arguments, context), self.native(name)) {
            (Some(result), _) => result?,
            (None, Some(native)) => native(arguments, context)?,
            (None, None) => return Err(unavailable(format!("`{name}` has no body"))),
        };
        spec.check_result(&result).map_err(|error| {
            unavailable(format!("the result of `{name}` breaks its schema: {error}"))
        })?;
        Ok(result)
    }
}

/// Reads one JSON value a line; empty lines are skipped.
///
/// # Errors
/// The number of the first line that does not read, from 1, and why.
pub fn json_lines<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, (usize, String)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(i, line)| serde_json::from_str(line).map_err(|e| (i + 1, e.to_string()))).collect()
}

/// Returns the packs that ship in the binary, in order of their ids.
///
/// # Errors
/// The first fault of an embedded pack; a test shows that there is none.
pub fn shipped() -> Result<&'static [Arc<Pack>], &'static PackError> {
    static PACKS: OnceLock<Result<Vec<Arc<Pack>>, PackError>> = OnceLock::new();
    PACKS
        .get_or_init(|| {
            let mut packs = Vec::new();
            for dir in SHIPPED.dirs() {
                let name = dir.path().to_string_lossy();
                packs.push(Arc::new(Pack::from_files(&name, PackFiles::embedded(dir))?));
            }
            packs.sort_by(|a, b| a.manifest.id.cmp(&b.manifest.id));
            Ok(packs)
        })
        .as_ref()
        .map(Vec::as_slice)
}
