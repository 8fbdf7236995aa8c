//! A year of quarter-hour loads with planted faults and an event, and a year of hourly prices.

use std::f64::consts::TAU;

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan};
use rand::RngExt as _;
use serde_json::{Value, json};

use super::{SITES, Site, YEAR, at, bell, instants, later, working_day, written};
use crate::demo::Chance;

/// What was planted in the load of one site; an empty stretch plants nothing.
struct Planted {
    /// Readings that never arrived.
    gap: std::ops::Range<Timestamp>,
    /// Readings that repeat the first one of the stretch.
    stuck: std::ops::Range<Timestamp>,
    /// A demand-response event, and the load shed in it, kW.
    event: (std::ops::Range<Timestamp>, f64),
}

impl Planted {
    fn nothing() -> Self {
        let never = Timestamp::MIN..Timestamp::MIN;
        Self { gap: never.clone(), stuck: never.clone(), event: (never, 0.0) }
    }
}

/// Returns the share of the typical load at an hour of the clock: low at night, two humps by day.
fn shape(hour: f64) -> f64 {
    let hump = |centre: f64, width: f64| (-((hour - centre) / width).powi(2)).exp();
    0.45 + 0.5 * hump(10.5, 3.2) + 0.42 * hump(15.5, 3.4)
}

/// Returns the readings of a site, kW, gap included: instant, clock time as written, power.
fn series(site: &Site, planted: &Planted, chance: &mut Chance) -> Vec<(Timestamp, String, f64)> {
    let zone = site.zone();
    let mut rows = Vec::with_capacity(35_040);
    let (mut day, mut of_the_day) = (Date::MIN, 1.0);
    let mut held = 0.0;
    for instant in instants(&zone, 15) {
        let local = instant.to_zoned_datetime(zone.clone());
        if local.date() != day {
            day = local.date();
            of_the_day = 1.0 + 0.02 * bell(chance);
        }
        let weekend = day.weekday().to_monday_zero_offset() > 4;
        let hour = f64::from(local.hour()) + f64::from(local.minute()) / 60.0;
        let season = 1.0 + 0.08 * (TAU * f64::from(day.day_of_year()) / 365.0).cos();
        let share = if weekend { site.weekend } else { 1.0 };
        let noise = 1.0 + 0.015 * bell(chance);
        let mut kw = site.base_kw * shape(hour) * season * share * of_the_day * noise;
        if planted.event.0.contains(&instant) {
            kw -= planted.event.1;
        }
        kw = (kw * 100.0).round() / 100.0;
        if planted.stuck.contains(&instant) {
            if planted.stuck.start == instant {
                held = kw;
            }
            kw = held;
        }
        rows.push((instant, written(instant, &zone), kw));
    }
    rows
}

/// Returns the days of the year on which the site's clock changes, with their quarter hours.
fn clock_changes(site: &Site) -> Vec<Value> {
    let zone = site.zone();
    let days = date(YEAR, 1, 1).series(1.day()).take(365);
    days.filter_map(|day| {
        let (from, to) = (at(day, 0, 0, &zone), at(day.saturating_add(1.day()), 0, 0, &zone));
        let readings = to.duration_since(from).as_mins() / 15;
        (readings != 96)
            .then(|| json!({ "site_id": site.id, "date": day.to_string(), "readings": readings }))
    })
    .collect()
}

/// Generates the load of all sites: a gap and an event at the first, a stuck meter at the second.
pub(super) fn year(chance: &mut Chance) -> (&'static str, String, Value) {
    let [plant, store, _] = &SITES;
    let zone = plant.zone();
    let missing = chance.random_range(6..=40_i64);
    let gap = at(working_day(chance, 5, 5, 26), chance.random_range(7..=11), 15, &zone);
    let gap = gap..later(gap, 15 * missing);
    let shed = f64::from(chance.random_range(70..=110_u8));
    let event = at(working_day(chance, 7, 15, 25), 14, 0, &zone);
    let event = event..later(event, 120);
    let held = chance.random_range(60..=160_i64);
    let stuck = at(working_day(chance, 8, 4, 25), 21, 0, &store.zone());
    let stuck = stuck..later(stuck, 15 * held);
    let plan = [
        Planted { gap: gap.clone(), event: (event.clone(), shed), ..Planted::nothing() },
        Planted { stuck: stuck.clone(), ..Planted::nothing() },
        Planted::nothing(),
    ];
    let mut text = String::from("start,site_id,load_kw\n");
    let mut held_kw = 0.0;
    for (site, planted) in SITES.iter().zip(&plan) {
        for (instant, start, kw) in series(site, planted, chance) {
            if planted.stuck.start == instant {
                held_kw = kw;
            }
            if !planted.gap.contains(&instant) {
                text.extend([format!("{start},{},{kw:.2}\n", site.id)]);
            }
        }
    }
    let sites: Vec<Value> =
        SITES.iter().map(|s| json!({ "site_id": s.id, "timezone": s.zone })).collect();
    let truth = json!({
        "sites": sites,
        "clock_changes": SITES.iter().flat_map(clock_changes).collect::<Vec<_>>(),
        "gap": {
            "site_id": plant.id,
            "start": written(gap.start, &zone),
            "end": written(gap.end, &zone),
            "missing_intervals": missing,
        },
        "stuck": {
            "site_id": store.id,
            "start": written(stuck.start, &store.zone()),
            "end": written(stuck.end, &store.zone()),
            "readings": held,
            "load_kw": held_kw,
        },
        "event": {
            "site_id": plant.id,
            "start": written(event.start, &zone),
            "end": written(event.end, &zone),
            "shed_kw": shed,
        },
    });
    ("load", text, truth)
}

/// Generates the day-ahead prices of the first site's market, per kWh, with one day of surplus.
pub(super) fn prices(chance: &mut Chance) -> (&'static str, String, Value) {
    let zone = SITES[0].zone();
    let mut surplus = date(YEAR, 6, chance.random_range(1..=22));
    while surplus.weekday().to_monday_zero_offset() != 6 {
        surplus = surplus.saturating_add(1.day());
    }
    let negative = at(surplus, 11, 0, &zone)..at(surplus, 15, 0, &zone);
    let mut text = String::from("start,price_per_kwh\n");
    for instant in instants(&zone, 60) {
        let hour = f64::from(instant.to_zoned_datetime(zone.clone()).hour());
        let hump = |centre: f64, width: f64| (-((hour - centre) / width).powi(2)).exp();
        let usual = 0.085 + 0.05 * hump(8.0, 2.0) + 0.075 * hump(19.0, 2.4) - 0.03 * hump(3.0, 2.5);
        let price = if negative.contains(&instant) {
            -0.01 - 0.02 * chance.random_range(0.0..1.0)
        } else {
            (usual * (1.0 + 0.12 * bell(chance))).max(0.005)
        };
        text.extend([format!("{},{price:.4}\n", written(instant, &zone))]);
    }
    let truth = json!({
        "negative": {
            "date": surplus.to_string(),
            "start": written(negative.start, &zone),
            "end": written(negative.end, &zone),
            "hours": 4,
        },
    });
    ("prices", text, truth)
}
