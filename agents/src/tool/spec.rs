//! The contract of a tool, read from `packs/<industry>/tools/NAME.json`.

use std::sync::OnceLock;

use jsonschema::error::ValidationErrorKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::body::Body;
use super::{ToolContext, ToolError, http, sql};

/// What a call changes outside the platform.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Computes from its arguments alone.
    Pure,
    /// Reads the tenant's data.
    Read,
    /// Writes a proposal that a person takes further.
    Propose,
    /// Changes something outside; always waits for an approval.
    Act,
}

/// One expectation about a result.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Expectation {
    /// JSON pointer into the result.
    pub pointer: String,
    /// Exact JSON value; numbers compare by value.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub equals: Option<Value>,
    /// Number that the result must be near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approx: Option<f64>,
    /// Absolute tolerance of `approx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

/// Keeps `"equals": null` apart from an absent `equals`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Expectation {
    /// Compares a result; returns what differs.
    ///
    /// # Errors
    /// A sentence with the expected and the found value.
    pub fn check(&self, result: &Value) -> Result<(), String> {
        let found = result
            .pointer(&self.pointer)
            .ok_or_else(|| format!("{} is absent from the result", self.pointer))?;
        if let Some(expected) = &self.equals
            && !equal(expected, found)
        {
            return Err(format!("{}: expected {expected}, got {found}", self.pointer));
        }
        if let Some(expected) = self.approx {
            let number = found.as_f64().or_else(|| found.as_str().and_then(|s| s.parse().ok()));
            let tolerance = self.tolerance.unwrap_or(0.0);
            if !number.is_some_and(|number: f64| (number - expected).abs() <= tolerance) {
                return Err(format!(
                    "{}: expected {expected} ± {tolerance}, got {found}",
                    self.pointer
                ));
            }
        }
        Ok(())
    }
}

/// Compares JSON values, numbers by value (`6` equals `6.0`).
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| equal(a, b)))
        }
        _ => left == right,
    }
}

/// A known answer of a tool.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Vector {
    /// A request in words that leads to this call, where the contract gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Arguments of the call.
    pub arguments: Value,
    /// What the result must show.
    pub expect: Vec<Expectation>,
    /// Where the expected values come from.
    pub source: String,
}

/// A call that must be refused.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InvalidCase {
    /// Arguments of the call.
    pub arguments: Value,
    /// Code of the error, see [`ToolError::code`].
    pub error: String,
    /// True when the schema accepts the arguments and the tool itself must refuse them.
    #[serde(default)]
    pub semantic: bool,
    /// The rule that is broken.
    pub why: String,
}

/// A tool as its pack declares it: the fields of an MCP tool, its effect and its known answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "tools/NAME.toml, tools/NAME.json")]
pub struct ToolSpec {
    /// Name, unique in its pack; the name of the file.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_]{0,63}$"))]
    pub name: String,
    /// Title for people.
    pub title: String,
    /// What it does and when to use it; shown to planners.
    pub description: String,
    /// JSON Schema (2020-12) of the arguments.
    pub input_schema: Value,
    /// JSON Schema (2020-12) of the result.
    pub output_schema: Value,
    /// MCP annotations.
    #[serde(default)]
    pub annotations: Value,
    /// What a call changes.
    pub effect: Effect,
    /// Algorithm and standard.
    pub method: String,
    /// How the tool does its work; absent for a native one.
    #[serde(default, rename = "run", skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// Known answers.
    #[serde(default)]
    pub vectors: Vec<Vector>,
    /// Calls that must be refused.
    #[serde(default)]
    pub invalid: Vec<InvalidCase>,
    /// Worked tables that document the method.
    #[serde(default, rename = "reference_table", skip_serializing_if = "Option::is_none")]
    pub reference_table: Option<Value>,
    #[serde(skip)]
    input: OnceLock<Result<jsonschema::Validator, String>>,
    #[serde(skip)]
    output: OnceLock<Result<jsonschema::Validator, String>>,
}

impl ToolSpec {
    /// Validates arguments against the whole input schema, formats asserted.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] with the pointer of the first fault.
    pub fn check_arguments(&self, arguments: &Value) -> Result<(), ToolError> {
        Self::check(&self.input, &self.input_schema, arguments)
    }

    /// Validates a result against the output schema.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] with the pointer of the first fault: the tool is wrong.
    pub fn check_result(&self, result: &Value) -> Result<(), ToolError> {
        Self::check(&self.output, &self.output_schema, result)
    }

