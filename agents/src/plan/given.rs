//! Calls that a program names with their arguments, such as one that speaks the Model Context Protocol.
//!
//! No planner takes part, and nothing else changes: the pack supplies what it always supplies, the whole
//! schema is checked, and the policy judges the call. Where the arguments came from is not known, so
//! they count as anyone's.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::arg::Locale;
use super::card::Card;
use super::fill::Setting;
use super::planning::Planning;
use super::{CallPlan, Decision, MadeBy, Plan, field};
use crate::run::Settings;
use crate::tool::{Effect, ToolSpec};

/// Name of who decides such plans, in place of a planner's version.
pub const CALLER: &str = "caller";

impl Planning {
    /// Makes the plan of one call. `run` is the identifier that idempotency keys are derived from.
    pub fn given(
        &self,
        run: &str,
        spec: &ToolSpec,
        mut arguments: Map<String, Value>,
        settings: &Settings,
        now: Timestamp,
    ) -> Plan {
        let tool = spec.name.clone();
        let locale = Locale { timezone: settings.timezone.clone() };
        let setting = Setting {
            run,
            request: "",
            currency: &settings.currency,
            said_currency: None,
            locale: &locale,
            mentions: &[],
            now,
        };
        // The key of an effect is the platform's: it is what makes the effect happen once.
        arguments.remove("idempotency_key");
        let pends = field::is_pending(&Value::Object(arguments.clone()));
        let origins = self.desk().fills().apply(spec, &mut arguments, &setting);
        let arguments = Value::Object(arguments);
        let missing = spec.missing(&arguments);
        let decision = match spec.check_arguments(&arguments) {
            _ if pends => Decision::Invalid {
                tool,
                message: "there is no earlier call whose result could be used".to_owned(),
            },
            Err(_) if !missing.is_empty() => Decision::Ask { tool, missing },
            Err(error) => Decision::Invalid { tool, message: error.to_string() },
            Ok(()) => {
                let call = CallPlan { tool, arguments, effect: spec.effect, origins };
                Decision::Call { calls: vec![call] }
            }
        };
        let made_by = MadeBy::of(self.pack(), "");
        Plan { model: CALLER.to_owned(), made_by, ..Plan::by_policy(decision, self.pack()) }
    }

    /// Returns the input schema of a tool as callers see it: without what the platform fills, and what
    /// the pack supplies is optional.
    pub fn asked_of(&self, spec: &ToolSpec) -> Value {
        let mut schema = spec.input_schema.clone();
        let fills = self.desk().fills();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.retain(|name, _| !Card::is_platforms(name));
        }
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| {
                let name = name.as_str().unwrap_or_default();
                !(Card::is_platforms(name) || name == "currency" || fills.covers(&spec.name, name))
            });
        }
        schema
    }
}

/// Tells whether a call of a tool can change something.
pub fn changes(spec: &ToolSpec) -> bool {
    matches!(spec.effect, Effect::Propose | Effect::Act)
}
