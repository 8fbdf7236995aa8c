//! From a payload to a request or to an observation: sentences with places that JSON Pointers fill,
//! under conditions.

use agents::outcome::micros::Micros;
use agents::outcome::readout::Observation;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest sentence, bytes.
const MAX_TEMPLATE: usize = 4000;

/// Most conditions.
const MAX_CONDITIONS: usize = 20;

/// What is made of a payload: a request, or an observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// A sentence that is asked; `{{/pointer}}` stands for what the payload has there. Empty where an
    /// observation is made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// What is observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observed>,
    /// All must hold, or the message starts nothing.
    #[serde(default)]
    pub when: Vec<Condition>,
}

/// How an observation is made of a payload. Each text has places as a request does, and the whole of it
/// is read as what the member is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// KPI of the pack; no places.
    pub metric: String,
    /// Unit that was observed, such as `{{/data/player}}`.
    pub unit: String,
    /// Value, a decimal number.
    pub value: String,
    /// Weight of a ratio; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Instant of the observation; that of the message's arrival where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Identifier of the observation; that of the message where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What a payload must have at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// JSON Pointer.
    pub pointer: String,
    /// The value that must be there.
    pub equals: Value,
}

/// What a payload comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// This is asked.
    Request(String),
    /// This was observed.
    Observation(Observation),
    /// A condition does not hold, this one.
    Skipped(String),
    /// Something is missing, this.
    Unmapped(String),
}

/// A message beside its payload.
#[derive(Debug, Clone, Copy)]
pub struct Came<'a> {
    /// What its sender calls it.
    pub id: &'a str,
    /// When it arrived.
    pub at: Timestamp,
}

/// The next place in a sentence: what stands before it, its pointer, what follows.
fn place(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (pointer, after) = rest.split_once("}}")?;
    Some((before, pointer.trim(), after))
}

/// Returns the pointers of a text.
fn pointers(text: &str) -> Result<Vec<&str>, String> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((_, pointer, after)) = place(rest) {
        found.push(pointer);
        rest = after;
    }
    if rest.contains("{{") {
        return Err(format!("a place in `{text}` is not closed by `}}}}`"));
    }
    Ok(found)
}

