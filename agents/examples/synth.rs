//! Writes the training set of the shipped planner:
//! `cargo run --example synth -- OUT [COUNT] [SEED] [FOLDER…]`.
//!
//! COUNT is the number of examples a tool. With `-` for OUT, lists the phrases that cannot be learnt.
//! The packs are those of the binary, or, where folders are given, those read from them.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use agents::pack::{Pack, PackFiles, shipped};
use agents::synth::{Maker, Templates};

#[expect(clippy::print_stdout, reason = "a command for people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("usage: synth OUT|- [COUNT] [SEED]")?;
    let count: usize = arguments.next().map_or(Ok(6500), |n| n.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(1), |n| n.parse())?;
    let folders = arguments.map(|folder| {
        let files = PackFiles::from_folder(Path::new(&folder))?;
        Pack::from_files(&folder, files).map(Arc::new)
    });
    let mut packs = folders.collect::<Result<Vec<_>, _>>()?;
    if packs.is_empty() {
        packs = shipped()?.to_vec();
    }
    let mut file = (out != "-")
        .then(|| std::fs::File::create(&out).map(std::io::BufWriter::new))
        .transpose()?;
    for pack in &packs {
        let templates = Templates::of(pack)?;
        let mut maker = Maker::new(pack, &templates, seed)?;
        let Some(file) = file.as_mut() else {
            for ((group, why), (times, text)) in &maker.check().rejected {
                println!("{group}\t{times}\t{why:?}\t{text}");
            }
            continue;
        };
        for example in maker.make(count * pack.tools.len()) {
            writeln!(file, "{}", example.to_json())?;
        }
        let made: usize = maker.report.made.values().sum();
        let rejected: usize = maker.report.rejected.values().map(|(times, _)| times).sum();
        println!("{}: {made} examples, {rejected} rejected", pack.manifest.id);
    }
    Ok(())
}
