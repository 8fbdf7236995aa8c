//! Figures in the text format of Prometheus. Every family is declared here with its labels, whose
//! values come from fixed sets; a family that grows beyond [`MAX_SERIES`] counts the rest as `other`.
//!
//! # Source
//! Prometheus, *Exposition formats*, text format 0.0.4; its naming practices.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;

use crate::store::Store;

/// Most label sets of a family.
const MAX_SERIES: usize = 500;

/// Upper bounds of the buckets of a histogram, seconds.
const BOUNDS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

struct Declared {
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
}

const fn family(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Declared {
    Declared { name, kind, labels, help }
}

/// Calls answered.
pub const REQUESTS: &str = "tessera_http_requests_total";
/// Time to the first byte of an answer.
pub const REQUEST_SECONDS: &str = "tessera_http_request_seconds";
/// Attempts of outbound webhooks.
pub const ATTEMPTS: &str = "tessera_webhook_attempts_total";
/// Time of an attempt.
pub const ATTEMPT_SECONDS: &str = "tessera_webhook_attempt_seconds";
/// Inbound webhooks that were believed or not.
pub const INBOUND: &str = "tessera_webhook_inbound_total";
/// Requests that were not let out.
pub const REFUSALS: &str = "tessera_egress_refusals_total";
const QUEUE: &str = "tessera_run_queue";
const OUTBOX: &str = "tessera_webhook_due";
const OUTBOX_AGE: &str = "tessera_webhook_oldest_due_seconds";
const RESIDENT: &str = "process_resident_memory_bytes";
const DESCRIPTORS: &str = "process_open_fds";
const STARTED: &str = "process_start_time_seconds";
const BUILD: &str = "tessera_build_info";

const FAMILIES: [Declared; 13] = [
    family(REQUESTS, Kind::Counter, &["method", "route", "status"], "Calls answered."),
    family(REQUEST_SECONDS, Kind::Histogram, &["route"], "Time to the first byte of an answer."),
    family(ATTEMPTS, Kind::Counter, &["outcome"], "Attempts of outbound webhooks."),
    family(ATTEMPT_SECONDS, Kind::Histogram, &[], "Time of an attempt of an outbound webhook."),
    family(INBOUND, Kind::Counter, &["outcome"], "Inbound webhooks."),
    family(REFUSALS, Kind::Counter, &["code"], "Requests that were not let out."),
    family(QUEUE, Kind::Gauge, &["state"], "Runs in the queue."),
    family(OUTBOX, Kind::Gauge, &[], "Deliveries of webhooks that are due."),
    family(OUTBOX_AGE, Kind::Gauge, &[], "How long the oldest due delivery has been due."),
    family(RESIDENT, Kind::Gauge, &[], "Resident memory."),
    family(DESCRIPTORS, Kind::Gauge, &[], "Open file descriptors."),
    family(STARTED, Kind::Gauge, &[], "Start of the process, Unix time."),
    family(BUILD, Kind::Gauge, &["version"], "Version of the program; always 1."),
];

/// A series: a number, and the buckets of a histogram, whose number is the sum.
#[derive(Default, Clone)]
struct Series {
    value: f64,
    buckets: [u64; BOUNDS.len()],
    count: u64,
}

type Families = BTreeMap<&'static str, BTreeMap<Vec<String>, Series>>;

static SERIES: LazyLock<Mutex<Families>> = LazyLock::new(Mutex::default);
static BEGUN: LazyLock<f64> = LazyLock::new(|| {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
});

fn change(name: &'static str, labels: &[&str], change: impl FnOnce(&mut Series)) {
    let mut families = SERIES.lock().unwrap_or_else(PoisonError::into_inner);
    let family = families.entry(name).or_default();
    let mut key: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
    if family.len() >= MAX_SERIES && !family.contains_key(&key) {
        key.fill("other".to_owned());
    }
    change(family.entry(key).or_default());
}

/// Counts one. `labels` are values in the order in which the family declares their names.
pub fn count(name: &'static str, labels: &[&str]) {
    change(name, labels, |series| series.value += 1.0);
}

/// Notes a duration in seconds.
pub fn observe(name: &'static str, labels: &[&str], seconds: f64) {
    change(name, labels, |series| {
        series.value += seconds;
        series.count += 1;
        for (bucket, bound) in series.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
    });
}

fn set(name: &'static str, labels: &[&str], value: f64) {
    change(name, labels, |series| series.value = value);
}

/// Measures a call under its route, never under the address that the caller wrote.
pub async fn measured(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "none".to_owned());
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => {
            known.to_owned()
        }
        _ => "other".to_owned(),
    };
    let answer = next.run(request).await;
    let status = format!("{}xx", answer.status().as_u16() / 100);
    count(REQUESTS, &[&method, &route, &status]);
    observe(REQUEST_SECONDS, &[&route], begun.elapsed().as_secs_f64());
    answer
}

