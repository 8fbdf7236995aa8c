//! Matches of one line for several by the only subset of a party's lines that sums to it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::lines::Side;
use super::pairs::{SAME_NAME, is_spoken_for};
use super::{Kind, Matching};
use crate::domain::finance::names;

/// Most lines of a party among which a subset is looked for.
const MAX_CANDIDATES: usize = 20;
/// Most lines of a party that are looked at for one line.
const MAX_LOOKED_AT: usize = 400;
/// Most steps of one search; all subsets of six among twenty take fewer.
const MAX_STEPS: usize = 100_000;
/// Most steps of all searches of a call.
const MAX_TOTAL_STEPS: usize = 20_000_000;
/// Most pairs of names that are compared letter by letter; beyond, names must be equal.
const MAX_NAME_PAIRS: usize = 1_000_000;

/// Matches one left line for several right ones (a batch), then one right line for several left
/// ones (a split).
pub(super) fn by_subset_sum(state: &mut Matching<'_>) {
    let mut steps = 0;
    for is_batch in [true, false] {
        let (one, many) =
            if is_batch { (state.left, state.right) } else { (state.right, state.left) };
        let same = same_names(one, many);
        let mut by_name: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (j, line) in many.lines.iter().enumerate() {
            // A left line that names another document is no free part of a split.
            if is_batch || !is_spoken_for(many, one, j) {
                line.name.into_iter().for_each(|name| by_name.entry(name).or_default().push(j));
            }
        }
        // By date, so that a window is a slice.
        by_name.values_mut().for_each(|lines| lines.sort_by_key(|j| many.lines[*j].day));
        for i in 0..one.lines.len() {
            let (used, unclear) = if is_batch {
                (&state.used_left, &state.unclear_left)
            } else {
                (&state.used_right, &state.unclear_right)
            };
            if used[i] || unclear.contains_key(&i) || (is_batch && is_spoken_for(one, many, i)) {
                continue;
            }
            let Some(parts) = candidates(state, one, many, i, &same, &by_name, is_batch) else {
                continue;
            };
            if parts.len() > MAX_CANDIDATES || steps > MAX_TOTAL_STEPS {
                state.capped = true;
                continue;
            }
            let target = one.lines[i].amount;
            let mut search = Search::new(many, &parts, target, state.tolerance, state.max_group);
            search.go(0, Decimal::ZERO);
            steps += search.steps;
            if search.steps > MAX_STEPS {
                state.capped = true;
                continue;
            }
            match (search.found.as_slice(), is_batch) {
                ([only], true) => state.accept(vec![i], only.clone(), Kind::Batch),
                ([only], false) => state.accept(only.clone(), vec![i], Kind::Split),
                ([first, ..], true) => state.unclear(i, first[0]),
                ([first, ..], false) => state.unclear(first[0], i),
                ([], _) => {}
            }
        }
    }
}

/// Returns, for each name of `one`, the names of `many` that are taken as the same.
fn same_names(one: &Side, many: &Side) -> Vec<Vec<usize>> {
    let exact = one.names.len().saturating_mul(many.names.len()) > MAX_NAME_PAIRS;
    let texts: BTreeMap<String, usize> =
        many.names.iter().enumerate().map(|(j, name)| (name.text(), j)).collect();
    one.names
        .iter()
        .map(|name| {
            if exact {
                return texts.get(&name.text()).copied().into_iter().collect();
            }
            let pairs = many.names.iter().enumerate();
            pairs
                .filter(|(_, other)| names::score(name, other) >= SAME_NAME)
                .map(|(j, _)| j)
                .collect()
        })
        .collect()
}

/// Returns the open lines of the same party, sign and time, the largest amounts first.
fn candidates(
    state: &Matching<'_>,
    one: &Side,
    many: &Side,
    line: usize,
    same: &[Vec<usize>],
    by_name: &BTreeMap<usize, Vec<usize>>,
    is_batch: bool,
) -> Option<Vec<usize>> {
    let this = &one.lines[line];
    let (used, unclear) = if is_batch {
        (&state.used_right, &state.unclear_right)
    } else {
        (&state.used_left, &state.unclear_left)
    };
    let near = |j: &usize| (this.day - many.lines[*j].day).abs() <= state.window_days;
    let mut parts: Vec<usize> = same[this.name?]
        .iter()
        .filter_map(|name| by_name.get(name))
        .flat_map(|lines| {
            let first = lines.partition_point(|j| many.lines[*j].day < this.day && !near(j));
            lines[first..].iter().take_while(|j| near(j))
        })
        .copied()
        .take(MAX_LOOKED_AT)
        .filter(|j| {
            let that = &many.lines[*j];
            !used[*j]
                && !unclear.contains_key(j)
                && that.amount.is_sign_negative() == this.amount.is_sign_negative()
                && !that.amount.is_zero()
                && that.amount.abs() <= this.amount.abs() + state.tolerance
        })
        .collect();
    parts.sort_by_key(|j| (std::cmp::Reverse(many.lines[*j].amount.abs()), *j));
    (parts.len() >= 2).then_some(parts)
}

/// Depth-first search for the subsets of two lines or more that sum to a target.
struct Search<'s> {
    parts: &'s [usize],
    /// Absolute amounts in the order of `parts`, falling.
    amounts: Vec<Decimal>,
    /// Sum of the amounts from each position on.
    rest: Vec<Decimal>,
    target: Decimal,
    tolerance: Decimal,
    max_group: usize,
    chosen: Vec<usize>,
    /// The first two subsets found; two are enough to know that none is the only one.
    found: Vec<Vec<usize>>,
    steps: usize,
}

impl<'s> Search<'s> {
    fn new(
        side: &Side,
        parts: &'s [usize],
        target: Decimal,
        tolerance: Decimal,
        max_group: usize,
    ) -> Self {
        let amounts: Vec<Decimal> = parts.iter().map(|j| side.lines[*j].amount.abs()).collect();
        let mut rest = vec![Decimal::ZERO; amounts.len() + 1];
        for k in (0..amounts.len()).rev() {
            rest[k] = rest[k + 1] + amounts[k];
        }
        let (chosen, found) = (Vec::new(), Vec::new());
        let target = target.abs();
        Self { parts, amounts, rest, target, tolerance, max_group, chosen, found, steps: 0 }
    }

    fn go(&mut self, from: usize, sum: Decimal) {
        self.steps += 1;
        if self.found.len() > 1 || self.steps > MAX_STEPS {
            return;
        }
        if self.chosen.len() >= 2 && (sum - self.target).abs() <= self.tolerance {
            let mut group = self.chosen.clone();
            group.sort_unstable();
            self.found.push(group);
        }
        if self.chosen.len() == self.max_group {
            return;
        }
        for k in from..self.parts.len() {
            if sum + self.rest[k] + self.tolerance < self.target {
                return;
            }
            let next = sum + self.amounts[k];
            if next > self.target + self.tolerance {
                continue;
            }
            self.chosen.push(self.parts[k]);
            self.go(k + 1, next);
            self.chosen.pop();
        }
    }
}
