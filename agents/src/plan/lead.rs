//! Which argument each value of a request is likely for, as the planner's classifier of references tells
//! it, and how that bounds what the planner may write.
//!
//! The classifier sees the words on both sides of a value; the decoder sees the schema and what it has
//! written so far. Where the first is sure, the second has no choice left; where it says that a value
//! is almost never for an argument, it is not offered there; in between the decoder decides.

use std::cmp::Ordering;

use runtime::{NOTHING, Places};

use super::arg::{Arg, Shape};

/// Probability below which a value is not offered for an argument.
const SELDOM: f32 = 0.02;

/// The same for an argument that the call can do without.
const OPTIONAL: f32 = 0.05;

/// Probability from which a value is for nothing in the call.
const NOWHERE: f32 = 0.95;

/// Probability from which an argument is filled by the value.
const SURE: f32 = 0.8;

/// Probability below which a literal is not offered.
const POSSIBLE: f32 = 0.1;

/// Probability from which an act is only tried out: where in doubt, nothing happens.
const PREVIEW: f32 = 0.3;

/// Probability from which a value is counted to an argument.
const LIKELY: f32 = 0.5;

/// Argument of an act that is only tried out, as the contract of the tools names it.
const DRY_RUN: &str = "/dry_run";

/// What the values of a request are for in one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Leads {
    /// For each mention, in the order of the request, the places that it may fill. A place is a JSON
    /// pointer with `*` for the elements of an array.
    of: Vec<(usize, Vec<(String, f32)>)>,
    /// Choices among literals, `PLACE=LITERAL`; `None` ⇐ nothing is known of them.
    choices: Option<Vec<(String, f32)>>,
    /// Mentions that are surely for another call of the plan.
    of_others: Vec<usize>,
}

/// What is known of a choice among literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choosing {
    /// Nothing: the decoder chooses.
    Open,
    /// One of these, or none where the argument is optional.
    Among(Vec<String>),
    /// All of these.
    Surely(Vec<String>),
}

/// The fields of one object of an array, each with the mention that fills it.
pub(super) type Row = Vec<(String, usize)>;

impl Leads {
    /// Takes what a classifier says; `None` ⇐ it does not know the call.
    pub fn of(places: Option<Vec<Places<'_>>>, choices: Option<Vec<(&str, f32)>>) -> Option<Self> {
        let owned = |all: Vec<(&str, f32)>| -> Vec<(String, f32)> {
            all.into_iter().map(|(name, p)| (name.to_owned(), p)).collect()
        };
        let of = places?.into_iter().map(|(id, places)| (id, owned(places))).collect();
        Some(Self { of, choices: choices.map(owned), of_others: Vec::new() })
    }

    /// Returns the mentions that fill a place with at least this probability, in the order of the request.
    pub(super) fn filling(&self, place: &str, least: f32) -> Vec<usize> {
        let fills = |(_, places): &&(usize, Vec<(String, f32)>)| {
            places.iter().any(|(name, p)| name == place && *p >= least)
        };
        self.of.iter().filter(fills).map(|(id, _)| *id).collect()
    }

    /// Returns the choices of a place that are at least so likely.
    pub(super) fn chosen(&self, place: &str, least: f32) -> Vec<String> {
        let of_place = |name: &str| name.strip_prefix(place).is_some_and(|r| r.starts_with('='));
        let choices = self.choices.iter().flatten();
        let likely = choices.filter(|(name, p)| *p >= least && of_place(name));
        likely.map(|(name, _)| name.clone()).collect()
    }

    /// Gives a place to one of the mentions that are named for it.
    pub(super) fn deal(&mut self, place: &str, named: &[usize], own: usize) {
        for (id, places) in self.of.iter_mut().filter(|(id, _)| named.contains(id)) {
            let at = places.iter_mut().filter(|(name, _)| name == place);
            at.for_each(|(_, p)| *p = if *id == own { 1.0 } else { 0.0 });
            if *id != own {
                places.push((NOTHING.to_owned(), 1.0));
            }
        }
    }

    /// Makes one of several choices.
    pub(super) fn choose(&mut self, among: &[String], own: &str) {
        let choices = self.choices.iter_mut().flatten();
        for (name, p) in choices.filter(|(name, _)| among.contains(name)) {
            *p = if name == own { 1.0 } else { 0.0 };
        }
    }

    /// Tells each of several calls of one plan which mentions are surely for another one of them.
    pub(super) fn tell_apart(all: &mut [&mut Self]) {
        let sure: Vec<Vec<usize>> = all.iter().map(|leads| leads.surely_used()).collect();
        for (own, leads) in all.iter_mut().enumerate() {
            let others = sure.iter().enumerate().filter(|(other, _)| *other != own);
            leads.of_others = others.flat_map(|(_, used)| used.iter().copied()).collect();
        }
    }