/// Reads what is looked up and not counted. What the database does not tell keeps its last value.
#[expect(clippy::cast_precision_loss, reason = "counts of a queue and bytes of a process")]
pub async fn gather(store: &Store) {
    if let Ok(depth) = store.queue_depth().await {
        set(QUEUE, &["waiting"], depth.waiting as f64);
        set(QUEUE, &["leased"], depth.leased as f64);
    }
    if let Ok((due, oldest)) = store.outbox_depth().await {
        set(OUTBOX, &[], due as f64);
        set(OUTBOX_AGE, &[], oldest.max(0.0));
    }
    set(BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    set(STARTED, &[], *BEGUN);
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(pages) = statm.split(' ').nth(1).and_then(|text| text.parse::<u64>().ok()) {
        // Linux counts in pages, which have 4 KiB wherever this program is built for.
        set(RESIDENT, &[], (pages * 4096) as f64);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        set(DESCRIPTORS, &[], open.count() as f64);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labelled(names: &[&str], values: &[String], bound: Option<&str>) -> String {
    let pairs =
        names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    let all: Vec<String> = pairs.chain(bound.map(|bound| format!("le=\"{bound}\""))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

/// Returns all figures as text.
pub fn text() -> String {
    let families = SERIES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut out = String::new();
    for declared in &FAMILIES {
        let Some(series) = families.get(declared.name) else { continue };
        let kind = match declared.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let name = declared.name;
        out.push_str(&format!("# HELP {name} {}\n# TYPE {name} {kind}\n", declared.help));
        for (values, one) in series {
            if declared.kind == Kind::Histogram {
                histogram(&mut out, declared, values, one);
            } else {
                let labels = labelled(declared.labels, values, None);
                out.push_str(&format!("{name}{labels} {}\n", one.value));
            }
        }
    }
    out
}

fn histogram(out: &mut String, declared: &Declared, values: &[String], one: &Series) {
    let name = declared.name;
    for (bound, count) in BOUNDS.iter().zip(one.buckets) {
        let labels = labelled(declared.labels, values, Some(&bound.to_string()));
        out.push_str(&format!("{name}_bucket{labels} {count}\n"));
    }
    let labels = labelled(declared.labels, values, Some("+Inf"));
    out.push_str(&format!("{name}_bucket{labels} {}\n", one.count));
    let labels = labelled(declared.labels, values, None);
    out.push_str(&format!(
        "{name}_sum{labels} {}\n{name}_count{labels} {}\n",
        one.value, one.count
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_labels_are_escaped_and_a_family_stays_bounded() {
        observe(REQUEST_SECONDS, &["/t \"\\\n"], 0.03);
        observe(REQUEST_SECONDS, &["/t \"\\\n"], 70.0);
        for number in 0..2000 {
            count(INBOUND, &[&format!("o{number}")]);
        }
        let text = text();
        let of = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.rsplit_once(' ').unwrap().1.to_owned()
        };
        let series = "tessera_http_request_seconds_bucket{route=\"/t \\\"\\\\\\n\",le=";
        assert_eq!(of(&format!("{series}\"0.025\"")), "0");
        assert_eq!(of(&format!("{series}\"0.05\"")), "1");
        assert_eq!(of(&format!("{series}\"60\"")), "1");
        assert_eq!(of(&format!("{series}\"+Inf\"")), "2");
        let inbound = text.lines().filter(|line| line.starts_with(INBOUND)).count();
        assert!(inbound <= MAX_SERIES + 1, "{inbound}");
        assert!(of(&format!("{INBOUND}{{outcome=\"other\"}}")).parse::<u32>().unwrap() >= 1500);
    }
}
