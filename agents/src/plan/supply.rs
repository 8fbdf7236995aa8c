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
use super::step::Offer;
use crate::mention::{Kind, Mention};

/// Probability from which a value that the call uses already may fill a second argument (`25 kW each
/// way`).
const SHARED: f32 = 0.1;

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
                _ if missing => shared(offer, slot, &place, leads)?,
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

/// Returns the value of the request that most likely fills a place beside another one.
fn shared<'m>(offer: &Offer<'m>, slot: &Slot, place: &str, leads: &Leads) -> Option<&'m Mention> {
    let likely = |m: &&Mention| {
        let p = leads.probability(place, m.id).filter(|p| *p >= SHARED)?;
        slot.resolve(m, offer.locale).map(|_| p)
    };
    let all = offer.mentions.iter().filter_map(|m| Some((likely(&m)?, m)));
    all.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, mention)| mention)
}

/// Collects the numbers of the mentions that a step points at.
fn references(said: &Value, taken: &mut Vec<usize>) {
    match said {
        Value::Object(object) => object.values().for_each(|value| references(value, taken)),
        Value::Array(items) => items.iter().for_each(|value| references(value, taken)),
        Value::String(text) => {
            taken.extend(text.strip_prefix('$').and_then(|id| id.parse::<usize>().ok()));
        }
        _ => {}
    }
}
