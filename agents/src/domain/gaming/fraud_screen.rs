//! Counting rules over payments, with the orders that prove each hit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cells;
use crate::tool::{ToolContext, ToolError, Window, decode, money, warning};

#[derive(Deserialize)]
struct Arguments {
    ruleset: String,
    dataset: Option<String>,
    payments: Option<Vec<Inline>>,
    #[serde(default = "a_day")]
    window_minutes: i64,
    #[serde(default = "five")]
    min_purchases: usize,
    #[serde(default = "two")]
    max_amount: String,
    #[serde(default = "three")]
    min_distinct_cards: usize,
    #[serde(default = "three")]
    min_distinct_players: usize,
    #[serde(default = "three")]
    min_refunds: usize,
    #[serde(default = "fifty")]
    min_refund_share_pct: f64,
}

#[derive(Deserialize)]
struct Inline {
    order_id: String,
    event_time: String,
    player_id: String,
    device_id: String,
    card_id: String,
    amount: String,
    currency: String,
    status: String,
}

fn a_day() -> i64 {
    1440
}

fn five() -> usize {
    5
}

fn three() -> usize {
    3
}

fn two() -> String {
    "2.00".to_owned()
}

fn fifty() -> f64 {
    50.0
}

/// One payment.
#[derive(Debug, Clone)]
struct Payment {
    order: String,
    at: Timestamp,
    player: String,
    device: String,
    card: String,
    amount: Decimal,
    currency: String,
    refunded: bool,
}

fn payment(cells: [&str; 8], pointer: &str) -> Result<Payment, ToolError> {
    let [order, at, player, device, card, amount, currency, status] = cells;
    let amount = money::parse(amount, pointer)?;
    if amount.is_sign_negative() && !amount.is_zero() {
        return Err(ToolError::invalid(pointer, format!("order `{order}` has a negative amount")));
    }
    if !matches!(status, "captured" | "failed" | "refunded") {
        return Err(ToolError::invalid(
            pointer,
            format!("status `{status}` is none of captured, failed, refunded"),
        ));
    }
    Ok(Payment {
        order: order.to_owned(),
        at: self::cells::instant(at, pointer)?,
        player: player.to_owned(),
        device: device.to_owned(),
        card: card.to_owned(),
        amount,
        currency: currency.to_owned(),
        refunded: status == "refunded",
    })
}

fn read(context: &ToolContext<'_>, id: &str, window: &Window) -> Result<Vec<Payment>, ToolError> {
    const COLUMNS: [&str; 8] = [
        "order_id",
        "event_time",
        "player_id",
        "device_id",
        "card_id",
        "amount",
        "currency",
        "status",
    ];
    let table = context.datasets.table(id, window)?;
    let mut at = [0; 8];
    for (column, name) in at.iter_mut().zip(COLUMNS) {
        *column = table.column(name)?;
    }
    table.rows.iter().map(|row| payment(at.map(|i| row[i].as_str()), "/dataset")).collect()
}

fn inline(payments: &[Inline]) -> Result<Vec<Payment>, ToolError> {
    let one = |p: &Inline| {
        let cells = [
            &p.order_id,
            &p.event_time,
            &p.player_id,
            &p.device_id,
            &p.card_id,
            &p.amount,
            &p.currency,
            &p.status,
        ];
        payment(cells.map(String::as_str), "/payments")
    };
    payments.iter().map(one).collect()
}

/// Counts over the payments of one window; payments come and go at its two ends.
#[derive(Default)]
struct Counts<'a> {
    orders: usize,
    refunds: usize,
    cards: HashMap<&'a str, usize>,
    players: HashMap<&'a str, usize>,
}

fn drop_one<'a>(counts: &mut HashMap<&'a str, usize>, key: &'a str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl<'a> Counts<'a> {
    fn add(&mut self, payment: &'a Payment) {
        self.orders += 1;
        self.refunds += usize::from(payment.refunded);
        *self.cards.entry(&payment.card).or_default() += 1;
        *self.players.entry(&payment.player).or_default() += 1;
    }

    fn remove(&mut self, payment: &'a Payment) {
        self.orders -= 1;
        self.refunds -= usize::from(payment.refunded);
        drop_one(&mut self.cards, &payment.card);
        drop_one(&mut self.players, &payment.player);
    }

    fn meets(&self, args: &Arguments) -> bool {
        match args.ruleset.as_str() {
            "card_testing" => {
                self.orders >= args.min_purchases && self.cards.len() >= args.min_distinct_cards
            }
            "refund_abuse" => {
                let share = 100.0 * cells::count(self.refunds) / cells::count(self.orders.max(1));
                self.refunds >= args.min_refunds && share >= args.min_refund_share_pct
            }
            _ => self.players.len() >= args.min_distinct_players,
        }
    }
}

