//! The read-out of a randomised test of two arms.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{cells, tidy};
use crate::outcome::check::{RATIO_LIMIT, sample_ratio};
use crate::outcome::distribution::{critical, two_sided};
use crate::outcome::sample::{Sample, StatError, welch};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// Fewest players on either side of a proportion for which the normal approximation is fair.
const FEW: f64 = 10.0;

#[derive(Deserialize)]
struct Arguments {
    metric_type: String,
    control_n: Option<u64>,
    control_successes: Option<u64>,
    control_mean: Option<f64>,
    control_sd: Option<f64>,
    treatment_n: Option<u64>,
    treatment_successes: Option<u64>,
    treatment_mean: Option<f64>,
    treatment_sd: Option<f64>,
    dataset: Option<String>,
    #[serde(default = "ninety_five")]
    confidence_pct: f64,
    #[serde(default = "fifty")]
    expected_treatment_share_pct: f64,
}

fn ninety_five() -> f64 {
    95.0
}

fn fifty() -> f64 {
    50.0
}

/// One arm: players, mean per player and variance per player (n − 1).
#[derive(Debug, Clone, Copy)]
struct Arm {
    n: f64,
    mean: f64,
    variance: f64,
}

/// What a test says about the difference, in the unit of the means.
struct Reading {
    half_width: f64,
    statistic: f64,
    freedom: Option<f64>,
    p: f64,
}

fn flat() -> ToolError {
    ToolError::invalid("", "both arms show the same value for everyone; there is nothing to test")
}

/// Unpooled Wald interval and pooled z test of two proportions.
fn proportions(c: Arm, t: Arm, alpha: f64) -> Result<Reading, ToolError> {
    let wald = (c.mean * (1.0 - c.mean) / c.n + t.mean * (1.0 - t.mean) / t.n).sqrt();
    let pool = (c.mean * c.n + t.mean * t.n) / (c.n + t.n);
    let error = (pool * (1.0 - pool) * (1.0 / c.n + 1.0 / t.n)).sqrt();
    if error <= 0.0 {
        return Err(flat());
    }
    let statistic = (t.mean - c.mean) / error;
    let half_width = critical(alpha, None) * wald;
    Ok(Reading { half_width, statistic, freedom: None, p: two_sided(statistic, None) })
}

/// Welch's t test with its interval.
fn means(c: Arm, t: Arm, alpha: f64) -> Result<Reading, ToolError> {
    let sample = |a: Arm| Sample { n: a.n, mean: a.mean, squares: a.variance * (a.n - 1.0) };
    let found = welch(&sample(c), &sample(t), alpha).map_err(|error| match error {
        StatError::Flat => flat(),
        other => ToolError::invalid("", other.to_string()),
    })?;
    Ok(Reading {
        half_width: found.high - found.estimate,
        statistic: found.estimate / found.error,
        freedom: found.freedom,
        p: found.p,
    })
}

#[expect(clippy::cast_precision_loss, reason = "the schema keeps counts below 2^53")]
fn float(n: u64) -> f64 {
    n as f64
}

fn inline(args: &Arguments) -> Result<(Arm, Arm), ToolError> {
    let need = |name: &str| ToolError::invalid(format!("/{name}"), format!("{name} is missing"));
    let arm = |name: &str, n: Option<u64>, hits: Option<u64>, mean: Option<f64>, sd| {
        let n = n.ok_or_else(|| need(&format!("{name}_n")))?;
        if args.metric_type == "mean" {
            let mean = mean.ok_or_else(|| need(&format!("{name}_mean")))?;
            let sd: f64 = Option::ok_or_else(sd, || need(&format!("{name}_sd")))?;
            return Ok(Arm { n: float(n), mean, variance: sd * sd });
        }
        let hits = hits.ok_or_else(|| need(&format!("{name}_successes")))?;
        if hits > n {
            return Err(ToolError::invalid(
                format!("/{name}_successes"),
                format!("{hits} successes of {n} players; at most {n} can be"),
            ));
        }
        let mean = float(hits) / float(n);
        Ok(Arm { n: float(n), mean, variance: mean * (1.0 - mean) })
    };
    Ok((
        arm("control", args.control_n, args.control_successes, args.control_mean, args.control_sd)?,
        arm(
            "treatment",
            args.treatment_n,
            args.treatment_successes,
            args.treatment_mean,
            args.treatment_sd,
        )?,
    ))
}

fn summed(sample: &Sample, name: &str) -> Result<Arm, ToolError> {
    if sample.n < 2.0 {
        return Err(ToolError::no_data(format!("the {name} arm has fewer than two players")));
    }
    Ok(Arm { n: sample.n, mean: sample.mean, variance: sample.variance() })
}

