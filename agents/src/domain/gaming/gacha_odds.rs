//! Odds of a paid random draw with pity.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tidy;
use crate::tool::{ToolContext, ToolError, decode, money};

#[derive(Deserialize)]
struct Arguments {
    base_rate_pct: f64,
    hard_pity_pulls: usize,
    soft_pity_start_pull: Option<usize>,
    soft_pity_step_pct: Option<f64>,
    #[serde(default = "hundred")]
    featured_share_pct: f64,
    #[serde(default)]
    guarantee_after_loss: bool,
    #[serde(default)]
    within_pulls: Vec<usize>,
    price_per_pull: Option<String>,
    currency: Option<String>,
}

fn hundred() -> f64 {
    100.0
}

/// Share of wins below which the search for percentiles ends.
const TAIL: f64 = 1e-12;

/// Most pulls that a distribution is followed for.
const MAX_PULLS: usize = 200_000;

/// Returns the chance that the first win of a cycle falls on pull `i + 1`.
fn first_win(args: &Arguments) -> Vec<f64> {
    let base = args.base_rate_pct / 100.0;
    let mut alive = 1.0;
    (1..=args.hard_pity_pulls)
        .map(|pull| {
            let raised = match (args.soft_pity_start_pull, args.soft_pity_step_pct) {
                (Some(start), Some(step)) if pull >= start => {
                    base + step / 100.0 * (pull - start + 1) as f64
                }
                _ => base,
            };
            let rate = if pull == args.hard_pity_pulls { 1.0 } else { raised.min(1.0) };
            let wins = alive * rate;
            alive -= wins;
            wins
        })
        .collect()
}

/// Returns the chance that the wanted item first comes on pull `i + 1`, up to where almost none is
/// left: a win is the featured item with a given share, and after a loss perhaps certainly.
fn wanted(win: &[f64], share: f64, guarantee: bool) -> Vec<f64> {
    let cycle = win.len();
    // `lost[i]`: a win on pull i + 1 that was not the featured item, after which a cycle begins anew.
    let mut lost: Vec<f64> = Vec::new();
    let mut found: Vec<f64> = Vec::new();
    let mut total = 0.0;
    for at in 0..MAX_PULLS {
        let fresh = if at < cycle { win[at] } else { 0.0 };
        let again: f64 = lost
            .iter()
            .enumerate()
            .skip(at.saturating_sub(cycle))
            .map(|(i, chance)| chance * win.get(at - i - 1).copied().unwrap_or(0.0))
            .sum();
        let sure = if guarantee { 1.0 } else { share };
        found.push(fresh * share + again * sure);
        lost.push(fresh * (1.0 - share) + again * (1.0 - sure));
        total += found[at];
        if 1.0 - total < TAIL {
            break;
        }
    }
    found
}

fn check(args: &Arguments) -> Result<(), ToolError> {
    if let Some(start) = args.soft_pity_start_pull
        && start > args.hard_pity_pulls
    {
        return Err(ToolError::invalid(
            "/soft_pity_start_pull",
            format!(
                "soft pity starts at pull {start}, after the hard pity at {}",
                args.hard_pity_pulls
            ),
        ));
    }
    Ok(())
}

/// Computes the exact distribution of the first wanted item.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ soft pity starts after hard pity.
///
/// # Source
/// First-passage distribution of a renewal process; no simulation.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    check(&args)?;
    let win = first_win(&args);
    let mean_cycle: f64 = win.iter().enumerate().map(|(i, p)| (i + 1) as f64 * p).sum();
    let share = args.featured_share_pct / 100.0;
    let found = wanted(&win, share, args.guarantee_after_loss);
    // By Wald's identity: cycles until the featured item times pulls of a cycle.
    let cycles = if args.guarantee_after_loss { 2.0 - share } else { 1.0 / share };
    let expected = mean_cycle * cycles;
    let mut sum = 0.0;
    let cumulative: Vec<f64> = found
        .iter()
        .map(|p| {
            sum += p;
            sum
        })
        .collect();
    let by = |level: f64| {
        cumulative.iter().position(|p| *p >= level - 1e-12).map_or(cumulative.len(), |i| i + 1)
    };
    let within: Vec<Value> = args
        .within_pulls
        .iter()
        .map(|pulls| {
            let chance = cumulative.get(pulls.saturating_sub(1)).or(cumulative.last());
            let percent = tidy(chance.copied().unwrap_or(0.0).min(1.0) * 100.0);
            json!({ "pulls": pulls, "probability_pct": percent })
        })
        .collect();
    let currency = args.currency.as_deref();
    let cost = match (&args.price_per_pull, currency) {
        (Some(price), Some(currency)) => {
            let price = money::parse(price, "/price_per_pull")?;
            let pulls = Decimal::from_f64(expected).unwrap_or_default();
            Some(money::format(price * pulls, currency))
        }
        _ => None,
    };
    Ok(json!({
        "expected_pulls": tidy(expected),
        "consolidated_rate_pct": tidy(100.0 / mean_cycle),
        "reach_hard_pity_pct": tidy(win.last().copied().unwrap_or(0.0) * 100.0),
        "median_pulls": by(0.5),
        "p90_pulls": by(0.9),
        "within": within,
        "expected_cost": cost,
        "currency": currency,
        "method": "Exact first-win distribution with pity, featured item by convolution",
        "warnings": [],
    }))
}
