//! Processes in the background: the parent waits for one line that says what they became, or for the sentence with which they
//! failed.

use std::{
    fs::OpenOptions,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use manta_proto::token::Token;
use serde::{Serialize, de::DeserializeOwned};

/// Starts `manta ARGS` in its own session and waits until it is ready.
///
/// # Errors
/// With the sentence that it wrote when it failed.
pub fn start<T: DeserializeOwned>(args: &[String], token: &Token) -> anyhow::Result<T> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(std::env::current_exe().context("this program's own file is not known")?);
    command.args(args).env("MANTA_TOKEN", token.as_str()).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: setsid(2) is async-signal-safe and touches no memory of this process.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(|_| ()).map_err(io::Error::from));
    }
    let mut child = command.spawn().context("a background process cannot be started")?;
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("a background process has no pipes");
    };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        let mut words = String::new();
        stderr.read_to_string(&mut words)?;
        let status = child.wait()?;
        let words = words.trim().strip_prefix("manta: ").unwrap_or(words.trim()).to_owned();
        if words.is_empty() {
            bail!("'manta {}' ended before it was ready ({status})", args.join(" "));
        }
        bail!("{words}");
    }
    serde_json::from_str(&line).context("a background process said something that is not understood")
}

/// Tells the parent that this process is ready.
///
/// # Errors
/// When nobody listens any more.
pub fn ready(message: &impl Serialize) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, message)?;
    stdout.write_all(b"\n")?;
    stdout.flush().context("whoever started this process is gone")
}

/// Lets go of the parent's pipes, which end with it.
///
/// # Errors
/// When `/dev/null` cannot be opened.
pub fn detach() -> anyhow::Result<()> {
    let null =
        OpenOptions::new().read(true).write(true).open("/dev/null").context("/dev/null cannot be opened")?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// Resolves when this process is told to end by SIGINT or SIGTERM.
///
/// # Errors
/// When signals cannot be listened to.
pub fn told_to_end() -> anyhow::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
