//! Slots for workshop jobs: which bay, from when to when. It proposes; nothing is booked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::instant::Instant;
use super::place::{Interval, Job, Placed, Shop};
use crate::tool::{Table, ToolContext, ToolError, Window, decode, warning};

/// Most jobs and opening intervals, also from a table; the schema bounds what is inline.
const MOST: (usize, usize) = (40, 200);

#[derive(Deserialize)]
struct Arguments {
    jobs: Option<Vec<JobIn>>,
    dataset: Option<String>,
    bays: Option<Vec<BayIn>>,
    bays_dataset: Option<String>,
    start: Option<String>,
    end: Option<String>,
}

#[derive(Deserialize)]
struct JobIn {
    vehicle_id: String,
    duration_min: i64,
    skill: Option<String>,
    earliest: Option<String>,
    latest: Option<String>,
    #[serde(default = "one")]
    weight: i64,
}

#[derive(Deserialize)]
struct BayIn {
    bay_id: String,
    open: String,
    close: String,
    skills: Option<Vec<String>>,
}

fn one() -> i64 {
    1
}

/// An opening interval of a bay as the request gives it.
struct Bay {
    id: String,
    open: Instant,
    interval: Interval,
    skills: Option<Vec<String>>,
}

impl Bay {
    /// Skills are compared without case; a bay that lists none has all.
    fn has(&self, skill: Option<&String>) -> bool {
        let Some(wanted) = skill else { return true };
        self.skills
            .as_ref()
            .is_none_or(|skills| skills.iter().any(|s| s.eq_ignore_ascii_case(wanted)))
    }
}

fn number(table: &Table, row: &[String], name: &str) -> Result<Option<i64>, ToolError> {
    let cell = table.find(name).map(|at| row[at].as_str()).filter(|text| !text.is_empty());
    cell.map(|text| {
        text.parse().map_err(|_| {
            ToolError::invalid("/dataset", format!("`{text}` is no {name} in {}", table.source))
        })
    })
    .transpose()
}

/// Reads jobs from a table with the columns of the argument.
fn jobs_of(table: &Table) -> Result<Vec<JobIn>, ToolError> {
    let id = table.column("vehicle_id")?;
    table.column("duration_min")?;
    let text = |row: &[String], name: &str| {
        table.find(name).map(|at| row[at].clone()).filter(|text| !text.is_empty())
    };
    let rows = table.rows.iter();
    rows.map(|row| {
        let duration = number(table, row, "duration_min")?.filter(|min| (5..=2880).contains(min));
        let weight = number(table, row, "weight")?.unwrap_or(1);
        if !(1..=10).contains(&weight) {
            return Err(ToolError::invalid("/dataset", "a weight is between 1 and 10"));
        }
        Ok(JobIn {
            vehicle_id: row[id].clone(),
            duration_min: duration.ok_or_else(|| {
                ToolError::invalid(
                    "/dataset",
                    format!("{}: duration_min is between 5 and 2880", row[id]),
                )
            })?,
            skill: text(row, "skill"),
            earliest: text(row, "earliest"),
            latest: text(row, "latest"),
            weight,
        })
    })
    .collect()
}

/// Reads bays from a table; skills are separated by semicolons.
fn bays_of(table: &Table) -> Result<Vec<BayIn>, ToolError> {
    let (id, open) = (table.column("bay_id")?, table.column("open")?);
    let close = table.column("close")?;
    let skills = table.find("skills");
    let rows = table.rows.iter();
    Ok(rows
        .map(|row| BayIn {
            bay_id: row[id].clone(),
            open: row[open].clone(),
            close: row[close].clone(),
            skills: skills
                .map(|at| row[at].as_str())
                .filter(|text| !text.trim().is_empty())
                .map(|text| text.split(';').map(|skill| skill.trim().to_owned()).collect()),
        })
        .collect())
}

