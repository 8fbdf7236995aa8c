//! Named signals of CAN frames, from a DBC database that the tenant uploaded.

use std::collections::BTreeSet;

use can_dbc::Dbc;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{bytes, can};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

#[derive(Deserialize)]
struct Arguments {
    dbc: String,
    can_id: Option<u32>,
    data: Option<String>,
    #[serde(default)]
    extended: bool,
    dataset: Option<String>,
    #[serde(default)]
    signals: Vec<String>,
}

impl Arguments {
    fn wants(&self, signal: &str) -> bool {
        self.signals.is_empty() || self.signals.iter().any(|name| name == signal)
    }
}

/// What was decoded, and what kept some of it from being so.
#[derive(Default)]
struct Decoded {
    frames: Vec<Value>,
    summary: Vec<Row>,
    undecoded: usize,
    short: usize,
    longer: bool,
    unread: BTreeSet<String>,
}

/// The samples of one signal of a log.
struct Row {
    message: String,
    signal: String,
    unit: String,
    count: u32,
    min: f64,
    max: f64,
    sum: f64,
    last: f64,
}

impl Row {
    fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.last = value;
    }

    fn to_json(&self) -> Value {
        json!({
            "message": self.message, "signal": self.signal, "unit": self.unit,
            "count": self.count, "min": self.min, "max": self.max,
            "mean": self.sum / f64::from(self.count.max(1)), "last": self.last,
        })
    }
}

/// Decodes the one frame of the request.
fn inline(dbc: &Dbc, args: &Arguments, decoded: &mut Decoded) -> Result<(), ToolError> {
    let (Some(id), Some(text)) = (args.can_id, &args.data) else {
        return Err(ToolError::invalid("", "can_id and data, or a dataset, are needed"));
    };
    let data = bytes::of_hex(text, "/data")?;
    let message = can::message(dbc, id, args.extended)
        .ok_or_else(|| ToolError::no_data(format!("`{}` has no message {id}", args.dbc)))?;
    let size = usize::try_from(message.size).unwrap_or(usize::MAX);
    if data.len() < size {
        return Err(ToolError::invalid(
            "/data",
            format!("message {} has {size} bytes, {} were given", message.name, data.len()),
        ));
    }
    decoded.longer = data.len() > size;
    let (readings, unread) = can::read(dbc, message, &data);
    decoded.unread.extend(unread.into_iter().map(str::to_owned));
    let signals: Vec<Value> = readings
        .iter()
        .filter(|reading| args.wants(&reading.signal.name))
        .map(|reading| reading.to_json(dbc, message))
        .collect();
    decoded.frames.push(json!({ "can_id": id, "message": message.name, "signals": signals }));
    Ok(())
}

/// Reads an identifier as tools write it: `644`, `0x284`.
fn identifier(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Decodes a log and sums up each signal.
fn log(
    dbc: &Dbc,
    args: &Arguments,
    table: &crate::tool::Table,
    decoded: &mut Decoded,
) -> Result<(), ToolError> {
    let (id, data) = (table.column("can_id")?, table.column("data")?);
    let flag = table.find("extended");
    for (line, row) in table.rows.iter().enumerate() {
        let bad = |what: &str, text: &str| {
            let at = line + 2;
            ToolError::invalid("/dataset", format!("line {at}: `{text}` is no {what}"))
        };
        let number = identifier(&row[id]).ok_or_else(|| bad("identifier", &row[id]))?;
        let frame = bytes::of_hex(&row[data], "").map_err(|_| bad("frame", &row[data]))?;
        let extended = flag.is_some_and(|flag| matches!(row[flag].as_str(), "true" | "1"));
        let Some(message) = can::message(dbc, number, extended) else {
            decoded.undecoded += 1;
            continue;
        };
        if u64::try_from(frame.len()).unwrap_or(u64::MAX) < message.size {
            decoded.short += 1;
            continue;
        }
        let (readings, unread) = can::read(dbc, message, &frame);
        for name in unread {
            if !decoded.unread.contains(name) {
                decoded.unread.insert(name.to_owned());
            }
        }
        for reading in readings.iter().filter(|reading| args.wants(&reading.signal.name)) {
            let signal = &reading.signal.name;
            let known = decoded
                .summary
                .iter_mut()
                .find(|row| row.signal == *signal && row.message == message.name);
            match known {
                Some(row) => row.add(reading.value),
                None => decoded.summary.push(Row {
                    message: message.name.clone(),
                    signal: signal.clone(),
                    unit: reading.signal.unit.clone(),
                    count: 1,
                    min: reading.value,
                    max: reading.value,
                    sum: reading.value,
                    last: reading.value,
                }),
            }
        }
    }
    Ok(())
}

fn warnings(dbc: &Dbc, args: &Arguments, decoded: &Decoded) -> Vec<Value> {
    let mut warnings = Vec::new();
    let known =
        |name: &String| dbc.messages.iter().any(|m| m.signals.iter().any(|s| s.name == *name));
    let absent: Vec<&str> =
        args.signals.iter().filter(|name| !known(name)).map(String::as_str).collect();
    if !absent.is_empty() {
        let names = absent.join(", ");
        warnings.push(warning("signal_unknown", format!("The database has no signal {names}.")));
    }
    if decoded.longer {
        warnings.push(warning(
            "longer_than_message",
            "The frame is longer than its message; the bytes at its end were not read.",
        ));
    }
    if decoded.short > 0 {
        let count = decoded.short;
        warnings.push(warning(
            "short_frames",
            format!("{count} frames are shorter than their message and were left out."),
        ));
    }
    if !decoded.unread.is_empty() {
        let names: Vec<&str> = decoded.unread.iter().map(String::as_str).collect();
        warnings.push(warning(
            "signals_not_read",
            format!(
                "These signals lie outside their frame or hold no number: {}.",
                names.join(", ")
            ),
        ));
    }
    warnings
}

/// Decodes one frame, or sums up a log.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no such database, message or row; [`ToolError::InvalidInput`] ⇐ the
/// database does not parse, the frame is too short, or a cell does not read.
///
/// # Source
/// Vector DBC; see [`can::extract`].
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let dbc = can::database(&context.datasets.file(&args.dbc)?, &args.dbc)?;
    let mut decoded = Decoded::default();
    match &args.dataset {
        Some(id) => {
            let table = context.datasets.table(id, &window)?;
            if table.rows.is_empty() {
                return Err(ToolError::no_data(format!("`{id}` has no frame in this window")));
            }
            log(&dbc, &args, &table, &mut decoded)?;
        }
        None => inline(&dbc, &args, &mut decoded)?,
    }
    Ok(json!({
        "frames": decoded.frames,
        "summary": decoded.summary.iter().map(Row::to_json).collect::<Vec<_>>(),
        "undecoded_frames": decoded.undecoded,
        "method": "Vector DBC signal rules: Intel and Motorola byte order, two's complement, multiplexing; value = raw * factor + offset",
        "warnings": warnings(&dbc, &args, &decoded),
    }))
}
