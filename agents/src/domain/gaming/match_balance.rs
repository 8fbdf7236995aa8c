//! Two teams of equal size with the smallest difference of rating sums.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{cells, rating_predict, tidy};
use crate::tool::{ToolContext, ToolError, Window, decode};

/// Most players of one match.
const MOST: usize = 12;

/// Differences closer than this are the same, rating points.
const SAME: f64 = 1e-9;

#[derive(Deserialize)]
struct Arguments {
    system: String,
    players: Option<Vec<Player>>,
    dataset: Option<String>,
    queue_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Player {
    player_id: String,
    rating: f64,
    deviation: Option<f64>,
}

fn read(
    context: &ToolContext<'_>,
    id: &str,
    queue: Option<&str>,
) -> Result<Vec<Player>, ToolError> {
    let table = context.datasets.table(id, &Window::default())?;
    let (who, rating) = (table.column("player_id")?, table.column("rating")?);
    let deviation = table.find("deviation");
    let queue = queue.map(|queue| Ok((table.column("queue_id")?, queue))).transpose()?;
    let waiting = table.rows.iter().filter(|row| queue.is_none_or(|(at, id)| row[at] == id));
    let players: Vec<Player> = waiting
        // One more than fits tells that there are too many.
        .take(MOST + 1)
        .map(|row| {
            let cell = deviation.map(|at| row[at].as_str()).filter(|cell| !cell.is_empty());
            Ok(Player {
                player_id: row[who].clone(),
                rating: cells::number(&row[rating], "/dataset")?,
                deviation: cell.map(|cell| cells::number(cell, "/dataset")).transpose()?,
            })
        })
        .collect::<Result<_, ToolError>>()?;
    if players.is_empty() {
        return Err(ToolError::no_data(format!("nobody waits in {id}")));
    }
    Ok(players)
}

fn check(players: &[Player], system: &str) -> Result<(), ToolError> {
    if !(2..=MOST).contains(&players.len()) || !players.len().is_multiple_of(2) {
        return Err(ToolError::invalid(
            "/players",
            format!("{} players; two equal teams need an even number, 2 to {MOST}", players.len()),
        ));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = players.iter().find(|player| !seen.insert(&player.player_id)) {
        return Err(ToolError::invalid(
            "/players",
            format!("player `{}` is there twice", twice.player_id),
        ));
    }
    let unsure = |player: &&Player| player.deviation.is_none_or(|deviation| deviation <= 0.0);
    match players.iter().find(unsure) {
        Some(player) if system != "elo" => Err(ToolError::invalid(
            "/players",
            format!("{system} needs the deviation of player `{}`, above 0", player.player_id),
        )),
        _ => Ok(()),
    }
}

/// The best split and how many are as good.
struct Split {
    /// Bit `i` is set when player `i` is in team A.
    team_a: u32,
    difference: f64,
    ties: usize,
}

/// Tries every split with the first player in team A, in lexicographic order of positions.
fn best(players: &[Player]) -> Split {
    let n = players.len();
    let total: f64 = players.iter().map(|player| player.rating).sum();
    let mut best = Split { team_a: 0, difference: f64::INFINITY, ties: 0 };
    // Counted down, the highest bit is the first player: sets come in lexicographic order.
    for set in (0..1u32 << n).rev() {
        let first = set >> (n - 1) & 1 == 1;
        if !first || set.count_ones() as usize != n / 2 {
            continue;
        }
        let in_a = |i: usize| set >> (n - 1 - i) & 1 == 1;
        let sum: f64 = (0..n).filter(|i| in_a(*i)).map(|i| players[i].rating).sum();
        let difference = (2.0 * sum - total).abs();
        if difference < best.difference - SAME {
            let team_a = (0..n).filter(|i| in_a(*i)).fold(0, |set, i| set | 1 << i);
            best = Split { team_a, difference, ties: 1 };
        } else if difference <= best.difference + SAME {
            best.ties += 1;
        }
    }
    best
}

/// Returns the expected score of team A, 0 to 1, and how it was found.
fn chance(system: &str, a: &[&Player], b: &[&Player]) -> Result<(f64, &'static str), ToolError> {
    let sum = |team: &[&Player]| team.iter().map(|player| player.rating).sum::<f64>();
    let squares = |team: &[&Player]| {
        team.iter().map(|player| player.deviation.unwrap_or(0.0).powi(2)).sum::<f64>()
    };
    let size = cells::count(a.len());
    let gap = sum(a) - sum(b);
    match system {
        "elo" => Ok((rating_predict::logistic(gap / size), "Elo logistic of the team means")),
        "glicko2" => {
            // A mean of independent ratings has the root of their summed variances over n.
            let (a, b) = (squares(a).sqrt() / size, squares(b).sqrt() / size);
            Ok((
                rating_predict::glicko(gap / size, a, b),
                "Glicko expected score of the team means with g of their deviation",
            ))
        }
        _ => {
            let score = rating_predict::openskill(gap, squares(a) + squares(b), 2.0 * size)?;
            Ok((score, "OpenSkill normal model over team sums, beta 25/6"))
        }
    }
}

/// Splits the players and predicts the match.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ an odd or too large number of players, one twice, or a deviation
/// that the system needs is absent; [`ToolError::NoData`] ⇐ the queue is empty or unknown.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let players = match (&args.players, &args.dataset) {
        (Some(players), _) => players.clone(),
        (None, Some(id)) => read(context, id, args.queue_id.as_deref())?,
        _ => return Err(ToolError::invalid("", "give players or dataset")),
    };
    check(&players, &args.system)?;
    let split = best(&players);
    let team = |wanted: u32| -> Vec<&Player> {
        let side = |i: usize| split.team_a >> i & 1 == wanted;
        players.iter().enumerate().filter(|(i, _)| side(*i)).map(|(_, player)| player).collect()
    };
    let (a, b) = (team(1), team(0));
    let (score, model) = chance(&args.system, &a, &b)?;
    let told = |team: &[&Player]| {
        json!({
            "player_ids": team.iter().map(|player| &player.player_id).collect::<Vec<_>>(),
            "rating_sum": tidy(team.iter().map(|player| player.rating).sum()),
        })
    };
    Ok(json!({
        "teams": [told(&a), told(&b)],
        "rating_difference": tidy(split.difference),
        "team_a_win_probability_pct": tidy(score * 100.0),
        "optimal_splits": split.ties,
        "method": format!("Exhaustive search over equal splits; {model}"),
        "warnings": [],
    }))
}
