//! Active faults of a truck: diagnostic message 1.

use serde_json::{Value, json};

/// States of a lamp, by its two bits.
const STATES: [&str; 4] = ["off", "on", "error", "not_available"];

/// Lamps by the position of their lower bit in the first byte.
const LAMPS: [(&str, u8); 4] =
    [("malfunction", 6), ("red_stop", 4), ("amber_warning", 2), ("protect", 0)];

/// A suspect parameter and how it fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    spn: u32,
    fmi: u8,
    occurrence: u8,
    old_layout: bool,
}

/// What one or more messages say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dm1 {
    lamps: [u8; 4],
    faults: Vec<Fault>,
}

/// Reads one payload.
///
/// # Errors
/// A sentence that says what is short or left over.
///
/// # Source
/// SAE J1939-73, DM1: SPN = b0 + 256 b1 + 65536 (b2 >> 5), FMI = b2 & 31, count = b3 & 127; bit 7
/// of b3 marks the older layouts of the SPN.
pub(super) fn parse(bytes: &[u8]) -> Result<Dm1, String> {
    let [lamps, _flash, body @ ..] = bytes else {
        return Err("a DM1 payload begins with two lamp bytes".to_owned());
    };
    let groups = body.chunks_exact(4);
    // A single fault fills six of the eight bytes of its frame; the rest is FF.
    if groups.remainder().iter().any(|byte| *byte != 0xFF) {
        let left = groups.remainder().len();
        return Err(format!("{left} bytes are left over; a fault takes 4"));
    }
    let faults = groups
        .filter(|group| !matches!(group, [0, 0, 0, 0] | [0xFF, 0xFF, 0xFF, 0xFF]))
        .map(|group| Fault {
            spn: u32::from(group[0])
                + (u32::from(group[1]) << 8)
                + (u32::from(group[2] >> 5) << 16),
            fmi: group[2] & 0x1F,
            occurrence: group[3] & 0x7F,
            old_layout: group[3] & 0x80 != 0,
        })
        .collect();
    Ok(Dm1 { lamps: LAMPS.map(|(_, bit)| lamps >> bit & 0b11), faults })
}

impl Dm1 {
    /// Adds what a later message says: a lamp that any unit lights is on, and a fault counts once.
    pub(super) fn merge(self, later: Self) -> Self {
        // Off and absent give way to on, and on to nothing.
        let rank = |state: u8| [1, 3, 2, 0][usize::from(state & 0b11)];
        let mut lamps = self.lamps;
        for (lamp, new) in lamps.iter_mut().zip(later.lamps) {
            if rank(new) > rank(*lamp) {
                *lamp = new;
            }
        }
        let mut faults = self.faults;
        for fault in later.faults {
            match faults.iter_mut().find(|f| (f.spn, f.fmi) == (fault.spn, fault.fmi)) {
                Some(known) => known.occurrence = known.occurrence.max(fault.occurrence),
                None => faults.push(fault),
            }
        }
        Self { lamps, faults }
    }

    /// Tells whether a fault uses a layout of the SPN from before the present one.
    pub(super) fn has_old_layout(&self) -> bool {
        self.faults.iter().any(|fault| fault.old_layout)
    }

    /// Returns the object of the contract.
    pub(super) fn to_json(&self) -> Value {
        let states = LAMPS.iter().zip(self.lamps);
        let lamps: serde_json::Map<String, Value> = states
            .map(|((name, _), state)| {
                ((*name).to_owned(), json!(STATES[usize::from(state & 0b11)]))
            })
            .collect();
        let faults: Vec<Value> = self
            .faults
            .iter()
            .map(|f| json!({ "spn": f.spn, "fmi": f.fmi, "occurrence": f.occurrence }))
            .collect();
        json!({ "lamps": lamps, "faults": faults, "stop_now": self.lamps[1] == 1 })
    }
}
