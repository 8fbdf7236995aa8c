//! Tells the story of a demo joint venture into its store: an experiment of three months, a statement
//! for each, a dispute over observations that were sent wrong, and the credit note that settles it.

use agents::outcome::demo::story;
use agents::pack::Manifest;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::ledger::{add_contract, dispute, set_terms, settle, state};
use super::{Act, MOST, draft, end, enrol, observe, start};
use crate::error::Problem;
use crate::store::TenantTx;
use crate::vault::Vault;

/// Who is said to have acted.
const BY: &str = "demo";

/// Writes the story of the months before `now`; an industry without one is left as it is.
///
/// # Errors
/// What the steps answer, each of which is that of the API.
pub async fn tell(
    tx: &mut TenantTx,
    vault: &Vault,
    pack: &Manifest,
    now: Timestamp,
) -> Result<(), Problem> {
    let today = now.to_zoned_datetime(TimeZone::UTC).date();
    let Some(story) = story(&pack.id, today) else { return Ok(()) };
    let design = &story.design;
    let kpis = &pack.kpis;
    draft(tx, kpis, design, BY).await?;
    start(tx, &design.name, design.start - SignedDuration::from_hours(48), BY).await?;
    if !story.units.is_empty() {
        enrol(tx, design, &story.units).await?;
    }
    for part in story.observations.chunks(MOST) {
        observe(tx, kpis, part.to_vec(), "demo", BY).await?;
    }
    end(tx, &design.name, "the window has ended", story.months[3], BY).await?;
    add_contract(tx, &story.contract, BY).await?;
    set_terms(tx, &story.terms, BY).await?;
    // Each statement is made on the day after its month.
    let after = |month: usize| story.months[month] + SignedDuration::from_hours(24);
    let act = |at: Timestamp| Act { by: BY, at, vault };
    let name = &story.contract.name;
    for month in 0..2 {
        let period = (story.months[month], story.months[month + 1]);
        state(tx, name, period, act(after(month + 1))).await?;
    }
    let wrong: Vec<String> = story.corrections.iter().map(|one| one.id.clone()).collect();
    let reason = format!("{} observations were exported three times too large", wrong.len());
    let opened = after(2) + SignedDuration::from_hours(72);
    let id = dispute(tx, 2, &reason, &wrong, opened, BY).await?;
    let answer = "The export was wrong; the values of the ledger are taken.";
    let settled = act(opened + SignedDuration::from_hours(48));
    settle(tx, kpis, id, &story.corrections, answer, settled).await?;
    state(tx, name, (story.months[2], story.months[3]), act(after(3).min(now))).await?;
    Ok(())
}
