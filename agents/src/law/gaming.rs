//! Laws of the gaming tools.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{Law, call, ensure, items, number};
use crate::demo::Chance;
use crate::pack::Pack;
use crate::tool::ToolContext;

/// Rounding that a rating may carry.
const SLACK: f64 = 1e-6;

pub(super) const LAWS: &[Law] = &[
    Law {
        name: "a better result never leaves a player with a lower rating",
        industry: "gaming",
        tool: "rating_update",
        check: ratings_follow_results,
    },
    Law {
        name: "a win never lowers a rating, a loss never raises it, and a win over a stronger player gains as much or more",
        industry: "gaming",
        tool: "rating_update",
        check: ratings_follow_opponents,
    },
    Law {
        name: "retention lies between 0 and 1 and is players retained over players installed",
        industry: "gaming",
        tool: "cohort_retention",
        check: retention_is_a_share,
    },
    Law {
        name: "rolling retention never rises with the day and is never below classic retention",
        industry: "gaming",
        tool: "cohort_retention",
        check: rolling_retention_falls,
    },
];

/// A rating system with a drawn player and the spread of its opponents.
struct Player {
    system: &'static str,
    rating: f64,
    deviation: Option<f64>,
    spread: f64,
}

impl Player {
    fn draw(chance: &mut Chance) -> Self {
        match chance.random_range(0..3_u8) {
            0 => Self {
                system: "elo",
                rating: f64::from(chance.random_range(800..2400_u32)),
                deviation: None,
                spread: 400.0,
            },
            1 => Self {
                system: "glicko2",
                rating: f64::from(chance.random_range(800..2400_u32)),
                deviation: Some(f64::from(chance.random_range(30..350_u32))),
                spread: 400.0,
            },
            _ => Self {
                system: "openskill",
                rating: f64::from(chance.random_range(50..450_u32)) / 10.0,
                deviation: Some(f64::from(chance.random_range(10..84_u32)) / 10.0),
                spread: 10.0,
            },
        }
    }

    fn game(&self, chance: &mut Chance, opponent: f64, score: f64) -> Value {
        let mut game = json!({ "opponent_rating": opponent, "score": score });
        if let Some(deviation) = self.deviation {
            let share = f64::from(chance.random_range(50..150_u32)) / 100.0;
            game["opponent_deviation"] = json!(deviation * share);
        }
        game
    }

    fn opponent(&self, chance: &mut Chance) -> f64 {
        self.rating + self.spread * chance.random_range(-1.0..1.0)
    }

    fn after(
        &self,
        pack: &Pack,
        context: &ToolContext<'_>,
        games: &[Value],
    ) -> Result<f64, String> {
        let mut arguments =
            json!({ "system": self.system, "rating": self.rating, "results": games });
        if let Some(deviation) = self.deviation {
            arguments["deviation"] = json!(deviation);
        }
        let result = call(pack, context, "rating_update", &arguments)?;
        let (rating, change) = (number(&result["rating"])?, number(&result["rating_change"])?);
        // The printed figures are rounded, so they agree only to their last digit.
        ensure((rating - self.rating - change).abs() < 1e-3, || {
            format!("the change {change} does not lead from {} to {rating}", self.rating)
        })?;
        Ok(rating)
    }
}

/// With all other games equal, the order of the last results is the order of the ratings.
fn ratings_follow_results(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let player = Player::draw(chance);
    let before = chance.random_range(0..5_usize);
    let mut games: Vec<Value> = (0..before)
        .map(|_| {
            let (opponent, score) =
                (player.opponent(chance), [0.0, 0.5, 1.0][chance.random_range(0..3_usize)]);
            player.game(chance, opponent, score)
        })
        .collect();
    let last = player.opponent(chance);
    games.push(player.game(chance, last, 0.0));
    let mut ratings = Vec::new();
    for score in [0.0, 0.5, 1.0] {
        games[before]["score"] = json!(score);
        ratings.push(player.after(pack, context, &games)?);
    }
    ensure(ratings.is_sorted_by(|a, b| a <= b), || {
        format!("{}: expected loss ≤ draw ≤ win, found {ratings:?}", player.system)
    })?;
    ensure(ratings[0] < ratings[2], || {
        format!("{}: a win and a loss both lead to {}", player.system, ratings[0])
    })
}