/// Returns the payments, oldest first, that lie in a window which meets the rule.
fn hits<'a>(payments: &[&'a Payment], args: &Arguments) -> Vec<&'a Payment> {
    let length = SignedDuration::from_mins(args.window_minutes);
    let mut counts = Counts::default();
    let (mut end, mut kept_until) = (0, 0);
    let mut kept = Vec::new();
    for (start, first) in payments.iter().enumerate() {
        while let Some(next) = payments.get(end) {
            if next.at.duration_since(first.at) >= length {
                break;
            }
            counts.add(next);
            end += 1;
        }
        if counts.meets(args) {
            kept.extend(&payments[start.max(kept_until)..end]);
            kept_until = end;
        }
        counts.remove(first);
    }
    kept
}

fn evidence(args: &Arguments, hit: &[&Payment], cards: usize, players: usize) -> String {
    let refunds = hit.iter().filter(|payment| payment.refunded).count();
    let minutes = args.window_minutes;
    match args.ruleset.as_str() {
        "card_testing" => format!(
            "{} orders of at most {} with {cards} cards on one device within {minutes} minutes.",
            hit.len(),
            args.max_amount
        ),
        "refund_abuse" => format!(
            "{refunds} of {} orders refunded to one player within {minutes} minutes.",
            hit.len()
        ),
        _ => format!(
            "{players} players paid from one device within {minutes} minutes, {} orders.",
            hit.len()
        ),
    }
}

/// Adds amounts up.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the sum is larger than a decimal holds.
fn sum<'a>(amounts: impl Iterator<Item = &'a Decimal>) -> Result<Decimal, ToolError> {
    amounts.into_iter().try_fold(Decimal::ZERO, |sum, amount| {
        sum.checked_add(*amount)
            .ok_or_else(|| ToolError::invalid("/dataset", "the amounts are too large to add up"))
    })
}

fn told(
    args: &Arguments,
    kind: &str,
    id: &str,
    hit: &[&Payment],
) -> Result<(Value, Decimal), ToolError> {
    let total = sum(hit.iter().map(|payment| &payment.amount))?;
    let cards: BTreeSet<&str> = hit.iter().map(|payment| payment.card.as_str()).collect();
    let players: BTreeSet<&str> = hit.iter().map(|payment| payment.player.as_str()).collect();
    let currency = hit.first().map_or("USD", |payment| payment.currency.as_str());
    let value = json!({
        "entity_type": kind,
        "entity_id": id,
        "rule": args.ruleset,
        "order_ids": hit.iter().map(|payment| &payment.order).collect::<Vec<_>>(),
        "player_ids": players,
        "purchases": hit.len(),
        "distinct_cards": cards.len(),
        "refunds": hit.iter().filter(|payment| payment.refunded).count(),
        "total_amount": money::format(total, currency),
        "first_at": hit.first().map(|payment| payment.at.to_string()),
        "last_at": hit.last().map(|payment| payment.at.to_string()),
        "evidence": evidence(args, hit, cards.len(), players.len()),
    });
    Ok((value, total))
}

/// Screens payments by one rule set.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ bad window or cell; [`ToolError::NoData`] ⇐ nothing to screen.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let small = money::parse(&args.max_amount, "/max_amount")?;
    let mut payments = match (&args.dataset, &args.payments) {
        (Some(id), _) => read(context, id, &window)?,
        (None, Some(list)) => inline(list)?,
        _ => return Err(ToolError::invalid("", "give dataset or payments")),
    };
    if payments.is_empty() {
        return Err(ToolError::no_data("no payments in this window"));
    }
    payments.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.order.cmp(&b.order)));
    let by_player = args.ruleset == "refund_abuse";
    let mut entities: BTreeMap<&str, Vec<&Payment>> = BTreeMap::new();
    for payment in &payments {
        let counts = args.ruleset != "card_testing" || payment.amount <= small;
        let id = if by_player { &payment.player } else { &payment.device };
        // A payment without a device belongs to no device.
        if counts && !id.is_empty() {
            entities.entry(id).or_default().push(payment);
        }
    }
    let kind = if by_player { "player" } else { "device" };
    let mut flagged = Vec::new();
    let mut totals = Vec::new();
    for (id, payments) in &entities {
        let hit = hits(payments, &args);
        if !hit.is_empty() {
            let (value, total) = told(&args, kind, id, &hit)?;
            flagged.push(value);
            totals.push(total);
        }
    }
    let currencies: BTreeSet<&str> = payments.iter().map(|p| p.currency.as_str()).collect();
    let currency = currencies.first().copied().unwrap_or("USD");
    let mut warnings = Vec::new();
    if currencies.len() > 1 {
        let names: Vec<&str> = currencies.iter().copied().collect();
        warnings.push(warning(
            "mixed_currencies",
            format!(
                "The table holds {}; amounts are compared and added as they stand, unconverted.",
                names.join(", ")
            ),
        ));
    }
    Ok(json!({
        "ruleset": args.ruleset,
        "screened_orders": payments.len(),
        "flagged_count": flagged.len(),
        "flagged_amount": money::format(sum(totals.iter())?, currency),
        "flagged": flagged,
        "method": "Sliding-window counts; a hit is the union of the windows that meet the rule",
        "warnings": warnings,
    }))
}
