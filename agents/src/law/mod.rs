//! Laws that every result of a tool obeys, whatever its arguments: energy that balances, instalments
//! that add up to the cent, check digits that catch each slip.
//!
//! A law draws arguments from a seed, calls the tool as a run would, and says what is wrong. The
//! same seed draws the same arguments, so a broken law can be repeated.

mod automotive;
mod energy;
mod finance;
mod gaming;

use rand::SeedableRng as _;
use serde_json::Value;

use crate::demo::Chance;
use crate::pack::Pack;
use crate::tool::ToolContext;

/// Draws one set of arguments, calls the tool and tells what is wrong with its result.
type CheckFn = fn(&mut Chance, &Pack, &ToolContext<'_>) -> Result<(), String>;

/// A law of one tool.
pub struct Law {
    /// What holds, as a sentence.
    pub name: &'static str,
    /// Industry of the tool.
    pub industry: &'static str,
    /// Name of the tool.
    pub tool: &'static str,
    /// Checks one draw.
    check: CheckFn,
}

impl Law {
    /// Checks the law on `draws` sets of arguments.
    ///
    /// # Errors
    /// What is wrong with the first draw that breaks it, and how to repeat that draw.
    pub fn hold(
        &self,
        pack: &Pack,
        context: &ToolContext<'_>,
        seed: u64,
        draws: u32,
    ) -> Result<(), String> {
        for draw in 0..draws {
            // Each draw has a seed of its own, so that one can be repeated without those before it.
            let mut chance = Chance::seed_from_u64(seed.wrapping_add(u64::from(draw)));
            (self.check)(&mut chance, pack, context).map_err(|fault| {
                format!("{fault} (repeat with --seed {})", seed.wrapping_add(u64::from(draw)))
            })?;
        }
        Ok(())
    }
}

/// Returns the laws of an industry; none for one that is not known.
pub fn of(industry: &str) -> &'static [Law] {
    match industry {
        "automotive" => automotive::LAWS,
        "energy" => energy::LAWS,
        "finance" => finance::LAWS,
        "gaming" => gaming::LAWS,
        _ => &[],
    }
}

/// Calls a tool that must accept the arguments.
fn call(
    pack: &Pack,
    context: &ToolContext<'_>,
    tool: &str,
    arguments: &Value,
) -> Result<Value, String> {
    pack.call(tool, arguments, context)
        .map_err(|error| format!("{tool} gave {} ({error}) for {arguments}", error.code()))
}

/// Says what is wrong unless something holds.
fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

/// Reads an array of numbers of a result.
fn numbers(result: &Value, name: &str) -> Result<Vec<f64>, String> {
    let items = result[name].as_array().ok_or_else(|| format!("{name} is no array: {result}"))?;
    items.iter().map(|v| v.as_f64().ok_or_else(|| format!("{name} holds {v}"))).collect()
}

/// Reads a number, or a decimal string, of a result.
fn number(value: &Value) -> Result<f64, String> {
    let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| format!("expected a number, found {value}"))
}

/// Reads an array of a result.
fn items<'v>(result: &'v Value, name: &str) -> Result<&'v [Value], String> {
    let items = result[name].as_array().ok_or_else(|| format!("{name} is no array: {result}"))?;
    Ok(items)
}

/// Puts another digit in place of one that is drawn; `None` ⇐ the text has no digit.
fn slip(chance: &mut Chance, text: &str) -> Option<String> {
    use rand::RngExt as _;
    let places: Vec<usize> =
        text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at).collect();
    let at = *places.get(chance.random_range(0..places.len().max(1)))?;
    let old = text.as_bytes()[at] - b'0';
    let new = (old + chance.random_range(1..10_u8)) % 10;
    Some(format!("{}{new}{}", &text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{FixtureSource, MemoryEffects, shipped};
    use crate::tool::Limits;

    #[test]
    fn a_slip_changes_exactly_one_digit() {
        let mut chance = Chance::seed_from_u64(5);
        for _ in 0..200 {
            let wrong = slip(&mut chance, "GB82WEST12345698765432").unwrap();
            let changed =
                wrong.chars().zip("GB82WEST12345698765432".chars()).filter(|(a, b)| a != b);
            assert_eq!(changed.count(), 1);
        }
        assert_eq!(slip(&mut chance, "none"), None);
    }

    #[test]
    fn a_broken_law_names_the_draw_that_breaks_it() {
        let pack = &shipped().unwrap()[0];
        let datasets = FixtureSource::of(pack).unwrap();
        let (effects, limits) = (MemoryEffects::default(), Limits::default());
        let context = ToolContext {
            datasets: &datasets,
            effects: &effects,
            systems: &crate::port::NoSystems,
            now: jiff::Timestamp::UNIX_EPOCH,
            approval: None,
            limits: &limits,
        };
        let law = Law {
            name: "a drawn number is even",
            industry: "none",
            tool: "none",
            check: |chance, _, _| {
                use rand::RngExt as _;
                let number: u32 = chance.random_range(0..100);
                ensure(number.is_multiple_of(2), || format!("{number} is odd"))
            },
        };
        let fault = law.hold(pack, &context, 7, 64).unwrap_err();
        let seed: u64 = fault.rsplit(' ').next().unwrap().trim_end_matches(')').parse().unwrap();
        assert!(fault.contains("is odd") && seed >= 7, "{fault}");
        assert!(law.hold(pack, &context, seed, 1).unwrap_err().contains("is odd"));
    }
}
