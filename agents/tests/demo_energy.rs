//! The energy tools on the generated year: they must find what was planted, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use agents::demo::{Demo, SEED, generate};
use agents::pack::{MemoryEffects, Pack, shipped};
use agents::port::DatasetSource;
use agents::tool::{Limits, Table, ToolContext, ToolError, Window};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

/// A generated dataset, read once, with the instant of each row.
struct Read {
    table: Table,
    starts: Vec<Option<Timestamp>>,
}

/// The generated datasets.
struct Source(BTreeMap<String, Read>);

impl DatasetSource for Source {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        let Read { table, starts } =
            self.0.get(id).ok_or_else(|| ToolError::no_data("no such dataset"))?;
        // A site's year is read a day at a time, so rows are chosen before any is copied.
        let site = table.find("site_id").zip(window.site_id.as_deref());
        let inside = |(row, at): &(&Vec<String>, &Option<Timestamp>)| {
            at.is_none_or(|at| window.contains(at)) && site.is_none_or(|(i, id)| row[i] == id)
        };
        let rows = table.rows.iter().zip(starts).filter(inside).map(|(row, _)| row.clone());
        let (columns, source) = (table.columns.clone(), table.source.clone());
        Ok(Table { columns, source, rows: rows.collect() })
    }

    fn file(&self, _: &str) -> Result<Arc<[u8]>, ToolError> {
        Err(ToolError::no_data("tables only"))
    }
}

fn demo() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| generate("energy", SEED).unwrap())
}

fn source() -> &'static Source {
    static SOURCE: OnceLock<Source> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let read = |set: &agents::demo::Generated| {
            let table = Table::from_csv(&set.bytes, &set.id).unwrap();
            let time = table.time_column();
            let starts = table.rows.iter().map(|row| row[time?].parse().ok()).collect();
            (set.id.clone(), Read { table, starts })
        };
        Source(demo().datasets.iter().map(read).collect())
    })
}

/// Returns the truth of a dataset at a pointer, as text.
fn truth(dataset: &str, pointer: &str) -> &'static Value {
    demo().truth[format!("demo_energy_{dataset}")].pointer(pointer).unwrap()
}

fn text(dataset: &str, pointer: &str) -> &'static str {
    truth(dataset, pointer).as_str().unwrap()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

fn energy() -> &'static Pack {
    shipped().unwrap().iter().find(|pack| pack.manifest.id == "energy").unwrap()
}

fn try_call(tool: &str, arguments: &Value) -> Result<Value, ToolError> {
    let (effects, limits) = (MemoryEffects::default(), Limits::default());
    let context = ToolContext {
        datasets: source(),
        effects: &effects,
        systems: &agents::port::NoSystems,
        now: "2026-11-24T00:00:00Z".parse().unwrap(),
        approval: None,
        limits: &limits,
    };
    energy().call(tool, arguments, &context)
}

fn call(tool: &str, arguments: &Value) -> Value {
    try_call(tool, arguments).unwrap()
}

