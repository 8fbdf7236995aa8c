//! Replace a wear-out part now, or wait for its next interval.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use serde::Deserialize;
use serde_json::{Value, json};

use super::weibull::{Life, Weibull, fit};
use crate::tool::{Table, ToolContext, ToolError, Window, decode, money, warning};

/// Failures below which a fit is told to be rough.
const FEW_FAILURES: usize = 10;

#[derive(Deserialize)]
struct Arguments {
    shape: Option<f64>,
    scale: Option<f64>,
    dataset: Option<String>,
    lives: Option<Vec<InlineLife>>,
    age: f64,
    horizon: f64,
    planned_cost: Option<String>,
    failure_cost: Option<String>,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct InlineLife {
    life: f64,
    failed: bool,
}

/// The law that is used, and how many lives it rests on.
struct Law {
    weibull: Weibull,
    counts: Option<(usize, usize)>,
}

/// What a decision costs, by currency.
struct Costs {
    planned: Decimal,
    failure: Decimal,
    currency: String,
}

/// Reads the lives of a table with the columns `life` and `failed`.
fn of_table(table: &Table) -> Result<Vec<Life>, ToolError> {
    let (life, failed) = (table.column("life")?, table.column("failed")?);
    let rows = table.rows.iter().enumerate();
    rows.map(|(line, row)| {
        let bad = |what: &str, text: &str| {
            ToolError::invalid("/dataset", format!("line {}: `{text}` is no {what}", line + 2))
        };
        let length = row[life].parse::<f64>().ok().filter(|life| life.is_finite() && *life > 0.0);
        let failed = match row[failed].to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => true,
            "false" | "0" | "no" => false,
            _ => return Err(bad("answer to whether it failed", &row[failed])),
        };
        Ok(Life { life: length.ok_or_else(|| bad("life above 0", &row[life]))?, failed })
    })
    .collect()
}

fn law(args: &Arguments, arguments: &Value, context: &ToolContext<'_>) -> Result<Law, ToolError> {
    if let (Some(shape), Some(scale)) = (args.shape, args.scale) {
        return Ok(Law { weibull: Weibull { shape, scale }, counts: None });
    }
    let lives = match (&args.dataset, &args.lives) {
        (Some(id), _) => {
            of_table(&context.datasets.table(id, &Window::from_arguments(arguments)?)?)?
        }
        (None, Some(lives)) => {
            lives.iter().map(|life| Life { life: life.life, failed: life.failed }).collect()
        }
        (None, None) => {
            return Err(ToolError::invalid("", "shape and scale, or lives, are needed"));
        }
    };
    let failures = lives.iter().filter(|life| life.failed).count();
    if failures == 0 {
        return Err(ToolError::no_data("no part of the list has failed, so no law can be fitted"));
    }
    let weibull = fit(&lives).ok_or_else(|| {
        ToolError::no_data("the lives do not spread enough to tell a shape; give more failures")
    })?;
    Ok(Law { weibull, counts: Some((failures, lives.len() - failures)) })
}

fn costs(args: &Arguments) -> Result<Option<Costs>, ToolError> {
    let (Some(planned), Some(failure), Some(currency)) =
        (&args.planned_cost, &args.failure_cost, &args.currency)
    else {
        return Ok(None);
    };
    let read = |text: &str, at: &str| match money::parse(text, at)? {
        cost if cost.is_sign_negative() && !cost.is_zero() => {
            Err(ToolError::invalid(at, "a cost is not below 0"))
        }
        cost => Ok(cost),
    };
    Ok(Some(Costs {
        planned: read(planned, "/planned_cost")?,
        failure: read(failure, "/failure_cost")?,
        currency: currency.clone(),
    }))
}

/// Returns an amount as a float for the search of an age.
fn float(amount: Decimal) -> f64 {
    amount.to_string().parse().unwrap_or(f64::NAN)
}

fn warnings(args: &Arguments, law: &Law, best: Option<f64>) -> Vec<Value> {
    let mut warnings = Vec::new();
    if let Some((failures, _)) = law.counts.filter(|(failures, _)| *failures < FEW_FAILURES) {
        warnings.push(warning(
            "few_failures",
            format!("The law rests on {failures} failures; its figures are rough."),
        ));
    }
    if law.weibull.shape <= 1.0 {
        warnings.push(warning(
            "no_wear_out",
            "With a shape of at most 1 a new part fails no less than an old one; planned replacement gains nothing.",
        ));
    }
    if best.is_some_and(|best| args.age > best) {
        warnings
            .push(warning("past_best_age", "The part is older than the best age to replace it."));
    }
    warnings
}

/// Weighs a planned replacement against waiting for the next interval.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no failure among the lives, or no dataset; [`ToolError::InvalidInput`] ⇐
/// a cost below 0, a cell that does not read, or numbers too large to be a life.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    if !(args.age + args.horizon).is_finite() {
        return Err(ToolError::invalid("/age", "age and horizon are too large"));
    }
    let costs = costs(&args)?;
    let law = law(&args, arguments, context)?;
    let p_fail = law.weibull.fails_within(args.age, args.horizon);
    let too_large = || ToolError::invalid("/failure_cost", "the cost is too large");
    let expected = costs
        .as_ref()
        .map(|costs| {
            let p = Decimal::from_f64(p_fail).ok_or_else(too_large)?;
            let cost = p.checked_mul(costs.failure).ok_or_else(too_large)?;
            Ok(money::round(cost, &costs.currency))
        })
        .transpose()?;
    let saving = expected.zip(costs.as_ref()).map(|(expected, costs)| expected - costs.planned);
    let best = costs
        .as_ref()
        .and_then(|costs| law.weibull.best_age(float(costs.planned), float(costs.failure)));
    let say = |amount: Option<Decimal>| {
        amount.zip(args.currency.as_deref()).map(|(amount, code)| money::format(amount, code))
    };
    let choice = saving.map(|saving| if saving > Decimal::ZERO { "replace_now" } else { "wait" });
    Ok(json!({
        "shape": law.weibull.shape,
        "scale": law.weibull.scale,
        "fitted": law.counts.is_some(),
        "failures": law.counts.map(|(failures, _)| failures),
        "censored": law.counts.map(|(_, censored)| censored),
        "p_fail": p_fail,
        "survival_at_age": law.weibull.survival(args.age),
        "expected_failure_cost": say(expected),
        "expected_saving": say(saving),
        "recommendation": choice,
        "optimal_replacement_age": best,
        "currency": args.currency,
        "method": "Conditional Weibull 1 - R(age+horizon)/R(age); maximum likelihood with right censoring; age replacement after Barlow and Hunter",
        "warnings": warnings(&args, &law, best),
    }))
}
