//! Answers of a scan tool: live data and trouble codes of SAE J1979, active faults of J1939.

use serde::Deserialize;
use serde_json::{Value, json};

use super::bytes;
use super::dm1::{self, Dm1};
use crate::tool::{ToolContext, ToolError, decode, warning};

#[derive(Deserialize)]
struct Arguments {
    messages: Vec<String>,
    #[serde(default = "can")]
    protocol: String,
}

fn can() -> String {
    "obd2_can".to_owned()
}

/// A live value: raw × `mul` / `div` + `add`, the raw of one or two bytes, the high one first.
struct Pid {
    id: u8,
    name: &'static str,
    unit: &'static str,
    bytes: usize,
    mul: f64,
    div: f64,
    add: f64,
}

const fn pid(
    id: u8,
    name: &'static str,
    unit: &'static str,
    bytes: usize,
    (mul, div, add): (f64, f64, f64),
) -> Pid {
    Pid { id, name, unit, bytes, mul, div, add }
}

/// The parameters that the pack reads.
///
/// # Source
/// SAE J1979 / ISO 15031-5, annex of parameter identifiers.
const PIDS: [Pid; 23] = [
    pid(0x04, "engine_load", "percent", 1, (100.0, 255.0, 0.0)),
    pid(0x05, "coolant_temperature", "Cel", 1, (1.0, 1.0, -40.0)),
    pid(0x06, "short_fuel_trim_bank1", "percent", 1, (100.0, 128.0, -100.0)),
    pid(0x07, "long_fuel_trim_bank1", "percent", 1, (100.0, 128.0, -100.0)),
    pid(0x08, "short_fuel_trim_bank2", "percent", 1, (100.0, 128.0, -100.0)),
    pid(0x09, "long_fuel_trim_bank2", "percent", 1, (100.0, 128.0, -100.0)),
    pid(0x0A, "fuel_pressure_gauge", "kPa", 1, (3.0, 1.0, 0.0)),
    pid(0x0B, "intake_manifold_pressure", "kPa", 1, (1.0, 1.0, 0.0)),
    pid(0x0C, "engine_speed", "rpm", 2, (1.0, 4.0, 0.0)),
    pid(0x0D, "vehicle_speed", "km/h", 1, (1.0, 1.0, 0.0)),
    pid(0x0E, "timing_advance", "deg", 1, (1.0, 2.0, -64.0)),
    pid(0x0F, "intake_air_temperature", "Cel", 1, (1.0, 1.0, -40.0)),
    pid(0x10, "mass_air_flow", "g/s", 2, (1.0, 100.0, 0.0)),
    pid(0x11, "throttle_position", "percent", 1, (100.0, 255.0, 0.0)),
    pid(0x1F, "run_time", "s", 2, (1.0, 1.0, 0.0)),
    pid(0x21, "distance_with_mil", "km", 2, (1.0, 1.0, 0.0)),
    pid(0x2F, "fuel_level", "percent", 1, (100.0, 255.0, 0.0)),
    pid(0x31, "distance_since_clear", "km", 2, (1.0, 1.0, 0.0)),
    pid(0x33, "barometric_pressure", "kPa", 1, (1.0, 1.0, 0.0)),
    pid(0x42, "module_voltage", "V", 2, (1.0, 1000.0, 0.0)),
    pid(0x46, "ambient_temperature", "Cel", 1, (1.0, 1.0, -40.0)),
    pid(0x5C, "oil_temperature", "Cel", 1, (1.0, 1.0, -40.0)),
    pid(0x5E, "fuel_rate", "L/h", 2, (1.0, 20.0, 0.0)),
];

/// Services whose answers list trouble codes.
const CODE_SERVICES: [(u8, &str); 3] = [(0x43, "stored"), (0x47, "pending"), (0x4A, "permanent")];

/// Why a message gave nothing.
enum Fault {
    /// It breaks the layout; alone, it is an error of the request.
    Broken(String),
    /// It is whole, but nothing here reads it.
    Unread(String),
}

/// What the messages gave.
#[derive(Default)]
struct Found {
    values: Vec<Value>,
    dtcs: Vec<Value>,
    dm1: Option<Dm1>,
    unknown: Vec<Value>,
}

