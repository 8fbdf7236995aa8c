//! Read-outs and statements end to end, on generated experiments.

use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};

use super::assign::Arm;
use super::demo::{Story, story};
use super::design::{Better, Design, Measure, Method, Metric, Reading};
use super::micros::Micros;
use super::readout::{Observation, ReadOut, Standing, Verdict, read_out};
use super::receipt::{Countersignature, Export, Handover, Kept, Seal, verify};
use super::simulate::Draws;
use super::statement::{Basis, Corrects, Event, Kind, draw_up, events};
use crate::pack::shipped;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn design(measure: Measure) -> Design {
    Design {
        name: "offer".to_owned(),
        question: "Does it help?".to_owned(),
        unit: "player".to_owned(),
        seed: "s".to_owned(),
        method: Method::Randomised,
        holdout: Micros(200_000),
        start: at("2026-03-01T00:00:00Z"),
        end: at("2026-04-01T00:00:00Z"),
        period_hours: 24,
        change_at: None,
        reading: Reading::Fixed,
        planned_units: 1_000,
        metrics: vec![Metric {
            kpi: "spend".to_owned(),
            measure,
            better: Better::Up,
            minimum: Micros(200_000),
            cap: None,
        }],
    }
}

fn units(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("u{i}")).collect()
}

/// A value before the start and one within, for each unit.
fn observed(design: &Design, units: &[String], effect: f64, seed: u64) -> Vec<Observation> {
    let mut draws = Draws::new(seed);
    let mut all = Vec::new();
    for unit in units {
        let own = 10.0 + 2.0 * draws.normal();
        let treated = if design.arm(unit) == Arm::Treatment { effect } else { 0.0 };
        for (i, (days, value)) in
            [(-5, own), (5, own + treated + draws.normal())].iter().enumerate()
        {
            all.push(Observation {
                id: format!("{unit}-{i}"),
                unit: unit.clone(),
                metric: "spend".to_owned(),
                at: design.start + SignedDuration::from_hours(24 * days),
                value: Micros::nearest(*value).unwrap(),
                weight: Micros::ONE,
            });
        }
    }
    all
}

fn read(design: &Design, units: &[String], all: &[Observation], now: &str) -> ReadOut {
    read_out(design, units, all, None, at(now))
}

const AFTER: &str = "2026-04-02T00:00:00Z";
const WITHIN: &str = "2026-03-20T00:00:00Z";

#[test]
fn a_fixed_horizon_shows_no_figure_before_its_end_and_a_sequence_does() {
    let mut design = design(Measure::Mean);
    let units = units(1_000);
    let all = observed(&design, &units, 1.0, 1);
    let early = read(&design, &units, &all, WITHIN);
    assert_eq!((early.standing, early.metrics.len()), (Standing::NotDue, 0));
    let fixed = read(&design, &units, &all, AFTER);
    let fixed = fixed.primary(&design).unwrap();
    assert!(fixed.explained.unwrap() > 0.6 && fixed.method.contains("CUPED"), "{fixed:?}");
    assert_eq!(fixed.verdict, Verdict::Reached);
    design.reading = Reading::Sequence;
    let peeked = read(&design, &units, &all, WITHIN);
    let peeked = peeked.primary(&design).unwrap();
    assert!(peeked.improvement.low < fixed.improvement.low, "a sequence is wider");
    assert!(peeked.improvement.low > 0.0);
}

#[test]
fn units_that_were_lost_from_one_arm_block_the_read_out() {
    let design = design(Measure::Mean);
    let all = units(4_000);
    let lost = |i: usize, unit: &str| design.arm(unit) == Arm::Treatment && i.is_multiple_of(5);
    let kept = all.iter().enumerate().filter(|(i, unit)| !lost(*i, unit));
    let kept: Vec<String> = kept.map(|(_, unit)| unit.clone()).collect();
    let observations = observed(&design, &kept, 1.0, 2);
    let blocked = read(&design, &kept, &observations, AFTER);
    assert_eq!((blocked.standing, blocked.metrics.len()), (Standing::Blocked, 0));
    assert!(blocked.notes[0].contains("do not fit a holdout of 0.2"), "{:?}", blocked.notes);
}

