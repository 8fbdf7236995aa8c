//! Bank lines and open invoices with planted splits, batches, duplicates, short payments and fees.

use std::collections::BTreeSet;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use super::{Chance, Csv, Generated, brand, choose, day, money};

const TRADES: [&str; 12] = [
    "Foods",
    "Textiles",
    "Optics",
    "Marine",
    "Timber",
    "Chemicals",
    "Tools",
    "Papers",
    "Medical",
    "Lighting",
    "Ceramics",
    "Robotics",
];
const FORMS: [&str; 6] = ["Ltd", "GmbH", "S.A.", "Inc", "B.V.", "AG"];
const CUSTOMERS: usize = 160;
/// What a correspondent bank takes off a payment, cents.
const FEES: [i64; 3] = [1_500, 2_000, 2_500];

struct Invoice {
    id: String,
    day: i64,
    cents: i64,
    customer: usize,
}

#[derive(Default)]
struct Ledger {
    customers: Vec<String>,
    invoices: Vec<Invoice>,
    /// Day, cents, reference and name of each bank line, with the truth that it belongs to.
    lines: Vec<(i64, i64, String, String, usize)>,
    /// What was planted, by number: kind and invoices.
    stories: Vec<(&'static str, Vec<String>)>,
    amounts: BTreeSet<i64>,
}

impl Ledger {
    /// Adds an invoice whose amount no other invoice has.
    fn invoice(&mut self, customer: usize, from: i64, chance: &mut Chance) -> usize {
        let mut cents = chance.random_range(5_000..2_000_000);
        while !self.amounts.insert(cents) {
            cents += 1;
        }
        let id = format!("INV-{}", 20_001 + self.invoices.len());
        self.invoices.push(Invoice { id, day: from, cents, customer });
        self.invoices.len() - 1
    }

    fn story(&mut self, kind: &'static str, invoices: &[usize]) -> usize {
        let ids = invoices.iter().map(|i| self.invoices[*i].id.clone()).collect();
        self.stories.push((kind, ids));
        self.stories.len() - 1
    }

