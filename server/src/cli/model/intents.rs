//! `tessera model intents`: the part of a planner that is trained in seconds.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use runtime::train::{Example, fit_intents, placed, put_intents, recognised};

use super::super::{CliError, say};
use super::failed;

#[derive(Debug, Args)]
pub(in crate::cli) struct IntentsCommand {
    /// Examples, one JSON object a line.
    #[arg(long)]
    pub(super) data: PathBuf,
    /// Joint venture whose own planner it is, see `tessera model train`.
    #[arg(long)]
    pub(super) tenant: Option<String>,
    /// Folder of the planner; packs without examples keep what it has of them.
    #[arg(long)]
    out: PathBuf,
    /// Leave what tells requests apart as it is, and fit only what tells their values and choices.
    #[arg(long)]
    keep_requests: bool,
    /// Seed of the order of the examples.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Fits the classifiers and writes them beside the planner's weights.
pub(in crate::cli) fn intents(
    command: &IntentsCommand,
    examples: &[Example],
) -> Result<(), CliError> {
    let begun = Instant::now();
    let (held, mut kept): (Vec<&Example>, Vec<&Example>) =
        examples.iter().partition(|example| example.is_held_out());
    let unlabelled: Vec<Example> = if command.keep_requests {
        let plain = |example: &&Example| Example { labels: Vec::new(), ..(*example).clone() };
        kept.iter().map(plain).collect()
    } else {
        Vec::new()
    };
    if command.keep_requests {
        kept = unlabelled.iter().collect();
    } else if kept.iter().all(|example| example.labelled().is_none()) {
        let why = "no example says what its request asks for; make the set anew with `pack synth`";
        return Err(CliError::Input(why.to_owned()));
    }
    let intents =
        fit_intents(&kept, Some(&command.out), command.seed).map_err(|error| failed(&error))?;
    put_intents(&intents, &command.out).map_err(|error| failed(&error))?;
    let (asked, filled) = (recognised(&intents, &held), placed(&intents, &held));
    say(format_args!(
        "{} examples, {:.1} s; held out: {} of {} requests recognised, all values of {} of {} \
         calls placed",
        kept.len(),
        begun.elapsed().as_secs_f64(),
        asked.right,
        asked.examples,
        filled.right,
        filled.examples
    ))
}
