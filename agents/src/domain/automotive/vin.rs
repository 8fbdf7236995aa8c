//! The arithmetic of vehicle identification numbers.

/// Weights of positions 1 to 17.
///
/// # Source
/// 49 CFR 565.15, table IV; GB 16735.
const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];

/// Position of the check digit, from 0.
pub(crate) const CHECK: usize = 8;

/// Codes of the model year from 1980 on, repeated every 30 years.
const YEARS: &str = "ABCDEFGHJKLMNPRSTVWXY123456789";

/// Upper case without spaces and hyphens.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '-')).collect::<String>().to_ascii_uppercase()
}

/// Returns the value of a character; `None` for I, O, Q and what is no letter or digit.
fn value(c: char) -> Option<u32> {
    match c {
        '0'..='9' => c.to_digit(10),
        'A'..='H' => Some(u32::from(c) - u32::from('A') + 1),
        'J'..='N' => Some(u32::from(c) - u32::from('J') + 1),
        'P' => Some(7),
        'R' => Some(9),
        'S'..='Z' => Some(u32::from(c) - u32::from('S') + 2),
        _ => None,
    }
}

/// Returns the weighted sum before modulo 11; `None` when a letter has no value.
pub(crate) fn weighted_sum(vin: &str) -> Option<u32> {
    vin.chars().zip(WEIGHTS).map(|(c, weight)| Some(value(c)? * weight)).sum()
}

/// Returns the check digit of a weighted sum.
pub(crate) fn digit(sum: u32) -> char {
    char::from_digit(sum % 11, 10).unwrap_or('X')
}

/// Tells whether position 9 is what the other positions ask for.
pub(super) fn passes(vin: &str) -> bool {
    weighted_sum(vin).is_some_and(|sum| vin.chars().nth(CHECK) == Some(digit(sum)))
}

/// Returns the model years of position 10 between 1980 and 2039.
pub(super) fn years(vin: &str) -> Vec<u32> {
    let code = vin.chars().nth(9).and_then(|c| YEARS.chars().position(|y| y == c));
    code.and_then(|i| u32::try_from(i).ok()).map_or_else(Vec::new, |i| vec![1980 + i, 2010 + i])
}

/// Returns the market that the first character states, where its check digit is mandatory.
pub(super) fn market(vin: &str) -> Option<&'static str> {
    match vin.chars().next()? {
        '1' | '4' | '5' | '7' => Some("US"),
        '2' => Some("CA"),
        'L' => Some("CN"),
        _ => None,
    }
}

/// Returns the region of the first character.
///
/// # Source
/// ISO 3780.
pub(super) fn region(vin: &str) -> &'static str {
    let mut characters = vin.chars();
    match (characters.next(), characters.next()) {
        (Some('A'..='G'), _) => "africa",
        (Some('H' | 'J'..='R'), _) => "asia",
        (Some('S'..='Z'), _) => "europe",
        (Some('7'), Some('A'..='E')) | (Some('6'), _) => "oceania",
        (Some('1'..='5' | '7'), _) => "north_america",
        (Some('8' | '9'), _) => "south_america",
        _ => "unassigned",
    }
}
