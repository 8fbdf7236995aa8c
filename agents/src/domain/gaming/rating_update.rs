//! A player's rating after the games of a period.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use skillratings::Outcomes;
use skillratings::elo::{EloRating, expected_score};
use skillratings::glicko2::{Glicko2Config, Glicko2Rating, glicko2_rating_period};
use skillratings::weng_lin::{WengLinConfig, WengLinRating, weng_lin_rating_period};

use super::rating_predict::BETA;
use super::{cells, tidy};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// Smallest share of its variance that OpenSkill leaves a player after a game.
const KAPPA: f64 = 1e-4;

#[derive(Deserialize)]
struct Arguments {
    system: String,
    rating: f64,
    deviation: Option<f64>,
    #[serde(default = "usual_volatility")]
    volatility: f64,
    results: Option<Vec<Game>>,
    dataset: Option<String>,
    player_id: Option<String>,
    #[serde(default = "usual_glicko_tau")]
    glicko_tau: f64,
    #[serde(default = "usual_k")]
    k_factor: f64,
    #[serde(default = "usual_openskill_tau")]
    openskill_tau: f64,
}

/// One game, seen from the player.
#[derive(Debug, Clone, Deserialize)]
struct Game {
    opponent_rating: f64,
    opponent_deviation: Option<f64>,
    score: f64,
}

/// What the games made of the player.
struct After {
    rating: f64,
    deviation: Option<f64>,
    volatility: Option<f64>,
}

fn usual_volatility() -> f64 {
    0.06
}

fn usual_glicko_tau() -> f64 {
    0.5
}

fn usual_k() -> f64 {
    32.0
}

fn usual_openskill_tau() -> f64 {
    25.0 / 300.0
}

fn outcome(score: f64) -> Outcomes {
    if score > 0.75 {
        Outcomes::WIN
    } else if score < 0.25 {
        Outcomes::LOSS
    } else {
        Outcomes::DRAW
    }
}

/// Reads the player's games from the match table, oldest first.
fn read(
    context: &ToolContext<'_>,
    id: &str,
    player: &str,
    window: &Window,
) -> Result<Vec<Game>, ToolError> {
    let table = context.datasets.table(id, window)?;
    let (who, at) = (table.column("player_id")?, table.column("ended_at")?);
    let (rating, score) = (table.column("opponent_rating")?, table.column("score")?);
    let deviation = table.find("opponent_deviation");
    let mut games: Vec<(Timestamp, Game)> = Vec::new();
    for row in table.rows.iter().filter(|row| row[who] == player) {
        let ended = cells::instant(&row[at], "/dataset")?;
        if !window.contains(ended) {
            continue;
        }
        let score = cells::number(&row[score], "/dataset")?;
        if ![0.0, 0.5, 1.0].contains(&score) {
            return Err(ToolError::invalid(
                "/dataset",
                format!("score `{score}` is none of 1 (win), 0.5 (draw), 0 (loss)"),
            ));
        }
        let deviation = deviation.map(|column| row[column].as_str()).filter(|c| !c.is_empty());
        games.push((
            ended,
            Game {
                opponent_rating: cells::number(&row[rating], "/dataset")?,
                opponent_deviation: deviation
                    .map(|cell| cells::number(cell, "/dataset"))
                    .transpose()?,
                score,
            },
        ));
    }
    if games.is_empty() {
        return Err(ToolError::no_data(format!("{id} has no games of player `{player}`")));
    }
    games.sort_by_key(|(ended, _)| *ended);
    Ok(games.into_iter().map(|(_, game)| game).collect())
}

/// Returns the player's own deviation and those of the opponents, which only Elo does without.
fn deviations(args: &Arguments, games: &[Game]) -> Result<(f64, Vec<f64>), ToolError> {
    let own = args.deviation.ok_or_else(|| {
        ToolError::invalid("/deviation", format!("{} needs the deviation", args.system))
    })?;
    let theirs = games
        .iter()
        .map(|game| {
            game.opponent_deviation.filter(|deviation| *deviation > 0.0).ok_or_else(|| {
                let message = format!("{} needs every opponent's deviation above 0", args.system);
                ToolError::invalid("/results", message)
            })
        })
        .collect::<Result<_, _>>()?;
    Ok((own, theirs))
}

