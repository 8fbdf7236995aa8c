//! Rebuilds when a file of a shipped pack changes; the packs are embedded in the library.

#[expect(clippy::print_stdout, reason = "this is how a build script talks to cargo")]
fn main() {
    println!("cargo::rerun-if-changed=packs");
}
