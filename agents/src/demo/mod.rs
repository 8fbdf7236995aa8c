//! Generated data of the demo joint ventures: seeded, and of known truth, so that a tool's recall
//! and precision can be measured instead of believed.
//!
//! Each industry has a file with a generator. What was planted (a treatment effect, a fraud ring, a
//! gap in a meter, a failure law, a split payment) is written to the truth beside the data.

mod automotive;
mod energy;
mod finance;
mod gaming;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::pack::FixtureSource;

/// Seed of the data that a demo joint venture starts with.
pub const SEED: u64 = 20_261_124;

/// The source of randomness of the generators; the same seed gives the same bytes.
pub(crate) type Chance = StdRng;

/// One generated dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Identifier of the dataset, `demo_…`.
    pub id: String,
    /// Name of a file that holds it, with its extension.
    pub file: String,
    /// The bytes, as a partner would upload them.
    pub bytes: Vec<u8>,
}

/// The data of a demo joint venture and what was planted in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Demo {
    /// The datasets.
    pub datasets: Vec<Generated>,
    /// What is true of them: planted effects, rings, gaps, laws and links, by dataset.
    pub truth: Value,
}

impl Demo {
    /// Returns the datasets as tools read them.
    pub fn source(&self) -> FixtureSource {
        let all = self.datasets.iter();
        all.fold(FixtureSource::default(), |source, one| source.with(&one.id, one.bytes.as_slice()))
    }
}

/// Generates the data of an industry from a seed; `None` ⇐ there is no such industry.
pub fn generate(industry: &str, seed: u64) -> Option<Demo> {
    let mut chance = Chance::seed_from_u64(seed);
    match industry {
        "automotive" => Some(automotive::generate(&mut chance)),
        "energy" => Some(energy::generate(&mut chance)),
        "finance" => Some(finance::generate(&mut chance)),
        "gaming" => Some(gaming::generate(&mut chance)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        for industry in ["automotive", "energy", "finance", "gaming"] {
            assert_eq!(generate(industry, 7), generate(industry, 7), "{industry}");
        }
        assert_eq!(generate("mining", 7), None);
    }
}
