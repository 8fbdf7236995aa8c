//! Laws that every result of the energy tools obeys, whatever the arguments.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use agents::pack::{FixtureSource, MemoryEffects, Pack, shipped};
use agents::tool::{Limits, ToolContext};
use proptest::prelude::*;
use serde_json::{Value, json};

fn energy() -> &'static Pack {
    shipped().unwrap().iter().find(|pack| pack.manifest.id == "energy").unwrap()
}

fn call(tool: &str, arguments: &Value) -> Value {
    let pack = energy();
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
}
