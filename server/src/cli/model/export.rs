//! `tessera model export`: a planner for `transformers` or llama.cpp.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use runtime::config::MoeConfig;
use runtime::export::{ExportError, Numbers, gguf, packed, safetensors};

use super::super::{CliError, say};
use crate::planner;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportCommand {
    /// Form to write.
    #[arg(long)]
    format: Form,
    /// Folder to write for `safetensors` and `packed`, file for `gguf`.
    #[arg(long)]
    out: PathBuf,
    /// Numbers of the matrices in a GGUF file.
    #[arg(long, default_value = "f16")]
    numbers: Width,
    /// Name that other programs show.
    #[arg(long, default_value = "tessera-planner")]
    name: String,
}

/// A form of export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A folder that `transformers` loads.
    Safetensors,
    /// A file that llama.cpp loads.
    Gguf,
    /// A folder that this program loads, with weights of eight bits: half the size.
    Packed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Width {
    /// Half precision.
    F16,
    /// Single precision.
    F32,
    /// Eight bits with a scale for each 32 (`Q8_0`).
    Q8,
}

/// Writes the planner of `folder`, or the shipped one.
pub(in crate::cli) fn export(
    folder: Option<&Path>,
    command: &ExportCommand,
) -> Result<(), CliError> {
    let files = planner::files(folder).map_err(|error| CliError::Planner(error.to_string()))?;
    let numbers = match command.numbers {
        Width::F16 => Numbers::F16,
        Width::F32 => Numbers::F32,
        Width::Q8 => Numbers::Q8,
    };
    let written = match command.format {
        Form::Safetensors => safetensors(&files, &command.out),
        Form::Packed => packed(&files, &command.out),
        Form::Gguf => gguf(&files, &command.name, numbers, &command.out),
    };
    written.map_err(|error| match error {
        ExportError::Io { .. } => CliError::Io(std::io::Error::other(error.to_string())),
        other => CliError::Input(other.to_string()),
    })?;
    let config = MoeConfig::from_json(&files.config).map_err(|e| CliError::Input(e.to_string()))?;
    say(format_args!(
        "{}: {} weights, {} of them active for a token",
        command.out.display(),
        config.parameter_count(),
        config.active_parameter_count()
    ))
}
