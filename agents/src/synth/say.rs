//! Drawing a value for a slot and saying it as people of a language do.

use jiff::ToSpan;
use jiff::civil::{Date, date};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};

use super::SlotSpec;

/// The source of chance; seeded, so that a set can be made again.
pub(super) type Chance = rand::rngs::StdRng;

/// What was meant, before it was said.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Intent {
    /// A number in the argument's unit.
    Number(Decimal),
    /// A text as it stands.
    Text(String),
    /// A literal of the schema.
    Choice(String),
    /// Numbers in a row.
    List(Vec<Decimal>),
    /// A day.
    Day(Date),
    /// An instant, RFC 3339.
    Instant(String),
}

/// A value and the words for it.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) intent: Intent,
    pub(super) words: String,
}

/// What stands around a slot, which decides how bare the words may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) before: &'a str,
    pub(super) after: &'a str,
    pub(super) lang: &'a str,
}

impl Place<'_> {
    fn english(&self) -> bool {
        self.lang == "en"
    }

    fn traditional(&self) -> bool {
        self.lang == "zh-Hant"
    }

    /// Tells whether a Chinese numeral may stand here: nobody writes `D七`, `K=九` or `十x100`.
    fn takes_numeral(&self) -> bool {
        let sign = |c: char| c.is_ascii_graphic() || matches!(c, '×' | '／' | '＝' | '±');
        !self.before.trim_end().ends_with(sign) && !self.after.starts_with(sign)
    }

    /// Tells whether the phrase itself writes the unit or sign of the number.
    fn has_unit(&self) -> bool {
        let next = self.after.trim_start();
        self.before.ends_with(['$', '€', '£', '¥'])
            || [
                "%", "％", "percent", "pct", "元", "塊", "块", "度", "kWh", "kW", "km", "公里",
                "個月", "个月", "年", "天", "期", "分鐘", "分钟", "小時", "小时", "USD", "TWD",
                "CNY", "EUR",
            ]
            .iter()
            .any(|unit| next.starts_with(unit))
    }
}

/// Draws a value and says it. `None` ⇐ the slot's description lacks what its kind needs.
pub(super) fn say(
    spec: &SlotSpec,
    place: Place<'_>,
    earliest: Option<Date>,
    chance: &mut Chance,
) -> Option<Said> {
    match spec.kind.as_str() {
        "money" => Some(money(spec, place, chance)),
        "number" => Some(measure(spec, place, chance)),
        "integer" => {
            let value = draw(spec, 0, chance);
            // A year is written without separators.
            let year = spec.min >= Some(1900.0) && spec.max <= Some(2200.0);
            let words = if year { value.to_string() } else { digits(value, place, chance) };
            Some(Said { intent: Intent::Number(value), words })
        }
        "percent" => Some(percent(spec, place, chance)),
        "duration" => duration(spec, place, chance),
        "date" => Some(day(place, earliest, chance)),
        "datetime" => Some(instant(spec, place, earliest, chance)),
        "currency" => {
            let code = options(spec).choose(chance)?.clone();
            Some(Said { intent: Intent::Text(code.clone()), words: currency(&code, place, chance) })
        }
        "id" | "dataset" | "hex" | "name" | "text" => code(spec, place, chance),
        "vin" => {
            let text = pattern("@@@@@@@@@@@######", chance);
            let text = text.replace(['I', 'O', 'Q'], "P");
            Some(Said { intent: Intent::Text(text.clone()), words: text })
        }
        "list" => Some(list(spec, place, chance)),
        "choice" => choice(spec, place, chance),
        _ => None,
    }
}

