//! The tools of the automotive pack find what the demo data plant.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agents::demo::{self, Demo, SEED};
use agents::port::DatasetSource;
use agents::tool::{Table, ToolError, Window};
use serde_json::{Value, json};

/// The generated datasets; those that a tool looks for by a fixed name are found under it too.
struct Generated(BTreeMap<String, Arc<[u8]>>);

impl DatasetSource for Generated {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        Ok(Table::from_csv(&self.file(id)?, id)?.within(window))
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        let found = self.0.get(id).or_else(|| self.0.get(&format!("demo_{id}")));
        found.cloned().ok_or_else(|| ToolError::no_data(format!("no dataset `{id}`")))
    }
}

fn generated(demo: &Demo) -> Generated {
    let files = demo.datasets.iter();
    Generated(files.map(|set| (set.id.clone(), Arc::from(set.bytes.as_slice()))).collect())
}

fn automotive() -> Demo {
    demo::generate("automotive", SEED).unwrap()
}

fn call(source: &Generated, tool: &str, arguments: &Value) -> Value {
    common::call("automotive", source, tool, arguments).unwrap()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn share(part: usize, of: usize) -> f64 {
    part as f64 / of as f64
}

#[test]
fn the_law_that_is_fitted_is_near_the_true_one() {
    let demo = automotive();
    let source = generated(&demo);
    for (id, age, horizon) in [
        ("demo_automotive_pump_lives", 90_000.0, 15_000.0),
        ("demo_automotive_starter_battery_lives", 1200.0, 180.0),
    ] {
        let truth = &demo.truth[id];
        let (shape, scale) = (truth["shape"].as_f64().unwrap(), truth["scale"].as_f64().unwrap());
        let fitted = call(
            &source,
            "replace_decision",
            &json!({
                "dataset": id, "life_unit": truth["unit"], "age": age, "horizon": horizon,
            }),
        );
        assert_eq!(fitted["failures"], truth["failures"], "{id}");
        assert_eq!(fitted["censored"], truth["censored"], "{id}");
        let (k, eta) = (fitted["shape"].as_f64().unwrap(), fitted["scale"].as_f64().unwrap());
        assert!((k / shape - 1.0).abs() < 0.10, "{id}: shape {k} instead of {shape}");
        assert!((eta / scale - 1.0).abs() < 0.05, "{id}: scale {eta} instead of {scale}");
        let hazard = |t: f64| (t / scale).powf(shape);
        let p = 1.0 - (hazard(age) - hazard(age + horizon)).exp();
        let found = fitted["p_fail"].as_f64().unwrap();
        assert!((found - p).abs() < 0.02, "{id}: {found} instead of {p}");
        assert!(truth["censored"].as_u64().unwrap() > 50, "{id}: too few parts still run");
    }
}

/// Rules hit by claim, of the whole table: by quarter, because one call ranks at most 200.
fn rules_hit(source: &Generated) -> BTreeMap<String, BTreeSet<String>> {
    let mut hit = BTreeMap::new();
    for year in 2021..=2026 {
        for (from, to) in
            [("01-01", "04-01"), ("04-01", "07-01"), ("07-01", "10-01"), ("10-01", "12-31")]
        {
            let arguments = json!({
                "dataset": "demo_automotive_claims", "top": 200,
                "start": format!("{year}-{from}T00:00:00Z"), "end": format!("{year}-{to}T23:59:59Z"),
            });
            // A quarter without a claim has no data.
            let result = common::call("automotive", source, "warranty_check", &arguments);
            let Ok(result) = result else { continue };
            for claim in result["ranked"].as_array().unwrap() {
                let id = claim["claim_id"].as_str().unwrap().to_owned();
                hit.insert(id, names(&claim["rules_hit"]));
            }
        }
    }
    hit
}

#[test]
fn planted_claims_are_found_and_few_sound_ones_are() {
    let demo = automotive();
    let hit = rules_hit(&generated(&demo));
    let truth = demo.truth["demo_automotive_claims"].as_object().unwrap();
    let mut planted_all = BTreeSet::new();
    for (rule, ids) in truth {
        let planted = names(ids);
        let found: BTreeSet<String> = hit
            .iter()
            .filter(|(_, rules)| rules.contains(rule))
            .map(|(id, _)| id.clone())
            .collect();
        let right = found.intersection(&planted).count();
        let (recall, precision) = (share(right, planted.len()), share(right, found.len()));
        assert!(planted.len() >= 30 && recall >= 0.95, "{rule}: recall {recall}");
        assert!(precision >= 0.90, "{rule}: precision {precision}");
        planted_all.extend(planted);
    }
    let found: BTreeSet<String> = hit.keys().cloned().collect();
    let right = found.intersection(&planted_all).count();
    assert!(share(right, planted_all.len()) >= 0.95, "recall of {} claims", planted_all.len());
    assert!(share(right, found.len()) >= 0.90, "precision of {} claims", found.len());
    // The data are not made so that rules cannot fail: some faults no record shows.
    assert!(right < planted_all.len() && right < found.len());
}

#[test]
fn a_log_decodes_to_the_values_that_were_encoded() {
    let demo = automotive();
    let result = call(
        &generated(&demo),
        "can_decode",
        &json!({
            "dbc": "demo_automotive_can.dbc", "dataset": "demo_automotive_can_log",
        }),
    );
    let truth = &demo.truth["demo_automotive_can_log"];
    assert_eq!(result["undecoded_frames"], truth["unknown_frames"]);
    for row in result["summary"].as_array().unwrap() {
        let Some(expected) = truth.get(row["signal"].as_str().unwrap()) else { continue };
        assert_eq!(row["count"], expected["count"]);
        for name in ["min", "max", "mean", "last"] {
            let (found, wanted) = (row[name].as_f64().unwrap(), expected[name].as_f64().unwrap());
            assert!((found - wanted).abs() < 1e-6, "{} {name}: {found}", row["signal"]);
        }
    }
    assert_eq!(result["summary"].as_array().unwrap().len(), 4);
}

#[test]
fn jobs_that_no_bay_can_take_are_told_apart_from_the_rest() {
    let demo = automotive();
    let result = call(
        &generated(&demo),
        "service_schedule",
        &json!({
            "dataset": "demo_automotive_jobs", "bays_dataset": "demo_automotive_bays",
        }),
    );
    let truth = &demo.truth["demo_automotive_jobs"];
    assert_eq!(result["plan"].as_array().unwrap().len() as u64, truth["placed"].as_u64().unwrap());
    let left = result["unscheduled"].as_array().unwrap();
    for reason in ["no_bay_with_skill", "window_too_short"] {
        let jobs = left.iter().filter(|job| job["reason"] == reason);
        let jobs = jobs.map(|job| job["vehicle_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names(&truth[reason]), jobs, "{reason}");
    }
    assert_eq!(left.len(), 3);
}

#[test]
fn every_vehicle_has_just_the_campaigns_that_name_it() {
    let demo = automotive();
    let source = generated(&demo);
    let fleet = source.table("demo_automotive_vehicles", &Window::default()).unwrap();
    let (id, vin) = (fleet.column("vehicle_id").unwrap(), fleet.column("vin").unwrap());
    let truth = demo.truth["demo_automotive_recalls"].as_object().unwrap();
    let mut open = 0;
    for row in &fleet.rows {
        let by_id = call(&source, "recall_lookup", &json!({ "vehicle_id": row[id] }));
        let by_vin = call(&source, "recall_lookup", &json!({ "vin": row[vin] }));
        assert_eq!(by_id, by_vin, "{}", row[id]);
        let found: BTreeSet<String> = by_id["recalls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|recall| recall["campaign_number"].as_str().unwrap().to_owned())
            .collect();
        let named = |campaign: &Value| names(&campaign["vins"]).contains(&row[vin]);
        let expected: BTreeSet<String> =
            truth.iter().filter(|(_, c)| named(c)).map(|(number, _)| number.clone()).collect();
        assert_eq!(found, expected, "{}", row[id]);
        let left = truth.values().filter(|c| names(&c["open"]).contains(&row[id]));
        let (count, stop) =
            left.fold((0, false), |(n, stop), c| (n + 1, stop || c["do_not_drive"] == true));
        assert_eq!(by_id["open_count"].as_u64().unwrap(), count, "{}", row[id]);
        assert_eq!(by_id["do_not_drive"].as_bool().unwrap(), stop, "{}", row[id]);
        open += count;
        let decoded = call(&source, "vin_decode", &json!({ "vin": row[vin] }));
        assert_eq!(decoded["verdict"], "valid", "{}", row[vin]);
    }
    assert!(open > 10);
}
