//! The demo joint venture of the energy pack: an aggregator with three sites, a charging depot and
//! a distribution network, over the calendar year 2025.
//!
//! Times carry the offset of the site's own clock, so the two days on which the clock changes have
//! 92 and 100 quarter hours. Zones are given by their rules and not looked up, so that the bytes
//! depend on the seed alone.

mod load;
mod network;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};
use rand::RngExt as _;
use serde_json::json;

use super::{Chance, Demo, Generated};

/// The year of the data.
const YEAR: i16 = 2025;

/// A place with its clock and its size.
struct Site {
    id: &'static str,
    /// Name of the zone for tools and truth.
    zone: &'static str,
    /// The zone's rules of 2025, as POSIX writes them.
    rules: &'static str,
    /// Typical load on a working day, kW.
    base_kw: f64,
    /// Share of the load that remains at the weekend.
    weekend: f64,
}

const SITES: [Site; 3] = [
    Site {
        id: "plant-berlin",
        zone: "Europe/Berlin",
        rules: "CET-1CEST,M3.5.0,M10.5.0/3",
        base_kw: 420.0,
        weekend: 0.55,
    },
    Site {
        id: "store-boston",
        zone: "America/New_York",
        rules: "EST5EDT,M3.2.0,M11.1.0",
        base_kw: 95.0,
        weekend: 1.1,
    },
    Site {
        id: "office-taipei",
        zone: "Asia/Taipei",
        rules: "CST-8",
        base_kw: 180.0,
        weekend: 0.35,
    },
];

impl Site {
    fn zone(&self) -> TimeZone {
        TimeZone::posix(self.rules).unwrap_or(TimeZone::UTC)
    }
}

/// Returns the instant of a clock time on a day.
fn at(day: Date, hour: i8, minute: i8, zone: &TimeZone) -> Timestamp {
    let local = day.at(hour, minute, 0, 0).to_zoned_datetime(zone.clone());
    local.map(|at: ZonedDateTime| at.timestamp()).unwrap_or_default()
}

/// Writes an instant with the offset of the zone, RFC 3339.
fn written(instant: Timestamp, zone: &TimeZone) -> String {
    instant.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn later(instant: Timestamp, minutes: i64) -> Timestamp {
    instant.checked_add(SignedDuration::from_mins(minutes)).unwrap_or(instant)
}

/// Returns the instants from the first to the last day of the year, `minutes` apart.
fn instants(zone: &TimeZone, minutes: i64) -> Vec<Timestamp> {
    let (first, end) = (at(date(YEAR, 1, 1), 0, 0, zone), at(date(YEAR + 1, 1, 1), 0, 0, zone));
    std::iter::successors(Some(first), |at| Some(later(*at, minutes)))
        .take_while(|at| *at < end)
        .collect()
}

/// Draws a working day between two days of a month.
fn working_day(chance: &mut Chance, month: i8, first: i8, last: i8) -> Date {
    let mut day = date(YEAR, month, chance.random_range(first..=last));
    while day.weekday().to_monday_zero_offset() > 4 {
        day = day.saturating_add(1.day());
    }
    day
}

/// Draws from a bell curve with deviation 1: twelve uniform draws less six, never beyond six.
fn bell(chance: &mut Chance) -> f64 {
    (0..12).map(|_| chance.random_range(0.0..1.0)).sum::<f64>() - 6.0
}

/// Generates the datasets and their truth.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let parts = [
        load::year(chance),
        load::prices(chance),
        network::sessions(chance),
        network::interruptions(chance),
    ];
    let mut truth = json!({});
    let mut datasets = Vec::new();
    for (name, text, facts) in parts {
        let id = format!("demo_energy_{name}");
        truth[&id] = facts;
        datasets.push(Generated { file: format!("{id}.csv"), id, bytes: text.into_bytes() });
    }
    Demo { datasets, truth }
}
