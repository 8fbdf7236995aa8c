//! Laws that every result of the energy tools obeys, whatever the arguments.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agents::pack::{FixtureSource, Pack, shipped};
use agents::port::DatasetSource;
use agents::tool::{Table, ToolError, Window};
use proptest::prelude::*;
use serde_json::{Value, json};

fn energy() -> &'static Pack {
    shipped().unwrap().iter().find(|pack| pack.manifest.id == "energy").unwrap()
}

fn try_call(tool: &str, arguments: &Value) -> Result<Value, ToolError> {
    common::call("energy", &FixtureSource::of(energy()).unwrap(), tool, arguments)
}

fn call(tool: &str, arguments: &Value) -> Value {
    try_call(tool, arguments).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_battery_plan_balances_energy_within_its_limits_and_never_loses_money(
        prices in prop::collection::vec(-20_i32..60, 2..10),
        capacity in 5.0_f64..200.0,
        charge in 1.0_f64..80.0,
        discharge in 1.0_f64..80.0,
        efficiency in 70.0_f64..100.0,
    ) {
        let prices: Vec<String> =
            prices.iter().map(|cents| format!("{:.2}", f64::from(*cents) / 100.0)).collect();
        let result = call("battery_dispatch", &json!({
            "prices_per_kwh": prices,
            "capacity_kwh": capacity,
            "max_charge_kw": charge,
            "max_discharge_kw": discharge,
            "charge_efficiency_pct": efficiency,
            "discharge_efficiency_pct": efficiency,
        }));
        let (c, d) = (numbers(&result["charge_kw"]), numbers(&result["discharge_kw"]));
        let soc = numbers(&result["soc_kwh"]);
        let share = efficiency / 100.0;
        let mut stored = 0.0;
        for t in 0..c.len() {
            stored += c[t] * share - d[t] / share;
            prop_assert!((soc[t] - stored).abs() < 1e-4);
            prop_assert!((-1e-4..=capacity + 1e-4).contains(&soc[t]));
            prop_assert!((-1e-6..=charge + 1e-6).contains(&c[t]));
            prop_assert!((-1e-6..=discharge + 1e-6).contains(&d[t]));
            prop_assert!(c[t] < 1e-5 || d[t] < 1e-5);
        }
        let gain: f64 = result["gain"].as_str().unwrap().parse().unwrap();
        prop_assert!(gain >= -0.01);
    }

    #[test]
    fn a_battery_behind_a_meter_keeps_its_reserve_its_end_and_the_connection(
        prices in prop::collection::vec((-10_i32..60, 0_i32..80), 2..9),
        load in prop::collection::vec(0.0_f64..60.0, 9),
        capacity in 20.0_f64..200.0,
        shares in (0.0_f64..0.5, 0.5_f64..1.0, 0.0_f64..0.6),
        power in (5.0_f64..50.0, 5.0_f64..50.0),
        efficiency in (60.0_f64..100.0, 60.0_f64..100.0),
        export in any::<bool>(),
        demand in 0_u32..20,
    ) {
        let n = prices.len();
        let cents = |c: i32| format!("{:.2}", f64::from(c) / 100.0);
        let (reserve, first) = (shares.0 * capacity, shares.1 * capacity);
        let last = shares.2 * capacity;
        let arguments = json!({
            "prices_per_kwh": prices.iter().map(|p| cents(p.0)).collect::<Vec<_>>(),
            "export_prices_per_kwh": prices.iter().map(|p| cents(p.1)).collect::<Vec<_>>(),
            "load_kw": &load[..n],
            "capacity_kwh": capacity, "max_charge_kw": power.0, "max_discharge_kw": power.1,
            "charge_efficiency_pct": efficiency.0, "discharge_efficiency_pct": efficiency.1,
            "initial_soc_kwh": first, "min_soc_kwh": reserve, "final_soc_min_kwh": last,
            "allow_export": export, "grid_import_limit_kw": 120,
            "demand_charge_per_kw": demand.to_string(), "wear_cost_per_kwh": "0.01",
        });
        let result = call("battery_dispatch", &arguments);
        let (c, d) = (numbers(&result["charge_kw"]), numbers(&result["discharge_kw"]));
        let (import, back) =
            (numbers(&result["grid_import_kw"]), numbers(&result["grid_export_kw"]));
        let soc = numbers(&result["soc_kwh"]);
        let mut stored = first;
        for t in 0..n {
            stored += c[t] * efficiency.0 / 100.0 - d[t] / (efficiency.1 / 100.0);
            prop_assert!((soc[t] - stored).abs() < 1e-4);
            prop_assert!((reserve - 1e-4..=capacity + 1e-4).contains(&soc[t]));
            prop_assert!(c[t] < 1e-5 || d[t] < 1e-5, "both ways at once in {t}");
            prop_assert!(import[t] < 1e-5 || back[t] < 1e-5, "import and export at once in {t}");
            prop_assert!(c[t] <= power.0 + 1e-5 && d[t] <= power.1 + 1e-5);
            // What comes in equals what is used, whatever the prices.
            prop_assert!((import[t] - back[t] - load[t] - c[t] + d[t]).abs() < 1e-5);
            prop_assert!(import[t] <= 120.0 + 1e-4);
            prop_assert!(export || back[t] < 1e-5, "export although it is not allowed");
        }
        prop_assert!(soc[n - 1] >= last - 1e-4);
        let peak = import.iter().copied().fold(0.0, f64::max);
        prop_assert!((result["peak_import_kw"].as_f64().unwrap() - peak).abs() < 1e-9);
        let money = |name: &str| result[name].as_str().unwrap().parse::<f64>().unwrap();
        let gain = money("cost_without_battery") - money("cost_with_battery");
        prop_assert!((money("gain") - gain).abs() < 0.011);
    }

    #[test]
    fn charging_never_exceeds_the_site_a_car_or_its_need(
        needs in prop::collection::vec(1_u32..60, 1..5),
        limits in prop::collection::vec(0_u32..50, 1..6),
    ) {
        let sessions: Vec<Value> = needs.iter().enumerate().map(|(i, need)| json!({
            "session_id": format!("car{i}"), "energy_needed_kwh": need, "max_kw": 11,
        })).collect();
        let result = call("ev_charge_plan", &json!({
            "sessions": sessions, "interval_minutes": 60, "limits_kw": limits,
        }));
        for (kw, limit) in numbers(&result["site_kw"]).iter().zip(&limits) {
            prop_assert!(*kw <= f64::from(*limit) + 1e-3);
        }
        for (car, need) in result["schedule"].as_array().unwrap().iter().zip(&needs) {
            let power = numbers(&car["power_kw"]);
            prop_assert!(power.iter().all(|kw| *kw <= 11.0 + 1e-3));
            prop_assert!(power.iter().sum::<f64>() <= f64::from(*need) + 1e-2);
        }
    }

    #[test]
    fn a_bill_is_the_sum_of_its_lines(
        lines in prop::collection::vec((0_u32..100_000, 0_u32..1_000_000), 1..8),
    ) {
        let lines: Vec<Value> = lines.iter().enumerate().map(|(i, (kwh, rate))| json!({
            "label": format!("line {i}"),
            "energy_kwh": kwh,
            "rate_per_kwh": format!("{}.{:06}", rate / 1_000_000, rate % 1_000_000),
        })).collect();
        let result = call("tariff_bill", &json!({ "energy_lines": lines }));
        let cents = |text: &Value| text.as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
        let sum: i64 =
            result["lines"].as_array().unwrap().iter().map(|line| cents(&line["amount"])).sum();
        prop_assert_eq!(sum, cents(&result["total"]));
    }

    #[test]
    fn the_duration_index_is_the_frequency_times_the_duration_of_an_interruption(
        served in 1_000_u32..1_000_000,
        interruptions in prop::collection::vec((1_u32..1000, 1_u32..2000), 1..20),
        hours in 1_000_u32..8_784,
    ) {
        let list: Vec<Value> = interruptions
            .iter()
            .map(|(customers, minutes)| json!({ "customers": customers, "minutes": minutes }))
            .collect();
        let result = call("reliability_indices", &json!({
            "customers_served": served, "interruptions": list, "period_hours": hours,
        }));
        let number = |name: &str| result[name].as_f64().unwrap();
        let (saidi, saifi) = (number("saidi_minutes"), number("saifi"));
        if saifi == 0.0 {
            prop_assert!(result["caidi_minutes"].is_null());
            prop_assert_eq!(saidi, 0.0);
        } else {
            let caidi = number("caidi_minutes");
            prop_assert!((caidi * saifi - saidi).abs() <= 1e-6 * saidi.max(1.0));
            // Sustained interruptions are longer than five minutes.
            prop_assert!(caidi > 5.0);
        }
        let available = 100.0 * (1.0 - saidi / (f64::from(hours) * 60.0));
        prop_assert!((number("asai_pct") - available).abs() < 1e-6);
        let counted = number("sustained_count") + number("momentary_count");
        prop_assert_eq!(counted as usize, interruptions.len());
    }

    #[test]
    fn the_quantiles_of_a_forecast_are_in_order(
        base in 5.0_f64..500.0,
        noise in prop::collection::vec(-1.0_f64..1.0, 60..200),
        season in 2_usize..24,
        horizon in 1_usize..60,
    ) {
        let values: Vec<f64> = noise
            .iter()
            .enumerate()
            .map(|(t, noise)| base * (2.0 + ((t % season) as f64).sin() + 0.3 * noise))
            .collect();
        let result = call("load_forecast", &json!({
            "values_kw": values, "season_intervals": season, "horizon_intervals": horizon,
        }));
        let rows = result["forecast"].as_array().unwrap();
        prop_assert_eq!(rows.len(), horizon);
        for row in rows {
            let kw = |name: &str| row[name].as_f64().unwrap();
            prop_assert!(kw("p10_kw") <= kw("p50_kw") && kw("p50_kw") <= kw("p90_kw"));
        }
        let test = &result["backtest"];
        let (error, naive) = (&test["mae_kw"], &test["seasonal_naive_mae_kw"]);
        prop_assert!(error.as_f64().unwrap() <= naive.as_f64().unwrap() + 1e-9);
    }

    #[test]
    fn a_solar_array_never_gives_more_than_its_inverter_or_its_modules(
        weather in prop::collection::vec((0.0_f64..1600.0, -40.0_f64..90.0), 1..48),
        dc in 0.5_f64..5000.0,
        ratio in 0.5_f64..3.0,
        efficiency in 80.0_f64..99.9,
        losses in 0.0_f64..60.0,
    ) {
        let (poa, cell): (Vec<f64>, Vec<f64>) = weather.into_iter().unzip();
        let arguments = |dc: f64| json!({
            "dc_kw": dc, "poa_w_m2": poa, "cell_temp_c": cell, "dc_ac_ratio": ratio,
            "inverter_efficiency_pct": efficiency, "losses_pct": losses, "interval_minutes": 60,
        });
        let result = call("pv_yield", &arguments(dc));
        let number = |result: &Value, name: &str| result[name].as_f64().unwrap();
        let (ac, peak) = (number(&result, "ac_kwh"), number(&result, "peak_ac_kw"));
        prop_assert!(peak <= dc / ratio * (1.0 + 1e-9));
        prop_assert!(ac <= peak * poa.len() as f64 + 1e-3);
        prop_assert!((0.0..=number(&result, "dc_kwh") + 1e-3).contains(&ac));
        // Twice the array gives twice the energy.
        let twice = number(&call("pv_yield", &arguments(2.0 * dc)), "ac_kwh");
        prop_assert!((twice - 2.0 * ac).abs() <= 1e-3 + 1e-6 * ac, "{twice} {ac}");
    }

    #[test]
    fn a_baseline_of_the_highest_days_is_never_below_the_mean_of_all(
        days in prop::collection::vec(0.0_f64..1000.0, 10),
        event in 0.0_f64..1000.0,
        adjustment in (1.0_f64..1000.0, 1.0_f64..1000.0, 0.0_f64..60.0),
    ) {
        let measure = |method: &str| call("dr_baseline", &json!({
            "baseline_method": method, "history_kw": days, "event_kw": event, "event_minutes": 90,
            "adjustment_actual_kw": adjustment.0, "adjustment_baseline_kw": adjustment.1,
            "adjustment_cap_pct": adjustment.2,
        }));
        let number = |result: &Value, name: &str| result[name].as_f64().unwrap();
        let (highest, mean) = (measure("high5of10"), measure("avg10of10"));
        let unadjusted = |result: &Value| number(result, "unadjusted_baseline_kw");
        prop_assert!(unadjusted(&highest) >= unadjusted(&mean) - 1e-6);
        for result in [&highest, &mean] {
            let factor = number(result, "adjustment_factor");
            prop_assert!((factor - 1.0).abs() <= adjustment.2 / 100.0 + 1e-9);
            let reduction = unadjusted(result) * factor - event;
            prop_assert!((number(result, "reduction_kw") - reduction).abs() < 1e-5);
            prop_assert!((number(result, "reduction_kwh") - 1.5 * reduction).abs() < 1e-5);
        }
    }

    #[test]
    fn certificates_of_zero_lower_the_market_figure_and_leave_the_place_as_it_is(
        kwh in 1.0_f64..1e7,
        covered in 0.0_f64..1.0,
        grid in 0.0_f64..1.2,
        residual in 0.0_f64..1.2,
    ) {
        let result = call("carbon_scope2", &json!({
            "electricity_kwh": kwh, "grid_factor_kg_per_kwh": grid, "accounting_method": "both",
            "residual_factor_kg_per_kwh": residual, "factor_source": "user", "factor_year": 2025,
            "instruments": [
                { "kind": "certificate", "energy_kwh": covered * kwh, "factor_kg_per_kwh": 0 },
            ],
        }));
        let number = |name: &str| result[name].as_f64().unwrap();
        prop_assert!((number("location_based_tco2e") - kwh * grid / 1000.0).abs() < 1e-6);
        let market = kwh * (1.0 - covered) * residual / 1000.0;
        prop_assert!((number("market_based_tco2e") - market).abs() < 1e-6);
    }
}

