//! Quantiles and tail probabilities that every read-out shares.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Degrees of freedom above which Student's t is read from the normal by Wallace's formula; the
/// continued fraction of the incomplete beta needs too many terms there.
const MANY: f64 = 20_000.0;

/// Returns the two-sided p-value of `|statistic|` under Student's t with `freedom` degrees, or the
/// normal where it is absent; 1 for what is no number.
///
/// # Source
/// Wallace 1959, *Bounds on normal approximations to Student's and the chi-square distributions*,
/// for many degrees of freedom.
pub fn two_sided(statistic: f64, freedom: Option<f64>) -> f64 {
    let size = statistic.abs();
    if size.is_nan() {
        return 1.0;
    }
    let tail = match freedom {
        Some(df) if df <= MANY => StudentsT::new(0.0, 1.0, df).map(|student| student.sf(size)),
        Some(df) => {
            let z = (8.0 * df + 1.0) / (8.0 * df + 3.0) * (df * (size * size / df).ln_1p()).sqrt();
            Ok(Normal::standard().sf(z))
        }
        None => Ok(Normal::standard().sf(size)),
    };
    tail.map_or(1.0, |tail| (2.0 * tail).min(1.0))
}

/// Returns the value that `|t|` exceeds with probability `alpha`: bisection, so that it always ends.
pub fn critical(alpha: f64, freedom: Option<f64>) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while two_sided(high, freedom) > alpha && high < 1e9 {
        low = high;
        high *= 2.0;
    }
    // Forty halvings of an interval of a few units leave less than 1e-11.
    for _ in 0..44 {
        let middle = f64::midpoint(low, high);
        if two_sided(middle, freedom) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Converts a count.
#[expect(clippy::cast_precision_loss, reason = "counts of units stay far below 2^53")]
pub fn count(n: usize) -> f64 {
    n as f64
}
