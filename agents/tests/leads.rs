//! A planner with classifiers of a request's values and choices: they bound what its decoder writes, and
//! what the decoder leaves out is taken from the request before anybody is asked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::sync::{Arc, Mutex};

use agents::pack::shipped;
use agents::plan::{Decision, Plan, PlanError, Planner, Planning, Words};
use agents::run::Settings;
use runtime::{Places, Prompt};
use serde_json::{Value, json};

/// Says what it is told to, and keeps the schema that it was given.
struct Told {
    tool: &'static str,
    places: Vec<(usize, Vec<(&'static str, f32)>)>,
    choices: Vec<(&'static str, f32)>,
    says: Value,
    schema: Mutex<Value>,
}

impl Planner for Told {
    fn complete(&self, _: &Prompt, schema: &Value) -> Result<Words, PlanError> {
        *self.schema.lock().unwrap() = schema["anyOf"][0]["properties"]["with"].clone();
        let text = json!({ "step": self.tool, "with": self.says }).to_string();
        Ok(Words { text, confidence: 0.9, prompt_tokens: 1, decoded_tokens: 1, ..Words::default() })
    }

    fn version(&self) -> &str {
        "told"
    }

    fn intents(&self, _: &str, _: &str) -> Vec<(&str, f32)> {
        vec![(self.tool, 0.99), ("none", 0.0)]
    }

    fn places(&self, _: &str, call: &str, _: &str) -> Option<Vec<Places<'_>>> {
        (call == self.tool).then(|| self.places.clone())
    }

    fn choices(&self, _: &str, call: &str, _: &str) -> Option<Vec<(&str, f32)>> {
        (call == self.tool).then(|| self.choices.clone())
    }

    fn chains(&self) -> bool {
        false
    }
}

/// Plans over the energy pack; returns the plan and the schema of the arguments that was open.
fn plan(told: Told, request: &str) -> (Plan, Value) {
    let pack = shipped().unwrap().iter().find(|pack| pack.manifest.id == "energy").unwrap();
    let told = Arc::new(told);
    let planning = Planning::new(Arc::clone(pack), Arc::clone(&told) as Arc<dyn Planner>).unwrap();
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    let plan = planning.plan("run-1", request, &Settings::default(), now).unwrap();
    let schema = told.schema.lock().unwrap().clone();
    (plan, schema)
}

fn told(tool: &'static str, places: &[(usize, &[(&'static str, f32)])]) -> Told {
    let places = places.iter().map(|(id, of)| (*id, of.to_vec())).collect();
    Told { tool, places, choices: Vec::new(), says: json!({}), schema: Mutex::default() }
}

#[test]
fn a_value_that_surely_belongs_somewhere_must_stand_there_and_nowhere_else() {
    let planner = told(
        "battery_dispatch",
        &[
            (1, &[("/capacity_kwh", 0.95), ("/max_charge_kw", 0.0)]),
            (2, &[("/max_charge_kw", 0.9), ("/max_discharge_kw", 0.3), ("/capacity_kwh", 0.0)]),
        ],
    );
    let (_, schema) = plan(planner, "battery of 200 kWh, 50 kW each way");
    let open = &schema["properties"];
    assert_eq!(open["capacity_kwh"]["enum"], json!(["$1"]));
    assert_eq!(open["max_charge_kw"]["enum"], json!(["$2"]));
    assert_eq!(open["max_discharge_kw"]["enum"], json!(["$2"]));
    assert_eq!(schema["required"], json!(["capacity_kwh", "max_charge_kw"]));
}

#[test]
fn what_is_told_row_by_row_is_written_row_by_row() {
    let (customers, minutes) = (
        [("/interruptions/*/customers", 0.9)].as_slice(),
        [("/interruptions/*/minutes", 0.9)].as_slice(),
    );
    let planner = told(
        "reliability_indices",
        &[
            (1, &[("/customers_served", 0.95)]),
            (2, customers),
            (3, minutes),
            (4, customers),
            (5, minutes),
        ],
    );
    let request = "5000 meters; 200 out for 45 min, 100 for 30 min";
    let (_, schema) = plan(planner, request);
    let rows = &schema["properties"]["interruptions"];
    assert_eq!((&rows["minItems"], &rows["maxItems"]), (&json!(2), &json!(2)));
    assert_eq!(rows["prefixItems"][1]["properties"]["customers"]["const"], "$4");
    assert_eq!(rows["prefixItems"][1]["properties"]["minutes"]["const"], "$5");
}

#[test]
fn the_only_value_that_can_fill_what_is_missing_fills_it_before_anybody_is_asked() {
    let of = |p: f32| vec![("/dataset", p), ("/interval_minutes", 0.0)];
    let planner = Told { places: vec![(1, of(0.3))], ..told("interval_stats", &[]) };
    let (left_out, _) = plan(planner, "kWh in green_button_5days?");
    let Decision::Call { calls } = &left_out.decision else { panic!("{:?}", left_out.decision) };
    assert_eq!(calls[0].arguments["dataset"], "green_button_5days");
    assert!(calls[0].origins.iter().any(|origin| origin.pointer() == "/dataset"));

    let planner = Told { places: vec![(1, of(0.3)), (2, of(0.3))], ..told("interval_stats", &[]) };
    let (two, _) = plan(planner, "kWh in green_button_5days or in green_button_day?");
    assert!(matches!(two.decision, Decision::Ask { .. }), "which of the two? {:?}", two.decision);
}

#[test]
fn a_doubtful_value_with_which_the_schema_refuses_the_call_is_left_out() {
    let says = json!({"dataset": "$1", "interval_minutes": "$2"});
    let planner = |p: f32| Told {
        says: says.clone(),
        ..told("interval_stats", &[(1, &[("/dataset", 0.9)]), (2, &[("/interval_minutes", p)])])
    };
    let request = "the strongest of green_button_5days in 15 minutes";
    let (doubtful, _) = plan(planner(0.4), request);
    let Decision::Call { calls } = &doubtful.decision else { panic!("{:?}", doubtful.decision) };
    assert_eq!(calls[0].arguments["dataset"], "green_button_5days");
    assert_eq!(calls[0].arguments["interval_minutes"], Value::Null);
    let (sure, _) = plan(planner(0.9), request);
    assert!(matches!(sure.decision, Decision::Invalid { .. }), "{:?}", sure.decision);
}

#[test]
fn a_choice_is_the_requests_and_an_act_never_guesses_one() {
    let places: &[(usize, &[(&str, f32)])] = &[(1, &[("/event_id", 0.9)])];
    let with = |choices: &[(&'static str, f32)]| Told {
        choices: choices.to_vec(),
        ..told("dr_respond", places)
    };
    let request = "we take part in e7, only a preview";
    let said = [("/response=opt_in", 0.9), ("/response=opt_out", 0.02), ("/dry_run=true", 0.95)];
    let (_, schema) = plan(with(&said), request);
    assert_eq!(schema["properties"]["response"]["enum"], json!(["opt_in"]));
    assert_eq!(schema["properties"]["dry_run"]["enum"], json!([true]));
    assert!(schema["required"].as_array().unwrap().contains(&json!("dry_run")));
    let (_, schema) =
        plan(with(&[("/response=opt_in", 0.03), ("/response=opt_out", 0.02)]), request);
    assert_eq!(schema["properties"]["response"], Value::Null, "nothing says yes or no");
}
