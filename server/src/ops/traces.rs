//! Traces of runs to a collector of OpenTelemetry, off unless one is configured.
//!
//! A run that ends becomes a span `invoke_agent`, with `chat` for what the planner did and `execute_tool`
//! for each call, rebuilt from its journal; so a run that several servers drove is one trace. What a
//! person wrote, arguments and results are left out. The trace is named by the caller's `traceparent`,
//! else by the run's own identifier.
//!
//! # Source
//! OpenTelemetry, *OTLP 1.5*, JSON over HTTP; *Semantic Conventions for Generative AI*, agent and tool
//! spans; W3C *Trace Context*.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use crate::egress::{Egress, Limits, Outgoing, Rules, target};
use crate::store::{Run, RunEvent, RunId, Store, StoreError, TenantId};

/// Runs that wait to be told; more are dropped, so that a slow collector holds nothing up.
const WAITING: usize = 1024;

/// Longest time for one answer of the collector.
const PATIENCE: Duration = Duration::from_secs(10);

/// A run that ended.
pub type Ended = (TenantId, RunId);

/// A caller's place in a trace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent<'a> {
    /// 32 hexadecimal digits.
    pub trace: &'a str,
    /// 16 hexadecimal digits.
    pub span: &'a str,
}

impl<'a> Parent<'a> {
    /// Reads a `traceparent`; one that does not read counts as none.
    pub fn of(text: &'a str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length
                && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let named = |text: &str| text.bytes().any(|b| b != b'0');
        let flags = parts.next().is_some_and(|flags| hex(flags, 2));
        let known =
            hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        let right =
            known && flags && hex(trace, 32) && hex(span, 16) && named(trace) && named(span);
        right.then_some(Self { trace, span })
    }
}

/// Where traces go.
#[derive(Debug)]
pub struct Collector {
    egress: Egress,
    rules: Arc<Rules>,
    url: String,
    headers: HeaderMap,
}

impl Collector {
    /// Prepares exports to `/v1/traces` below an address of the operator's, which may be private.
    /// `headers` are `name=value`, parted by commas.
    ///
    /// # Errors
    /// What is wrong with the address or the headers.
    pub fn new(base: &str, headers: &str) -> Result<Self, String> {
        let url = format!("{}/v1/traces", base.trim_end_matches('/'));
        let wrong = |refusal: crate::egress::Refusal| format!("`{base}`: {refusal}");
        let rules = Rules::of_operator(&url).map_err(wrong)?;
        target(&url, &rules).map_err(wrong)?;
        let mut all = HeaderMap::new();
        for pair in headers.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let read = || {
                let (name, value) = pair.split_once('=')?;
                let value = HeaderValue::from_str(value.trim()).ok()?;
                Some((HeaderName::try_from(name.trim()).ok()?, value))
            };
            let (name, value) = read().ok_or("a header of the collector is no `name=value`")?;
            all.insert(name, value);
        }
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self { egress: Egress::default(), rules: Arc::new(rules), url, headers: all })
    }

    async fn send(&self, spans: &[Value]) -> Result<(), String> {
        let resource = [text("service.name", "tessera"), text("service.version", VERSION)];
        let body = json!({ "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "tessera", "version": VERSION }, "spans": spans }],
        }]});
        let limits = Limits { time: PATIENCE, body: 64 * 1024, cut: true, redirects: 0 };
        let (url, headers) = (self.url.clone(), self.headers.clone());
        let body = body.to_string().into_bytes();
        let outgoing = Outgoing { method: Method::POST, url, headers, body, limits };
        let answer = self.egress.send(None, &self.rules, &outgoing).await;
        let status = answer.map_err(|error| error.to_string())?.status;
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns both ends of the line along which workers say which runs ended.
pub fn channel() -> (mpsc::Sender<Ended>, mpsc::Receiver<Ended>) {
    mpsc::channel(WAITING)
}

/// Tells the collector of runs until the server stops, and of those that wait then.
pub async fn export(
    store: Store,
    collector: Collector,
    mut ended: mpsc::Receiver<Ended>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let next = tokio::select! {
            next = ended.recv() => next,
            _ = stopped.wait_for(|stopped| *stopped) => ended.try_recv().ok(),
        };
        let Some((tenant, run)) = next else { return };
        let told = match spans_of(&store, tenant, run).await {
            Ok(spans) => collector.send(&spans).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = told {
            tracing::warn!(%run, %error, "the trace of a run was not told");
        }
    }
}

