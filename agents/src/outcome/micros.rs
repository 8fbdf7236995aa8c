//! Exact decimals of six places: amounts, prices, shares, observed values. Nothing that is billed or
//! hashed is ever a floating-point number.
//!
//! Sums and products go through 128 bits; a result that does not fit is an error, never a wrap.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::tool::money::minor_units;

/// Millionths in one.
pub const ONE: i64 = 1_000_000;

/// Largest amount that is accepted, in ones: what JSON readers and sums over many rows still carry.
const LARGEST: i64 = 1_000_000_000_000;

/// Why a number cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MicrosError {
    /// Not a plain decimal number.
    #[error("`{0}` is no decimal number with at most six places, such as \"1250.00\"")]
    Malformed(String),
    /// Beyond 10^12.
    #[error("the amount is beyond {LARGEST}")]
    TooLarge,
    /// Shares that do not make a whole.
    #[error("the shares add up to {0}; they must add up to exactly 1")]
    NotWhole(Micros),
}

/// A decimal number in millionths. Written in JSON as a string (`"12.5"`); read from a string or a
/// number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// One.
    pub const ONE: Self = Self(ONE);

    /// Converts a whole number.
    ///
    /// # Errors
    /// [`MicrosError::TooLarge`].
    pub fn whole(value: i64) -> Result<Self, MicrosError> {
        Self::wide(i128::from(value) * i128::from(ONE))
    }

    fn wide(value: i128) -> Result<Self, MicrosError> {
        let limit = i128::from(LARGEST) * i128::from(ONE);
        if value.abs() > limit {
            return Err(MicrosError::TooLarge);
        }
        i64::try_from(value).map(Self).map_err(|_| MicrosError::TooLarge)
    }

    /// Converts a statistic downwards, so that what is billed is never above it. `None` ⇐ it is not
    /// finite or too large.
    pub fn floor_of(value: f64) -> Option<Self> {
        let scaled = (value * 1e6).floor();
        #[expect(clippy::cast_possible_truncation, reason = "held to what fits")]
        (scaled.abs() < 1e18).then_some(Self(scaled as i64))
    }

    /// Converts a statistic to the nearest. `None` ⇐ it is not finite or too large.
    pub fn nearest(value: f64) -> Option<Self> {
        let scaled = (value * 1e6).round();
        #[expect(clippy::cast_possible_truncation, reason = "held to what fits")]
        (scaled.abs() < 1e18).then_some(Self(scaled as i64))
    }

    /// Returns the nearest floating-point number, for statistics.
    #[expect(clippy::cast_precision_loss, reason = "statistics are floating-point")]
    pub fn float(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Adds.
    ///
    /// # Errors
    /// [`MicrosError::TooLarge`].
    pub fn plus(self, other: Self) -> Result<Self, MicrosError> {
        Self::wide(i128::from(self.0) + i128::from(other.0))
    }

    /// Subtracts.
    ///
    /// # Errors
    /// [`MicrosError::TooLarge`].
    pub fn minus(self, other: Self) -> Result<Self, MicrosError> {
        Self::wide(i128::from(self.0) - i128::from(other.0))
    }

    /// Adds up.
    ///
    /// # Errors
    /// [`MicrosError::TooLarge`].
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Result<Self, MicrosError> {
        all.into_iter().try_fold(Self::ZERO, Self::plus)
    }

    /// Multiplies by another number of this kind, rounded half away from zero.
    ///
    /// # Errors
    /// [`MicrosError::TooLarge`].
    pub fn times(self, other: Self) -> Result<Self, MicrosError> {
        self.scaled(i128::from(other.0), i128::from(ONE))
    }

    /// Returns self × `by` / `over`, rounded half away from zero; `over` must be above 0.
    ///
    /// # Errors
    /// [`MicrosError::TooLarge`], also for `over` ≤ 0.
    pub fn scaled(self, by: i128, over: i128) -> Result<Self, MicrosError> {
        if over <= 0 {
            return Err(MicrosError::TooLarge);
        }
        let product = i128::from(self.0).checked_mul(by).ok_or(MicrosError::TooLarge)?;
        let half = if product < 0 { -(over / 2) } else { over / 2 };
        Self::wide(product.checked_add(half).ok_or(MicrosError::TooLarge)? / over)
    }

    /// Rounds half away from zero to the minor unit of a currency.
    ///
    /// # Errors
    /// [`MicrosError::TooLarge`].
    pub fn rounded(self, currency: &str) -> Result<Self, MicrosError> {
        let quantum = quantum(currency);
        self.scaled(1, quantum)?.scaled(quantum, 1)
    }

    /// Returns the amount with the places of its currency (`1250.00`), rounded.
    pub fn money(self, currency: &str) -> String {
        let places = minor_units(currency) as usize;
        let rounded = self.rounded(currency).unwrap_or(self);
        let sign = if rounded.0 < 0 { "-" } else { "" };
        let (ones, rest) =
            (rounded.0.unsigned_abs() / 1_000_000, rounded.0.unsigned_abs() % 1_000_000);
        if places == 0 {
            return format!("{sign}{ones}");
        }
        format!("{sign}{ones}.{}", &format!("{rest:06}")[..places.min(6)])
    }
}

/// Millionths in the minor unit of a currency.
fn quantum(currency: &str) -> i128 {
    10_i128.pow(6 - minor_units(currency).min(6))
}