#[test]
fn less_is_better_turns_the_interval_and_a_cap_brings_the_redrawn_one() {
    let mut design = design(Measure::Mean);
    let units = units(800);
    let all = observed(&design, &units, -1.0, 3);
    design.metrics[0].better = Better::Down;
    design.metrics[0].cap = Some(Micros(16_000_000));
    let found = read(&design, &units, &all, AFTER);
    let found = found.primary(&design).unwrap();
    assert!(found.improvement.low > 0.5 && found.improvement.high < 1.5, "{found:?}");
    let uncapped = found.uncapped.unwrap();
    assert!(uncapped.low > 0.0 && uncapped.low < uncapped.estimate);
    // The same seed draws the same units, whoever computes it.
    assert_eq!(
        read(&design, &units, &all, AFTER).primary(&design).unwrap().uncapped,
        Some(uncapped)
    );
}

#[test]
fn before_and_after_is_labelled_as_what_it_is() {
    let mut design = design(Measure::Mean);
    design.method = Method::BeforeAfter;
    design.change_at = Some(at("2026-03-15T00:00:00Z"));
    let mut draws = Draws::new(4);
    let day = |d: i32| Observation {
        id: format!("d{d}"),
        unit: "plant".to_owned(),
        metric: "spend".to_owned(),
        at: design.start + SignedDuration::from_hours(24 * i64::from(d) + 1),
        value: Micros::nearest(f64::from(d / 14) * 3.0 + draws.normal()).unwrap(),
        weight: Micros::ONE,
    };
    let all: Vec<Observation> = (0..31).map(day).collect();
    let found = read(&design, &[], &all, AFTER);
    assert!(!found.causal && found.method == "before and after, not causal");
    assert!(found.notes.iter().any(|note| note.contains("not billed")), "{:?}", found.notes);
    assert_eq!(found.units, [14, 17]);
}

#[test]
fn the_order_in_which_observations_arrive_changes_nothing() {
    let design = design(Measure::Ratio);
    let units = units(600);
    let all = observed(&design, &units, 1.0, 5);
    let turned: Vec<Observation> = all.iter().rev().cloned().collect();
    assert_eq!(read(&design, &units, &all, AFTER), read(&design, &units, &turned, AFTER));
}

#[test]
fn a_design_that_cannot_be_read_honestly_is_refused_by_its_field() {
    let kpis =
        &shipped().unwrap().iter().find(|p| p.manifest.id == "gaming").unwrap().manifest.kpis;
    let good = story("gaming", date(2026, 11, 25)).unwrap().design;
    good.check(kpis).unwrap();
    let change = |edit: fn(&mut Design)| {
        let mut design = good.clone();
        edit(&mut design);
        design.check(kpis).unwrap_err().field
    };
    assert_eq!(change(|d| d.holdout = Micros(10_000)), "holdout");
    assert_eq!(change(|d| d.end = d.start), "end");
    assert_eq!(change(|d| d.name = "Big Offer".to_owned()), "name");
    assert_eq!(change(|d| d.metrics[0].kpi = "happiness".to_owned()), "metrics");
    assert_eq!(change(|d| d.metrics[0].better = Better::Down), "metrics");
    assert_eq!(change(|d| d.metrics.push(d.metrics[0].clone())), "metrics");
    assert_eq!(change(|d| d.change_at = Some(d.start)), "change_at");
    assert_eq!(change(|d| d.method = Method::BeforeAfter), "change_at");
    assert_eq!(
        change(|d| {
            d.method = Method::Switchback;
            d.holdout = Micros(500_000);
            d.reading = Reading::Sequence;
        }),
        "reading"
    );
}

