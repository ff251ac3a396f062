//! A private cluster of real processes, with a home of its own, that ends with the test.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{PATIENCE, program};

/// What `manta local` says when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    address: String,
    token: String,
    session_dir: PathBuf,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    child: Child,
    // The cluster ends when this closes, also when the test's process is killed.
    lifeline: Option<ChildStdin>,
    home: tempfile::TempDir,
    ready: Ready,
}

impl Cluster {
    /// Starts `nodes` nodes with `cpus` CPUs each.
    ///
    /// # Errors
    /// When it does not get ready; the message has what it printed.
    pub fn start(nodes: u32, cpus: u32) -> Result<Self> {
        Self::start_with(nodes, cpus, |_| {})
    }

    /// The same, with a change to the command that starts it.
    ///
    /// # Errors
    /// When it does not get ready; the message has what it printed.
    pub fn start_with(nodes: u32, cpus: u32, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("manta-test-")
            .tempdir()
            .context("no temporary folder could be made")?;
        let mut command = program::isolated(&program::manta()?, home.path());
        command.args([
            "local",
            "--nodes",
            &nodes.to_string(),
            "--num-cpus",
            &cpus.to_string(),
            "--lifeline-stdin",
            "--json",
        ]);
        change(&mut command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("manta local could not be started")?;
        let lifeline = child.stdin.take();
        let first = first_line(child.stdout.take().context("no stdout")?);
        let Some(line) = first.recv_timeout(PATIENCE).ok().filter(|line| !line.trim().is_empty()) else {
            let _ = child.kill();
            let mut stderr = String::new();
            if let Some(mut stream) = child.stderr.take() {
                let _ = stream.read_to_string(&mut stderr);
            }
            let _ = child.wait();
            bail!("manta local did not get ready: {}", stderr.trim());
        };
        drain(child.stderr.take());
        let ready = serde_json::from_str(&line).with_context(|| format!("manta local said {line:?}"))?;
        Ok(Self { child, lifeline, home, ready })
    }

    /// Where the head listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.ready.address
    }

    /// The token that every call needs.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.ready.token
    }

    /// The folder of its sockets and logs.
    #[must_use]
    pub fn session_dir(&self) -> &Path {
        &self.ready.session_dir
    }

    /// The home that its programs share.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The process of head and nodes.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order and checks that it leaves nothing behind.
    ///
    /// # Errors
    /// When it does not end, ends with an error, or leaves its folder.
    pub fn stop(mut self) -> Result<()> {
        self.lifeline = None;
        let status = wait(&mut self.child, PATIENCE)
            .context("the cluster did not end after its lifeline was closed")?;
        if !status.success() {
            bail!("the cluster ended with {status}");
        }
        if self.ready.session_dir.exists() {
            bail!("the cluster left {} behind", self.ready.session_dir.display());
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.lifeline = None;
        if wait(&mut self.child, Duration::from_secs(10)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn first_line(stdout: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        let _ = reader.read_line(&mut line);
        let _ = sender.send(line);
        // Read on, so that the cluster never blocks on a full pipe.
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    });
    receiver
}

fn drain(stream: Option<impl Read + Send + 'static>) {
    if let Some(mut stream) = stream {
        thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
    }
}

/// Waits for a child's end, at most `patience`.
///
/// The standard library has no wait with a limit, so a thread waits for the process through a pidfd's poll.
pub fn wait(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    if ended_within(child.id(), patience) { child.wait().ok() } else { None }
}

/// Whether a process ends within `patience`; true when it is gone already.
#[must_use]
pub fn ended_within(pid: u32, patience: Duration) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return true };
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let Ok(fd) = i32::try_from(fd) else { return true };
    if fd < 0 {
        return true;
    }
    let deadline = Instant::now() + patience;
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let ready = loop {
        let left =
            i32::try_from(deadline.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `poll` is one valid entry and lives over the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, left) };
        if ready >= 0 {
            break ready > 0;
        }
    };
    // SAFETY: the descriptor is ours and is not used again.
    unsafe { libc::close(fd) };
    ready
}

/// A process as /proc shows it.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Its command line.
    pub command: Vec<String>,
}

/// All processes below `ancestor`.
#[must_use]
pub fn descendants(ancestor: u32) -> Vec<Process> {
    let mut all: Vec<Process> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| process(entry.file_name().to_str()?))
        .collect();
    let mut family = vec![ancestor];
    let mut found = Vec::new();
    while let Some(position) = all.iter().position(|process| family.contains(&process.parent)) {
        let process = all.swap_remove(position);
        family.push(process.pid);
        found.push(process);
    }
    found
}

fn process(name: &str) -> Option<Process> {
    let pid = name.parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
    // The program's name stands in parentheses and may itself have spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let command = std::fs::read(format!("/proc/{name}/cmdline")).ok()?;
    let command = command
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    Some(Process { pid, parent, command })
}

/// A process that stands still until this is dropped.
pub struct Frozen(u32);

impl Frozen {
    /// Stops a process as Ctrl-Z does.
    ///
    /// # Errors
    /// When the kernel refuses, for instance because it has ended already.
    pub fn new(pid: u32) -> Result<Self> {
        send(pid, libc::SIGSTOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _gone = send(self.0, libc::SIGCONT);
    }
}

/// Kills a process as `kill -9` does.
///
/// # Errors
/// When the kernel refuses, for instance because it has ended already.
pub fn kill_9(pid: u32) -> Result<()> {
    send(pid, libc::SIGKILL)
}

fn send(pid: u32, signal: i32) -> Result<()> {
    let process = libc::pid_t::try_from(pid).context("no such process id")?;
    // SAFETY: kill takes two integers and touches no memory.
    if unsafe { libc::kill(process, signal) } != 0 {
        bail!("signal {signal} could not be sent to process {pid}: {}", std::io::Error::last_os_error());
    }
    Ok(())
}
