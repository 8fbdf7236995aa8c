//! Laws of the finance tools.

use std::collections::{BTreeMap, BTreeSet};

use jiff::ToSpan as _;
use jiff::civil::date;
use rand::RngExt as _;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{Law, call, ensure, items, number, slip};
use crate::demo::Chance;
use crate::pack::Pack;
use crate::tool::{ToolContext, money};

pub(super) const LAWS: &[Law] = &[
    Law {
        name: "a schedule repays its principal to the cent and every instalment adds up",
        industry: "finance",
        tool: "loan_schedule",
        check: a_loan_repays_its_principal,
    },
    Law {
        name: "one wrong digit in an IBAN is always caught",
        industry: "finance",
        tool: "id_validate",
        check: a_slip_in_an_iban_is_caught,
    },
    Law {
        name: "value at risk and expected shortfall never fall as confidence rises, and no more days lose more than the confidence allows",
        industry: "finance",
        tool: "portfolio_risk",
        check: risk_rises_with_confidence,
    },
    Law {
        name: "a reconciliation uses each line exactly once and its amounts add up",
        industry: "finance",
        tool: "reconcile",
        check: no_line_is_used_twice,
    },
];

fn amount(value: &Value) -> Result<Decimal, String> {
    let text = value.as_str().ok_or_else(|| format!("expected an amount, found {value}"))?;
    text.parse().map_err(|_| format!("expected an amount, found {value}"))
}

fn same(what: &str, expected: Decimal, found: Decimal) -> Result<(), String> {
    ensure(expected == found, || format!("{what}: expected {expected}, found {found}"))
}

fn a_loan_repays_its_principal(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let currency = ["USD", "EUR", "TWD", "JPY", "KWD"][chance.random_range(0..5_usize)];
    let units = chance.random_range(1_000_000..9_000_000_000_i64);
    // The contract takes a principal with at most two decimals, whatever the currency.
    let principal = Decimal::new(units, money::minor_units(currency).min(2));
    let months = chance.random_range(1..=360_u32);
    let rate = f64::from(chance.random_range(0..2500_u32)) / 100.0;
    let repayment =
        ["annuity", "equal_principal", "interest_only"][chance.random_range(0..3_usize)];
    let result = call(
        pack,
        context,
        "loan_schedule",
        &json!({
            "principal": principal.to_string(), "annual_rate_pct": rate, "months": months,
            "repayment": repayment, "currency": currency, "rows": months,
        }),
    )?;
    let rows = items(&result, "rows")?;
    ensure(rows.len() == months as usize, || {
        format!("expected {months} rows, found {}", rows.len())
    })?;
    let (mut balance, mut repaid, mut interest) = (principal, Decimal::ZERO, Decimal::ZERO);
    for row in rows {
        let (part, charge) = (amount(&row["principal"])?, amount(&row["interest"])?);
        same("an instalment", part + charge, amount(&row["payment"])?)?;
        (balance, repaid, interest) = (balance - part, repaid + part, interest + charge);
        same("a balance", balance, amount(&row["balance"])?)?;
        ensure(charge >= Decimal::ZERO, || format!("interest is below zero: {row}"))?;
    }
    same("the principal repaid", principal, repaid)?;
    same("the last balance", Decimal::ZERO, balance)?;
    same("the interest", interest, amount(&result["total_interest"])?)?;
    same("the total", principal + interest, amount(&result["total_paid"])?)
}

/// Draws an IBAN whose check digits agree.
///
/// # Source
/// ISO 13616: country and check digits move to the end, letters count 10 to 35, and the number
/// leaves 1 when divided by 97.
fn iban(chance: &mut Chance) -> String {
    const SHAPES: [(&str, &str); 4] = [
        ("DE", "000000000000000000"),
        ("GB", "AAAA00000000000000"),
        ("FR", "0000000000XXXXXXXXXXX00"),
        ("NL", "AAAA0000000000"),
    ];
    let (country, shape) = SHAPES[chance.random_range(0..SHAPES.len())];
    let account: String = shape
        .chars()
        .map(|kind| match kind {
            'A' => char::from(b'A' + chance.random_range(0..26_u8)),
            'X' if chance.random_bool(0.3) => char::from(b'A' + chance.random_range(0..26_u8)),
            _ => char::from(b'0' + chance.random_range(0..10_u8)),
        })
        .collect();
    let left = format!("{account}{country}00").chars().filter_map(|c| c.to_digit(36)).fold(
        0_u32,
        |left, digit| if digit < 10 { (left * 10 + digit) % 97 } else { (left * 100 + digit) % 97 },
    );
    format!("{country}{:02}{account}", 98 - left)
}

fn a_slip_in_an_iban_is_caught(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let right = iban(chance);
    let wrong = slip(chance, &right).ok_or("the account has no digit")?;
    let result = call(
        pack,
        context,
        "id_validate",
        &json!({ "items": [{ "kind": "iban", "value": right }, { "kind": "iban", "value": wrong }] }),
    )?;
    ensure(result["items"][0]["valid"] == json!(true), || {
        format!("{right} is sound, but was refused: {}", result["items"][0])
    })?;
    ensure(result["items"][1]["valid"] == json!(false), || {
        format!("{wrong} differs from {right} in one digit, but was accepted")
    })
}

