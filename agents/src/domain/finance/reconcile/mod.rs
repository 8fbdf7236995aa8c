//! Matching two sets of money lines, with a reason for every line left over.

mod group;
mod lines;
mod pairs;
mod reference;

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::{Value, json};

use super::names;
use crate::tool::{ToolContext, ToolError, Window, decode, money, warning};
use lines::{Inline, Line, Side};

#[derive(Deserialize)]
struct Arguments {
    left: Option<Vec<Inline>>,
    left_dataset: Option<String>,
    right: Option<Vec<Inline>>,
    right_dataset: Option<String>,
    currency: String,
    amount_tolerance: Option<String>,
    #[serde(default = "ten")]
    date_window_days: i32,
    #[serde(default = "six")]
    max_group: usize,
}

fn ten() -> i32 {
    10
}

fn six() -> usize {
    6
}

/// How a match was found, in the words of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reference,
    AmountDateName,
    Split,
    Batch,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Reference => "exact_reference",
            Self::AmountDateName => "amount_date_name",
            Self::Split => "split",
            Self::Batch => "batch",
        }
    }
}

/// Lines of both sides that belong together, by position.
#[derive(Debug)]
struct Match {
    left: Vec<usize>,
    right: Vec<usize>,
    kind: Kind,
}

/// The state that the passes share. **Invariant:** a line is in at most one match, and then marked
/// as used.
struct Matching<'a> {
    left: &'a Side,
    right: &'a Side,
    tolerance: Decimal,
    window_days: i32,
    max_group: usize,
    used_left: Vec<bool>,
    used_right: Vec<bool>,
    /// Lines that could be matched in more than one way, with one of the ways.
    unclear_left: BTreeMap<usize, usize>,
    unclear_right: BTreeMap<usize, usize>,
    matches: Vec<Match>,
    /// Scores of pairs of names, which come up again with every line of a party.
    scores: RefCell<HashMap<(usize, usize), f64>>,
    /// Set when a search was cut short.
    capped: bool,
}

impl<'a> Matching<'a> {
    fn near(&self, a: Decimal, b: Decimal) -> bool {
        (a - b).abs() <= self.tolerance
    }

    /// Returns the name score of two lines; 0 where one has no name.
    fn name_score(&self, left: usize, right: usize) -> f64 {
        let (Some(a), Some(b)) = (self.left.lines[left].name, self.right.lines[right].name) else {
            return 0.0;
        };
        let mut scores = self.scores.borrow_mut();
        *scores
            .entry((a, b))
            .or_insert_with(|| names::score(&self.left.names[a], &self.right.names[b]))
    }

    fn accept(&mut self, left: Vec<usize>, right: Vec<usize>, kind: Kind) {
        for i in &left {
            self.used_left[*i] = true;
            self.unclear_left.remove(i);
        }
        for j in &right {
            self.used_right[*j] = true;
            self.unclear_right.remove(j);
        }
        self.matches.push(Match { left, right, kind });
    }

    fn unclear(&mut self, left: usize, right: usize) {
        self.unclear_left.entry(left).or_insert(right);
        self.unclear_right.entry(right).or_insert(left);
    }

    /// Returns the left lines in order of date, then of the file.
    fn left_by_date(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.left.lines.len()).collect();
        order.sort_by_key(|i| (self.left.lines[*i].day, *i));
        order
    }
}

/// Why a line has no match.
struct Leftover {
    reason: &'static str,
    candidate: Option<usize>,
}

/// One side seen from a line that is left over.
struct View<'v> {
    own: &'v Side,
    other: &'v Side,
    used_own: &'v [bool],
    used_other: &'v [bool],
    unclear: &'v BTreeMap<usize, usize>,
    /// A matched line's partner.
    partner: &'v BTreeMap<usize, usize>,
    /// Open lines of the other side by amount.
    open: &'v pairs::ByAmount,
    is_left: bool,
}

