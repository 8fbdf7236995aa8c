//! Classic or rolling retention of an install-day cohort.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{cells, tidy};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

#[derive(Deserialize)]
struct Arguments {
    dataset: Option<String>,
    events: Option<Vec<Inline>>,
    cohort_date: String,
    compare_cohort_date: Option<String>,
    days: Vec<u16>,
    #[serde(default = "none")]
    group_by: String,
    #[serde(default = "classic")]
    definition: String,
    timezone: Option<String>,
    as_of: Option<String>,
    #[serde(default = "five_hundred")]
    min_cohort_size: usize,
    rank_day: Option<u16>,
}

#[derive(Deserialize)]
struct Inline {
    player_id: String,
    event_time: String,
    country: Option<String>,
    platform: Option<String>,
}

fn none() -> String {
    "none".to_owned()
}

fn classic() -> String {
    "classic".to_owned()
}

fn five_hundred() -> usize {
    500
}

/// Group of the players whose install names none.
const UNKNOWN: &str = "unknown";

/// One event of the table.
struct Event<'a> {
    player: &'a str,
    at: Timestamp,
    group: &'a str,
}

/// What is asked, with its dates read.
struct Question<'a> {
    days: &'a [u16],
    rolling: bool,
    zone: TimeZone,
    as_of: Timestamp,
}

/// Players of a group by how many days after the install they were active.
#[derive(Default)]
struct Cohort<'a>(BTreeMap<&'a str, HashMap<&'a str, BTreeSet<i32>>>);

fn first_events<'a>(events: &'a [Event<'a>]) -> HashMap<&'a str, &'a Event<'a>> {
    let mut first: HashMap<&str, &Event<'_>> = HashMap::new();
    for event in events {
        let earliest = first.entry(event.player).or_insert(event);
        if event.at < earliest.at {
            *earliest = event;
        }
    }
    first
}

/// Days from `from` to `to`; events of one table lie within a few thousand.
fn days_between(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days())
}

/// Collects the active days of those who installed on `date`.
fn cohort<'a>(
    events: &'a [Event<'a>],
    first: &HashMap<&'a str, &'a Event<'a>>,
    date: Date,
    zone: &TimeZone,
) -> Cohort<'a> {
    let day = |at: Timestamp| at.to_zoned_datetime(zone.clone()).date();
    let mut cohort = Cohort::default();
    let mut members: HashMap<&str, &str> = HashMap::new();
    for (player, install) in first {
        if day(install.at) == date {
            members.insert(player, install.group);
            cohort.0.entry(install.group).or_default().entry(player).or_default();
        }
    }
    for event in events {
        let Some(group) = members.get(event.player) else { continue };
        let active = cohort.0.entry(group).or_default().entry(event.player).or_default();
        active.insert(days_between(date, day(event.at)));
    }
    cohort
}

impl Question<'_> {
    /// Tells whether day `number` after `date` is over.
    fn over(&self, date: Date, number: u16) -> bool {
        let after = date.checked_add((i64::from(number) + 1).days());
        let ends = after.and_then(|day| day.to_zoned_datetime(self.zone.clone()));
        ends.is_ok_and(|ends| ends.timestamp() <= self.as_of)
    }

    fn retained(&self, players: &HashMap<&str, BTreeSet<i32>>, number: u16) -> usize {
        let number = i32::from(number);
        let stayed = |active: &&BTreeSet<i32>| {
            if self.rolling {
                active.range(number..).next().is_some()
            } else {
                active.contains(&number)
            }
        };
        players.values().filter(stayed).count()
    }

    /// Retention in percent; `None` ⇐ the day is not over.
    fn percent(
        &self,
        date: Date,
        players: &HashMap<&str, BTreeSet<i32>>,
        day: u16,
    ) -> Option<(usize, f64)> {
        if !self.over(date, day) {
            return None;
        }
        let retained = self.retained(players, day);
        Some((retained, 100.0 * cells::count(retained) / cells::count(players.len())))
    }

    fn rows(&self, date: Date, cohort: &Cohort<'_>) -> Vec<Value> {
        let row = |(group, players): (&&str, &HashMap<&str, BTreeSet<i32>>)| {
            let retained: Vec<Value> = self
                .days
                .iter()
                .map(|day| {
                    let told = self.percent(date, players, *day);
                    json!({
                        "day": day,
                        "players": told.map(|(players, _)| players),
                        "retention_pct": told.map(|(_, percent)| tidy(percent)),
                        "complete": told.is_some(),
                    })
                })
                .collect();
            json!({
                "cohort_date": date.to_string(),
                "group": group,
                "cohort_size": players.len(),
                "retained": retained,
            })
        };
        cohort.0.iter().map(row).collect()
    }
}

/// The change of one group on one day, percent and percentage points.
struct Change<'a> {
    group: &'a str,
    day: u16,
    base: f64,
    now: f64,
}

fn changes<'a>(
    question: &Question<'_>,
    (date, cohort): (Date, &Cohort<'a>),
    (base_date, base): (Date, &Cohort<'a>),
    least: usize,
    warnings: &mut Vec<Value>,
) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    let mut small = Vec::new();
    for (&group, players) in &cohort.0 {
        let Some(before) = base.0.get(group).filter(|before| before.len() >= least) else {
            small.push(group);
            continue;
        };
        if players.len() < least {
            small.push(group);
            continue;
        }
        for &day in question.days {
            let (then, now) =
                (question.percent(base_date, before, day), question.percent(date, players, day));
            if let (Some((_, base)), Some((_, now))) = (then, now) {
                changes.push(Change { group, day, base, now });
            }
        }
    }
    if !small.is_empty() {
        warnings.push(warning(
            "small_groups",
            format!("Not compared, fewer than {least} installs in a cohort: {}.", small.join(", ")),
        ));
    }
    changes
}

