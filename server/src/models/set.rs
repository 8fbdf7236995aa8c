//! The training set of a joint venture's planner: the verified examples of its pack, and its own
//! judged runs as far as it allows.

use std::path::Path;
use std::sync::Arc;

use agents::pack::{Pack, shipped};
use agents::synth::set::{self, Options};
use agents::synth::{Card, Templates};
use jiff::Timestamp;
use runtime::train::Example;

use super::ModelError;
use super::job::Training;
use crate::training::{self, CARD_FILE, Harvested};

/// Makes the set, and the data card that says what is in it.
///
/// # Errors
/// [`ModelError::Pack`] when a file of a pack is broken.
pub(super) fn make(
    pack: &Pack,
    wish: &Training,
    runs: &[Harvested],
) -> Result<(Vec<Example>, Card), ModelError> {
    let mut card = Card::new(wish.seed, wish.examples);
    let packs = shipped().map_err(ModelError::pack)?;
    let (reserved, cases) = set::reserve(packs).map_err(ModelError::pack)?;
    card.overlap.cases = cases;
    let reserved = Arc::new(reserved);
    let templates = Templates::of(pack).map_err(ModelError::pack)?;
    let mut made = Vec::new();
    if !runs.is_empty() {
        made = training::of_runs(pack, &templates, runs, &reserved, wish.seed, &mut card)
            .map_err(ModelError::pack)?;
        made.iter().for_each(|example| card.count(example));
    }
    let sifted = set::sifted(pack, &templates, &reserved);
    let options = Options { per_tool: wish.examples, seed: wish.seed };
    set::make(pack, sifted, &reserved, options, &mut card, &mut |_, examples| {
        made.extend(examples);
        Ok(())
    })
    .map_err(ModelError::pack)?;
    card.date(Timestamp::now());
    let read = |example: agents::synth::Example| serde_json::from_value(example.to_json());
    let examples =
        made.into_iter().map(read).collect::<Result<_, _>>().map_err(ModelError::pack)?;
    Ok((examples, card))
}

/// Writes the card into a planner's folder.
///
/// # Errors
/// [`ModelError::Io`] when it cannot be written.
pub(super) fn keep(card: &Card, folder: &Path) -> Result<(), ModelError> {
    let path = folder.join(CARD_FILE);
    let text = serde_json::to_vec_pretty(card).map_err(ModelError::pack)?;
    std::fs::write(&path, text).map_err(|source| ModelError::Io { path, source })
}
