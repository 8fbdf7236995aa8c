//! The tenant's player table: only the columns that support may see are ever read.

use super::orders;
use crate::tool::{ToolContext, ToolError};

/// Names of the player table: the tenant's own, that of the demo, or the small one.
const TABLES: [&str; 3] = ["gaming_players", "demo_players", "gaming_players_small"];

/// A player without name and contact data.
#[derive(Debug, Clone)]
pub(super) struct Player {
    pub(super) country: String,
    pub(super) language: String,
    pub(super) level: i64,
    pub(super) created_at: String,
    pub(super) last_seen_at: String,
    /// `active`, `suspended` or `closed`.
    pub(super) account_status: String,
    pub(super) currency: String,
}

/// Finds a player by id.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no such player; [`ToolError::InvalidInput`] ⇐ the table lacks a column
/// or holds a cell that cannot be read.
pub(super) fn find(context: &ToolContext<'_>, player_id: &str) -> Result<Player, ToolError> {
    let table = orders::holding(context, &TABLES, "player_id", player_id)?;
    let id = table.column("player_id")?;
    let row = table
        .rows
        .iter()
        .find(|row| row[id] == player_id)
        .ok_or_else(|| ToolError::no_data(format!("no player `{player_id}`")))?;
    let cell = |name: &str| table.column(name).map(|column| row[column].clone());
    let level = cell("level")?;
    let account_status = cell("account_status")?;
    if !matches!(account_status.as_str(), "active" | "suspended" | "closed") {
        return Err(ToolError::invalid(
            "/player_id",
            format!("account_status `{account_status}` is none of active, suspended, closed"),
        ));
    }
    Ok(Player {
        country: cell("country")?,
        language: cell("language")?,
        level: level.parse().map_err(|_| {
            ToolError::invalid("/player_id", format!("level `{level}` is no whole number"))
        })?,
        created_at: cell("created_at")?,
        last_seen_at: cell("last_seen_at")?,
        account_status,
        currency: cell("currency")?,
    })
}
