//! Consent on the command line: what a joint venture allows, and which examples may be trained on.

use std::path::Path;

use agents::synth::Source;
use runtime::train::Example;

use super::open::open;
use super::synth::card_path;
use super::{CliError, admin, say};
use crate::config::Config;
use crate::store::Store;
use crate::training::{self, CARD_FILE, consent_of};

/// Leaves out and counts the examples of runs that may not be trained on now. A set without runs needs
/// no store.
pub(super) async fn permitted(
    config: &Config,
    examples: Vec<Example>,
    tenant: Option<&str>,
) -> Result<Vec<Example>, CliError> {
    if !examples.iter().any(|example| Source::run_of(&example.source).is_some()) {
        return Ok(examples);
    }
    let opened = open(config, false).await?;
    let asked = asked(&opened.store, examples, tenant).await;
    opened.close().await?;
    let (kept, left_out) = asked?;
    if left_out > 0 {
        say(format_args!("{left_out} examples of runs are left out: their consent does not hold"))?;
    }
    if kept.is_empty() {
        return Err(CliError::Input("no example may be trained on".to_owned()));
    }
    Ok(kept)
}

async fn asked(
    store: &Store,
    examples: Vec<Example>,
    tenant: Option<&str>,
) -> Result<(Vec<Example>, usize), CliError> {
    let own = match tenant {
        Some(slug) => Some(admin::find(store, slug).await?),
        None => None,
    };
    Ok(training::permitted(store, examples, own).await?)
}

/// Copies the data card that lies beside the examples into the planner's folder.
pub(super) fn keep_card(data: &Path, out: &Path) -> Result<(), CliError> {
    let card = card_path(data);
    if card.is_file() {
        std::fs::copy(card, out.join(CARD_FILE))?;
    }
    Ok(())
}

/// `tessera tenant consent`: prints what a joint venture allows, or changes it first.
pub(super) async fn consent(
    store: &Store,
    slug: &str,
    change: Option<(&str, &str)>,
) -> Result<(), CliError> {
    let mut tx = store.begin(admin::find(store, slug).await?).await?;
    if let Some((source, level)) = change {
        let (source, level) =
            consent_of(source, level).map_err(|problem| CliError::Input(problem.detail))?;
        tx.set_consent(source, level, "command line").await?;
    }
    for one in tx.consents().await? {
        say(format_args!("{}\t{}\t{}", one.source.name(), one.level.name(), one.by))?;
    }
    Ok(tx.commit().await?)
}
