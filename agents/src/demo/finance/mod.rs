//! The demo joint venture of the finance pack: a trading firm's bank lines and open invoices, a
//! bank's transactions, a sanctions list with parties to screen, and a fund's returns.

mod ledger;
mod parties;
mod returns;
mod transactions;

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use super::{Chance, Demo, Generated};

/// First day of the generated data.
const START: Date = date(2026, 1, 5);

/// Generates the datasets and their truth.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let (mut datasets, ledger) = ledger::generate(chance);
    let (more, transactions) = transactions::generate(chance);
    datasets.extend(more);
    let (more, parties) = parties::generate(chance);
    datasets.extend(more);
    let (more, returns) = returns::generate(chance);
    datasets.extend(more);
    let truth = json!({
        "demo_bank_lines": ledger,
        "demo_transactions": transactions,
        "demo_parties": parties,
        "demo_returns": returns,
    });
    Demo { datasets, truth }
}

/// A table as CSV.
struct Csv {
    id: &'static str,
    text: String,
}

impl Csv {
    fn new(id: &'static str, header: &str) -> Self {
        Self { id, text: format!("{header}\n") }
    }

    fn row(&mut self, cells: &[&str]) {
        // Generated cells hold no quotes or line ends; a comma is quoted.
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| if cell.contains(',') { format!("\"{cell}\"") } else { (*cell).to_owned() })
            .collect();
        self.text.push_str(&cells.join(","));
        self.text.push('\n');
    }

    fn done(self) -> Generated {
        Generated {
            id: self.id.to_owned(),
            file: format!("{}.csv", self.id),
            bytes: self.text.into_bytes(),
        }
    }
}

/// Returns the day `days` after [`START`].
fn day(days: i64) -> Date {
    START.saturating_add(days.days())
}

/// Writes an amount in cents as a decimal string.
fn money(cents: i64) -> String {
    format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100)
}

/// Makes a name of syllables that no real firm bears.
fn brand(chance: &mut Chance) -> String {
    const HEADS: [&str; 24] = [
        "Ka", "Vo", "Ti", "Zu", "Re", "Mo", "Shi", "Dra", "Pel", "Gro", "Ny", "Fe", "Ba", "Lu",
        "Qui", "Jo", "Ast", "Ul", "Wex", "Cy", "Ome", "Ibb", "Thu", "Ez",
    ];
    const TAILS: [&str; 24] = [
        "rim", "lan", "vet", "dor", "sul", "mik", "nax", "por", "ted", "gal", "bor", "wen", "zit",
        "far", "hup", "cos", "yul", "jep", "quo", "tash", "ruv", "mond", "gick", "pham",
    ];
    let mut pick = |parts: &[&'static str; 24]| parts[chance.random_range(0..24)];
    format!("{}{}{}", pick(&HEADS), pick(&TAILS), pick(&TAILS))
}

fn choose<'c, T>(items: &'c [T], chance: &mut Chance) -> Option<&'c T> {
    items.choose(chance)
}
