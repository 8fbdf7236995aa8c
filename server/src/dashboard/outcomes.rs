//! Outcomes on the pages: what experiments say, with the lower bound first.

use agents::outcome::design::{Design, Measure, Method};
use agents::outcome::micros::Micros;
use agents::outcome::readout::{MetricReading, ReadOut, Standing, Verdict};
use agents::pack::Kpi;
use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;

use super::outcomes_forms;
use super::outcomes_ledger::{self, StatementLine};
use super::view::{Badge, Frame, when};
use super::{Trouble, enter, frame, show};
use crate::auth::Browser;
use crate::outcomes::api::kpis_of;
use crate::outcomes::read;
use crate::state::AppState;
use crate::store::{Experiment, StoreError, TenantTx};

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/outcomes", get(overview))
        .route("/jv/{slug}/experiments/{name}", get(experiment))
        .merge(outcomes_ledger::routes())
        .merge(outcomes_forms::routes())
}

/// An interval as a drawing: places in units of the view box, 600 wide.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    low: f64,
    estimate: f64,
    high: f64,
    zero: f64,
    minimum: Option<f64>,
    words: String,
}

impl Plot {
    fn of(metric: &MetricReading, words: String) -> Self {
        let found = &metric.improvement;
        let minimum = metric.minimum.float();
        let (left, right) = (found.low.min(0.0), found.high.max(0.0).max(minimum));
        // A tenth on either side, so that no mark touches the edge.
        let width = (right - left).max(f64::MIN_POSITIVE);
        let place = |value: f64| 60.0 + 480.0 * (value - left) / width;
        Self {
            low: place(found.low),
            estimate: place(found.estimate),
            high: place(found.high),
            zero: place(0.0),
            minimum: (minimum > 0.0).then(|| place(minimum)),
            words,
        }
    }
}

/// A value in the unit of its KPI.
fn shown(value: f64, unit: &str) -> String {
    if unit == "percent" {
        return format!("{:.1} points", 100.0 * value);
    }
    let places = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 1.0 => 2,
        _ => 4,
    };
    format!("{value:.places$} {unit}")
}

/// One metric, ready for display.
#[derive(Debug, Clone)]
pub(super) struct MetricLine {
    kpi: String,
    definition: String,
    low: String,
    estimate: String,
    high: String,
    control: String,
    treatment: String,
    p: String,
    method: String,
    explained: String,
    uncapped: String,
    minimum: String,
    verdict: Badge,
    plot: Plot,
}

/// The unit of an improvement: that of the KPI for a ratio; a mean is a sum over the window or a
/// period, whatever time the KPI is usually stated for.
fn unit_of(kpi: Option<&Kpi>, design: &Design, currency: &str) -> String {
    let Some(kpi) = kpi else { return String::new() };
    let unit = kpi.unit.replace("currency", currency);
    if unit == "percent" || kpi.measure == Some(Measure::Ratio) {
        return unit;
    }
    let base = unit.split([' ', '/']).next().unwrap_or_default();
    match design.method {
        Method::Randomised => format!("{base} a {} over the window", design.unit),
        Method::Switchback | Method::BeforeAfter => format!("{base} a period"),
    }
}

impl MetricLine {
    fn of(metric: &MetricReading, kpis: &[Kpi], design: &Design, currency: &str) -> Self {
        let kpi = kpis.iter().find(|kpi| kpi.id == metric.kpi);
        let unit = unit_of(kpi, design, currency);
        let unit = unit.as_str();
        let found = &metric.improvement;
        let (low, high) = (shown(found.low, unit), shown(found.high, unit));
        let verdict = match metric.verdict {
            Verdict::Reached => Badge { word: "At least the minimum", class: "good" },
            Verdict::Better => Badge { word: "Better", class: "good" },
            Verdict::Open => Badge { word: "Not decided", class: "wait" },
            Verdict::Worse => Badge { word: "Worse", class: "bad" },
        };
        let words = format!(
            "Improvement between {low} and {high}, estimate {}",
            shown(found.estimate, unit)
        );
        Self {
            kpi: metric.kpi.replace('_', " "),
            definition: kpi.map(|kpi| kpi.definition.clone()).unwrap_or_default(),
            plot: Plot::of(metric, words),
            low,
            estimate: shown(found.estimate, unit),
            high,
            control: shown(metric.levels[0], unit).replace(" points", " %"),
            treatment: shown(metric.levels[1], unit).replace(" points", " %"),
            p: format!("{:.2e}", metric.p_adjusted),
            method: metric.method.clone(),
            explained: metric
                .explained
                .map(|share| format!("{:.0} % of the variance", 100.0 * share))
                .unwrap_or_default(),
            uncapped: metric
                .uncapped
                .map(|d| format!("{} to {}", shown(d.low, unit), shown(d.high, unit)))
                .unwrap_or_default(),
            minimum: shown(metric.minimum.float(), unit),
            verdict,
        }
    }
}

/// One experiment, ready for display.
#[derive(Debug, Clone)]
pub(super) struct ExperimentLine {
    name: String,
    question: String,
    state: Badge,
    standing: Badge,
    method: String,
    causal: bool,
    window: String,
    units: [usize; 2],
    ratio: String,
    notes: Vec<String>,
    metrics: Vec<MetricLine>,
}

