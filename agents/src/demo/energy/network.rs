//! Charging sessions with one car that cannot be filled, and interruptions with one storm.

use jiff::ToSpan;
use jiff::civil::date;
use rand::RngExt as _;
use serde_json::{Value, json};

use super::{SITES, YEAR, at, bell, later, working_day, written};
use crate::demo::Chance;

/// Customers of the distribution network.
const CUSTOMERS: u32 = 48_000;
/// Cars of the depot that can be filled.
const CARS: u32 = 17;
/// Power of a charger, kW.
const CHARGER_KW: f64 = 11.0;
/// Power that the depot may use for charging, kW.
const LIMIT_KW: f64 = 120.0;

/// Generates one night at the depot.
///
/// All cars are present from 20:00 to 05:00 and need at most 45 kWh, 5 kW on average, so the limit
/// is enough for them; the car that comes at 04:00 and leaves at 06:00 cannot take more than 22 kWh.
pub(super) fn sessions(chance: &mut Chance) -> (&'static str, String, Value) {
    let zone = SITES[0].zone();
    let night = working_day(chance, 9, 2, 24);
    let next = night.saturating_add(1.day());
    let start = at(night, 17, 0, &zone);
    let mut text = String::from(
        "session_id,site_id,energy_needed_kwh,max_kw,available_from,available_until\n",
    );
    let mut needed = 0;
    let mut row = |id: &str, need: u32, from: String, until: String| {
        needed += need;
        text.extend([format!("{id},{},{need},{CHARGER_KW},{from},{until}\n", SITES[0].id)]);
    };
    for car in 1..=CARS {
        let from = later(start, 30 * chance.random_range(0..=6_i64));
        let until = later(at(next, 5, 0, &zone), 30 * chance.random_range(0..=4_i64));
        let need = chance.random_range(8..=45);
        row(&format!("van-{car:02}"), need, written(from, &zone), written(until, &zone));
    }
    let short = chance.random_range(30..=60);
    let (from, until) = (at(next, 4, 0, &zone), at(next, 6, 0, &zone));
    row("van-late", short, written(from, &zone), written(until, &zone));
    let unmet = f64::from(short) - 2.0 * CHARGER_KW;
    let truth = json!({
        "site_id": SITES[0].id,
        "start": written(start, &zone),
        "interval_minutes": 30,
        "interval_count": 28,
        "limit_kw": LIMIT_KW,
        "needed_kwh": needed,
        "short": { "session_id": "van-late", "unmet_kwh": unmet },
    });
    ("ev_sessions", text, truth)
}

/// Generates a year of interruptions whose daily SAIDI is log-normal, cut at two deviations so that
/// no ordinary day is a major event, and one day six deviations out.
pub(super) fn interruptions(chance: &mut Chance) -> (&'static str, String, Value) {
    let zone = SITES[0].zone();
    let storm = working_day(chance, 10, 3, 27);
    let mut text = String::from("interruption_id,started_at,feeder_id,customers,minutes\n");
    let mut number = 0;
    for day in date(YEAR, 1, 1).series(1.day()).take(365) {
        let deviation = if day == storm { 6.0 } else { bell(chance).clamp(-2.0, 2.0) };
        let saidi = (-1.2 + 0.9 * deviation).exp();
        let parts = chance.random_range(1..=3_u32);
        for _ in 0..parts {
            let minutes = f64::from(chance.random_range(20..=150_u32));
            let customer_minutes = saidi * f64::from(CUSTOMERS) / f64::from(parts);
            let customers = (customer_minutes / minutes).round().clamp(1.0, f64::from(CUSTOMERS));
            // Whole customers; the minutes take up what their rounding leaves.
            let minutes = customer_minutes / customers;
            let hour = chance.random_range(4..23);
            let started = at(day, hour, chance.random_range(0..60), &zone);
            let feeder = char::from(b'A' + chance.random_range(0..8_u8));
            number += 1;
            let started = written(started, &zone);
            text.extend([format!(
                "d{number:04},{started},{feeder},{customers:.0},{minutes:.1}
"
            )]);
        }
    }
    let truth = json!({
        "customers_served": CUSTOMERS,
        "days": 365,
        "major_event_days": [storm.to_string()],
    });
    ("interruptions", text, truth)
}