    /// Returns the mentions that surely fill something.
    fn surely_used(&self) -> Vec<usize> {
        let used = |(_, places): &&(usize, Vec<(String, f32)>)| {
            places.iter().any(|(name, p)| *p >= SURE && name != NOTHING)
        };
        self.of.iter().filter(used).map(|(id, _)| *id).collect()
    }

    /// Tells whether a mention is surely for something that is not at or within `place`, in this call or
    /// another one.
    fn is_elsewhere(&self, place: &str, id: usize) -> bool {
        let other = |name: &str| {
            name != NOTHING
                && !name.strip_prefix(place).is_some_and(|r| r.is_empty() || r.starts_with('/'))
        };
        let mut own = self.of.iter().filter(|(mention, _)| *mention == id);
        self.of_others.contains(&id)
            || own.any(|(_, places)| places.iter().any(|(name, p)| *p >= SURE && other(name)))
    }

    /// Says which of the literals of a place the request means.
    pub(super) fn choosing(&self, place: &str) -> Choosing {
        let Some(choices) = &self.choices else { return Choosing::Open };
        let at = |least: f32| {
            let likely = choices.iter().filter(move |(_, p)| *p >= least);
            let named =
                likely.filter_map(|(choice, _)| choice.strip_prefix(place)?.strip_prefix('='));
            named.map(str::to_owned).collect::<Vec<String>>()
        };
        match (at(SURE), at(POSSIBLE)) {
            (sure, _) if !sure.is_empty() => Choosing::Surely(sure),
            (_, possible) => Choosing::Among(possible),
        }
    }

    /// Returns how likely a mention fills a place; `None` ⇐ the classifier does not know the place.
    pub(super) fn probability(&self, place: &str, id: usize) -> Option<f32> {
        let (_, places) = self.of.iter().find(|(mention, _)| *mention == id)?;
        places.iter().find(|(name, _)| name == place).map(|(_, p)| *p)
    }

    /// Tells whether the request may well want an act only tried out; `said` ⇐ it has words for that.
    pub fn wants_preview(&self, place: &str, said: bool) -> bool {
        let choice = format!("{place}=true");
        let tried = |(name, p): &(String, f32)| *name == choice && *p >= PREVIEW;
        place.ends_with(DRY_RUN) && (said || self.choices.iter().flatten().any(tried))
    }

    /// Tells whether a mention may fill a place: one that the classifier does not know, and a mention
    /// of which it is not sure that it belongs elsewhere or nowhere, stay open.
    pub fn allows(&self, place: &str, id: usize) -> bool {
        let elsewhere = || {
            let mut places = self.of.iter().filter(|(mention, _)| *mention == id);
            let sure =
                |(name, p): &(String, f32)| *p >= if name == NOTHING { NOWHERE } else { SURE };
            places.any(|(_, places)| places.iter().any(sure))
        };
        self.probability(place, id).is_none_or(|p| p >= SELDOM || !elsewhere())
    }

    /// Tells whether a mention may fill a place that the call can do without: one that is surely for
    /// something else must be likely for it too.
    pub fn may_fill(&self, place: &str, id: usize) -> bool {
        let least = if self.is_elsewhere(place, id) { LIKELY } else { OPTIONAL };
        self.probability(place, id).is_some_and(|p| p >= least)
    }

    /// As [`Leads::may_fill`] for a code or a dataset, which is offered unless it surely belongs elsewhere.
    pub fn may_name(&self, place: &str, id: usize) -> bool {
        let likely = self.probability(place, id).is_none_or(|p| p >= LIKELY);
        self.allows(place, id) && (likely || !self.of_others.contains(&id))
    }

    /// Tells whether anything may be inside a place that the call can do without.
    pub fn may_hold(&self, place: &str) -> bool {
        let inside =
            |name: &str| name.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
        self.of.iter().any(|(id, places)| {
            let least = if self.is_elsewhere(place, *id) { LIKELY } else { OPTIONAL };
            places.iter().any(|(name, p)| *p >= least && inside(name))
        })
    }

    /// Tells whether a mention likely fills a place.
    pub fn suits(&self, place: &str, id: usize) -> bool {
        self.probability(place, id).is_some_and(|p| p >= LIKELY)
    }

    /// Tells whether a mention surely fills a place.
    pub fn fills(&self, place: &str, id: usize) -> bool {
        self.probability(place, id).is_some_and(|p| p >= SURE)
    }