fn standing(read: Option<&ReadOut>) -> Badge {
    match read.map(|read| read.standing) {
        None => Badge { word: "Not started", class: "calm" },
        Some(Standing::Blocked) => Badge { word: "Blocked", class: "bad" },
        Some(Standing::NotDue) => Badge { word: "Not due", class: "wait" },
        Some(Standing::TooFew) => Badge { word: "Too little yet", class: "wait" },
        Some(Standing::Read) => Badge { word: "Read", class: "good" },
    }
}

/// Reads an experiment for display.
async fn line(
    tx: &mut TenantTx,
    one: &Experiment,
    kpis: &[Kpi],
) -> Result<ExperimentLine, crate::error::Problem> {
    let read = match one.state.as_str() {
        "draft" => None,
        _ => Some(read(tx, &one.design.name, Timestamp::now()).await?),
    };
    let state = match one.state.as_str() {
        "draft" => Badge { word: "Draft", class: "calm" },
        "running" => Badge { word: "Running", class: "wait" },
        _ => Badge { word: "Ended", class: "calm" },
    };
    let design = &one.design;
    let currency = tx.tenant().await?.currency;
    Ok(ExperimentLine {
        name: design.name.clone(),
        question: design.question.clone(),
        state,
        standing: standing(read.as_ref()),
        method: design.method.label().to_owned(),
        causal: design.method.is_causal(),
        window: format!("{} to {}", when(&design.start), when(&design.end)),
        units: read.as_ref().map_or([0, 0], |read| read.units),
        ratio: read
            .as_ref()
            .and_then(|read| read.sample_ratio_p)
            .map(|p| format!("{p:.3}"))
            .unwrap_or_default(),
        notes: read.as_ref().map(|read| read.notes.clone()).unwrap_or_default(),
        metrics: read
            .iter()
            .flat_map(|read| &read.metrics)
            .map(|metric| MetricLine::of(metric, kpis, design, &currency))
            .collect(),
    })
}

/// `/jv/{slug}/outcomes`
#[derive(Template)]
#[template(path = "outcomes.html")]
struct OutcomesPage {
    frame: Frame,
    experiments: Vec<ExperimentLine>,
    statements: Vec<StatementLine>,
    contracts: Vec<String>,
    datasets: Vec<String>,
    measured: Vec<String>,
    /// Keys that sign or signed: whose, the public key, since when.
    keys: Vec<(String, String, String)>,
    runs: u64,
    per_accepted: String,
    baseline: String,
}

/// The keys that sign statements, the joint venture's first.
async fn keys(tx: &mut TenantTx) -> Result<Vec<(String, String, String)>, StoreError> {
    let own = tx
        .signing_keys()
        .await?
        .into_iter()
        .map(|key| ("The joint venture".to_owned(), key.public_key, when(&key.at)));
    let own: Vec<_> = own.collect();
    let parties = tx.party_keys().await?.into_iter();
    let parties =
        parties.map(|key| (key.registration.party, key.registration.public_key, when(&key.at)));
    Ok(own.into_iter().chain(parties).collect())
}

async fn overview(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "outcomes").await?;
    let kpis = kpis_of(&state, &mut tx).await?;
    let mut experiments = Vec::new();
    for one in tx.experiments(None).await? {
        experiments.push(line(&mut tx, &one, &kpis).await?);
    }
    let measured = kpis.into_iter().filter(|kpi| kpi.measure.is_some());
    let contracts = tx.contracts(None).await?;
    let costs = crate::outcomes::ledger::economics(&mut tx, 30).await?;
    let currency = &costs.terms.currency;
    let amount =
        |amount: Option<Micros>| amount.map(|a| format!("{a} {currency}")).unwrap_or_default();
    Ok(show(&OutcomesPage {
        frame,
        experiments,
        statements: outcomes_ledger::lines(&mut tx).await?,
        contracts: contracts.into_iter().map(|kept| kept.contract.name).collect(),
        datasets: tx.datasets(false).await?.into_iter().map(|one| one.id).collect(),
        measured: measured.map(|kpi| kpi.id).collect(),
        keys: keys(&mut tx).await?,
        runs: costs.effort.runs,
        per_accepted: amount(costs.costs.per_accepted),
        baseline: amount(costs.costs.baseline),
    }))
}

/// `/jv/{slug}/experiments/{name}`
#[derive(Template)]
#[template(path = "experiment.html")]
struct ExperimentPage {
    frame: Frame,
    line: ExperimentLine,
    state: String,
    sha256: String,
    started: String,
    end_reason: String,
    design: String,
}

async fn experiment(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, name)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "outcomes").await?;
    let kpis = kpis_of(&state, &mut tx).await?;
    let one = tx.experiment(&name).await.map_err(crate::error::Problem::from)?;
    Ok(show(&ExperimentPage {
        frame,
        line: line(&mut tx, &one, &kpis).await?,
        state: one.state,
        sha256: one.sha256,
        started: one.started_at.as_ref().map(when).unwrap_or_default(),
        end_reason: one.end_reason,
        design: serde_json::to_string_pretty(&one.design).unwrap_or_default(),
    }))
}
