//! Attempts to sign in, counted before they are tried, so that a burst cannot outrun the count. Kept in the
//! database: a restart or another replica forgets nothing. The table holds hashes of what was typed.

use time::OffsetDateTime;

use super::{Store, StoreError};

/// Seconds that somebody has to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub u64);

/// Seconds after the first attempt that is one too many; doubled by each further one.
const FIRST_WAIT: i32 = 5;

/// Longest wait, seconds.
const LONGEST_WAIT: i32 = 900;

impl Store {
    /// Counts an attempt under a hash; from the `free`-th in a row on, each makes the next wait longer. An
    /// hour without one forgets them.
    ///
    /// Returns how long to wait where the attempt comes too early; it is then not counted.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn attempt(&self, hash: &[u8; 32], free: i32) -> Result<Option<Wait>, StoreError> {
        let counted: Option<i32> = sqlx::query_scalar(
            "insert into sign_in_throttle as t (hash, failures, last_at, until) values ($1, 1, now(), now())
             on conflict (hash) do update set
                failures = case when t.last_at < now() - interval '1 hour' then 1
                                else least(t.failures, 1000) + 1 end,
                last_at = now(),
                until = case when t.last_at < now() - interval '1 hour' or t.failures + 1 < $2 then now()
                             else now() + make_interval(secs =>
                                 least($4::float8, $3::float8 * 2 ^ least(t.failures + 1 - $2, 20))) end
             where t.until <= now()
             returning failures",
        )
        .bind(hash.as_slice())
        .bind(free)
        .bind(FIRST_WAIT)
        .bind(LONGEST_WAIT)
        .fetch_optional(&self.pool)
        .await?;
        if counted.is_some() {
            return Ok(None);
        }
        let until: Option<(OffsetDateTime, OffsetDateTime)> =
            sqlx::query_as("select until, now() from sign_in_throttle where hash = $1")
                .bind(hash.as_slice())
                .fetch_optional(&self.pool)
                .await?;
        let seconds = until.map_or(0, |(until, now)| (until - now).whole_seconds());
        Ok(Some(Wait(u64::try_from(seconds).unwrap_or(0) + 1)))
    }

    /// Forgets the attempts under a hash, after one that was right, and those of more than a day ago.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn forget_attempts(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query(
            "delete from sign_in_throttle where hash = $1 or last_at < now() - interval '1 day'",
        )
        .bind(hash.as_slice())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes one attempt back under a hash that several people share.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_attempt_back(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query(
            "update sign_in_throttle set failures = greatest(failures - 1, 0), until = now()
             where hash = $1",
        )
        .bind(hash.as_slice())
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
