//! Laws that every result of the gaming tools obeys, whatever the arguments.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::sync::Arc;

use agents::answer::Answers;
use agents::eval::{Case, cases};
use agents::pack::{FixtureSource, MemoryEffects, Pack, shipped};
use agents::port::DatasetSource;
use agents::tool::{Approval, Limits, Table, ToolContext, ToolError, Window, arguments_sha256};
use proptest::prelude::*;
use serde_json::{Value, json};

fn gaming() -> &'static Pack {
    shipped().unwrap().iter().find(|pack| pack.manifest.id == "gaming").unwrap()
}

fn attempt(
    tool: &str,
    arguments: &Value,
    effects: &MemoryEffects,
    approval: Option<&Approval>,
) -> Result<Value, ToolError> {
    let pack = gaming();
    let datasets = FixtureSource::of(pack).unwrap();
    let limits = Limits::default();
    let context = ToolContext {
        datasets: &datasets,
        effects,
        systems: &agents::port::NoSystems,
        now: "2026-11-24T00:00:00Z".parse().unwrap(),
        approval,
        limits: &limits,
    };
    pack.call(tool, arguments, &context)
}

fn call(tool: &str, arguments: &Value) -> Value {
    attempt(tool, arguments, &MemoryEffects::default(), None).unwrap()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap()
}

/// A system with a rating and a deviation on its own scale.
fn rated() -> impl Strategy<Value = (&'static str, f64, f64)> {
    prop_oneof![
        (Just("elo"), 100.0..3000.0, 30.0..350.0),
        (Just("glicko2"), 100.0..3000.0, 30.0..350.0),
        (Just("openskill"), 0.0..50.0, 0.5..10.0),
    ]
}

