//! How a file is read as a table: what a person confirms on the mapping screen.

use serde::{Deserialize, Serialize};

use super::clock::Order;
use super::format::Format;
use super::source::Encoding;
use super::{DatasetError, unit};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Kept as written.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Decimal,
    /// `true` or `false`.
    Boolean,
    /// A calendar day.
    Date,
    /// An instant; without an offset it is read in the mapping's time zone.
    Time,
}

impl Kind {
    /// Every type.
    pub const ALL: [Self; 6] =
        [Self::Text, Self::Integer, Self::Decimal, Self::Boolean, Self::Date, Self::Time];

    /// Returns the name of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Time => "time",
        }
    }
}

/// The sign before the fraction of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum DecimalMark {
    /// `1,234.5`
    #[default]
    #[serde(rename = ".")]
    Point,
    /// `1.234,5`
    #[serde(rename = ",")]
    Comma,
}

/// What becomes of one column of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Header of the column in the file.
    pub source: String,
    /// Name of the column in the table, as tools know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Unit of the file's values; empty for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Unit of the table's values, where they are converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How its dates and times are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Order>,
    /// Leaves the column out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
}

/// How a file is read. What a caller leaves out is inferred from the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// Kind of file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Characters of a text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// What parts cells: `,`, `;`, tab or `|`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Line of the header, from 1; 0 when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_line: Option<u64>,
    /// Sign before the fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal: Option<DecimalMark>,
    /// Sheet of a workbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// IANA time zone of times without an offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Name (in the table) of the column that a time window is about; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Name (in the table) of the column that tells sites apart; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The columns, in order of the file.
    pub columns: Vec<Column>,
}

impl Column {
    /// Returns the name of the table.
    pub fn target(&self) -> &str {
        self.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.source)
    }

    /// Puts what `wish` says over what was inferred.
    fn overlay(&mut self, wish: &Self) {
        if let Some(name) = wish.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            self.name = Some(name.to_owned());
        }
        if let Some(kind) = wish.kind {
            if Some(kind) != self.kind && !matches!(kind, Kind::Decimal | Kind::Integer) {
                (self.unit, self.to) = (None, None);
            }
            self.kind = Some(kind);
        }
        let clean = |text: &Option<String>| text.as_deref().map(|text| text.trim().to_owned());
        if let Some(unit) = clean(&wish.unit) {
            self.unit = Some(unit).filter(|unit| !unit.is_empty());
            self.to = None;
        }
        if let Some(to) = clean(&wish.to) {
            self.to = Some(to).filter(|to| !to.is_empty());
        }
        if wish.format.is_some() {
            self.format = wish.format;
        }
        self.skip = wish.skip;
    }
}

impl Mapping {
    /// Returns the columns that the table keeps, with their position in the file.
    pub fn kept(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| !column.skip)
    }

    /// Puts the columns and roles that `wish` names over the inferred ones.
    ///
    /// # Errors
    /// [`DatasetError::Mapping`] ⇐ `wish` names a column that the file does not have.
    pub(super) fn overlay(&mut self, wish: &Self) -> Result<(), DatasetError> {
        for (at, column) in wish.columns.iter().enumerate() {
            let known = self.columns.iter_mut().find(|known| known.source == column.source);
            let Some(known) = known else {
                let names: Vec<&str> = self.columns.iter().map(|c| c.source.as_str()).collect();
                return Err(DatasetError::mapping(
                    format!("/columns/{at}/source"),
                    format!(
                        "the file has no column `{}`; it has {}",
                        column.source,
                        names.join(", ")
                    ),
                ));
            };
            let before = known.target().to_owned();
            known.overlay(column);
            // A role follows its column to another name.
            let after = known.target().to_owned();
            for role in [&mut self.time, &mut self.site] {
                if role.as_deref() == Some(&before) {
                    *role = Some(after.clone());
                }
            }
        }
        let role = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        if let Some(time) = &wish.time {
            self.time = role(time);
        }
        if let Some(site) = &wish.site {
            self.site = role(site);
        }
        if let Some(zone) = wish.timezone.as_deref().filter(|zone| !zone.trim().is_empty()) {
            self.timezone = Some(zone.trim().to_owned());
        }
        if wish.decimal.is_some() {
            self.decimal = wish.decimal;
        }
        Ok(())
    }

    /// Checks a complete mapping: names once each, known units and zone, roles of fitting columns.
    ///
    /// # Errors
    /// [`DatasetError::Mapping`] with the place of the first fault.
    pub(super) fn check(&self) -> Result<(), DatasetError> {
        let mut names: Vec<&str> = Vec::new();
        for (at, column) in self.kept() {
            let fault = |part: &str, message: String| {
                Err(DatasetError::mapping(format!("/columns/{at}/{part}"), message))
            };
            let name = column.target();
            if name.len() > 128 || name.chars().any(char::is_control) {
                return fault("name", "a name has 1 to 128 bytes and no control character".into());
            }
            if names.contains(&name) {
                return fault(
                    "name",
                    format!("two columns are named `{name}`; rename or skip one"),
                );
            }
            names.push(name);
            let number = matches!(column.kind, Some(Kind::Decimal | Kind::Integer));
            if let Some(to) = &column.to {
                if !number {
                    return fault("to", "only numbers can be converted".into());
                }
                let from = column.unit.as_deref().unwrap_or_default();
                if unit::conversion(from, to).is_none() {
                    return fault("to", format!("`{from}` cannot be converted to `{to}`"));
                }
            }
            let strange = |unit: &str| unit.len() > 32 || unit.chars().any(char::is_control);
            if column.unit.as_deref().is_some_and(strange) {
                return fault(
                    "unit",
                    "a unit has at most 32 bytes and no control character".into(),
                );
            }
        }
        if names.is_empty() && self.format != Some(Format::File) {
            return Err(DatasetError::mapping("/columns", "keep at least one column"));
        }
        self.check_roles(&names)
    }

    fn check_roles(&self, names: &[&str]) -> Result<(), DatasetError> {
        for (role, name) in [("/time", &self.time), ("/site", &self.site)] {
            if let Some(name) = name
                && !names.contains(&name.as_str())
            {
                let names = names.join(", ");
                return Err(DatasetError::mapping(
                    role,
                    format!("there is no column `{name}`; there are {names}"),
                ));
            }
        }
        if let Some(time) = &self.time {
            let column = self.kept().find(|(_, column)| column.target() == time);
            if !column.is_some_and(|(_, c)| matches!(c.kind, Some(Kind::Time | Kind::Date))) {
                return Err(DatasetError::mapping(
                    "/time",
                    format!("`{time}` must be of the type `time` or `date`"),
                ));
            }
        }
        super::clock::zone(self.timezone.as_deref()).map(drop)
    }
}