/// Checks the bays: each closes after it opens, and no bay opens twice at once.
fn bays(given: Vec<BayIn>, window: &Window) -> Result<Vec<Bay>, ToolError> {
    let mut bays: Vec<Bay> = Vec::with_capacity(given.len());
    for (i, bay) in given.into_iter().enumerate() {
        let open = Instant::parse(&bay.open, &format!("/bays/{i}/open"))?;
        let close = Instant::parse(&bay.close, &format!("/bays/{i}/close"))?;
        if close.at <= open.at {
            return Err(ToolError::invalid(
                format!("/bays/{i}/close"),
                format!("bay `{}` closes before it opens", bay.bay_id),
            ));
        }
        let interval = Interval {
            open: window.start.map_or(open.at, |start| start.max(open.at)).as_second(),
            close: window.end.map_or(close.at, |end| end.min(close.at)).as_second(),
        };
        let clash = bays.iter().any(|other| {
            other.id == bay.bay_id
                && other.interval.open < interval.close
                && interval.open < other.interval.close
        });
        if clash {
            return Err(ToolError::invalid(
                format!("/bays/{i}/open"),
                format!("bay `{}` has two opening intervals that overlap", bay.bay_id),
            ));
        }
        if interval.open < interval.close {
            bays.push(Bay { id: bay.bay_id, open, interval, skills: bay.skills });
        }
    }
    Ok(bays)
}

/// Turns the jobs into those of the search, with the intervals that suit each.
fn jobs(given: &[JobIn], bays: &[Bay], window: &Window) -> Result<Vec<Job>, ToolError> {
    let mut vehicles: BTreeMap<&str, usize> = BTreeMap::new();
    let mut jobs = Vec::with_capacity(given.len());
    for (i, job) in given.iter().enumerate() {
        let bound = |text: &Option<String>, name: &str| -> Result<Option<Timestamp>, ToolError> {
            let at = format!("/jobs/{i}/{name}");
            text.as_deref().map(|text| Instant::parse(text, &at).map(|found| found.at)).transpose()
        };
        let earliest = bound(&job.earliest, "earliest")?.max(window.start);
        let latest = bound(&job.latest, "latest")?;
        let latest = match (latest, window.end) {
            (Some(latest), Some(end)) => Some(latest.min(end)),
            (latest, end) => latest.or(end),
        };
        let next = vehicles.len();
        let suits = bays.iter().enumerate().filter(|(_, bay)| bay.has(job.skill.as_ref()));
        jobs.push(Job {
            vehicle: *vehicles.entry(job.vehicle_id.as_str()).or_insert(next),
            duration: job.duration_min * 60,
            weight: job.weight,
            earliest: earliest.map_or(i64::MIN, Timestamp::as_second),
            latest: latest.map_or(i64::MAX, Timestamp::as_second),
            fits: suits.map(|(at, _)| at).collect(),
        });
    }
    Ok(jobs)
}

/// Says why a job has no place.
fn reason(job: &Job, bays: &[Bay]) -> &'static str {
    let room = |at: &usize| {
        let Interval { open, close } = bays[*at].interval;
        let (from, to) = (open.max(job.earliest), close.min(job.latest));
        to.saturating_sub(from) >= job.duration
    };
    match job.fits.as_slice() {
        [] => "no_bay_with_skill",
        fits if !fits.iter().any(room) => "window_too_short",
        _ => "no_capacity",
    }
}

/// Writes the placed jobs by start, then bay.
fn written(placed: &[Placed], given: &[JobIn], bays: &[Bay]) -> Result<Vec<Value>, ToolError> {
    let mut placed: Vec<&Placed> = placed.iter().collect();
    placed.sort_by(|a, b| {
        (a.start, &bays[a.interval].id, a.job).cmp(&(b.start, &bays[b.interval].id, b.job))
    });
    let write = |bay: &Bay, second: i64| {
        Timestamp::from_second(second)
            .map(|at| bay.open.write(at))
            .map_err(|error| ToolError::invalid("/bays", error.to_string()))
    };
    placed
        .into_iter()
        .map(|slot| {
            let bay = &bays[slot.interval];
            Ok(json!({
                "vehicle_id": given[slot.job].vehicle_id,
                "bay_id": bay.id,
                "start": write(bay, slot.start)?,
                "end": write(bay, slot.end)?,
            }))
        })
        .collect()
}