fn update(system: &str, rating: f64, deviation: f64, opponent: f64, score: f64) -> Value {
    let game =
        json!({"opponent_rating": opponent, "opponent_deviation": deviation, "score": score});
    call(
        "rating_update",
        &json!({"system": system, "rating": rating, "deviation": deviation, "results": [game]}),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_win_never_lowers_a_rating_and_a_loss_never_raises_it(
        (system, rating, deviation) in rated(),
        gap in -1.0_f64..1.0,
    ) {
        let opponent = rating + gap * deviation * 3.0;
        let won = number(&update(system, rating, deviation, opponent, 1.0), "/rating_change");
        let drawn = number(&update(system, rating, deviation, opponent, 0.5), "/rating_change");
        let lost = number(&update(system, rating, deviation, opponent, 0.0), "/rating_change");
        prop_assert!(won >= 0.0 && lost <= 0.0, "won {won}, lost {lost}");
        prop_assert!(lost <= drawn && drawn <= won, "lost {lost}, drawn {drawn}, won {won}");
    }

    #[test]
    fn what_one_side_of_an_elo_game_gains_the_other_loses(a in 100.0_f64..3000.0, b in 100.0_f64..3000.0) {
        let gain = number(&update("elo", a, 30.0, b, 1.0), "/rating_change");
        let loss = number(&update("elo", b, 30.0, a, 0.0), "/rating_change");
        prop_assert!((gain + loss).abs() < 1e-6, "{gain} and {loss}");
    }

    #[test]
    fn one_glicko_game_tells_more_about_a_player_than_none(
        rating in 800.0_f64..2400.0, deviation in 100.0_f64..350.0, gap in -200.0_f64..200.0,
    ) {
        let after = update("glicko2", rating, deviation, rating + gap, 1.0);
        prop_assert!(number(&after, "/deviation") < deviation);
        prop_assert!(number(&after, "/volatility") > 0.0);
    }

    #[test]
    fn extreme_ratings_give_a_number_or_a_typed_error(
        system in prop_oneof![Just("elo"), Just("glicko2"), Just("openskill")],
        rating in -10_000.0_f64..10_000.0, opponent in -10_000.0_f64..10_000.0,
        deviation in 0.001_f64..1000.0, volatility in 1e-9_f64..0.999, score in 0_u8..2,
    ) {
        let game = json!({"opponent_rating": opponent, "opponent_deviation": deviation, "score": score});
        let arguments = json!({
            "system": system, "rating": rating, "deviation": deviation,
            "volatility": volatility, "results": [game],
        });
        match attempt("rating_update", &arguments, &MemoryEffects::default(), None) {
            Ok(result) => prop_assert!(number(&result, "/rating").is_finite()),
            Err(error) => prop_assert_eq!(error.code(), "invalid_input"),
        }
    }

    #[test]
    fn the_higher_rated_side_is_expected_to_score_more_and_both_scores_sum_to_one(
        (system, rating, deviation) in rated(), gap in 0.001_f64..2.0,
    ) {
        let lower = rating - gap * deviation;
        let result = call("rating_predict", &json!({
            "system": system, "a_rating": rating, "a_deviation": deviation,
            "b_rating": lower, "b_deviation": deviation,
        }));
        let a = number(&result, "/a_win_probability_pct");
        let b = number(&result, "/b_win_probability_pct");
        prop_assert!(a >= b, "{a} and {b}");
        prop_assert!((a + b - 100.0).abs() < 1e-6);
    }

    #[test]
    fn a_split_uses_everyone_once_and_its_sums_add_up(
        system in prop_oneof![Just("elo"), Just("glicko2"), Just("openskill")],
        ratings in prop::collection::vec(0.0_f64..3000.0, 1..=6),
        more in prop::collection::vec(0.0_f64..3000.0, 6),
    ) {
        let half = ratings.len();
        let all: Vec<f64> = ratings.iter().chain(&more[..half]).copied().collect();
        let players: Vec<Value> = all
            .iter()
            .enumerate()
            .map(|(i, rating)| json!({"player_id": format!("p{i}"), "rating": rating, "deviation": 60}))
            .collect();
        let result = call("match_balance", &json!({"system": system, "players": players}));
        let teams = result["teams"].as_array().unwrap();
        let mut seen: Vec<&str> = Vec::new();
        for team in teams {
            let ids = team["player_ids"].as_array().unwrap();
            prop_assert_eq!(ids.len(), half);
            let sum: f64 = ids
                .iter()
                .map(|id| all[id.as_str().unwrap()[1..].parse::<usize>().unwrap()])
                .sum();
            prop_assert!((sum - number(team, "/rating_sum")).abs() < 1e-6);
            seen.extend(ids.iter().map(|id| id.as_str().unwrap()));
        }
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), all.len());
        prop_assert_eq!(&teams[0]["player_ids"][0], "p0");
        let gap = (number(&teams[0], "/rating_sum") - number(&teams[1], "/rating_sum")).abs();
        prop_assert!((gap - number(&result, "/rating_difference")).abs() < 1e-6);
        // Nobody can be exchanged for someone of the other team with a smaller difference.
        let signed = number(&teams[0], "/rating_sum") - number(&teams[1], "/rating_sum");
        let of = |id: &Value| all[id.as_str().unwrap()[1..].parse::<usize>().unwrap()];
        for a in teams[0]["player_ids"].as_array().unwrap() {
            for b in teams[1]["player_ids"].as_array().unwrap() {
                let swapped = (signed - 2.0 * (of(a) - of(b))).abs();
                prop_assert!(swapped >= gap - 1e-6, "swapping gives {swapped} instead of {gap}");
            }
        }
    }

    #[test]
    fn the_chance_of_a_draw_never_falls_with_more_pulls_and_ends_at_the_guarantee(
        base in 0.05_f64..30.0, hard in 2_u32..300, share in 5.0_f64..=100.0, guarantee: bool,
    ) {
        let within: Vec<u32> = (1..=12).map(|i| i * hard.div_ceil(6)).collect();
        let result = call("gacha_odds", &json!({
            "base_rate_pct": base, "hard_pity_pulls": hard, "featured_share_pct": share,
            "guarantee_after_loss": guarantee, "within_pulls": within,
        }));
        let chances: Vec<f64> = result["within"]
            .as_array().unwrap().iter().map(|row| number(row, "/probability_pct")).collect();
        prop_assert!(chances.iter().all(|chance| (0.0..=100.0).contains(chance)), "{chances:?}");
        prop_assert!(chances.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9), "{chances:?}");
        if guarantee {
            prop_assert!((chances[11] - 100.0).abs() < 1e-6, "two cycles suffice: {chances:?}");
        }
        prop_assert!(result["median_pulls"].as_u64() <= result["p90_pulls"].as_u64());
    }

    #[test]
    fn a_test_of_proportions_has_a_p_value_of_a_probability_and_an_interval_around_its_difference(
        n in (2_u64..40_000, 2_u64..40_000), hits in (0.0_f64..=1.0, 0.0_f64..=1.0),
        confidence in 50.0_f64..99.99,
    ) {
        let x = ((n.0 as f64 * hits.0) as u64, (n.1 as f64 * hits.1) as u64);
        prop_assume!(0 < x.0 + x.1 && x.0 + x.1 < n.0 + n.1);
        let ask = |confidence: f64| call("ab_test", &json!({
            "metric_type": "proportion", "confidence_pct": confidence,
            "control_n": n.0, "control_successes": x.0, "treatment_n": n.1, "treatment_successes": x.1,
        }));
        let (result, wider) = (ask(confidence), ask(99.99));
        prop_assert!((0.0..=1.0).contains(&number(&result, "/p_value")));
        prop_assert!((0.0..=1.0).contains(&number(&result, "/srm_p_value")));
        let (low, middle, high) =
            (number(&result, "/ci_low"), number(&result, "/difference"), number(&result, "/ci_high"));
        prop_assert!(low <= middle && middle <= high);
        prop_assert!(number(&wider, "/ci_low") <= low + 1e-7 && high <= number(&wider, "/ci_high") + 1e-7);
    }

    #[test]
    fn a_test_of_means_is_significant_exactly_when_its_interval_leaves_out_zero(
        n in (2_u64..200_000, 2_u64..200_000), mean in (-50.0_f64..50.0, -50.0_f64..50.0),
        sd in (0.1_f64..80.0, 0.1_f64..80.0), confidence in 50.0_f64..99.9,
    ) {
        let result = call("ab_test", &json!({
            "metric_type": "mean", "confidence_pct": confidence,
            "control_n": n.0, "control_mean": mean.0, "control_sd": sd.0,
            "treatment_n": n.1, "treatment_mean": mean.1, "treatment_sd": sd.1,
            "expected_treatment_share_pct": 100.0 * n.1 as f64 / (n.0 + n.1) as f64,
        }));
        let p = number(&result, "/p_value");
        prop_assert!((0.0..=1.0).contains(&p));
        let (low, high) = (number(&result, "/ci_low"), number(&result, "/ci_high"));
        // On the border rounding decides.
        prop_assume!((p - (1.0 - confidence / 100.0)).abs() > 1e-7 && low.abs().min(high.abs()) > 1e-6);
        prop_assert_eq!(&result["significant"], &json!(low > 0.0 || high < 0.0));
    }

    #[test]
    fn swapping_the_arms_turns_the_difference_around_and_keeps_the_p_value(
        n in 20_u64..5000, x in (1_u64..19, 1_u64..19),
    ) {
        let ask = |a: u64, b: u64| call("ab_test", &json!({
            "metric_type": "proportion", "control_n": n, "control_successes": a,
            "treatment_n": n, "treatment_successes": b,
        }));
        let (one, other) = (ask(x.0, x.1), ask(x.1, x.0));
        prop_assert!((number(&one, "/difference") + number(&other, "/difference")).abs() < 1e-7);
        prop_assert!((number(&one, "/p_value") - number(&other, "/p_value")).abs() < 1e-12);
    }

    #[test]
    fn retention_lies_between_nothing_and_everyone_and_rolling_is_never_below_classic(
        events in prop::collection::vec((0_u8..12, 0_i64..40 * 24), 1..120),
        days in prop::collection::btree_set(1_u16..40, 1..6),
    ) {
        let start: jiff::Timestamp = "2026-09-01T00:00:00Z".parse().unwrap();
        let rows: Vec<Value> = events
            .iter()
            .map(|(player, hour)| {
                let at = start + jiff::SignedDuration::from_hours(*hour);
                json!({"player_id": format!("p{player}"), "event_time": at.to_string()})
            })
            .collect();
        let first = events.iter().map(|(_, hour)| hour / 24).min().unwrap();
        let date = jiff::civil::date(2026, 9, 1) + jiff::ToSpan::days(first);
        let ask = |definition: &str| call("cohort_retention", &json!({
            "events": rows, "cohort_date": date.to_string(), "definition": definition,
            "days": days, "as_of": "2027-01-01T00:00:00Z",
        }));
        let (classic, rolling) = (ask("classic"), ask("rolling"));
        let size = classic["cohorts"][0]["cohort_size"].as_u64().unwrap();
        let mut last = size;
        for i in 0..days.len() {
            let at = |table: &Value, field: &str| {
                table.pointer(&format!("/cohorts/0/retained/{i}/{field}")).cloned().unwrap()
            };
            let (c, r) = (at(&classic, "players").as_u64().unwrap(), at(&rolling, "players").as_u64().unwrap());
            prop_assert!(c <= r && r <= size, "classic {c}, rolling {r}, of {size}");
            prop_assert!(r <= last, "rolling retention rose from {last} to {r}");
            last = r;
            let percent = at(&classic, "retention_pct").as_f64().unwrap();
            prop_assert!((0.0..=100.0).contains(&percent));
        }
    }

    #[test]
    fn a_gini_lies_between_zero_and_one_and_does_not_depend_on_the_unit(
        wallets in prop::collection::vec(0.0_f64..1e6, 2..60), scale in 0.01_f64..100.0,
    ) {
        let ask = |balances: &[f64]| call("economy_balance", &json!({
            "virtual_currency": "gold", "wallet_balances": balances,
        }));
        let scaled: Vec<f64> = wallets.iter().map(|x| x * scale).collect();
        let (one, other) = (number(&ask(&wallets), "/wallets/gini"), number(&ask(&scaled), "/wallets/gini"));
        prop_assert!((-1e-9..1.0).contains(&one), "{one}");
        prop_assert!((one - other).abs() < 1e-6, "{one} and {other}");
    }

    #[test]
    fn the_sides_of_an_update_add_up_to_the_whole(
        flows in prop::collection::vec((0.0_f64..1e6, 0.0_f64..1e6), 2..40), cut in 0.0_f64..1.0,
    ) {
        let day = |i: usize| (jiff::civil::date(2026, 9, 1) + jiff::ToSpan::days(i as i64)).to_string();
        let daily: Vec<Value> = flows
            .iter()
            .enumerate()
            .map(|(i, (source, sink))| json!({"date": day(i), "source_amount": source, "sink_amount": sink}))
            .collect();
        let cut = 1 + (cut * (flows.len() - 2) as f64) as usize;
        let result = call("economy_balance", &json!({
            "virtual_currency": "gold", "daily_flows": daily, "change_date": day(cut),
        }));
        for field in ["days", "source_amount", "sink_amount", "net_amount"] {
            let of = |side: &str| number(&result, &format!("/{side}/{field}"));
            prop_assert!((of("before") + of("after") - of("total")).abs() < 1e-4, "{field}");
        }
    }

    #[test]
    fn a_screen_flags_only_what_meets_its_rule_and_names_each_order_once(
        orders in prop::collection::vec((0_u8..3, 0_u8..5, 0_u8..5, 0_i64..600, 1_u32..400, 0_u8..3), 1..60),
        rule in prop_oneof![Just("card_testing"), Just("refund_abuse"), Just("device_fan_out")],
        minutes in 1_i64..600,
    ) {
        let start: jiff::Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let payments: Vec<Value> = orders
            .iter()
            .enumerate()
            .map(|(i, (device, player, card, minute, cents, status))| json!({
                "order_id": format!("o{i}"),
                "event_time": (start + jiff::SignedDuration::from_mins(*minute)).to_string(),
                "player_id": format!("p{player}"), "device_id": format!("d{device}"),
                "card_id": format!("c{card}"), "amount": format!("{}.{:02}", cents / 100, cents % 100),
                "currency": "USD", "status": (["captured", "failed", "refunded"][usize::from(*status)]),
            }))
            .collect();
        let result = call("fraud_screen", &json!({
            "ruleset": rule, "payments": payments, "window_minutes": minutes,
        }));
        for hit in result["flagged"].as_array().unwrap() {
            let ids: Vec<&str> = hit["order_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            let unique: std::collections::BTreeSet<&&str> = ids.iter().collect();
            prop_assert_eq!(unique.len(), ids.len());
            match rule {
                "card_testing" => prop_assert!(ids.len() >= 5 && hit["distinct_cards"].as_u64() >= Some(3)),
                "refund_abuse" => prop_assert!(hit["refunds"].as_u64() >= Some(3)),
                _ => prop_assert!(hit["player_ids"].as_array().unwrap().len() >= 3),
            }
        }
    }

    #[test]
    fn a_refund_happens_once_per_order_and_amount_and_never_takes_more_than_is_left(cents in 1_u32..1600) {
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let arguments = json!({
            "order_id": "ord-6001", "amount": amount, "currency": "USD", "reason": "goodwill",
        });
        let approval = Approval {
            approved_by: "lead".to_owned(),
            arguments_sha256: arguments_sha256(&arguments),
        };
        let effects = MemoryEffects::default();
        let first = attempt("refund_request", &arguments, &effects, Some(&approval));
        if cents > 1499 {
            prop_assert_eq!(first.unwrap_err().code(), "invalid_input");
            prop_assert_eq!(effects.count(), 0);
            return Ok(());
        }
        let first = first.unwrap();
        let again = attempt("refund_request", &arguments, &effects, Some(&approval)).unwrap();
        prop_assert_eq!((&first["status"], &again["status"]), (&json!("done"), &json!("already_done")));
        prop_assert_eq!(&first["refund_id"], &again["refund_id"]);
        prop_assert_eq!(effects.count(), 1);
        let left = number_of(&first["refundable_amount"]) - number_of(&first["amount"]);
        prop_assert!((left - number_of(&first["remaining_after"])).abs() < 1e-9);
    }

    #[test]
    fn a_grant_happens_once_and_only_with_an_approval_of_the_same_arguments(
        quantity in 1_u32..10_000, other in 1_u32..10_000,
    ) {
        let ask = |quantity: u32| json!({
            "player_id": "77120", "item_id": "diamonds_9999", "quantity": quantity,
            "reason": "undelivered_order", "order_id": "ord-5001",
        });
        let approval = Approval {
            approved_by: "lead".to_owned(),
            arguments_sha256: arguments_sha256(&ask(quantity)),
        };
        let effects = MemoryEffects::default();
        let first = attempt("grant_item", &ask(quantity), &effects, Some(&approval)).unwrap();
        let again = attempt("grant_item", &ask(quantity), &effects, Some(&approval)).unwrap();
        prop_assert_eq!((&first["status"], &again["status"]), (&json!("done"), &json!("already_done")));
        if other != quantity {
            let changed = attempt("grant_item", &ask(other), &effects, Some(&approval));
            prop_assert_eq!(changed.unwrap_err().code(), "needs_approval");
        }
        prop_assert_eq!(effects.count(), 1);
    }
}

