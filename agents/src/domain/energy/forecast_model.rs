//! Models of a load series: seasonal naive and ridge regression on calendar and lags.

use super::number::count;

/// Penalty of the standardised coefficients.
const RIDGE_PENALTY: f64 = 1.0;
/// Harmonics of the season among the features.
const HARMONICS: usize = 3;

/// Repeats the last season.
pub(super) fn seasonal_naive(history: &[f64], season: usize, horizon: usize) -> Vec<f64> {
    let last = &history[history.len() - season..];
    (0..horizon).map(|h| last[h % season]).collect()
}

/// Forecasts by ridge regression on the season's harmonics and the values one and two seasons ago.
///
/// Steps beyond one season feed on earlier forecasts. Returns `None` when the history is too short
/// for the features.
pub(super) fn ridge(history: &[f64], season: usize, horizon: usize) -> Option<Vec<f64>> {
    let first = 2 * season;
    let rows: Vec<Vec<f64>> =
        (first..history.len()).map(|t| features(history, t, season)).collect();
    let width = rows.first()?.len();
    if rows.len() < 2 * width {
        return None;
    }
    let n = count(rows.len());
    let mean: Vec<f64> =
        (0..width).map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / n).collect();
    let deviation: Vec<f64> = (0..width)
        .map(|j| {
            let variance = rows.iter().map(|row| (row[j] - mean[j]).powi(2)).sum::<f64>() / n;
            if variance > 1e-18 { variance.sqrt() } else { 1.0 }
        })
        .collect();
    let scaled = |row: &[f64]| -> Vec<f64> {
        row.iter().enumerate().map(|(j, x)| (x - mean[j]) / deviation[j]).collect()
    };
    let target_mean = history[first..].iter().sum::<f64>() / n;
    let mut normal = vec![vec![0.0; width]; width];
    let mut right = vec![0.0; width];
    for (row, y) in rows.iter().map(|row| scaled(row)).zip(&history[first..]) {
        for i in 0..width {
            right[i] += row[i] * (y - target_mean);
            for j in 0..width {
                normal[i][j] += row[i] * row[j];
            }
        }
    }
    for (i, row) in normal.iter_mut().enumerate() {
        row[i] += RIDGE_PENALTY;
    }
    let weights = solve(normal, right)?;
    let mut series = history.to_vec();
    for _ in 0..horizon {
        let row = scaled(&features(&series, series.len(), season));
        let y = target_mean + row.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>();
        series.push(y.max(0.0));
    }
    Some(series.split_off(history.len()))
}

/// Returns the features of step `t`, which looks back two seasons.
fn features(series: &[f64], t: usize, season: usize) -> Vec<f64> {
    let mut row = vec![series[t - season], series[t - 2 * season]];
    let phase = std::f64::consts::TAU * count(t % season) / count(season);
    for k in 1..=HARMONICS {
        row.push((count(k) * phase).sin());
        row.push((count(k) * phase).cos());
    }
    row
}

/// Solves a small symmetric positive definite system by elimination with pivoting.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for column in 0..n {
        let pivot =
            (column..n).max_by(|i, j| a[*i][column].abs().total_cmp(&a[*j][column].abs()))?;
        if a[pivot][column].abs() < 1e-12 {
            return None;
        }
        a.swap(column, pivot);
        b.swap(column, pivot);
        let (above, below) = a.split_at_mut(column + 1);
        let pivot_row = &above[column];
        for (offset, row) in below.iter_mut().enumerate() {
            let factor = row[column] / pivot_row[column];
            for (cell, pivot_cell) in row.iter_mut().zip(pivot_row).skip(column) {
                *cell -= factor * pivot_cell;
            }
            b[column + 1 + offset] -= factor * b[column];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| a[row][k] * b[k]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    Some(b)
}

/// Returns the quantile of sorted values by linear interpolation.
///
/// # Source
/// Hyndman and Fan (1996), type 7.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = q * count(last);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the slice")]
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (position - count(below)) * (sorted[above] - sorted[below])
}

/// Returns the mean absolute difference of two series of one length.
pub(super) fn mean_absolute_error(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).sum::<f64>() / count(left.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ridge_follows_growth_that_seasonal_naive_misses() {
        let history: Vec<f64> =
            (0..96).map(|t| 100.0 + f64::from(t) + 20.0 * (f64::from(t % 12)).sin()).collect();
        let truth = &history[84..];
        let naive = seasonal_naive(&history[..84], 12, 12);
        let ridge = ridge(&history[..84], 12, 12).unwrap();
        assert!(mean_absolute_error(&ridge, truth) < mean_absolute_error(&naive, truth));
    }

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        assert!((quantile(&[1.0, 2.0, 3.0, 4.0], 0.5) - 2.5).abs() < 1e-12);
    }
}
