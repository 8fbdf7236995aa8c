//! Interval series: from a table with `start` and `load_kw` (or `energy_kwh`) or a Green Button file.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::Value;

use super::{espi, number};
use crate::tool::{ToolContext, ToolError, Window, warning};

/// Shortest run of equal readings that looks like a stuck meter, hours.
const STUCK_HOURS: f64 = 12.0;
/// Fewest equal readings of such a run.
const STUCK_READINGS: usize = 12;

/// Energy of one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// Start of the interval.
    pub(crate) start: Timestamp,
    /// Length, s.
    pub(crate) seconds: f64,
    /// Energy, kWh.
    pub(crate) kwh: f64,
}

impl Reading {
    /// Returns the average power, kW.
    pub(super) fn kw(&self) -> f64 {
        self.kwh * 3600.0 / self.seconds
    }
}

/// Readings in order of time, never empty, no instant twice.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// The readings.
    pub(super) readings: Vec<Reading>,
    /// Length of the shortest interval, s.
    pub(super) seconds: f64,
    /// What the reader of the result must know about the data.
    pub(super) warnings: Vec<Value>,
}

impl Series {
    /// Reads the dataset `id` inside `window`.
    ///
    /// # Errors
    /// [`ToolError::NoData`] ⇐ unknown id or empty window; [`ToolError::InvalidInput`] ⇐ the file is
    /// neither a Green Button file nor a table with `start` and `load_kw`.
    pub(super) fn read(
        context: &ToolContext<'_>,
        id: &str,
        window: &Window,
    ) -> Result<Self, ToolError> {
        let readings = match context.datasets.file(id) {
            Ok(bytes) if espi::is_xml(&bytes) => {
                let mut readings = espi::readings(&bytes)?;
                readings.retain(|reading| window.contains(reading.start));
                readings
            }
            // Tables may exist without a file behind them, so the table has the last word.
            _ => from_table(context, id, window)?,
        };
        Self::new(readings, id)
    }

    fn new(mut readings: Vec<Reading>, id: &str) -> Result<Self, ToolError> {
        readings.sort_by_key(|reading| reading.start);
        let all = readings.len();
        readings.dedup_by_key(|reading| reading.start);
        let mut warnings = Vec::new();
        if readings.len() < all {
            warnings.push(warning(
                "duplicate_intervals",
                format!("{} readings repeat an interval and were left out.", all - readings.len()),
            ));
        }
        let seconds = readings.iter().map(|r| r.seconds).fold(f64::INFINITY, f64::min);
        if readings.is_empty() {
            return Err(ToolError::no_data(format!("`{id}` has no readings in this window")));
        }
        Ok(Self { readings, seconds, warnings })
    }

    /// Returns the total energy, kWh.
    pub(super) fn kwh(&self) -> f64 {
        self.readings.iter().map(|reading| reading.kwh).sum()
    }

    /// Returns how many intervals are absent between the first and the last reading.
    pub(super) fn missing(&self) -> usize {
        self.readings.windows(2).map(|pair| self.steps(pair[0].start, pair[1].start) - 1).sum()
    }

    /// Returns the start of the longest hole and how many intervals it lacks.
    pub(super) fn longest_gap(&self) -> Option<(Timestamp, usize)> {
        let holes = self.readings.windows(2).filter_map(|pair| {
            let missing = self.steps(pair[0].start, pair[1].start) - 1;
            let length = SignedDuration::from_secs_f64(self.seconds);
            (missing > 0).then_some((pair[0].start.checked_add(length).ok()?, missing))
        });
        // The first one on a tie.
        holes.reduce(|best, hole| if hole.1 > best.1 { hole } else { best })
    }

