//! Rebuilds the embedded migrations when one is added.

fn main() {
    #[expect(clippy::print_stdout, reason = "cargo reads build instructions from standard output")]
    {
        println!("cargo:rerun-if-changed=../migrations");
    }
}
