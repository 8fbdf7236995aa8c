//! The files by which operators install the server, checked by the tools that read them where this
//! machine has them.

use std::path::Path;
use std::process::Command;

#[test]
fn the_unit_is_read_by_systemd_and_locks_the_service_in() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tessera.service");
    let text = std::fs::read_to_string(unit).unwrap();
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("tessera.service");
    // The program is not installed here; the one of this test is.
    std::fs::write(&own, text.replace("/usr/local/bin/tessera", env!("CARGO_BIN_EXE_tessera")))
        .unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&own).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && said.is_empty(), "{said}");
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(&own)
        .output()
        .unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}
