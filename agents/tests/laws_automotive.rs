//! Laws that every result of the automotive tools obeys, whatever the arguments.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use agents::port::DatasetSource;
use agents::tool::{Table, ToolError, Window};
use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Datasets in memory.
#[derive(Default)]
struct Files(BTreeMap<String, String>);

impl DatasetSource for Files {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        Ok(Table::from_csv(&self.file(id)?, id)?.within(window))
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        let text = self.0.get(id).ok_or_else(|| ToolError::no_data(format!("no `{id}`")))?;
        Ok(Arc::from(text.as_bytes()))
    }
}

fn call_with(files: &Files, tool: &str, arguments: &Value) -> Result<Value, ToolError> {
    common::call("automotive", files, tool, arguments)
}

fn call(tool: &str, arguments: &Value) -> Value {
    call_with(&Files::default(), tool, arguments).unwrap()
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
        let error =
            call_with(&Files::default(), "uds_decode", &json!({ "bytes": bytes })).unwrap_err();
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

/// Value of a VIN character by the table of 49 CFR 565.15.
fn vin_value(c: char) -> u32 {
    let rows = ["ABCDEFGH", "JKLMN", "STUVWXYZ"];
    c.to_digit(10)
        .or_else(|| (c == 'P').then_some(7))
        .or_else(|| (c == 'R').then_some(9))
        .or_else(|| rows[..2].iter().find_map(|row| row.find(c)).map(|i| i as u32 + 1))
        .unwrap_or_else(|| rows[2].find(c).unwrap() as u32 + 2)
}

/// A signal of a database, as drawn.
#[derive(Debug, Clone)]
struct Signal {
    big_endian: bool,
    signed: bool,
    start: u64,
    size: u64,
}

/// Position in the frame, written as one row of bits from the first byte's top bit on, of a
/// signal's bit `i`, its least significant bit being 0.
fn position(signal: &Signal, i: u64) -> u64 {
    if signal.big_endian {
        let first = signal.start / 8 * 8 + 7 - signal.start % 8;
        first + signal.size - 1 - i
    } else {
        let bit = signal.start + i;
        bit / 8 * 8 + 7 - bit % 8
    }
}

fn signals() -> impl Strategy<Value = Signal> {
    (any::<bool>(), any::<bool>(), 0_u64..64, 1_u64..=64)
        .prop_map(|(big_endian, signed, start, size)| Signal { big_endian, signed, start, size })
        .prop_filter("the signal lies in the frame", |s| {
            (0..s.size).all(|i| position(s, i) < 64)
                && (s.big_endian || s.start + s.size <= 64)
                && (!s.big_endian || s.start / 8 * 8 + 7 - s.start % 8 + s.size <= 64)
        })
}

/// Puts a raw value into a frame of 8 bytes whose other bits are `noise`.
fn encode(signal: &Signal, raw: u64, noise: u64) -> u64 {
    let mut frame = noise;
    for i in 0..signal.size {
        let mask = 1_u64 << (63 - position(signal, i));
        frame = if raw >> i & 1 == 1 { frame | mask } else { frame & !mask };
    }
    frame
}

fn database(signal: &Signal, factor: f64, offset: f64) -> Files {
    let order = u8::from(!signal.big_endian);
    let sign = if signal.signed { '-' } else { '+' };
    let (start, size) = (signal.start, signal.size);
    let text = format!(
        "VERSION \"\"\n\nBO_ 100 FRAME: 8 ECU\n SG_ VALUE : {start}|{size}@{order}{sign} ({factor},{offset}) [0|0] \"u\" ECU\n"
    );
    Files(BTreeMap::from([("law.dbc".to_owned(), text)]))
}

/// A job and a bay of a drawn workshop: minutes from eight o'clock.
type Job = (usize, i64, i64, Option<usize>, i64);

fn clock(minutes: i64) -> String {
    let eight: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
    eight.checked_add(minutes.minutes()).unwrap().to_string()
}

fn jobs(most: usize) -> impl Strategy<Value = Vec<Job>> {
    let job = (0_usize..5, 5_i64..200, 1_i64..=10, prop::option::of(0_usize..3), 0_i64..300);
    prop::collection::vec(job, 1..most)
}

fn bays() -> impl Strategy<Value = Vec<(i64, i64, usize)>> {
    prop::collection::vec((0_i64..200, 60_i64..600, 0_usize..4), 1..4)
}

const SKILLS: [&str; 3] = ["brakes", "high_voltage", "tyres"];

fn workshop(jobs: &[Job], bays: &[(i64, i64, usize)]) -> Value {
    let jobs: Vec<Value> = jobs
        .iter()
        .map(|(vehicle, minutes, weight, skill, earliest)| {
            let mut job = json!({
                "vehicle_id": format!("V{vehicle}"), "duration_min": minutes, "weight": weight,
                "earliest": clock(*earliest),
            });
            if let Some(skill) = skill {
                job["skill"] = json!(SKILLS[*skill]);
            }
            job
        })
        .collect();
    let bays: Vec<Value> = bays
        .iter()
        .enumerate()
        .map(|(i, (open, length, skills))| {
            json!({
                "bay_id": format!("B{i}"), "open": clock(*open), "close": clock(open + length),
                "skills": SKILLS[..*skills],
            })
        })
        .collect();
    json!({ "jobs": jobs, "bays": bays })
}

fn span(slot: &Value) -> (Timestamp, Timestamp) {
    let read = |name: &str| slot[name].as_str().unwrap().parse().unwrap();
    (read("start"), read("end"))
}

/// The best plan by trying every order and every bay: jobs placed and weighted minutes.
fn brute_force(jobs: &[Job], bays: &[(i64, i64, usize)]) -> (usize, i64) {
    fn go(
        left: &[Job],
        bays: &[(i64, i64, usize)],
        ready: &[i64],
        busy: &[(usize, i64, i64)],
        origin: i64,
    ) -> (usize, i64) {
        let mut best = (0, 0);
        for (at, job) in left.iter().enumerate() {
            let mut rest = left.to_vec();
            rest.remove(at);
            let (vehicle, minutes, weight, skill, earliest) = *job;
            for (bay, (open, length, skills)) in bays.iter().enumerate() {
                if skill.is_some_and(|skill| skill >= *skills) {
                    continue;
                }
                let free = busy.iter().filter(|(v, _, _)| *v == vehicle).map(|(_, _, end)| *end);
                let start = free.chain([ready[bay], *open, earliest]).max().unwrap();
                let end = start + minutes;
                if end > open + length {
                    continue;
                }
                let mut ready = ready.to_vec();
                ready[bay] = end;
                let mut busy = busy.to_vec();
                busy.push((vehicle, start, end));
                let (count, cost) = go(&rest, bays, &ready, &busy, origin);
                let found = (count + 1, cost + weight * (end - origin));
                if found.0 > best.0 || (found.0 == best.0 && found.1 < best.1) {
                    best = found;
                }
            }
        }
        best
    }
    let ready: Vec<i64> = bays.iter().map(|bay| bay.0).collect();
    let origin = *ready.iter().min().unwrap();
    go(jobs, bays, &ready, &[], origin)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_one_character_of_another_value_in_a_vin_is_caught(
        vin in sound_vin(), at in 0_usize..17, new in "[A-HJ-NPR-Z0-9]",
    ) {
        let old = vin.chars().nth(at).unwrap();
        let new = new.chars().next().unwrap();
        // At the check position itself every other character is wrong, whatever its value.
        prop_assume!(if at == 8 { old != new } else { vin_value(old) != vin_value(new) });
        let result = call("vin_decode", &json!({ "vin": with(&vin, at, new), "market": "US" }));
        prop_assert_eq!(&result["verdict"], "invalid");
    }

    #[test]
    fn decoding_an_encoded_signal_gives_it_back(
        signal in signals(), bits in any::<u64>(), noise in any::<u64>(),
        factor in 1_u32..1000, offset in -500_i32..500,
    ) {
        let mask = if signal.size == 64 { u64::MAX } else { (1 << signal.size) - 1 };
        let bits = bits & mask;
        let negative = signal.signed && bits >> (signal.size - 1) & 1 == 1;
        let raw = i128::from(bits) - if negative { 1_i128 << signal.size } else { 0 };
        let (factor, offset) = (f64::from(factor) / 64.0, f64::from(offset) / 4.0);
        let frame = encode(&signal, bits, noise);
        let files = database(&signal, factor, offset);
        let result = call_with(&files, "can_decode", &json!({
            "dbc": "law.dbc", "can_id": 100, "data": format!("{frame:016X}"),
        })).unwrap();
        let decoded = &result["frames"][0]["signals"][0];
        prop_assert_eq!(decoded["raw"].to_string(), raw.to_string(), "{:?}", signal);
        prop_assert_eq!(decoded["value"].as_f64().unwrap(), raw as f64 * factor + offset);
    }

    #[test]
    fn a_frame_that_is_too_short_for_its_message_is_refused(
        signal in signals(), length in 1_usize..8,
    ) {
        let error = call_with(&database(&signal, 1.0, 0.0), "can_decode", &json!({
            "dbc": "law.dbc", "can_id": 100, "data": "00".repeat(length),
        })).unwrap_err();
        prop_assert_eq!(error.code(), "invalid_input");
    }

    #[test]
    fn any_text_as_a_database_is_refused_or_read_and_never_panics(text in ".{0,200}") {
        let files = Files(BTreeMap::from([("law.dbc".to_owned(), format!("BO_ 100 {text}"))]));
        let read = call_with(&files, "can_decode", &json!({
            "dbc": "law.dbc", "can_id": 100, "data": "0011223344556677",
        }));
        if let Err(error) = read {
            prop_assert!(matches!(error.code(), "invalid_input" | "no_data"), "{}", error);
        }
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(
        bytes in prop::collection::vec(any::<u8>(), 1..60), more in prop::collection::vec(any::<u8>(), 1..12),
        head in prop::sample::select(vec![0x41_u8, 0x43, 0x47, 0x4A, 0x59, 0x62, 0x7F, 0x00]),
        protocol in prop::sample::select(vec!["obd2_can", "obd2_kwp", "j1939_dm1"]),
    ) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        let headed = format!("{head:02X}{}", hex(&bytes));
        for messages in [vec![headed.clone()], vec![headed.clone(), hex(&more), hex(&bytes)]] {
            let arguments = json!({ "messages": messages, "protocol": protocol });
            match call_with(&Files::default(), "obd_decode", &arguments) {
                Ok(_) => {}
                Err(error) => prop_assert_eq!(error.code(), "invalid_input"),
            }
        }
        if let Err(error) = call_with(&Files::default(), "uds_decode", &json!({ "bytes": headed })) {
            prop_assert_eq!(error.code(), "invalid_input");
        }
    }

    #[test]
    fn every_fault_of_a_truck_is_read_back_from_its_bits(
        faults in prop::collection::vec((1_u32..524_288, 0_u32..32, 0_u32..127), 1..8),
        lamps in any::<u8>(),
    ) {
        let mut message = format!("{lamps:02X}FF");
        for (spn, fmi, count) in &faults {
            let middle = (spn >> 16) << 5 | fmi;
            message.push_str(&format!("{:02X}{:02X}{middle:02X}{count:02X}", spn & 0xFF, spn >> 8 & 0xFF));
        }
        let result = call("obd_decode", &json!({ "messages": [message], "protocol": "j1939_dm1" }));
        let read = result["dm1"]["faults"].as_array().unwrap();
        prop_assert_eq!(read.len(), faults.len());
        for (read, (spn, fmi, count)) in read.iter().zip(&faults) {
            prop_assert_eq!(read, &json!({ "spn": spn, "fmi": fmi, "occurrence": count }));
        }
        prop_assert_eq!(result["dm1"]["stop_now"].as_bool().unwrap(), lamps >> 4 & 3 == 1);
    }

    #[test]
    fn a_failure_is_a_probability_that_grows_with_the_horizon_and_for_wear_with_age(
        shape in 0.2_f64..19.0, scale in 1.0_f64..1e7, age in 0.0_f64..1e7,
        horizon in 1e-3_f64..1e7, factor in 1.0_f64..10.0,
    ) {
        let p = |age: f64, horizon: f64| call("replace_decision", &json!({
            "shape": shape, "scale": scale, "life_unit": "km", "age": age, "horizon": horizon,
        }))["p_fail"].as_f64().unwrap();
        let (base, longer, older) = (p(age, horizon), p(age, horizon * factor), p(age * factor, horizon));
        prop_assert!((0.0..=1.0).contains(&base));
        prop_assert!(longer >= base - 1e-12);
        // The wider the interval between two large hazards, the more digits their difference loses.
        prop_assert!(shape < 1.0 || older >= base - 1e-6, "{} then {}", base, older);
    }

    #[test]
    fn replacing_pays_exactly_when_the_expected_failure_costs_more(
        shape in 0.5_f64..6.0, age in 0.0_f64..200_000.0, planned in 1_u32..5000, failure in 1_u32..50_000,
    ) {
        let result = call("replace_decision", &json!({
            "shape": shape, "scale": 100_000, "life_unit": "km", "age": age, "horizon": 15_000,
            "planned_cost": planned.to_string(), "failure_cost": failure.to_string(), "currency": "EUR",
        }));
        let amount = |name: &str| result[name].as_str().unwrap().parse::<f64>().unwrap();
        let expected = (result["p_fail"].as_f64().unwrap() * f64::from(failure) * 100.0).round() / 100.0;
        prop_assert!((amount("expected_failure_cost") - expected).abs() < 0.011);
        let pays = amount("expected_saving") > 0.0;
        prop_assert_eq!(&result["recommendation"], if pays { "replace_now" } else { "wait" });
    }

    #[test]
    fn a_plan_never_holds_two_jobs_of_a_bay_or_a_vehicle_at_once(jobs in jobs(13), bays in bays()) {
        let result = call("service_schedule", &workshop(&jobs, &bays));
        let plan = result["plan"].as_array().unwrap();
        let left = result["unscheduled"].as_array().unwrap();
        prop_assert_eq!(plan.len() + left.len(), jobs.len());
        for (i, slot) in plan.iter().enumerate() {
            let (start, end) = span(slot);
            let bay: usize = slot["bay_id"].as_str().unwrap()[1..].parse().unwrap();
            let (open, length, _) = bays[bay];
            prop_assert!(start >= clock(open).parse().unwrap() && end <= clock(open + length).parse().unwrap());
            for other in &plan[i + 1..] {
                let shares = slot["bay_id"] == other["bay_id"] || slot["vehicle_id"] == other["vehicle_id"];
                let (other_start, other_end) = span(other);
                prop_assert!(!shares || other_start >= end || other_end <= start, "{} and {}", slot, other);
            }
        }
    }

    #[test]
    fn a_plan_that_is_said_to_be_best_is_as_good_as_trying_everything(jobs in jobs(5), bays in bays()) {
        let result = call("service_schedule", &workshop(&jobs, &bays));
        prop_assert_eq!(&result["optimal"], true);
        let (count, cost) = brute_force(&jobs, &bays);
        prop_assert_eq!(result["plan"].as_array().unwrap().len(), count);
        prop_assert_eq!(result["total_weighted_completion_min"].as_f64().unwrap(), cost as f64);
    }
}

#[test]
fn codes_without_a_count_byte_are_not_read_as_codes_with_one() {
    let error = call_with(
        &Files::default(),
        "obd_decode",
        &json!({
            "messages": ["43 01 43 01 96 02 34"],
        }),
    );
    assert_eq!(error.unwrap_err().code(), "invalid_input");
    let padded = call("obd_decode", &json!({ "messages": ["43 01 01 71 00 00 00 00"] }));
    assert_eq!(padded["dtcs"].as_array().unwrap().len(), 1);
}

#[test]
fn seven_jobs_in_unequal_bays_are_planned_to_the_proof() {
    let jobs: Vec<Job> =
        (0..7).map(|i| (i, 25 + 17 * i as i64, 1 + i as i64 % 4, None, 0)).collect();
    let bays = [(0, 240, 3), (30, 300, 3), (60, 200, 3), (90, 400, 3)];
    let result = call("service_schedule", &workshop(&jobs, &bays));
    assert_eq!(result["optimal"], true);
    assert_eq!(result["plan"].as_array().unwrap().len(), 7);
}

#[test]
fn every_live_value_lies_in_the_range_that_the_standard_gives_it() {
    // Parameter, data bytes, smallest and largest value of SAE J1979.
    let ranges = [
        (0x04, 1, 0.0, 100.0),
        (0x05, 1, -40.0, 215.0),
        (0x06, 1, -100.0, 99.22),
        (0x0A, 1, 0.0, 765.0),
        (0x0B, 1, 0.0, 255.0),
        (0x0C, 2, 0.0, 16_383.75),
        (0x0D, 1, 0.0, 255.0),
        (0x0E, 1, -64.0, 63.5),
        (0x0F, 1, -40.0, 215.0),
        (0x10, 2, 0.0, 655.35),
        (0x11, 1, 0.0, 100.0),
        (0x1F, 2, 0.0, 65_535.0),
        (0x21, 2, 0.0, 65_535.0),
        (0x2F, 1, 0.0, 100.0),
        (0x31, 2, 0.0, 65_535.0),
        (0x33, 1, 0.0, 255.0),
        (0x42, 2, 0.0, 65.535),
        (0x46, 1, -40.0, 215.0),
        (0x5C, 1, -40.0, 215.0),
        (0x5E, 2, 0.0, 3276.75),
    ];
    for (pid, bytes, low, high) in ranges {
        let value = |raw: u32| {
            let digits = if bytes == 1 { format!("{raw:02X}") } else { format!("{raw:04X}") };
            let message = format!("41 {pid:02X} {digits}");
            let result = call("obd_decode", &json!({ "messages": [message] }));
            result["values"][0]["value"].as_f64().unwrap()
        };
        let top = (1 << (8 * bytes)) - 1;
        assert_eq!(value(0), low, "{pid:02X}");
        assert!((value(top) - high).abs() < 0.005, "{pid:02X}: {}", value(top));
        let steps = [0, 1, top / 3, top / 2, top - 1, top].map(value);
        assert!(steps.is_sorted(), "{pid:02X}: {steps:?}");
    }
}
