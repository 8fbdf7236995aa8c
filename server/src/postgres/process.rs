//! The Postgres processes: as whom they run, how they are made, started and stopped.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{ClusterError, folder, io};

/// The system user that Postgres runs as: the own one, or `postgres` when the own one is root.
#[derive(Debug, Clone)]
pub(super) struct User {
    name: String,
    own_name: String,
    own_uid: u32,
    uid: u32,
    gid: u32,
}

impl User {
    pub(super) fn choose() -> Result<Self, ClusterError> {
        let own_uid = std::fs::metadata("/proc/self").map_err(io("reading the own user"))?.uid();
        let users = std::fs::read_to_string("/etc/passwd").map_err(io("reading /etc/passwd"))?;
        let mut entries = users.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid: u32 = fields.nth(1)?.parse().ok()?;
            let gid: u32 = fields.next()?.parse().ok()?;
            Some((name.to_owned(), uid, gid))
        });
        if own_uid == 0 {
            let (name, uid, gid) =
                entries.find(|(name, ..)| name == "postgres").ok_or(ClusterError::NoUser)?;
            return Ok(Self { name, own_name: "root".to_owned(), own_uid, uid, gid });
        }
        let (name, uid, gid) =
            entries.find(|(_, uid, _)| *uid == own_uid).ok_or_else(|| ClusterError::Program {
                program: "initdb",
                output: format!("user {own_uid} has no entry in /etc/passwd, which Postgres needs"),
            })?;
        Ok(Self { own_name: name.clone(), name, own_uid, uid, gid })
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    pub(super) fn own_uid(&self) -> u32 {
        self.own_uid
    }

    fn switches(&self) -> bool {
        self.uid != self.own_uid
    }

    /// Gives a path to the user.
    pub(super) fn own(&self, path: &Path) -> Result<(), ClusterError> {
        if !self.switches() {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).map_err(io(format!(
            "giving {} to {}",
            path.display(),
            self.name
        )))
    }

    /// Shows that the user can walk down to `path`; names the parent that blocks.
    pub(super) fn can_reach(&self, path: &Path) -> Result<(), ClusterError> {
        if !self.switches() {
            return Ok(());
        }
        for parent in path.ancestors() {
            let found = std::fs::metadata(parent)
                .map_err(io(format!("looking at {}", parent.display())))?;
            let shift = if found.uid() == self.uid {
                6
            } else if found.gid() == self.gid {
                3
            } else {
                0
            };
            if found.permissions().mode() >> shift & 1 == 0 {
                return Err(ClusterError::Folder {
                    path: parent.to_owned(),
                    reason: format!(
                        "Postgres runs as `{}`, which may not enter it; hint: pass --data /var/lib/tessera, or `chmod o+x {}`",
                        self.name,
                        parent.display()
                    ),
                });
            }
        }
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0);
        if self.switches() {
            command.gid(self.gid).uid(self.uid);
        }
        command
    }
}

/// Makes an empty cluster.
pub(super) fn init(bin: &Path, data: &Path, user: &User) -> Result<(), ClusterError> {
    // A first start that was killed leaves a folder without PG_VERSION, which initdb refuses.
    if data.exists() {
        std::fs::remove_dir_all(data).map_err(io("removing a half-made cluster"))?;
    }
    std::fs::create_dir(data).map_err(io(format!("making {}", data.display())))?;
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700))
        .map_err(io("protecting the cluster"))?;
    user.own(data)?;
    let output = user
        .command(&bin.join("initdb"))
        .arg("--pgdata")
        .arg(data)
        .args(["--username=tessera_super", "--auth=peer", "--encoding=UTF8", "--locale=C.UTF-8"])
        .args(["--no-instructions"])
        .output()
        .map_err(io("starting initdb"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(ClusterError::Program { program: "initdb", output: said.trim().to_owned() })
}

/// Lets in the own user and the cluster's user, by the socket alone.
pub(super) fn write_access(data: &Path, user: &User) -> Result<(), ClusterError> {
    let mut names = vec![user.own_name.as_str(), user.name.as_str()];
    names.dedup();
    let map: String = names
        .iter()
        .flat_map(|name| {
            ["tessera_super", "tessera_rt"].map(|role| format!("tessera {name} {role}\n"))
        })
        .collect();
    for (file, text) in
        [("pg_hba.conf", "local all all peer map=tessera\n"), ("pg_ident.conf", map.as_str())]
    {
        let path = data.join(file);
        std::fs::write(&path, text).map_err(io(format!("writing {}", path.display())))?;
        user.own(&path)?;
    }
    Ok(())
}

/// Starts the server as a direct child, in its own process group so that Ctrl-C reaches only us.
pub(super) fn spawn(
    bin: &Path,
    data: &Path,
    socket: &Path,
    log: &Path,
    user: &User,
) -> Result<Child, ClusterError> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    user.command(&bin.join("postgres"))
        .arg("-D")
        .arg(data)
        .arg("-k")
        .arg(socket)
        .args(["-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"])
        .args(["-c", "max_connections=64", "-c", "shared_buffers=64MB"])
        // The text of other tenants' statements is visible to the same role; keep little of it.
        .args(["-c", "track_activity_query_size=100"])
        .stdout(open().map_err(io(format!("opening {}", log.display())))?)
        .stderr(open().map_err(io(format!("opening {}", log.display())))?)
        .spawn()
        .map_err(io("starting postgres"))
}

/// Returns the end of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// Stops the cluster fast (sessions are ended, nothing is lost) and waits for it.
pub(super) fn stop(child: Option<Child>, data: &Path) -> Result<(), ClusterError> {
    let Some(pid) = folder::postmaster(data) else { return Ok(()) };
    Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status()
        .map_err(io("signalling postgres"))?;
    if let Some(mut child) = child {
        child.wait().map_err(io("waiting for postgres"))?;
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while data.join("postmaster.pid").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
