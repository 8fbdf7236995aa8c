//! A ladder whose players have a true skill, and a queue with a perfectly fair split.

use rand::RngExt as _;
use serde_json::json;

use super::{Chance, DAY, Demo, Rows, at, normal};

/// Players whose games are listed.
const PLAYERS: usize = 60;

/// Error of the rating before the period, rating points.
const BEFORE: f64 = 120.0;

/// Games of each in one rating period.
const GAMES: usize = 15;

/// Generates `demo_matches` and `demo_queue`; the truth holds each player's skill and rating
/// before the period on the Glicko scale, and the two teams of equal sums.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let mut games = Rows::new("player_id,ended_at,opponent_rating,opponent_deviation,score");
    let mut skills = serde_json::Map::new();
    for i in 0..PLAYERS {
        let player = format!("l{}", 500 + i);
        let skill = 1500.0 + 250.0 * normal(chance);
        let before = skill + BEFORE * normal(chance);
        for game in 0..GAMES {
            // Opponents are measured with an error; the game is played by what they are.
            let opponent = skill + 150.0 * normal(chance);
            let measured = opponent + 50.0 * normal(chance);
            let wins = chance.random_bool(1.0 / (1.0 + 10_f64.powf((opponent - skill) / 400.0)));
            let day = 70 + i64::try_from(game).unwrap_or_default() % 7;
            let time = at(day * DAY + chance.random_range(0..DAY));
            games.push(&format!("{player},{time},{measured:.0},50,{}", u8::from(wins)));
        }
        skills.insert(player, json!({ "skill": skill.round(), "rating_before": before.round() }));
    }
    let mut queue = Rows::new("queue_id,player_id,rating,deviation");
    let (mut red, mut blue) = (Vec::new(), Vec::new());
    for i in 0..5_i64 {
        // Each of the one team has a twin gap in the other; the gaps sum to nothing.
        let rating = 1400 + 37 * i + chance.random_range(0..20);
        let gap = [-60, -25, 0, 35, 50][usize::try_from(i).unwrap_or_default()];
        for (team, id, rating) in
            [(&mut red, format!("red{i}"), rating), (&mut blue, format!("blu{i}"), rating + gap)]
        {
            queue.push(&format!("ranked,{id},{rating},70"));
            team.push(id);
        }
    }
    let datasets = vec![games.into_dataset("demo_matches"), queue.into_dataset("demo_queue")];
    let truth = json!({
        "demo_matches": { "players": skills, "deviation_before": BEFORE },
        "demo_queue": { "red": red, "blue": blue },
    });
    Demo { datasets, truth }
}
