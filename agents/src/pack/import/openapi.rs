//! Tools from an OpenAPI document.
//!
//! # Source
//! OpenAPI Specification 3.0.4 and 3.1.1: Paths, Operation, Parameter, Request Body, Responses and
//! Security Scheme Objects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::convert::{Converter, Side, of};
use super::{ImportError, plain, sample, snake};
use crate::pack::{Manifest, new::is_id};
use crate::tool::ToolSpec;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Most operations of a document that are looked at, and most that become tools at once.
const MAX_OPERATIONS: usize = 5_000;
const MAX_TOOLS: usize = 1_000;

/// Most arguments of a tool.
const MAX_ARGUMENTS: usize = 40;

/// What is wanted of a document.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Operations by identifier, or `GET /path`; every one when empty.
    pub operations: Vec<String>,
    /// Name of the system in `pack.toml`; made from the title when absent.
    pub system: Option<String>,
}

/// An operation of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Identifier of the document, or what is made of method and path.
    pub id: String,
    /// Method in capitals.
    pub method: String,
    /// Path.
    pub path: String,
    /// What it does, in a line.
    pub summary: String,
}

/// What a document becomes.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// Files to write, by path.
    pub files: BTreeMap<String, String>,
    /// What is to be added to `pack.toml`.
    pub manifest: String,
    /// Lines to be added to `evals/cases.jsonl`.
    pub cases: String,
    /// Names of the tools.
    pub tools: Vec<String>,
    /// What the author should know: what was left out and why.
    pub notes: Vec<String>,
}

/// Lists the operations of a document in order of their paths.
///
/// # Errors
/// [`ImportError::Unfit`] ⇐ it is no OpenAPI 3.0 or 3.1.
pub fn operations(document: &Value) -> Result<Vec<Operation>, ImportError> {
    Ok(found(document)?.into_iter().map(|found| found.operation).collect())
}

struct Found<'a> {
    operation: Operation,
    item: &'a Value,
    object: &'a Value,
}

fn found(document: &Value) -> Result<Vec<Found<'_>>, ImportError> {
    let version = document["openapi"].as_str().unwrap_or_default();
    if !version.starts_with("3.0") && !version.starts_with("3.1") {
        let said = match document["swagger"].as_str() {
            Some(old) => format!("this is Swagger {}; convert it to OpenAPI 3", plain(old, 10)),
            None => "this is no OpenAPI document: `openapi` must be 3.0 or 3.1".to_owned(),
        };
        return Err(ImportError::Unfit(said));
    }
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let item = of(document, item);
        for method in METHODS {
            let object = &item[method];
            if !object.is_object() {
                continue;
            }
            if all.len() == MAX_OPERATIONS {
                let said = format!("the document has more than {MAX_OPERATIONS} operations");
                return Err(ImportError::Unfit(said));
            }
            let id = object["operationId"].as_str();
            let summary = object["summary"].as_str().or(object["description"].as_str());
            let operation = Operation {
                id: id.map_or_else(|| snake(&format!("{method} {path}")), |id| plain(id, 100)),
                method: method.to_uppercase(),
                path: path.clone(),
                summary: plain(summary.unwrap_or_default(), 160),
            };
            all.push(Found { operation, item, object });
        }
    }
    Ok(all)
}

/// Makes tools of the operations that are wanted, beside what a pack has.
///
/// # Errors
/// [`ImportError::Unfit`] ⇐ an operation that is named is not there, or nothing is left.
pub fn import(
    document: &Value,
    wanted: &Wanted,
    manifest: &Manifest,
    existing: &BTreeSet<String>,
) -> Result<Imported, ImportError> {
    let all = found(document)?;
    let named = |one: &Operation, name: &str| {
        one.id == name || format!("{} {}", one.method, one.path) == name
    };
    for name in &wanted.operations {
        if !all.iter().any(|one| named(&one.operation, name)) {
            let said =
                format!("the document has no operation `{name}`; `--list` shows what it has");
            return Err(ImportError::Unfit(said));
        }
    }
    let chosen = all.iter().filter(|one| {
        wanted.operations.is_empty() || wanted.operations.iter().any(|n| named(&one.operation, n))
    });
    let chosen: Vec<&Found<'_>> = chosen.collect();
    if chosen.len() > MAX_TOOLS {
        let said = format!("{} operations are too many; choose at most {MAX_TOOLS}", chosen.len());
        return Err(ImportError::Unfit(said));
    }
    let mut out = Imported::default();
    let system = system(document, wanted, manifest, &mut out)?;
    let mut taken: BTreeSet<String> = existing.clone();
    for one in chosen {
        let mut name = snake(&one.operation.id);
        for n in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{}_{n}", snake(&one.operation.id));
        }
        match tool(document, one, &name, &system) {
            Ok((tool, cut)) => written(&tool, &name, cut, manifest, &mut out),
            Err(why) => {
                taken.remove(&name);
                let shown = format!("{} {}", one.operation.method, one.operation.path);
                out.notes.push(format!("{} was left out: {why}", plain(&shown, 200)));
            }
        }
    }
    if out.tools.is_empty() {
        let why = out.notes.join("; ");
        return Err(ImportError::Unfit(format!("no operation became a tool. {why}")));
    }
    Ok(out)
}

