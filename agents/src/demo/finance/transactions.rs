//! A bank's transactions with planted laundering patterns among ordinary ones, and ordinary ones
//! that look like patterns.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{Chance, Csv, Generated, choose, day, money};

const ACCOUNTS: usize = 240;
const DAYS: i64 = 260;
/// Threshold of a cash report, cents.
const THRESHOLD: i64 = 1_000_000;

struct Row {
    day: i64,
    from: String,
    to: String,
    cents: i64,
    kind: &'static str,
    story: Option<usize>,
}

#[derive(Default)]
struct Book {
    rows: Vec<Row>,
    /// Rule of each planted pattern.
    stories: Vec<&'static str>,
    fresh: usize,
}

impl Book {
    /// Returns an account that nothing else uses.
    fn account(&mut self) -> String {
        self.fresh += 1;
        format!("P{:04}", self.fresh)
    }

    fn add(&mut self, day: i64, from: &str, to: &str, cents: i64, kind: &'static str) {
        self.rows.push(Row { day, from: from.into(), to: to.into(), cents, kind, story: None });
    }

    fn planted(&mut self, day: i64, from: &str, to: &str, cents: i64, kind: &'static str) {
        let story = self.stories.len().checked_sub(1);
        self.rows.push(Row { day, from: from.into(), to: to.into(), cents, kind, story });
    }
}

/// What people and firms do every day: each account pays the same few others.
fn ordinary(book: &mut Book, chance: &mut Chance) {
    let accounts: Vec<String> = (0..ACCOUNTS).map(|i| format!("A{i:04}")).collect();
    for (i, account) in accounts.iter().enumerate() {
        let friends: Vec<String> = (0..3)
            .map(|_| accounts[chance.random_range(0..ACCOUNTS)].clone())
            .filter(|friend| friend != account)
            .collect();
        let mut on = chance.random_range(0..20);
        while on < DAYS {
            match (chance.random_range(0..10u8), choose(&friends, chance)) {
                (0, _) => {
                    book.add(on, "CASH", account, chance.random_range(5_000..600_000), "cash_in");
                }
                (1, _) => {
                    book.add(on, account, "CASH", chance.random_range(2_000..60_000), "cash_out");
                }
                (2..=4, _) => {
                    let shop = format!("S{:03}", chance.random_range(0..40));
                    book.add(on, account, &shop, chance.random_range(300..20_000), "card");
                }
                (_, Some(friend)) => {
                    book.add(on, account, friend, chance.random_range(2_000..180_000), "transfer");
                }
                _ => {}
            }
            on += chance.random_range(4..30);
        }
        // A shop owner who brings in a large cash take once in a while.
        if i % 24 == 0 {
            let on = chance.random_range(0..DAYS - 30);
            for later in [0, 14] {
                let cents = chance.random_range(820_000..990_000);
                book.add(on + later, "CASH", account, cents, "cash_in");
            }
        }
    }
}

/// Honest business that a rule cannot tell from a pattern, and near misses that it must.
fn look_alikes(book: &mut Book, chance: &mut Chance) {
    // Two employers pay their staff: a fan-out by the letter of the rule.
    for employer in ["E0001", "E0002"] {
        let on = chance.random_range(20..DAYS - 20);
        for staff in 0..7 {
            let to = format!("{employer}W{staff}");
            book.add(on, employer, &to, chance.random_range(190_000..260_000), "transfer");
        }
    }
    // A loop that loses too much on the way to be the same money.
    for _ in 0..4 {
        let on = chance.random_range(0..DAYS - 20);
        let [a, b, c] = [book.account(), book.account(), book.account()];
        let cents = chance.random_range(400_000..900_000);
        book.add(on, &a, &b, cents, "transfer");
        book.add(on + 1, &b, &c, cents * 7 / 10, "transfer");
        book.add(on + 2, &c, &a, cents / 2, "transfer");
    }
    // A house is sold and the money stays.
    for _ in 0..5 {
        let [payer, owner] = [book.account(), book.account()];
        let on = chance.random_range(0..DAYS - 20);
        book.add(on, &payer, &owner, chance.random_range(5_000_000..40_000_000), "transfer");
        book.add(on + 9, &owner, "CASH", 40_000, "cash_out");
    }
}

