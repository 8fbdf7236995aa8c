//! Numbers as people write them: `200,000`, `35 grand`, `6.49 pct`, `$1.2m`, `三百五十萬元`, `30y`.

use std::sync::OnceLock;

use regex::Regex;
use rust_decimal::Decimal;

use super::{Found, Kind, boundary, spoken};

const CURRENCY_SIGNS: [(&str, &str); 15] = [
    ("NT$", "TWD"),
    ("US$", "USD"),
    ("HK$", "HKD"),
    ("A$", "AUD"),
    ("S$", "SGD"),
    ("C$", "CAD"),
    ("RMB", "CNY"),
    ("$", "USD"),
    ("€", "EUR"),
    ("£", "GBP"),
    ("¥", "CNY"),
    ("￥", "CNY"),
    ("₩", "KRW"),
    ("₹", "INR"),
    ("R$", "BRL"),
];

pub(super) const CODES: [&str; 34] = [
    "USD", "EUR", "GBP", "JPY", "CNY", "TWD", "HKD", "SGD", "AUD", "CAD", "CHF", "SEK", "NOK",
    "DKK", "NZD", "INR", "KRW", "BRL", "MXN", "ZAR", "THB", "MYR", "IDR", "PHP", "VND", "PLN",
    "CZK", "HUF", "TRY", "AED", "SAR", "ILS", "KWD", "BHD",
];

/// Words after a number that name a currency; empty where the word fits several.
const CURRENCY_WORDS: [(&str, &str); 42] = [
    ("元", ""),
    ("塊錢", ""),
    ("块钱", ""),
    ("塊", ""),
    ("块", ""),
    ("圓", ""),
    ("us dollars", "USD"),
    ("dollars", "USD"),
    ("dollar", "USD"),
    ("bucks", "USD"),
    ("usd", "USD"),
    ("euros", "EUR"),
    ("euro", "EUR"),
    ("eur", "EUR"),
    ("pounds", "GBP"),
    ("pound", "GBP"),
    ("quid", "GBP"),
    ("yen", "JPY"),
    ("yuan", "CNY"),
    ("rmb", "CNY"),
    ("renminbi", "CNY"),
    ("新台幣", "TWD"),
    ("新臺幣", "TWD"),
    ("台幣", "TWD"),
    ("臺幣", "TWD"),
    ("元新台幣", "TWD"),
    ("人民币", "CNY"),
    ("人民幣", "CNY"),
    ("元人民币", "CNY"),
    ("美元", "USD"),
    ("美金", "USD"),
    ("歐元", "EUR"),
    ("欧元", "EUR"),
    ("日圓", "JPY"),
    ("日圆", "JPY"),
    ("日元", "JPY"),
    ("港幣", "HKD"),
    ("港币", "HKD"),
    ("港元", "HKD"),
    ("英鎊", "GBP"),
    ("英镑", "GBP"),
    ("ntd", "TWD"),
];