/// Adds the files of a tool.
fn written(tool: &Value, name: &str, cut: bool, manifest: &Manifest, out: &mut Imported) {
    if cut {
        let said = format!(
            "`{name}`: parts of its schemas were too large, too deep or circular and take any value"
        );
        out.notes.push(said);
    }
    let text = serde_json::to_string_pretty(tool).unwrap_or_default();
    out.files.insert(format!("tools/{name}.json"), format!("{text}\n"));
    for lang in &manifest.languages {
        out.files.insert(format!("answers/{name}.{lang}.jinja"), answer(tool));
    }
    let arguments = &tool["vectors"][0]["arguments"];
    let arguments = if arguments.is_null() { json!({}) } else { arguments.clone() };
    let values = arguments.as_object().into_iter().flatten();
    let values: Vec<String> = values
        .map(|(key, value)| format!("{key} {}", value.as_str().unwrap_or(&value.to_string())))
        .collect();
    let title = tool["title"].as_str().unwrap_or(name);
    let request = format!("{title}: {}", values.join(", "));
    let lang = manifest.languages.first().map_or("en", String::as_str);
    let case = json!({
        "id": format!("{}-{name}", manifest.id), "request": request.trim_end_matches(": "), "lang": lang,
        "kind": "plain", "decision": "call",
        "expected_calls": [{ "name": name, "arguments": arguments }],
    });
    out.cases.push_str(&format!("{case}\n"));
    out.tools.push(name.to_owned());
}

/// Returns a first template: the values that the result has, in bold.
fn answer(tool: &Value) -> String {
    let properties = tool["outputSchema"]["properties"].as_object();
    let mut lines = Vec::new();
    for (name, schema) in properties.into_iter().flatten() {
        let types = &schema["type"];
        let is = |kind: &str| {
            *types == kind || types.as_array().is_some_and(|all| all.iter().any(|t| *t == kind))
        };
        let plain_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if ["method", "warnings"].contains(&name.as_str()) || !plain_name || lines.len() == 8 {
            continue;
        }
        if is("array") {
            lines.push(format!("{name}: **{{{{ result.{name}|default([])|length }}}}**"));
        } else if !is("object") {
            lines.push(format!("{name}: **{{{{ result.{name}|default(\"-\") }}}}**"));
        }
    }
    if lines.is_empty() {
        lines.push("**Done.**".to_owned());
    }
    format!("{}\n", lines.join("\n"))
}

/// Returns the name of the system, and writes down what `pack.toml` needs for it.
fn system(
    document: &Value,
    wanted: &Wanted,
    manifest: &Manifest,
    out: &mut Imported,
) -> Result<String, ImportError> {
    let title = document["info"]["title"].as_str().unwrap_or("service");
    let name = wanted.system.clone().unwrap_or_else(|| snake(title).chars().take(30).collect());
    is_id(&name.replace('_', "-")).map_err(ImportError::Unfit)?;
    if manifest.system(&name).is_some() {
        return Ok(name);
    }
    let mut setting = |id: &str, about: &str, rest: &str| {
        if !manifest.settings.iter().any(|one| one.id == id)
            && !out.manifest.contains(&format!("id = \"{id}\""))
        {
            out.manifest.push_str(&format!(
                "\n[[setting]]\nid = \"{id}\"\ndescription = \"{about}\"\nrequired = true\n{rest}\n"
            ));
        }
    };
    let url = address(&document["servers"][0]).unwrap_or_else(|| {
        setting(
            &format!("{name}_url"),
            "Address of the service, such as https://host/v1",
            "format = \"url\"",
        );
        format!("{{{name}_url}}")
    });
    let (auth, note) = auth(document, &name, &mut setting);
    out.notes.extend(note);
    out.manifest.push_str(&format!(
        "\n[[system]]\nkind = \"http\"\nid = \"{name}\"\nurl = {}\n{auth}",
        toml::Value::String(url)
    ));
    Ok(name)
}

