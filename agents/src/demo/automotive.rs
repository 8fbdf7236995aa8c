//! The demo joint venture of the automotive pack: a delivery fleet of vans.
//!
//! Planted are the laws of two wear-out parts, the faults of warranty claims, the values behind a
//! CAN log, jobs that no bay can take, and the vehicles that a campaign names.

use std::fmt::Write as _;

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use serde_json::{Value, json};

use super::{Chance, Demo, Generated};
use crate::domain::automotive::vin;

/// Vehicles of the fleet.
const FLEET: usize = 120;

/// Claims of the year.
const CLAIMS: usize = 1200;

/// The day on which the data end.
const TODAY: Date = date(2026, 11, 20);

/// A vehicle of the fleet.
struct Vehicle {
    id: String,
    vin: String,
    model: &'static str,
    year: u16,
    in_service: Date,
}

/// A wear-out part: name, shape, scale, unit, ages at which the watch ends, lives.
struct Part {
    name: &'static str,
    shape: f64,
    scale: f64,
    unit: &'static str,
    watched: (f64, f64),
    lives: usize,
}

/// The parts whose lives are watched; shapes and scales are invented.
const PARTS: [Part; 2] = [
    Part {
        name: "pump",
        shape: 2.3,
        scale: 145_000.0,
        unit: "km",
        watched: (60_000.0, 260_000.0),
        lives: 900,
    },
    Part {
        name: "starter_battery",
        shape: 3.4,
        scale: 1900.0,
        unit: "day",
        watched: (900.0, 3000.0),
        lives: 700,
    },
];

/// Generates the datasets and their truth.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let fleet: Vec<Vehicle> = (1..=FLEET).map(|n| vehicle(n, chance)).collect();
    let mut demo = Demo { datasets: Vec::new(), truth: json!({}) };
    put_vehicles(&mut demo, &fleet);
    for part in &PARTS {
        put_lives(&mut demo, part, chance);
    }
    put_claims(&mut demo, &fleet, chance);
    put_can(&mut demo, chance);
    put_jobs(&mut demo, &fleet, chance);
    put_recalls(&mut demo, &fleet, chance);
    demo
}

fn put(demo: &mut Demo, name: &str, extension: &str, text: String, truth: Value) {
    let id = match extension {
        "csv" => format!("demo_automotive_{name}"),
        _ => format!("demo_automotive_{name}.{extension}"),
    };
    let file = format!("demo_automotive_{name}.{extension}");
    demo.truth[&id] = truth;
    demo.datasets.push(Generated { id, file, bytes: text.into_bytes() });
}

/// Draws a vehicle with a VIN whose check digit agrees.
fn vehicle(n: usize, chance: &mut Chance) -> Vehicle {
    let (model, code) = *[("Van 300", 'A'), ("Van 500", 'B'), ("City 1", 'C')]
        .choose(chance)
        .unwrap_or(&("Van 300", 'A'));
    let year = chance.random_range(2021..=2025_u16);
    let letter = ['M', 'N', 'P', 'R', 'S'][usize::from(year - 2021)];
    let draft = format!("5FX{code}V4500{letter}A{:06}", 100_000 + n * 37);
    let digit = vin::weighted_sum(&draft).map_or('0', vin::digit);
    let number = draft.chars().enumerate();
    let vin = number.map(|(i, c)| if i == vin::CHECK { digit } else { c }).collect();
    let days = chance.random_range(0..300);
    let in_service = shifted(date(2021, 1, 15), i64::from(year - 2021) * 365 + days);
    Vehicle { id: format!("VAN-{n}"), vin, model, year, in_service }
}

fn shifted(day: Date, days: i64) -> Date {
    day.checked_add(days.days()).unwrap_or(day)
}

fn put_vehicles(demo: &mut Demo, fleet: &[Vehicle]) {
    let mut text = "vehicle_id,vin,make,model,model_year,in_service_date\n".to_owned();
    for v in fleet {
        let (id, vin, model, year, day) = (&v.id, &v.vin, v.model, v.year, v.in_service);
        let _ = writeln!(text, "{id},{vin},Fixture,{model},{year},{day}");
    }
    put(demo, "vehicles", "csv", text, json!({ "vehicles": fleet.len() }));
}