fn number_of(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

/// The fixtures with the datasets of a case before them.
struct CaseData<'a>(&'a Case, FixtureSource);

impl DatasetSource for CaseData<'_> {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        match self.0.datasets.get(id) {
            Some(csv) => Ok(Table::from_csv(csv.as_bytes(), id)?.within(window)),
            None => self.1.table(id, window),
        }
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        self.1.file(id)
    }
}

/// Puts values of earlier results where an argument points at them.
fn resolved(arguments: &Value, results: &[Value]) -> Value {
    let mut arguments = arguments.clone();
    for value in arguments.as_object_mut().unwrap().values_mut() {
        if let Some(from) = value.get("$from").and_then(Value::as_u64) {
            let pointer = value["pointer"].as_str().unwrap();
            *value = results[from as usize].pointer(pointer).unwrap().clone();
        }
    }
    arguments
}

#[test]
fn the_facts_that_a_case_expects_are_what_its_calls_say() {
    let answers = Answers::of(gaming()).unwrap();
    let mut faults = Vec::new();
    for case in cases(gaming()).unwrap() {
        let data = CaseData(&case, FixtureSource::of(gaming()).unwrap());
        let (effects, limits) = (MemoryEffects::default(), Limits::default());
        let context = ToolContext {
            datasets: &data,
            effects: &effects,
            systems: &agents::port::NoSystems,
            now: "2026-11-24T12:00:00Z".parse().unwrap(),
            approval: None,
            limits: &limits,
        };
        let (mut results, mut text) = (Vec::new(), String::new());
        for call in &case.expected_calls {
            let arguments = resolved(&call.arguments, &results);
            match gaming().call(&call.name, &arguments, &context) {
                Ok(result) => {
                    text += &answers.say(&call.name, &arguments, &result, &case.lang).unwrap();
                    results.push(result);
                }
                // An act waits for a person; it says nothing yet.
                Err(ToolError::NeedsApproval { .. }) => {}
                Err(error) => faults.push(format!("{}: {error}", case.id)),
            }
        }
        let missing =
            case.expected_answer_facts.iter().filter(|fact| !text.contains(fact.as_str()));
        faults.extend(missing.map(|fact| format!("{}: `{fact}` is not in: {text}", case.id)));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
