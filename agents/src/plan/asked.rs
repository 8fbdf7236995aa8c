//! What a request asks for, as the planner's classifier of requests tells it, and which steps that
//! leaves open.
//!
//! The classifier knows the words, the decoder the schema: the first says which tools are meant, the
//! second what their arguments are. Where the first leaves one step open, the second does not choose
//! it, and where that step has no arguments, it is not run at all.

use super::card::Card;
use super::step::{END, OTHER_STEPS};

/// Label of requests that need one tool more than once.
pub const AGAIN: &str = "again";

/// Probability above which a tool may be called beside a likelier one. A second task is more often
/// missed than made up, so the threshold is low, and just above it the decoder says whether it is one.
const LIKELY: f32 = 0.2;

/// Probability above which such a tool is called.
const SURE: f32 = 0.3;

/// Probability above which a tool that the classifier knows stands against one that it does not.
const KNOWN: f32 = 0.5;

/// Probability above which one tool is needed more than once.
const AGAIN_MEANT: f32 = 0.5;

/// Cards that a planner is shown at least: what it was trained to choose from.
const SHOWN: usize = 2;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The tools that are meant, likeliest first; or one of [`OTHER_STEPS`].
    steps: Vec<String>,
    /// Tools by likelihood, for company in the prompt.
    ranked: Vec<String>,
    /// How likely one tool is needed more than once.
    again: f32,
    /// The steps that need not be taken once another one is.
    possible: Vec<String>,
    /// Whether the decoder chooses one of `steps`, since the classifier does not know all of them.
    optional: bool,
    /// How sure the classifier is of the steps, 0 to 1.
    pub confidence: f32,
}

/// The steps that may come next.
#[derive(Debug)]
pub struct Open<'c> {
    /// Tools that may be called.
    pub cards: Vec<&'c Card>,
    /// Steps without a call.
    pub others: Vec<&'static str>,
}

impl Open<'_> {
    /// Returns the step that is the only one and has no arguments.
    pub fn only(&self) -> Option<&'static str> {
        match self.others[..] {
            [step] if self.cards.is_empty() => Some(step),
            _ => None,
        }
    }
}

impl Asked {
    /// Reads the classifier's scores. `nearest` is the tool whose phrases are nearest to the request,
    /// which the classifier may not know. `None` ⇐ there are no scores.
    pub fn of(scores: &[(&str, f32)], nearest: Option<&str>) -> Option<Self> {
        let of = |label: &str| scores.iter().find(|(name, _)| *name == label).map(|(_, p)| *p);
        let again = of(AGAIN).unwrap_or_default();
        let mut ranked: Vec<(&str, f32)> =
            scores.iter().copied().filter(|(name, _)| *name != AGAIN).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (best, sure) = *ranked.first()?;
        let other = |name: &str| OTHER_STEPS.contains(&name);
        let meant =
            |&(name, p): &(&str, f32)| name == best || (p > LIKELY && !other(name) && !other(best));
        let mut steps: Vec<String> =
            ranked.iter().filter(|one| meant(one)).map(|(name, _)| (*name).to_owned()).collect();
        let mut possible: Vec<String> = ranked
            .iter()
            .filter(|one| meant(one) && one.0 != best && one.1 <= SURE)
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let unmeant = ranked.iter().filter(|one| !meant(one)).map(|(_, p)| 1.0 - p);
        let chosen = ranked.iter().filter(|one| meant(one)).map(|(_, p)| *p);
        let confidence = unmeant.chain(chosen).fold(1.0, f32::min);
        let tools = ranked.iter().map(|(name, _)| *name).filter(|name| !other(name));
        let mut ranked: Vec<String> = tools.map(str::to_owned).collect();
        let unknown = nearest.filter(|name| of(name).is_none());
        if let Some(name) = unknown {
            steps.retain(|step| sure > KNOWN && step == best);
            steps.insert(0, name.to_owned());
            possible.clear();
            ranked.insert(0, name.to_owned());
        }
        Some(Self { steps, ranked, again, possible, optional: unknown.is_some(), confidence })
    }

    /// Puts several tools into the order in which the request comes to them. `parts` are the scores of
    /// its parts, first to last; a tool stands where the mass of its probability has its centre.
    pub fn order(&mut self, parts: &[Vec<(&str, f32)>]) {
        in_order(&mut self.steps, parts);
    }

    /// Returns the tool that is all that is asked for, with the probability that it is needed more than
    /// once.
    pub fn only_tool(&self) -> Option<(&str, f32)> {
        match &self.steps[..] {
            [step] if !OTHER_STEPS.contains(&step.as_str()) => Some((step, self.again)),
            _ => None,
        }
    }

