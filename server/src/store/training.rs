//! Verdicts on runs, and consent to train on them.

use agents::synth::Consent;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{RunId, StoreError, TenantTx, instant};

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunSource {
    /// The API.
    Api,
    /// A page of the dashboard.
    Page,
    /// The command line of the server's machine.
    Cli,
}

impl RunSource {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Api, Self::Page, Self::Cli];

    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Page => "page",
            Self::Cli => "cli",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// What is allowed for one source.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// The source.
    pub source: RunSource,
    /// What may be trained.
    pub level: Consent,
    /// Who decided; empty while nobody has.
    pub by: String,
    /// When, if anybody has.
    pub at: Option<Timestamp>,
}

/// What a person says of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The plan was right.
    Accepted,
    /// Something else would have been right.
    Corrected,
    /// Nothing is said any more.
    Withdrawn,
}

impl Judgement {
    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Corrected => "corrected",
            Self::Withdrawn => "withdrawn",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Accepted, Self::Corrected, Self::Withdrawn].into_iter().find(|j| j.name() == name)
    }
}

/// A verdict on a run.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What is said.
    pub judgement: Judgement,
    /// The right decision, where it was corrected.
    pub decision: String,
    /// The right calls, where it was corrected: `[{"tool": …, "arguments": …}]`.
    pub calls: Value,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A run that may be trained on.
#[derive(Debug, Clone)]
pub struct JudgedRun {
    /// Identifier.
    pub id: RunId,
    /// The request as given.
    pub request: String,
    /// Its language.
    pub lang: String,
    /// When it was made; relative dates count from here.
    pub created_at: Timestamp,
    /// What is said of it.
    pub verdict: Verdict,
    /// What its joint venture allows for its source now.
    pub consent: Consent,
}

#[derive(FromRow)]
struct Row {
    run_id: Uuid,
    request: String,
    lang: String,
    created_at: OffsetDateTime,
    verdict: String,
    decision: String,
    calls: Value,
    decided_by: String,
    decided_at: OffsetDateTime,
    level: Option<String>,
}

impl Row {
    fn read(self) -> Result<JudgedRun, StoreError> {
        let damaged =
            |message: &str| StoreError::Damaged { what: "verdict", message: message.to_owned() };
        let judgement = Judgement::of(&self.verdict).ok_or_else(|| damaged(&self.verdict))?;
        let level = self.level.as_deref().unwrap_or(Consent::None.name());
        Ok(JudgedRun {
            id: self.run_id,
            request: self.request,
            lang: self.lang,
            created_at: instant(self.created_at),
            verdict: Verdict {
                judgement,
                decision: self.decision,
                calls: self.calls,
                by: self.decided_by,
                at: instant(self.decided_at),
            },
            consent: Consent::of(level).ok_or_else(|| damaged(level))?,
        })
    }
}

impl TenantTx {
    /// Returns what is allowed for each source; nothing where nobody has decided.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn consents(&mut self) -> Result<Vec<Allowed>, StoreError> {
        let rows: Vec<(String, String, String, OffsetDateTime)> = sqlx::query_as(
            "select distinct on (source) source, level, decided_by, decided_at
             from training_consent where tenant_id = $1 order by source, seq desc",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        RunSource::ALL
            .into_iter()
            .map(|source| {
                let row = rows.iter().find(|(name, ..)| name == source.name());
                let Some((_, level, by, at)) = row else {
                    return Ok(Allowed {
                        source,
                        level: Consent::None,
                        by: String::new(),
                        at: None,
                    });
                };
                let level = Consent::of(level).ok_or_else(|| StoreError::Damaged {
                    what: "consent",
                    message: level.clone(),
                })?;
                Ok(Allowed { source, level, by: by.clone(), at: Some(instant(*at)) })
            })
            .collect()
    }

    /// Decides what may be trained on the runs of a source, from now on and on those of before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_consent(
        &mut self,
        source: RunSource,
        level: Consent,
        by: &str,
    ) -> Result<(), StoreError> {
        // Of two decisions at a time one fails, and is told so.
        sqlx::query(
            "insert into training_consent (tenant_id, source, seq, level, decided_by)
             select $1, $2, coalesce(max(seq), 0) + 1, $3, $4
             from training_consent where tenant_id = $1 and source = $2",
        )
        .bind(self.tenant)
        .bind(source.name())
        .bind(level.name())
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Says what a person says of a run, in place of what was said before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn judge_run(
        &mut self,
        run: RunId,
        judgement: Judgement,
        decision: &str,
        calls: &Value,
        by: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into run_verdict (tenant_id, run_id, verdict, decision, calls, decided_by)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (tenant_id, run_id) do update
             set verdict = excluded.verdict, decision = excluded.decision, calls = excluded.calls,
                 decided_by = excluded.decided_by, decided_at = now()",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(judgement.name())
        .bind(decision)
        .bind(calls)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns the runs that a person accepted or corrected and whose source allows training now; one
    /// of them where `run` names it.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn judged_runs(&mut self, run: Option<RunId>) -> Result<Vec<JudgedRun>, StoreError> {
        let judged = self.verdicts(run).await?;
        let trains = |one: &JudgedRun| {
            one.consent != Consent::None && one.verdict.judgement != Judgement::Withdrawn
        };
        Ok(judged.into_iter().filter(trains).collect())
    }

    /// Returns what a person says of a run, if anything.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn verdict(&mut self, run: RunId) -> Result<Option<Verdict>, StoreError> {
        let judged = self.verdicts(Some(run)).await?.pop().map(|one| one.verdict);
        Ok(judged.filter(|verdict| verdict.judgement != Judgement::Withdrawn))
    }

    async fn verdicts(&mut self, run: Option<RunId>) -> Result<Vec<JudgedRun>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select v.run_id, r.request, r.lang, r.created_at, v.verdict, v.decision, v.calls,
                    v.decided_by, v.decided_at,
                    (select c.level from training_consent c
                     where c.tenant_id = $1 and c.source = r.source
                     order by c.seq desc limit 1) as level
             from run_verdict v
             join run r on r.tenant_id = v.tenant_id and r.run_id = v.run_id
             where v.tenant_id = $1 and ($2::uuid is null or v.run_id = $2) order by v.run_id",
        )
        .bind(self.tenant)
        .bind(run)
        .fetch_all(&mut *self.tx)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }
}
