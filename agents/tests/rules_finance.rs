//! The borders of the finance tools' rules: what just counts and what just does not.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;

use agents::pack::{MemoryEffects, Pack, shipped};
use agents::port::DatasetSource;
use agents::tool::{Approval, Limits, Table, ToolContext, ToolError, Window, arguments_sha256};
use serde_json::{Value, json};

fn finance() -> &'static Pack {
    shipped().unwrap().iter().find(|pack| pack.manifest.id == "finance").unwrap()
}

/// Tables by name.
struct Tables(BTreeMap<&'static str, &'static str>);

impl DatasetSource for Tables {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        Ok(Table::from_csv(&self.file(id)?, id)?.within(window))
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        let text = self.0.get(id).ok_or_else(|| ToolError::no_data(id))?;
        Ok(text.as_bytes().into())
    }
}

fn call_with(
    tool: &str,
    arguments: &Value,
    tables: &Tables,
    effects: &MemoryEffects,
    approval: Option<&Approval>,
) -> Result<Value, ToolError> {
    let limits = Limits::default();
    let context = ToolContext {
        datasets: tables,
        effects,
        systems: &agents::port::NoSystems,
        now: "2026-11-24T12:00:00Z".parse().unwrap(),
        approval,
        limits: &limits,
    };
    finance().call(tool, arguments, &context)
}

fn call(tool: &str, arguments: &Value, tables: &Tables) -> Result<Value, ToolError> {
    call_with(tool, arguments, tables, &MemoryEffects::default(), None)
}

fn none() -> Tables {
    Tables(BTreeMap::new())
}

const LIST: &str = "list_id,name,type,program,aliases,identifier,birth_year,listed_on\n\
    1,Zorin Maritime LLC,-0-,TEST,Залив Шиппинг;Bay Shipping,IMO9074729,,2026-01-10\n\
    2,Viktor Dubravin,individual,TEST,,,1961,2026-01-10\n\
    3,Quelm Optics,-0-,TEST,,,,2026-11-01\n";

fn lists() -> Tables {
    Tables(BTreeMap::from([
        ("eu", LIST),
        ("sanctions_lists", "dataset,list,as_of\neu,EU list,2026-11-24\n"),
    ]))
}

fn screened(arguments: &Value) -> Value {
    call("sanctions_screen", arguments, &lists()).unwrap()
}

#[test]
fn a_fresh_list_without_a_candidate_holds_no_payment() {
    let result = screened(&json!({ "name": "Hillside Bakery" }));
    assert_eq!(result["payment_hold"], json!(false));
    assert_eq!(result["list_current"], json!(true));
    assert_eq!(result["list_as_of"], json!("2026-11-24"));
}

#[test]
fn aliases_numbers_and_other_scripts_lead_to_the_listed_party() {
    for (name, basis) in [
        ("Zorin Maritime", "name"),
        ("Bay Shipping GmbH", "alias"),
        ("Zaliv Shipping", "transliteration"),
        ("IMO 9074729", "identifier"),
    ] {
        let result = screened(&json!({ "name": name }));
        assert_eq!(result["hits"][0]["list_id"], json!("1"), "{name}");
        assert_eq!(result["hits"][0]["match_basis"], json!(basis), "{name}");
        assert_eq!(result["payment_hold"], json!(true));
    }
}

