//! A cluster that belongs to one driver: the `manta local` program, which ends when the pipe to its stdin does, whatever ends the
//! driver.

use std::{
    io::Read,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use manta_proto::token::Token;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;

use crate::{DriverOptions, JoinError};

/// How long a private cluster may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The line that it prints, and what it says on stderr when it fails.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A running private cluster.
pub(super) struct PrivateCluster {
    pub address: String,
    pub node_socket: PathBuf,
    pub token: Token,
    child: Child,
    /// The cluster lives as long as this is open.
    lifeline: ChildStdin,
    /// Ends when the program does.
    stdout: ChildStdout,
}

/// The line that `manta local --json` prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    address: String,
    node_sockets: Vec<PathBuf>,
}

impl PrivateCluster {
    pub fn start(options: &DriverOptions) -> Result<Self, JoinError> {
        let binary = find_binary(options).ok_or(JoinError::NoBinary)?;
        let failed = |cause: String| JoinError::PrivateCluster { binary: binary.clone(), cause };
        let token = Token::random();
        let mut command = Command::new(&binary);
        command.args(["local", "--lifeline-stdin", "--json"]);
        if let Some(num_cpus) = options.num_cpus {
            command.args(["--num-cpus", &num_cpus.to_string()]);
        }
        if let Some(bytes) = options.object_store_memory {
            command.args(["--object-store-memory", &bytes.to_string()]);
        }
        if !options.resources.is_empty() {
            let resources: std::collections::BTreeMap<_, _> = options.resources.iter().cloned().collect();
            command.args(["--resources", &serde_json::json!(resources).to_string()]);
        }
        for (key, value) in &options.labels {
            command.args(["--labels", &format!("{key}={value}")]);
        }
        // A group of its own: Ctrl-C in the driver's terminal is for the driver, which then ends the cluster in order.
        command.process_group(0).env("MANTA_TOKEN", token.as_str());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (Some(lifeline), Some(mut stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed("its pipes could not be made".to_owned()));
        };
        let complaints =
            thread::Builder::new().name("manta-cluster".to_owned()).spawn(move || read_complaints(stderr));
        let complaints = complaints.map_err(|error| failed(error.to_string()))?;
        let ready = read_line(&mut stdout).and_then(|line| {
            serde_json::from_slice::<Ready>(&line)
                .map_err(|error| format!("it printed something else than its addresses: {error}"))
        });
        match ready.map(|ready| (ready.address, ready.node_sockets.into_iter().next())) {
            Ok((address, Some(node_socket))) => {
                Ok(Self { address, node_socket, token, child, lifeline, stdout })
            }
            outcome => {
                drop(lifeline);
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                let said = complaints.join().unwrap_or_default();
                let cause = outcome.err().unwrap_or_else(|| "it has no node".to_owned());
                Err(failed(if said.trim().is_empty() { cause } else { said.trim().to_owned() }))
            }
        }
    }

    /// Closes the lifeline and waits for the end; a cluster that takes longer is killed, and its watcher clears up after it.
    pub fn end(self, limit: Duration) {
        let Self { mut child, lifeline, mut stdout, .. } = self;
        drop(lifeline);
        if read_to_end(&mut stdout, limit).is_err() {
            tracing::warn!("the private cluster did not end within {} s and is killed", limit.as_secs());
            // It may have ended by itself just now.
            let _ = child.kill();
        }
        // It is reaped or was never ours.
        let _ = child.wait();
    }
}

/// MANTA_BIN; the binding's hint; beside the running program and above it; PATH.
fn find_binary(options: &DriverOptions) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("MANTA_BIN").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let program = std::env::current_exe().ok();
    // A fixture or example of a workspace lies one or two folders below the programs.
    let beside = program
        .iter()
        .flat_map(|program| program.ancestors().skip(1).take(3))
        .map(|folder| folder.join("manta"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("manta")).collect::<Vec<_>>();
    options.manta_bin_hint.clone().into_iter().chain(beside).chain(on_path).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The first line that the program prints.
fn read_line(stdout: &mut ChildStdout) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + START_LIMIT;
    let mut line = Vec::new();
    let mut piece = [0; 4096];
    while line.len() < TEXT_BYTES_MAX {
        if !wait_readable(stdout, deadline)? {
            return Err(format!("it was not ready within {} s", START_LIMIT.as_secs()));
        }
        let length = stdout.read(&mut piece).map_err(|error| error.to_string())?;
        if length == 0 {
            return Err("it ended before it was ready".to_owned());
        }
        line.extend_from_slice(&piece[..length]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
    }
    Err("it printed a line without an end".to_owned())
}

fn read_to_end(stdout: &mut ChildStdout, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    let mut piece = [0; 4096];
    while wait_readable(stdout, deadline)? {
        if stdout.read(&mut piece).map_err(|error| error.to_string())? == 0 {
            return Ok(());
        }
    }
    Err("it is still there".to_owned())
}

fn wait_readable(stdout: &ChildStdout, deadline: Instant) -> Result<bool, String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).map_err(|error| error.to_string())?;
        match poll(&mut fds, timeout) {
            Ok(count) => return Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.to_string()),
        }
    }
}

/// Keeps the first part of what the program complains of, and lets the rest go by, so that it never waits for this process.
fn read_complaints(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length) = stderr.read(&mut piece) {
        if length == 0 {
            break;
        }
        let room = TEXT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..length.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