fn risk_rises_with_confidence(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let returns: Vec<f64> = (0..chance.random_range(2..60_usize))
        .map(|_| f64::from(chance.random_range(-900..900_i32)) / 10_000.0)
        .collect();
    let mut levels: Vec<u32> = (0..4).map(|_| chance.random_range(800..=999)).collect();
    levels.sort_unstable();
    let mut before: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for level in levels {
        let result = call(
            pack,
            context,
            "portfolio_risk",
            &json!({
                "returns": returns, "portfolio_value": "1000000.00", "currency": "USD",
                "confidence_pct": f64::from(level) / 10.0,
            }),
        )?;
        for line in items(&result, "results")? {
            let method = line["method"].as_str().unwrap_or_default().to_owned();
            let risk = number(&line["value_at_risk"])?;
            let shortfall = number(&line["expected_shortfall"])?;
            ensure(shortfall >= risk - 0.01, || {
                format!("{method} at {level}‰: a shortfall of {shortfall} is below the risk {risk}")
            })?;
            if method == "historical" {
                let worse = returns.iter().filter(|r| -**r * 1e6 > risk + 0.01).count();
                // In whole numbers, as a share such as 0.05 is not exact in binary.
                ensure(worse * 1000 <= (1000 - level as usize) * returns.len(), || {
                    format!("{worse} of {} days lose more than {risk} at {level}‰", returns.len())
                })?;
            }
            let lower = before.insert(method.clone(), (risk, shortfall));
            ensure(lower.is_none_or(|(v, s)| risk >= v - 0.01 && shortfall >= s - 0.01), || {
                format!("{method} at {level}‰: {risk} and {shortfall} are below {lower:?}")
            })?;
        }
    }
    Ok(())
}

/// Draws lines that share references, names and amounts, so that many pairings are possible.
fn lines(chance: &mut Chance, prefix: char) -> Vec<Value> {
    (0..chance.random_range(1..16_u32))
        .map(|i| {
            let day = date(2026, 3, 1).saturating_add(chance.random_range(0..40_i64).days());
            let cents = chance.random_range(1..8_u32) * 2500;
            let mut line = json!({
                "id": format!("{prefix}{i}"), "date": day.to_string(),
                "amount": format!("{}.{:02}", cents / 100, cents % 100),
            });
            if chance.random_bool(0.7) {
                let first = 1000 + chance.random_range(0..6_u32);
                line["reference"] = json!(match chance.random_range(0..4_u8) {
                    0 => format!("INV-{first} INV-{}", first + 1),
                    1 => format!("invoice {first}"),
                    _ => format!("INV-{first}"),
                });
            }
            if chance.random_bool(0.7) {
                let names = ["Acme Trading Ltd", "ACME Trading", "Borealis GmbH", "Cedar & Sons"];
                line["name"] = json!(names[chance.random_range(0..names.len())]);
            }
            line
        })
        .collect()
}

fn no_line_is_used_twice(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let (left, right) = (lines(chance, 'L'), lines(chance, 'R'));
    let tolerance = Decimal::new([0, 0, 1, 2500][chance.random_range(0..4_usize)], 2);
    let result = call(
        pack,
        context,
        "reconcile",
        &json!({
            "left": left, "right": right, "currency": "EUR",
            "amount_tolerance": tolerance.to_string(),
            "date_window_days": chance.random_range(0..20_u32),
            "max_group": chance.random_range(1..7_u32),
        }),
    )?;
    for (side, given, open) in
        [("left_ids", &left, "unmatched_left"), ("right_ids", &right, "unmatched_right")]
    {
        used_once(&result, side, given, open)?;
    }
    for found in items(&result, "matches")? {
        let total = |side: &str, given: &[Value]| -> Result<Decimal, String> {
            let ids: BTreeSet<&str> =
                items(found, side)?.iter().filter_map(Value::as_str).collect();
            let lines = given.iter().filter(|l| l["id"].as_str().is_some_and(|i| ids.contains(i)));
            lines.map(|line| amount(&line["amount"])).sum()
        };
        let (l, r) = (total("left_ids", &left)?, total("right_ids", &right)?);
        same("left_amount of a match", l, amount(&found["left_amount"])?)?;
        same("right_amount of a match", r, amount(&found["right_amount"])?)?;
        ensure((l - r).abs() <= tolerance, || {
            format!("a match differs by {} though the tolerance is {tolerance}: {found}", l - r)
        })?;
    }
    Ok(())
}

/// Each line of a side is in one match or among the open ones, and nowhere twice.
fn used_once(result: &Value, side: &str, given: &[Value], open: &str) -> Result<(), String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for found in items(result, "matches")? {
        for id in items(found, side)?.iter().filter_map(Value::as_str) {
            *seen.entry(id).or_default() += 1;
        }
    }
    for line in items(result, open)? {
        *seen.entry(line["id"].as_str().unwrap_or_default()).or_default() += 1;
    }
    if let Some((id, count)) = seen.iter().find(|(_, count)| **count != 1) {
        return Err(format!("line {id} is used {count} times"));
    }
    let known = given.iter().filter_map(|line| line["id"].as_str());
    ensure(known.clone().all(|id| seen.contains_key(id)) && seen.len() == given.len(), || {
        format!("expected {} lines in matches and {open}, found {}", given.len(), seen.len())
    })
}