/// All games count against the rating before the period.
///
/// # Source
/// Elo 1978, *The Rating of Chessplayers*: `R' = R + K·Σ(S − E)`.
fn elo(args: &Arguments, games: &[Game]) -> After {
    let player = EloRating { rating: args.rating };
    let surplus: f64 = games
        .iter()
        .map(|game| {
            let (expected, _) =
                expected_score(&player, &EloRating { rating: game.opponent_rating });
            game.score - expected
        })
        .sum();
    After { rating: args.rating + args.k_factor * surplus, deviation: None, volatility: None }
}

/// # Source
/// Glickman 2022, *Example of the Glicko-2 system*; all games in one period.
fn glicko2(args: &Arguments, games: &[Game]) -> Result<After, ToolError> {
    let (own, theirs) = deviations(args, games)?;
    let player = Glicko2Rating { rating: args.rating, deviation: own, volatility: args.volatility };
    let games: Vec<(Glicko2Rating, Outcomes)> = games
        .iter()
        .zip(theirs)
        .map(|(game, deviation)| {
            let opponent =
                Glicko2Rating { rating: game.opponent_rating, deviation, volatility: 0.06 };
            (opponent, outcome(game.score))
        })
        .collect();
    let config = Glicko2Config { tau: args.glicko_tau, convergence_tolerance: 1e-9 };
    let after = glicko2_rating_period(&player, &games, &config);
    Ok(After {
        rating: after.rating,
        deviation: Some(after.deviation),
        volatility: Some(after.volatility),
    })
}

/// # Source
/// Weng and Lin 2011, *A Bayesian approximation method for online ranking* (JMLR 12), Bradley-Terry
/// full; before each game both sides' variance grows by the dynamics term, as in OpenSkill.
fn openskill(args: &Arguments, games: &[Game]) -> Result<After, ToolError> {
    let (own, theirs) = deviations(args, games)?;
    let config = WengLinConfig { beta: BETA, uncertainty_tolerance: KAPPA };
    let grown = |sigma: f64| sigma.hypot(args.openskill_tau);
    let (mut rating, mut sigma) = (args.rating, own);
    for (game, deviation) in games.iter().zip(theirs) {
        // Only the gap counts; measured from the player, no exponential overflows.
        let player = WengLinRating { rating: 0.0, uncertainty: grown(sigma) };
        let opponent =
            WengLinRating { rating: game.opponent_rating - rating, uncertainty: grown(deviation) };
        let game = [(opponent, outcome(game.score))];
        let after = weng_lin_rating_period(&player, &game, &config);
        rating += after.rating;
        sigma = after.uncertainty;
    }
    Ok(After { rating, deviation: Some(sigma), volatility: None })
}

/// Computes the new rating of one player.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a deviation that the system needs is absent, or the ratings lie so
/// far apart that a game tells nothing; [`ToolError::NoData`] ⇐ no games of this player.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let games = match (&args.results, &args.dataset, &args.player_id) {
        (Some(results), ..) => results.clone(),
        (None, Some(id), Some(player)) => read(context, id, player, &window)?,
        _ => return Err(ToolError::invalid("", "give results, or dataset and player_id")),
    };
    let (after, method) = match args.system.as_str() {
        "elo" => (
            elo(&args, &games),
            format!("Elo, K {}, all games against the rating before them", args.k_factor),
        ),
        "glicko2" => (
            glicko2(&args, &games)?,
            format!("Glicko-2 (Glickman 2022), tau {}, one rating period", args.glicko_tau),
        ),
        _ => (
            openskill(&args, &games)?,
            "Weng-Lin Bradley-Terry full (JMLR 2011), games in order, beta 25/6".to_owned(),
        ),
    };
    let told = [Some(after.rating), after.deviation, after.volatility];
    if told.into_iter().flatten().any(|value| !value.is_finite()) {
        return Err(ToolError::invalid(
            "/results",
            "the ratings lie too far apart for this system; check their scale",
        ));
    }
    let mut warnings = Vec::new();
    if args.system == "glicko2" && games.len() > 64 {
        warnings.push(warning(
            "long_period",
            format!("{} games in one period; Glicko-2 is meant for some 10 to 15.", games.len()),
        ));
    }
    Ok(json!({
        "system": args.system,
        "rating": tidy(after.rating),
        "deviation": after.deviation.map(tidy),
        "volatility": after.volatility.map(tidy),
        "rating_change": tidy(after.rating - args.rating),
        "games": games.len(),
        "method": method,
        "warnings": warnings,
    }))
}