/// Draws lives by inverting the survival function; a part that outlives its watch is censored.
fn put_lives(demo: &mut Demo, part: &Part, chance: &mut Chance) {
    let mut text = "life,failed\n".to_owned();
    let mut failures = 0_usize;
    for _ in 0..part.lives {
        let u: f64 = chance.random_range(f64::EPSILON..1.0);
        let life = part.scale * (-u.ln()).powf(1.0 / part.shape);
        let watched = chance.random_range(part.watched.0..part.watched.1);
        let failed = life <= watched;
        failures += usize::from(failed);
        let _ = writeln!(text, "{:.0},{failed}", life.min(watched).max(1.0));
    }
    let truth = json!({
        "shape": part.shape, "scale": part.scale, "unit": part.unit,
        "failures": failures, "censored": part.lives - failures,
    });
    put(demo, &format!("{}_lives", part.name), "csv", text, truth);
}

/// What is wrong with a claim.
#[derive(Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    Duplicate,
    Rollback,
    OverTime,
    OverDistance,
    Labour,
}

/// Kinds of faults, how many of each, and the rule that should find them.
const PLANTS: [(Planted, usize, &str); 5] = [
    (Planted::Duplicate, 60, "duplicate_part_90d"),
    (Planted::Rollback, 40, "odometer_rollback"),
    (Planted::OverTime, 40, "time_expired"),
    (Planted::OverDistance, 30, "distance_expired"),
    (Planted::Labour, 40, "labour_over_book"),
];

/// Duplicates whose first claim was filed under another number, so that no record shows it.
const HIDDEN: usize = 2;

/// Sound claims whose earlier odometer reading was mistyped, so that they look turned back.
const MISTYPED: usize = 4;

/// Writes a year of claims; most are sound and some lie close to a limit without crossing it.
fn put_claims(demo: &mut Demo, fleet: &[Vehicle], chance: &mut Chance) {
    let mut kinds: Vec<Planted> =
        PLANTS.iter().flat_map(|(kind, count, _)| std::iter::repeat_n(*kind, *count)).collect();
    kinds.resize(CLAIMS, Planted::Nothing);
    kinds.shuffle(chance);
    let mut text = "claim_id,vehicle_id,vin,in_service_date,repair_date,odometer_km,term_months,term_km,part,claim_amount,currency,labour_hours_claimed,labour_hours_book,labour_rate,last_odometer_km,previous_same_part_date\n".to_owned();
    let mut truth = json!({});
    for (_, _, rule) in PLANTS {
        truth[rule] = json!([]);
    }
    let (mut hidden, mut mistyped) = (HIDDEN, MISTYPED);
    for (n, kind) in kinds.into_iter().enumerate() {
        let id = format!("C{:04}", n + 1);
        // Only a vehicle whose term ended long ago can be repaired after it.
        let old = |vehicle: &&Vehicle| kind != Planted::OverTime || vehicle.year <= 2022;
        let candidates: Vec<&Vehicle> = fleet.iter().filter(old).collect();
        let Some(vehicle) = candidates.choose(chance) else { continue };
        let hide = kind == Planted::Duplicate && hidden > 0;
        let mistype = kind == Planted::Nothing && mistyped > 0;
        hidden -= usize::from(hide);
        mistyped -= usize::from(mistype);
        let row = claim(vehicle, kind, hide, mistype, chance);
        let _ = writeln!(text, "{id},{},{},{row}", vehicle.id, vehicle.vin);
        if let Some((_, _, rule)) = PLANTS.iter().find(|(planted, _, _)| *planted == kind)
            && let Some(ids) = truth[*rule].as_array_mut()
        {
            ids.push(json!(id));
        }
    }
    put(demo, "claims", "csv", text, truth);
}

