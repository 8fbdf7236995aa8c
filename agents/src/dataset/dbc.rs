//! The signals of a CAN database as a table.

use std::borrow::Cow;

use can_dbc::{ByteOrder, Dbc, MultiplexIndicator, ValueType};

use super::source::{Each, hand_out};
use super::{DatasetError, text, unreadable};

/// See [`super::source::walk`].
pub(super) fn walk(bytes: &[u8], each: &mut Each<'_>) -> Result<Vec<String>, DatasetError> {
    let text = text::decode(bytes, text::encoding(bytes));
    let dbc = Dbc::try_from(&*text).map_err(|error| {
        let why = error.to_string();
        unreadable("the CAN database", why.lines().take(6).collect::<Vec<_>>().join(" "))
    })?;
    let total = dbc.messages.iter().map(|message| message.signals.len()).sum();
    let rows = dbc.messages.iter().flat_map(|message| {
        message.signals.iter().map(move |signal| {
            let order = match signal.byte_order {
                ByteOrder::LittleEndian => "little_endian",
                ByteOrder::BigEndian => "big_endian",
            };
            let multiplex = match signal.multiplexer_indicator {
                MultiplexIndicator::Multiplexor => "M".to_owned(),
                MultiplexIndicator::MultiplexedSignal(value) => format!("m{value}"),
                MultiplexIndicator::MultiplexorAndMultiplexedSignal(value) => format!("m{value}M"),
                MultiplexIndicator::Plain => String::new(),
            };
            let signed = signal.value_type == ValueType::Signed;
            [
                Cow::Owned(message.id.raw().to_string()),
                Cow::Borrowed(&*message.name),
                Cow::Borrowed(&*signal.name),
                Cow::Owned(signal.start_bit.to_string()),
                Cow::Owned(signal.size.to_string()),
                Cow::Borrowed(order),
                Cow::Borrowed(if signed { "true" } else { "false" }),
                Cow::Owned(signal.factor.to_string()),
                Cow::Owned(signal.offset.to_string()),
                Cow::Owned(signal.min.to_string()),
                Cow::Owned(signal.max.to_string()),
                Cow::Borrowed(&*signal.unit),
                Cow::Owned(multiplex),
            ]
        })
    });
    let names = [
        "can_id",
        "message",
        "signal",
        "start_bit",
        "length",
        "byte_order",
        "signed",
        "factor",
        "offset",
        "min",
        "max",
        "unit",
        "multiplex",
    ];
    hand_out(names, rows, total, each)
}
