//! Rules that follow money from account to account: cycles and rapid pass-through.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::{Alert, Screen};

/// Fewest and most transfers of a cycle.
const CYCLE: std::ops::RangeInclusive<usize> = 3..=6;
/// Days within which a credit that passes through has left.
const PASS_DAYS: i32 = 2;
/// Most steps of the search for cycles from one transfer, and of all.
const MAX_STEPS: usize = 20_000;
const MAX_TOTAL_STEPS: usize = 20_000_000;
/// Most debits after a credit that are looked at, and most that are added up against it.
const MAX_LOOKED_AT: usize = 500;
const MAX_DEBITS: usize = 10;

/// The cycles found, as positions in order; `capped` when the search was cut short.
pub(super) struct Cycles {
    pub(super) found: Vec<Vec<usize>>,
    pub(super) capped: bool,
}

/// Tells whether `part` is 90 to 100 percent of `whole`.
fn nearly_all(part: Decimal, whole: Decimal) -> bool {
    part <= whole && part >= whole * Decimal::new(9, 1)
}

fn outgoing(
    screen: &Screen,
    wanted: impl Fn(&super::Transaction) -> bool,
) -> BTreeMap<&str, Vec<usize>> {
    let mut out: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, row) in screen.rows.iter().enumerate().filter(|(_, row)| wanted(row)) {
        out.entry(row.from.as_str()).or_default().push(i);
    }
    out
}

struct Search<'s> {
    screen: &'s Screen,
    outgoing: &'s BTreeMap<&'s str, Vec<usize>>,
    used: &'s BTreeSet<usize>,
    path: Vec<usize>,
    steps: usize,
}

impl Search<'_> {
    /// Extends the path by later transfers of 90 to 100 percent until it returns to its start.
    fn go(&mut self) -> bool {
        self.steps += 1;
        let (Some(&first), Some(&last)) = (self.path.first(), self.path.last()) else {
            return false;
        };
        let (start, here) = (&self.screen.rows[first], &self.screen.rows[last]);
        if here.to == start.from {
            return CYCLE.contains(&self.path.len());
        }
        if self.path.len() == *CYCLE.end() || self.steps > MAX_STEPS {
            return false;
        }
        let next = self.outgoing.get(here.to.as_str());
        let next = next.map_or(&[][..], |next| &next[next.partition_point(|i| *i <= last)..]);
        // A later position is the same day or a later one.
        for &i in next {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return false;
            }
            let row = &self.screen.rows[i];
            if (row.date - start.date).get_days() >= self.screen.window_days {
                break;
            }
            let visited =
                self.path.iter().any(|j| self.screen.rows[*j].to == row.to && row.to != start.from);
            if visited || self.used.contains(&i) || !nearly_all(row.amount, here.amount) {
                continue;
            }
            self.path.push(i);
            if self.go() {
                return true;
            }
            self.path.pop();
        }
        false
    }
}

/// Finds transfers that lead back to where they began. A transfer is part of one cycle at most.
pub(super) fn cycles(screen: &Screen) -> Cycles {
    let wanted = |row: &super::Transaction| row.is_transfer() && row.from != row.to;
    let outgoing = outgoing(screen, wanted);
    let mut used: BTreeSet<usize> = BTreeSet::new();
    let mut cycles = Cycles { found: Vec::new(), capped: false };
    let mut steps = 0;
    for (i, _) in screen.rows.iter().enumerate().filter(|(_, row)| wanted(row)) {
        if used.contains(&i) {
            continue;
        }
        if steps > MAX_TOTAL_STEPS {
            cycles.capped = true;
            break;
        }
        let mut search =
            Search { screen, outgoing: &outgoing, used: &used, path: vec![i], steps: 0 };
        let closed = search.go();
        steps += search.steps;
        cycles.capped |= search.steps > MAX_STEPS;
        if closed {
            let path = search.path;
            used.extend(path.iter().copied());
            cycles.found.push(path);
        }
    }
    cycles
}

/// Says the cycles as alerts.
pub(super) fn cycle_alerts(screen: &Screen, found: &[Vec<usize>]) -> Vec<Alert> {
    let alert = |path: &Vec<usize>| {
        let accounts: Vec<String> = path.iter().map(|i| screen.rows[*i].from.clone()).collect();
        Alert {
            rule: "cycle",
            explanation: format!(
                "{} transfers lead back to {} within {} days, each 90 to 100 percent of the one before.",
                path.len(),
                accounts.first().map_or("", String::as_str),
                screen.window_days
            ),
            transactions: path.clone(),
            accounts,
        }
    };
    found.iter().map(alert).collect()
}

/// Finds large credits that leave again at once and are no part of a cycle.
pub(super) fn pass_through(screen: &Screen, cycles: &[Vec<usize>]) -> Vec<Alert> {
    let mut used: BTreeSet<usize> = cycles.iter().flatten().copied().collect();
    let outgoing = outgoing(screen, |row| !row.from.is_empty() && row.from != row.to);
    let mut alerts = Vec::new();
    for (i, credit) in screen.rows.iter().enumerate() {
        let comes_in = matches!(credit.kind.as_str(), "transfer" | "cash_in");
        if !comes_in
            || credit.to.is_empty()
            || credit.amount < screen.threshold
            || used.contains(&i)
        {
            continue;
        }
        let leaving_here = outgoing.get(credit.to.as_str()).map_or(&[][..], Vec::as_slice);
        let debits: Vec<usize> = leaving_here[leaving_here.partition_point(|j| *j <= i)..]
            .iter()
            .copied()
            .take(MAX_LOOKED_AT)
            .filter(|j| !used.contains(j))
            .take_while(|j| (screen.rows[*j].date - credit.date).get_days() <= PASS_DAYS)
            .collect();
        let Some(left) = leaving(screen, credit.amount, &debits) else { continue };
        used.insert(i);
        used.extend(left.iter().copied());
        let mut accounts = vec![credit.to.clone(), credit.from.clone()];
        accounts.extend(left.iter().map(|j| screen.rows[*j].to.clone()));
        accounts.retain(|account| !account.is_empty());
        let mut seen = BTreeSet::new();
        accounts.retain(|account| seen.insert(account.clone()));
        alerts.push(Alert {
            rule: "rapid_pass_through",
            explanation: format!(
                "90 to 100 percent of a credit of {} left {} within {PASS_DAYS} days.",
                credit.amount, credit.to
            ),
            transactions: std::iter::once(i).chain(left).collect(),
            accounts,
        });
    }
    alerts
}

/// Returns the debits that take 90 to 100 percent of a credit: one of them, or several in order.
fn leaving(screen: &Screen, credit: Decimal, debits: &[usize]) -> Option<Vec<usize>> {
    if let Some(one) = debits.iter().find(|j| nearly_all(screen.rows[**j].amount, credit)) {
        return Some(vec![*one]);
    }
    let mut sum = Decimal::ZERO;
    let mut taken = Vec::new();
    for &j in debits {
        let next = sum + screen.rows[j].amount;
        if next > credit || taken.len() == MAX_DEBITS {
            continue;
        }
        sum = next;
        taken.push(j);
    }
    nearly_all(sum, credit).then_some(taken)
}