/// Words after a number that name a unit; durations have a `:` in front.
const UNITS: [(&str, &str); 133] = [
    ("months", ":month"),
    ("month", ":month"),
    ("mths", ":month"),
    ("mth", ":month"),
    ("mos", ":month"),
    ("mo", ":month"),
    ("years", ":year"),
    ("year", ":year"),
    ("yrs", ":year"),
    ("yr", ":year"),
    ("y", ":year"),
    ("days", ":day"),
    ("day", ":day"),
    ("d", ":day"),
    ("weeks", ":week"),
    ("week", ":week"),
    ("wks", ":week"),
    ("wk", ":week"),
    ("hours", ":hour"),
    ("hour", ":hour"),
    ("hrs", ":hour"),
    ("hr", ":hour"),
    ("h", ":hour"),
    ("minutes", ":minute"),
    ("minute", ":minute"),
    ("mins", ":minute"),
    ("min", ":minute"),
    ("seconds", ":second"),
    ("second", ":second"),
    ("secs", ":second"),
    ("sec", ":second"),
    ("quarters", ":quarter"),
    ("quarter", ":quarter"),
    ("個月", ":month"),
    ("个月", ":month"),
    ("個年", ":year"),
    ("年", ":year"),
    ("期", "period"),
    ("天", ":day"),
    ("日", ":day"),
    ("週", ":week"),
    ("周", ":week"),
    ("星期", ":week"),
    ("個小時", ":hour"),
    ("个小时", ":hour"),
    ("小時", ":hour"),
    ("小时", ":hour"),
    ("分鐘", ":minute"),
    ("分钟", ":minute"),
    ("秒", ":second"),
    ("季", ":quarter"),
    ("kwh", "kwh"),
    ("mwh", "mwh"),
    ("gwh", "gwh"),
    ("wh", "wh"),
    ("kw", "kw"),
    ("mw", "mw"),
    ("kwp", "kw"),
    ("mwp", "mw"),
    ("w", "w"),
    ("kva", "kva"),
    ("度電", "kwh"),
    ("度电", "kwh"),
    ("度", "度"),
    ("千瓦時", "kwh"),
    ("千瓦时", "kwh"),
    ("千瓦", "kw"),
    ("兆瓦", "mw"),
    ("瓩", "kw"),
    ("kilometres", "km"),
    ("kilometers", "km"),
    ("km", "km"),
    ("kms", "km"),
    ("公里", "km"),
    ("千米", "km"),
    ("miles", "mile"),
    ("mile", "mile"),
    ("mi", "mile"),
    ("英里", "mile"),
    ("basis points", "bp"),
    ("bps", "bp"),
    ("bp", "bp"),
    ("w/m2", "w/m2"),
    ("°c", "celsius"),
    ("degrees", "celsius"),
    ("℃", "celsius"),
    ("kg/kwh", "kg/kwh"),
    ("kg", "kg"),
    ("tonnes", "t"),
    ("公斤/度", "kg/kwh"),
    ("公斤", "kg"),
    ("噸", "t"),
    ("吨", "t"),
    ("pulls", "pull"),
    ("pull", "pull"),
    ("抽", "pull"),
    ("players", "player"),
    ("player", "player"),
    ("名玩家", "player"),
    ("位玩家", "player"),
    ("units", "unit"),
    ("pcs", "unit"),
    ("件", "unit"),
    ("個", "unit"),
    ("个", "unit"),
    ("筆", "unit"),
    ("笔", "unit"),
    ("人", "player"),
    ("customers", "customer"),
    ("戶", "customer"),
    ("户", "customer"),
    ("kwdc", "kw"),
    ("kwac", "kw"),
    ("x", "unit"),
    ("次", "unit"),
    ("張", "unit"),
    ("张", "unit"),
    ("支", "unit"),
    ("段", "unit"),
    ("箱", "unit"),
    ("份", "unit"),
    ("列", "unit"),
    ("步", "unit"),
    ("輛", "unit"),
    ("辆", "unit"),
    ("名", "player"),
    ("m/s", "m/s"),
    ("km/h", "km/h"),
    ("mph", "mph"),
    ("bar", "bar"),
    ("kpa", "kpa"),
    ("psi", "psi"),
    ("rpm", "rpm"),
];

/// Classifiers before which 一 is an article.
const CLASSIFIERS: [char; 11] = ['箱', '份', '張', '张', '支', '段', '列', '步', '輛', '辆', '名'];

const CJK_DIGITS: &str = "零一二三四五六七八九";

/// Reads a Chinese numeral (`三百五十萬`, `二〇二六`, `六點四九`), both scripts.
pub fn chinese_number(text: &str) -> Option<Decimal> {
    let normal: String = text
        .chars()
        .map(|c| match c {
            '〇' => '零',
            '兩' | '两' | '貳' => '二',
            '萬' => '万',
            '億' => '亿',
            '點' => '点',
            other => other,
        })
        .collect();
    let (whole, fraction) = normal.split_once('点').unwrap_or((&normal, ""));
    let mut value = chinese_whole(whole)?;
    let mut scale = Decimal::ONE;
    for c in fraction.chars() {
        scale /= Decimal::TEN;
        value += Decimal::from(digit(c)?) * scale;
    }
    Some(value)
}