/// Reads live data; on CAN one answer may carry several parameters.
fn live(body: &[u8], index: usize, several: bool) -> Result<Vec<Value>, Fault> {
    let mut values = Vec::new();
    let mut rest = body;
    while let [id, data @ ..] = rest {
        let Some(pid) = PIDS.iter().find(|pid| pid.id == *id) else {
            // Nothing tells how long an unknown parameter is, so what follows cannot be read.
            return if values.is_empty() {
                Err(Fault::Unread(format!("parameter {id:02X} is not in the table of the pack")))
            } else if rest.iter().all(|byte| matches!(byte, 0x00 | 0x55 | 0xAA)) {
                Ok(values)
            } else {
                Err(Fault::Broken(format!(
                    "after {} values comes {id:02X}, which is unknown",
                    values.len()
                )))
            };
        };
        let Some((raw, left)) = data.split_at_checked(pid.bytes) else {
            return Err(Fault::Broken(format!(
                "parameter {id:02X} ({}) needs {} data bytes and has {}",
                pid.name,
                pid.bytes,
                data.len()
            )));
        };
        let raw = raw.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        values.push(json!({
            "message_index": index,
            "pid": format!("{id:02X}"),
            "name": pid.name,
            "value": f64::from(raw) * pid.mul / pid.div + pid.add,
            "unit": pid.unit,
        }));
        rest = left;
        if !several && !rest.is_empty() {
            return Err(Fault::Broken(format!("{} bytes follow the value", rest.len())));
        }
    }
    if values.is_empty() {
        return Err(Fault::Broken("the answer ends before its parameter".to_owned()));
    }
    Ok(values)
}

/// Reads trouble codes; `counted` ⇐ the first byte says how many.
fn codes(body: &[u8], index: usize, state: &str, counted: bool) -> Result<Vec<Value>, Fault> {
    let pairs = if counted {
        let [count, pairs @ ..] = body else {
            return Err(Fault::Broken("the answer ends before its count of codes".to_owned()));
        };
        let needed = usize::from(*count) * 2;
        // Frames are filled up; anything else behind the codes says that the count is none.
        let filled = |rest: &[u8]| rest.iter().all(|b| matches!(b, 0x00 | 0x55 | 0xAA | 0xFF));
        pairs
            .split_at_checked(needed)
            .filter(|(_, rest)| filled(rest))
            .map(|(codes, _)| codes)
            .ok_or_else(|| {
                Fault::Broken(format!(
                    "the answer announces {count} codes and has {} code bytes instead of {needed}; without a count byte the protocol is obd2_kwp",
                    pairs.len()
                ))
            })?
    } else {
        body
    };
    if pairs.len() % 2 == 1 {
        return Err(Fault::Broken("an odd number of code bytes".to_owned()));
    }
    let codes = pairs.chunks_exact(2).filter(|pair| *pair != [0, 0]);
    Ok(codes
        .map(|pair| {
            json!({ "message_index": index, "code": bytes::code(pair[0], pair[1]), "state": state })
        })
        .collect())
}

fn read(message: &[u8], index: usize, protocol: &str, found: &mut Found) -> Result<(), Fault> {
    if protocol == "j1939_dm1" {
        let new = dm1::parse(message).map_err(Fault::Broken)?;
        found.dm1 = Some(match found.dm1.take() {
            Some(earlier) => earlier.merge(new),
            None => new,
        });
        return Ok(());
    }
    let counted = protocol == "obd2_can";
    match message {
        [0x41, body @ ..] => found.values.extend(live(body, index, counted)?),
        [service, body @ ..] => {
            let state = CODE_SERVICES.iter().find(|(id, _)| id == service).map(|(_, state)| *state);
            let Some(state) = state else {
                return Err(Fault::Broken(format!(
                    "it begins with {service:02X}; 41, 43, 47 and 4A are read here, 59, 62 and 7F by uds_decode"
                )));
            };
            found.dtcs.extend(codes(body, index, state, counted)?);
        }
        [] => return Err(Fault::Broken("the message is empty".to_owned())),
    }
    Ok(())
}

/// Decodes messages in the order received. One that cannot be read goes to `unknown`, unless it is
/// the only one.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the only message breaks its layout.
///
/// # Source
/// SAE J1979 services 01, 03, 07 and 0A; SAE J1939-73 DM1.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let mut found = Found::default();
    for (index, text) in args.messages.iter().enumerate() {
        let message = bytes::of_hex(text, &format!("/messages/{index}"))?;
        match read(&message, index, &args.protocol, &mut found) {
            Ok(()) => {}
            Err(Fault::Broken(reason)) if args.messages.len() == 1 => {
                return Err(ToolError::invalid("/messages/0", reason));
            }
            Err(Fault::Broken(reason) | Fault::Unread(reason)) => {
                found.unknown.push(json!({ "message_index": index, "reason": reason }));
            }
        }
    }
    let mut warnings = Vec::new();
    if found.dm1.as_ref().is_some_and(Dm1::has_old_layout) {
        warnings.push(warning(
            "conversion_method",
            "A fault is marked as written in an older layout of the SPN; check the number with the maker's list.",
        ));
    }
    if !found.unknown.is_empty() {
        let count = found.unknown.len();
        warnings.push(warning("messages_not_read", format!("{count} messages were not read.")));
    }
    Ok(json!({
        "values": found.values,
        "dtcs": found.dtcs,
        "dm1": found.dm1.map(|dm1| dm1.to_json()),
        "unknown": found.unknown,
        "method": "SAE J1979 services 01, 03, 07, 0A; SAE J2012 bit layout; SAE J1939-73 DM1",
        "warnings": warnings,
    }))
}
