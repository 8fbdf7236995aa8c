//! `cargo bench -p agents --bench outcomes [SEED]`: what the tests show with fixed seeds, with random
//! ones, and how fast units are assigned.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints what it measured")]

use std::hash::{BuildHasher as _, RandomState};
use std::time::Instant;

use agents::outcome::assign::{Arm, arm};
use agents::outcome::simulate::{self, Design};

const EXPERIMENTS: u64 = 2_000;

fn main() {
    let named = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let seed: u64 = named.unwrap_or_else(|| RandomState::new().hash_one("outcomes") >> 16);
    println!("seed {seed}, {EXPERIMENTS} experiments a line");
    for design in Design::ALL {
        let begun = Instant::now();
        let held = simulate::coverage(design, EXPERIMENTS, seed).unwrap();
        println!("{:<22} covers {:>6.2} %  {:>8.1?}", design.name(), 100.0 * held, begun.elapsed());
    }
    let found = simulate::peeking(EXPERIMENTS, seed).unwrap();
    println!(
        "daily peeking          false positives {:.2} % (a fixed interval: {:.2} %)",
        100.0 * found.sequence,
        100.0 * found.fixed
    );
    let left = simulate::narrowing(EXPERIMENTS, seed).unwrap();
    println!("CUPED                  leaves {left:.3} of the variance (1 - rho2 = 0.400)");
    let (balanced, lost) = simulate::unbalanced(EXPERIMENTS, seed);
    println!(
        "sample ratio           stops {:.2} % of balanced and {:.2} % of broken splits",
        100.0 * balanced,
        100.0 * lost
    );
    let units: Vec<String> = (0..1_000_000).map(|i| format!("player-{i}")).collect();
    let begun = Instant::now();
    let control = units.iter().filter(|unit| arm("bench", 200_000, unit) == Arm::Control).count();
    println!(
        "assignment             1,000,000 units in {:.1?}, {control} in control",
        begun.elapsed()
    );
}