pub(super) fn options(spec: &SlotSpec) -> Vec<String> {
    match &spec.values {
        Some(toml::Value::Array(values)) => {
            values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

fn choice(spec: &SlotSpec, place: Place<'_>, chance: &mut Chance) -> Option<Said> {
    let table = spec.values.as_ref()?.as_table()?;
    let names: Vec<&String> = table.keys().collect();
    let name = *names.choose(chance)?;
    let ways = table.get(name)?;
    let ways = ways.get(place.lang).or_else(|| ways.get("en"))?.as_array()?;
    let words = ways.choose(chance)?.as_str()?.to_owned();
    Some(Said { intent: Intent::Choice(name.clone()), words })
}

/// Draws a number, half of the time a round one.
fn draw(spec: &SlotSpec, decimals: u32, chance: &mut Chance) -> Decimal {
    let (low, high) = (spec.min.unwrap_or(1.0), spec.max.unwrap_or(100.0));
    let wide = low > 0.0 && high / low > 100.0;
    let mut value = if wide {
        // Amounts spread over orders of magnitude.
        (chance.random_range(low.ln()..=high.ln())).exp()
    } else {
        chance.random_range(low..=high)
    };
    if chance.random_bool(0.55) && value.abs() >= 10.0 {
        let size =
            10f64.powf(value.abs().log10().floor() - f64::from(chance.random_range(0..=1u8)));
        value = ((value / size).round() * size).clamp(low, high);
    }
    if spec.signed && chance.random_bool(0.3) {
        value = -value;
    }
    let rounded = Decimal::from_f64(value).unwrap_or(Decimal::ONE).round_dp(decimals).normalize();
    let zero_is_out = rounded.is_zero() && low > 0.0;
    if zero_is_out {
        Decimal::from_f64(low).unwrap_or(Decimal::ONE).round_dp(4).normalize()
    } else {
        rounded
    }
}

fn grouped(value: Decimal) -> String {
    let text = value.abs().to_string();
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |(w, f)| (w, f));
    let groups: Vec<&str> = whole
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|chunk| std::str::from_utf8(chunk).ok())
        .collect();
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", groups.join(","))
}

fn divides(value: Decimal, by: u64) -> Option<Decimal> {
    let quotient = (value / Decimal::from(by)).normalize();
    (value >= by.into() && quotient.scale() <= 1).then_some(quotient)
}

/// Writes a number in one of the ways of the language.
fn digits(value: Decimal, place: Place<'_>, chance: &mut Chance) -> String {
    let plain = value.to_string();
    if value.is_sign_negative() || value < Decimal::from(1000) {
        let small = value.to_u32().filter(|n| value.is_integer() && (2..100).contains(n));
        return match small {
            Some(n) if !place.english() && place.takes_numeral() && chance.random_bool(0.12) => {
                chinese(n.into())
            }
            _ => plain,
        };
    }
    let way = chance.random_range(0..10u8);
    if place.english() {
        let short = match way {
            0 => divides(value, 1000).filter(|q| *q < 1000.into()).map(|q| format!("{q}k")),
            1 => divides(value, 1_000_000).map(|q| {
                format!("{q}{}", [" million", "m", "M", " mil"].choose(chance).unwrap_or(&"m"))
            }),
            2 => divides(value, 1000).filter(|q| *q < 100.into()).map(|q| format!("{q} grand")),
            _ => None,
        };
        return short.unwrap_or_else(|| if way < 7 { grouped(value) } else { plain });
    }
    let ten_thousand = if place.traditional() { '萬' } else { '万' };
    let short = match way {
        0..=2 => divides(value, 10_000).map(|q| format!("{q}{ten_thousand}")),
        3 => divides(value, 10_000)
            .filter(Decimal::is_integer)
            .and_then(|q| q.to_u64())
            .filter(|q| *q < 10_000)
            .map(|q| format!("{}{ten_thousand}", chinese(q))),
        _ => None,
    };
    short.unwrap_or_else(|| if way < 7 { grouped(value) } else { plain })
}

/// Writes 0 < n < 10,000 in Chinese numerals.
fn chinese(n: u64) -> String {
    let names = ['零', '一', '二', '三', '四', '五', '六', '七', '八', '九'];
    let digit = |n: u64| names[(n % 10) as usize];
    let mut out = String::new();
    let mut gap = false;
    for (unit, name) in [(1000, "千"), (100, "百"), (10, "十"), (1, "")] {
        let d = n / unit % 10;
        if d == 0 {
            gap = !out.is_empty();
            continue;
        }
        if gap {
            out.push('零');
            gap = false;
        }
        if !(unit == 10 && d == 1 && out.is_empty()) {
            out.push(digit(d));
        }
        out.push_str(name);
    }
    out
}

/// Writes out a short form before a unit or a currency: nobody says `2kkm` or `8.8 grand dollars`.
fn spelled(words: String, value: Decimal, glued: bool) -> String {
    let short = glued && words.ends_with(|c: char| c.is_ascii_alphabetic());
    if short || words.ends_with("grand") { grouped(value) } else { words }
}

fn money(spec: &SlotSpec, place: Place<'_>, chance: &mut Chance) -> Said {
    let value = draw(spec, spec.decimals.unwrap_or(2), chance);
    let number = digits(value, place, chance);
    let bare = !place.has_unit() && chance.random_bool(0.45);
    let number = if bare { number } else { spelled(number, value, false) };
    let words = if place.has_unit() || bare {
        number
    } else if place.english() {
        match chance.random_range(0..6u8) {
            0 => format!("${number}"),
            1 => format!("€{number}"),
            2 => format!("USD {number}"),
            3 => format!("{number} dollars"),
            4 => format!("{number} EUR"),
            _ => format!("£{number}"),
        }
    } else {
        match (chance.random_range(0..5u8), place.traditional()) {
            (0, true) => format!("新台幣{number}元"),
            (1, true) => format!("NT${number}"),
            (0, false) => format!("人民币{number}元"),
            (1, false) => format!("¥{number}"),
            (2, true) => format!("{number}塊"),
            (2, false) => format!("{number}块"),
            _ => format!("{number}元"),
        }
    };
    Said { intent: Intent::Number(value), words }
}

fn measure(spec: &SlotSpec, place: Place<'_>, chance: &mut Chance) -> Said {
    let value = draw(spec, spec.decimals.unwrap_or(2), chance);
    let bare = |chance: &mut Chance| digits(value, place, chance);
    let Some(unit) = spec.unit.as_deref().filter(|_| !place.has_unit()) else {
        let words = bare(chance);
        let words = if place.has_unit() {
            spelled(words, value, !place.after.starts_with(' '))
        } else {
            words
        };
        return Said { intent: Intent::Number(value), words };
    };
    let scaled: Vec<(&String, Decimal)> = spec
        .units
        .iter()
        .filter_map(|(unit, factor)| {
            let quotient = value / Decimal::from_f64(*factor)?;
            (quotient.normalize().scale() <= 3).then_some((unit, quotient.normalize()))
        })
        .collect();
    let (unit, number) = match scaled.choose(chance) {
        Some((unit, number)) if chance.random_bool(0.4) => (unit.as_str(), *number),
        _ => (unit, value),
    };
    let unit = unit_words(unit, place, chance);
    let number = spelled(digits(number, place, chance), number, !unit.starts_with(' '));
    let words = format!("{number}{unit}");
    Said { intent: Intent::Number(value), words }
}

/// Says a unit; `kWh` may be 度 in Chinese.
fn unit_words(unit: &str, place: Place<'_>, chance: &mut Chance) -> String {
    let gap = if chance.random_bool(if place.english() { 0.75 } else { 0.3 }) { " " } else { "" };
    let other = match (unit, place.lang) {
        ("kWh", "zh-Hant") => ["度", "度電"].choose(chance),
        ("kWh", "zh-Hans") => ["度", "度电"].choose(chance),
        ("km", "zh-Hant" | "zh-Hans") => ["公里"].choose(chance),
        ("kW", "zh-Hant" | "zh-Hans") => ["千瓦"].choose(chance),
        _ => None,
    };
    match other {
        Some(word) if chance.random_bool(0.6) => (*word).to_owned(),
        _ => format!("{gap}{unit}"),
    }
}

fn percent(spec: &SlotSpec, place: Place<'_>, chance: &mut Chance) -> Said {
    let value = draw(spec, spec.decimals.unwrap_or(2), chance);
    let words = if place.has_unit() {
        value.to_string()
    } else if place.english() {
        match chance.random_range(0..6u8) {
            0 => format!("{value} percent"),
            1 => format!("{value} pct"),
            _ => format!("{value}%"),
        }
    } else {
        let whole = value.to_u64().filter(|n| value.is_integer() && (1..100).contains(n));
        match (chance.random_range(0..8u8), whole) {
            (0, Some(n)) => format!("百分之{}", chinese(n)),
            (1, _) if place.traditional() => format!("{value}趴"),
            (2, _) => format!("{value}％"),
            _ => format!("{value}%"),
        }
    };
    Said { intent: Intent::Number(value), words }
}

fn duration(spec: &SlotSpec, place: Place<'_>, chance: &mut Chance) -> Option<Said> {
    let unit = spec.unit.as_deref()?;
    let value = draw(spec, spec.decimals.unwrap_or(0), chance);
    if place.has_unit() {
        return Some(Said { intent: Intent::Number(value), words: value.to_string() });
    }
    let larger = match unit {
        "month" => Some(("year", 12u64)),
        "minute" => Some(("hour", 60)),
        "hour" => Some(("day", 24)),
        "day" => Some(("week", 7)),
        "second" => Some(("minute", 60)),
        _ => None,
    };
    let (number, unit) = match larger {
        Some((larger, by))
            if value.is_integer()
                && (value % Decimal::from(by)).is_zero()
                && chance.random_bool(0.7) =>
        {
            ((value / Decimal::from(by)).normalize(), larger)
        }
        _ => (value, unit),
    };
    let words = if place.english() {
        let many = if number == Decimal::ONE { "" } else { "s" };
        let short = match unit {
            "month" => ["mo", " mths"],
            "year" => ["y", " yrs"],
            "day" => ["d", " days"],
            "hour" => ["h", " hrs"],
            "minute" => [" min", " mins"],
            "week" => [" wk", " weeks"],
            _ => ["sec", " secs"],
        };
        match chance.random_range(0..6u8) {
            0 => format!("{number}{}", short[0]),
            1 => format!("{number}{}", short[1]),
            2 if number > Decimal::ONE => format!("{number}-{unit}"),
            _ => format!("{number} {unit}{many}"),
        }
    } else {
        let word = match (unit, place.traditional()) {
            ("month", true) => "個月",
            ("month", false) => "个月",
            ("year", _) => "年",
            ("day", _) => "天",
            ("week", true) => "週",
            ("week", false) => "周",
            ("hour", true) => "小時",
            ("hour", false) => "小时",
            ("minute", true) => "分鐘",
            ("minute", false) => "分钟",
            _ => "秒",
        };
        format!("{}{word}", digits(number, place, chance))
    };
    Some(Said { intent: Intent::Number(value), words })
}

fn draw_day(earliest: Option<Date>, chance: &mut Chance) -> Date {
    let base = earliest.unwrap_or(date(2024, 1, 1));
    let span: i32 = if earliest.is_some() { 90 } else { 1050 };
    base.checked_add(chance.random_range(1..span).days()).unwrap_or(base)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn day_words(day: Date, place: Place<'_>, chance: &mut Chance) -> String {
    let (y, m, d) = (day.year(), day.month(), day.day());
    let month = MONTHS[(m - 1) as usize];
    let way = chance.random_range(0..5u8);
    if place.english() {
        match way {
            0 => format!("{d} {month} {y}"),
            1 => format!("{month} {d}, {y}"),
            2 => format!("{} {d} {y}", &month[..3]),
            _ => day.to_string(),
        }
    } else {
        match way {
            0..=2 => format!("{y}年{m}月{d}日"),
            3 => format!("{y}/{m}/{d}"),
            _ => day.to_string(),
        }
    }
}

fn day(place: Place<'_>, earliest: Option<Date>, chance: &mut Chance) -> Said {
    let day = draw_day(earliest, chance);
    Said { intent: Intent::Day(day), words: day_words(day, place, chance) }
}

fn instant(spec: &SlotSpec, place: Place<'_>, earliest: Option<Date>, chance: &mut Chance) -> Said {
    // The end of what lasts hours is on the day on which it starts.
    let same_day = earliest.filter(|_| spec.max.is_some_and(|hours| hours <= 24.0));
    let day = same_day.unwrap_or_else(|| draw_day(earliest, chance));
    let way = if same_day.is_some() { 0 } else { chance.random_range(0..4u8) };
    match way {
        0 => {
            let hour = chance.random_range(u8::from(same_day.is_some())..24);
            let words = if chance.random_bool(0.5) {
                format!("{day}T{hour:02}:00:00Z")
            } else {
                format!("{day} {hour:02}:00")
            };
            Said { intent: Intent::Instant(format!("{day}T{hour:02}:00:00Z")), words }
        }
        _ => Said {
            intent: Intent::Instant(format!("{day}T00:00:00Z")),
            words: day_words(day, place, chance),
        },
    }
}

fn currency(code: &str, place: Place<'_>, chance: &mut Chance) -> String {
    let word = match (code, place.lang) {
        ("TWD", "zh-Hant") => "新台幣",
        ("CNY", "zh-Hans") => "人民币",
        ("USD", "zh-Hant" | "zh-Hans") => "美元",
        ("HKD", "zh-Hant") => "港幣",
        ("JPY", "zh-Hant") => "日圓",
        ("EUR", "zh-Hant") => "歐元",
        ("EUR", "zh-Hans") => "欧元",
        ("USD", "en") => "dollars",
        ("EUR", "en") => "euros",
        ("JPY", "en") => "yen",
        ("CNY", "en") => "yuan",
        ("GBP", "en") => "sterling",
        _ => code,
    };
    if chance.random_bool(0.5) { word.to_owned() } else { code.to_owned() }
}

pub(super) fn pattern(pattern: &str, chance: &mut Chance) -> String {
    pattern
        .chars()
        .map(|c| match c {
            '#' => char::from(b'0' + chance.random_range(0..10u8)),
            '@' => char::from(b'A' + chance.random_range(0..26u8)),
            '~' => char::from(b"0123456789ABCDEF"[chance.random_range(0..16usize)]),
            other => other,
        })
        .collect()
}

fn code(spec: &SlotSpec, place: Place<'_>, chance: &mut Chance) -> Option<Said> {
    let values = options(spec);
    let from_values = spec.patterns.is_empty() || (!values.is_empty() && chance.random_bool(0.5));
    let text = if from_values {
        values.choose(chance)?.clone()
    } else {
        pattern(spec.patterns.choose(chance)?, chance)
    };
    let _ = place;
    Some(Said { intent: Intent::Text(text.clone()), words: text })
}

fn list(spec: &SlotSpec, place: Place<'_>, chance: &mut Chance) -> Said {
    let (least, most) = (spec.min_len.unwrap_or(3), spec.max_len.unwrap_or(8));
    // Two values are no list to the eye, yet they fill one.
    let pair = least <= 3 && chance.random_bool(0.2);
    let count = if pair { 2 } else { chance.random_range(least..=most.max(least)) };
    let decimals = match spec.of.as_deref() {
        Some("integer") => 0,
        _ => spec.decimals.unwrap_or(2),
    };
    let mut values: Vec<Decimal> = Vec::with_capacity(count);
    for tries in 0.. {
        if values.len() >= count {
            break;
        }
        let value = draw(spec, decimals, chance);
        // Whole numbers in a row name days or positions, and nobody names one twice.
        let repeated = spec.of.as_deref() == Some("integer") && values.contains(&value);
        if !repeated || tries > 20 * count {
            values.push(value);
        }
    }
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    if let Some(words) = each(spec, place, &texts, chance) {
        return Said { intent: Intent::List(values), words };
    }
    let joiner = match (place.english(), chance.random_range(0..3u8)) {
        (false, 0) => "、",
        (false, 1) => "，",
        (_, 2) if values.iter().all(|v| v.scale() == 0) => ",",
        _ => ", ",
    };
    let mut words = texts.join(joiner);
    if place.english() && count > 2 && chance.random_bool(0.25) {
        words = format!("{} and {}", texts[..count - 1].join(", "), texts[count - 1]);
    }
    // 1,234,567 would be one number.
    if joiner == "," && values.iter().any(|v| v.abs() >= Decimal::from(100)) {
        words = texts.join(", ");
    }
    Said { intent: Intent::List(values), words }
}

/// Says two values side by side, or each of a few with its currency.
fn each(
    spec: &SlotSpec,
    place: Place<'_>,
    texts: &[String],
    chance: &mut Chance,
) -> Option<String> {
    let money = spec.of.as_deref() == Some("money") && !place.has_unit();
    let priced = money && texts.len() <= 4 && chance.random_bool(0.3);
    let of = |text: &String| match (priced, place.english()) {
        (false, _) => text.clone(),
        (true, true) => format!("${text}"),
        (true, false) => format!("{text} 元"),
    };
    let said: Vec<String> = texts.iter().map(of).collect();
    let joints: &[&str] = match (place.lang, texts.len()) {
        ("en", 2) => &[" and ", " and ", ", ", " then ", " or ", " & "],
        ("zh-Hant", 2) => &["、", "和", "跟", "與", "及", "，", "、"],
        (_, 2) => &["、", "和", "跟", "与", "及", "，", "、"],
        ("en", _) if priced => &[", "],
        (_, _) if priced => &["、", "，"],
        _ => return None,
    };
    Some(said.join(joints.choose(chance)?))
}

#[cfg(test)]
mod tests {
    use super::chinese;
    use crate::mention::chinese_number;

    #[test]
    fn numerals_are_read_back() {
        for n in 1..10_000u64 {
            assert_eq!(chinese_number(&chinese(n)), Some(n.into()), "{}", chinese(n));
        }
    }
}
