//! OpenADR 3 events as a plain list of limits and prices.

use jiff::{Span, Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::number::tidy;
use crate::tool::{ToolContext, ToolError, money, warning};

/// Largest event file, bytes.
const MAX_BYTES: usize = 4 << 20;
/// Most intervals, as in the schema of the inline form.
const MAX_INTERVALS: usize = 288;
/// Start that means "now" in OpenADR 3.
const IMMEDIATELY: &str = "0000-00-00";

fn fault(pointer: &str, message: impl Into<String>) -> ToolError {
    ToolError::invalid(pointer, message)
}

/// Start and length of an event or interval; either may come from the event.
#[derive(Clone, Default)]
struct Period {
    start: Option<Timestamp>,
    duration: Option<Span>,
}

impl Period {
    fn read(value: Option<&Value>, pointer: &str, now: Timestamp) -> Result<Self, ToolError> {
        let Some(object) = value.and_then(Value::as_object) else { return Ok(Self::default()) };
        let start =
            match object.get("start").and_then(Value::as_str) {
                None => None,
                Some(text) if text.starts_with(IMMEDIATELY) => Some(now),
                Some(text) => Some(text.parse().map_err(|_| {
                    fault(pointer, format!("start `{text}` is no RFC 3339 date-time"))
                })?),
            };
        let duration = match object.get("duration").and_then(Value::as_str) {
            None => None,
            Some(text) => Some(duration(text, pointer)?),
        };
        Ok(Self { start, duration })
    }
}

/// Parses an ISO 8601 duration such as `PT15M`.
fn duration(text: &str, pointer: &str) -> Result<Span, ToolError> {
    let wrong = || fault(pointer, format!("duration `{text}` is not ISO 8601, such as PT15M"));
    // The parser also knows phrases such as "1 hour", which the standard does not.
    if !text.starts_with('P') {
        return Err(wrong());
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    if span.is_zero() { Err(fault(pointer, "a duration of zero covers nothing")) } else { Ok(span) }
}

fn after(start: Timestamp, span: Span, pointer: &str) -> Result<Timestamp, ToolError> {
    start.to_zoned_datetime(TimeZone::UTC).checked_add(span).map(|end| end.timestamp()).map_err(
        |_| fault(pointer, "the interval has no end in the calendar; give a finite duration"),
    )
}

fn whole_seconds(at: Timestamp) -> Result<String, ToolError> {
    Timestamp::from_second(at.as_second())
        .map(|at| at.to_string())
        .map_err(|_| fault("/event", "a time is out of range"))
}

fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns the first value of a payload, and whether the list around it was missing.
fn first_value(payload: &Value) -> (Option<&Value>, bool) {
    match payload.get("values") {
        Some(Value::Array(values)) => (values.first(), false),
        Some(Value::Null) | None => (None, false),
        Some(bare) => (Some(bare), true),
    }
}

fn number_of(value: Option<&Value>) -> Option<f64> {
    let value = value?;
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|n: &f64| n.is_finite())
}

/// Returns `units` that the event declares for a payload type, in capitals.
fn unit_of(event: &Map<String, Value>, kind: &str) -> Option<String> {
    let descriptors = event.get("payloadDescriptors")?.as_array()?;
    let descriptor =
        descriptors.iter().find(|d| d.get("payloadType").and_then(Value::as_str) == Some(kind))?;
    Some(descriptor.get("units")?.as_str()?.to_ascii_uppercase())
}

/// Returns the currency of the prices, else the first one that any descriptor names.
fn currency_of(event: &Map<String, Value>) -> Option<String> {
    let descriptors = event.get("payloadDescriptors")?.as_array()?;
    let currency = |d: &Value| d.get("currency").and_then(Value::as_str).map(str::to_owned);
    let priced = descriptors
        .iter()
        .filter(|d| d.get("payloadType").and_then(Value::as_str) == Some("PRICE"));
    priced.chain(descriptors).find_map(currency)
}

#[derive(Default)]
struct Payloads {
    import_kw: Option<f64>,
    export_kw: Option<f64>,
    price: Option<String>,
    level: Option<i64>,
    other: Vec<String>,
    bare: bool,
    unread: bool,
}

fn payloads(
    event: &Map<String, Value>,
    interval: &Value,
    pointer: &str,
) -> Result<Payloads, ToolError> {
    let mut found = Payloads::default();
    let power = |kind: &str, value: Option<&Value>| {
        let factor = match unit_of(event, kind).as_deref() {
            None | Some("KW") => Some(1.0),
            Some("W") => Some(0.001),
            Some("MW") => Some(1000.0),
            Some(_) => None,
        };
        Some(tidy(number_of(value)? * factor?))
    };
    let list = interval.get("payloads").and_then(Value::as_array);
    for payload in list.into_iter().flatten() {
        let kind = payload.get("type").and_then(Value::as_str).unwrap_or("UNNAMED");
        let (value, bare) = first_value(payload);
        found.bare |= bare;
        let read = match kind {
            "IMPORT_CAPACITY_LIMIT" => {
                found.import_kw = power(kind, value);
                found.import_kw.is_some()
            }
            "EXPORT_CAPACITY_LIMIT" => {
                found.export_kw = power(kind, value);
                found.export_kw.is_some()
            }
            "PRICE" => {
                found.price = price(event, value, pointer)?;
                found.price.is_some()
            }
            "SIMPLE" => {
                found.level = value.and_then(Value::as_i64).filter(|level| (0..=3).contains(level));
                found.level.is_some()
            }
            other => {
                found.other.push(other.to_owned());
                true
            }
        };
        if !read {
            found.unread = true;
            found.other.push(kind.to_owned());
        }
    }
    Ok(found)
}

/// Returns the price per kWh as a decimal string of at most six places.
fn price(
    event: &Map<String, Value>,
    value: Option<&Value>,
    pointer: &str,
) -> Result<Option<String>, ToolError> {
    let Some(text) = text_of(value) else { return Ok(None) };
    let per_unit = money::parse(&text, pointer)?;
    let per_kwh = match unit_of(event, "PRICE").as_deref() {
        None | Some("KWH") => per_unit,
        Some("MWH") => per_unit / rust_decimal::Decimal::ONE_THOUSAND,
        Some(_) => return Ok(None),
    };
    Ok(Some(money::round_to(per_kwh, 6).normalize().to_string()))
}

fn load(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let Some(id) = arguments.get("dataset").and_then(Value::as_str) else {
        return Ok(arguments.get("event").cloned().unwrap_or_default());
    };
    let bytes = context.datasets.file(id)?;
    if bytes.len() > MAX_BYTES {
        return Err(fault("/dataset", "the event file is larger than 4 MiB"));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        fault("/dataset", format!("`{id}` is no OpenADR 3 event in JSON: {error}"))
    })
}

