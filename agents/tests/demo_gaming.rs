//! The gaming tools find in the demo's data what was planted there.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;

use std::collections::BTreeSet;

use agents::demo::{SEED, generate};
use agents::pack::FixtureSource;
use agents::port::DatasetSource as _;
use serde_json::{Value, json};

/// The generated datasets as a tenant would have uploaded them.
struct Studio {
    files: FixtureSource,
    truth: Value,
}

impl Studio {
    fn of(seed: u64) -> Self {
        let demo = generate("gaming", seed).unwrap();
        Self { files: demo.source(), truth: demo.truth }
    }

    fn call(&self, tool: &str, arguments: &Value) -> Value {
        common::call("gaming", &self.files, tool, arguments).unwrap()
    }

    fn names(&self, pointer: &str) -> BTreeSet<String> {
        let list = self.truth.pointer(pointer).and_then(Value::as_array).unwrap();
        list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap()
}

fn found(result: &Value, field: &str) -> BTreeSet<String> {
    let hits = result["flagged"].as_array().unwrap();
    let names = hits.iter().flat_map(|hit| match &hit[field] {
        Value::Array(names) => names.clone(),
        one => vec![one.clone()],
    });
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Returns recall and precision of what was found against what is true.
fn rates(found: &BTreeSet<String>, truth: &BTreeSet<String>) -> (f64, f64) {
    let hits = found.intersection(truth).count() as f64;
    (hits / truth.len() as f64, hits / found.len().max(1) as f64)
}

fn contains(result: &Value, effect: f64) -> bool {
    number(result, "/ci_low") <= effect && effect <= number(result, "/ci_high")
}

#[test]
fn the_interval_of_the_test_contains_the_true_effect() {
    let studio = Studio::of(SEED);
    let shares =
        studio.call("ab_test", &json!({"metric_type": "proportion", "dataset": "demo_ab_return"}));
    assert!(contains(&shares, number(&studio.truth, "/demo_ab_return/effect_points")), "{shares}");
    assert_eq!(shares["significant"], json!(true));
    assert_eq!(shares["srm_detected"], json!(false));
    let spend = studio.call("ab_test", &json!({"metric_type": "mean", "dataset": "demo_ab_spend"}));
    assert!(contains(&spend, number(&studio.truth, "/demo_ab_spend/effect")), "{spend}");
    assert_eq!(spend["significant"], json!(true));
}

#[test]
fn nineteen_of_twenty_intervals_contain_the_true_effect() {
    let inside = (0..16_u64)
        .filter(|seed| {
            let studio = Studio::of(*seed);
            let arguments = json!({"metric_type": "proportion", "dataset": "demo_ab_return"});
            let result = studio.call("ab_test", &arguments);
            contains(&result, number(&studio.truth, "/demo_ab_return/effect_points"))
        })
        .count();
    // Of 16 draws with a chance of 0.95, fewer than 13 come once in 140 times.
    assert!(inside >= 13, "only {inside} of 16 intervals hold the true effect");
}

#[test]
fn a_test_that_lost_players_gets_no_verdict() {
    let studio = Studio::of(SEED);
    let result =
        studio.call("ab_test", &json!({"metric_type": "proportion", "dataset": "demo_ab_broken"}));
    assert_eq!(result["srm_detected"], json!(true));
    assert_eq!(result["significant"], Value::Null);
}

#[test]
fn retention_is_counted_exactly_and_the_worst_country_is_named() {
    let studio = Studio::of(SEED);
    let result = studio.call(
        "cohort_retention",
        &json!({
            "dataset": "demo_events", "cohort_date": "2026-10-01", "days": [1, 7, 30],
            "compare_cohort_date": "2026-09-01", "group_by": "country",
            "as_of": "2026-11-15T00:00:00Z",
        }),
    );
    assert_eq!(result["largest_fall_group"], studio.truth["demo_events"]["worst_country"]);
    let cohorts = studio.truth["demo_events"]["cohorts"].as_array().unwrap();
    assert_eq!(result["cohorts"].as_array().unwrap().len(), cohorts.len());
    for cohort in cohorts {
        let told = result["cohorts"].as_array().unwrap().iter().find(|row| {
            row["group"] == cohort["country"] && row["cohort_date"] == cohort["cohort_date"]
        });
        let told = told.unwrap();
        assert_eq!(told["cohort_size"], cohort["installs"]);
        for i in 0..3 {
            assert_eq!(told["retained"][i]["players"], cohort["active"][i], "{cohort}");
            let (seen, planted) = (
                number(told, &format!("/retained/{i}/retention_pct")),
                number(cohort, &format!("/planted_pct/{i}")),
            );
            // Four standard errors of 900 players.
            let error = (planted * (100.0 - planted) / number(cohort, "/installs")).sqrt();
            assert!((seen - planted).abs() < 4.0 * error, "{seen} against {planted}");
        }
    }
}

#[test]
fn the_update_that_broke_the_economy_is_seen_and_the_sound_currency_is_left_alone() {
    let studio = Studio::of(SEED);
    for currency in ["gold", "gems"] {
        let truth = &studio.truth["demo_flows"][currency];
        let result = studio.call(
            "economy_balance",
            &json!({
                "virtual_currency": currency, "dataset": "demo_flows",
                "change_date": studio.truth["demo_flows"]["change_date"],
            }),
        );
        assert_eq!(result["verdict"], truth["verdict"], "{currency}");
        for side in ["before", "after"] {
            let seen = number(&result, &format!("/{side}/source_sink_ratio"));
            let planted = number(truth, &format!("/ratio_{side}"));
            assert!((seen / planted - 1.0).abs() < 0.05, "{currency} {side}: {seen}");
        }
        assert_eq!(result["warnings"], json!([]));
    }
}

#[test]
fn the_fraud_ring_is_found_with_few_honest_people_among_it() {
    let studio = Studio::of(SEED);
    let ring = studio.names("/demo_payments/ring");
    let mut suspects = BTreeSet::new();
    for ruleset in ["card_testing", "device_fan_out"] {
        let arguments = json!({"ruleset": ruleset, "dataset": "demo_payments"});
        let hits = found(&studio.call("fraud_screen", &arguments), "player_ids");
        let (recall, precision) = rates(&hits, &ring);
        assert!(recall >= 0.90 && precision >= 0.85, "{ruleset}: {recall}, {precision}");
        suspects.extend(hits);
    }
    let (recall, precision) = rates(&suspects, &ring);
    assert!(recall >= 0.95, "recall {recall}");
    assert!(precision >= 0.90, "precision {precision}");
    assert!(recall < 1.0, "those who work alone cannot be seen by counting");
}

#[test]
fn players_who_live_on_refunds_are_found() {
    let studio = Studio::of(SEED);
    let arguments = json!({"ruleset": "refund_abuse", "dataset": "demo_payments"});
    let suspects = found(&studio.call("fraud_screen", &arguments), "entity_id");
    let (recall, precision) = rates(&suspects, &studio.names("/demo_payments/refund_abusers"));
    assert!(recall >= 0.95 && precision >= 0.90, "recall {recall}, precision {precision}");
}

#[test]
fn undelivered_orders_can_be_made_good_and_delivered_ones_cannot_be_read_as_missing() {
    let studio = Studio::of(SEED);
    let lost = studio.names("/demo_orders/undelivered");
    assert!(!lost.is_empty());
    for order in &lost {
        let result = studio.call("player_lookup", &json!({"order_id": order, "limit": 50}));
        let orders = result["orders"].as_array().unwrap();
        let read = orders.iter().find(|read| read["order_id"] == json!(order)).unwrap();
        assert_eq!((&read["payment_status"], &read["delivered"]), (&json!("paid"), &json!(false)));
    }
    for (player, spent) in studio.truth["demo_orders"]["lifetime_spend"].as_object().unwrap() {
        let result = studio.call("player_lookup", &json!({"player_id": player, "limit": 50}));
        assert_eq!(&result["lifetime_spend"], spent, "player {player}");
        let paid = result["orders"].as_array().unwrap().iter();
        let missing: BTreeSet<String> = paid
            .filter(|order| order["payment_status"] == "paid" && order["delivered"] == false)
            .map(|order| order["order_id"].as_str().unwrap().to_owned())
            .collect();
        assert!(missing.is_subset(&lost), "player {player}: {missing:?}");
    }
}

#[test]
fn a_period_of_games_brings_ratings_nearer_to_the_true_skill() {
    let studio = Studio::of(SEED);
    let players = studio.truth["demo_matches"]["players"].as_object().unwrap();
    let (mut inside, mut before, mut after) = (0, 0.0, 0.0);
    for (player, truth) in players {
        let arguments = json!({
            "system": "glicko2", "rating": truth["rating_before"],
            "deviation": studio.truth["demo_matches"]["deviation_before"],
            "dataset": "demo_matches", "player_id": player,
        });
        let result = studio.call("rating_update", &arguments);
        let skill = number(truth, "/skill");
        let off = (number(&result, "/rating") - skill).abs();
        inside += usize::from(off <= 2.0 * number(&result, "/deviation"));
        before += (number(truth, "/rating_before") - skill).powi(2);
        after += off.powi(2);
    }
    let all = players.len();
    assert!(inside * 100 >= all * 90, "{inside} of {all} lie within two deviations");
    assert!(after < 0.8 * before, "squared error {before} before, {after} after");
}

#[test]
fn the_fair_split_of_the_queue_is_found() {
    let studio = Studio::of(SEED);
    let result = studio.call("match_balance", &json!({"system": "elo", "dataset": "demo_queue"}));
    assert_eq!(number(&result, "/rating_difference"), 0.0);
    assert_eq!(number(&result, "/team_a_win_probability_pct"), 50.0);
}

#[test]
fn the_planted_truth_is_not_the_same_for_another_seed() {
    let payments = |seed| Studio::of(seed).files.file("demo_payments").unwrap();
    assert_ne!(payments(1), payments(2));
}