fn codes(result: &Value) -> Vec<&str> {
    let warnings = result["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// Returns local midnight of a day at a site.
fn midnight(day: Date, zone: &str) -> Timestamp {
    day.to_zoned_datetime(TimeZone::get(zone).unwrap()).unwrap().timestamp()
}

/// Calls `interval_stats` for every local day of the year of a site.
fn daily(site: &str, zone: &str) -> Vec<(Date, Value)> {
    let days = jiff::civil::date(2025, 1, 1).series(1.day()).take(365);
    days.map(|day| {
        let arguments = json!({
            "dataset": "demo_energy_load",
            "site_id": site,
            "timezone": zone,
            "start": midnight(day, zone).to_string(),
            "end": midnight(day.tomorrow().unwrap(), zone).to_string(),
        });
        (day, call("interval_stats", &arguments))
    })
    .collect()
}

#[test]
fn the_days_of_the_clock_change_and_the_gap_are_found_and_no_others() {
    let (mut changes, mut gaps) = (Vec::new(), Vec::new());
    for site in truth("load", "/sites").as_array().unwrap() {
        let (id, zone) = (site["site_id"].as_str().unwrap(), site["timezone"].as_str().unwrap());
        for (day, stats) in daily(id, zone) {
            let (read, missing) = (&stats["reading_count"], &stats["missing_intervals"]);
            let all = read.as_u64().unwrap() + missing.as_u64().unwrap();
            if all != 96 {
                changes.push(json!({ "site_id": id, "date": day.to_string(), "readings": all }));
            }
            if *missing != 0 {
                gaps.push((id.to_owned(), day.to_string(), missing.clone()));
                assert!(codes(&stats).contains(&"missing_intervals"));
            }
        }
    }
    assert_eq!(Value::from(changes), *truth("load", "/clock_changes"));
    let gap = truth("load", "/gap");
    let date = gap["start"].as_str().unwrap()[..10].to_owned();
    let site = gap["site_id"].as_str().unwrap().to_owned();
    assert_eq!(gaps, [(site, date, gap["missing_intervals"].clone())]);
}

#[test]
fn a_tariff_counts_the_repeated_hour_twice_and_the_skipped_hour_not_at_all() {
    let changes = truth("load", "/clock_changes").as_array().unwrap();
    for change in changes.iter().filter(|change| change["site_id"] == "plant-berlin") {
        let day: Date = change["date"].as_str().unwrap().parse().unwrap();
        let period = |label: &str, from: &str, to: &str| json!({ "label": label, "days": "all", "from": from, "to": to, "rate_per_kwh": "1" });
        let bill = call(
            "tariff_bill",
            &json!({
                "dataset": "demo_energy_load", "site_id": "plant-berlin",
                "timezone": "Europe/Berlin",
                "start": midnight(day, "Europe/Berlin").to_string(),
                "end": midnight(day.tomorrow().unwrap(), "Europe/Berlin").to_string(),
                "tariff": {
                    "periods": [period("two", "02:00", "03:00"), period("rest", "00:00", "00:00")],
                },
            }),
        );
        // The readings as they are written, with the hour of the local clock.
        let written = |hour: &dyn Fn(&str) -> bool| -> f64 {
            let table = &source().0["demo_energy_load"].table;
            let rows = table.rows.iter().filter(|row| {
                row[1] == "plant-berlin"
                    && row[0].starts_with(&day.to_string())
                    && hour(&row[0][11..13])
            });
            rows.map(|row| row[2].parse::<f64>().unwrap() / 4.0).sum()
        };
        let quantity = |line: usize| number(&bill, &format!("/lines/{line}/quantity"));
        assert!((quantity(0) - written(&|hour| hour == "02")).abs() < 1e-6, "{bill}");
        assert!((quantity(1) - written(&|hour| hour != "02")).abs() < 1e-6, "{bill}");
        let spring = change["readings"] == 92;
        assert_eq!(quantity(0) == 0.0, spring, "{bill}");
    }
}

#[test]
fn the_warning_about_a_gap_says_where_it_is() {
    let gap = truth("load", "/gap");
    let stats = call(
        "interval_stats",
        &json!({ "dataset": "demo_energy_load", "site_id": gap["site_id"] }),
    );
    assert_eq!(stats["missing_intervals"], gap["missing_intervals"]);
    let start: Timestamp = gap["start"].as_str().unwrap().parse().unwrap();
    let message = stats["warnings"].to_string();
    assert!(message.contains(&start.to_string()), "{message}");
}

#[test]
fn the_stuck_meter_is_found_and_no_other_meter_is_suspected() {
    let stuck = truth("load", "/stuck");
    let start: Timestamp = stuck["start"].as_str().unwrap().parse().unwrap();
    for site in truth("load", "/sites").as_array().unwrap() {
        let arguments = json!({ "dataset": "demo_energy_load", "site_id": site["site_id"] });
        let stats = call("interval_stats", &arguments);
        let found = codes(&stats).contains(&"stuck_readings");
        assert_eq!(found, site["site_id"] == stuck["site_id"], "{}", site["site_id"]);
        if found {
            let message = stats["warnings"].to_string();
            assert!(message.contains(&start.to_string()), "{message}");
            assert!(message.contains(&stuck["readings"].to_string()), "{message}");
        }
    }
}

#[test]
fn the_shed_of_the_event_is_measured_within_twelve_kilowatts() {
    let event = truth("load", "/event");
    let shed = number(event, "/shed_kw");
    let measure = |method: &str| {
        let arguments = json!({
            "baseline_method": method,
            "dataset": "demo_energy_load",
            "site_id": event["site_id"],
            "event_start": event["start"],
            "event_end": event["end"],
            "timezone": "Europe/Berlin",
            "nominated_kw": shed,
        });
        let result = call("dr_baseline", &arguments);
        (number(&result, "/reduction_kw"), number(&result, "/performance_ratio_pct"))
    };
    let (average, ratio) = measure("avg10of10");
    let (highest, _) = measure("high5of10");
    assert!((average - shed).abs() < 12.0, "{average} measured, {shed} shed");
    assert!((highest - shed).abs() < 16.0, "{highest} measured, {shed} shed");
    assert!((ratio - 100.0 * average / shed).abs() < 1e-6);
    // The five highest of ten days lie above the mean of all ten, whatever the data.
    assert!(highest > average);
}

#[test]
fn a_forecast_beats_the_last_season_or_says_that_it_does_not() {
    let mut beaten = 0;
    for site in truth("load", "/sites").as_array().unwrap() {
        for (start, end) in [
            ("2025-01-06T00:00:00Z", "2025-03-03T00:00:00Z"),
            ("2025-05-05T00:00:00Z", "2025-06-30T00:00:00Z"),
            ("2025-11-03T00:00:00Z", "2025-12-29T00:00:00Z"),
        ] {
            let result = call(
                "load_forecast",
                &json!({
                    "dataset": "demo_energy_load", "site_id": site["site_id"],
                    "start": start, "end": end,
                    "horizon_intervals": 96, "season_intervals": 672,
                }),
            );
            let beats = result["backtest"]["beats_seasonal_naive"].as_bool().unwrap();
            let relative = number(&result, "/backtest/relative_mae");
            assert_eq!(beats, relative < 1.0);
            assert_eq!(beats, result["method_used"] == "ridge", "{result}");
            beaten += u32::from(beats);
            for row in result["forecast"].as_array().unwrap() {
                let (low, middle) = (number(row, "/p10_kw"), number(row, "/p50_kw"));
                assert!(low <= middle && middle <= number(row, "/p90_kw"), "{row}");
            }
        }
    }
    assert!(beaten >= 4, "only {beaten} of nine forecasts beat the last season");
}

#[test]
fn the_battery_charges_in_the_hours_of_negative_price() {
    let day: Date = text("prices", "/negative/date").parse().unwrap();
    let result = call(
        "battery_dispatch",
        &json!({
            "price_dataset": "demo_energy_prices",
            "start": midnight(day, "Europe/Berlin").to_string(),
            "end": midnight(day.tomorrow().unwrap(), "Europe/Berlin").to_string(),
            "capacity_kwh": 1200, "max_charge_kw": 250, "max_discharge_kw": 250,
        }),
    );
    let charge = result["charge_kw"].as_array().unwrap();
    assert_eq!(charge.len(), 24);
    for hour in 11..15 {
        assert!((number(&charge[hour], "") - 250.0).abs() < 1e-3, "{hour}: {charge:?}");
    }
    let gain: f64 = result["gain"].as_str().unwrap().parse().unwrap();
    assert!(gain > 0.0);
}

#[test]
fn the_night_at_the_depot_leaves_one_car_short_and_by_what_was_planted() {
    let truth = truth("ev_sessions", "");
    let plan = |limit: f64| {
        call(
            "ev_charge_plan",
            &json!({
                "dataset": "demo_energy_ev_sessions",
                "site_id": truth["site_id"],
                "start": truth["start"],
                "interval_minutes": truth["interval_minutes"],
                "interval_count": truth["interval_count"],
                "limit_kw": limit,
            }),
        )
    };
    let result = plan(number(truth, "/limit_kw"));
    let unmet = number(truth, "/short/unmet_kwh");
    assert!((number(&result, "/unmet_kwh") - unmet).abs() < 0.01, "{}", result["unmet_kwh"]);
    let delivered = number(truth, "/needed_kwh") - unmet;
    assert!((number(&result, "/delivered_kwh") - delivered).abs() < 0.01);
    for car in result["schedule"].as_array().unwrap() {
        let short = car["session_id"] == truth["short"]["session_id"];
        assert_eq!(number(car, "/unmet_kwh") > 0.01, short, "{car}");
    }
    assert!(number(&result, "/peak_kw") <= number(truth, "/limit_kw") + 1e-3);
    // A connection of 20 kW over 14 hours carries 280 kWh at most.
    assert!(number(&plan(20.0), "/delivered_kwh") <= 280.0 + 0.01);
}

#[test]
fn the_storm_is_the_only_major_event_day() {
    let table = &source().0["demo_energy_interruptions"].table;
    let at = |name: &str| table.column(name).unwrap();
    let (started, customers, minutes) = (at("started_at"), at("customers"), at("minutes"));
    let served = number(truth("interruptions", "/customers_served"), "");
    let mut days: BTreeMap<&str, f64> = BTreeMap::new();
    for row in &table.rows {
        let lost: f64 =
            row[customers].parse::<f64>().unwrap() * row[minutes].parse::<f64>().unwrap();
        *days.entry(&row[started][..10]).or_default() += lost / served;
    }
    let result = call(
        "reliability_indices",
        &json!({
            "customers_served": truth("interruptions", "/customers_served"), "dataset": "demo_energy_interruptions",
            "daily_saidi_minutes": days.values().collect::<Vec<_>>(), "period_hours": 8760,
        }),
    );
    let threshold = number(&result, "/tmed_minutes");
    let found: Vec<&str> =
        days.iter().filter(|(_, saidi)| **saidi > threshold).map(|(day, _)| *day).collect();
    assert_eq!(json!(found), *truth("interruptions", "/major_event_days"));
    assert_eq!(result["major_event_days"], 1);
    let year: f64 = days.values().sum();
    assert!((number(&result, "/saidi_minutes") - year).abs() < 1e-6 * year);
}

#[test]
fn the_planted_facts_hold_for_other_seeds_too() {
    for seed in [1, 2, 3] {
        let demo = generate("energy", seed).unwrap();
        let load = &demo.datasets.iter().find(|set| set.id == "demo_energy_load").unwrap().bytes;
        let lines = String::from_utf8_lossy(load).lines().count();
        let missing = demo.truth["demo_energy_load"]["gap"]["missing_intervals"].as_u64().unwrap();
        assert_eq!(lines as u64, 1 + 3 * 35_040 - missing, "seed {seed}");
    }
}