fn digit(c: char) -> Option<u32> {
    CJK_DIGITS.chars().position(|d| d == c).map(|d| d as u32)
}

fn chinese_whole(text: &str) -> Option<Decimal> {
    if text.is_empty() {
        return None;
    }
    if text.chars().count() > 1 && text.chars().all(|c| digit(c).is_some()) {
        let digits: String = text.chars().filter_map(digit).map(|d| d.to_string()).collect();
        return digits.parse().ok();
    }
    let (mut total, mut section, mut current) = (0u64, 0u64, 0u64);
    let mut last_unit = 1;
    for c in text.chars() {
        if let Some(d) = digit(c) {
            if d == 0 {
                last_unit = 1;
            }
            current = u64::from(d);
            continue;
        }
        let unit = match c {
            '十' => 10,
            '百' => 100,
            '千' => 1000,
            '万' => 10_000,
            '亿' => 100_000_000,
            _ => return None,
        };
        if unit < 10_000 {
            section += current.max(u64::from(unit == 10 && current == 0)) * unit;
        } else {
            total = (total + section + current).checked_mul(unit)?;
            section = 0;
        }
        current = 0;
        last_unit = unit;
    }
    // A digit right after a unit means the next lower unit: 三千五 is 3,500.
    total += section + current * if last_unit >= 100 { last_unit / 10 } else { 1 };
    Some(Decimal::from(total))
}

fn digits() -> &'static Regex {
    static RE: OnceLock<Regex> = OnceLock::new();
    RE.get_or_init(|| regex(r"^[-+−]?(?:\d{1,3}(?:[,']\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"))
}

fn chinese() -> &'static Regex {
    static RE: OnceLock<Regex> = OnceLock::new();
    RE.get_or_init(|| {
        regex(r"^[零〇一二兩两三四五六七八九十百千萬万億亿]+(?:[點点][零〇一二三四五六七八九]+)?")
    })
}

fn multiplier() -> &'static Regex {
    static RE: OnceLock<Regex> = OnceLock::new();
    RE.get_or_init(|| {
        regex(r"^(?i: ?(?:million|thousand|billion|grand|mil|mn|bn|k|m)\b|\s?(?:萬億|万亿|億|亿|千萬|千万|百萬|百万|萬|万|千|百))")
    })
}

#[expect(clippy::expect_used, reason = "the patterns are constants; a test compiles each")]
pub(super) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("constant pattern")
}

/// A bare number at the start of `text`: value and length.
fn magnitude(text: &str) -> Option<(Decimal, usize)> {
    let (mut value, mut end) = if let Some(m) = digits().find(text) {
        let plain = m.as_str().replace([',', '，', '\'', '+'], "").replace('−', "-");
        (plain.parse::<Decimal>().ok()?, m.end())
    } else if let Some(m) = chinese().find(text) {
        // 四千瓦 is four kilowatts.
        let unit = text[m.end()..].starts_with(['瓦', '米']) && m.as_str().ends_with('千');
        let numeral = if unit { m.as_str().trim_end_matches('千') } else { m.as_str() };
        return chinese_number(numeral).map(|value| (value.normalize(), numeral.len()));
    } else {
        spoken::english(text)?
    };
    while let Some(m) = multiplier().find(&text[end..]) {
        let factor: u64 = match m.as_str().trim().to_lowercase().as_str() {
            "thousand" | "grand" | "k" | "千" => 1000,
            "million" | "mil" | "mn" | "m" | "百萬" | "百万" => 1_000_000,
            "billion" | "bn" => 1_000_000_000,
            "百" => 100,
            "萬" | "万" => 10_000,
            "千萬" | "千万" => 10_000_000,
            "億" | "亿" => 100_000_000,
            _ => 1_000_000_000_000,
        };
        // 千瓦 and 百分 are units, not multipliers; in 11万分10个月 a loan is split.
        let rest = &text[end + m.end()..];
        let share = rest.starts_with("分之") || rest.starts_with('分') && factor <= 1000;
        if share || rest.starts_with(['瓦', '米']) || rest.starts_with("/s") {
            break;
        }
        if m.as_str() == " K" && names_next(value, rest) {
            break;
        }
        value = value.checked_mul(Decimal::from(factor))?;
        end += m.end();
    }
    Some((value.normalize(), end))
}

