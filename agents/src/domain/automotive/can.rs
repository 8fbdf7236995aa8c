//! Signals in a CAN frame, by the rules of a DBC database.

use can_dbc::{
    ByteOrder, Dbc, Message, MessageId, MultiplexIndicator, NumericValue, Signal,
    SignalExtendedValueType, ValueType,
};
use serde_json::{Value, json};

use crate::tool::ToolError;

/// Largest database that is read, bytes.
const MAX_DATABASE: usize = 16 << 20;

/// Multiplexors may depend on multiplexors this deep; more would be a circle.
const MAX_DEPTH: usize = 8;

/// One decoded signal.
pub(super) struct Reading<'a> {
    pub signal: &'a Signal,
    pub raw: Raw,
    pub value: f64,
}

/// The integer in the frame, after its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw {
    Unsigned(u64),
    Signed(i64),
}

impl Raw {
    fn to_json(self) -> Value {
        match self {
            Self::Unsigned(raw) => json!(raw),
            Self::Signed(raw) => json!(raw),
        }
    }

    /// Returns the raw as a float; above 2^53 it is rounded, as every reader of a DBC does.
    #[expect(clippy::cast_precision_loss, reason = "a physical value is a double")]
    fn as_f64(self) -> f64 {
        match self {
            Self::Unsigned(raw) => raw as f64,
            Self::Signed(raw) => raw as f64,
        }
    }
}

/// Reads a database; text that is no UTF-8 is taken as Latin-1, which DBC files mostly are.
///
/// # Errors
/// [`ToolError::InvalidInput`] with the parser's place and reason, or when the file is too large.
pub(super) fn database(bytes: &[u8], name: &str) -> Result<Dbc, ToolError> {
    if bytes.len() > MAX_DATABASE {
        return Err(ToolError::invalid("/dbc", format!("`{name}` is above {MAX_DATABASE} bytes")));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    Dbc::try_from(text.as_str()).map_err(|error| {
        ToolError::invalid("/dbc", format!("`{name}` is no DBC database: {error}"))
    })
}

/// Returns the message of an identifier; above 11 bits it can only be an extended one.
pub(super) fn message(dbc: &Dbc, id: u32, extended: bool) -> Option<&Message> {
    let wanted = match u16::try_from(id) {
        Ok(id) if !extended && id <= 0x7FF => MessageId::Standard(id),
        _ => MessageId::Extended(id),
    };
    dbc.messages.iter().find(|message| message.id == wanted)
}

/// Takes the bits of a signal out of a frame; `None` ⇐ they do not lie in it.
///
/// # Source
/// Vector DBC: bits are counted from 0 in byte 0 upwards. `@1` (Intel) starts at the least
/// significant bit and goes up; `@0` (Motorola) starts at the most significant bit and goes down in
/// its byte, then on from bit 7 of the next.
pub(super) fn extract(signal: &Signal, data: &[u8]) -> Option<u64> {
    if !(1..=64).contains(&signal.size) {
        return None;
    }
    let bit = |position: u64| -> Option<u64> {
        let byte = data.get(usize::try_from(position / 8).ok()?)?;
        Some(u64::from(byte >> (position % 8) & 1))
    };
    let mut raw = 0;
    let mut position = signal.start_bit;
    for i in 0..signal.size {
        match signal.byte_order {
            ByteOrder::LittleEndian => {
                raw |= bit(signal.start_bit.checked_add(i)?)? << i;
            }
            ByteOrder::BigEndian => {
                raw = raw << 1 | bit(position)?;
                position = if position.is_multiple_of(8) {
                    position.checked_add(15)?
                } else {
                    position - 1
                };
            }
        }
    }
    Some(raw)
}

/// Reads the bits as the two's complement of `size` bits.
fn signed(raw: u64, size: u64) -> i64 {
    let spare = u32::try_from(64_u64.saturating_sub(size)).unwrap_or(0).min(63);
    (raw << spare).cast_signed() >> spare
}

/// Decodes the signals that are present in a frame, in the order of the database; with those that
/// could not be read.
pub(super) fn read<'a>(
    dbc: &Dbc,
    message: &'a Message,
    data: &[u8],
) -> (Vec<Reading<'a>>, Vec<&'a str>) {
    let (mut readings, mut unread) = (Vec::new(), Vec::new());
    for signal in &message.signals {
        if !present(dbc, message, signal, data, 0) {
            continue;
        }
        match physical(dbc, message, signal, data) {
            Some(reading) => readings.push(reading),
            None => unread.push(signal.name.as_str()),
        }
    }
    (readings, unread)
}

fn physical<'a>(
    dbc: &Dbc,
    message: &Message,
    signal: &'a Signal,
    data: &[u8],
) -> Option<Reading<'a>> {
    let bits = extract(signal, data)?;
    let raw = match signal.value_type {
        ValueType::Signed => Raw::Signed(signed(bits, signal.size)),
        ValueType::Unsigned => Raw::Unsigned(bits),
    };
    let number = match dbc.extended_value_type_for_signal(message.id, &signal.name) {
        Some(SignalExtendedValueType::IEEEfloat32Bit) => {
            f64::from(f32::from_bits(u32::try_from(bits).ok()?))
        }
        Some(SignalExtendedValueType::IEEEdouble64bit) => f64::from_bits(bits),
        _ => raw.as_f64(),
    };
    let value = number * signal.factor + signal.offset;
    value.is_finite().then_some(Reading { signal, raw, value })
}

