//! Starts the built binary on an empty folder and talks to it.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A data folder that Postgres may enter even when the tests run as root.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        // The tests' own clients need one; a second time changes nothing.
        drop(rustls::crypto::ring::default_provider().install_default());
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new().prefix("tessera-it-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

/// Returns the binary with an environment that names no other database or folder.
pub(crate) fn tessera(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
    for name in ["DATABASE_URL", "TESSERA_DATA", "TESSERA_PORT", "TESSERA_HOST"] {
        command.env_remove(name);
    }
    command.env("TESSERA_LOG", "error");
    command.arg("--data").arg(data).stdin(Stdio::null());
    // What these tests are about must not hang on how sure a planner is; `settings` sets its own.
    command.env("TESSERA_ABSTAIN_BELOW", "0");
    command
}

pub(crate) fn output(data: &Path, arguments: &[&str]) -> Output {
    tessera(data).args(arguments).output().unwrap()
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) said: Vec<String>,
    pub(crate) started_in: Duration,
    data: PathBuf,
    // Held open: a server whose output nobody can read ends with an error.
    _out: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts the server on a free port and waits for the line that names its address.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// As [`Server::start`], with further arguments.
    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Self {
        Self::of(tessera(data), data, arguments)
    }

    /// As [`Server::start_with`], with everything that it logs in a file.
    pub(crate) fn start_logging(data: &Path, arguments: &[&str], log: &Path) -> Self {
        let mut serve = tessera(data);
        // What a statement binds is never logged; bytes of connections are, at the finest level.
        serve.env("TESSERA_LOG", "trace,sqlx=debug,hyper=debug,hyper_util=debug,h2=debug,mio=info");
        serve.stderr(std::fs::File::create(log).unwrap());
        Self::of(serve, data, arguments)
    }

    fn of(mut serve: Command, data: &Path, arguments: &[&str]) -> Self {
        let begun = Instant::now();
        serve.args(["serve", "--port", "0"]).args(arguments);
        let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the server said nothing").unwrap();
        let address = first.split("http://").nth(1).expect("no address").trim().to_owned();
        let started_in = begun.elapsed();
        let mut said = vec![first];
        while let Some(Ok(line)) = lines.next() {
            let end = line.starts_with("New keys") || line.contains("demo-gaming");
            said.push(line);
            if end {
                break;
            }
        }
        Self { child, address, said, started_in, data: data.to_owned(), _out: lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server as `kill -9` does; its Postgres goes on.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.data = PathBuf::new();
    }

    /// Stops the server with SIGTERM and returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        signal("-TERM", self.child.id());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.data.as_os_str().is_empty() || matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        signal("-TERM", self.child.id());
        drop(self.child.wait());
    }
}

fn signal(name: &str, pid: u32) {
    drop(Command::new("kill").args([name, &pid.to_string()]).status());
}
