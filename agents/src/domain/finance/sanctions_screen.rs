//! A name against sanctions lists. Finds candidates and clears none.

use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::names::{self, Name};
use super::xbrl_facts::day;
use crate::tool::{Table, ToolContext, ToolError, Window, decode, warning};

/// Table in which a tenant registers its lists: `dataset`, `list` (its name) and `as_of` (the day
/// that it was published).
const REGISTRY: &str = "sanctions_lists";
/// Most candidates of a result, as the contract says.
const MAX_HITS: usize = 20;
/// Columns of a list without a header line.
const BARE: [&str; 4] = ["list_id", "name", "type", "program"];
/// Years that a stated year of birth may be off.
const BIRTH_SLACK: i32 = 2;

#[derive(Deserialize)]
struct Arguments {
    name: String,
    #[serde(default)]
    party_type: Option<String>,
    country: Option<String>,
    birth_year: Option<i32>,
    list_dataset: Option<String>,
    #[serde(default = "usual_score")]
    min_score: f64,
    as_of: Option<String>,
}

fn usual_score() -> f64 {
    0.85
}

/// A list to screen against.
struct List {
    dataset: String,
    name: String,
    as_of: Option<Date>,
}

struct Hit {
    list_id: String,
    listed_name: String,
    score: f64,
    programs: Vec<String>,
    list: String,
    basis: &'static str,
    /// What is known of the listed party and speaks against it; never removes a hit.
    differs: Option<String>,
}

