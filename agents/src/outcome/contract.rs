//! How parties share what a joint venture gains: by a metric's lower bound, so that chance is never
//! billed.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::design::{Design, sha256};
use super::micros::{Micros, MicrosError, split};
use super::readout::{ReadOut, Standing};

/// Most parties of a contract.
const MAX_PARTIES: usize = 20;

/// One party.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// Name of the company.
    pub name: String,
    /// Share of the amount, 0 to 1; all shares add up to exactly 1.
    pub share: Micros,
}

/// A contract of revenue share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Name in addresses: `[a-z0-9-]`, 1 to 64.
    pub name: String,
    /// The parties, in the order in which equal remainders are given out.
    pub parties: Vec<Party>,
    /// ISO 4217 code of every amount.
    pub currency: String,
    /// Name of the experiment that measures.
    pub experiment: String,
    /// SHA-256 of its frozen design.
    pub design_sha256: String,
    /// KPI that is billed: the primary metric of the design.
    pub metric: String,
    /// Worth of one more of the metric for one unit of its volume (a treated unit, or one of its
    /// weight).
    pub value_per_unit: Micros,
    /// Least amount of a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Micros>,
    /// Greatest amount of a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Micros>,
    /// Days within which a statement may be disputed.
    #[serde(default = "thirty")]
    pub dispute_days: u32,
}

fn thirty() -> u32 {
    30
}

/// Why a contract cannot be used, or an amount not be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContractError {
    /// A field is at fault.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What would be right.
        message: String,
    },
    /// An amount.
    #[error(transparent)]
    Amount(#[from] MicrosError),
}

impl Contract {
    /// Returns the SHA-256 of the canonical form.
    pub fn sha256(&self) -> String {
        sha256(self)
    }

    /// Checks the contract against the design that it bills by.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn check(&self, design: &Design) -> Result<(), ContractError> {
        let fault =
            |field, message: &str| Err(ContractError::Field { field, message: message.to_owned() });
        let named =
            self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named || !(1..=64).contains(&self.name.len()) {
            return fault("name", "1 to 64 of a-z, 0-9 and -");
        }
        if !(1..=MAX_PARTIES).contains(&self.parties.len()) {
            return fault("parties", "1 to 20 parties");
        }
        let text =
            |name: &str| !name.trim().is_empty() && name.len() <= 200 && !name.contains('\0');
        if !self.parties.iter().all(|party| text(&party.name)) {
            return fault("parties", "each has a name of 1 to 200 bytes");
        }
        let shares: Vec<Micros> = self.parties.iter().map(|party| party.share).collect();
        split(Micros::ZERO, &shares, &self.currency)?;
        if self.currency.len() != 3 || !self.currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return fault("currency", "an ISO 4217 code such as USD");
        }
        if self.design_sha256 != design.sha256() || self.experiment != design.name {
            return fault("design_sha256", "is not that of the experiment's frozen design");
        }
        if design.metrics.first().is_none_or(|metric| metric.kpi != self.metric) {
            return fault("metric", "must be the primary metric of the experiment");
        }
        if !design.method.is_causal() {
            return fault("experiment", "before and after shows no effect and is not billed");
        }
        if self.value_per_unit.0 <= 0 {
            return fault("value_per_unit", "must be above 0");
        }
        let (floor, cap) = (self.floor.unwrap_or_default(), self.cap);
        if floor.0 < 0 || cap.is_some_and(|cap| cap < floor) {
            return fault("floor", "must not be negative, nor above the cap");
        }
        for (field, amount) in [("floor", Some(floor)), ("cap", cap)] {
            if amount.is_some_and(|a| a.rounded(&self.currency) != Ok(a)) {
                return fault(field, "must be whole minor units of the currency");
            }
        }
        if !(1..=366).contains(&self.dispute_days) {
            return fault("dispute_days", "1 to 366 days");
        }
        Ok(())
    }

    /// Returns what a read-out makes payable.
    ///
    /// # Errors
    /// [`ContractError::Amount`].
    pub fn amount(&self, design: &Design, read: &ReadOut) -> Result<Figures, ContractError> {
        let primary = read.primary(design).filter(|_| read.standing == Standing::Read);
        let bound = |value: f64| {
            Micros::floor_of(value).ok_or(ContractError::Amount(MicrosError::TooLarge))
        };
        let (low, estimate, high, volume) = match primary {
            Some(metric) => (
                bound(metric.improvement.low)?,
                bound(metric.improvement.estimate)?,
                bound(metric.improvement.high)?,
                metric.volume,
            ),
            None => Default::default(),
        };
        self.payable(low, estimate, high, volume, read)
    }

    fn payable(
        &self,
        low: Micros,
        estimate: Micros,
        high: Micros,
        volume: Micros,
        read: &ReadOut,
    ) -> Result<Figures, ContractError> {
        let gain = low.max(Micros::ZERO).times(volume)?.times(self.value_per_unit)?;
        let gain = gain.rounded(&self.currency)?;
        let amount = self.held(gain);
        Ok(Figures {
            control: read.units[0],
            treatment: read.units[1],
            standing: read.standing,
            low,
            estimate,
            high,
            volume,
            gain,
            amount,
            parts: self.parts(amount)?,
        })
    }

    /// Holds an amount between floor and cap.
    pub fn held(&self, gain: Micros) -> Micros {
        let raised = gain.max(self.floor.unwrap_or(gain));
        raised.min(self.cap.unwrap_or(raised))
    }

    /// Splits an amount over the parties.
    ///
    /// # Errors
    /// [`ContractError::Amount`].
    pub fn parts(&self, amount: Micros) -> Result<Vec<Part>, ContractError> {
        let shares: Vec<Micros> = self.parties.iter().map(|party| party.share).collect();
        let parts = split(amount, &shares, &self.currency)?;
        let named = self.parties.iter().zip(parts);
        Ok(named.map(|(party, amount)| Part { party: party.name.clone(), amount }).collect())
    }
}