fn leftover(view: &View<'_>, line: usize, state: &Matching<'_>) -> Leftover {
    if let Some(candidate) = view.unclear.get(&line) {
        return Leftover { reason: "ambiguous", candidate: Some(*candidate) };
    }
    let this = &view.own.lines[line];
    let twin = view.own.same_reference(this).find(|twin| {
        *twin != line && view.used_own[*twin] && view.own.lines[*twin].amount == this.amount
    });
    if let Some(twin) = twin {
        return Leftover { reason: "duplicate", candidate: view.partner.get(&twin).copied() };
    }
    let named: Vec<usize> = view.other.named_by(this);
    let open = named.iter().find(|j| !view.used_other[**j]).or_else(|| named.first());
    if let Some(&j) = open {
        let (mine, theirs) = (this.amount.abs(), view.other.lines[j].amount.abs());
        // The payment is short or over, whichever side the line stands on.
        let reason = match (mine.cmp(&theirs), view.is_left) {
            (Ordering::Equal, _) => "duplicate",
            (Ordering::Less, true) | (Ordering::Greater, false) => "short_pay",
            (Ordering::Greater, true) | (Ordering::Less, false) => "over_pay",
        };
        return Leftover { reason, candidate: Some(j) };
    }
    match pairs::beyond_window(view, line, state) {
        Some(j) => Leftover { reason: "outside_window", candidate: Some(j) },
        None => Leftover { reason: "no_counterpart", candidate: None },
    }
}

/// Formats money exactly: the minor unit of the currency, or more digits where a line has more.
struct Style(u32);

impl Style {
    fn of(currency: &str, sides: [&Side; 2], tolerance: Decimal) -> Self {
        let most = sides.iter().flat_map(|side| side.lines.iter().map(|line| line.amount.scale()));
        let most = most.chain([tolerance.scale()]).max().unwrap_or(0);
        Self(most.max(money::minor_units(currency)).min(6))
    }

    fn say(&self, amount: Decimal) -> String {
        money::round_to(amount, self.0).to_string()
    }
}

fn sum<'l>(lines: impl Iterator<Item = &'l Line>) -> Decimal {
    // Sides are capped in lines and digits, so the sum fits a decimal.
    lines.map(|line| line.amount).sum()
}

/// Matches the two sides.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a line's id comes twice on a side, a cell does not read, or the
/// tolerance is negative; [`ToolError::NoData`] ⇐ a table is unknown or has no line in the window.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let tolerance =
        money::parse(args.amount_tolerance.as_deref().unwrap_or("0"), "/amount_tolerance")?;
    if tolerance < Decimal::ZERO {
        return Err(ToolError::invalid("/amount_tolerance", "a tolerance is zero or more"));
    }
    let read = |inline, dataset: &Option<String>, at: &str| {
        Side::read(context, inline, dataset.as_deref(), &args.currency, &window, at)
    };
    let left = read(args.left, &args.left_dataset, "left")?;
    let right = read(args.right, &args.right_dataset, "right")?;
    let mut state = Matching {
        left: &left,
        right: &right,
        tolerance,
        window_days: args.date_window_days,
        max_group: args.max_group,
        used_left: vec![false; left.lines.len()],
        used_right: vec![false; right.lines.len()],
        unclear_left: BTreeMap::new(),
        unclear_right: BTreeMap::new(),
        matches: Vec::new(),
        scores: RefCell::default(),
        capped: false,
    };
    reference::one_to_one(&mut state);
    reference::many(&mut state);
    pairs::by_amount_date_and_name(&mut state);
    group::by_subset_sum(&mut state);
    state.matches.sort_by_key(|found| found.left.iter().min().copied());
    Ok(report(&state, &args.currency))
}

