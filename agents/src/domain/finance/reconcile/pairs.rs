//! Matches of one line for one by amount, date and name.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::lines::Side;
use super::{Kind, Matching, View};

/// Lowest score of two names that are taken as one.
pub(super) const SAME_NAME: f64 = 0.8;
/// Most lines of the same amount and time that are looked at for one line.
const MAX_SCAN: usize = 200;
/// Most partners kept for one line.
const MAX_PARTNERS: usize = 32;
/// Most rounds; each settles every pair that became clear in the one before.
const MAX_ROUNDS: usize = 12;

/// Lines of a side by amount, then day.
pub(super) type ByAmount = BTreeMap<Decimal, Vec<(i32, usize)>>;

/// Indexes the lines for which `open` holds.
pub(super) fn by_amount(side: &Side, open: impl Fn(usize) -> bool) -> ByAmount {
    let mut index = ByAmount::new();
    for (i, line) in side.lines.iter().enumerate().filter(|(i, _)| open(*i)) {
        index.entry(line.amount).or_default().push((line.day, i));
    }
    index.values_mut().for_each(|lines| lines.sort_unstable());
    index
}

/// A possible pair; the smaller, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Distance of the names, 0 for the same, in millionths.
    apart: u32,
    days: i32,
}

fn rank(score: f64, days: i32) -> Rank {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ≤ score ≤ 1")]
    let apart = ((1.0 - score.clamp(0.0, 1.0)) * 1e6).round() as u32;
    Rank { apart, days }
}

/// Tells whether a line's reference names a line of the other side. Such a line is settled by its
/// reference or by a person, never by its amount alone: it may be a duplicate or a part payment.
pub(super) fn is_spoken_for(own: &Side, other: &Side, line: usize) -> bool {
    other.each_named_by(&own.lines[line]).next().is_some()
        || !other.named_by(&own.lines[line]).is_empty()
}

/// Pairs what is each other's only best partner; what stays tied is ambiguous.
pub(super) fn by_amount_date_and_name(state: &mut Matching<'_>) {
    let index =
        by_amount(state.right, |j| !state.used_right[j] && !state.unclear_right.contains_key(&j));
    let mut partners: BTreeMap<usize, Vec<(Rank, usize)>> = BTreeMap::new();
    let mut suitors: BTreeMap<usize, Vec<(Rank, usize)>> = BTreeMap::new();
    for i in 0..state.left.lines.len() {
        if state.used_left[i]
            || state.unclear_left.contains_key(&i)
            || is_spoken_for(state.left, state.right, i)
        {
            continue;
        }
        let line = &state.left.lines[i];
        let mut scanned = 0;
        let range = (line.amount - state.tolerance)..=(line.amount + state.tolerance);
        'amounts: for lines in index.range(range).map(|(_, lines)| lines) {
            let near = |day: i32| (line.day - day).abs() <= state.window_days;
            let first = lines.partition_point(|(day, _)| *day < line.day && !near(*day));
            for (day, j) in lines[first..].iter().take_while(|(day, _)| near(*day)) {
                scanned += 1;
                if scanned > MAX_SCAN {
                    state.capped = true;
                    break 'amounts;
                }
                let days = (line.day - day).abs();
                let score = state.name_score(i, *j);
                if score >= SAME_NAME {
                    partners.entry(i).or_default().push((rank(score, days), *j));
                    suitors.entry(*j).or_default().push((rank(score, days), i));
                }
            }
        }
    }
    for list in partners.values_mut().chain(suitors.values_mut()) {
        list.sort_unstable();
        list.truncate(MAX_PARTNERS);
    }
    for _ in 0..MAX_ROUNDS {
        let clear: Vec<(usize, usize)> = partners
            .iter()
            .filter(|(i, _)| !state.used_left[**i])
            .filter_map(|(i, list)| {
                let j = only_best(list, &state.used_right)?;
                let back = only_best(suitors.get(&j)?, &state.used_left)?;
                (back == *i).then_some((*i, j))
            })
            .collect();
        if clear.is_empty() {
            break;
        }
        for (i, j) in clear {
            if !state.used_left[i] && !state.used_right[j] {
                state.accept(vec![i], vec![j], Kind::AmountDateName);
            }
        }
    }
    for (i, list) in &partners {
        let open = list.iter().find(|(_, j)| !state.used_right[*j]);
        if let Some((_, j)) = open.filter(|_| !state.used_left[*i]) {
            state.unclear(*i, *j);
        }
    }
}

/// Returns the open line of a sorted list that is better than every other open one.
fn only_best(list: &[(Rank, usize)], used: &[bool]) -> Option<usize> {
    let mut open = list.iter().filter(|(_, line)| !used[*line]);
    let (best, line) = open.next()?;
    open.next().is_none_or(|(second, _)| second != best).then_some(*line)
}

/// Returns the nearest open line of the same amount and name whose date is too far away.
pub(super) fn beyond_window(view: &View<'_>, line: usize, state: &Matching<'_>) -> Option<usize> {
    let this = &view.own.lines[line];
    this.name?;
    let score = |j: usize| {
        if view.is_left { state.name_score(line, j) } else { state.name_score(j, line) }
    };
    view.open
        .range((this.amount - state.tolerance)..=(this.amount + state.tolerance))
        .flat_map(|(_, lines)| lines)
        .take(MAX_SCAN)
        .filter(|(day, j)| (this.day - day).abs() > state.window_days && score(*j) >= SAME_NAME)
        .min_by_key(|(day, _)| (this.day - day).abs())
        .map(|(_, j)| *j)
}