/// Files of a tenant, by identifier.
struct Files(BTreeMap<&'static str, Vec<u8>>);

impl DatasetSource for Files {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        Ok(Table::from_csv(&self.file(id)?, id)?.within(window))
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        let file = self.0.get(id).ok_or_else(|| ToolError::no_data("no such dataset"))?;
        Ok(Arc::from(file.as_slice()))
    }
}

fn with_files(files: &Files, tool: &str, arguments: &Value) -> Result<Value, ToolError> {
    common::call("energy", files, tool, arguments)
}

/// Calls a tool with one file and returns its error, which must come soon and blame the input.
fn refused(tool: &str, file: String, mut arguments: Value) -> String {
    let field = if tool == "battery_dispatch" { "price_dataset" } else { "dataset" };
    arguments[field] = json!("file");
    let files = Files(BTreeMap::from([("file", file.into_bytes())]));
    let started = Instant::now();
    let error = with_files(&files, tool, &arguments).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20), "{tool} took {:?}", started.elapsed());
    assert_eq!(error.code(), "invalid_input", "{error}");
    error.to_string()
}

#[test]
fn a_schedule_of_a_hundred_thousand_steps_is_refused_and_not_tried() {
    let start: jiff::Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    let rows = (0..100_000).map(|i| {
        let at = start + jiff::SignedDuration::from_mins(5 * i);
        format!("{at},{}\n", if i % 2 == 0 { "0.10" } else { "-0.05" })
    });
    let file = std::iter::once("start,price_per_kwh\n".to_owned()).chain(rows).collect();
    let battery = json!({ "capacity_kwh": 10, "max_charge_kw": 5, "max_discharge_kw": 5 });
    let error = refused("battery_dispatch", file, battery);
    assert!(error.contains("100000 rows"), "{error}");
}