fn report(state: &Matching<'_>, currency: &str) -> Value {
    let (left, right) = (state.left, state.right);
    let style = Style::of(currency, [left, right], state.tolerance);
    let mut right_of: BTreeMap<usize, usize> = BTreeMap::new();
    let mut left_of: BTreeMap<usize, usize> = BTreeMap::new();
    for found in &state.matches {
        right_of.extend(found.left.iter().map(|i| (*i, found.right[0])));
        left_of.extend(found.right.iter().map(|j| (*j, found.left[0])));
    }
    let matches: Vec<Value> = state
        .matches
        .iter()
        .map(|found| {
            let a = sum(found.left.iter().map(|i| &left.lines[*i]));
            let b = sum(found.right.iter().map(|j| &right.lines[*j]));
            json!({
                "left_ids": found.left.iter().map(|i| &left.lines[*i].id).collect::<Vec<_>>(),
                "right_ids": found.right.iter().map(|j| &right.lines[*j].id).collect::<Vec<_>>(),
                "kind": found.kind.name(),
                "left_amount": style.say(a),
                "right_amount": style.say(b),
                "difference": style.say(a - b),
            })
        })
        .collect();
    let still = |side: &Side, used: &[bool]| pairs::by_amount(side, |i| !used[i]);
    let (open_left, open_right) = (still(left, &state.used_left), still(right, &state.used_right));
    let unmatched_left = open_lines(
        state,
        &style,
        &View {
            own: left,
            other: right,
            used_own: &state.used_left,
            used_other: &state.used_right,
            unclear: &state.unclear_left,
            partner: &right_of,
            open: &open_right,
            is_left: true,
        },
    );
    let unmatched_right = open_lines(
        state,
        &style,
        &View {
            own: right,
            other: left,
            used_own: &state.used_right,
            used_other: &state.used_left,
            unclear: &state.unclear_right,
            partner: &left_of,
            open: &open_left,
            is_left: false,
        },
    );
    let part = |side: &Side, used: &[bool], want: bool| {
        sum(side.lines.iter().zip(used).filter(|(_, used)| **used == want).map(|(line, _)| line))
    };
    let matched = state.used_left.iter().filter(|used| **used).count();
    let rate = Decimal::from(matched * 100) / Decimal::from(left.lines.len().max(1));
    json!({
        "matches": matches,
        "unmatched_left": unmatched_left,
        "unmatched_right": unmatched_right,
        "totals": {
            "left": style.say(sum(left.lines.iter())),
            "right": style.say(sum(right.lines.iter())),
            "matched_left": style.say(part(left, &state.used_left, true)),
            "unmatched_left": style.say(part(left, &state.used_left, false)),
            "unmatched_right": style.say(part(right, &state.used_right, false)),
        },
        "match_rate_pct": rate.round_dp(10).to_f64(),
        "currency": currency,
        "method": "Passes in order: reference and amount; several references; amount, date and name (Jaro-Winkler of tokens, 0.8); unique subset sum, v1",
        "warnings": warnings(state),
    })
}

/// Lists the lines of a side that have no match, each with its reason.
fn open_lines(state: &Matching<'_>, style: &Style, view: &View<'_>) -> Vec<Value> {
    let open = view.own.lines.iter().enumerate().filter(|(i, _)| !view.used_own[*i]);
    open.map(|(i, line)| {
        let why = leftover(view, i, state);
        let candidate = why.candidate.map(|j| &view.other.lines[j]);
        json!({
            "id": line.id,
            "amount": style.say(line.amount),
            "reason": why.reason,
            "candidate_id": candidate.map(|line| &line.id),
            "gap": candidate.map(|other| style.say(line.amount - other.amount)),
        })
    })
    .collect()
}

fn warnings(state: &Matching<'_>) -> Vec<Value> {
    let mut warnings = Vec::new();
    if state.capped {
        warnings.push(warning(
            "search_capped",
            "Some lines have too many possible partners to try them all; they are left for a person.",
        ));
    }
    let skipped = state.left.other_currency + state.right.other_currency;
    if skipped > 0 {
        warnings.push(warning(
            "other_currency",
            format!("{skipped} lines in another currency were left out; no currency is converted."),
        ));
    }
    warnings
}
