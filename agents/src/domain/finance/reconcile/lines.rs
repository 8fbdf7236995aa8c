//! The lines of one side, read from arguments, a table or a bank message, with their references
//! indexed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde::Deserialize;

use super::super::message;
use super::super::names::Name;
use crate::tool::{Table, ToolContext, ToolError, Window, money};

/// Most lines of a side.
const MAX_LINES: usize = 50_000;
/// Fewest digits of a group that identifies a document.
const MIN_DIGITS: usize = 4;
/// A digit group that more lines than this share (a year, a branch) identifies none of them.
const MAX_SHARING: usize = 3;
/// A whole text that more lines than this share ("rent", "salary") identifies none of them.
const MAX_SAME_TEXT: usize = 200;
/// Largest absolute amount and most decimals, as the pattern of the contract.
const MAX_SCALE: u32 = 6;

/// Day from which days are counted.
const EPOCH: Date = date(1970, 1, 1);

/// A line in the arguments.
#[derive(Debug, Deserialize)]
pub(super) struct Inline {
    id: String,
    amount: String,
    date: String,
    #[serde(default)]
    reference: String,
    #[serde(default)]
    name: String,
}

/// A line ready to be matched.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) amount: Decimal,
    /// Days since 1970-01-01; lines are compared by the million.
    pub(super) day: i32,
    /// The whole reference without case and spaces.
    text: String,
    /// What identifies documents in the reference: its words and its digit groups.
    keys: BTreeSet<String>,
    /// Index into [`Side::names`]; `None` without a name.
    pub(super) name: Option<usize>,
}

/// The lines of one side.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) lines: Vec<Line>,
    /// Distinct folded names.
    pub(super) names: Vec<Name>,
    /// Rows left out because their currency is another.
    pub(super) other_currency: usize,
    by_text: BTreeMap<String, Vec<usize>>,
    by_key: BTreeMap<String, Vec<usize>>,
}

fn compact(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

fn keys(reference: &str) -> BTreeSet<String> {
    let words = reference
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '+' | '&'))
        .filter(|word| word.chars().any(|c| c.is_ascii_digit()))
        .map(compact);
    let groups = reference
        .split(|c: char| !c.is_ascii_digit())
        .filter(|group| group.len() >= MIN_DIGITS)
        .map(str::to_owned);
    words.chain(groups).filter(|key| !key.is_empty()).collect()
}

impl Side {
    /// Reads a side.
    ///
    /// # Errors
    /// See [`super::run`].
    pub(super) fn read(
        context: &ToolContext<'_>,
        inline: Option<Vec<Inline>>,
        dataset: Option<&str>,
        currency: &str,
        window: &Window,
        at: &str,
    ) -> Result<Self, ToolError> {
        let mut other_currency = 0;
        let lines = match (inline, dataset) {
            (Some(lines), _) => lines,
            (None, Some(id)) => {
                let bytes = context.datasets.file(id)?;
                if message::looks_like(&bytes) {
                    of_message(&bytes, currency, window, &mut other_currency)?
                } else {
                    of_table(&context.datasets.table(id, window)?, currency, &mut other_currency)?
                }
            }
            (None, None) => {
                return Err(ToolError::invalid(
                    format!("/{at}"),
                    format!("give `{at}` or `{at}_dataset`"),
                ));
            }
        };
        if lines.is_empty() {
            return Err(ToolError::no_data(format!("the {at} side has no line in this window")));
        }
        if lines.len() > MAX_LINES {
            return Err(ToolError::invalid(
                format!("/{at}"),
                format!("at most {MAX_LINES} lines a side; narrow `start` and `end`"),
            ));
        }
        let mut side = Self { other_currency, ..Self::default() };
        side.add(lines, at)?;
        Ok(side)
    }