async fn spans_of(store: &Store, tenant: TenantId, run: RunId) -> Result<Vec<Value>, StoreError> {
    let mut tx = store.begin(tenant).await?;
    let row = tx.get_run(run).await?;
    Ok(spans(&row, &tx.events(run, 0).await?))
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn whole(key: &str, value: &Value) -> Value {
    json!({ "key": key, "value": { "intValue": value.as_i64().unwrap_or_default().to_string() } })
}

/// Builds spans of one trace.
struct Trace {
    run: String,
    trace: String,
    root: String,
    all: Vec<Value>,
}

impl Trace {
    /// The identifier of a span says which part of which run it is, so that it is the same whoever tells
    /// it.
    fn id(run: &str, part: &str) -> String {
        hex::encode(&Sha256::digest(format!("{run}/{part}"))[..8])
    }

    fn push(
        &mut self,
        (part, name): (&str, String),
        (from, to): (Timestamp, Timestamp),
        attributes: Vec<Value>,
        fault: Option<&str>,
    ) {
        let mut attributes = attributes;
        let nanos = |at: Timestamp| at.as_nanosecond().to_string();
        let status = match fault {
            Some(fault) => {
                attributes.push(text("error.type", fault));
                json!({ "code": 2 })
            }
            None => json!({}),
        };
        self.all.push(json!({
            "traceId": self.trace, "spanId": Self::id(&self.run, part), "parentSpanId": self.root,
            "name": name, "kind": 1, "startTimeUnixNano": nanos(from), "endTimeUnixNano": nanos(to),
            "attributes": attributes, "status": status,
        }));
    }
}

/// Rebuilds the spans of a run.
fn spans(run: &Run, events: &[RunEvent]) -> Vec<Value> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Vec::new() };
    let name = run.id.to_string();
    let parent = first.payload["traceparent"].as_str().and_then(Parent::of);
    let trace =
        parent.map_or_else(|| run.id.simple().to_string(), |parent| parent.trace.to_owned());
    let root = Trace::id(&name, "run");
    let mut trace = Trace { run: name, trace, root, all: Vec::new() };
    let mut begun: Vec<(i64, Timestamp)> = Vec::new();
    let mut before = first.created_at;
    for event in events {
        let payload = &event.payload;
        let index = payload["index"].as_i64().unwrap_or_default();
        match event.kind.as_str() {
            "plan.made" => trace.plan(&payload["plan"], (before, event.created_at)),
            "call.started" => begun.push((index, event.created_at)),
            "call.finished" | "call.failed" => {
                let from = begun.iter().rev().find(|(at, _)| *at == index);
                let from = from.map_or(event.created_at, |(_, from)| *from);
                let tool = payload["tool"].as_str().unwrap_or_default();
                let fault = payload["code"].as_str();
                trace.call(index, tool, (from, event.created_at), fault);
            }
            _ => {}
        }
        before = event.created_at;
    }
    let mut attributes = vec![
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.provider.name", "tessera"),
        text("gen_ai.agent.name", &run.agent),
        text("gen_ai.agent.id", &run.agent),
        text("tessera.run.id", &trace.run),
        text("tessera.run.status", run.status.name()),
    ];
    attributes.extend(run.thread.as_deref().map(|thread| text("gen_ai.conversation.id", thread)));
    let fault = (last.kind == "run.failed").then(|| last.payload["code"].as_str()).flatten();
    let span = (first.created_at, last.created_at);
    trace.push(("run", format!("invoke_agent {}", run.agent)), span, attributes, fault);
    // The whole is told last and hangs below the caller's own.
    if let Some(root) = trace.all.last_mut() {
        root["kind"] = json!(2);
        root["parentSpanId"] = json!(parent.map_or("", |parent| parent.span));
    }
    trace.all
}

impl Trace {
    fn plan(&mut self, plan: &Value, span: (Timestamp, Timestamp)) {
        let model = plan["model"].as_str().unwrap_or_default().to_owned();
        let attributes = vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", "tessera"),
            text("gen_ai.request.model", &model),
            text("gen_ai.response.model", &model),
            whole("gen_ai.usage.input_tokens", &plan["prompt_tokens"]),
            whole("gen_ai.usage.output_tokens", &plan["decoded_tokens"]),
        ];
        self.push(("plan", format!("chat {model}")), span, attributes, None);
    }

    fn call(&mut self, index: i64, tool: &str, span: (Timestamp, Timestamp), fault: Option<&str>) {
        let attributes = vec![
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.provider.name", "tessera"),
            text("gen_ai.tool.name", tool),
            text("gen_ai.tool.type", "function"),
            text("gen_ai.tool.call.id", &format!("{}:{index}", self.run)),
        ];
        let part = format!("call:{index}");
        self.push((&part, format!("execute_tool {tool}")), span, attributes, fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_reads_only_in_its_form() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let right = format!("00-{trace}-{span}-01");
        assert_eq!(Parent::of(&right), Some(Parent { trace, span }));
        assert!(Parent::of(&format!("01-{trace}-{span}-01-more")).is_some());
        for wrong in [
            String::new(),
            "00-x-y-01".to_owned(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-more"),
            format!("00-{trace}-{span}"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
        ] {
            assert_eq!(Parent::of(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn headers_of_a_collector_are_pairs() {
        assert!(
            Collector::new("http://127.0.0.1:4318", "authorization=Bearer x, tenant=a").is_ok()
        );
        assert!(Collector::new("http://127.0.0.1:4318", "nonsense").is_err());
        assert!(Collector::new("not an address", "").is_err());
    }
}