fn ratings_follow_opponents(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let player = Player::draw(chance);
    let (a, b) = (player.opponent(chance), player.opponent(chance));
    let mut game = player.game(chance, a.min(b), 1.0);
    let weak = player.after(pack, context, std::slice::from_ref(&game))?;
    game["opponent_rating"] = json!(a.max(b));
    let strong = player.after(pack, context, std::slice::from_ref(&game))?;
    game["score"] = json!(0);
    let lost = player.after(pack, context, &[game])?;
    ensure(weak >= player.rating - SLACK && lost <= player.rating + SLACK, || {
        format!("{} {}: a win led to {weak}, a loss to {lost}", player.system, player.rating)
    })?;
    ensure(strong >= weak - SLACK, || {
        format!(
            "{} {}: a win over {} led to {strong}, over {} to {weak}",
            player.system,
            player.rating,
            a.max(b),
            a.min(b)
        )
    })
}

/// Draws events of up to 20 players who installed on one day.
fn events(chance: &mut Chance) -> Vec<Value> {
    let mut events = Vec::new();
    for player in 0..chance.random_range(1..20_u32) {
        let country = ["TW", "JP", "DE"][chance.random_range(0..3_usize)];
        let mut at = |day: u32, chance: &mut Chance| {
            let (hour, minute) = (chance.random_range(0..24_u32), chance.random_range(0..60_u32));
            events.push(json!({
                "player_id": format!("p{player}"), "country": country,
                "event_time": format!("2026-09-{:02}T{hour:02}:{minute:02}:00Z", day + 1),
            }));
        };
        at(0, chance);
        for _ in 0..chance.random_range(0..9_u32) {
            let day = chance.random_range(0..20_u32);
            at(day, chance);
        }
    }
    events
}

fn retained(
    pack: &Pack,
    context: &ToolContext<'_>,
    events: &[Value],
    definition: &str,
    group: &str,
) -> Result<Value, String> {
    call(
        pack,
        context,
        "cohort_retention",
        &json!({
            "events": events, "cohort_date": "2026-09-01", "days": [1, 2, 3, 5, 7, 14],
            "definition": definition, "group_by": group, "as_of": "2026-10-20T00:00:00Z",
            "min_cohort_size": 1,
        }),
    )
}

fn retention_is_a_share(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let events = events(chance);
    let players: std::collections::BTreeSet<&str> =
        events.iter().filter_map(|event| event["player_id"].as_str()).collect();
    let definition = ["classic", "rolling"][chance.random_range(0..2_usize)];
    let result = retained(pack, context, &events, definition, "country")?;
    let mut installed = 0.0;
    for cohort in items(&result, "cohorts")? {
        let size = number(&cohort["cohort_size"])?;
        installed += size;
        for day in items(cohort, "retained")? {
            let (kept, pct) = (number(&day["players"])?, number(&day["retention_pct"])?);
            ensure((0.0..=size).contains(&kept) && (0.0..=100.0).contains(&pct), || {
                format!("expected a share of {size} players, found {day}")
            })?;
            ensure((pct - 100.0 * kept / size).abs() < 1e-3, || {
                format!("expected {kept} of {size} players in percent, found {pct}")
            })?;
        }
    }
    ensure(installed == players.len() as f64, || {
        format!("expected the cohorts to hold {} players, found {installed}", players.len())
    })
}

fn rolling_retention_falls(
    chance: &mut Chance,
    pack: &Pack,
    context: &ToolContext<'_>,
) -> Result<(), String> {
    let events = events(chance);
    let shares = |definition: &str| -> Result<Vec<f64>, String> {
        let result = retained(pack, context, &events, definition, "none")?;
        let cohort = items(&result, "cohorts")?.first().ok_or("expected one cohort, found none")?;
        items(cohort, "retained")?.iter().map(|day| number(&day["retention_pct"])).collect()
    };
    let (classic, rolling) = (shares("classic")?, shares("rolling")?);
    ensure(rolling.is_sorted_by(|a, b| a >= b), || {
        format!("rolling retention rises with the day: {rolling:?}")
    })?;
    ensure(classic.iter().zip(&rolling).all(|(c, r)| c <= r), || {
        format!("classic retention {classic:?} exceeds rolling retention {rolling:?}")
    })
}