    /// Returns the start and length of the longest run of equal readings above zero, where it is
    /// long enough to look like a stuck meter and most of the series does vary.
    pub(super) fn stuck(&self) -> Option<(Timestamp, usize)> {
        let same = |a: &Reading, b: &Reading| {
            a.kwh > 0.0 && a.kwh.total_cmp(&b.kwh).is_eq() && self.steps(a.start, b.start) == 1
        };
        let runs = self.readings.chunk_by(same);
        let run = runs.reduce(|best, run| if run.len() > best.len() { run } else { best })?;
        let first = run.first()?;
        let hours = number::count(run.len()) * self.seconds / 3600.0;
        let suspicious = run.len() >= STUCK_READINGS && hours >= STUCK_HOURS;
        (suspicious && 2 * run.len() <= self.readings.len()).then_some((first.start, run.len()))
    }

    /// Returns the distance of two starts in whole intervals, at least 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    fn steps(&self, from: Timestamp, to: Timestamp) -> usize {
        ((to.duration_since(from).as_secs_f64() / self.seconds).round() as usize).max(1)
    }

    /// Returns the power of every interval in kW, holes filled with the value `season` intervals
    /// earlier (or the previous one), and how many were filled.
    pub(super) fn filled_kw(&self, season: usize) -> (Vec<f64>, usize) {
        let mut values: Vec<f64> = Vec::with_capacity(self.readings.len());
        let mut filled = 0;
        for (i, reading) in self.readings.iter().enumerate() {
            if i > 0 {
                for _ in 1..self.steps(self.readings[i - 1].start, reading.start) {
                    let at = values.len();
                    values.push(if at >= season { values[at - season] } else { values[at - 1] });
                    filled += 1;
                }
            }
            values.push(reading.kw());
        }
        (values, filled)
    }
}

fn from_table(
    context: &ToolContext<'_>,
    id: &str,
    window: &Window,
) -> Result<Vec<Reading>, ToolError> {
    let table = context.datasets.table(id, window)?;
    let start = table.column("start")?;
    let (value, is_power) = match table.find("load_kw") {
        Some(column) => (column, true),
        None => match table.find("energy_kwh") {
            Some(column) => (column, false),
            None => (table.column("load_kw")?, true),
        },
    };
    if let (None, Some(site)) = (&window.site_id, table.find("site_id"))
        && let Some(first) = table.rows.first()
        && table.rows.iter().any(|row| row[site] != first[site])
    {
        return Err(ToolError::invalid(
            "/site_id",
            format!("`{id}` holds several sites; name one in site_id"),
        ));
    }
    let mut points = table
        .rows
        .iter()
        .filter(|row| !row[value].is_empty())
        .map(|row| Ok((instant(&row[start], "/dataset")?, number::cell(&row[value], "/dataset")?)))
        .collect::<Result<Vec<_>, ToolError>>()?;
    points.sort_by_key(|(at, _)| *at);
    let seconds = spacing(points.iter().map(|(at, _)| *at)).unwrap_or(3600.0);
    Ok(points
        .into_iter()
        .map(|(start, value)| {
            let kwh = if is_power { value * seconds / 3600.0 } else { value };
            Reading { start, seconds, kwh }
        })
        .collect())
}

/// Returns the shortest positive distance of sorted instants, s.
pub(super) fn spacing(instants: impl Iterator<Item = Timestamp>) -> Option<f64> {
    let instants: Vec<Timestamp> = instants.collect();
    instants
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_secs_f64())
        .filter(|seconds| *seconds > 0.0)
        .reduce(f64::min)
}

/// Parses an RFC 3339 instant.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` naming the text.
pub(super) fn instant(text: &str, pointer: &str) -> Result<Timestamp, ToolError> {
    text.parse().map_err(|_| {
        ToolError::invalid(
            pointer,
            format!("`{text}` is no date-time with offset such as 2026-11-25T00:00:00+08:00"),
        )
    })
}

/// Looks up an IANA time zone; `None` means UTC.
///
/// # Errors
/// [`ToolError::InvalidInput`] when the zone is unknown.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, ToolError> {
    match name {
        None | Some("UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| {
            ToolError::invalid("/timezone", format!("`{name}` is no known time zone"))
        }),
    }
}
