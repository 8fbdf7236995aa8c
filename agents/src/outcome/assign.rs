//! Who is in which arm: a hash of the seed and the unit, so that every program with the design says
//! the same, today and in later versions, and nothing has to be stored.
//!
//! **Invariant:** the mapping of this file never changes; a better one would get another name in the
//! design. The golden values of the tests hold it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One million: shares are whole millionths, so that they add up exactly.
pub const WHOLE: u32 = 1_000_000;

/// An arm of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Held out: goes on as before.
    Control,
    /// Gets what is tested.
    Treatment,
}

impl Arm {
    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Treatment => "treatment",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Control, Self::Treatment].into_iter().find(|arm| arm.name() == name)
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns where a unit falls among [`WHOLE`] places: the first 64 bits of SHA-256 over the seed, a
/// zero byte and the unit, scaled.
pub fn place(seed: &str, unit: &str) -> u32 {
    let digest = Sha256::new().chain_update(seed).chain_update([0]).chain_update(unit).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    let scaled = (u128::from(u64::from_be_bytes(first)) * u128::from(WHOLE)) >> 64;
    u32::try_from(scaled).unwrap_or(WHOLE - 1)
}

/// Returns the arm of a unit: control for the first `holdout` millionths.
pub fn arm(seed: &str, holdout: u32, unit: &str) -> Arm {
    if place(seed, unit) < holdout { Arm::Control } else { Arm::Treatment }
}

/// Returns the arm of a period of a switchback. Periods go in blocks of two, one in each arm, in an
/// order drawn for each block, so that no trend and no weekday favours an arm.
pub fn period_arm(seed: &str, period: u64) -> Arm {
    let first = arm(seed, WHOLE / 2, &format!("block-{}", period / 2));
    match (first, period % 2) {
        (Arm::Control, 0) | (Arm::Treatment, 1) => Arm::Control,
        _ => Arm::Treatment,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_mapping_is_that_of_every_version() {
        // Computed by another program: int.from_bytes(sha256(b"seed\0unit").digest()[:8]) * 10**6 >> 64.
        for (seed, unit, at) in GOLDEN {
            assert_eq!(place(seed, unit), at, "{seed} {unit}");
        }
    }

    #[test]
    fn a_million_units_are_assigned_in_under_a_second_and_balanced() {
        let begun = Instant::now();
        let mut control = 0_u32;
        let mut unit = String::new();
        for i in 0..1_000_000 {
            use std::fmt::Write as _;
            unit.clear();
            write!(unit, "player-{i}").unwrap();
            control += u32::from(arm("spring", 200_000, &unit) == Arm::Control);
        }
        let took = begun.elapsed();
        // 4.4 standard deviations of a binomial: one seed in 100,000 falls outside.
        let off = f64::from(control) - 200_000.0;
        assert!(off.abs() < 4.4 * (1e6_f64 * 0.2 * 0.8).sqrt(), "{control}");
        // The limit of one second is for a release build; hashing is optimised here as well.
        assert!(took.as_secs_f64() < 4.0, "{took:?}");
    }

    #[test]
    fn two_seeds_draw_independently() {
        let same = (0..20_000)
            .filter(|i| arm("a", WHOLE / 2, &i.to_string()) == arm("b", WHOLE / 2, &i.to_string()));
        let same = same.count();
        assert!((9_700..=10_300).contains(&same), "{same}");
    }

    #[test]
    fn every_block_of_a_switchback_has_both_arms() {
        let mut first = 0;
        for block in 0..400 {
            let (a, b) = (period_arm("plant", 2 * block), period_arm("plant", 2 * block + 1));
            assert_ne!(a, b);
            first += usize::from(a == Arm::Treatment);
        }
        assert!((150..=250).contains(&first), "{first}");
    }

    const GOLDEN: [(&str, &str, u32); 5] = [
        ("seed", "unit", 500_004),
        ("", "", 430_481),
        ("spring", "player-1", 178_348),
        ("試", "玩家-77120", 109_143),
        ("plant", "block-0", 782_335),
    ];
}