/// Splits an amount by shares that add up to one. Each part is a whole number of minor units, and the
/// parts add up to the amount, to the last unit: what rounding leaves goes to the largest remainders,
/// the earlier of two equal ones first.
///
/// # Errors
/// [`MicrosError::NotWhole`]; [`MicrosError::Malformed`] ⇐ the amount has a fraction of a minor unit;
/// [`MicrosError::TooLarge`].
///
/// # Source
/// Balinski and Young 1982, *Fair representation* (Hamilton's method).
pub fn split(
    amount: Micros,
    shares: &[Micros],
    currency: &str,
) -> Result<Vec<Micros>, MicrosError> {
    let whole: i128 = shares.iter().map(|share| i128::from(share.0)).sum();
    if whole != i128::from(ONE) || shares.iter().any(|share| share.0 < 0) {
        return Err(MicrosError::NotWhole(Micros::wide(whole)?));
    }
    let quantum = quantum(currency);
    if i128::from(amount.0) % quantum != 0 {
        return Err(MicrosError::Malformed(amount.to_string()));
    }
    let (sign, units) = (i128::from(amount.0.signum()), i128::from(amount.0).abs() / quantum);
    let exact: Vec<i128> = shares.iter().map(|share| units * i128::from(share.0)).collect();
    let mut parts: Vec<i128> = exact.iter().map(|e| e / i128::from(ONE)).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(exact[*i] % i128::from(ONE)));
    let left = units - parts.iter().sum::<i128>();
    for i in order.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        parts[i] += 1;
    }
    parts.into_iter().map(|part| Micros::wide(sign * part * quantum)).collect()
}

impl FromStr for Micros {
    type Err = MicrosError;

    fn from_str(text: &str) -> Result<Self, MicrosError> {
        let malformed = || MicrosError::Malformed(text.chars().take(60).collect());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (ones, rest) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let shaped =
            (1..=16).contains(&ones.len()) && rest.len() <= 6 && plain(ones) && plain(rest);
        if !shaped || (digits.contains('.') && rest.is_empty()) {
            return Err(malformed());
        }
        let ones: i128 = ones.parse().map_err(|_| malformed())?;
        let rest: i128 = format!("{rest:0<6}").parse().map_err(|_| malformed())?;
        let value = ones * i128::from(ONE) + rest;
        Self::wide(if negative { -value } else { value })
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (ones, rest) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        if rest == 0 {
            return write!(f, "{sign}{ones}");
        }
        write!(f, "{sign}{ones}.{}", format!("{rest:06}").trim_end_matches('0'))
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl de::Visitor<'_> for Reader {
            type Value = Micros;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number with at most six places, as a string or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Micros, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Micros, E> {
                Micros::whole(value).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Micros, E> {
                let value = i64::try_from(value).map_err(|_| E::custom(MicrosError::TooLarge))?;
                Micros::whole(value).map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Micros, E> {
                // The shortest text that reads back as the same number is what the sender wrote.
                value.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_reads_back_and_more_than_six_places_are_refused() {
        for text in ["0", "-0.5", "12.000001", "1000000000000", "3.25"] {
            assert_eq!(text.parse::<Micros>().unwrap().to_string(), text);
        }
        for text in ["", ".5", "1.", "1e3", "0.0000001", "1,5", "+1", "--1", "1000000000001", "NaN"]
        {
            assert!(text.parse::<Micros>().is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<Micros>("0.1").unwrap(), Micros(100_000));
        assert!(serde_json::from_str::<Micros>("1e300").is_err());
        assert_eq!(Micros(-1_234_565_000).money("USD"), "-1234.57");
        assert_eq!(Micros(1_500_000).money("JPY"), "2");
    }

    fn shares() -> impl Strategy<Value = Vec<Micros>> {
        proptest::collection::vec(0..=ONE, 0..6).prop_map(|cuts| {
            let mut cuts = [vec![0, ONE], cuts].concat();
            cuts.sort_unstable();
            cuts.windows(2).map(|pair| Micros(pair[1] - pair[0])).collect()
        })
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole_and_none_is_off_by_a_unit(
            units in -1_000_000_000_000_i64..1_000_000_000_000,
            shares in shares(),
            currency in prop::sample::select(vec!["USD", "JPY", "KWD"]),
        ) {
            let quantum = i64::try_from(quantum(currency)).unwrap();
            let amount = Micros(units / 1000 * quantum);
            let parts = split(amount, &shares, currency).unwrap();
            prop_assert_eq!(Micros::sum(parts.iter().copied()).unwrap(), amount);
            for (part, share) in parts.iter().zip(&shares) {
                prop_assert_eq!(part.0 % quantum, 0);
                let exact = i128::from(amount.0) * i128::from(share.0);
                let off = i128::from(part.0) * i128::from(ONE) - exact;
                prop_assert!(off.abs() < i128::from(quantum) * i128::from(ONE), "{}", off);
            }
        }

        #[test]
        fn rounding_moves_by_half_a_unit_at_most(value in -1_000_000_000_000_i64..1_000_000_000_000) {
            let rounded = Micros(value).rounded("USD").unwrap();
            prop_assert_eq!(rounded.0 % 10_000, 0);
            prop_assert!((rounded.0 - value).abs() <= 5_000);
            prop_assert_eq!(Micros(-value).rounded("USD").unwrap().0, -rounded.0);
        }
    }

    #[test]
    fn shares_that_do_not_make_a_whole_are_refused() {
        let thirds = [Micros(333_333); 3];
        assert_eq!(split(Micros::ONE, &thirds, "USD"), Err(MicrosError::NotWhole(Micros(999_999))));
        assert!(split(Micros(1), &[Micros::ONE], "USD").is_err());
    }
}