    fn add(&mut self, lines: Vec<Inline>, at: &str) -> Result<(), ToolError> {
        let mut ids = BTreeSet::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for (i, line) in lines.into_iter().enumerate() {
            let pointer = format!("/{at}/{i}");
            if !ids.insert(line.id.clone()) {
                return Err(ToolError::invalid(
                    pointer,
                    format!("the id `{}` comes twice on the {at} side; ids are unique", line.id),
                ));
            }
            let amount = money::parse(&line.amount, &pointer)?;
            if amount.scale() > MAX_SCALE || amount.abs() >= Decimal::from(1_000_000_000_000_000u64)
            {
                return Err(ToolError::invalid(
                    pointer,
                    format!("`{}` has more than 15 digits or 6 decimals", line.amount),
                ));
            }
            let date: Date = line.date.get(..10).unwrap_or(&line.date).parse().map_err(|_| {
                ToolError::invalid(pointer, format!("`{}` is no date YYYY-MM-DD", line.date))
            })?;
            let name = Name::new(&line.name);
            let name = (!name.is_empty()).then(|| {
                *known.entry(name.text()).or_insert_with(|| {
                    self.names.push(name);
                    self.names.len() - 1
                })
            });
            let (text, keys) = (compact(&line.reference), keys(&line.reference));
            if !text.is_empty() {
                self.by_text.entry(text.clone()).or_default().push(i);
            }
            for key in &keys {
                self.by_key.entry(key.clone()).or_default().push(i);
            }
            self.lines.push(Line {
                id: line.id,
                amount,
                day: (date - EPOCH).get_days(),
                text,
                keys,
                name,
            });
        }
        self.by_key.retain(|_, lines| lines.len() <= MAX_SHARING);
        self.by_text.retain(|_, lines| lines.len() <= MAX_SAME_TEXT);
        Ok(())
    }

    /// Returns the lines of this side whose whole reference is that of `line`.
    pub(super) fn same_reference<'s>(&'s self, line: &Line) -> impl Iterator<Item = usize> + 's {
        self.by_text.get(&line.text).into_iter().flatten().copied()
    }

    /// Returns the lines of this side that a line of the other side names: by its whole reference,
    /// else by a word or digit group of it.
    pub(super) fn named_by(&self, line: &Line) -> Vec<usize> {
        let whole: Vec<usize> = self.same_reference(line).collect();
        if !whole.is_empty() {
            return whole;
        }
        let mut named: Vec<usize> = self.each_named_by(line).flatten().copied().collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    /// Returns, for each word or digit group of a line of the other side that names a line here,
    /// the lines that it names.
    pub(super) fn each_named_by<'s>(
        &'s self,
        line: &'s Line,
    ) -> impl Iterator<Item = &'s Vec<usize>> + 's {
        line.keys.iter().filter_map(|key| self.by_key.get(key))
    }
}

fn of_table(
    table: &Table,
    currency: &str,
    other_currency: &mut usize,
) -> Result<Vec<Inline>, ToolError> {
    let (id, amount, date) = (table.column("id")?, table.column("amount")?, table.column("date")?);
    let (reference, name) = (table.find("reference"), table.find("name"));
    let coin = table.find("currency");
    let cell = |row: &[String], column: Option<usize>| {
        column.map(|column| row[column].clone()).unwrap_or_default()
    };
    let mut lines = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        if coin.is_some_and(|coin| !row[coin].is_empty() && row[coin] != currency) {
            *other_currency += 1;
            continue;
        }
        lines.push(Inline {
            id: row[id].clone(),
            amount: row[amount].clone(),
            date: row[date].clone(),
            reference: cell(row, reference),
            name: cell(row, name),
        });
    }
    Ok(lines)
}

/// Takes the entries (or payments) of a bank message as lines.
fn of_message(
    bytes: &[u8],
    currency: &str,
    window: &Window,
    other_currency: &mut usize,
) -> Result<Vec<Inline>, ToolError> {
    let message = message::read(bytes)?;
    let mut lines = Vec::new();
    for row in message.rows() {
        let at = row.date.to_zoned_datetime(TimeZone::UTC).map(|at| at.timestamp());
        if !at.is_ok_and(|at| window.contains(at)) {
            continue;
        }
        if row.currency != currency {
            *other_currency += 1;
            continue;
        }
        lines.push(Inline {
            id: row.id,
            amount: row.amount.to_string(),
            date: row.date.to_string(),
            reference: row.reference,
            name: row.name,
        });
    }
    Ok(lines)
}
