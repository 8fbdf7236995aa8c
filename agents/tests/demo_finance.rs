//! The tools of the finance pack find what the demo data was made with, and little else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use agents::demo::{Demo, SEED, generate};
use agents::pack::FixtureSource;
use serde_json::{Value, json};

/// The generated datasets by name.
struct Files(FixtureSource);

impl Files {
    fn of(demo: &Demo) -> Self {
        Self(demo.source())
    }

    fn call(&self, tool: &str, arguments: &Value) -> Value {
        common::call("finance", &self.0, tool, arguments).unwrap()
    }
}

/// Data of the seed that users see and of others, so that nothing is tuned to one.
fn demos() -> impl Iterator<Item = (u64, Demo)> {
    [SEED, 1, 2, 3].into_iter().map(|seed| (seed, generate("finance", seed).unwrap()))
}

fn ids(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[test]
fn reconciliation_finds_the_planted_matches_and_no_false_one() {
    for (seed, demo) in demos() {
        let files = Files::of(&demo);
        let result = files.call(
            "reconcile",
            &json!({
                "left_dataset": "demo_bank_lines", "right_dataset": "demo_open_invoices", "currency": "EUR",
            }),
        );
        let stories = demo.truth["demo_bank_lines"]["stories"].as_array().unwrap();
        let mut planted: BTreeSet<(BTreeSet<String>, BTreeSet<String>)> = BTreeSet::new();
        let mut reasons: BTreeMap<String, &str> = BTreeMap::new();
        for story in stories {
            let (lines, invoices) = (ids(&story["lines"]), ids(&story["invoices"]));
            let (first, last) = (lines.first().cloned(), lines.last().cloned());
            match story["kind"].as_str().unwrap() {
                "short" | "fee" => reasons.extend(first.map(|line| (line, "short_pay"))),
                "late" => reasons.extend(first.map(|line| (line, "outside_window"))),
                "twin" => reasons.extend(first.map(|line| (line, "ambiguous"))),
                "unpaid" | "unrelated" => {}
                "duplicate" => {
                    // The bank lists by day, so the later line has the larger number.
                    reasons.extend(last.map(|line| (line, "duplicate")));
                    planted.insert((first.into_iter().collect(), invoices));
                }
                _ => planted.extend([(lines, invoices)]),
            }
        }
        let found: BTreeSet<_> = result["matches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| (ids(&found["left_ids"]), ids(&found["right_ids"])))
            .collect();
        let wrong: Vec<_> = found.difference(&planted).collect();
        assert!(wrong.is_empty(), "seed {seed}: false matches {wrong:?}");
        let missed: Vec<_> = planted.difference(&found).collect();
        let recall = share(found.len(), planted.len());
        assert!(recall >= 0.95, "seed {seed}: found {recall:.3} of the matches, missed {missed:?}");
        let open = result["unmatched_left"].as_array().unwrap();
        let told = reasons.iter().filter(|(line, reason)| {
            open.iter().any(|u| u["id"] == json!(line) && u["reason"] == json!(reason))
        });
        let recall = share(told.count(), reasons.len());
        assert!(recall >= 0.95, "seed {seed}: told {recall:.3} of the reasons");
    }
}

#[test]
fn screening_of_transactions_finds_the_planted_patterns_and_few_others() {
    for (seed, demo) in demos() {
        let files = Files::of(&demo);
        let truth = &demo.truth["demo_transactions"];
        let result = files.call(
            "aml_screen",
            &json!({
                "dataset": "demo_transactions", "currency": "USD", "reporting_threshold": truth["threshold"],
            }),
        );
        let alerts: Vec<(&str, BTreeSet<String>)> = result["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| (alert["rule"].as_str().unwrap(), ids(&alert["transaction_ids"])))
            .collect();
        let patterns: Vec<(&str, BTreeSet<String>)> = truth["patterns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pattern| (pattern["rule"].as_str().unwrap(), ids(&pattern["transaction_ids"])))
            .collect();
        let same = |a: &(&str, BTreeSet<String>), b: &(&str, BTreeSet<String>)| {
            let both = a.1.intersection(&b.1).count();
            a.0 == b.0 && share(both, a.1.len()) >= 0.75 && share(both, b.1.len()) >= 0.75
        };
        let missed: Vec<_> =
            patterns.iter().filter(|p| !alerts.iter().any(|a| same(a, p))).collect();
        let recall = 1.0 - share(missed.len(), patterns.len());
        assert!(recall >= 0.95, "seed {seed}: recall {recall:.3}, missed {missed:?}");
        let wrong: Vec<_> =
            alerts.iter().filter(|a| !patterns.iter().any(|p| same(a, p))).collect();
        let precision = 1.0 - share(wrong.len(), alerts.len());
        assert!(precision >= 0.90, "seed {seed}: precision {precision:.3}, false {wrong:?}");
    }
}

#[test]
fn screening_of_names_finds_listed_parties_in_four_scripts_and_few_others() {
    for (seed, demo) in demos() {
        let files = Files::of(&demo);
        let parties = demo.truth["demo_parties"]["parties"].as_array().unwrap();
        let (mut listed, mut found, mut hits, mut missed) = (0, 0, 0, Vec::new());
        for party in parties {
            // The registered list is found without being named.
            let result = files.call("sanctions_screen", &json!({ "name": party["name"] }));
            assert_eq!(result["list_current"], json!(false));
            let candidates: Vec<&Value> =
                result["hits"].as_array().unwrap().iter().map(|hit| &hit["list_id"]).collect();
            hits += usize::from(!candidates.is_empty());
            if party["list_id"].is_string() {
                listed += 1;
                if candidates.contains(&&party["list_id"]) {
                    found += 1;
                } else {
                    missed.push(party["name"].clone());
                }
            }
        }
        let recall = share(found, listed);
        assert!(recall >= 0.95, "seed {seed}: recall {recall:.3}, missed {missed:?}");
        assert!(share(found, hits) >= 0.90, "seed {seed}: precision {:.3}", share(found, hits));
    }
}

#[test]
fn risk_figures_agree_with_the_known_volatility() {
    for (seed, demo) in demos() {
        let files = Files::of(&demo);
        let truth = &demo.truth["demo_returns"];
        let result = files.call(
            "portfolio_risk",
            &json!({
                "dataset": "demo_returns", "portfolio_value": "1000000.00", "currency": "EUR", "confidence_pct": 95,
            }),
        );
        let number = |value: &Value| value.as_f64().unwrap();
        assert_eq!(result["observations"], truth["observations"]);
        let sigma = number(&truth["volatility_pct"]);
        // The standard error of a deviation is sigma / sqrt(2n), of a mean sigma / sqrt(n).
        let n = number(&truth["observations"]);
        let off = (number(&result["volatility_pct"]) - sigma).abs();
        assert!(off < 4.0 * sigma / (2.0 * n).sqrt(), "seed {seed}: volatility is off by {off}");
        let off = (number(&result["mean_pct"]) - number(&truth["mean_pct"])).abs();
        assert!(off < 4.0 * sigma / n.sqrt(), "seed {seed}: the mean is off by {off}");
        let expected = 1.644_854 * sigma - number(&truth["mean_pct"]);
        let off = (number(&result["results"][0]["value_at_risk_pct"]) - expected).abs();
        assert!(off < 0.2, "seed {seed}: value at risk is off by {off}");
    }
}