#[test]
fn the_longest_schedule_ends_in_time_even_where_every_step_needs_a_decision() {
    // Negative import prices with dearer export ask for two binaries in each of 288 steps.
    let prices: Vec<String> = (0..288).map(|i| format!("-0.{:02}", 1 + i * 37 % 90)).collect();
    let export: Vec<String> = (0..288).map(|i| format!("0.{:02}", 1 + i * 53 % 90)).collect();
    let load: Vec<f64> = (0..288).map(|i| f64::from(i * 29 % 80)).collect();
    let arguments = json!({
        "prices_per_kwh": prices, "export_prices_per_kwh": export, "load_kw": load,
        "interval_minutes": 15, "capacity_kwh": 100, "max_charge_kw": 50, "max_discharge_kw": 50,
        "demand_charge_per_kw": "10",
    });
    let started = Instant::now();
    match try_call("battery_dispatch", &arguments) {
        Ok(plan) => assert_eq!(plan["charge_kw"].as_array().unwrap().len(), 288),
        Err(error) => assert_eq!(error.code(), "unavailable"),
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn the_largest_car_park_is_planned_in_time() {
    let sessions: Vec<Value> = (0..50)
        .map(|i| {
            json!({ "session_id": format!("c{i}"), "energy_needed_kwh": 20 + i, "max_kw": 11 + i % 3 })
        })
        .collect();
    let prices: Vec<String> = (0..288).map(|i| format!("0.{:02}", 1 + i * 37 % 90)).collect();
    let arguments = json!({
        "sessions": sessions, "interval_minutes": 5, "interval_count": 288, "limit_kw": 90,
        "prices_per_kwh": prices,
    });
    let started = Instant::now();
    let plan = call("ev_charge_plan", &arguments);
    assert_eq!(plan["schedule"].as_array().unwrap().len(), 50);
    // 50 cars want 2,225 kWh; a day at 90 kW carries 2,160.
    assert!((plan["delivered_kwh"].as_f64().unwrap() - 2160.0).abs() < 1e-3);
    let huge: Vec<Value> = (0..50)
        .map(|i| json!({ "session_id": format!("h{i}"), "energy_needed_kwh": 1e10 / f64::from(i + 1), "max_kw": 1e7 / f64::from(i + 3) }))
        .collect();
    let arguments = json!({
        "sessions": huge, "interval_minutes": 7, "interval_count": 288, "limit_kw": 9_999_999.9,
        "prices_per_kwh": prices,
    });
    call("ev_charge_plan", &arguments);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_green_button_file_that_is_nested_deeply_is_refused() {
    let deep = "<feed>".repeat(100_000) + &"</feed>".repeat(100_000);
    let error = refused("interval_stats", deep, json!({}));
    assert!(error.contains("nested too deeply"), "{error}");
}

#[test]
fn entities_are_never_expanded() {
    let mut laughs = String::from("<!DOCTYPE feed [<!ENTITY a0 \"ha\">");
    for i in 1..40 {
        let before = format!("&a{};", i - 1);
        laughs += &format!("<!ENTITY a{i} \"{}\">", before.repeat(10));
    }
    let reading = "<ReadingType><uom>72</uom></ReadingType><IntervalReading><timePeriod>\
        <duration>900</duration><start>0</start></timePeriod><value>250</value></IntervalReading>";
    laughs += &format!("]><feed><title>&a39;</title>{reading}</feed>");
    let error = refused("interval_stats", laughs, json!({}));
    assert!(error.contains("document types"), "{error}");
    let foreign = format!(
        "<!DOCTYPE feed [<!ENTITY x SYSTEM \"file:///etc/hostname\">]><feed>{reading}</feed>"
    );
    let factor = json!({
        "grid_factor_kg_per_kwh": 0.4, "factor_source": "user", "factor_year": 2025,
    });
    let error = refused("carbon_scope2", foreign, factor);
    assert!(error.contains("document types"), "{error}");
    // Without a document type an entity that nobody declared stands for nothing.
    let plain = format!("<feed><title>&a39;</title>{reading}</feed>");
    let files = Files(BTreeMap::from([("file", plain.into_bytes())]));
    let result = with_files(&files, "interval_stats", &json!({ "dataset": "file" })).unwrap();
    assert!((result["energy_kwh"].as_f64().unwrap() - 0.25).abs() < 1e-9);
}

#[test]
fn an_event_that_is_nested_deeply_is_refused() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let error = refused("openadr_event_parse", deep, json!({}));
    assert!(error.contains("recursion limit"), "{error}");
    let wide = format!("{{\"programID\":1,\"intervals\":[{}0]}}", "0,".repeat(1_000_000));
    let error = refused("openadr_event_parse", wide, json!({}));
    assert!(error.contains("1 to 288 intervals"), "{error}");
}

#[test]
fn an_interruption_of_negative_length_is_refused() {
    let file = "started_at,feeder_id,customers,minutes\n2025-03-01T10:00:00Z,A,50,-30\n";
    let served = json!({ "customers_served": 1000 });
    let error = refused("reliability_indices", file.to_owned(), served);
    assert!(error.contains("above 0"), "{error}");
}

#[test]
fn values_beyond_all_measure_are_refused_with_a_reason() {
    let huge = json!({ "readings_kwh": [1e308, 1e308], "interval_minutes": 0.001 });
    assert_eq!(try_call("interval_stats", &huge).unwrap_err().code(), "invalid_input");
    let values: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 1e300 } else { 1.0 }).collect();
    let forecast = json!({ "values_kw": values, "season_intervals": 4, "horizon_intervals": 4 });
    assert_eq!(try_call("load_forecast", &forecast).unwrap_err().code(), "invalid_input");
    let huge =
        json!({ "values_kw": vec![1e300; 40], "season_intervals": 4, "horizon_intervals": 4 });
    assert_eq!(try_call("load_forecast", &huge).unwrap_err().code(), "invalid_input");
    let line =
        json!({ "label": "a", "energy_kwh": 1e10, "rate_per_kwh": "999999999999999.999999" });
    let bill = json!({ "energy_lines": vec![line; 24], "tax_pct": 100 });
    assert_eq!(try_call("tariff_bill", &bill).unwrap_err().code(), "invalid_input");
    let dear = json!({
        "prices_per_kwh": ["1", "999999999999999"], "capacity_kwh": 1e6,
        "max_charge_kw": 1e6, "max_discharge_kw": 1e6,
    });
    assert_eq!(try_call("battery_dispatch", &dear).unwrap_err().code(), "invalid_input");
}
