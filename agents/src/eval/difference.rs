//! Where two plans of one request part: what a model beside the live one would have done.

use serde::{Deserialize, Serialize};

use crate::plan::Decision;
use crate::tool::equal;

/// The first thing in which two decisions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Nothing.
    None,
    /// What is to be done: call, ask, search, refuse, or hand over.
    Decision,
    /// Which tools, or how many calls.
    Tool,
    /// What the tools are given, or what is asked for.
    Arguments,
}

impl Difference {
    /// Compares two decisions on the same request.
    pub fn of(one: &Decision, other: &Decision) -> Self {
        match (one, other) {
            (Decision::Call { calls: a }, Decision::Call { calls: b }) => {
                let names = |calls: &[crate::plan::CallPlan]| -> Vec<String> {
                    calls.iter().map(|call| call.tool.clone()).collect()
                };
                let same = || a.iter().zip(b).all(|(a, b)| equal(&a.arguments, &b.arguments));
                Self::told(names(a) == names(b), same())
            }
            (
                Decision::Ask { tool: a, missing: wants },
                Decision::Ask { tool: b, missing: needs },
            ) => Self::told(a == b, wants == needs),
            (
                Decision::Invalid { tool: a, message: why },
                Decision::Invalid { tool: b, message: reason },
            ) => Self::told(a == b, why == reason),
            _ if std::mem::discriminant(one) == std::mem::discriminant(other) => Self::None,
            _ => Self::Decision,
        }
    }

    fn told(same_tools: bool, same_arguments: bool) -> Self {
        match (same_tools, same_arguments) {
            (false, _) => Self::Tool,
            (true, false) => Self::Arguments,
            (true, true) => Self::None,
        }
    }

    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Decision => "decision",
            Self::Tool => "tool",
            Self::Arguments => "arguments",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::CallPlan;
    use crate::tool::Effect;

    fn calls(calls: &[(&str, Value)]) -> Decision {
        let call = |(tool, arguments): &(&str, Value)| CallPlan {
            tool: (*tool).to_owned(),
            arguments: arguments.clone(),
            effect: Effect::Pure,
            origins: Vec::new(),
        };
        Decision::Call { calls: calls.iter().map(call).collect() }
    }

    #[test]
    fn the_first_thing_that_differs_is_named() {
        let loan = || calls(&[("loan", json!({"principal": "200000.00", "months": 360}))]);
        let ask = |missing: &str| Decision::Ask {
            tool: "loan".to_owned(),
            missing: vec![missing.to_owned()],
        };
        for (other, difference) in [
            (loan(), Difference::None),
            // The order of the arguments is not the planner's.
            (
                calls(&[("loan", json!({"months": 360, "principal": "200000.00"}))]),
                Difference::None,
            ),
            (calls(&[("loan", json!({"months": 36}))]), Difference::Arguments),
            (calls(&[("rent", json!({"months": 360}))]), Difference::Tool),
            (calls(&[("loan", json!({})), ("rent", json!({}))]), Difference::Tool),
            (calls(&[]), Difference::Tool),
            (ask("months"), Difference::Decision),
            (Decision::Person, Difference::Decision),
        ] {
            assert_eq!(Difference::of(&loan(), &other), difference, "{other:?}");
            assert_eq!(Difference::of(&other, &loan()), difference, "{other:?}");
        }
        assert_eq!(Difference::of(&ask("months"), &ask("rate")), Difference::Arguments);
        assert_eq!(Difference::of(&Decision::Search, &Decision::Search), Difference::None);
        assert_eq!(Difference::of(&Decision::Search, &Decision::NoTool), Difference::Decision);
    }
}