    fn pay(
        &mut self,
        day: i64,
        cents: i64,
        reference: String,
        customer: usize,
        story: usize,
        shout: bool,
    ) {
        let name = &self.customers[customer];
        let name = if shout { name.to_uppercase() } else { name.clone() };
        self.lines.push((day, cents, reference, name, story));
    }
}

/// Says the references of invoices as payers do.
fn reference(ledger: &Ledger, invoices: &[usize], chance: &mut Chance) -> String {
    let ids: Vec<&str> = invoices.iter().map(|i| ledger.invoices[*i].id.as_str()).collect();
    match chance.random_range(0..4u8) {
        0 => ids.join(" ").to_lowercase(),
        1 => format!("invoice {}", ids.join(" ").replace("INV-", "")),
        2 => format!("payment {}", ids.join(" + ")),
        _ => ids.join(" "),
    }
}

/// Plants one payment story of a customer.
fn plant(ledger: &mut Ledger, kind: &'static str, chance: &mut Chance) {
    let customer = chance.random_range(0..CUSTOMERS);
    let issued = chance.random_range(0..75);
    let count = if kind.starts_with("batch") { chance.random_range(2..=4) } else { 1 };
    let invoices: Vec<usize> =
        (0..count).map(|_| ledger.invoice(customer, issued, chance)).collect();
    let story = ledger.story(kind, &invoices);
    let total: i64 = invoices.iter().map(|i| ledger.invoices[*i].cents).sum();
    let said = reference(ledger, &invoices, chance);
    let on = issued + chance.random_range(1..=9);
    let shout = chance.random_bool(0.4);
    match kind {
        "reference" | "batch_reference" => ledger.pay(on, total, said, customer, story, shout),
        "amount" | "batch_amount" => ledger.pay(on, total, String::new(), customer, story, shout),
        "duplicate" => {
            ledger.pay(on, total, said.clone(), customer, story, shout);
            ledger.pay(on + 3, total, said, customer, story, shout);
        }
        "short" => {
            let off = total * chance.random_range(1..=6) / 100 + 1;
            ledger.pay(on, total - off, said, customer, story, shout);
        }
        "fee" => {
            let fee = choose(&FEES, chance).copied().unwrap_or(FEES[0]);
            ledger.pay(on, total - fee, said, customer, story, shout);
        }
        "split_reference" | "split_amount" => {
            let parts = chance.random_range(2..=3);
            let mut left = total;
            let said = if kind == "split_amount" { String::new() } else { said };
            for part in 0..parts {
                let cents = if part + 1 == parts {
                    left
                } else {
                    left * chance.random_range(25..=60) / 100
                };
                left -= cents;
                ledger.pay(on + i64::from(part) - 1, cents, said.clone(), customer, story, shout);
            }
        }
        // Without a reference a late payment is no safe match.
        "late" => ledger.pay(issued + 25, total, String::new(), customer, story, shout),
        "twin" => {
            // A second invoice of the same day and amount: which of the two is paid?
            let id = format!("INV-{}", 20_001 + ledger.invoices.len());
            ledger.invoices.push(Invoice { id, day: issued, cents: total, customer });
            ledger.pay(on, total, String::new(), customer, story, shout);
        }
        // Nobody has paid it.
        _ => {}
    }
}

/// Generates both tables and what belongs together.
pub(super) fn generate(chance: &mut Chance) -> (Vec<Generated>, Value) {
    let mut ledger = Ledger::default();
    let mut brands = BTreeSet::new();
    while ledger.customers.len() < CUSTOMERS {
        let brand = brand(chance);
        if brands.insert(brand.clone()) {
            let trade = choose(&TRADES, chance).copied().unwrap_or_default();
            let form = choose(&FORMS, chance).copied().unwrap_or_default();
            ledger.customers.push(format!("{brand} {trade} {form}"));
        }
    }
    let plan = [
        ("reference", 260),
        ("amount", 40),
        ("batch_reference", 25),
        ("batch_amount", 15),
        ("split_reference", 15),
        ("split_amount", 12),
        ("duplicate", 14),
        ("short", 14),
        ("fee", 14),
        ("late", 8),
        ("twin", 8),
        ("unpaid", 40),
    ];
    let mut kinds: Vec<&'static str> =
        plan.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count)).collect();
    kinds.shuffle(chance);
    for kind in kinds {
        plant(&mut ledger, kind, chance);
    }
    for text in ["interest", "gift", "tax refund", "insurance", "returned card payment"] {
        let story = ledger.story("unrelated", &[]);
        let (on, cents) = (chance.random_range(0..80), chance.random_range(100..90_000));
        ledger.lines.push((on, cents, text.to_owned(), String::new(), story));
    }
    write(&mut ledger)
}

fn write(ledger: &mut Ledger) -> (Vec<Generated>, Value) {
    let mut invoices = Csv::new("demo_open_invoices", "id,date,amount,reference,name");
    for invoice in &ledger.invoices {
        let name = &ledger.customers[invoice.customer];
        let day = day(invoice.day).to_string();
        invoices.row(&[&invoice.id, &day, &money(invoice.cents), &invoice.id, name]);
    }
    // A bank lists by day.
    ledger.lines.sort_by_key(|line| line.0);
    let mut bank = Csv::new("demo_bank_lines", "id,date,amount,reference,name");
    let mut paid: Vec<Vec<String>> = vec![Vec::new(); ledger.stories.len()];
    for (i, (on, cents, reference, name, story)) in ledger.lines.iter().enumerate() {
        let id = format!("BL-{:04}", i + 1);
        bank.row(&[&id, &day(*on).to_string(), &money(*cents), reference, name]);
        paid[*story].push(id);
    }
    let stories = ledger.stories.iter().zip(paid);
    let stories: Vec<Value> = stories
        .map(
            |((kind, invoices), lines)| json!({"kind": kind, "lines": lines, "invoices": invoices}),
        )
        .collect();
    (vec![bank.done(), invoices.done()], json!({ "stories": stories }))
}
