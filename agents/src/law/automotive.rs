//! Laws of the automotive tools.

use std::sync::Arc;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use super::{Law, call, ensure, items, number, slip};
use crate::demo::Chance;
use crate::pack::Pack;
use crate::port::DatasetSource;
use crate::tool::{Table, ToolContext, ToolError, Window};

pub(super) const LAWS: &[Law] = &[
    Law {
        name: "one wrong digit in a VIN with a mandatory check digit is always caught",
        industry: "automotive",
        tool: "vin_decode",
        check: a_slip_in_a_vin_is_caught,
    },
    Law {
        name: "decoding an encoded frame gives back every signal",
        industry: "automotive",
        tool: "can_decode",
        check: decoding_undoes_encoding,
    },
];

/// Draws a VIN of the United States whose check digit agrees.
///
/// # Source
/// 49 CFR 565.15: values of letters and weights of positions, modulo 11.
fn vin(chance: &mut Chance) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPRSTUVWXYZ0123456789";
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let value = |c: u8| match c {
        b'0'..=b'9' => u32::from(c - b'0'),
        b'A'..=b'H' => u32::from(c - b'A') + 1,
        b'J'..=b'N' => u32::from(c - b'J') + 1,
        b'P' => 7,
        b'R' => 9,
        _ => u32::from(c - b'S') + 2,
    };
    let mut draft: Vec<u8> =
        (0..17).map(|_| LETTERS.choose(chance).copied().unwrap_or(b'0')).collect();
    draft[0] = b"145"[chance.random_range(0..3_usize)];
    // Position 10 is the model year, which has no zero, U or Z; the last five are digits.
    draft[9] = b"ABCDEFGHJKLMNPRSTVWXY123456789"[chance.random_range(0..30_usize)];
    for place in &mut draft[12..] {
        *place = b'0' + chance.random_range(0..10_u8);
    }
    let sum: u32 = draft.iter().zip(WEIGHTS).map(|(c, weight)| value(*c) * weight).sum();
    draft[8] = match sum % 11 {
        10 => b'X',
        digit => b"0123456789"[digit as usize],
    };
    draft.into_iter().map(char::from).collect()
}

fn a_slip_in_a_vin_is_caught(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let right = vin(chance);
    let wrong = slip(chance, &right).ok_or("the VIN has no digit")?;
    let decode =
        |vin: &str| call(pack, context, "vin_decode", &json!({ "vin": vin, "market": "US" }));
    let found = decode(&right)?;
    ensure(found["verdict"] == json!("valid"), || {
        format!("{right} is sound, but its verdict is {}", found["verdict"])
    })?;
    let found = decode(&wrong)?;
    ensure(found["verdict"] == json!("invalid"), || {
        format!(
            "{wrong} differs from {right} in one digit, but its verdict is {}",
            found["verdict"]
        )
    })
}

/// A signal of a drawn message.
struct Signal {
    /// Start bit as the database states it.
    start: usize,
    length: usize,
    signed: bool,
    /// In hundredths.
    factor: i32,
    offset: i32,
    raw: i64,
}

/// A drawn message: its signals and the bytes that carry their raw values.
struct Message {
    big_endian: bool,
    signals: Vec<Signal>,
    data: [u8; 8],
}

impl Message {
    /// Cuts eight bytes into signals in the order in which their byte order walks through them.
    ///
    /// # Source
    /// DBC: `@1` counts bits from the least significant of byte 0 upwards; `@0` begins at the most
    /// significant bit of a byte and goes on with the next byte.
    fn draw(chance: &mut Chance) -> Self {
        let big_endian = chance.random_bool(0.5);
        let bit = |k: usize| if big_endian { k / 8 * 8 + 7 - k % 8 } else { k };
        let mut message = Self { big_endian, signals: Vec::new(), data: [0; 8] };
        let mut at = 0;
        while at < 64 {
            let length = chance.random_range(1..=32_usize).min(64 - at);
            let signed = length > 1 && chance.random_bool(0.5);
            let pattern = chance.random_range(0..1_u64 << length);
            for k in 0..length {
                // The first bit walked is the most significant one of a big-endian signal.
                let weight = if big_endian { length - 1 - k } else { k };
                let place = bit(at + k);
                message.data[place / 8] |= u8::from(pattern >> weight & 1 == 1) << (place % 8);
            }
            let high = signed && pattern >> (length - 1) == 1;
            let raw = pattern as i64 - if high { 1_i64 << length } else { 0 };
            let start = bit(at);
            let factor = chance.random_range(1..500_i32);
            let offset = chance.random_range(-5000..5000_i32);
            message.signals.push(Signal { start, length, signed, factor, offset, raw });
            at += length;
        }
        message
    }

    /// Writes the database that describes the message.
    fn dbc(&self) -> String {
        let mut text =
            "VERSION \"\"\n\nNS_ :\n\nBS_:\n\nBU_: ECU\n\nBO_ 291 DRAWN: 8 ECU\n".to_owned();
        for (i, signal) in self.signals.iter().enumerate() {
            text.push_str(&format!(
                " SG_ S{i} : {}|{}@{}{} ({},{}) [0|0] \"\" ECU\n",
                signal.start,
                signal.length,
                u8::from(!self.big_endian),
                if signal.signed { '-' } else { '+' },
                f64::from(signal.factor) / 100.0,
                f64::from(signal.offset) / 100.0,
            ));
        }
        text.push('\n');
        text
    }
}

/// One file under one name.
struct File(Arc<[u8]>);

impl DatasetSource for File {
    fn table(&self, id: &str, _: &Window) -> Result<Table, ToolError> {
        Err(ToolError::invalid("/dataset", format!("{id} is no table")))
    }

    fn file(&self, _: &str) -> Result<Arc<[u8]>, ToolError> {
        Ok(Arc::clone(&self.0))
    }
}

fn decoding_undoes_encoding(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let message = Message::draw(chance);
    let dbc = message.dbc();
    let file = File(Arc::from(dbc.as_bytes()));
    let context = ToolContext { datasets: &file, ..*context };
    let data = hex::encode_upper(message.data);
    let result = call(
        pack,
        &context,
        "can_decode",
        &json!({ "dbc": "drawn.dbc", "can_id": 291, "data": data }),
    )?;
    let frame = items(&result, "frames")?.first().ok_or("expected one frame, found none")?;
    let found = items(frame, "signals")?;
    ensure(found.len() == message.signals.len(), || {
        format!(
            "expected {} signals, found {} in {data} by\n{dbc}",
            message.signals.len(),
            found.len()
        )
    })?;
    for (i, signal) in message.signals.iter().enumerate() {
        let name = format!("S{i}");
        let decoded = found.iter().find(|decoded| decoded["name"] == name.as_str());
        let decoded = decoded.ok_or_else(|| format!("{name} is absent"))?;
        ensure(decoded["raw"].as_i64() == Some(signal.raw), || {
            format!(
                "{name}: expected raw {}, found {} in {data} by\n{dbc}",
                signal.raw, decoded["raw"]
            )
        })?;
        let expected =
            signal.raw as f64 * f64::from(signal.factor) / 100.0 + f64::from(signal.offset) / 100.0;
        let value = number(&decoded["value"])?;
        ensure((value - expected).abs() <= 1e-9 * expected.abs().max(1.0), || {
            format!("{name}: expected {expected}, found {value}")
        })?;
    }
    Ok(())
}