/// Tells whether the K after a number names the next one (`rating 1,000 K 40`, `score 1 K=40`).
fn names_next(value: Decimal, rest: &str) -> bool {
    value >= Decimal::ONE_THOUSAND || rest.starts_with([':', '=', '：'])
}

/// Tells whether a lone numeral is meant as a number although no unit follows: it stands between
/// blanks (`權重 九，`), or it is a zero that ends a clause (`係數零`).
fn stands_alone(text: &str, at: usize, end: usize) -> bool {
    let (before, after) = (&text[..at], &text[end..]);
    let ends = after.chars().next().is_none_or(|c| !c.is_alphanumeric());
    let zero = text[at..end].starts_with(['零', '〇'])
        && !before.ends_with(['歸', '归', '清', ' ', '\n'])
        && before.chars().next_back().is_some_and(crate::lang::is_cjk);
    ends && (before.ends_with([' ', '×', '=', '：', '量']) || zero)
}

/// Reads the two figures of `344x10.38`, a quantity and its price.
fn of_product(text: &str, at: usize) -> bool {
    static RE: OnceLock<Regex> = OnceLock::new();
    let product = RE
        .get_or_init(|| regex(r"^[1-9][\d,]*(?:\.\d+)?[xX](?:NT\$|US\$|HK\$|[$€£¥])?\d[\d,]*(?:\.\d+)?(?:[^A-Za-z0-9_-]|-(?:minute|hour|day|week|month|year)|$)"));
    let start = text[..at].trim_end_matches(['x', 'X']);
    let figures = |c: char| c.is_ascii_digit() || matches!(c, ',' | '.');
    let start = if start.len() < at { start.trim_end_matches(figures).len() } else { at };
    boundary(text[..start].chars().next_back()) && product.is_match(&text[start..])
}

/// Reads a number with its sign, multiplier, currency, percent sign or unit.
pub(super) fn scan(text: &str, at: usize, previous: Option<char>) -> Option<Found> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    let times = matches!(previous, Some('x' | 'X'));
    let product = (times || first.is_ascii_digit()) && of_product(text, at);
    if first.is_ascii_alphanumeric() && !boundary(previous) && !product {
        return None;
    }
    let in_words = spoken::interval(text, at).or_else(|| spoken::duration(text, at));
    if let Some(found) = in_words.or_else(|| spoken::odds(text, at)) {
        return Some(found);
    }
    if let Some(after) = rest.strip_prefix("百分之") {
        let (value, length) = magnitude(after)?;
        let end = at + "百分之".len() + length;
        return Some(Found { start: at, end, kind: Kind::Percent { value: value.to_string() } });
    }
    if let Some(found) = prefixed(text, at) {
        return Some(found);
    }
    if matches!(first, '-' | '+' | '−') && previous.is_some_and(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    if first.is_ascii_alphabetic() && names_ordinal(&text[..at]) && spoken::english(rest).is_some()
    {
        return None;
    }
    let (value, length) = magnitude(rest)?;
    let is_chinese = chinese().is_match(rest);
    let kind_end = suffix(text, at + length, value);
    let lone = is_chinese && text[at..at + length].chars().count() == 1;
    // A lone 一 or 十 is more often a word than a number, and 一張 an article.
    let article = rest.starts_with(['一', '千', '百', '万', '萬'])
        && text[at + length..].starts_with(CLASSIFIERS);
    if lone && (article || kind_end.is_none() && !stands_alone(text, at, at + length)) {
        return None;
    }
    let (kind, end) = match kind_end {
        Some((kind, end)) => (kind, end),
        None => {
            let next = text[at + length..].chars().next();
            let glued = next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
                || (next == Some('-')
                    && text[at + length + 1..]
                        .chars()
                        .next()
                        .is_some_and(|c| c.is_ascii_alphanumeric()));
            if glued && first.is_ascii_digit() && !product {
                return None;
            }
            (Kind::Number { value: value.to_string(), unit: String::new() }, at + length)
        }
    };
    Some(Found { start: at, end, kind })
}

