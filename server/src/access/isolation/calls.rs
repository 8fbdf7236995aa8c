//! Calls of one joint venture with the identifiers of another.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::served::{Served, served};
use super::{Report, Side, Trial};
use crate::error::Problem;
use crate::store::{Store, TenantTx};

/// Most of an answer that is looked at, bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Returns a body that a route reads, for routes that refuse a body of `{}` before they look anything up.
/// `$KIND` stands for an identifier of that kind.
fn body_of(method: &str, path: &str) -> &'static str {
    match (method, path) {
        ("POST", "/v1/agents/{agent}/runs") => r#"{"request": "isolation"}"#,
        ("POST", "/v1/chat/completions") => r#"{"model": "none", "messages": []}"#,
        ("POST", "/v1/responses") => r#"{"model": "none", "input": "isolation"}"#,
        ("POST", "/v1/approvals/{approval}") => r#"{"approved": true}"#,
        ("POST", "/v1/runs/{run}/verdict") => r#"{"verdict": "accepted"}"#,
        ("PUT", "/v1/training/consent") => r#"{"source": "api", "level": "none"}"#,
        ("PATCH", "/v1/settings") => r#"{"abstain_below": null}"#,
        ("POST", "/v1/datasets/{id}") => "start,load_kw\n2026-01-01T00:00:00Z,1\n",
        ("POST", "/v1/planners/{id}/shadow") => r#"{"on": true}"#,
        ("PUT", "/v1/economics/terms") => {
            r#"{"remote": {"name": "x", "prompt_per_million": "1", "decoded_per_million": "1"}}"#
        }
        ("POST", "/v1/webhooks/sources") => {
            r#"{"name": "isolation", "verifier": {"kind": "standard"}, "mapping": {"request": "x"}}"#
        }
        ("POST", "/v1/webhooks/endpoints/{endpoint}/replay") => {
            r#"{"from": "2026-01-01T00:00:00Z", "failed_only": true}"#
        }
        ("POST", "/v1/members") => r#"{"login": "isolation", "role": "viewer"}"#,
        ("POST", "/v1/keys") => {
            r#"{"label": "isolation", "scopes": ["runs:read"], "member": "$member_id"}"#
        }
        _ => "{}",
    }
}

/// Returns the query of a route that must be told what it is asked for.
pub fn query_of(path: &str) -> &'static str {
    match path {
        "/v1/observations" => "?metric=isolation",
        "/v1/experiments/{name}/assignments" => "?unit=isolation",
        _ => "",
    }
}

/// Values that a field is tried with, one after the other.
const VALUES: [&str; 8] =
    ["\"x\"", "1", "true", "[]", "{}", "\"2026-01-01\"", "\"2026-01-01T00:00:00Z\"", "null"];

/// Returns a body that a route reads: the known one, with the fields that it is told to lack, each of the
/// first type that is taken. So a route is tried up to where it looks its identifier up, without a case of
/// its own.
///
/// # Errors
/// `internal` ⇐ the address cannot be called.
pub async fn fitting_body(
    router: &Router,
    key: &str,
    method: &str,
    route: &Served,
    path: &str,
) -> Result<String, Problem> {
    let mut body = body_of(method, &route.path).to_owned();
    let mut last: Option<(String, usize)> = None;
    for _ in 0..40 {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(&body) else { break };
        let answer = call(router, &As::Key(key), method, path, &body).await?;
        let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if problem["code"] != "invalid_json" {
            break;
        }
        let detail = problem["detail"].as_str().unwrap_or_default();
        let quoted = |after: &str| {
            let rest = detail.split_once(after)?.1;
            rest.split('`').nth(1).map(str::to_owned)
        };
        if let Some(field) = quoted("missing field ") {
            fields.insert(field.clone(), Value::String("x".to_owned()));
            last = Some((field, 0));
        } else if let Some((field, at)) = &mut last {
            let value = match quoted("expected one of ").or_else(|| quoted("expected ")) {
                Some(known) if detail.contains("unknown variant") => Value::String(known),
                _ => {
                    *at += 1;
                    let Some(text) = VALUES.get(*at) else { break };
                    serde_json::from_str(text).unwrap_or_default()
                }
            };
            fields.insert(field.clone(), value);
        } else {
            break;
        }
        body = Value::Object(fields).to_string();
    }
    Ok(body)
}