fn basis(story: &Story, number: u32, corrects: Option<Corrects>) -> Basis {
    Basis {
        venture: "demo".to_owned(),
        number,
        issued_at: story.months[2] + SignedDuration::from_hours(24),
        from: story.months[1],
        to: story.months[2],
        contract: story.contract.clone(),
        design: story.design.clone(),
        corrects,
    }
}

fn exported(story: &Story) -> Export {
    let basis = basis(story, 1, None);
    let events = events(&basis, &story.units, &story.observations);
    let document = draw_up(basis, &events).unwrap();
    Seal::of(&[7; 32]).unwrap().sign(document, events)
}

#[test]
fn a_statement_computed_again_holds_and_one_changed_event_price_or_share_is_found() {
    for industry in ["automotive", "energy", "finance", "gaming"] {
        let story = story(industry, date(2026, 11, 25)).unwrap();
        let export = exported(&story);
        // As the other party reads it.
        let text = serde_json::to_string(&export).unwrap();
        let again: Export = serde_json::from_str(&text).unwrap();
        assert_eq!(verify(&again, Kept::default()), [""; 0], "{industry}");

        let place = again.events.iter().rposition(|e| matches!(e, Event::Observed(_))).unwrap();
        let mut changed = again.clone();
        if let Event::Observed(one) = &mut changed.events[place] {
            one.value.0 += 10_000;
        }
        let first = verify(&changed, Kept::default()).remove(0);
        let named = format!("event {} differs", place + 1);
        assert!(first.starts_with(&named), "{industry}: {first}");

        let mut changed = again.clone();
        changed.document.contract.value_per_unit.0 += 1;
        assert!(verify(&changed, Kept::default())[0].contains("price"), "{industry}");

        let mut changed = again.clone();
        changed.document.contract.parties[0].share.0 -= 1;
        changed.document.contract.parties[1].share.0 += 1;
        assert!(verify(&changed, Kept::default())[0].contains("shares"), "{industry}");

        let mut changed = again.clone();
        changed.events.remove(3);
        assert!(verify(&changed, Kept::default())[0].starts_with("event 4 differs"), "{industry}");
    }
}

#[test]
fn who_changes_the_receipt_as_well_is_found_by_the_key_and_by_the_copy_that_was_kept() {
    let story = story("finance", date(2026, 11, 25)).unwrap();
    let export = exported(&story);
    let key = export.receipt.public_key.clone();
    // The forger changes an observation, states what follows, and signs it with another key.
    let mut story = story;
    let (from, to) = (story.months[1], story.months[2]);
    let last = story.observations.iter_mut().rfind(|one| (from..to).contains(&one.at)).unwrap();
    last.value.0 += 1_000_000;
    let basis = basis(&story, 1, None);
    let events = events(&basis, &story.units, &story.observations);
    let document = draw_up(basis, &events).unwrap();
    let forged = Seal::of(&[8; 32]).unwrap().sign(document, events);
    assert!(verify(&forged, Kept::default()).is_empty(), "it holds by itself");
    let faults = verify(&forged, Kept { public_key: Some(&key), ..Kept::default() });
    assert!(faults.iter().any(|fault| fault.contains("another key")), "{faults:?}");
    let faults = verify(&forged, Kept { receipt: Some(&export.receipt), ..Kept::default() });
    assert!(faults[0].starts_with("event ") && faults[0].contains("differs"), "{faults:?}");
    // A receipt that was only edited does not hold its signature.
    let mut edited = export.clone();
    edited.receipt.number = 9;
    let faults = verify(&edited, Kept::default());
    assert!(faults.iter().any(|fault| fault.contains("signature")), "{faults:?}");
}