/// Tells whether the multiplexors of a frame select the signal.
fn present(dbc: &Dbc, message: &Message, signal: &Signal, data: &[u8], depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    let switched_by = |name: &str, chosen: &dyn Fn(u64) -> bool| {
        message.signals.iter().find(|other| other.name == name).is_some_and(|switch| {
            present(dbc, message, switch, data, depth + 1)
                && extract(switch, data).is_some_and(chosen)
        })
    };
    let extended = dbc
        .extended_multiplex
        .iter()
        .find(|rule| rule.message_id == message.id && rule.signal_name == signal.name);
    if let Some(rule) = extended {
        return switched_by(&rule.multiplexor_signal_name, &|raw| {
            rule.mappings.iter().any(|range| (range.min_value..=range.max_value).contains(&raw))
        });
    }
    match signal.multiplexer_indicator {
        MultiplexIndicator::Plain | MultiplexIndicator::Multiplexor => true,
        MultiplexIndicator::MultiplexedSignal(wanted)
        | MultiplexIndicator::MultiplexorAndMultiplexedSignal(wanted) => message
            .signals
            .iter()
            .find(|other| other.multiplexer_indicator == MultiplexIndicator::Multiplexor)
            .and_then(|switch| extract(switch, data))
            .is_some_and(|raw| raw == wanted),
    }
}

impl Reading<'_> {
    /// Returns the object of the contract.
    pub(super) fn to_json(&self, dbc: &Dbc, message: &Message) -> Value {
        let texts = dbc.value_descriptions_for_signal(message.id, &self.signal.name);
        let label = texts.into_iter().flatten().find(|text| match self.raw {
            Raw::Signed(raw) => text.id == raw,
            Raw::Unsigned(raw) => u64::try_from(text.id) == Ok(raw),
        });
        json!({
            "name": self.signal.name,
            "raw": self.raw.to_json(),
            "value": self.value,
            "unit": self.signal.unit,
            "label": label.map(|text| text.description.as_str()),
            "in_range": self.in_range(),
        })
    }

    /// A range of `[0|0]` means that none is given.
    fn in_range(&self) -> bool {
        let (min, max) = (number(self.signal.min), number(self.signal.max));
        min >= max || (min..=max).contains(&self.value)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a limit of a physical value is a double")]
fn number(value: NumericValue) -> f64 {
    match value {
        NumericValue::Uint(value) => value as f64,
        NumericValue::Int(value) => value as f64,
        NumericValue::Double(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with a multiplexor, two pages, a float, a label and a range.
    const DATABASE: &str = r#"VERSION ""

BU_: ECU

BO_ 2365587200 PAGED: 8 ECU
 SG_ PAGE M : 0|8@1+ (1,0) [0|0] "" ECU
 SG_ FIRST m0 : 8|8@1+ (0.5,-10) [0|50] "degC" ECU
 SG_ SECOND m1 : 8|8@1- (1,0) [0|0] "" ECU
 SG_ RATIO : 32|32@1- (1,0) [0|0] "" ECU

VAL_ 2365587200 SECOND 1 "charging" 0 "idle" ;
SIG_VALTYPE_ 2365587200 RATIO : 1;
"#;

    fn decoded(data: [u8; 8]) -> Vec<Value> {
        let dbc = database(DATABASE.as_bytes(), "paged.dbc").unwrap();
        let message = message(&dbc, 218_103_552, false).unwrap();
        let (readings, unread) = read(&dbc, message, &data);
        assert!(unread.is_empty(), "{unread:?}");
        readings.iter().map(|reading| reading.to_json(&dbc, message)).collect()
    }

    #[test]
    fn only_the_page_that_the_multiplexor_chooses_is_read() {
        let names = |data| -> Vec<String> {
            decoded(data).iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names([0, 1, 0, 0, 0, 0, 0, 0]), ["PAGE", "FIRST", "RATIO"]);
        assert_eq!(names([1, 1, 0, 0, 0, 0, 0, 0]), ["PAGE", "SECOND", "RATIO"]);
        assert_eq!(names([7, 1, 0, 0, 0, 0, 0, 0]), ["PAGE", "RATIO"]);
    }

    #[test]
    fn floats_labels_and_ranges_are_those_of_the_database() {
        let bits = 1.25_f32.to_le_bytes();
        let signals = decoded([1, 1, 0, 0, bits[0], bits[1], bits[2], bits[3]]);
        assert_eq!(signals[1]["label"], "charging");
        assert_eq!(signals[2]["value"], 1.25);
        let hot = decoded([0, 200, 0, 0, 0, 0, 0, 0]);
        assert_eq!((&hot[1]["value"], &hot[1]["in_range"]), (&json!(90.0), &json!(false)));
    }

    #[test]
    fn a_database_in_latin_1_keeps_its_units() {
        let text: Vec<u8> =
            DATABASE.replace("degC", "\u{b0}C").chars().map(|c| c as u32 as u8).collect();
        let dbc = database(&text, "latin.dbc").unwrap();
        assert_eq!(dbc.messages[0].signals[1].unit, "\u{b0}C");
    }
}
