//! Rules that count transactions of one account in a window: structuring, fans, a burst after
//! silence.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::{Alert, CASH, Screen};

/// Fewest deposits of a structuring pattern and of a burst.
const MIN_DEPOSITS: usize = 3;
/// Fewest different counterparties of a fan.
const MIN_PARTIES: usize = 5;
/// Days without a transaction that make an account dormant.
const DORMANT_DAYS: i32 = 180;

/// Groups the positions of transactions by an account, in order of date.
fn by<'s>(
    screen: &'s Screen,
    wanted: impl Fn(&super::Transaction) -> bool,
    account: impl Fn(&'s super::Transaction) -> &'s str,
) -> BTreeMap<&'s str, Vec<usize>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, row) in screen.rows.iter().enumerate().filter(|(_, row)| wanted(row)) {
        groups.entry(account(row)).or_default().push(i);
    }
    groups
}

fn total(screen: &Screen, rows: &[usize]) -> Decimal {
    rows.iter().map(|i| screen.rows[*i].amount).sum()
}

/// What a window that begins at a transaction holds.
struct Window {
    /// One past its last transaction.
    end: usize,
    /// Different counterparties.
    parties: usize,
    total: Decimal,
}

/// Measures the window that begins at each of the transactions, in one pass over them.
fn windows<'s>(
    screen: &'s Screen,
    rows: &[usize],
    party: impl Fn(&'s super::Transaction) -> &'s str,
) -> Vec<Window> {
    let mut inside: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut end, mut total) = (0, Decimal::ZERO);
    let mut out = Vec::with_capacity(rows.len());
    for (start, row) in rows.iter().enumerate() {
        let first = &screen.rows[*row];
        while let Some(next) = rows.get(end).map(|i| &screen.rows[*i]) {
            if (next.date - first.date).get_days() >= screen.window_days {
                break;
            }
            *inside.entry(party(next)).or_default() += 1;
            total += next.amount;
            end += 1;
        }
        out.push(Window { end, parties: inside.len(), total });
        debug_assert!(end > start, "a window holds its first transaction");
        if let Some(count) = inside.get_mut(party(first)) {
            *count -= 1;
            if *count == 0 {
                inside.remove(party(first));
            }
        }
        total -= first.amount;
    }
    out
}

/// Returns windows that do not overlap, each the one with the most `weight` among those that begin
/// in it. A weight of `None` does not count.
fn best_windows(
    rows: &[usize],
    windows: &[Window],
    weight: impl Fn(usize, &Window) -> Option<usize>,
) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while from < rows.len() {
        if weight(from, &windows[from]).is_none() {
            from += 1;
            continue;
        }
        // A later start may hold more of the same pattern; strangers before it are left out.
        let best = (from..windows[from].end)
            .filter_map(|start| Some((weight(start, &windows[start])?, std::cmp::Reverse(start))))
            .max();
        let Some((_, std::cmp::Reverse(start))) = best else { break };
        found.push(rows[start..windows[start].end].to_vec());
        from = windows[start].end;
    }
    found
}

/// Cash deposits just below the threshold of a report.
pub(super) fn structuring(screen: &Screen) -> Vec<Alert> {
    let low = screen.threshold * Decimal::new(8, 1);
    let deposits = by(
        screen,
        |row| row.kind == "cash_in" && row.amount >= low && row.amount < screen.threshold,
        |row| &row.to,
    );
    let mut alerts = Vec::new();
    for (account, rows) in deposits {
        let windows = windows(screen, &rows, |row| &row.id);
        let best = best_windows(&rows, &windows, |start, window| {
            let count = window.end - start;
            (count >= MIN_DEPOSITS && window.total >= screen.threshold).then_some(count)
        });
        alerts.extend(best.into_iter().map(|transactions| Alert {
            rule: "structuring",
            explanation: format!(
                "{} cash deposits of 80 to under 100 percent of {} within {} days.",
                transactions.len(),
                screen.threshold,
                screen.window_days
            ),
            accounts: if account.is_empty() { Vec::new() } else { vec![account.to_owned()] },
            transactions,
        }));
    }
    alerts
}

/// Transfers of many parties into one account, or of one account to many.
pub(super) fn fan(screen: &Screen, inward: bool) -> Vec<Alert> {
    let wanted = |row: &super::Transaction| row.is_transfer() && row.from != row.to;
    let groups = if inward {
        by(screen, wanted, |row| &row.to)
    } else {
        by(screen, wanted, |row| &row.from)
    };
    let other =
        |row: &'_ super::Transaction| if inward { row.from.clone() } else { row.to.clone() };
    let mut alerts = Vec::new();
    for (account, rows) in groups {
        let windows = windows(screen, &rows, |row| if inward { &row.from } else { &row.to });
        let best = best_windows(&rows, &windows, |_, window| {
            let enough = window.parties >= MIN_PARTIES && window.total >= screen.threshold;
            enough.then_some(window.parties)
        });
        for transactions in best {
            let parties: BTreeSet<String> =
                transactions.iter().map(|i| other(&screen.rows[*i])).collect();
            let way = if inward { "received from" } else { "sent to" };
            alerts.push(Alert {
                rule: if inward { "fan_in" } else { "fan_out" },
                explanation: format!(
                    "{account} {way} {} different accounts within {} days.",
                    parties.len(),
                    screen.window_days
                ),
                accounts: std::iter::once(account.to_owned()).chain(parties).collect(),
                transactions,
            });
        }
    }
    alerts
}

/// Several transactions after a long silence of an account that was used before.
pub(super) fn dormant_burst(screen: &Screen) -> Vec<Alert> {
    let mut touched: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, row) in screen.rows.iter().enumerate() {
        for account in BTreeSet::from([row.from.as_str(), row.to.as_str()]) {
            if !account.is_empty() && account != CASH {
                touched.entry(account).or_default().push(i);
            }
        }
    }
    let mut alerts = Vec::new();
    for (account, rows) in touched {
        for k in 1..rows.len() {
            let (before, first) = (screen.rows[rows[k - 1]].date, screen.rows[rows[k]].date);
            if (first - before).get_days() <= DORMANT_DAYS {
                continue;
            }
            let inside = |i: &usize| (screen.rows[*i].date - first).get_days() < screen.window_days;
            let end = k + rows[k..].partition_point(inside);
            let transactions = rows[k..end].to_vec();
            if transactions.len() < MIN_DEPOSITS || total(screen, &transactions) < screen.threshold
            {
                continue;
            }
            alerts.push(Alert {
                rule: "dormant_burst",
                explanation: format!(
                    "{account} was silent from {before} to {first}, then moved {} times within {} days.",
                    transactions.len(),
                    screen.window_days
                ),
                accounts: vec![account.to_owned()],
                transactions,
            });
        }
    }
    alerts
}
