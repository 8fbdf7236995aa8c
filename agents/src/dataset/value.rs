//! Cells as values of a type, in the one spelling that tools read.

use rust_decimal::Decimal;

use super::mapping::DecimalMark;

/// Rewrites a number: thousands marks and the currency's or percent sign's are left out, an exponent
/// is written out. `None` ⇐ it is no number.
pub(super) fn number(text: &str, mark: DecimalMark, out: &mut String) -> Option<()> {
    out.clear();
    if is_plain(text) && (mark == DecimalMark::Point || !text.contains('.')) {
        out.push_str(text);
        return Some(());
    }
    let (point, thousand) = match mark {
        DecimalMark::Point => ('.', ','),
        DecimalMark::Comma => (',', '.'),
    };
    // Accounts write negative amounts in brackets.
    let (text, bracketed) = match text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let text = text.trim_start_matches('+').replace('\u{2212}', "-");
    let text = text.trim_start_matches(['$', '€', '£', '¥']).trim();
    let (body, exponent) = match text.split_once(['e', 'E']) {
        Some((body, power)) => (body, power.parse::<i32>().ok().filter(|p| p.abs() <= 20)?),
        None => (text, 0),
    };
    let (whole, fraction) = body.split_once(point).unwrap_or((body, ""));
    if !grouped(whole.trim_start_matches('-'), thousand) {
        return None;
    }
    if bracketed {
        out.push('-');
    }
    out.extend(
        whole.chars().filter(|c| !matches!(c, ',' | '.' | ' ' | '\'' | '\u{a0}' | '\u{202f}')),
    );
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    if exponent != 0 {
        let value = Decimal::from_scientific(&format!("{out}e{exponent}")).ok()?;
        *out = value.normalize().to_string();
    }
    is_plain(out).then_some(())
}

/// Tells whether the digits before the point are in groups of three, or in none.
fn grouped(whole: &str, thousand: char) -> bool {
    let marks = [thousand, ' ', '\'', '\u{a0}', '\u{202f}'];
    let mut groups = whole.split(marks);
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.peekable();
    let all = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if rest.peek().is_none() {
        return first.bytes().all(|b| b.is_ascii_digit());
    }
    (1..=3).contains(&first.len()) && all(first) && rest.all(|part| part.len() == 3 && all(part))
}

/// Tells whether a text is a plain number: `-12`, `3.50`, `.5`.
fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    // Twenty-eight digits are what decimal arithmetic keeps.
    all(whole)
        && all(fraction)
        && !fraction.is_empty()
        && (!whole.is_empty() || text.contains('.'))
        && digits.len() <= 29
}

/// Tells whether a plain number is whole, and rewrites `12.0` as `12`.
pub(super) fn whole(text: &mut String) -> bool {
    if let Some((_, fraction)) = text.split_once('.') {
        if fraction.bytes().any(|b| b != b'0') {
            return false;
        }
        let length = text.len() - fraction.len() - 1;
        text.truncate(length);
    }
    text.len() <= 20
}

/// Reads `true` or `false` as files write them.
pub(super) fn boolean(text: &str) -> Option<&'static str> {
    const TRUE: [&str; 7] = ["true", "yes", "y", "t", "1", "是", "真"];
    const FALSE: [&str; 7] = ["false", "no", "n", "f", "0", "否", "假"];
    let is = |words: [&str; 7]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(TRUE) {
        Some("true")
    } else if is(FALSE) {
        Some("false")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, mark: DecimalMark) -> Option<String> {
        let mut out = String::new();
        number(text, mark, &mut out).map(|()| out)
    }

    #[test]
    fn numbers_are_read_with_either_mark_and_no_digit_is_lost() {
        use DecimalMark::{Comma, Point};
        for (text, mark, expected) in [
            ("1250.00", Point, Some("1250.00")),
            ("-0.0054", Point, Some("-0.0054")),
            ("1,234,567.8", Point, Some("1234567.8")),
            ("1.234.567,8", Comma, Some("1234567.8")),
            ("1 234,50", Comma, Some("1234.50")),
            ("12", Comma, Some("12")),
            ("(12.50)", Point, Some("-12.50")),
            ("$1,200", Point, Some("1200")),
            ("1.5e3", Point, Some("1500")),
            ("2E-4", Point, Some("0.0002")),
            (".5", Point, Some(".5")),
            ("1,23", Point, None),
            ("1.2.3", Point, None),
            ("12.5", Comma, None),
            ("1e400", Point, None),
            ("--1", Point, None),
            ("NaN", Point, None),
            ("-", Point, None),
            ("", Point, None),
        ] {
            assert_eq!(read(text, mark).as_deref(), expected, "{text}");
        }
    }
}
