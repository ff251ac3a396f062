//! Runs other programs: shows what they print, keeps it where somebody wants to count, and ends them when they take too long.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::workspace::{self, Profile};

/// No single step of the project takes longer than this.
const STEP_LIMIT: Duration = Duration::from_secs(12 * 60);

/// A program to run in the checkout's root.
pub struct Step {
    command: Command,
    shown: String,
}

/// How a program ended.
pub struct Outcome {
    /// All that it printed, both streams, line by line.
    pub text: String,
    /// Why it counts as failed; `None` when it succeeded.
    pub failure: Option<String>,
}

impl Step {
    /// A step that runs `program`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command.current_dir(workspace::root()).stdin(Stdio::null());
        Self { command, shown: program.as_ref().to_string_lossy().into_owned() }
    }

    /// A cargo step, with the cargo that runs this very program.
    pub fn cargo(verb: &str) -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).arg(verb)
    }

    /// A build of every program and library here. It is the whole workspace always: for a selection of packages cargo settles
    /// other features of what they stand on, and would make tokio, syn and most of our own crates once more.
    pub fn build(profile: Profile) -> Self {
        Self::cargo("build").arg("--workspace").args(profile.flags())
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&argument.as_ref().to_string_lossy());
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in another folder.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it on the terminal that this process has.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run(mut self) -> Result<()> {
        println!("$ {}", self.shown);
        let status = self.command.status().with_context(|| format!("{} could not be started", self.shown))?;
        if !status.success() {
            bail!("{} failed: {status}", self.shown);
        }
        Ok(())
    }

    /// Runs it unseen and gives what it printed to stdout.
    ///
    /// # Errors
    /// When it cannot be started or fails; the message has its stderr.
    pub fn output(mut self) -> Result<String> {
        let output = self.command.output().with_context(|| format!("{} could not be started", self.shown))?;
        if !output.status.success() {
            bail!(
                "{} failed: {}\n{}",
                self.shown,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("{} printed something that is not UTF-8", self.shown))
    }

    /// Runs it, shows what it prints and keeps it.
    ///
    /// # Errors
    /// When it cannot be started. That it failed is part of the outcome.
    pub fn watch(mut self) -> Result<Outcome> {
        println!("$ {}", self.shown);
        // Its own process group, so that nothing that it started outlives a step that was ended for its time.
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child =
            self.command.spawn().with_context(|| format!("{} could not be started", self.shown))?;
        let (sender, lines) = mpsc::channel();
        let readers = [
            child.stdout.take().map(|stream| forward(stream, sender.clone())),
            child.stderr.take().map(|stream| forward(stream, sender)),
        ];
        let (text, in_time) = collect(&lines, Instant::now() + STEP_LIMIT);
        if !in_time {
            end_group(&child);
        }
        let status = child.wait().context("a child could not be waited for")?;
        if in_time {
            for reader in readers.into_iter().flatten() {
                let _ = reader.join();
            }
        }
        let failure = if in_time {
            (!status.success()).then(|| status.to_string())
        } else {
            Some(format!("ended after {} minutes", STEP_LIMIT.as_secs() / 60))
        };
        Ok(Outcome { text, failure })
    }
}

fn forward(stream: impl Read + Send + 'static, lines: mpsc::Sender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    })
}

/// Shows and keeps lines until both streams have ended; false when the deadline came first.
fn collect(lines: &mpsc::Receiver<String>, deadline: Instant) -> (String, bool) {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                print!("{line}");
                let _ = std::io::stdout().flush();
                text.push_str(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return (text, true),
            Err(mpsc::RecvTimeoutError::Timeout) => return (text, false),
        }
    }
}

fn end_group(child: &Child) {
    let group = format!("-{}", child.id());
    if let Err(error) = Command::new("kill").args(["-KILL", "--", &group]).status() {
        println!("the step's process group {group} could not be ended: {error}");
    }
}
