//! Laws that every result of the finance tools obeys, whatever the arguments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use agents::pack::{Pack, shipped};
use agents::port::DatasetSource;
use agents::tool::{Table, ToolError, Window};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

fn finance() -> &'static Pack {
    shipped().unwrap().iter().find(|pack| pack.manifest.id == "finance").unwrap()
}

/// Files by name, as an upload leaves them.
#[derive(Default)]
struct Files(BTreeMap<&'static str, Vec<u8>>);

impl DatasetSource for Files {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        Ok(Table::from_csv(&self.file(id)?, id)?.within(window))
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        let bytes = self.0.get(id).ok_or_else(|| ToolError::no_data(id))?;
        Ok(bytes.as_slice().into())
    }
}

fn try_call(tool: &str, arguments: &Value, files: &Files) -> Result<Value, ToolError> {
    common::call("finance", files, tool, arguments)
}

fn call(tool: &str, arguments: &Value) -> Value {
    try_call(tool, arguments, &Files::default()).unwrap()
}

fn money(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

fn cents(value: i64) -> String {
    Decimal::new(value, 2).to_string()
}

/// Puts another digit or letter of the same kind at a place.
fn changed(text: &str, at: usize, by: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = at % bytes.len();
    bytes[at] = match bytes[at] {
        digit @ b'0'..=b'9' => b'0' + (digit - b'0' + 1 + by % 9) % 10,
        letter => b'A' + (letter - b'A' + 1 + by % 25) % 26,
    };
    String::from_utf8(bytes).unwrap()
}

/// Swaps two neighbours of one kind; `None` ⇐ they are the same or a digit beside a letter, whose
/// exchange the standard does not promise to catch.
fn swapped(text: &str, at: usize) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = at % (bytes.len() - 1);
    let one_kind = bytes[at].is_ascii_digit() == bytes[at + 1].is_ascii_digit();
    bytes.swap(at, at + 1);
    (one_kind && bytes[at] != bytes[at + 1]).then(|| String::from_utf8(bytes).unwrap())
}

fn is_valid(kind: &str, value: &str) -> bool {
    let result = call("id_validate", &json!({ "items": [{ "kind": kind, "value": value }] }));
    result["items"][0]["valid"].as_bool().unwrap()
}

/// Finds the check digits that make a number valid, by trying them all.
fn completed(kind: &str, count: usize, write: impl Fn(&str) -> String) -> String {
    let most = 10_u32.pow(u32::try_from(count).unwrap());
    (0..most)
        .map(|digits| write(&format!("{digits:0count$}")))
        .find(|number| is_valid(kind, number))
        .expect("some check digits are right")
}

