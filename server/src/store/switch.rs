//! Kill switches: what must not run, who said so and why. Nothing is rewritten; the last line of a
//! scope and name holds.

use jiff::Timestamp;
use serde_json::json;
use time::OffsetDateTime;

use super::{Noted, StoreError, TenantTx, instant};

/// What a switch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchScope {
    /// The whole joint venture.
    Venture,
    /// One pack.
    Pack,
    /// One tool.
    Tool,
}

impl SwitchScope {
    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Venture => "jv",
            Self::Pack => "pack",
            Self::Tool => "tool",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Venture, Self::Pack, Self::Tool].into_iter().find(|scope| scope.name() == name)
    }
}

/// Where a switch stands.
#[derive(Debug, Clone)]
pub struct Switch {
    /// What it is about.
    pub scope: SwitchScope,
    /// Name of the pack or tool; empty for the joint venture.
    pub name: String,
    /// Whether it stops.
    pub off: bool,
    /// Reason given.
    pub why: String,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Switch {
    /// Says what is off, since when, by whom and why.
    pub fn reason(&self) -> String {
        let what = match self.scope {
            SwitchScope::Venture => "this joint venture is".to_owned(),
            SwitchScope::Pack => format!("the pack `{}` is", self.name),
            SwitchScope::Tool => format!("the tool `{}` is", self.name),
        };
        format!("{what} switched off by {} since {}: {}", self.by, self.at, self.why)
    }
}

type Row = (String, String, bool, String, String, OffsetDateTime);

fn read((scope, name, off, why, by, at): Row) -> Result<Switch, StoreError> {
    let scope = SwitchScope::of(&scope)
        .ok_or_else(|| StoreError::Damaged { what: "switch", message: scope.clone() })?;
    Ok(Switch { scope, name, off, why, by, at: instant(at) })
}

impl TenantTx {
    /// Sets a switch. It holds for the next call of every run, on every replica.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_switch(
        &mut self,
        scope: SwitchScope,
        name: &str,
        off: bool,
        why: &str,
        by: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into kill_switch (tenant_id, scope, name, seq, off, why, set_by)
             select $1, $2, $3, coalesce(max(seq), 0) + 1, $4, $5, $6 from kill_switch
             where tenant_id = $1 and scope = $2 and name = $3",
        )
        .bind(self.tenant)
        .bind(scope.name())
        .bind(name)
        .bind(off)
        .bind(why)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        // Why is what somebody wrote, and stays out of the chain.
        let detail = json!({"scope": scope.name(), "name": name, "off": off});
        let noted = Noted { kind: "switch.set", subject: by, detail, ..Noted::default() };
        self.note(&noted).await.map(drop)
    }

    /// Lists every switch that was ever set, as it stands now.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn switches(&mut self) -> Result<Vec<Switch>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select distinct on (scope, name) scope, name, off, why, set_by, set_at
             from kill_switch where tenant_id = $1 order by scope, name, seq desc",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        rows.into_iter().map(read).collect()
    }

    /// Tells whether the joint venture has a budget, and whether it ever set a switch. Most have
    /// neither, and then a step asks no further.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn controlled(&mut self) -> Result<(bool, bool), StoreError> {
        Ok(sqlx::query_as(
            "select exists (select from budget where tenant_id = $1),
                    exists (select from kill_switch where tenant_id = $1)",
        )
        .bind(self.tenant)
        .fetch_one(&mut *self.tx)
        .await?)
    }

    /// Returns the switch that stops a call, or a plan where no tool is named.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn switched_off(
        &mut self,
        pack: &str,
        tool: Option<&str>,
    ) -> Result<Option<Switch>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select * from (
                 select distinct on (scope, name) scope, name, off, why, set_by, set_at
                 from kill_switch
                 where tenant_id = $1
                   and (scope = 'jv' or (scope = 'pack' and name = $2)
                        or (scope = 'tool' and name = $3))
                 order by scope, name, seq desc) line
             where off order by scope limit 1",
        )
        .bind(self.tenant)
        .bind(crate::packs::id_of(pack))
        .bind(tool)
        .fetch_optional(&mut *self.tx)
        .await?;
        row.map(read).transpose()
    }
}