/// Writes the cells of a claim from the first day of service on.
fn claim(
    vehicle: &Vehicle,
    kind: Planted,
    hide: bool,
    mistype: bool,
    chance: &mut Chance,
) -> String {
    const PARTS: [&str; 6] =
        ["water_pump", "injector", "alternator", "door_lock", "turbo", "clutch"];
    let part = PARTS.choose(chance).unwrap_or(&"water_pump");
    let end = vehicle.in_service.checked_add(36.months()).unwrap_or(vehicle.in_service);
    // A sound claim may fall on the last day of the term.
    let last_day = end.min(TODAY);
    let days = last_day.since(vehicle.in_service).map_or(400, |span| i64::from(span.get_days()));
    let repair = match kind {
        Planted::OverTime => shifted(end, chance.random_range(1..200)),
        _ => shifted(vehicle.in_service, chance.random_range(20..=days.max(21))),
    };
    let odometer: i64 = match kind {
        Planted::OverDistance => chance.random_range(100_001..140_000),
        _ => chance.random_range(9000..=100_000),
    };
    let book: u32 = chance.random_range(5..60);
    let claimed = match kind {
        Planted::Labour => book * 14 / 10 + chance.random_range(1..20),
        _ => book * chance.random_range(80..=128) / 100,
    };
    let last = match kind {
        Planted::Rollback => Some(odometer + chance.random_range(500..40_000)),
        _ if mistype => Some(odometer * 10 + 3),
        _ if chance.random_bool(0.6) => Some(odometer - chance.random_range(0..8000)),
        _ => None,
    };
    let earlier = match kind {
        Planted::Duplicate if !hide => Some(shifted(repair, -chance.random_range(1..=90))),
        Planted::Nothing if chance.random_bool(0.1) => {
            Some(shifted(repair, -chance.random_range(91..400)))
        }
        _ => None,
    };
    let amount = chance.random_range(5000..300_000_u32);
    format!(
        "{},{repair},{odometer},36,100000,{part},{}.{:02},EUR,{}.{},{}.{},95.00,{},{}",
        vehicle.in_service,
        amount / 100,
        amount % 100,
        claimed / 10,
        claimed % 10,
        book / 10,
        book % 10,
        last.map(|km| km.to_string()).unwrap_or_default(),
        earlier.map(|day| day.to_string()).unwrap_or_default(),
    )
}

/// A database of one message, and a log whose values are known before they are encoded.
fn put_can(demo: &mut Demo, chance: &mut Chance) {
    let database = "VERSION \"\"\n\nBU_: VAN\n\nBO_ 288 DRIVE: 6 VAN\n SG_ SPEED : 0|16@1+ (0.01,0) [0|200] \"km/h\" VAN\n SG_ CHARGE : 23|8@0+ (0.5,0) [0|100] \"%\" VAN\n SG_ MOTOR_TEMP : 24|8@1- (1,0) [-40|120] \"degC\" VAN\n SG_ TORQUE : 39|16@0- (0.1,0) [-400|400] \"Nm\" VAN\n";
    put(demo, "can", "dbc", database.to_owned(), json!({ "messages": 1 }));
    let mut text = "time,can_id,data\n".to_owned();
    let (mut speeds, mut torques) = (Vec::new(), Vec::new());
    let (mut speed, mut unknown) = (0_i32, 0_usize);
    for second in 0..1800_u32 {
        speed = (speed + chance.random_range(-250..=300)).clamp(0, 13_000);
        let (charge, warmth) = (180 - second / 60, 20 + second / 90);
        let torque: i16 = chance.random_range(-1500..=2500);
        let clock = format!("2026-11-20T08:{:02}:{:02}Z", second / 60, second % 60);
        let _ = writeln!(
            text,
            "{clock},288,{:02X}{:02X}{charge:02X}{warmth:02X}{:04X}",
            speed & 0xFF,
            speed >> 8,
            torque.cast_unsigned(),
        );
        speeds.push(f64::from(speed) / 100.0);
        torques.push(f64::from(torque) / 10.0);
        if chance.random_bool(0.01) {
            unknown += 1;
            let _ = writeln!(text, "{clock},1999,00");
        }
    }
    let truth = json!({
        "SPEED": summary(&speeds), "TORQUE": summary(&torques), "unknown_frames": unknown,
    });
    put(demo, "can_log", "csv", text, truth);
}