#[test]
fn another_year_of_birth_is_told_and_clears_nothing() {
    let result =
        screened(&json!({ "name": "Viktor Dubravin", "party_type": "person", "birth_year": 1990 }));
    assert_eq!(result["outcome"], json!("potential_match"));
    let codes: Vec<&Value> =
        result["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    assert!(codes.contains(&&json!("details_differ")), "{codes:?}");
    let vessels = screened(&json!({ "name": "Viktor Dubravin", "party_type": "vessel" }));
    assert_eq!(vessels["hits"], json!([]));
}

#[test]
fn what_was_listed_later_is_not_known_on_an_earlier_day() {
    let name = "Quelm Optics";
    assert_eq!(screened(&json!({ "name": name }))["outcome"], json!("potential_match"));
    let tables = Tables(BTreeMap::from([("eu", LIST)]));
    let arguments = json!({ "name": name, "list_dataset": "eu", "as_of": "2026-10-31" });
    let result = call("sanctions_screen", &arguments, &tables).unwrap();
    assert_eq!(result["outcome"], json!("no_match"));
    // A list that was published later cannot answer for that day.
    let arguments = json!({ "name": name, "as_of": "2026-10-31" });
    assert_eq!(call("sanctions_screen", &arguments, &lists()).unwrap_err().code(), "no_data");
    // Without any list a screen is no screen.
    let arguments = json!({ "name": name });
    assert_eq!(call("sanctions_screen", &arguments, &none()).unwrap_err().code(), "no_data");
}

fn deposits(amounts: [&str; 3], days: [&str; 3]) -> usize {
    let rows: Vec<Value> = amounts
        .iter()
        .zip(days)
        .enumerate()
        .map(|(i, (amount, day))| {
            json!({ "transaction_id": format!("T{i}"), "date": day, "amount": amount, "kind": "cash_in" })
        })
        .collect();
    let arguments = json!({ "transactions": rows, "currency": "USD", "rules": ["structuring"] });
    let result = call("aml_screen", &arguments, &none()).unwrap();
    result["alerts"].as_array().unwrap().len()
}

#[test]
fn deposits_count_from_80_to_under_100_percent_within_seven_calendar_days() {
    let days = ["2026-03-02", "2026-03-05", "2026-03-08"];
    assert_eq!(deposits(["8000.00", "9999.99", "9000.00"], days), 1);
    assert_eq!(deposits(["7999.99", "9999.99", "9000.00"], days), 0);
    assert_eq!(deposits(["8000.00", "10000.00", "9000.00"], days), 0);
    // The window is seven days with the first one included.
    assert_eq!(deposits(["9000", "9000", "9000"], ["2026-03-02", "2026-03-05", "2026-03-09"]), 0);
}

#[test]
fn a_loop_that_loses_more_than_a_tenth_at_a_step_is_no_cycle() {
    let found = |amounts: [i64; 3]| {
        let hops = [("A", "B"), ("B", "C"), ("C", "A")];
        let rows: Vec<Value> = hops
            .iter()
            .zip(amounts)
            .enumerate()
            .map(|(i, ((from, to), amount))| {
                json!({
                    "transaction_id": format!("T{i}"), "date": "2026-03-02", "from_account": from,
                    "to_account": to, "amount": amount.to_string(), "kind": "transfer",
                })
            })
            .collect();
        let arguments = json!({ "transactions": rows, "currency": "USD", "rules": ["cycle"] });
        call("aml_screen", &arguments, &none()).unwrap()["alerts"].as_array().unwrap().len()
    };
    assert_eq!(found([1000, 900, 810]), 1);
    assert_eq!(found([1000, 899, 850]), 0);
    assert_eq!(found([1000, 950, 951]), 0);
}

#[test]
fn two_equal_invoices_of_one_day_leave_a_payment_to_a_person() {
    let line = |id: &str, date: &str| json!({ "id": id, "amount": "75.00", "date": date, "name": "Acme Ltd" });
    let arguments = |second: &str| {
        json!({
            "left": [line("P", "2026-03-05")], "currency": "EUR",
            "right": [line("A", "2026-03-02"), line("B", second)],
        })
    };
    let tied = call("reconcile", &arguments("2026-03-02"), &none()).unwrap();
    assert_eq!(tied["unmatched_left"][0]["reason"], json!("ambiguous"));
    let nearer = call("reconcile", &arguments("2026-03-04"), &none()).unwrap();
    assert_eq!(nearer["matches"][0]["right_ids"], json!(["B"]));
    let far = call("reconcile", &arguments("2026-06-01"), &none()).unwrap();
    assert_eq!(far["matches"][0]["right_ids"], json!(["A"]));
    assert_eq!(far["unmatched_right"][0]["reason"], json!("no_counterpart"));
}

#[test]
fn a_case_opens_once_under_its_own_approval_and_under_no_other() {
    let arguments = json!({
        "case_type": "payment_repair", "subject_id": "PMT-1", "summary": "The account lacks a digit.",
        "idempotency_key": "pmt-1-repair",
    });
    let effects = MemoryEffects::default();
    let approval = |arguments: &Value| Approval {
        approved_by: "Ana".to_owned(),
        arguments_sha256: arguments_sha256(arguments),
    };
    let mut other = arguments.clone();
    other["subject_id"] = json!("PMT-2");
    let wrong = approval(&other);
    let refused = call_with("open_case", &arguments, &none(), &effects, Some(&wrong)).unwrap_err();
    assert_eq!(refused.code(), "needs_approval");
    assert_eq!(effects.count(), 0);
    let right = approval(&arguments);
    let opened = call_with("open_case", &arguments, &none(), &effects, Some(&right)).unwrap();
    assert_eq!((&opened["status"], &opened["approved_by"]), (&json!("opened"), &json!("Ana")));
    let again = call_with("open_case", &arguments, &none(), &effects, Some(&right)).unwrap();
    assert_eq!(again["status"], json!("already_open"));
    assert_eq!(again["case_id"], opened["case_id"]);
    assert_eq!(effects.count(), 1);
}

#[test]
fn a_filing_of_another_currency_or_without_the_fact_gives_no_ratio() {
    let facts = r#"{"cik":7,"entityName":"Test SE","facts":{"ifrs-full":{
        "Revenue":{"units":{"EUR":[{"start":"2025-01-01","end":"2025-12-31","val":1000,"accn":"a","form":"20-F","filed":"2026-03-01"},
            {"start":"2025-01-01","end":"2025-12-31","val":990,"accn":"b","form":"20-F/A","filed":"2026-05-01"}]}},
        "ProfitLoss":{"units":{"EUR":[{"start":"2025-01-01","end":"2025-12-31","val":-99,"accn":"b","form":"20-F/A","filed":"2026-05-01"}]}}}}}"#;
    let tables = Tables(BTreeMap::from([("f", facts)]));
    let arguments = |ratio: &str, currency: &str| json!({ "ratios": [ratio], "dataset": "f", "period_end": "2025-12-31", "currency": currency });
    let code = |arguments: &Value| call("financial_ratios", arguments, &tables).unwrap_err().code();
    assert_eq!(code(&arguments("net_margin_pct", "USD")), "invalid_input");
    assert_eq!(code(&arguments("gross_margin_pct", "EUR")), "no_data");
    let result = call("financial_ratios", &arguments("net_margin_pct", "EUR"), &tables).unwrap();
    assert_eq!(result["results"][0]["value"].as_f64(), Some(-10.0));
    let facts = json!({ "dataset": "f", "concepts": ["revenue"], "period_end": "2025-12-31" });
    let result = call("xbrl_facts", &facts, &tables).unwrap();
    assert_eq!(result["restated"], json!(["Revenue"]));
    assert_eq!(result["cik"], json!("0000000007"));
}