/// Routes that make something of the name in their address, and so answer every name.
const MAKES: [&str; 1] = ["/v1/datasets/{id}"];

struct Answer {
    status: StatusCode,
    body: String,
}

/// Who calls: a key, or a browser's session.
enum As<'a> {
    Key(&'a str),
    Cookie(&'a str),
}

async fn call(
    router: &Router,
    caller: &As<'_>,
    method: &str,
    path: &str,
    body: &str,
) -> Result<Answer, Problem> {
    let request = Request::builder().method(method).uri(path);
    let request = match caller {
        As::Key(key) => request.header(header::AUTHORIZATION, format!("Bearer {key}")),
        As::Cookie(cookie) => request.header(header::COOKIE, *cookie),
    };
    let kind = match caller {
        As::Key(_) => "application/json",
        As::Cookie(_) => "application/x-www-form-urlencoded",
    };
    let request = request.header(header::CONTENT_TYPE, kind).body(Body::from(body.to_owned()));
    let request = request.map_err(|_| Problem::internal())?;
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), MAX_ANSWER).await.unwrap_or_default();
    Ok(Answer { status, body: String::from_utf8_lossy(&bytes).into_owned() })
}

/// An identifier of the other joint venture and one of the same form that nothing has.
struct Probe<'a> {
    kind: &'a str,
    foreign: &'a str,
    absent: String,
}

/// Returns identifiers that `two` has and `one` does not.
fn probes<'a>(one: &Side, two: &'a Side) -> Vec<Probe<'a>> {
    let own = one.ids.values().flatten().map(String::as_str);
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let own: BTreeSet<&str> = own.collect();
    let mut list = Vec::new();
    for (kind, ids) in &two.ids {
        for foreign in ids.iter().filter(|id| !own.contains(id.as_str())) {
            if !seen.insert(foreign) {
                continue;
            }
            let absent = if foreign.parse::<Uuid>().is_ok() {
                Uuid::now_v7().to_string()
            } else {
                // As long, and of characters that every name may have.
                let random = Uuid::new_v4().simple().to_string();
                random.chars().cycle().take(foreign.chars().count()).collect()
            };
            list.push(Probe { kind, foreign, absent });
        }
    }
    list
}

/// Returns the kind that a parameter names: `{run}` is a `run_id`, and `{id}` what the part before it names.
fn kind_of<'a>(route: &'a Served, parameter: &'a str) -> String {
    let word = if parameter == "id" {
        let marker = format!("/{{{parameter}}}");
        let before = route.path.split(&marker).next().unwrap_or_default();
        before.rsplit('/').next().unwrap_or_default().trim_end_matches('s')
    } else {
        parameter
    };
    let word = if word == "planner" { "model" } else { word };
    format!("{word}_id")
}