fn read(
    args: &mut Arguments,
    context: &ToolContext<'_>,
) -> Result<(Vec<JobIn>, Vec<BayIn>), ToolError> {
    // The window is one of planning; it does not choose rows, whose times are not when they apply.
    let table = |id: &str| context.datasets.table(id, &Window::default());
    let jobs = match &args.dataset {
        Some(id) => jobs_of(&table(id)?)?,
        None => args.jobs.take().unwrap_or_default(),
    };
    let bays = match &args.bays_dataset {
        Some(id) => bays_of(&table(id)?)?,
        None => args.bays.take().unwrap_or_default(),
    };
    if jobs.is_empty() || bays.is_empty() {
        return Err(ToolError::no_data("the table has no job or no bay"));
    }
    for (name, count, most) in [("jobs", jobs.len(), MOST.0), ("bays", bays.len(), MOST.1)] {
        if count > most {
            return Err(ToolError::invalid(
                "/dataset",
                format!(
                    "{count} {name} are too many for one plan of at most {most}; split the table"
                ),
            ));
        }
    }
    Ok((jobs, bays))
}

/// Places jobs: most of them first, then with least weighted completion time.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a bay closes before it opens or opens twice at once, or a cell does
/// not read; [`ToolError::NoData`] ⇐ an empty or unknown table.
///
/// # Source
/// Smith (1956), Various optimizers for single-stage production: weighted shortest processing time.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let mut args: Arguments = decode(arguments)?;
    let window = Window {
        start: args
            .start
            .as_deref()
            .map(|t| Instant::parse(t, "/start"))
            .transpose()?
            .map(|t| t.at),
        end: args.end.as_deref().map(|t| Instant::parse(t, "/end")).transpose()?.map(|t| t.at),
        site_id: None,
    };
    if matches!((window.start, window.end), (Some(start), Some(end)) if end <= start) {
        return Err(ToolError::invalid("/end", "end must be after start"));
    }
    let (given, bays_in) = read(&mut args, context)?;
    let bays = bays(bays_in, &window)?;
    let jobs = jobs(&given, &bays, &window)?;
    let intervals: Vec<Interval> = bays.iter().map(|bay| bay.interval).collect();
    let origin = intervals.iter().map(|interval| interval.open).min().unwrap_or_default();
    let shop = Shop { jobs, intervals, origin };
    let (plan, optimal) = shop.plan();
    let left = (0..given.len()).filter(|job| plan.placed.iter().all(|slot| slot.job != *job));
    let unscheduled: Vec<Value> = left
        .map(|job| {
            json!({ "vehicle_id": given[job].vehicle_id, "reason": reason(&shop.jobs[job], &bays) })
        })
        .collect();
    let mut warnings = Vec::new();
    if !optimal {
        warnings.push(warning(
            "not_proved",
            "The plan was found by search and is not proved to be the best.",
        ));
    }
    Ok(json!({
        "plan": written(&plan.placed, &given, &bays)?,
        "unscheduled": unscheduled,
        "total_weighted_completion_min": minutes(plan.cost),
        "optimal": optimal,
        "method": "Most jobs first, then least total weighted completion time; exact up to 7 jobs, above that weighted shortest processing time first with local search",
        "warnings": warnings,
    }))
}

/// Returns weighted seconds as minutes; at most 40 jobs of weight 10 stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "sums stay far below 2^53")]
fn minutes(seconds: i64) -> f64 {
    seconds as f64 / 60.0
}