/// Fills the places of a text; what the payload says is never read for places.
fn filled(text: &str, payload: &Value) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, pointer, after)) = place(rest) {
        out.push_str(before);
        match payload.pointer(pointer) {
            Some(Value::String(text)) => out.push_str(text),
            None | Some(Value::Null) => {
                return Err(format!("the payload has nothing at `{pointer}`"));
            }
            Some(value) => out.push_str(&value.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

impl Observed {
    /// Every text that has places, by name.
    fn texts(&self) -> Vec<(&'static str, &str)> {
        let mut all = vec![("unit", self.unit.as_str()), ("value", self.value.as_str())];
        for (name, text) in [("weight", &self.weight), ("at", &self.at), ("id", &self.id)] {
            all.extend(text.as_deref().map(|text| (name, text)));
        }
        all
    }

    fn of(&self, payload: &Value, came: Came<'_>) -> Result<Observation, String> {
        let number = |what: &str, text: &str| -> Result<Micros, String> {
            let text = filled(text, payload)?;
            text.trim().parse().map_err(|error| format!("{what}: `{text}` is no number: {error}"))
        };
        let at = match &self.at {
            None => came.at,
            Some(text) => {
                let text = filled(text, payload)?;
                let read = text.trim().parse();
                read.map_err(|_| {
                    format!("at: `{text}` is no instant such as 2027-03-01T00:00:00Z")
                })?
            }
        };
        Ok(Observation {
            id: match &self.id {
                None => came.id.to_owned(),
                Some(text) => filled(text, payload)?,
            },
            unit: filled(&self.unit, payload)?,
            metric: self.metric.clone(),
            at,
            value: number("value", &self.value)?,
            weight: match &self.weight {
                None => Micros::ONE,
                Some(text) => number("weight", text)?,
            },
        })
    }
}

impl Mapping {
    /// Checks the sentences and the conditions. The metric is checked against the pack elsewhere.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn checked(&self) -> Result<(), String> {
        let sentences = match &self.observation {
            None => vec![("request", self.request.as_str())],
            Some(_) if !self.request.is_empty() => {
                return Err("give `request` or `observation`, not both".to_owned());
            }
            Some(observed) => observed.texts(),
        };
        if self.when.len() > MAX_CONDITIONS {
            return Err(format!("there are more than {MAX_CONDITIONS} conditions"));
        }
        let mut all: Vec<&str> = self.when.iter().map(|c| c.pointer.as_str()).collect();
        for (name, text) in sentences {
            if text.trim().is_empty() || text.len() > MAX_TEMPLATE {
                return Err(format!("`{name}` is a text of 1 to {MAX_TEMPLATE} bytes"));
            }
            all.extend(pointers(text)?);
        }
        match all.iter().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            Some(wrong) => {
                Err(format!("`{wrong}` is no JSON Pointer; write `/data/invoice/number`"))
            }
            None => Ok(()),
        }
    }

    /// Makes the request or the observation of a payload.
    pub fn of(&self, payload: &Value, came: Came<'_>) -> Mapped {
        for condition in &self.when {
            if payload.pointer(&condition.pointer) != Some(&condition.equals) {
                let Condition { pointer, equals } = condition;
                return Mapped::Skipped(format!("`{pointer}` is not {equals}"));
            }
        }
        let made = match &self.observation {
            None => filled(&self.request, payload).map(Mapped::Request),
            Some(observed) => observed.of(payload, came).map(Mapped::Observation),
        };
        made.unwrap_or_else(Mapped::Unmapped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mapping(request: &str) -> Mapping {
        let when = vec![Condition { pointer: "/type".to_owned(), equals: json!("paid") }];
        Mapping { request: request.to_owned(), observation: None, when }
    }

    const CAME: Came<'_> = Came { id: "msg_1", at: Timestamp::UNIX_EPOCH };

    #[test]
    fn a_request_is_filled_from_the_payload_and_nothing_is_read_twice() {
        let payload = json!({"type": "paid", "a/b": {"n": 12.50, "list": [1, "x"]}, "text": "{{/type}}",
                             "none": null});
        for (request, expected) in [
            ("Pay {{/a~1b/n}}.", Mapped::Request("Pay 12.5.".to_owned())),
            ("{{ /a~1b/list/1 }}{{/a~1b/list}}", Mapped::Request("x[1,\"x\"]".to_owned())),
            // What a payload says is text, not a place.
            ("Say {{/text}}", Mapped::Request("Say {{/type}}".to_owned())),
            ("No place", Mapped::Request("No place".to_owned())),
            ("{{/gone}}", Mapped::Unmapped("the payload has nothing at `/gone`".to_owned())),
            ("{{/none}}", Mapped::Unmapped("the payload has nothing at `/none`".to_owned())),
        ] {
            assert_eq!(mapping(request).checked(), Ok(()), "{request}");
            assert_eq!(mapping(request).of(&payload, CAME), expected, "{request}");
        }
        let other = mapping("x").of(&json!({ "type": "open" }), CAME);
        assert_eq!(other, Mapped::Skipped("`/type` is not \"paid\"".to_owned()));
    }

    #[test]
    fn a_sentence_that_cannot_be_filled_is_refused_when_it_is_written() {
        for request in ["", "  ", "{{data}}", "{{/a", "a {{/a}} {{", &"x".repeat(4001)] {
            assert!(mapping(request).checked().is_err(), "{request}");
        }
    }

    #[test]
    fn an_observation_is_made_of_the_payload_and_of_the_message_where_it_says_nothing() {
        let observed = |value: &str, more: Value| {
            let mut text = json!({"metric": "spend", "unit": "{{/who}}", "value": value});
            text.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let mapping: Mapping = serde_json::from_value(json!({ "observation": text })).unwrap();
            assert_eq!(mapping.checked(), Ok(()), "{value}");
            let payload = json!({"who": "p1", "sum": 12.5, "text": "0.07", "on": "2027-03-01T00:00:00Z",
                                 "bad": "a lot", "fine": 0.000_000_1});
            mapping.of(&payload, CAME)
        };
        let made = Observation {
            id: "msg_1".to_owned(),
            unit: "p1".to_owned(),
            metric: "spend".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            value: Micros(12_500_000),
            weight: Micros::ONE,
        };
        assert_eq!(observed("{{/sum}}", json!({})), Mapped::Observation(made.clone()));
        let more = json!({"id": "{{/who}}-{{/on}}", "at": "{{/on}}", "weight": "{{/text}}"});
        let told = Observation {
            id: "p1-2027-03-01T00:00:00Z".to_owned(),
            at: "2027-03-01T00:00:00Z".parse().unwrap(),
            weight: Micros(70_000),
            ..made
        };
        assert_eq!(observed("{{/sum}}", more), Mapped::Observation(told));
        for (value, more) in [
            ("{{/gone}}", json!({})),
            ("{{/bad}}", json!({})),
            ("{{/fine}}", json!({})),
            ("1", json!({"at": "{{/bad}}"})),
            ("1", json!({"weight": "{{/who}}"})),
        ] {
            let mapped = observed(value, more);
            assert!(matches!(mapped, Mapped::Unmapped(_)), "{value}: {mapped:?}");
        }
    }

    #[test]
    fn a_mapping_says_one_thing_to_make() {
        for wrong in [
            json!({}),
            json!({"request": "x", "observation": {"metric": "m", "unit": "u", "value": "1"}}),
            json!({"observation": {"metric": "m", "unit": "", "value": "1"}}),
            json!({"observation": {"metric": "m", "unit": "{{who}}", "value": "1"}}),
            json!({"observation": {"metric": "m", "unit": "u", "value": "{{/v"}}),
        ] {
            let mapping: Mapping = serde_json::from_value(wrong.clone()).unwrap();
            assert!(mapping.checked().is_err(), "{wrong}");
        }
    }
}