/// Fills the pattern of a route.
fn filled(route: &Served, values: &[&str]) -> String {
    let mut values = values.iter();
    let parts = route.path.split('/').map(|part| {
        if part.starts_with('{') { values.next().copied().unwrap_or_default() } else { part }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// What one joint venture must not see of the other in an answer: its identifiers and its mark, but for
/// what was sent.
fn shown<'a>(answer: &Answer, two: &'a Side, sent: &[&str]) -> Option<&'a str> {
    let ids = two.ids.values().flatten().filter(|id| id.parse::<Uuid>().is_ok());
    ids.chain(std::iter::once(&two.mark))
        .map(String::as_str)
        .find(|id| !id.is_empty() && !sent.contains(id) && answer.body.contains(*id))
}

/// Calls every route below `/v1` and every page of a joint venture.
pub(super) async fn routes(
    store: &Store,
    router: &Router,
    one: &Side,
    two: &Side,
    changes: bool,
    report: &mut Report,
) -> Result<(), Problem> {
    let mut list: Vec<(String, Served)> = Vec::new();
    for route in served(router) {
        let tenants = route.path.starts_with("/v1/") || route.path.starts_with("/jv/");
        if tenants && !route.path.contains("{*") {
            list.extend(route.methods.iter().map(|method| (method.clone(), route.clone())));
        }
    }
    if list.is_empty() {
        tracing::error!("the routes of the server cannot be listed");
        return Err(Problem::internal());
    }
    // What reads comes first, and what makes a row of any name last.
    list.sort_by_key(|(method, route)| {
        (
            MAKES.contains(&route.path.as_str()) && method == "POST",
            method != "GET",
            route.path.clone(),
        )
    });
    let tables: Vec<String> = store.walls().await?.into_iter().map(|wall| wall.table).collect();
    let mut before = scope(store, two).await?.digests(&tables).await?;
    for (method, route) in list {
        let reads = method == "GET";
        if !reads && !changes {
            continue;
        }
        let mut trial = if route.path.starts_with("/v1/") {
            api(router, one, two, &method, &route).await?
        } else {
            page(router, one, two, &method, &route).await?
        };
        if !reads {
            let after = scope(store, two).await?.digests(&tables).await?;
            for (table, digest) in &after {
                if before.get(table) != Some(digest) {
                    trial.leaks.push(format!("rows of the other in `{table}` were changed"));
                }
            }
            before = after;
        }
        report.trials.push(trial);
    }
    Ok(())
}

async fn scope(store: &Store, side: &Side) -> Result<TenantTx, Problem> {
    Ok(store.begin(side.tenant).await?)
}

async fn api(
    router: &Router,
    one: &Side,
    two: &Side,
    method: &str,
    route: &Served,
) -> Result<Trial, Problem> {
    let what = format!("{method} {}", route.path);
    let mut trial = Trial { what, tries: 0, reached: false, leaks: Vec::new() };
    let caller = As::Key(&one.key);
    let parameters = route.parameters();
    let probes = probes(one, two);
    let template = if method == "GET" || parameters.is_empty() {
        body_of(method, &route.path).to_owned()
    } else {
        let nobody = Uuid::now_v7().to_string();
        let path = filled(route, &vec![nobody.as_str(); parameters.len()]);
        fitting_body(router, &one.key, method, route, &path).await?
    };
    let makes = MAKES.contains(&route.path.as_str()) && method == "POST";
    if parameters.is_empty() {
        list(router, two, method, route, &probes, &caller, &mut trial).await?;
        return Ok(trial);
    }
    let guess = |parameter: &str| {
        let kind = kind_of(route, parameter);
        probes.iter().find(|probe| probe.kind == kind).or(probes.first())
    };
    for (at, parameter) in parameters.iter().enumerate() {
        let expected = kind_of(route, parameter);
        for probe in &probes {
            let mut foreign: Vec<&str> = Vec::new();
            let mut absent: Vec<&str> = Vec::new();
            for (place, name) in parameters.iter().enumerate() {
                let Some(probe) = (if place == at { Some(probe) } else { guess(name) }) else {
                    continue;
                };
                foreign.push(probe.foreign);
                absent.push(&probe.absent);
            }
            let body = template.replace("$member_id", probe.foreign);
            let answer = call(router, &caller, method, &filled(route, &foreign), &body).await?;
            let none = call(router, &caller, method, &filled(route, &absent), &body).await?;
            trial.tries += 1;
            trial.reached |= probe.kind == expected && answer.status == StatusCode::NOT_FOUND
                || makes
                || !probes.iter().any(|probe| probe.kind == expected);
            judge(&mut trial, two, probe.kind, &foreign, &absent, &answer, &none);
        }
    }
    Ok(trial)
}

/// Compares the answer to a foreign identifier with the answer to one that nothing has.
fn judge(
    trial: &mut Trial,
    two: &Side,
    kind: &str,
    foreign: &[&str],
    absent: &[&str],
    answer: &Answer,
    none: &Answer,
) {
    if let Some(found) = shown(answer, two, foreign) {
        trial.leaks.push(format!("with {kind}: the answer names `{found}`"));
    }
    let plain = |body: &str, ids: &[&str]| {
        ids.iter().fold(body.to_owned(), |text, id| text.replace(id, "*"))
    };
    if answer.status != none.status {
        trial.leaks.push(format!("with {kind}: {} where {} was due", answer.status, none.status));
    } else if !answer.status.is_success()
        && plain(&answer.body, foreign) != plain(&none.body, absent)
    {
        trial.leaks.push(format!("with {kind}: the answer tells that it exists"));
    }
}

/// Calls a route without identifiers in its address: its answer must name nothing of the other.
async fn list(
    router: &Router,
    two: &Side,
    method: &str,
    route: &Served,
    probes: &[Probe<'_>],
    caller: &As<'_>,
    trial: &mut Trial,
) -> Result<(), Problem> {
    let template = body_of(method, &route.path);
    if method != "GET" {
        // What names nobody can reach nobody.
        if let Some((_, rest)) = template.split_once('$') {
            let kind = rest.split('"').next().unwrap_or_default();
            for probe in probes.iter().filter(|probe| probe.kind == kind) {
                let (named, absent) = (format!("${kind}"), probe.absent.as_str());
                let body = template.replace(&named, probe.foreign);
                let answer = call(router, caller, method, &route.path, &body).await?;
                let body = template.replace(&named, absent);
                let none = call(router, caller, method, &route.path, &body).await?;
                trial.tries += 1;
                trial.reached |= answer.status == StatusCode::NOT_FOUND;
                judge(trial, two, kind, &[probe.foreign], &[absent], &answer, &none);
            }
        } else {
            trial.reached = true;
        }
        return Ok(());
    }
    let path = format!("{}{}", route.path, query_of(&route.path));
    let answer = call(router, caller, method, &path, "").await?;
    trial.tries += 1;
    trial.reached = answer.status.is_success();
    if let Some(found) = shown(&answer, two, &[]) {
        trial.leaks.push(format!("the list names `{found}`"));
    }
    for probe in probes {
        let path = format!("{}?after={}", route.path, probe.foreign);
        let answer = call(router, caller, method, &path, "").await?;
        trial.tries += 1;
        if let Some(found) = shown(&answer, two, &[probe.foreign]) {
            trial.leaks.push(format!("after {}: the list names `{found}`", probe.kind));
        }
    }
    Ok(())
}

/// Calls a page with one's own session: under the other's name, and under one's own with the other's
/// identifiers.
async fn page(
    router: &Router,
    one: &Side,
    two: &Side,
    method: &str,
    route: &Served,
) -> Result<Trial, Problem> {
    let what = format!("{method} {}", route.path);
    let mut trial = Trial { what, tries: 0, reached: false, leaks: Vec::new() };
    let caller = As::Cookie(&one.cookie);
    let form = format!("csrf={}", one.csrf);
    let probes = probes(one, two);
    let parameters = route.parameters();
    let first = probes.first().map(|probe| probe.foreign).unwrap_or_default();
    let mut values = vec![first; parameters.len()];
    if let Some(slug) = values.first_mut() {
        *slug = &two.slug;
    }
    let answer = call(router, &caller, method, &filled(route, &values), &form).await?;
    trial.tries += 1;
    let read = method == Method::GET.as_str();
    // A form that is not whole is refused before anything is looked up, for everybody alike.
    trial.reached = answer.status == StatusCode::NOT_FOUND || !read;
    values.push(&two.slug);
    if answer.status.is_success() {
        trial.leaks.push("the page of the other is shown".to_owned());
    } else if let Some(found) = shown(&answer, two, &values) {
        trial.leaks.push(format!("under the other's name: the page names `{found}`"));
    }
    if parameters.len() < 2 {
        return Ok(trial);
    }
    for probe in &probes {
        let mut foreign = vec![probe.foreign; parameters.len()];
        let mut absent = vec![probe.absent.as_str(); parameters.len()];
        for values in [&mut foreign, &mut absent] {
            if let Some(slug) = values.first_mut() {
                *slug = &one.slug;
            }
        }
        let answer = call(router, &caller, method, &filled(route, &foreign), &form).await?;
        let none = call(router, &caller, method, &filled(route, &absent), &form).await?;
        trial.tries += 1;
        judge(&mut trial, two, probe.kind, &foreign[1..], &absent[1..], &answer, &none);
    }
    Ok(trial)
}
