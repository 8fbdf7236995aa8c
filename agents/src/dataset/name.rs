//! Headers as names: what a column is called in the tables that tools read, and the unit in it.

use super::unit;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Name in the table.
    pub(super) name: String,
    /// Unit of the values.
    pub(super) unit: Option<String>,
    /// Unit that the name stands for.
    pub(super) to: Option<String>,
}

/// Header words that mean a column of the shipped tools, in lower case without a unit.
const WORDS: [(&str, &[&str]); 11] = [
    (
        "start",
        &[
            "date time",
            "date/time",
            "datetime",
            "date_time",
            "interval start",
            "start time",
            "start date",
            "period start",
            "interval begin",
            "read time",
            "reading time",
            "時間",
            "时间",
            "日期時間",
            "日期时间",
            "開始時間",
            "开始时间",
            "讀表時間",
            "抄表时间",
        ],
    ),
    (
        "site_id",
        &[
            "site",
            "site id",
            "site name",
            "meter",
            "meter id",
            "meter number",
            "meter no",
            "nmi",
            "mpan",
            "esi id",
            "service point",
            "電號",
            "电号",
            "電表",
            "电表",
            "電表編號",
            "站點",
            "站点",
            "場站",
            "场站",
            "廠區",
        ],
    ),
    (
        "date",
        &[
            "booking date",
            "transaction date",
            "posting date",
            "value date",
            "日期",
            "交易日期",
            "記帳日",
        ],
    ),
    ("amount", &["金額", "金额", "transaction amount"]),
    ("reference", &["payment reference", "摘要", "附言", "備註"]),
    ("name", &["counterparty", "payee", "payer", "對方戶名", "对方户名", "戶名"]),
    ("price_per_kwh", &["price per kwh", "電價", "电价"]),
    ("player_id", &["player", "player id", "玩家", "玩家編號"]),
    ("vehicle_id", &["vehicle", "vehicle id", "車輛", "车辆"]),
    ("energy_kwh", &["energy", "usage", "consumption", "用電量", "用电量", "電量", "电量", "度數"]),
    ("load_kw", &["load", "demand", "power", "負載", "负载", "負荷", "负荷", "功率", "需量"]),
];

/// Parts a header such as `Usage (kWh)` or `Load [MW]` into its words and its unit.
fn parted(header: &str) -> (String, Option<&'static str>) {
    let text = header.trim();
    for (open, close) in [('(', ')'), ('[', ']'), ('（', '）')] {
        if let Some(rest) = text.strip_suffix(close)
            && let Some((words, inside)) = rest.rsplit_once(open)
            && let Some(symbol) = unit::symbol(inside)
        {
            return (words.trim().to_owned(), Some(symbol));
        }
    }
    if let Some((words, last)) = text.rsplit_once([' ', ',', '/'])
        && !words.trim().is_empty()
        && last.len() > 1
        && let Some(symbol) = unit::symbol(last)
    {
        return (words.trim_end_matches([',', ' ']).to_owned(), Some(symbol));
    }
    (text.to_owned(), None)
}

fn is_identifier(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
}

fn slug(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            name.extend(c.to_lowercase());
        } else if !name.ends_with('_') && !name.is_empty() {
            name.push('_');
        }
    }
    let name = name.trim_end_matches('_');
    if name.is_empty() { "column".to_owned() } else { name.chars().take(64).collect() }
}

/// Returns the unit at the end of an identifier: `odometer_km`, `energy_kwh`.
fn suffix(name: &str) -> Option<&'static str> {
    let (_, last) = name.rsplit_once('_')?;
    // One letter is too little to tell a unit from an abbreviation.
    if last.len() < 2 { None } else { unit::symbol(last) }
}

/// Names a column by its header. A header that is an identifier already stays as it is: tools and
/// people know it by that name.
pub(super) fn of(header: &str) -> Named {
    if is_identifier(header) {
        let unit = suffix(header).map(str::to_owned);
        // Interval tools read these two names, so a sibling unit is carried over to them.
        if let (Some((words, _)), Some(found)) = (header.rsplit_once('_'), &unit) {
            let known = match unit::dimension(found) {
                Some("energy") if words == "energy" && found != "kWh" => {
                    Some(("energy_kwh", "kWh"))
                }
                Some("power") if words == "load" && found != "kW" => Some(("load_kw", "kW")),
                _ => None,
            };
            if let Some((name, to)) = known {
                return Named { name: name.to_owned(), unit, to: Some(to.to_owned()) };
            }
        }
        return Named { name: header.to_owned(), unit, to: None };
    }
    let (words, symbol) = parted(header);
    let lower = words.to_lowercase().replace('_', " ");
    let known = WORDS
        .iter()
        .find(|(name, all)| all.contains(&lower.as_str()) || lower.replace(' ', "_") == *name);
    let dimension = symbol.and_then(unit::dimension);
    let unit = symbol.map(str::to_owned);
    let (name, to) = match (dimension, known.map(|(name, _)| *name)) {
        (Some("energy"), None | Some("energy_kwh" | "load_kw"))
            if plain_quantity(&lower, known.is_some()) =>
        {
            ("energy_kwh".to_owned(), Some("kWh"))
        }
        (Some("power"), None | Some("energy_kwh" | "load_kw"))
            if plain_quantity(&lower, known.is_some()) =>
        {
            ("load_kw".to_owned(), Some("kW"))
        }
        (Some(_), None) => {
            let symbol = slug(symbol.unwrap_or_default());
            (format!("{}_{symbol}", slug(&words)), None)
        }
        (None, Some("energy_kwh" | "load_kw") | None) => (slug(&words), None),
        (_, Some(name)) => (name.to_owned(), None),
    };
    let to = to.filter(|to| symbol != Some(to)).map(str::to_owned);
    Named { name, unit, to }
}

/// Whether energy or power is the column's whole sense, and not one of several such as `peak`.
fn plain_quantity(lower: &str, known: bool) -> bool {
    known
        || ["kwh", "energy kwh", "active energy", "net usage", "value", "reading"].contains(&lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(header: &str) -> (String, String, String) {
        let named = of(header);
        (named.name, named.unit.unwrap_or_default(), named.to.unwrap_or_default())
    }

    #[test]
    fn headers_are_named_and_their_units_found() {
        for (header, name, unit, to) in [
            ("start", "start", "", ""),
            ("load_kw", "load_kw", "kW", ""),
            ("load_mw", "load_kw", "MW", "kW"),
            ("odometer_km", "odometer_km", "km", ""),
            ("can_id", "can_id", "", ""),
            ("Usage (Wh)", "energy_kwh", "Wh", "kWh"),
            ("Usage (kWh)", "energy_kwh", "kWh", ""),
            ("Load [MW]", "load_kw", "MW", "kW"),
            ("用電量（度）", "energy_kwh", "kWh", ""),
            ("Usage", "usage", "", ""),
            ("Peak load kW", "peak_load_kw", "kW", ""),
            ("Date/Time", "start", "", ""),
            ("Meter ID", "site_id", "", ""),
            ("Card ID", "card_id", "", ""),
            ("交易日期", "date", "", ""),
            ("Ambient Temperature (°C)", "ambient_temperature_c", "°C", ""),
            ("???", "column", "", ""),
        ] {
            assert_eq!(
                named(header),
                (name.to_owned(), unit.to_owned(), to.to_owned()),
                "{header}"
            );
        }
    }
}