/// Returns the registered lists; with `only`, that one, registered or not.
fn lists(context: &ToolContext<'_>, only: Option<&str>) -> Result<Vec<List>, ToolError> {
    let registered = match context.datasets.table(REGISTRY, &Window::default()) {
        Ok(table) => {
            let dataset = table.column("dataset")?;
            let (name, as_of) = (table.find("list"), table.find("as_of"));
            table
                .rows
                .iter()
                .map(|row| List {
                    dataset: row[dataset].clone(),
                    name: name.map_or(&row[dataset], |name| &row[name]).clone(),
                    as_of: as_of.and_then(|as_of| row[as_of].parse().ok()),
                })
                .collect()
        }
        Err(ToolError::NoData { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    match only {
        Some(id) => {
            let known = registered.into_iter().find(|list| list.dataset == id);
            let bare = || List { dataset: id.to_owned(), name: id.to_owned(), as_of: None };
            Ok(vec![known.unwrap_or_else(bare)])
        }
        None if registered.is_empty() => Err(ToolError::no_data(format!(
            "no sanctions list is registered; upload one and name it in a table `{REGISTRY}` (dataset, list, as_of)"
        ))),
        None => Ok(registered),
    }
}

/// Reads a list. Published files have no header line, so one is put before them; any other list is
/// a table as its mapping names it.
fn table(context: &ToolContext<'_>, id: &str) -> Result<Table, ToolError> {
    let bytes = context.datasets.file(id)?;
    let first = bytes.split(|b| *b == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let bare = first.is_some_and(|line| {
        let id = line.split(',').next().unwrap_or_default().trim();
        !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())
    });
    if !bare {
        return context.datasets.table(id, &Window::default());
    }
    let mut with_header = BARE.join(",").into_bytes();
    with_header.push(b'\n');
    with_header.extend_from_slice(&bytes);
    Table::from_csv(&with_header, id)
}

fn is_of(kind: &str, wanted: Option<&str>) -> bool {
    let kind = kind.trim().to_lowercase();
    match wanted {
        // An entry whose kind is not known is never left out.
        Some("person") => !matches!(kind.as_str(), "-0-" | "entity" | "vessel" | "aircraft"),
        Some("vessel") => !matches!(kind.as_str(), "-0-" | "entity" | "individual" | "person"),
        Some("entity") => !matches!(kind.as_str(), "individual" | "person" | "vessel" | "aircraft"),
        _ => true,
    }
}

fn programs(cell: &str) -> Vec<String> {
    let parts = cell.split(['[', ']', ';']).map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Screens one list.
fn screen(
    list: &List,
    table: &Table,
    args: &Arguments,
    as_of: Option<Date>,
    hits: &mut Vec<Hit>,
) -> Result<(), ToolError> {
    let (id, name) = (table.column("list_id")?, table.column("name")?);
    let find = |column: &str| table.find(column);
    let cell = |row: &[String], column: Option<usize>| {
        column.map(|column| row[column].trim().to_owned()).unwrap_or_default()
    };
    let (kind, program) = (find("type"), find("program"));
    let (aliases, identifier) = (find("aliases"), find("identifier"));
    let (country, born, listed_on) = (find("country"), find("birth_year"), find("listed_on"));
    let query = Name::new(&args.name);
    let compact = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase()
    };
    let code = compact(&args.name);
    for row in &table.rows {
        let later =
            cell(row, listed_on).parse::<Date>().is_ok_and(|on| as_of.is_some_and(|d| on > d));
        if later || !is_of(&cell(row, kind), args.party_type.as_deref()) {
            continue;
        }
        let same_code = code.len() >= 6 && compact(&cell(row, identifier)) == code;
        let also = cell(row, aliases);
        let known = std::iter::once((row[name].as_str(), false))
            .chain(also.split(';').map(str::trim).filter(|a| !a.is_empty()).map(|a| (a, true)));
        let best = known
            .map(|(text, is_alias)| {
                let listed = Name::new(text);
                let foreign = query.is_foreign() != listed.is_foreign();
                let basis = match (foreign, is_alias) {
                    (true, _) => "transliteration",
                    (false, true) => "alias",
                    (false, false) => "name",
                };
                (names::score(&query, &listed), text.to_owned(), basis)
            })
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((score, listed_name, basis)) = best else { continue };
        let (score, basis) = if same_code { (1.0, "identifier") } else { (score, basis) };
        if score < args.min_score {
            continue;
        }
        hits.push(Hit {
            list_id: row[id].trim().to_owned(),
            listed_name,
            score: score.clamp(0.0, 1.0),
            programs: programs(&cell(row, program)),
            list: list.name.clone(),
            basis,
            differs: differs(args, &cell(row, country), &cell(row, born)),
        });
    }
    Ok(())
}

/// Says what is known of a listed party and speaks against it.
fn differs(args: &Arguments, country: &str, born: &str) -> Option<String> {
    let other_country = args.country.as_deref().filter(|c| !country.is_empty() && *c != country);
    let listed: Option<i32> = born.parse().ok();
    let other_year = args
        .birth_year
        .zip(listed)
        .filter(|(stated, listed)| (stated - listed).abs() > BIRTH_SLACK);
    match (other_country, other_year) {
        (None, None) => None,
        (Some(_), _) => Some(format!("is listed with country {country}")),
        (None, Some((_, listed))) => Some(format!("is listed as born in {listed}")),
    }
}

/// Screens a name.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ nothing of the name is left after folding; [`ToolError::NoData`] ⇐
/// the list is unknown, or none is registered.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let query = Name::new(&args.name);
    if query.is_empty() {
        return Err(ToolError::invalid("/name", "the name holds no letter or digit"));
    }
    let as_of = args.as_of.as_deref().map(|text| day(text, "/as_of")).transpose()?;
    let today = context.now.to_zoned_datetime(TimeZone::UTC).date();
    let mut hits = Vec::new();
    let mut newest_needed: Option<Option<Date>> = None;
    let mut screened = 0usize;
    for list in lists(context, args.list_dataset.as_deref())? {
        if list.as_of.zip(as_of).is_some_and(|(published, asked)| published > asked) {
            continue;
        }
        screened += 1;
        let table = table(context, &list.dataset)?;
        screen(&list, &table, &args, as_of, &mut hits)?;
        // The oldest list decides: one stale list is enough to hold a payment.
        newest_needed = Some(newest_needed.map_or(list.as_of, |known| known.min(list.as_of)));
    }
    if screened == 0 {
        return Err(ToolError::no_data("every registered list is newer than `as_of`"));
    }
    let list_as_of = newest_needed.flatten();
    let reference = as_of.unwrap_or(today);
    let current = list_as_of.is_some_and(|published| {
        published.checked_add(1.day()).is_ok_and(|until| until >= reference)
            && published <= reference
    });
    sort(&mut hits);
    let cut = hits.len() > MAX_HITS;
    hits.truncate(MAX_HITS);
    let warnings = warnings(&args, &query, &hits, current, cut);
    Ok(json!({
        "outcome": if hits.is_empty() { "no_match" } else { "potential_match" },
        "payment_hold": !hits.is_empty() || !current,
        "list_current": current,
        "list_as_of": list_as_of.map(|date| date.to_string()),
        "normalised_name": query.text(),
        "hits": hits
            .into_iter()
            .map(|hit| json!({
                "list_id": hit.list_id,
                "listed_name": hit.listed_name,
                "score": hit.score,
                "programs": hit.programs,
                "list": hit.list,
                "match_basis": hit.basis,
            }))
            .collect::<Vec<_>>(),
        "method": "Jaro-Winkler of tokens in both directions after NFKD folding; other scripts by transliteration and aliases, v1",
        "warnings": warnings,
    }))
}

/// Orders hits by score, then by their number on the list; equal scores differ by less than noise.
fn sort(hits: &mut [Hit]) {
    #[expect(clippy::cast_possible_truncation, reason = "a score is between 0 and 1")]
    let level = |hit: &Hit| (hit.score * 1e9).round() as i64;
    hits.sort_by(|a, b| {
        let numbers = (a.list_id.parse::<u64>(), b.list_id.parse::<u64>());
        let by_id = match numbers {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a.list_id.cmp(&b.list_id),
        };
        level(b).cmp(&level(a)).then(by_id)
    });
}

fn warnings(args: &Arguments, query: &Name, hits: &[Hit], current: bool, cut: bool) -> Vec<Value> {
    let mut warnings = Vec::new();
    if !current {
        warnings.push(warning(
            "list_stale",
            "The list is older than 24 hours or of unknown date: hold the payment and update the list.",
        ));
    }
    if !hits.is_empty() {
        warnings.push(warning(
            "person_decides",
            "A candidate is not a finding: an analyst decides. Do not tell the party concerned.",
        ));
    }
    for hit in hits.iter().filter(|hit| hit.differs.is_some()).take(3) {
        let what = hit.differs.as_deref().unwrap_or_default();
        warnings.push(warning(
            "details_differ",
            format!("{} ({}) {what}; that alone clears nothing.", hit.listed_name, hit.list_id),
        ));
    }
    if query.is_han() {
        warnings.push(warning(
            "mandarin_reading",
            "Han characters are read as Mandarin; Cantonese, Japanese and Korean readings are found through aliases only.",
        ));
    }
    if cut {
        warnings.push(warning(
            "more_hits",
            format!(
                "Only the best {MAX_HITS} candidates are shown; raise min_score above {}.",
                args.min_score
            ),
        ));
    }
    warnings
}