/// Things that are told apart by a number in words, which counts nothing: `feeder two`, `option one`.
const NUMBERED: &str = " feeder line site plant bay shift phase group option number variant version team car truck van bus step part task zone circuit block tier category type player customer ";

/// Tells whether the number in words that follows only names one of several things.
fn names_ordinal(before: &str) -> bool {
    let word =
        before.strip_suffix(' ').and_then(|b| b.rsplit(|c: char| !c.is_ascii_alphabetic()).next());
    word.is_some_and(|word| {
        !word.is_empty() && NUMBERED.contains(&format!(" {} ", word.to_ascii_lowercase()))
    })
}

/// Hundredths and tenths of an unsaid currency, after a number.
const PARTS: [(&str, u32); 7] =
    [("cents", 2), ("cent", 2), ("毛錢", 1), ("毛钱", 1), ("毛", 1), ("角", 1), ("分錢", 2)];

/// `$35k`, `USD 200`, `NT$三百萬`.
fn prefixed(text: &str, at: usize) -> Option<Found> {
    let rest = &text[at..];
    let negative = rest.starts_with(['-', '−']);
    let skip = if negative { rest.chars().next()?.len_utf8() } else { 0 };
    let body = &rest[skip..];
    let codes = CODES.iter().map(|code| (*code, *code));
    let (sign, currency) =
        CURRENCY_SIGNS.iter().copied().chain(codes).find(|(sign, _)| body.starts_with(sign))?;
    let gap = body[sign.len()..].len() - body[sign.len()..].trim_start_matches(' ').len();
    let from = skip + sign.len() + gap;
    let (mut value, length) = magnitude(&rest[from..])?;
    if negative {
        value = -value;
    }
    let kind = Kind::Money { value: value.to_string(), currency: currency.to_owned() };
    Some(Found { start: at, end: at + from + length, kind })
}

/// Reads what stands after a number: percent, currency or unit.
fn suffix(text: &str, at: usize, value: Decimal) -> Option<(Kind, usize)> {
    let rest = &text[at..];
    let gap = rest.len() - rest.trim_start_matches([' ', '-']).len();
    let gap = if gap <= 1 { gap } else { 0 };
    let body = &rest[gap..];
    // "12 cents" and 三毛 are parts of a coin; 毛利 and 角色 are words.
    let part = PARTS.iter().find(|(word, _)| {
        starts_with_word(body, word)
            && !body[word.len()..].starts_with(['利', '色', '度', '落', '重', '病'])
    });
    if let Some((word, scale)) = part {
        let value = value.checked_mul(Decimal::new(1, *scale))?.normalize().to_string();
        let kind = Kind::Money { value, currency: String::new() };
        return Some((kind, at + gap + word.len()));
    }
    let value = value.to_string();
    for sign in
        ["%", "％", "percentage points", "percent", "per cent", "pct", "趴", "個百分點", "个百分点"]
    {
        if starts_with_word(body, sign) {
            return Some((Kind::Percent { value }, at + gap + sign.len()));
        }
    }
    let codes = CODES.iter().map(|code| (*code, *code));
    let best = CURRENCY_WORDS
        .iter()
        .copied()
        .chain(codes)
        .filter(|(word, _)| starts_with_word(body, word))
        .max_by_key(|(word, _)| word.len());
    if let Some((word, currency)) = best {
        let kind = Kind::Money { value, currency: currency.to_owned() };
        return Some((kind, at + gap + word.len()));
    }
    let (word, unit) = UNITS
        .iter()
        .filter(|(word, _)| starts_with_word(body, word))
        .max_by_key(|(word, _)| word.len())?;
    let after = &body[word.len()..];
    // "461 年息 23%" states a yearly rate, and 41053D is a message of bytes.
    let of_rate = gap > 0 && *word == "年" && after.starts_with(['息', '利', '率', '化']);
    // 20045 支付 is an order that was paid, not a count of sticks.
    let of_word = word.starts_with(CLASSIFIERS)
        && after
            .starts_with(['付', '持', '出', '援', '票', '驟', '骤', '稱', '称', '字', '單', '单']);
    if of_rate || of_word || *word == "d" && body.starts_with('D') && value.len() > 3 {
        return None;
    }
    // "Two quarter hours" and 兩個小時段 count slots, and what follows says how long one is.
    let of_slots =
        word.starts_with("quarter") && after.trim_start_matches([' ', '-']).starts_with("hour");
    if of_slots {
        return None;
    }
    if let Some(classifier) = body.chars().next().filter(|c| matches!(c, '個' | '个'))
        && word.ends_with(['時', '时'])
        && after.starts_with(['段', '格', '檔', '档'])
    {
        let kind = Kind::Number { value, unit: "unit".to_owned() };
        return Some((kind, at + gap + classifier.len_utf8()));
    }
    // 3月5日 and 5年期 belong to dates and durations; `m` as a unit was read as a multiplier.
    let kind = match unit.strip_prefix(':') {
        Some(unit) => Kind::Duration { value, unit: unit.to_owned() },
        None => Kind::Number { value, unit: (*unit).to_owned() },
    };
    Some((kind, at + gap + word.len()))
}