/// Reads an event.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ no event object, no intervals, no period anywhere, a duration that
/// is not ISO 8601; [`ToolError::NoData`] ⇐ unknown dataset.
///
/// # Source
/// OpenADR 3.0 and 3.1 definition, `event` and `intervalPeriod`.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let event = load(arguments, context)?;
    let event =
        event.as_object().ok_or_else(|| fault("/dataset", "the file is no event object"))?;
    let program = text_of(event.get("programID"))
        .ok_or_else(|| fault("/event/programID", "the event names no programID"))?;
    let list = event.get("intervals").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if list.is_empty() || list.len() > MAX_INTERVALS {
        return Err(fault("/event/intervals", "the event must have 1 to 288 intervals"));
    }
    let default = Period::read(event.get("intervalPeriod"), "/event/intervalPeriod", context.now)?;
    let mut next = default.start;
    let mut rows = Vec::new();
    let (mut first, mut last): (Option<Timestamp>, Option<Timestamp>) = (None, None);
    let (mut bare, mut unread) = (false, false);
    for (i, interval) in list.iter().enumerate() {
        let pointer = format!("/event/intervals/{i}");
        let own = Period::read(interval.get("intervalPeriod"), &pointer, context.now)?;
        let missing =
            || fault(&pointer, "neither the interval nor the event has start and duration");
        let start = own.start.or(next).ok_or_else(missing)?;
        let span = own.duration.or(default.duration).ok_or_else(missing)?;
        let end = after(start, span, &pointer)?;
        next = Some(end);
        first = Some(first.map_or(start, |at| at.min(start)));
        last = Some(last.map_or(end, |at| at.max(end)));
        let found = payloads(event, interval, &pointer)?;
        bare |= found.bare;
        unread |= found.unread;
        rows.push(json!({
            "interval_id": interval.get("id").and_then(Value::as_i64).map_or(json!(i), |id| json!(id)),
            "start": whole_seconds(start)?,
            "end": whole_seconds(end)?,
            "duration_minutes": tidy(end.duration_since(start).as_secs_f64() / 60.0),
            "import_limit_kw": found.import_kw,
            "export_limit_kw": found.export_kw,
            "price_per_kwh": found.price,
            "simple_level": found.level,
            "other": found.other,
        }));
    }
    let mut warnings = Vec::new();
    if bare {
        warnings.push(warning(
            "nonconforming_values",
            "Some payloads give a bare value where OpenADR 3 wants a list; the value was read.",
        ));
    }
    if unread {
        warnings.push(warning(
            "unread_payloads",
            "Some payloads have no usable value or a unit that is not known, and were not read.",
        ));
    }
    Ok(json!({
        "event_id": text_of(event.get("id")),
        "program_id": program,
        "event_name": event.get("eventName").and_then(Value::as_str),
        "priority": event.get("priority").and_then(Value::as_i64),
        "currency": currency_of(event),
        "start": whole_seconds(first.unwrap_or(context.now))?,
        "end": whole_seconds(last.unwrap_or(context.now))?,
        "intervals": rows,
        "method": "OpenADR 3.0 and 3.1 event, v1",
        "warnings": warnings,
    }))
}