#[test]
fn both_parties_sign_and_a_signature_over_something_else_is_found() {
    let mut export = exported(&story("gaming", date(2026, 11, 25)).unwrap());
    let party = export.document.contract.parties[1].name.clone();
    let partner = Seal::of(&[9; 32]).unwrap();
    assert!(partner.register("demo", &party).is_signed());
    let at = export.document.issued_at;
    let signed = partner.countersign(&party, &export.receipt.sha256(), at);
    let wanted = [(party.clone(), partner.public())];
    let kept = Kept { parties: &wanted, ..Kept::default() };
    assert!(verify(&export, kept)[0].contains("has not signed"), "nobody has");
    export.countersignatures.push(signed.clone());
    assert_eq!(verify(&export, kept), [""; 0]);
    let own = [(party.clone(), Seal::of(&[7; 32]).unwrap().public())];
    let faults = verify(&export, Kept { parties: &own, ..Kept::default() });
    assert!(faults[0].contains("has not signed it with the key"), "{faults:?}");
    let other = "0".repeat(64);
    for (changed, why) in [
        (
            Countersignature { signed_at: at + SignedDuration::from_secs(1), ..signed.clone() },
            "hold",
        ),
        (partner.countersign(&party, &other, at), "another receipt"),
        (partner.countersign("Nobody", &export.receipt.sha256(), at), "no party"),
        // The joint venture cannot sign for its partner under the partner's key.
        (Countersignature { public_key: own[0].1.clone(), ..signed }, "hold"),
    ] {
        export.countersignatures = vec![changed];
        let faults = verify(&export, Kept::default());
        assert!(faults.len() == 1 && faults[0].contains(why), "{why}: {faults:?}");
    }
}

#[test]
fn a_key_that_another_handed_over_to_is_trusted_and_no_other_is() {
    let mut export = exported(&story("finance", date(2026, 11, 25)).unwrap());
    let (first, second) = (Seal::of(&[5; 32]).unwrap(), Seal::of(&[6; 32]).unwrap());
    let last = Seal::of(&[7; 32]).unwrap();
    let at = export.document.issued_at;
    let key = first.public();
    let kept = Kept { public_key: Some(&key), ..Kept::default() };
    export.handovers = vec![first.hand_over("demo", &second, at)];
    assert!(verify(&export, kept)[0].contains("another key"), "the chain ends before");
    export.handovers.push(second.hand_over("demo", &last, at));
    assert_eq!(verify(&export, kept), [""; 0]);
    // One that hands over for another joint venture, to another key, or in a ring leads nowhere.
    for wrong in [
        second.hand_over("other", &last, at),
        Handover { next_public_key: last.public(), ..second.hand_over("demo", &first, at) },
        second.hand_over("demo", &first, at),
    ] {
        export.handovers[1] = wrong;
        assert!(verify(&export, kept)[0].contains("another key"));
    }
}

#[test]
fn a_credit_note_gives_each_party_the_difference() {
    let story = story("automotive", date(2026, 11, 25)).unwrap();
    let first = exported(&story);
    let right = |one: &Observation| {
        story.corrections.iter().find(|c| c.id == one.id).unwrap_or(one).clone()
    };
    let corrected: Vec<Observation> = story.observations.iter().map(right).collect();
    let corrects = Corrects {
        number: 1,
        document_sha256: first.receipt.document_sha256.clone(),
        parts: first.document.payable.clone(),
        reason: "three times too large".to_owned(),
    };
    let basis = basis(&story, 2, Some(corrects));
    let events = events(&basis, &story.units, &corrected);
    let document = draw_up(basis, &events).unwrap();
    assert_eq!(document.kind, Kind::CreditNote);
    let sum = |parts: &[super::contract::Part]| {
        Micros::sum(parts.iter().map(|part| part.amount)).unwrap()
    };
    let difference = document.figures.amount.minus(first.document.figures.amount).unwrap();
    assert_ne!(difference, Micros::ZERO);
    assert_eq!(sum(&document.payable), difference);
    let note = Seal::of(&[7; 32]).unwrap().sign(document, events);
    assert_eq!(verify(&note, Kept::default()), [""; 0]);
}
