//! From a payload to a request: a sentence with places that JSON Pointers fill, under conditions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest sentence, bytes.
const MAX_TEMPLATE: usize = 4000;

/// Most conditions.
const MAX_CONDITIONS: usize = 20;

/// How a request is made of a payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// A sentence; `{{/pointer}}` stands for what the payload has there.
    pub request: String,
    /// All must hold, or the message starts nothing.
    #[serde(default)]
    pub when: Vec<Condition>,
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
    /// A condition does not hold, this one.
    Skipped(String),
    /// Something is missing, this.
    Unmapped(String),
}

/// The next place in a sentence: what stands before it, its pointer, what follows.
fn place(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (pointer, after) = rest.split_once("}}")?;
    Some((before, pointer.trim(), after))
}

impl Mapping {
    /// Checks the sentence and the conditions.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn checked(&self) -> Result<(), String> {
        if self.request.trim().is_empty() || self.request.len() > MAX_TEMPLATE {
            return Err(format!("`request` is a sentence of 1 to {MAX_TEMPLATE} bytes"));
        }
        if self.when.len() > MAX_CONDITIONS {
            return Err(format!("there are more than {MAX_CONDITIONS} conditions"));
        }
        let mut rest = self.request.as_str();
        let mut pointers: Vec<&str> = self.when.iter().map(|c| c.pointer.as_str()).collect();
        while let Some((_, pointer, after)) = place(rest) {
            pointers.push(pointer);
            rest = after;
        }
        if rest.contains("{{") {
            return Err("a place in `request` is not closed by `}}`".to_owned());
        }
        match pointers.iter().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            Some(wrong) => {
                Err(format!("`{wrong}` is no JSON Pointer; write `/data/invoice/number`"))
            }
            None => Ok(()),
        }
    }

    /// Makes the request of a payload.
    pub fn of(&self, payload: &Value) -> Mapped {
        for condition in &self.when {
            if payload.pointer(&condition.pointer) != Some(&condition.equals) {
                let Condition { pointer, equals } = condition;
                return Mapped::Skipped(format!("`{pointer}` is not {equals}"));
            }
        }
        let (mut request, mut rest) = (String::new(), self.request.as_str());
        while let Some((before, pointer, after)) = place(rest) {
            request.push_str(before);
            match payload.pointer(pointer) {
                Some(Value::String(text)) => request.push_str(text),
                None | Some(Value::Null) => {
                    return Mapped::Unmapped(format!("the payload has nothing at `{pointer}`"));
                }
                Some(value) => request.push_str(&value.to_string()),
            }
            rest = after;
        }
        request.push_str(rest);
        Mapped::Request(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mapping(request: &str) -> Mapping {
        let when = vec![Condition { pointer: "/type".to_owned(), equals: json!("paid") }];
        Mapping { request: request.to_owned(), when }
    }

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
            assert_eq!(mapping(request).of(&payload), expected, "{request}");
        }
        let other = mapping("x").of(&json!({ "type": "open" }));
        assert_eq!(other, Mapped::Skipped("`/type` is not \"paid\"".to_owned()));
    }

    #[test]
    fn a_sentence_that_cannot_be_filled_is_refused_when_it_is_written() {
        for request in ["", "  ", "{{data}}", "{{/a", "a {{/a}} {{", &"x".repeat(4001)] {
            assert!(mapping(request).checked().is_err(), "{request}");
        }
    }
}