    /// Tells whether an argument is surely filled: it, or what is inside it.
    pub fn needs(&self, place: &str) -> bool {
        let inside = |name: &str| {
            name.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let places = self.of.iter().flat_map(|(_, places)| places);
        let mut sure = places.filter(|(_, p)| *p >= SURE).map(|(name, _)| name.as_str());
        let choices = self.choices.iter().flatten().filter(|(_, p)| *p >= SURE);
        let mut chosen = choices.filter_map(|(choice, _)| Some(choice.split_once('=')?.0));
        sure.any(inside) || chosen.any(inside)
    }

    /// Returns the mentions that likely fill a place, in the order of the request.
    pub fn at(&self, place: &str) -> Vec<usize> {
        let there =
            |(id, _): &&(usize, _)| self.probability(place, *id).is_some_and(|p| p >= LIKELY);
        self.of.iter().filter(there).map(|(id, _)| *id).collect()
    }

    /// Returns the objects of an array as the request names them one after the other: a field that comes
    /// again begins the next. `None` ⇐ it is not that plain: there is no value for them, one fills
    /// several fields, a field that is required or that another object has is missing.
    pub(super) fn rows(&self, place: &str, args: &[Arg]) -> Option<Vec<Row>> {
        let within = format!("{place}/*/");
        let mut rows: Vec<Row> = Vec::new();
        for (id, places) in &self.of {
            let mut fields = places.iter().filter_map(|(name, p)| {
                let field = name.strip_prefix(&within).filter(|_| *p >= LIKELY)?;
                Some(field)
            });
            let Some(field) = fields.next() else { continue };
            let single = |arg: &Arg| arg.name == field && matches!(arg.shape, Shape::One(_));
            if fields.next().is_some() || !args.iter().any(single) {
                return None;
            }
            match rows.last_mut() {
                Some(row) if row.iter().all(|(name, _)| name != field) => {
                    row.push((field.to_owned(), *id));
                }
                _ => rows.push(vec![(field.to_owned(), *id)]),
            }
        }
        let position = |name: &str| args.iter().position(|arg| arg.name == name);
        for row in &mut rows {
            row.sort_by_key(|(name, _)| position(name));
        }
        let names = |row: &Row| row.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let first = names(rows.first()?);
        let stated = |arg: &Arg| first.contains(&arg.name) || !matches!(arg.shape, Shape::One(_));
        let whole = args.iter().filter(|arg| arg.required).all(stated);
        (whole && rows.iter().all(|row| names(row).cmp(&first) == Ordering::Equal)).then_some(rows)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::arg::args_of;

    fn leads(of: &[(usize, &[(&str, f32)])]) -> Leads {
        let places = of.iter().map(|(id, places)| (*id, places.to_vec())).collect();
        Leads::of(Some(places), None).unwrap()
    }

    #[test]
    fn a_value_is_offered_where_it_may_belong_and_needed_where_it_surely_does() {
        let leads = leads(&[
            (1, &[("/rate", 0.9), ("/fee", 0.01)]),
            (2, &[("/rate", 0.03), ("/fee", 0.0)]),
        ]);
        assert!(leads.allows("/rate", 1) && leads.allows("/rate", 2) && !leads.allows("/fee", 1));
        assert!(leads.allows("/fee", 2), "nothing says where it belongs");
        assert!(leads.allows("/new", 1), "nobody taught the classifier this argument");
        assert!(leads.needs("/rate") && !leads.needs("/fee") && !leads.needs("/ra"));
        assert_eq!(Leads::of(None, None), None);
    }

    #[test]
    fn objects_are_read_one_after_the_other_where_all_have_the_same_fields() {
        let schema = json!({"properties": {"kwh": {"type": "number"}, "rate": {"type": "number"}},
                            "required": ["kwh"]});
        let args = args_of(&schema);
        let kwh = [("/lines/*/kwh", 0.9)].as_slice();
        let rate = [("/lines/*/rate", 0.9)].as_slice();
        let row = |a, b| vec![("kwh".to_owned(), a), ("rate".to_owned(), b)];
        let two = leads(&[(1, kwh), (2, rate), (3, &[]), (4, rate), (5, kwh)]);
        assert_eq!(two.rows("/lines", &args), Some(vec![row(1, 2), row(5, 4)]));
        assert_eq!(leads(&[(1, kwh), (2, rate), (3, kwh)]).rows("/lines", &args), None);
        assert_eq!(leads(&[(1, rate)]).rows("/lines", &args), None, "the energy is required");
        assert_eq!(leads(&[]).rows("/lines", &args), None);
        assert!(two.needs("/lines"));
    }
}
