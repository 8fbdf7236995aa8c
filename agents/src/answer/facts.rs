//! Whether each number of an answer is in the tool's result, in its arguments or in the words of the
//! template: the proof that an answer states nothing of its own.

use std::collections::HashSet;

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;

/// Most decimals to which a template rounds.
const MAX_SCALE: u32 = 8;

/// Returns the numbers of an answer that neither `values` (a result and its arguments) nor the
/// template's own words state.
///
/// A number is stated by a value that rounds to it at the decimals it is written with, by a share
/// of which it is the percentage, or by the number of elements of an array or a position in one.
pub fn unfounded(answer: &str, values: &[&Value], template: &str) -> Vec<String> {
    let mut known = Known::default();
    values.iter().for_each(|value| known.read(value));
    let literal: HashSet<String> = numbers(template).collect();
    let mut found: Vec<String> =
        numbers(answer).filter(|n| !literal.contains(n) && !known.states(n)).collect();
    found.dedup();
    found
}

#[derive(Default)]
struct Known {
    numbers: Vec<Decimal>,
    /// Runs of digits inside texts: dates, codes.
    texts: HashSet<String>,
    longest: usize,
}

impl Known {
    fn read(&mut self, value: &Value) {
        match value {
            Value::Number(number) => self.add(&number.to_string()),
            Value::String(text) => {
                self.add(text);
                self.texts.extend(numbers(text));
            }
            Value::Array(items) => {
                self.longest = self.longest.max(items.len());
                items.iter().for_each(|item| self.read(item));
            }
            Value::Object(object) => {
                for (name, value) in object {
                    // A table may be keyed by its numbers.
                    self.texts.extend(numbers(name));
                    self.read(value);
                }
            }
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn add(&mut self, text: &str) {
        let read = text.parse().or_else(|_| Decimal::from_scientific(text));
        self.numbers.extend(read.ok().map(|number: Decimal| number.abs()));
    }

    fn states(&self, text: &str) -> bool {
        let Ok(said) = text.parse::<Decimal>() else { return false };
        let counts = |n: usize| said <= Decimal::from(n);
        if self.texts.contains(text) || (said.is_integer() && counts(self.longest)) {
            return true;
        }
        let places = said.scale().min(MAX_SCALE);
        let rounds = |number: Decimal| {
            let near = RoundingStrategy::MidpointAwayFromZero;
            let even = RoundingStrategy::MidpointNearestEven;
            [near, even].iter().any(|way| number.round_dp_with_strategy(places, *way) == said)
        };
        self.numbers.iter().any(|number| {
            rounds(*number) || number.checked_mul(Decimal::ONE_HUNDRED).is_some_and(rounds)
        })
    }
}

/// Finds the numbers of a text, without sign and separators of thousands.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let mut at = 0;
    while at < chars.len() {
        if !digit(at) {
            at += 1;
            continue;
        }
        let mut number = String::new();
        while digit(at) {
            number.push(chars[at]);
            at += 1;
            let groups = chars.get(at) == Some(&',') && (1..4).all(|n| digit(at + n));
            if groups && !digit(at + 4) {
                at += 1;
            } else if chars.get(at) == Some(&'.') && digit(at + 1) && !number.contains('.') {
                number.push('.');
                at += 1;
            }
        }
        found.push(number);
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_found_as_people_write_them() {
        let found: Vec<String> = numbers("**1,199.10 USD** on 2026-06-01, 1,2 and 5%.").collect();
        assert_eq!(found, ["1199.10", "2026", "06", "01", "1", "2", "5"]);
    }

    #[test]
    fn a_number_that_no_value_rounds_to_is_unfounded() {
        let result = json!({"payment": "1199.1011", "share": 0.0649, "rows": [1, 2, 3],
                            "due": "2026-06-01"});
        let of = |answer: &str| unfounded(answer, &[&result], "Scope 2: {{ result.payment }}");
        for answer in
            ["1,199.10", "1,199.1", "6.49%", "3 rows", "due 2026-06-01", "scope 2", "row 2", "6%"]
        {
            assert_eq!(of(answer), [""; 0], "{answer}");
        }
        assert_eq!(of("1,199.20"), ["1199.20"]);
        assert_eq!(of("4 rows in 2027"), ["4", "2027"]);
    }

    #[test]
    fn every_known_answer_of_the_shipped_packs_says_only_what_its_result_says() {
        let now = crate::judge::JUDGED_AT.parse().unwrap();
        for pack in crate::pack::shipped().unwrap() {
            let answers = super::super::Answers::of(pack).unwrap();
            let datasets = crate::pack::FixtureSource::of(pack).unwrap();
            let limits = crate::tool::Limits::default();
            for tool in &pack.tools {
                for vector in &tool.vectors {
                    let effects = crate::pack::MemoryEffects::default();
                    let context = crate::tool::ToolContext {
                        datasets: &datasets,
                        effects: &effects,
                        systems: &crate::port::NoSystems,
                        now,
                        approval: None,
                        limits: &limits,
                    };
                    let Ok(result) = pack.call(&tool.name, &vector.arguments, &context) else {
                        continue;
                    };
                    for lang in crate::synth::LANGS {
                        let invented =
                            answers.unfounded(&tool.name, &vector.arguments, &result, lang);
                        assert_eq!(invented, Ok(Vec::new()), "{} {lang}", tool.name);
                    }
                }
            }
        }
    }
}
