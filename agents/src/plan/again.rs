//! One tool that a request needs several times: which values are for which call.
//!
//! "VaR at 95% and again at 99%" names one value twice and everything else once. What is named as often
//! as there are calls is dealt out in the order of the request; what is named once is for all of them.

use super::arg::{Arg, Shape};
use super::lead::Leads;

/// Probability from which a value counts where the classifier of requests says that a tool is needed
/// again.
const LIKELY: f32 = 0.3;

/// The same where it only may be.
const SURE: f32 = 0.8;

/// Most calls of one tool that are told apart.
const MAX_CALLS: usize = 4;

/// Probability of [`AGAIN`](super::AGAIN) above which a tool is needed again, and above which it may be.
const MEANT: f32 = 0.5;
const POSSIBLE: f32 = 0.02;

/// Returns what each call of a tool takes, first to last; `None` ⇐ one call takes all.
///
/// `again` is the probability that one tool is needed more than once, `order` puts choices into the
/// order in which the request makes them.
pub(super) fn dealt(
    leads: &Leads,
    args: &[Arg],
    again: f32,
    order: impl Fn(&mut Vec<String>),
) -> Option<Vec<Leads>> {
    let least = match again {
        p if p > MEANT => LIKELY,
        p if p > POSSIBLE => SURE,
        _ => return None,
    };
    let values = args.iter().filter(|arg| matches!(arg.shape, Shape::One(_))).map(|arg| {
        let place = format!("/{}", arg.name);
        let named = leads.filling(&place, least);
        (place, named)
    });
    let values: Vec<(String, Vec<usize>)> = values.collect();
    let choices = args.iter().filter(|arg| matches!(arg.shape, Shape::Choice(_))).map(|arg| {
        let mut chosen = leads.chosen(&format!("/{}", arg.name), least);
        order(&mut chosen);
        chosen
    });
    let choices: Vec<Vec<String>> = choices.collect();
    let counts = values.iter().map(|(_, named)| named.len()).chain(choices.iter().map(Vec::len));
    let calls = counts.max().filter(|calls| (2..=MAX_CALLS).contains(calls))?;
    let of_call = |call: usize| {
        let mut own = leads.clone();
        for (place, named) in values.iter().filter(|(_, named)| named.len() == calls) {
            own.deal(place, named, named[call]);
        }
        for chosen in choices.iter().filter(|chosen| chosen.len() == calls) {
            own.choose(chosen, &chosen[call]);
        }
        own
    };
    Some((0..calls).map(of_call).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::arg::args_of;

    #[test]
    fn what_is_named_twice_is_dealt_out_and_what_is_named_once_is_shared() {
        let schema = json!({"properties": {"value": {"type": "number"}, "share_pct": {"type": "number"},
                            "rule": {"type": "string", "enum": ["a", "b"]}}});
        let args = args_of(&schema);
        let places = vec![
            (1, vec![("/value", 0.9)]),
            (2, vec![("/share_pct", 0.9)]),
            (3, vec![("/share_pct", 0.5)]),
        ];
        let leads =
            Leads::of(Some(places), Some(vec![("/rule=a", 0.4), ("/rule=b", 0.7)])).unwrap();
        let reversed = |chosen: &mut Vec<String>| chosen.reverse();
        let calls = dealt(&leads, &args, 0.9, reversed).unwrap();
        assert_eq!(calls.len(), 2);
        for (call, percent, rule) in [(0, 2, "/rule=b"), (1, 3, "/rule=a")] {
            assert_eq!(calls[call].filling("/share_pct", 0.8), [percent]);
            assert_eq!(calls[call].filling("/value", 0.8), [1]);
            assert_eq!(calls[call].chosen("/rule", 0.8), [rule]);
        }
        assert_eq!(dealt(&leads, &args, 0.01, reversed), None);
        assert_eq!(dealt(&leads, &args, 0.3, reversed), None, "only one of each is sure");
    }
}