fn loan() -> impl Strategy<Value = Value> {
    let kinds = prop_oneof![Just("annuity"), Just("equal_principal"), Just("interest_only")];
    let currencies = prop_oneof![Just("USD"), Just("JPY"), Just("KWD")];
    (100_000_i64..500_000_000, 0_u32..2_500, 1_u32..=480, kinds, currencies).prop_map(
        |(principal, rate, months, repayment, currency)| {
            let principal = if currency == "JPY" { principal / 100 * 100 } else { principal };
            json!({
                "principal": cents(principal), "annual_rate_pct": f64::from(rate) / 100.0,
                "months": months, "repayment": repayment, "currency": currency, "rows": 600,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_schedule_repays_the_principal_to_the_cent_whatever_the_repayment(loan in loan()) {
        let result = call("loan_schedule", &loan);
        let rows = result["rows"].as_array().unwrap();
        prop_assert_eq!(rows.len() as u64, loan["months"].as_u64().unwrap());
        let sum = |field: &str| rows.iter().map(|row| money(&row[field])).sum::<Decimal>();
        prop_assert_eq!(sum("principal"), money(&loan["principal"]));
        prop_assert_eq!(sum("interest"), money(&result["total_interest"]));
        prop_assert_eq!(sum("payment"), money(&result["total_paid"]));
        prop_assert_eq!(money(&rows.last().unwrap()["balance"]), Decimal::ZERO);
        for row in rows {
            prop_assert_eq!(money(&row["payment"]), money(&row["interest"]) + money(&row["principal"]));
        }
    }

    #[test]
    fn no_slip_of_one_place_leaves_an_iban_or_lei_valid(
        digits in "[0-9]{18}", entity in "[0-9A-Z]{18}", at in 0_usize..40, by in 0_u8..25,
    ) {
        let iban = completed("iban", 2, |check| format!("DE{check}{digits}"));
        prop_assert!(!is_valid("iban", &changed(&iban, at, by)), "{}", iban);
        let lei = completed("lei", 2, |check| format!("{entity}{check}"));
        prop_assert!(!is_valid("lei", &changed(&lei, at, by)), "{}", lei);
        if let Some(swapped) = swapped(&lei, at) {
            prop_assert!(!is_valid("lei", &swapped), "{} {}", lei, swapped);
        }
    }

    #[test]
    fn no_slip_of_one_digit_leaves_a_card_valid(
        digits in "4[0-9]{14}", at in 0_usize..16, by in 0_u8..9,
    ) {
        let card = completed("card", 1, |check| format!("{digits}{check}"));
        prop_assert!(!is_valid("card", &changed(&card, at, by)), "{}", card);
    }

    #[test]
    fn more_confidence_never_means_less_value_at_risk_and_shortfall_is_no_smaller(
        returns in prop::collection::vec(-900_i32..900, 2..60),
        low in 800_u32..999, step in 0_u32..190,
    ) {
        let returns: Vec<f64> = returns.iter().map(|r| f64::from(*r) / 10_000.0).collect();
        let at = |tenths: u32| call("portfolio_risk", &json!({
            "returns": returns, "portfolio_value": "1000000.00", "currency": "EUR",
            "confidence_pct": f64::from(tenths) / 10.0,
        }));
        let (lower, higher) = (at(low), at((low + step).min(999)));
        for (a, b) in lower["results"].as_array().unwrap().iter().zip(higher["results"].as_array().unwrap()) {
            prop_assert!(money(&a["value_at_risk"]) <= money(&b["value_at_risk"]), "{} {}", a, b);
            for row in [a, b] {
                prop_assert!(money(&row["expected_shortfall"]) >= money(&row["value_at_risk"]), "{}", row);
            }
        }
    }

    #[test]
    fn the_rate_of_return_brings_the_present_value_to_zero(
        paid in 100_000_i64..10_000_000,
        back in prop::collection::vec((1_u16..1_500, 1_000_i64..5_000_000), 1..8),
    ) {
        let start: jiff::civil::Date = "2022-01-03".parse().unwrap();
        let day = |days: u16| start.checked_add(jiff::Span::new().days(days)).unwrap();
        let mut flows = vec![json!({ "date": start.to_string(), "amount": cents(-paid) })];
        flows.extend(back.iter().map(|(days, amount)| {
            json!({ "date": day(*days).to_string(), "amount": cents(*amount) })
        }));
        let Ok(result) = try_call("xirr", &json!({ "flows": flows }), &Files::default()) else {
            return Ok(());
        };
        // Far below -99 or above 1000 percent there is no rate to report.
        let Some(rate) = result["xirr_pct"].as_f64() else { return Ok(()) };
        let value: f64 = back.iter().map(|(days, amount)| {
            *amount as f64 / (1.0 + rate / 100.0).powf(f64::from(*days) / 365.0)
        }).sum();
        prop_assert!((value - paid as f64).abs() < 1.0 + 1e-7 * paid as f64, "{} {}", value, paid);
    }

    #[test]
    fn fees_never_lower_the_annual_percentage_rate(
        principal in 500_000_i64..50_000_000, rate in 50_u32..2_000, months in 6_u32..360, fee in 1_i64..10,
    ) {
        let nominal = f64::from(rate) / 100.0;
        let schedule = call("loan_schedule", &json!({
            "principal": cents(principal), "annual_rate_pct": nominal, "months": months, "currency": "USD",
        }));
        let apr = |rule: &str, fee: i64| call("apr", &json!({
            "rule": rule, "amount_financed": cents(principal - principal * fee / 100),
            "payment_amount": schedule["first_payment"], "payment_count": months, "currency": "USD",
        }))["apr_unrounded_pct"].as_f64().unwrap();
        prop_assert!(apr("us_reg_z", fee) >= nominal, "{} {}", apr("us_reg_z", fee), nominal);
        prop_assert!(apr("us_reg_z", fee) > apr("us_reg_z", 0));
        // An effective rate compounds, so it is no smaller than the nominal one.
        prop_assert!(apr("eu_ccd", fee) >= apr("us_reg_z", fee));
    }
}

/// A line of a side, with few different values so that ties, duplicates and sums come up.
fn line() -> impl Strategy<Value = (i64, u16, String, String)> {
    let references = prop_oneof![
        Just(String::new()),
        (1001_u32..1009).prop_map(|n| format!("INV-{n}")),
        (1001_u32..1008).prop_map(|n| format!("inv {n} and {}", n + 1)),
        Just("rent".to_owned()),
    ];
    let names = prop_oneof![Just(""), Just("Acme Ltd"), Just("ACME"), Just("Borealis GmbH")];
    let amounts = prop_oneof![(-4_i64..9).prop_map(|n| n * 2_500), -50_000_i64..90_000];
    (amounts, 0_u16..25, references, names.prop_map(str::to_owned))
}

fn side(prefix: &str, lines: &[(i64, u16, String, String)]) -> Vec<Value> {
    let start: jiff::civil::Date = "2026-03-01".parse().unwrap();
    lines
        .iter()
        .enumerate()
        .map(|(i, (amount, days, reference, name))| {
            let date = start.checked_add(jiff::Span::new().days(*days)).unwrap();
            json!({
                "id": format!("{prefix}{i}"), "amount": cents(*amount), "date": date.to_string(),
                "reference": reference, "name": name,
            })
        })
        .collect()
}

fn ids(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_reconciliation_uses_no_line_twice_and_keeps_every_total(
        left in prop::collection::vec(line(), 1..14),
        right in prop::collection::vec(line(), 1..14),
        tolerance in 0_i64..300,
        group in 1_u32..8,
    ) {
        let result = call("reconcile", &json!({
            "left": side("L", &left), "right": side("R", &right), "currency": "EUR",
            "amount_tolerance": cents(tolerance), "max_group": group,
        }));
        let matches = result["matches"].as_array().unwrap();
        let mut total = Decimal::ZERO;
        let tolerance = Decimal::new(tolerance, 2);
        for found in matches {
            let (a, b) = (money(&found["left_amount"]), money(&found["right_amount"]));
            total += a;
            prop_assert_eq!(a - b, money(&found["difference"]));
            prop_assert!((a - b).abs() <= tolerance, "{}", found);
            let (many, kind) = (ids(&found["left_ids"]).len(), found["kind"].as_str().unwrap());
            let others = ids(&found["right_ids"]).len();
            prop_assert_eq!(many > 1, kind == "split", "{}", found);
            prop_assert_eq!(others > 1, kind == "batch", "{}", found);
            prop_assert!(many.max(others) <= group.max(1) as usize, "{}", found);
        }
        for (name, lines) in [("left", &left), ("right", &right)] {
            let open = result[format!("unmatched_{name}")].as_array().unwrap();
            let mut seen: Vec<String> =
                matches.iter().flat_map(|found| ids(&found[format!("{name}_ids")])).collect();
            seen.extend(open.iter().map(|line| line["id"].as_str().unwrap().to_owned()));
            seen.sort();
            let count = seen.len();
            seen.dedup();
            prop_assert_eq!(seen.len(), count, "a line of the {} side comes twice", name);
            prop_assert_eq!(count, lines.len());
            let all: i64 = lines.iter().map(|line| line.0).sum();
            prop_assert_eq!(money(&result["totals"][name]), Decimal::new(all, 2));
            let unmatched: Decimal = open.iter().map(|line| money(&line["amount"])).sum();
            prop_assert_eq!(money(&result["totals"][format!("unmatched_{name}")]), unmatched);
        }
        let totals = &result["totals"];
        prop_assert_eq!(money(&totals["matched_left"]), total);
        prop_assert_eq!(money(&totals["left"]), total + money(&totals["unmatched_left"]));
    }

    #[test]
    fn a_message_of_any_bytes_is_read_or_refused_but_never_breaks_the_reader(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let files = Files(BTreeMap::from([("m", bytes)]));
        let result = try_call("payment_message_parse", &json!({ "dataset": "m" }), &files);
        if let Err(error) = result {
            prop_assert_eq!(error.code(), "invalid_input");
        }
    }

    #[test]
    fn a_damaged_message_is_read_or_refused_but_never_breaks_the_reader(
        which in 0_usize..5, cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..8),
    ) {
        let mut bytes = sound()[which].clone();
        for (at, byte, how) in cuts {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
        }
        let files = Files(BTreeMap::from([("m", bytes)]));
        let result = try_call("payment_message_parse", &json!({ "dataset": "m" }), &files);
        if let Err(error) = result {
            prop_assert_eq!(error.code(), "invalid_input");
        }
    }
}

/// Messages that read: the shipped files and the texts of the contract.
fn sound() -> Vec<Vec<u8>> {
    let file = |name: &str| finance().files.get(&format!("fixtures/{name}")).unwrap().to_vec();
    let spec = finance().tool("payment_message_parse").unwrap();
    let texts = spec.vectors.iter().filter_map(|vector| vector.arguments["text"].as_str());
    [file("camt.053.001.07.xml"), file("pacs.008.001.07.xml")]
        .into_iter()
        .chain(texts.map(|text| text.as_bytes().to_vec()))
        .collect()
}

#[test]
fn an_entity_is_refused_and_never_expanded() {
    let bomb = b"<!DOCTYPE a [<!ENTITY x \"yyyyyyyyyy\"><!ENTITY z \"&x;&x;&x;\">]><Document><BkToCstmrStmt>\
                 <GrpHdr><MsgId>&z;</MsgId></GrpHdr></BkToCstmrStmt></Document>";
    let undeclared =
        b"<Document><BkToCstmrStmt><GrpHdr><MsgId>&z;</MsgId></GrpHdr></BkToCstmrStmt></Document>";
    for bytes in [bomb.to_vec(), undeclared.to_vec(), b"<a>".repeat(5_000)] {
        let files = Files(BTreeMap::from([("m", bytes)]));
        let error =
            try_call("payment_message_parse", &json!({ "dataset": "m" }), &files).unwrap_err();
        assert_eq!(error.code(), "invalid_input");
    }
}

#[test]
fn the_entries_of_a_statement_reconcile_as_its_lines() {
    let statement = b":20:S1\n:25:DE89370400440532013000\n:28C:1/1\n:60F:C260301EUR0,00\n\
        :61:2603020302C1250,00NTRFINV-1001\n:86:Acme Trading\n:61:2603030303C480,50NTRFNONREF\n\
        :86:invoice 1002\n:62F:C260303EUR1730,50\n";
    let invoices = b"id,date,amount,reference,name\n1001,2026-03-01,1250.00,INV-1001,Acme\n\
        1002,2026-03-01,480.50,INV-1002,Borealis\n";
    let files = Files(BTreeMap::from([("stmt", statement.to_vec()), ("inv", invoices.to_vec())]));
    let read = try_call("payment_message_parse", &json!({ "dataset": "stmt" }), &files).unwrap();
    let result = try_call(
        "reconcile",
        &json!({ "left_dataset": read["result_dataset"], "right_dataset": "inv", "currency": "EUR" }),
        &files,
    )
    .unwrap();
    assert_eq!(result["match_rate_pct"].as_f64(), Some(100.0));
}