    /// Names the arguments that are absent though the schema wants them; where it offers several
    /// ways to call the tool, those of the way that lacks least.
    pub fn missing(&self, arguments: &Value) -> Vec<String> {
        let Ok(validator) = self.input.get_or_init(|| compile(&self.input_schema)) else {
            return Vec::new();
        };
        let mut names = Vec::new();
        for error in validator.iter_errors(arguments) {
            for name in lacking(&error) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Compiles the input schema, which a caller may have sent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compiles(&self) -> Result<(), String> {
        let compiled = self.input.get_or_init(|| compile(&self.input_schema));
        compiled.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Returns the version of the contract: the first 16 hexadecimal digits of the SHA-256 of what a
    /// caller may rely on, as canonical JSON (RFC 8785). An approval is bound to it.
    pub fn version(&self) -> String {
        let mut contract = json!({
            "name": self.name, "description": self.description, "input": self.input_schema,
            "output": self.output_schema, "annotations": self.annotations, "effect": self.effect,
            "method": self.method,
        });
        if let Some(body) = &self.body {
            // Mocks are for tests; what they say changes no call.
            let mut body = json!(body);
            body.as_object_mut().and_then(|body| body.remove("mock"));
            contract["run"] = body;
        }
        let canonical = serde_json_canonicalizer::to_vec(&contract).unwrap_or_default();
        hex::encode(&Sha256::digest(&canonical)[..8])
    }

    /// Runs a declared tool; `None` for a native one. Arguments and result are checked by
    /// [`crate::pack::Pack::call`].
    pub(crate) fn run_declared(
        &self,
        arguments: &Value,
        context: &ToolContext<'_>,
    ) -> Option<Result<Value, ToolError>> {
        Some(match self.body.as_ref()? {
            Body::Http(body) => http::run(self, body, arguments, context),
            Body::Sql(body) => sql::run(self, body, arguments, context),
        })
    }

    /// Compiles both schemas.
    ///
    /// # Errors
    /// The key of the schema that does not compile, and why.
    pub fn compiled(&self) -> Result<(), (&'static str, String)> {
        let input = self.input.get_or_init(|| compile(&self.input_schema));
        input.as_ref().map_err(|error| ("inputSchema", error.clone()))?;
        let output = self.output.get_or_init(|| compile(&self.output_schema));
        output.as_ref().map(|_| ()).map_err(|error| ("outputSchema", error.clone()))
    }

    /// Lists every fault of arguments: its JSON pointer and what is wrong.
    pub fn faults_of(&self, arguments: &Value) -> Vec<(String, String)> {
        let Ok(validator) = self.input.get_or_init(|| compile(&self.input_schema)) else {
            return Vec::new();
        };
        let faults = validator.iter_errors(arguments);
        faults.map(|fault| (fault.instance_path().to_string(), fault.to_string())).collect()
    }

    fn check(
        slot: &OnceLock<Result<jsonschema::Validator, String>>,
        schema: &Value,
        instance: &Value,
    ) -> Result<(), ToolError> {
        let validator = slot.get_or_init(|| compile(schema));
        let validator = validator
            .as_ref()
            .map_err(|error| ToolError::invalid("", format!("schema does not compile: {error}")))?;
        validator.validate(instance).map_err(|error| {
            ToolError::invalid(error.instance_path().to_string(), error.to_string())
        })
    }
}

/// Steps back that a pattern of a schema may take, and the most memory of one, bytes: a pattern is a
/// pack author's, and the text that it meets anybody's.
const BACKTRACKS: usize = 20_000;
const PATTERN_BYTES: usize = 1 << 20;

fn compile(schema: &Value) -> Result<jsonschema::Validator, String> {
    jsonschema::options()
        .should_validate_formats(true)
        .with_pattern_options(
            jsonschema::PatternOptions::fancy_regex()
                .backtrack_limit(BACKTRACKS)
                .size_limit(PATTERN_BYTES),
        )
        .build(schema)
        .map_err(|error| error.to_string())
}

/// Returns what a fault of the schema says is absent; nothing for faults of another kind.
fn lacking(error: &jsonschema::ValidationError<'_>) -> Vec<String> {
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            property.as_str().map(str::to_owned).into_iter().collect()
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            let ways = context.iter().map(|way| way.iter().flat_map(lacking).collect::<Vec<_>>());
            ways.filter(|names| !names.is_empty()).min_by_key(Vec::len).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// Decodes checked arguments into a tool's own type; defaults are the type's.
///
/// # Errors
/// [`ToolError::InvalidInput`] when the value does not fit the type.
pub fn decode<T: DeserializeOwned>(arguments: &Value) -> Result<T, ToolError> {
    T::deserialize(arguments).map_err(|error| ToolError::invalid("", error.to_string()))
}

/// Builds one warning of a result.
pub fn warning(code: &str, message: impl Into<String>) -> Value {
    json!({ "code": code, "message": message.into() })
}