    /// Tells whether a step is asked for.
    pub fn means(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step == name)
    }

    /// Tells whether a tool may be needed more than once.
    pub fn is_again(&self) -> bool {
        self.again > AGAIN_MEANT
    }

    /// Tells whether there is an order to find.
    pub fn has_several(&self) -> bool {
        self.steps.len() > 1 && !self.optional
    }

    /// Returns the names of the tools whose cards the planner is shown.
    pub fn shown(&self) -> impl Iterator<Item = &str> {
        let meant = self.steps.iter().filter(|step| !OTHER_STEPS.contains(&step.as_str()));
        let most = meant.clone().count().max(SHOWN);
        let company = self.ranked.iter().filter(|name| !self.steps.contains(name));
        meant.chain(company).map(String::as_str).take(most)
    }

    /// Returns what may come after the calls of `called`.
    pub fn open<'c>(&self, cards: &[&'c Card], called: &[&str]) -> Open<'c> {
        let left = |name: &str| {
            self.steps.iter().any(|step| step == name)
                && (!called.contains(&name) || self.is_again())
                && (called.is_empty() || !self.optional)
        };
        let done = |step: &String| called.contains(&step.as_str()) || self.possible.contains(step);
        let all_called = self.steps.iter().all(done);
        let others: Vec<&'static str> = if called.is_empty() {
            OTHER_STEPS.into_iter().filter(|other| self.steps.iter().any(|s| s == other)).collect()
        } else if all_called || self.optional {
            vec![END]
        } else {
            Vec::new()
        };
        let next = self.steps.iter().find(|step| !called.contains(&step.as_str()));
        let turn = |name: &str| self.optional || next.is_none_or(|next| next == name);
        let cards = cards.iter().copied();
        let cards = cards.filter(|card| left(&card.spec.name) && turn(&card.spec.name)).collect();
        Open { cards, others }
    }
}

/// Puts labels into the order in which a request comes to them; `parts` as for [`Asked::order`].
pub(super) fn in_order(labels: &mut [String], parts: &[Vec<(&str, f32)>]) {
    let centre = |label: &str| {
        let at = parts.iter().enumerate().filter_map(|(place, scores)| {
            let (_, p) = scores.iter().find(|(name, _)| *name == label)?;
            Some((place as f32, *p))
        });
        let (moment, mass) = at.fold((0.0, 0.0), |(m, s), (place, p)| (m + place * p, s + p));
        if mass > 0.0 { moment / mass } else { 0.0 }
    };
    labels.sort_by(|a, b| centre(a).total_cmp(&centre(b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(asked: &Asked) -> Vec<&str> {
        asked.shown().collect()
    }

    #[test]
    fn the_likeliest_step_is_meant_and_tools_beside_it_that_are_likely_too() {
        let scores = [("bill", 0.9), ("none", 0.01), ("person", 0.3), ("stats", 0.05)];
        let asked = Asked::of(&scores, Some("stats")).unwrap();
        assert_eq!(asked.steps, ["bill"]);
        assert_eq!(shown(&asked), ["bill", "stats"]);
        assert!((asked.confidence - 0.7).abs() < 1e-6, "the person was not unlikely");

        let asked = Asked::of(&[("bill", 0.9), ("none", 0.0), ("stats", 0.25)], None).unwrap();
        assert_eq!(asked.steps, ["bill", "stats"]);
        assert_eq!(
            asked.open(&[], &["bill"]).others,
            [END],
            "the decoder may leave the second out"
        );
        assert!((asked.confidence - 0.25).abs() < 1e-6);

        let asked = Asked::of(&[("bill", 0.3), ("person", 0.6)], Some("bill")).unwrap();
        let open = asked.open(&[], &[]);
        assert_eq!((asked.steps.len(), open.only()), (1, Some("person")));
        assert_eq!(Asked::of(&[], Some("bill")), None);
    }

    #[test]
    fn tools_come_in_the_order_of_the_request_and_then_it_ends() {
        let mut asked = Asked::of(&[("bill", 0.9), ("stats", 0.8)], None).unwrap();
        asked.order(&[vec![("bill", 0.1), ("stats", 0.7)], vec![("bill", 0.6), ("stats", 0.2)]]);
        assert_eq!(asked.steps, ["stats", "bill"]);
        assert!(asked.open(&[], &["stats"]).others.is_empty(), "the bill is still to come");
        assert_eq!(asked.open(&[], &["stats", "bill"]).only(), Some(END));
    }

    #[test]
    fn a_tool_that_the_classifier_does_not_know_is_open_where_its_phrases_are_nearest() {
        let asked = Asked::of(&[("bill", 0.3), ("stats", 0.1)], Some("new")).unwrap();
        assert_eq!(asked.steps, ["new"]);
        let asked = Asked::of(&[("bill", 0.8), ("stats", 0.1)], Some("new")).unwrap();
        assert_eq!(asked.steps, ["new", "bill"]);
        assert_eq!(asked.open(&[], &["new"]).only(), Some(END), "its rival is no second task");
    }
}