fn summary(values: &[f64]) -> Value {
    let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
    json!({
        "count": count,
        "min": values.iter().copied().fold(f64::INFINITY, f64::min),
        "max": values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "mean": values.iter().sum::<f64>() / f64::from(count),
        "last": values.last(),
    })
}

/// A day of jobs and bays; one job needs a skill that no bay has, and two fit no opening.
fn put_jobs(demo: &mut Demo, fleet: &[Vehicle], chance: &mut Chance) {
    let bays = "bay_id,open,close,skills\nB1,2026-12-01T08:00:00+01:00,2026-12-01T17:00:00+01:00,brakes;engine\nB2,2026-12-01T08:00:00+01:00,2026-12-01T17:00:00+01:00,high_voltage;engine\nB3,2026-12-01T09:00:00+01:00,2026-12-01T18:00:00+01:00,tyres;brakes\nB4,2026-12-01T10:00:00+01:00,2026-12-01T16:00:00+01:00,tyres\n";
    put(demo, "bays", "csv", bays.to_owned(), json!({ "bays": 4 }));
    let mut text = "vehicle_id,duration_min,skill,earliest,latest,weight\n".to_owned();
    for vehicle in fleet.iter().take(18) {
        let skill = ["brakes", "engine", "tyres", "high_voltage", ""].choose(chance).unwrap_or(&"");
        let minutes = chance.random_range(4..=16) * 5;
        let weight = chance.random_range(1..=5);
        let _ = writeln!(text, "{},{minutes},{skill},,,{weight}", vehicle.id);
    }
    text.push_str("TOW-1,60,painting,,,3\nTOW-2,700,,,,3\n");
    text.push_str("TOW-3,120,,2026-12-01T08:00:00+01:00,2026-12-01T09:30:00+01:00,2\n");
    let truth = json!({
        "no_bay_with_skill": ["TOW-1"], "window_too_short": ["TOW-2", "TOW-3"], "placed": 18,
    });
    put(demo, "jobs", "csv", text, truth);
}

/// Campaigns that name their vehicles by VIN, and the repairs done so far.
fn put_recalls(demo: &mut Demo, fleet: &[Vehicle], chance: &mut Chance) {
    let mut text = "campaign_number,authority,make,year_from,year_to,component,summary,remedy,published_date,models,do_not_drive,list_as_of,vins\n".to_owned();
    let mut repairs = "campaign_number,vehicle_id,date\n".to_owned();
    let mut truth = json!({});
    let campaigns = [
        ("FD-26-001", "fuel pump", "Van 300", false),
        ("FD-26-002", "driver airbag", "Van 500", true),
        ("FD-26-003", "battery management", "City 1", false),
    ];
    for (i, (number, component, model, stop)) in campaigns.into_iter().enumerate() {
        let affected: Vec<&Vehicle> =
            fleet.iter().filter(|v| v.model == model && chance.random_bool(0.45)).collect();
        let vins: Vec<&str> = affected.iter().map(|v| v.vin.as_str()).collect();
        let _ = writeln!(
            text,
            "{number},KBA,Fixture,2021,2025,{component},The {component} may fail.,Replace it.,2026-0{}-10,{model},{stop},2026-11-01,{}",
            i + 2,
            vins.join(";"),
        );
        let mut open = Vec::new();
        for vehicle in affected {
            if chance.random_bool(0.5) {
                let _ = writeln!(repairs, "{number},{},2026-10-05", vehicle.id);
            } else {
                open.push(vehicle.id.as_str());
            }
        }
        truth[number] = json!({ "vins": vins, "open": open, "do_not_drive": stop });
    }
    put(demo, "recalls", "csv", text, truth);
    put(demo, "recall_repairs", "csv", repairs, json!({}));
}