/// Reads the events up to `as_of`, which is the newest one by default.
fn collect<'a>(
    rows: impl Iterator<Item = Result<Event<'a>, ToolError>>,
    as_of: Option<Timestamp>,
) -> Result<(Vec<Event<'a>>, Timestamp), ToolError> {
    let mut events = rows.collect::<Result<Vec<_>, _>>()?;
    let newest = events.iter().map(|event| event.at).max();
    let newest = newest.ok_or_else(|| ToolError::no_data("the event table is empty"))?;
    let as_of = as_of.unwrap_or(newest);
    events.retain(|event| event.at <= as_of);
    Ok((events, as_of))
}

fn label(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or(UNKNOWN)
}

/// Reports the retention of a cohort and how it differs from an earlier one.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ unknown zone, `rank_day` that is not among `days`, or a cohort to
/// compare with that is not earlier; [`ToolError::NoData`] ⇐ nobody installed on a day.
///
/// # Source
/// Classic (day N) and rolling (day N or later) retention by install day in the zone.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let date = cells::day(&args.cohort_date, "/cohort_date")?;
    let earlier = |text: &String| cells::day(text, "/compare_cohort_date");
    let base_date = args.compare_cohort_date.as_ref().map(earlier).transpose()?;
    if base_date.is_some_and(|base| base >= date) {
        return Err(ToolError::invalid(
            "/compare_cohort_date",
            "the cohort to compare with must be earlier than cohort_date",
        ));
    }
    let rank_day = args.rank_day.or(args.days.get(1).or(args.days.first()).copied());
    if let Some(day) = rank_day.filter(|day| !args.days.contains(day)) {
        return Err(ToolError::invalid("/rank_day", format!("day {day} is not among days")));
    }
    let zone = cells::zone(args.timezone.as_deref())?;
    let as_of = args.as_of.as_deref().map(|text| cells::instant(text, "/as_of")).transpose()?;
    let table = match &args.dataset {
        Some(id) => Some(context.datasets.table(id, &Window::default())?),
        None => None,
    };
    let (events, as_of) = match (&table, &args.events) {
        (Some(table), _) => {
            let (who, at) = (table.column("player_id")?, table.column("event_time")?);
            let group = match args.group_by.as_str() {
                "none" => None,
                name => Some(table.column(name)?),
            };
            let event = |row: &'_ Vec<String>| cells::instant(&row[at], "/dataset");
            collect(
                table.rows.iter().map(|row| {
                    let group = group.map_or("all", |group| label(Some(row[group].as_str())));
                    Ok(Event { player: &row[who], at: event(row)?, group })
                }),
                as_of,
            )?
        }
        (None, Some(events)) => collect(
            events.iter().map(|event| {
                let group = match args.group_by.as_str() {
                    "country" => label(event.country.as_deref()),
                    "platform" => label(event.platform.as_deref()),
                    _ => "all",
                };
                let at = cells::instant(&event.event_time, "/events")?;
                Ok(Event { player: &event.player_id, at, group })
            }),
            as_of,
        )?,
        _ => return Err(ToolError::invalid("", "give dataset or events")),
    };
    let question = Question {
        days: &args.days,
        rolling: args.definition == "rolling",
        zone: zone.clone(),
        as_of,
    };
    report(&args, &question, &events, (date, base_date, rank_day))
}

fn report(
    args: &Arguments,
    question: &Question<'_>,
    events: &[Event<'_>],
    (date, base_date, rank_day): (Date, Option<Date>, Option<u16>),
) -> Result<Value, ToolError> {
    let first = first_events(events);
    let installed = |date: Date| {
        let cohort = cohort(events, &first, date, &question.zone);
        if cohort.0.is_empty() {
            return Err(ToolError::no_data(format!("nobody installed on {date}")));
        }
        Ok(cohort)
    };
    let cohort = installed(date)?;
    let base = base_date.map(|date| Ok((date, installed(date)?))).transpose()?;
    let mut rows = question.rows(date, &cohort);
    let mut warnings = Vec::new();
    let open: Vec<String> = question
        .days
        .iter()
        .filter(|day| !question.over(date, **day))
        .map(ToString::to_string)
        .collect();
    if !open.is_empty() {
        warnings.push(warning(
            "incomplete_cohort",
            format!(
                "Day {} of the {date} cohort is not over yet and is left out.",
                open.join(", ")
            ),
        ));
    }
    let mut changed = Vec::new();
    if let Some((base_date, base)) = &base {
        rows.extend(question.rows(*base_date, base));
        let pair = ((date, &cohort), (*base_date, base));
        changed = changes(question, pair.0, pair.1, args.min_cohort_size, &mut warnings);
    }
    let fall = changed
        .iter()
        .filter(|change| Some(change.day) == rank_day && change.now < change.base)
        .min_by(|a, b| (a.now - a.base).total_cmp(&(b.now - b.base)));
    let comparison: Vec<Value> = changed
        .iter()
        .map(|change| {
            json!({
                "group": change.group,
                "day": change.day,
                "base_pct": tidy(change.base),
                "cohort_pct": tidy(change.now),
                "change_points": tidy(change.now - change.base),
            })
        })
        .collect();
    Ok(json!({
        "definition": args.definition,
        "timezone": args.timezone.as_deref().unwrap_or("UTC"),
        "cohorts": rows,
        "comparison": comparison,
        "largest_fall_group": fall.map(|change| change.group),
        "method": format!(
            "Install day is the day of the first event; {} retention; days not over are left out",
            args.definition
        ),
        "warnings": warnings,
    }))
}
