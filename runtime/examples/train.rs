//! Trains a planner without the server:
//! `cargo run --release -p runtime --example train -- DATA OUT MINUTES [HIDDEN LAYERS INNER]`, with
//! `--init FOLDER` to start from a planner, `--resume` to go on from the checkpoint in OUT, and
//! `--seed N`.

use std::io::Write as _;
use std::ops::ControlFlow;

use runtime::train::{Options, read, train};

#[expect(clippy::print_stdout, reason = "a command for people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::default();
    let mut plain = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--resume" => options.resume = true,
            "--init" => options.init = Some(value()?.into()),
            "--seed" => options.seed = value()?.parse()?,
            _ => plain.push(argument),
        }
    }
    let [data, out, minutes, rest @ ..] = plain.as_slice() else {
        return Err("usage: train DATA OUT MINUTES [HIDDEN LAYERS INNER]".into());
    };
    options.out = out.into();
    options.minutes = minutes.parse()?;
    if let [hidden, layers, inner] = rest {
        options.hidden = hidden.parse()?;
        options.layers = layers.parse()?;
        options.inner = inner.parse()?;
    }
    let examples = read(data.as_ref())?;
    println!("{} examples", examples.len());
    let report = train(&examples, &options, &mut |p| {
        println!(
            "step {:6}  {:5.1} %  loss {:.4}  exact {:5.1} %  {:.0} tokens/s  {:.1} examples/s",
            p.step,
            p.done * 100.0,
            p.loss,
            p.exact * 100.0,
            p.tokens_per_s,
            p.examples_per_s
        );
        // A closed pipe shows at the next line.
        drop(std::io::stdout().flush());
        ControlFlow::Continue(())
    })?;
    let total = report.total();
    println!("held out: {} of {} right", total.right, total.examples);
    for ((group, lang), score) in &report.groups {
        println!("{group}\t{lang}\t{}/{}", score.right, score.examples);
    }
    Ok(())
}
