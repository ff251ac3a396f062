//! Fixture programs that run as drivers on a cluster.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    PATIENCE,
    cluster::{self, Cluster},
    program,
};

/// A running driver.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    name: String,
    stdout: thread::JoinHandle<String>,
    stderr: thread::JoinHandle<String>,
}

/// How a driver ended and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
}

impl Driver {
    /// Starts a Python fixture on the cluster.
    ///
    /// # Errors
    /// When there is no Python or it cannot be started.
    pub fn python(cluster: &Cluster, fixture: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = program::isolated(&program::python()?, cluster.home());
        command
            .arg(program::python_source(fixture))
            .args(arguments)
            .env("PYTHONPATH", program::python_path());
        Self::start(on(cluster, command), fixture)
    }

    /// Starts a Rust fixture on the cluster.
    ///
    /// # Errors
    /// When it is not built or cannot be started.
    pub fn rust(cluster: &Cluster, fixture: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = program::isolated(&program::rust_fixture(fixture)?, cluster.home());
        command.args(arguments);
        Self::start(on(cluster, command), fixture)
    }

    /// Starts a command as a driver.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, name: &str) -> Result<Self> {
        if let Ok(manta) = program::manta() {
            command.env("MANTA_BIN", manta);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        Ok(Self { child, name: name.to_owned(), stdout, stderr })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it as `kill -9` does and reaps it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("{} could not be killed", self.name))?;
        self.child.wait().context("a killed driver could not be reaped")?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then, and the message has what it printed.
    pub fn end(self) -> Result<Ended> {
        self.end_within(PATIENCE)
    }

    /// Waits for its end, at most `patience`.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then, and the message has what it printed.
    pub fn end_within(mut self, patience: Duration) -> Result<Ended> {
        let status = cluster::wait(&mut self.child, patience);
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let stdout = self.stdout.join().unwrap_or_default();
        let stderr = self.stderr.join().unwrap_or_default();
        match status {
            Some(status) => Ok(Ended { status, stdout, stderr }),
            None => bail!("{} did not end within {patience:?}; it printed:\n{stdout}{stderr}", self.name),
        }
    }

    /// Waits for its end and gives its stdout.
    ///
    /// # Errors
    /// When it fails or does not end.
    pub fn result(self) -> Result<String> {
        let name = self.name.clone();
        let ended = self.end()?;
        if !ended.status.success() {
            bail!("{name} failed with {}:\n{}{}", ended.status, ended.stdout, ended.stderr);
        }
        Ok(ended.stdout)
    }
}

/// A command that finds the cluster.
#[must_use]
pub fn on(cluster: &Cluster, mut command: Command) -> Command {
    command.env("MANTA_ADDRESS", cluster.address()).env("MANTA_TOKEN", cluster.token());
    command
}

/// Runs `manta` with arguments to its end.
///
/// # Errors
/// When it cannot be started or does not end.
pub fn manta(home: &Path, arguments: &[&str]) -> Result<Ended> {
    let mut command = program::isolated(&program::manta()?, home);
    command.args(arguments);
    Driver::start(command, "manta")?.end()
}

fn collect(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