/// Returns the address of a server with the defaults of its variables, where that is one with https.
fn address(server: &Value) -> Option<String> {
    let mut url = server["url"].as_str()?.to_owned();
    for (name, variable) in server["variables"].as_object().into_iter().flatten().take(20) {
        url = url.replace(&format!("{{{name}}}"), variable["default"].as_str()?);
    }
    let fits = url.starts_with("https://")
        && url.len() < 500
        && !url.contains(['{', '}', '@', '?', '#', ' ']);
    fits.then(|| url.trim_end_matches('/').to_owned())
}

/// Returns the line of `pack.toml` that says how the service is signed in to.
fn auth(
    document: &Value,
    system: &str,
    setting: &mut dyn FnMut(&str, &str, &str),
) -> (String, Option<String>) {
    let schemes = document["components"]["securitySchemes"].as_object();
    // The scheme that the document asks for everywhere, else the first that it has.
    let asked = document["security"][0].as_object().and_then(|all| all.keys().next());
    let scheme = asked.and_then(|name| schemes?.get(name));
    let Some(scheme) = scheme.or_else(|| schemes?.values().next()) else {
        return (String::new(), None);
    };
    let scheme = of(document, scheme);
    let key = format!("{system}_token");
    let name = scheme["name"].as_str().unwrap_or_default();
    let token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_name = !name.is_empty() && name.len() < 100 && name.chars().all(token);
    let secret = "secret = true";
    match (scheme["type"].as_str(), scheme["scheme"].as_str(), scheme["in"].as_str()) {
        (Some("http"), Some(kind), _) if kind.eq_ignore_ascii_case("basic") => {
            setting(&format!("{system}_user"), "Name of the user at the service", "");
            setting(&format!("{system}_password"), "Password of the user at the service", secret);
            let line = format!(
                "auth = {{ kind = \"basic\", user = \"{system}_user\", password = \"{system}_password\" }}\n"
            );
            (line, None)
        }
        (Some("apiKey"), _, Some(place @ ("header" | "query"))) if is_name => {
            setting(&key, "Key of the service, from its administrator", secret);
            (
                format!(
                    "auth = {{ kind = \"{place}\", name = \"{name}\", setting = \"{key}\" }}\n"
                ),
                None,
            )
        }
        (Some("http" | "oauth2" | "openIdConnect"), kind, _)
            if kind.is_none_or(|k| k.eq_ignore_ascii_case("bearer")) =>
        {
            setting(&key, "Token of the service, from its administrator", secret);
            let note = kind.is_none().then(|| {
                "the service signs in by OAuth; a token is asked for as a setting and is not renewed by itself".to_owned()
            });
            (format!("auth = {{ kind = \"bearer\", setting = \"{key}\" }}\n"), note)
        }
        _ => {
            let note = "the way the service is signed in to is not known; add `auth` to its system in pack.toml";
            (String::new(), Some(note.to_owned()))
        }
    }
}

/// Collects the arguments of a tool.
#[derive(Default)]
struct Arguments {
    properties: Map<String, Value>,
    required: Vec<String>,
}

impl Arguments {
    /// Adds an argument under its own name or one that is free, and returns it.
    fn add(&mut self, name: &str, schema: Value, required: bool) -> Result<String, String> {
        if self.properties.len() == MAX_ARGUMENTS {
            return Err(format!("it has more than {MAX_ARGUMENTS} arguments"));
        }
        let clean: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
            .take(60)
            .collect();
        let mut free = clean.clone();
        for n in 2.. {
            if !self.properties.contains_key(&free) {
                break;
            }
            free = format!("{clean}_{n}");
        }
        self.properties.insert(free.clone(), schema);
        if required {
            self.required.push(free.clone());
        }
        Ok(free)
    }
}

