//! A whole training set: phrases sifted, examples made and verified, everything counted.

use std::sync::Arc;
use std::time::Instant;

use jiff::civil::Date;
use thiserror::Error;

use super::card::{Card, PackLine};
use super::overlap::{Dropped, Reserved, sift};
use super::{Example, LANGS, Maker, Report, Templates};
use crate::pack::{Pack, PackError};

/// Rounds over a pack's tools between two reports of progress.
const ROUNDS: usize = 10;

/// What set to make.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Examples asked for, a tool.
    pub per_tool: usize,
    /// Seed.
    pub seed: u64,
}

/// Why a set was not made.
#[derive(Debug, Error)]
pub enum SetError {
    /// A pack does not read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// An example could not be written.
    #[error("the examples cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

/// The phrases of a pack that examples are made of.
#[derive(Debug)]
pub struct Sifted {
    /// The phrases that remain.
    pub templates: Templates,
    /// Those that do not.
    pub dropped: Vec<Dropped>,
    /// How many there were.
    pub phrases: usize,
}

/// The day from which examples and cases are read; see [`Maker`].
pub const TODAY: Date = jiff::civil::date(2026, 6, 15);

/// Collects the evaluation cases that no example may be near to: those of every given pack.
///
/// # Errors
/// [`PackError`] when a file of cases does not read.
pub fn reserve(packs: &[Arc<Pack>]) -> Result<(Reserved, usize), PackError> {
    let mut reserved = Reserved::default();
    let mut cases = 0;
    for pack in packs {
        cases += reserved.add_cases(pack, TODAY)?;
    }
    Ok((reserved, cases))
}

/// Takes the phrases of a pack that are near a reserved text, or say the same, out of `templates`.
pub fn sifted(pack: &Pack, templates: &Templates, reserved: &Reserved) -> Sifted {
    let (kept, dropped) = sift(&pack.manifest.id, templates, reserved, TODAY);
    Sifted { templates: kept, dropped, phrases: count(templates) }
}

/// Makes and verifies the examples of a pack, hands each to `write` and counts it on the card.
///
/// # Errors
/// [`SetError`]; what was written by then stays.
pub fn make(
    pack: &Pack,
    sifted: Sifted,
    reserved: &Arc<Reserved>,
    options: Options,
    card: &mut Card,
    step: &mut dyn FnMut(usize, Vec<Example>) -> std::io::Result<()>,
) -> Result<(), SetError> {
    let begun = Instant::now();
    let templates = &sifted.templates;
    let mut maker = Maker::new(pack, templates, options.seed)?.checked(Arc::clone(reserved))?;
    let tools = templates.tools.len();
    let all = options.per_tool * tools;
    let round = tools * super::example::GROUP * ROUNDS;
    let mut asked = 0;
    while asked < all {
        let next = round.min(all - asked);
        let examples = maker.make(next);
        asked += next;
        examples.iter().for_each(|example| card.count(example));
        step(asked, examples)?;
    }
    card.reject(&maker.report);
    card.checked.add(maker.tally());
    card.packs.push(PackLine {
        id: pack.manifest.id.clone(),
        version: pack.manifest.version.clone(),
        tools,
        phrases: sifted.phrases,
        dropped: sifted.dropped.len(),
    });
    card.drop_phrases(sifted.dropped);
    card.seconds += begun.elapsed().as_secs_f64();
    Ok(())
}

/// Renders every remaining phrase once and tells which cannot be read back or do not run.
///
/// # Errors
/// [`PackError`] when a file of the pack is broken.
pub fn check(
    pack: &Pack,
    sifted: &Sifted,
    reserved: &Arc<Reserved>,
    seed: u64,
) -> Result<Report, PackError> {
    let mut maker = Maker::new(pack, &sifted.templates, seed)?.checked(Arc::clone(reserved))?;
    maker.check();
    Ok(std::mem::take(&mut maker.report))
}

fn count(templates: &Templates) -> usize {
    let of = |template: &super::Template| {
        let lists = LANGS.iter().map(|lang| template.phrases(lang));
        lists.map(|p| p.call.len() + p.none.len() + p.person.len() + p.search.len()).sum::<usize>()
    };
    let chains = templates.chains.iter().flat_map(|c| LANGS.map(|lang| c.phrases(lang).len()));
    templates.tools.values().map(of).sum::<usize>() + of(&templates.other) + chains.sum::<usize>()
}
