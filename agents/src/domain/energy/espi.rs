//! Green Button (ESPI) files: the interval readings inside.
//!
//! The reader pulls events and keeps only what it needs. A document type is refused and entities are
//! never expanded, so a hostile file costs no more than its own length.

use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::series::Reading;
use crate::tool::ToolError;

/// Largest file read, bytes: ten years of one-minute readings fit.
const MAX_BYTES: usize = 64 << 20;
/// Deepest nesting; published files stay below ten.
const MAX_DEPTH: usize = 32;
/// Most readings in one file.
const MAX_READINGS: usize = 1_000_000;

/// Unit code of watt-hours in ESPI's `UnitSymbolKind`.
const UOM_WATT_HOUR: i64 = 72;
/// Unit code of watts in ESPI's `UnitSymbolKind`.
const UOM_WATT: i64 = 38;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    uom: i64,
    power_of_ten: i32,
}

#[derive(Default)]
struct Raw {
    start: Option<i64>,
    duration: Option<i64>,
    value: Option<i64>,
}

#[derive(Default)]
struct Parser {
    path: Vec<String>,
    text: String,
    uom: Option<i64>,
    power_of_ten: i32,
    units: Vec<Unit>,
    current: Raw,
    raws: Vec<Raw>,
}

fn fault(message: impl std::fmt::Display) -> ToolError {
    ToolError::invalid("/dataset", format!("the Green Button file cannot be read: {message}"))
}

impl Parser {
    fn open(&mut self, name: &str) -> Result<(), ToolError> {
        if self.path.len() >= MAX_DEPTH {
            return Err(fault("it is nested too deeply"));
        }
        let name = name.to_owned();
        match name.as_str() {
            "IntervalReading" => self.current = Raw::default(),
            "ReadingType" => (self.uom, self.power_of_ten) = (None, 0),
            _ => {}
        }
        self.path.push(name);
        self.text.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), ToolError> {
        let Some(name) = self.path.pop() else { return Err(fault("a closing tag is alone")) };
        let parent = self.path.last().map_or("", String::as_str);
        let number = || {
            self.text.trim().parse::<i64>().map_err(|_| fault(format!("{name} is no whole number")))
        };
        match (parent, name.as_str()) {
            ("ReadingType", "uom") => self.uom = Some(number()?),
            ("ReadingType", "powerOfTenMultiplier") => {
                self.power_of_ten = i32::try_from(number()?)
                    .ok()
                    .filter(|power| (-12..=12).contains(power))
                    .ok_or_else(|| fault("powerOfTenMultiplier is out of range"))?;
            }
            (_, "ReadingType") => {
                if let Some(uom) = self.uom {
                    let unit = Unit { uom, power_of_ten: self.power_of_ten };
                    if !self.units.contains(&unit) {
                        self.units.push(unit);
                    }
                }
            }
            ("IntervalReading", "value") => self.current.value = Some(number()?),
            ("timePeriod", "start") => self.current.start = Some(number()?),
            ("timePeriod", "duration") => self.current.duration = Some(number()?),
            (_, "IntervalReading") => {
                if self.raws.len() >= MAX_READINGS {
                    return Err(fault("it holds more than a million readings"));
                }
                self.raws.push(std::mem::take(&mut self.current));
            }
            _ => {}
        }
        self.text.clear();
        Ok(())
    }

    fn finish(self) -> Result<Vec<Reading>, ToolError> {
        let unit = match self.units.as_slice() {
            [unit] => *unit,
            [] => return Err(fault("it names no unit (ReadingType/uom)")),
            _ => {
                return Err(fault(
                    "it mixes reading types of different units; upload one meter reading per file",
                ));
            }
        };
        let scale = 10f64.powi(unit.power_of_ten);
        let readings = self.raws.into_iter().filter_map(|raw| {
            let (start, seconds, value) = (raw.start?, raw.duration?, raw.value?);
            Some((start, seconds, value))
        });
        readings
            .map(|(start, seconds, value)| {
                let start = Timestamp::from_second(start).map_err(fault)?;
                let seconds = i32::try_from(seconds)
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .ok_or_else(|| fault("a reading has no positive duration"))?;
                let seconds = f64::from(seconds);
                #[expect(clippy::cast_precision_loss, reason = "meter values are below 2^48")]
                let value = value as f64 * scale;
                let watt_hours = match unit.uom {
                    UOM_WATT_HOUR => value,
                    UOM_WATT => value * seconds / 3600.0,
                    other => {
                        return Err(fault(format!(
                            "unit code {other} is not electricity in Wh (72) or W (38)"
                        )));
                    }
                };
                Ok(Reading { start, seconds, kwh: watt_hours / 1000.0 })
            })
            .collect()
    }
}

/// Tells whether the bytes look like XML rather than a table.
pub(super) fn is_xml(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<')
}

/// Reads the interval readings of a Green Button file, in file order.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ no XML, a document type, too large or deep, or units other than
/// Wh and W.
///
/// # Source
/// NAESB REQ.21 (ESPI): `ReadingType` carries `uom` and `powerOfTenMultiplier`, `IntervalReading`
/// carries `timePeriod` in epoch seconds UTC and `value`.
pub(crate) fn readings(bytes: &[u8]) -> Result<Vec<Reading>, ToolError> {
    if bytes.len() > MAX_BYTES {
        return Err(fault("it is larger than 64 MiB"));
    }
    let mut reader = Reader::from_reader(bytes);
    let mut parser = Parser::default();
    loop {
        match reader.read_event().map_err(fault)? {
            Event::Start(tag) => parser.open(tag.local_name().as_ref())?,
            Event::End(_) => parser.close()?,
            Event::Text(text) => parser.text.push_str(&text),
            Event::DocType(_) => return Err(fault("document types are not accepted")),
            Event::Eof => break,
            _ => {}
        }
    }
    parser.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(uom: i64, power: i64) -> String {
        format!(
            "<feed><ReadingType><powerOfTenMultiplier>{power}</powerOfTenMultiplier><uom>{uom}</uom>\
             </ReadingType><IntervalReading><timePeriod><duration>900</duration><start>0</start>\
             </timePeriod><value>250</value></IntervalReading></feed>"
        )
    }

    #[test]
    fn the_multiplier_scales_watt_hours() {
        let readings = readings(file(72, 3).as_bytes()).unwrap();
        assert!((readings[0].kwh - 250.0).abs() < 1e-9);
    }

    #[test]
    fn watts_become_energy_by_the_length_of_the_interval() {
        let readings = readings(file(38, 0).as_bytes()).unwrap();
        assert!((readings[0].kwh - 0.0625).abs() < 1e-12);
    }

    #[test]
    fn a_document_type_and_a_gas_unit_are_refused() {
        let bomb = "<!DOCTYPE feed [<!ENTITY a \"aaaa\">]><feed>&a;</feed>";
        assert_eq!(readings(bomb.as_bytes()).unwrap_err().code(), "invalid_input");
        assert_eq!(readings(file(119, 0).as_bytes()).unwrap_err().code(), "invalid_input");
    }
}