fn tool(
    document: &Value,
    one: &Found<'_>,
    name: &str,
    system: &str,
) -> Result<(Value, bool), String> {
    let Operation { method, path, summary, .. } = &one.operation;
    let mut arguments = Arguments::default();
    let mut converter = Converter::new(document, Side::Request);
    let mut run = Map::from_iter([
        ("kind".to_owned(), json!("http")),
        ("system".to_owned(), json!(system)),
        ("method".to_owned(), json!(method)),
    ]);
    let path = parameters(document, one, path, &mut converter, &mut arguments, &mut run)?;
    run.insert("path".to_owned(), json!(path));
    if let Some(body) = body(document, one, &mut converter, &mut arguments)? {
        run.insert("body".to_owned(), body);
    }
    let acts = method != "GET";
    if acts {
        let key = json!({ "type": "string", "minLength": 1, "maxLength": 128, "description": "Key under which this happens once; the platform fills it in." });
        let dry = json!({ "type": "boolean", "description": "True only shows the request." });
        arguments.properties.insert("idempotency_key".to_owned(), key);
        arguments.properties.insert("dry_run".to_owned(), dry);
    }
    let mut cut = converter.cut;
    let (output, take, mock) = if acts {
        (acted(), None, None)
    } else {
        let (output, take, mock, more) = answered(document, one.object);
        cut |= more;
        (output, take, Some(mock))
    };
    run.extend(take.map(|take| ("answer".to_owned(), take)));
    run.extend(mock.as_ref().map(|mock| ("mock".to_owned(), json!([{ "answer": mock }]))));
    let about = one.object["description"].as_str().unwrap_or_default();
    let about = plain(&format!("{summary}. {about}"), 600);
    let title = if summary.is_empty() { name.replace('_', " ") } else { plain(summary, 80) };
    let mut tool = json!({
        "name": name,
        "title": title,
        "description": about.trim_matches(['.', ' ']),
        "inputSchema": {
            "type": "object", "properties": arguments.properties,
            "required": arguments.required, "additionalProperties": false,
        },
        "outputSchema": output,
        "annotations": { "readOnlyHint": !acts, "destructiveHint": acts, "idempotentHint": true, "openWorldHint": true },
        "effect": if acts { "act" } else { "read" },
        "method": format!("{system}: {method} {}", plain(&one.operation.path, 200)),
        "run": run,
        "vectors": [],
        "invalid": [],
    });
    known_answer(&mut tool, acts);
    Ok((tool, cut))
}

fn parameters<'a>(
    document: &'a Value,
    one: &Found<'a>,
    path: &str,
    converter: &mut Converter<'a>,
    arguments: &mut Arguments,
    run: &mut Map<String, Value>,
) -> Result<String, String> {
    let mut path = path.to_owned();
    let (mut query, mut headers) = (Map::new(), Map::new());
    // Those of the operation win over those of its path.
    let mut seen = BTreeSet::new();
    let own = one.object["parameters"].as_array().into_iter().flatten();
    for parameter in own.chain(one.item["parameters"].as_array().into_iter().flatten()).take(200) {
        let parameter = of(document, parameter);
        let (Some(name), Some(place)) = (parameter["name"].as_str(), parameter["in"].as_str())
        else {
            continue;
        };
        if !seen.insert((place, name)) {
            continue;
        }
        let required = parameter["required"] == true || place == "path";
        if !["path", "query", "header"].contains(&place) {
            match required {
                true => return Err(format!("it needs a parameter in `{}`", plain(place, 20))),
                false => continue,
            }
        }
        let lower = name.to_ascii_lowercase();
        if place == "header"
            && ["authorization", "accept", "content-type", "cookie", "host"]
                .contains(&lower.as_str())
        {
            continue;
        }
        let schema = parameter
            .get("schema")
            .or_else(|| parameter["content"]["application/json"].get("schema"));
        let mut schema = schema.map_or_else(|| json!({}), |schema| converter.schema(schema, 0));
        if let (Some(text), Some(map)) = (parameter["description"].as_str(), schema.as_object_mut())
        {
            map.insert("description".to_owned(), json!(plain(text, 300)));
        }
        let argument = arguments.add(name, schema, required)?;
        let template = json!(format!("{{{argument}}}"));
        match place {
            "path" => path = path.replace(&format!("{{{name}}}"), &format!("{{{argument}}}")),
            "query" => drop(query.insert(name.to_owned(), template)),
            _ => drop(headers.insert(name.to_owned(), template)),
        }
    }
    let named = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    for name in named {
        if !arguments.properties.contains_key(name) {
            return Err(format!("`{}` of its path is not described", plain(name, 60)));
        }
    }
    for (key, map) in [("query", query), ("headers", headers)] {
        if !map.is_empty() {
            run.insert(key.to_owned(), Value::Object(map));
        }
    }
    Ok(path)
}

