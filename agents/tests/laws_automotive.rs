//! Laws that every result of the automotive tools obeys, whatever the arguments.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use agents::pack::{FixtureSource, MemoryEffects, Pack, shipped};
use agents::tool::{Limits, ToolContext};
use jiff::ToSpan;
use jiff::civil::{Date, date};
use proptest::prelude::*;
use serde_json::{Value, json};

fn automotive() -> &'static Pack {
    shipped().unwrap().iter().find(|pack| pack.manifest.id == "automotive").unwrap()
}

fn call(tool: &str, arguments: &Value) -> Value {
    let pack = automotive();
    let datasets = FixtureSource::of(pack).unwrap();
    let (effects, limits) = (MemoryEffects::default(), Limits::default());
    let context = ToolContext {
        datasets: &datasets,
        effects: &effects,
        now: "2026-11-24T00:00:00Z".parse().unwrap(),
        approval: None,
        limits: &limits,
    };
    pack.call(tool, arguments, &context).unwrap()
}

/// Puts `c` at position `at`, counted from 0.
fn with(text: &str, at: usize, c: char) -> String {
    text.chars().enumerate().map(|(i, old)| if i == at { c } else { old }).collect()
}

/// Draws a VIN of the United States whose check digit agrees.
fn sound_vin() -> impl Strategy<Value = String> {
    "[145][A-HJ-NPR-Z0-9]{7}0[A-HJ-NPR-TV-Y1-9][A-HJ-NPR-Z0-9]{2}[0-9]{5}".prop_map(|draft| {
        let result = call("vin_decode", &json!({ "vin": draft }));
        let digit = result["check_digit"]["computed"].as_str().unwrap();
        with(&draft, 8, digit.chars().next().unwrap())
    })
}

fn days() -> impl Strategy<Value = Date> {
    (0_i64..4000).prop_map(|days| date(2016, 1, 1).checked_add(days.days()).unwrap())
}