fn plant(book: &mut Book, rule: &'static str, chance: &mut Chance) {
    book.stories.push(rule);
    let centre = book.account();
    let on = chance.random_range(5..DAYS - 15);
    match rule {
        "structuring" => {
            for step in 0..chance.random_range(3..=5) {
                let cents = chance.random_range(THRESHOLD * 82 / 100..THRESHOLD * 99 / 100);
                book.planted(on + step, "CASH", &centre, cents, "cash_in");
            }
        }
        "fan_in" | "fan_out" => {
            for step in 0..chance.random_range(6..=9) {
                let other = book.account();
                let (from, to) =
                    if rule == "fan_in" { (&other, &centre) } else { (&centre, &other) };
                let cents = chance.random_range(200_000..300_000);
                book.planted(on + step % 6, from, to, cents, "transfer");
            }
        }
        "cycle" => {
            let length = chance.random_range(3..=6);
            let stops: Vec<String> = (1..length).map(|_| book.account()).collect();
            let mut cents = chance.random_range(300_000..3_000_000);
            let mut from = centre.clone();
            for (step, to) in stops.iter().chain([&centre]).enumerate() {
                book.planted(on + step as i64, &from, to, cents, "transfer");
                cents = cents * chance.random_range(92..=99) / 100;
                from.clone_from(to);
            }
        }
        "rapid_pass_through" => {
            let payer = book.account();
            let cents = chance.random_range(THRESHOLD * 11 / 10..THRESHOLD * 6);
            book.planted(on, &payer, &centre, cents, "transfer");
            let parts = chance.random_range(1..=3);
            let leaving = cents * chance.random_range(93..=99) / 100;
            for part in 0..parts {
                let to = book.account();
                let later = on + 1 + part % 2;
                book.planted(later, &centre, &to, leaving / parts, "transfer");
            }
        }
        _ => {
            // Used once, silent for half a year, then emptied to a few others.
            book.add(chance.random_range(0..20), &centre, "S001", 4_000, "card");
            let on = chance.random_range(215..DAYS - 10);
            for step in 0..4 {
                let to = book.account();
                let cents = chance.random_range(280_000..420_000);
                book.planted(on + step, &centre, &to, cents, "transfer");
            }
        }
    }
}

/// Generates the table and its patterns.
pub(super) fn generate(chance: &mut Chance) -> (Vec<Generated>, Value) {
    let mut book = Book::default();
    ordinary(&mut book, chance);
    look_alikes(&mut book, chance);
    let plan = [
        ("structuring", 14),
        ("fan_in", 10),
        ("fan_out", 8),
        ("cycle", 12),
        ("rapid_pass_through", 14),
        ("dormant_burst", 8),
    ];
    for (rule, count) in plan {
        for _ in 0..count {
            plant(&mut book, rule, chance);
        }
    }
    book.rows.sort_by_key(|row| row.day);
    let mut table =
        Csv::new("demo_transactions", "transaction_id,date,from_account,to_account,amount,kind");
    let mut proofs: Vec<Vec<String>> = vec![Vec::new(); book.stories.len()];
    for (i, row) in book.rows.iter().enumerate() {
        let id = format!("TX-{:05}", i + 1);
        table.row(&[
            &id,
            &day(row.day).to_string(),
            &row.from,
            &row.to,
            &money(row.cents),
            row.kind,
        ]);
        if let Some(story) = row.story {
            proofs[story].push(id);
        }
    }
    let patterns: Vec<Value> = book
        .stories
        .iter()
        .zip(proofs)
        .map(|(rule, ids)| json!({"rule": rule, "transaction_ids": ids}))
        .collect();
    (vec![table.done()], json!({ "threshold": money(THRESHOLD), "patterns": patterns }))
}