fn read(
    context: &ToolContext<'_>,
    id: &str,
    window: &Window,
    proportion: bool,
) -> Result<(Arm, Arm), ToolError> {
    let table = context.datasets.table(id, window)?;
    let (who, arm, value) =
        (table.column("player_id")?, table.column("arm")?, table.column("value")?);
    let (mut control, mut treatment) = (Sample::default(), Sample::default());
    let mut seen = HashSet::new();
    for row in &table.rows {
        if !seen.insert(row[who].as_str()) {
            return Err(ToolError::invalid(
                "/dataset",
                format!("player `{}` has several rows; an experiment table has one", row[who]),
            ));
        }
        let number = cells::number(&row[value], "/dataset")?;
        if proportion && number != 0.0 && number != 1.0 {
            return Err(ToolError::invalid(
                "/dataset",
                format!("value `{number}` is neither 0 nor 1, as a proportion needs"),
            ));
        }
        match row[arm].as_str() {
            "control" => control.add(number),
            "treatment" => treatment.add(number),
            other => {
                return Err(ToolError::invalid(
                    "/dataset",
                    format!("arm `{other}` is neither control nor treatment"),
                ));
            }
        }
    }
    if table.rows.is_empty() {
        return Err(ToolError::no_data(format!("{id} has no players in this window")));
    }
    Ok((summed(&control, "control")?, summed(&treatment, "treatment")?))
}

fn cautions(c: Arm, t: Arm, proportion: bool, srm: Option<f64>) -> Vec<Value> {
    let mut warnings = Vec::new();
    if let Some(p) = srm {
        warnings.push(warning(
            "sample_ratio_mismatch",
            format!("The arms' sizes do not fit the plan (p = {p:.2e}); find the cause before reading the result."),
        ));
    }
    let rare = |arm: Arm| arm.n * arm.mean.min(1.0 - arm.mean) < FEW;
    if proportion && (rare(c) || rare(t)) {
        warnings.push(warning(
            "small_sample",
            format!("An arm has fewer than {FEW} players on one side; the interval is rough."),
        ));
    }
    if !proportion && c.n.min(t.n) < 30.0 {
        warnings.push(warning(
            "small_sample",
            "An arm has fewer than 30 players; a skewed metric makes the interval rough.",
        ));
    }
    warnings
}

/// Compares the arms of a randomised test.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ numbers are missing, more successes than players, or nothing
/// varies; [`ToolError::NoData`] ⇐ an arm has fewer than two players.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let proportion = args.metric_type == "proportion";
    let (control, treatment) = match &args.dataset {
        Some(id) => read(context, id, &window, proportion)?,
        None => inline(&args)?,
    };
    let alpha = 1.0 - args.confidence_pct / 100.0;
    let reading = if proportion {
        proportions(control, treatment, alpha)?
    } else {
        means(control, treatment, alpha)?
    };
    let scale = if proportion { 100.0 } else { 1.0 };
    let difference = (treatment.mean - control.mean) * scale;
    let half_width = reading.half_width * scale;
    let lift = (control.mean != 0.0).then(|| difference / (control.mean.abs() * scale) * 100.0);
    let share = args.expected_treatment_share_pct / 100.0;
    let srm = sample_ratio(control.n, treatment.n, share);
    let numbers = [difference, half_width, reading.statistic, reading.p, srm, lift.unwrap_or(0.0)];
    if numbers.iter().any(|number| !number.is_finite()) {
        return Err(ToolError::invalid("", "the numbers are too large to compare"));
    }
    let detected = srm < RATIO_LIMIT;
    Ok(json!({
        "metric_type": args.metric_type,
        "unit": if proportion { "percentage_points" } else { "metric_unit" },
        "control_value": tidy(control.mean * scale),
        "treatment_value": tidy(treatment.mean * scale),
        "difference": tidy(difference),
        "ci_low": tidy(difference - half_width),
        "ci_high": tidy(difference + half_width),
        "relative_lift_pct": lift.map(tidy),
        "statistic": tidy(reading.statistic),
        "degrees_of_freedom": reading.freedom.map(tidy),
        "p_value": reading.p,
        "significant": (!detected).then_some(reading.p < alpha),
        "control_n": whole(control.n),
        "treatment_n": whole(treatment.n),
        "srm_p_value": srm,
        "srm_detected": detected,
        "method": if proportion {
            "Unpooled Wald interval, pooled two-sided z test"
        } else {
            "Welch two-sided t test and interval"
        },
        "warnings": cautions(control, treatment, proportion, detected.then_some(srm)),
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole and below 2^53"
)]
fn whole(n: f64) -> u64 {
    n as u64
}
