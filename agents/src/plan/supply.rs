//! What a call lacks although the request says it.
//!
//! A decoder that leaves out what a call cannot do without would have the person asked for a value that
//! stands in the request. Before anybody is asked, a value that nothing else in the call has taken fills
//! what is missing, where it is the only one that can.

use serde_json::{Map, Value};

use super::Origin;
use super::arg::{Shape, Slot};
use super::card::Card;
use super::lead::Leads;
use super::step::{Offer, mention_of};
use crate::mention::{Kind, Mention};

/// Probability from which a value among several, or one that the call uses already (`25 kW each way`),
/// may fill what is missing.
const LIKELY: f32 = 0.1;

/// How many times as likely as the next one it must be.
const STANDS_OUT: f32 = 2.0;

/// A value for what is missing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Supply {
    /// The argument.
    pub(super) name: String,
    /// Its value.
    pub(super) value: Value,
    /// Where it came from.
    pub(super) origin: Origin,
}

/// Returns the values that may fill what `missing` names, and then each reference to a dataset or another
/// code that would complete the call in another way. `said` is the step as the planner said it.
pub(super) fn supplies(
    offer: &Offer<'_>,
    card: &Card,
    (arguments, said): (&Map<String, Value>, &str),
    missing: &[String],
) -> Vec<Supply> {
    let Some((_, leads)) = offer.leads.iter().find(|(call, _)| *call == card.spec.name) else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    if let Ok(step) = serde_json::from_str(said) {
        references(&step, &mut taken);
    }
    let open = card.args.iter().filter(|arg| !arguments.contains_key(&arg.name));
    let (first, others): (Vec<_>, Vec<_>) = open.partition(|arg| missing.contains(&arg.name));
    let named = first.into_iter().map(|arg| (arg, true));
    named
        .chain(others.into_iter().map(|arg| (arg, false)))
        .filter_map(|(arg, missing)| {
            let place = format!("/{}", arg.name);
            let Shape::One(slot) = &arg.shape else { return None };
            let free = |m: &&Mention| !taken.contains(&m.id) && leads.allows(&place, m.id);
            let fits = |m: &&Mention| {
                let code = matches!(m.kind, Kind::Id { .. });
                slot.resolve(m, offer.locale).is_some() && (code || missing && told(slot, m))
            };
            let free: Vec<&Mention> = offer.mentions.iter().filter(free).filter(fits).collect();
            let mention = match free[..] {
                [only] => only,
                [] if missing => likeliest(offer.mentions, slot, &place, (offer, leads))?,
                _ if missing => likeliest(free.iter().copied(), slot, &place, (offer, leads))?,
                _ => return None,
            };
            let origin = Origin::Request { pointer: place, text: mention.text.clone() };
            let value = slot.resolve(mention, offer.locale)?;
            Some(Supply { name: arg.name.clone(), value, origin })
        })
        .collect()
}

/// Tells whether a value says by itself what it is: it has the unit of the argument, or the argument has
/// none.
fn told(slot: &Slot, mention: &Mention) -> bool {
    slot.states_unit(mention) || !slot.has_unit()
}

/// Returns the value that most likely fills a place, if it stands out from the others.
fn likeliest<'m>(
    mentions: impl IntoIterator<Item = &'m Mention>,
    slot: &Slot,
    place: &str,
    (offer, leads): (&Offer<'_>, &Leads),
) -> Option<&'m Mention> {
    let likely = mentions.into_iter().filter_map(|m| {
        let p = leads.probability(place, m.id).filter(|p| *p >= LIKELY)?;
        slot.resolve(m, offer.locale).map(|_| (p, m))
    });
    let mut likely: Vec<(f32, &Mention)> = likely.collect();
    likely.sort_by(|a, b| b.0.total_cmp(&a.0));
    match likely[..] {
        [(_, only)] => Some(only),
        [(best, first), (next, _), ..] if next * STANDS_OUT <= best => Some(first),
        _ => None,
    }
}

/// Collects the numbers of the mentions that a step points at.
fn references(said: &Value, taken: &mut Vec<usize>) {
    match said {
        Value::Object(object) => object.values().for_each(|value| references(value, taken)),
        Value::Array(items) => items.iter().for_each(|value| references(value, taken)),
        Value::String(text) => taken.extend(mention_of(text)),
        _ => {}
    }
}