/// What a party gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Name of the party.
    pub party: String,
    /// Its part, whole minor units.
    pub amount: Micros,
}

/// The figures of a statement, all of them exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Units in control.
    pub control: usize,
    /// Units in treatment.
    pub treatment: usize,
    /// Where the read-out stands; only `read` bills.
    pub standing: Standing,
    /// Lower bound of the improvement, rounded down: what is billed.
    pub low: Micros,
    /// The improvement.
    pub estimate: Micros,
    /// Upper bound.
    pub high: Micros,
    /// What the improvement is multiplied by.
    pub volume: Micros,
    /// Lower bound, not below 0, × volume × value, in whole minor units.
    pub gain: Micros,
    /// The gain within floor and cap.
    pub amount: Micros,
    /// The parts of the parties, which add up to the amount.
    pub parts: Vec<Part>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contract(shares: &[i64], floor: Option<i64>, cap: Option<i64>) -> Contract {
        let party =
            |(i, share): (usize, &i64)| Party { name: format!("p{i}"), share: Micros(*share) };
        Contract {
            name: "share".to_owned(),
            parties: shares.iter().enumerate().map(party).collect(),
            currency: "USD".to_owned(),
            experiment: "x".to_owned(),
            design_sha256: String::new(),
            metric: "m".to_owned(),
            value_per_unit: Micros(1_370_000),
            floor: floor.map(Micros),
            cap: cap.map(Micros),
            dispute_days: 30,
        }
    }

    proptest! {
        #[test]
        fn floor_cap_and_rounding_always_leave_parts_that_make_the_whole(
            low in -10_000_000_i64..10_000_000,
            volume in 0_i64..1_000_000_000_000,
            first in 0_i64..=1_000_000,
            floor in proptest::option::of(0_i64..500_000),
            room in proptest::option::of(0_i64..5_000_000),
        ) {
            let floor = floor.map(|f| f * 10_000);
            let cap = room.map(|room| floor.unwrap_or(0) + room * 10_000);
            let contract = contract(&[first, 1_000_000 - first], floor, cap);
            let gain = Micros(low).max(Micros::ZERO).times(Micros(volume)).unwrap();
            let gain = gain.times(contract.value_per_unit).unwrap().rounded("USD").unwrap();
            let amount = contract.held(gain);
            prop_assert!(floor.is_none_or(|f| amount.0 >= f));
            prop_assert!(cap.is_none_or(|c| amount.0 <= c));
            let within = floor.is_none_or(|f| gain.0 >= f) && cap.is_none_or(|c| gain.0 <= c);
            prop_assert!(!within || amount == gain);
            let parts = contract.parts(amount).unwrap();
            let sum = Micros::sum(parts.iter().map(|part| part.amount)).unwrap();
            prop_assert_eq!(sum, amount);
        }
    }
}
