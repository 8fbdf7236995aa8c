//! Rebuilds when a file of a shipped pack changes; the packs are embedded in the library.

fn main() {
    println!("cargo::rerun-if-changed=packs");
    println!("cargo::rerun-if-changed=scaffold");
}