/// Returns the template of the request's body; the properties of an object become arguments.
fn body<'a>(
    document: &'a Value,
    one: &Found<'a>,
    converter: &mut Converter<'a>,
    arguments: &mut Arguments,
) -> Result<Option<Value>, String> {
    let body = of(document, &one.object["requestBody"]);
    if !body.is_object() {
        return Ok(None);
    }
    let Some(content) = json_of(&body["content"]) else {
        return match body["required"] == true {
            true => Err("its body is not JSON".to_owned()),
            false => Ok(None),
        };
    };
    let schema = converter.schema(&content["schema"], 0);
    let Some(properties) = schema["properties"].as_object() else {
        let argument = arguments.add("body", schema, body["required"] == true)?;
        return Ok(Some(json!(format!("{{{argument}}}"))));
    };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut template = Map::new();
    for (name, property) in properties {
        let argument = arguments.add(name, property.clone(), required.contains(&name.as_str()))?;
        template.insert(name.clone(), json!(format!("{{{argument}}}")));
    }
    Ok(Some(Value::Object(template)))
}

fn json_of(content: &Value) -> Option<&Value> {
    let content = content.as_object()?;
    content.iter().find(|(kind, _)| kind.contains("json")).map(|(_, value)| value)
}

/// The result of a tool that changes something.
fn acted() -> Value {
    json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "reference": { "type": "string", "description": "What the effect is known by." },
            "repeated": { "type": "boolean", "description": "True when it had happened before." },
            "dry_run": { "type": "boolean", "description": "True when nothing happened." },
            "request": { "type": "string", "description": "The request that would be sent." },
            "method": { "type": "string", "description": "What was asked." },
            "warnings": { "type": "array", "items": { "type": "object" }, "description": "Limits of the result." },
        },
        "required": ["method", "warnings"],
    })
}

/// Returns the schema of a read's result, what is taken of the answer, a mock of the answer, and whether
/// something was left out.
fn answered(document: &Value, operation: &Value) -> (Value, Option<Value>, Value, bool) {
    let responses = operation["responses"].as_object();
    let good = responses.and_then(|all| {
        let by = |code: &str| all.get(code);
        by("200").or_else(|| by("201")).or_else(|| by("2XX")).or_else(|| by("default"))
    });
    let content = good.and_then(|good| json_of(&of(document, good)["content"]));
    let mut converter = Converter::new(document, Side::Answer);
    let schema =
        content.map_or_else(|| json!({}), |content| converter.schema(&content["schema"], 0));
    let mock = sample::of(&schema, 0);
    let extra = [
        ("method", json!({ "type": "string", "description": "Where the values come from." })),
        (
            "warnings",
            json!({ "type": "array", "items": { "type": "object" }, "description": "Limits of the result." }),
        ),
    ];
    let (mut properties, take) = match schema["properties"].as_object() {
        Some(properties) => (properties.clone(), None),
        None => {
            let name = if schema.get("items").is_some() { "items" } else { "value" };
            (Map::from_iter([(name.to_owned(), schema.clone())]), Some(json!({ "into": name })))
        }
    };
    for (name, schema) in extra {
        properties.entry(name).or_insert(schema);
    }
    let output =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    (output, take, mock, converter.cut)
}

/// Adds a known answer, where sampled arguments fit the schema of the tool and its result has a value to
/// look for.
fn known_answer(tool: &mut Value, acts: bool) {
    let Ok(spec) = serde_json::from_value::<ToolSpec>(tool.clone()) else { return };
    let mut arguments = Map::new();
    for name in spec.input_schema["required"].as_array().into_iter().flatten() {
        let Some(name) = name.as_str() else { continue };
        arguments.insert(name.to_owned(), sample::of(&spec.input_schema["properties"][name], 0));
    }
    if acts {
        arguments.insert("dry_run".to_owned(), json!(true));
    }
    let arguments = Value::Object(arguments);
    if spec.compiled().is_err() || !spec.faults_of(&arguments).is_empty() {
        return;
    }
    let expect = match acts {
        true => json!([{ "pointer": "/dry_run", "equals": true }]),
        false => json!([{ "pointer": "/method", "equals": tool["method"] }]),
    };
    tool["vectors"] = json!([{
        "arguments": arguments, "expect": expect,
        "source": "made by the import; put a known answer of the service here",
    }]);
}
