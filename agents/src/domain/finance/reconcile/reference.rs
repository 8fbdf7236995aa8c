//! Matches by reference: one line for one, and several references of one line.

use std::collections::BTreeSet;

use super::{Kind, Matching};

/// Pairs lines that share a reference and the amount; earlier left lines first. Of several
/// partners the one nearest in time is taken; two equally near ones are ambiguous.
pub(super) fn one_to_one(state: &mut Matching<'_>) {
    for i in state.left_by_date() {
        let line = &state.left.lines[i];
        let mut open: Vec<(i32, usize)> = state
            .right
            .named_by(line)
            .into_iter()
            .filter(|j| !state.used_right[*j])
            .filter(|j| state.near(line.amount, state.right.lines[*j].amount))
            .map(|j| ((line.day - state.right.lines[j].day).abs(), j))
            .collect();
        open.sort_unstable();
        match open.as_slice() {
            [] => {}
            [(first, j), (second, _), ..] if first == second => state.unclear(i, *j),
            [(_, j), ..] => state.accept(vec![i], vec![*j], Kind::Reference),
        }
    }
}

/// Matches a line that names several lines whose amounts sum to its own, in both directions; and
/// several lines that name the same one.
pub(super) fn many(state: &mut Matching<'_>) {
    for i in state.left_by_date() {
        if state.used_left[i] || state.unclear_left.contains_key(&i) {
            continue;
        }
        let line = &state.left.lines[i];
        let Some(named) = distinct(state.right.each_named_by(line), &state.used_right) else {
            continue;
        };
        let total = named.iter().map(|j| state.right.lines[*j].amount).sum();
        if (2..=state.max_group).contains(&named.len()) && state.near(line.amount, total) {
            state.accept(vec![i], named, Kind::Batch);
        }
    }
    for j in 0..state.right.lines.len() {
        if state.used_right[j] || state.unclear_right.contains_key(&j) {
            continue;
        }
        let line = &state.right.lines[j];
        let named = distinct(state.left.each_named_by(line), &state.used_left);
        // Instalments all carry the one reference of what they pay.
        let same: Vec<usize> =
            state.left.named_by(line).into_iter().filter(|i| !state.used_left[*i]).collect();
        let found = named.into_iter().chain([same]).find(|group| {
            let total = group.iter().map(|i| state.left.lines[*i].amount).sum();
            (2..=state.max_group).contains(&group.len()) && state.near(total, line.amount)
        });
        if let Some(group) = found {
            state.accept(group, vec![j], Kind::Split);
        }
    }
}

/// Returns the open lines that the references name, or `None` where a reference names several.
fn distinct<'n>(named: impl Iterator<Item = &'n Vec<usize>>, used: &[bool]) -> Option<Vec<usize>> {
    let mut lines = BTreeSet::new();
    for group in named {
        let open: Vec<usize> = group.iter().copied().filter(|line| !used[*line]).collect();
        match open.as_slice() {
            [] => {}
            [line] => drop(lines.insert(*line)),
            _ => return None,
        }
    }
    Some(lines.into_iter().collect())
}