/// Writes two code bytes the way a workshop reads them, from the standard's table of letters.
fn written(high: u8, low: u8) -> String {
    let letter = match high / 64 {
        0 => 'P',
        1 => 'C',
        2 => 'B',
        _ => 'U',
    };
    format!("{letter}{:04X}", u16::from(high % 64) * 256 + u16::from(low))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_wrong_digit_in_a_vin_is_always_caught(vin in sound_vin(), at in 0_usize..17, new in 0_u32..10) {
        prop_assert_eq!(&call("vin_decode", &json!({ "vin": vin }))["verdict"], "valid");
        let old = vin.chars().nth(at).unwrap();
        let new = char::from_digit(new, 10).unwrap();
        prop_assume!(old.is_ascii_digit() && old != new);
        let wrong = with(&vin, at, new);
        let result = call("vin_decode", &json!({ "vin": wrong, "market": "US" }));
        prop_assert_eq!(&result["verdict"], "invalid");
        prop_assert_eq!(&result["check_digit"]["ok"], false);
    }

    #[test]
    fn every_corrected_vin_passes_and_differs_in_one_character(vin in sound_vin(), at in 0_usize..17) {
        let old = vin.chars().nth(at).unwrap();
        let wrong = with(&vin, at, if old == '3' { '4' } else { '3' });
        let result = call("vin_decode", &json!({ "vin": wrong, "market": "US" }));
        for corrected in result["suggestions"].as_array().unwrap() {
            let corrected = corrected.as_str().unwrap();
            let changed = corrected.chars().zip(wrong.chars()).filter(|(a, b)| a != b).count();
            prop_assert_eq!(changed, 1);
            let again = call("vin_decode", &json!({ "vin": corrected, "market": "US" }));
            prop_assert_eq!(&again["verdict"], "valid");
        }
    }

    #[test]
    fn writing_a_vin_in_groups_or_lower_case_changes_nothing(vin in sound_vin()) {
        let grouped = format!("{}-{} {}", &vin[..3], &vin[3..9], &vin[9..]).to_lowercase();
        let (plain, grouped) =
            (call("vin_decode", &json!({ "vin": vin })), call("vin_decode", &json!({ "vin": grouped })));
        prop_assert_eq!(plain, grouped);
    }

    #[test]
    fn every_fault_code_of_an_answer_is_read_back(
        records in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 0..20),
        mask in any::<u8>(),
    ) {
        let mut bytes = format!("59 02 {mask:02X}");
        for (high, low, kind, status) in &records {
            bytes.push_str(&format!(" {high:02X} {low:02X} {kind:02X} {status:02X}"));
        }
        let result = call("uds_decode", &json!({ "bytes": bytes }));
        let dtcs = result["dtcs"].as_array().unwrap();
        prop_assert_eq!(dtcs.len(), records.len());
        for (dtc, (high, low, kind, status)) in dtcs.iter().zip(&records) {
            prop_assert_eq!(dtc["code"].as_str().unwrap(), written(*high, *low));
            prop_assert_eq!(dtc["failure_type"].as_str().unwrap(), format!("{kind:02X}"));
            let flags = dtc["status_flags"].as_array().unwrap().len();
            prop_assert_eq!(flags, status.count_ones() as usize);
            prop_assert_eq!(dtc["confirmed"].as_bool().unwrap(), status & 0x08 != 0);
        }
    }

    #[test]
    fn a_truncated_answer_is_never_read_as_a_shorter_one(whole in 0_usize..4, left in 1_usize..4) {
        let bytes = format!("5902FF{}", "01".repeat(whole * 4 + left));
        let pack = automotive();
        let datasets = FixtureSource::of(pack).unwrap();
        let (effects, limits) = (MemoryEffects::default(), Limits::default());
        let context = ToolContext {
            datasets: &datasets,
            effects: &effects,
            now: "2026-11-24T00:00:00Z".parse().unwrap(),
            approval: None,
            limits: &limits,
        };
        let error = pack.call("uds_decode", &json!({ "bytes": bytes }), &context).unwrap_err();
        prop_assert_eq!(error.code(), "invalid_input");
    }

    #[test]
    fn a_repair_is_covered_exactly_within_term_and_distance(
        start in days(), months in 1_i64..120,
        late in prop_oneof![-2_i64..=2, -4000_i64..2000],
        limit in 2_u32..300_000, over in prop_oneof![-2_i64..=2, -100_000_i64..100_000],
    ) {
        // Half of the draws lie at the edge of the term and of the distance, where faults hide.
        let edge = start.checked_add(months.months()).unwrap();
        let repair = edge.checked_add(late.days()).unwrap();
        let odometer = (i64::from(limit) + over).max(0);
        let result = call("warranty_check", &json!({
            "in_service_date": start.to_string(), "repair_date": repair.to_string(),
            "odometer_km": odometer, "term_months": months, "term_km": limit,
        }));
        let finding = &result["result"];
        let end: Date = finding["coverage_end"].as_str().unwrap().parse().unwrap();
        prop_assert_eq!(end, edge);
        let inside = start <= repair && repair <= end && odometer <= i64::from(limit);
        prop_assert_eq!(finding["covered"].as_bool().unwrap(), inside);
        prop_assert_eq!(finding["rules_hit"].as_array().unwrap().is_empty(), inside);
        prop_assert_eq!(result["decision"].as_str().unwrap(), "for_review");
    }

    #[test]
    fn a_longer_term_never_takes_coverage_away(
        start in days(), repair in days(), months in 1_i64..119, odometer in 0_u32..200_000,
    ) {
        let covered = |months: i64| call("warranty_check", &json!({
            "in_service_date": start.to_string(), "repair_date": repair.to_string(),
            "odometer_km": odometer, "term_months": months, "term_km": 100_000,
        }))["result"]["covered"].as_bool().unwrap();
        prop_assert!(!covered(months) || covered(months + 1));
    }

    #[test]
    fn what_is_at_stake_is_never_negative(
        amount in 0_u32..1_000_000, claimed in 1_u32..80, book in 1_u32..80, rate in 1_u32..200,
    ) {
        let result = call("warranty_check", &json!({
            "in_service_date": "2025-01-01", "repair_date": "2025-06-01", "odometer_km": 9000,
            "term_months": 24, "claim_amount": format!("{amount}.00"), "currency": "EUR",
            "labour_hours_claimed": claimed, "labour_hours_book": book,
            "labour_rate": format!("{rate}.00"),
        }));
        let stake: f64 = result["result"]["amount_at_stake"].as_str().unwrap().parse().unwrap();
        let over = f64::from(claimed) / f64::from(book) > 1.3;
        let expected = if over { f64::from((claimed - book.min(claimed)) * rate) } else { 0.0 };
        prop_assert!((stake - expected).abs() < 1e-9, "{} instead of {}", stake, expected);
    }
}