/// Tells whether a multiplier stands at `at` (`5 grand`).
pub(super) fn has_multiplier(text: &str, at: usize) -> bool {
    multiplier().is_match(&text[at..])
}

/// Tells whether a percent sign, currency or unit stands at `at`.
pub(super) fn has_suffix(text: &str, at: usize) -> bool {
    suffix(text, at, Decimal::ONE).is_some()
}

/// Compares without case; a Latin word must end here.
fn starts_with_word(text: &str, word: &str) -> bool {
    let Some(head) = text.get(..word.len()) else { return false };
    if !head.eq_ignore_ascii_case(word) {
        return false;
    }
    let latin = word.chars().next_back().is_some_and(|c| c.is_ascii_alphanumeric());
    !latin || text[word.len()..].chars().next().is_none_or(|c| !c.is_ascii_alphanumeric())
}

/// Currencies that stand alone in English words; what weighs or names something else too is not here.
const CURRENCY_NAMES: [(&str, &str); 9] = [
    ("us dollars", "USD"),
    ("dollars", "USD"),
    ("euros", "EUR"),
    ("pounds sterling", "GBP"),
    ("sterling", "GBP"),
    ("yen", "JPY"),
    ("yuan", "CNY"),
    ("renminbi", "CNY"),
    ("rmb", "CNY"),
];

/// A currency that stands alone (`in EUR`, `all euros`).
pub(super) fn currency(text: &str, at: usize, previous: Option<char>) -> Option<Found> {
    if !boundary(previous) {
        return None;
    }
    let rest = &text[at..];
    let code = CODES.iter().find(|code| {
        rest.starts_with(**code)
            && rest[3..].chars().next().is_none_or(|c| !c.is_ascii_alphanumeric())
    });
    let (length, value) = match code {
        Some(code) => (3, *code),
        None => {
            let chinese = CURRENCY_WORDS.iter().filter(|(word, _)| {
                !word.is_ascii() && rest.starts_with(word) && !word.starts_with('元')
            });
            let english = CURRENCY_NAMES.iter().filter(|(word, _)| starts_with_word(rest, word));
            let named = chinese.chain(english).map(|(word, code)| (word.len(), *code));
            named.max_by_key(|(length, _)| *length)?
        }
    };
    Some(Found { start: at, end: at + length, kind: Kind::Currency { value: value.to_owned() } })
}
