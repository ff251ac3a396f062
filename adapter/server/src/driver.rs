//! A driver that a session launched: its start, what it prints, its end.

use std::{path::Path, process::ExitStatus, process::Stdio};

use manta_session::{Event, LaunchOptions};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    happening::{Access, Events},
    limits::{DRIVER_END_WITHIN, DRIVER_OUTPUT_BYTES_MAX, LAST_OUTPUT_WITHIN},
};

/// A driver that was asked to start.
pub(crate) struct Driver {
    kill: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Driver {
    /// Starts it under the cluster that `access` leads to.
    pub fn start(options: LaunchOptions, access: &Access, events: Events) -> Self {
        let (kill, killed) = mpsc::channel(1);
        let command = command(&options, access);
        let task = tokio::spawn(run(options, command, killed, events));
        Self { kill, task }
    }

    /// Tells it to end; it is killed when it takes too long.
    pub fn kill(&mut self) {
        // Told already, or at its end.
        let _told = self.kill.try_send(());
    }

    /// Waits for its end, which comes with this at the latest.
    pub async fn end(mut self) {
        self.kill();
        let Self { mut task, kill } = self;
        if timeout(DRIVER_END_WITHIN * 2, &mut task).await.is_err() {
            task.abort();
        }
        drop(kill);
    }
}

/// The command line: Python files run under an interpreter, all else as it is.
fn command(options: &LaunchOptions, access: &Access) -> Command {
    let is_python = Path::new(&options.program).extension().is_some_and(|extension| extension == "py");
    let mut command = if is_python || options.python.is_some() {
        let mut command = Command::new(options.python.as_deref().unwrap_or("python3"));
        // What the driver prints is to be seen when it is printed.
        command.env("PYTHONUNBUFFERED", "1").arg(&options.program);
        command
    } else {
        Command::new(&options.program)
    };
    command.args(&options.args);
    for (name, value) in &options.env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("MANTA_ADDRESS", &access.address).env("MANTA_TOKEN", access.token.as_str());
    if let Some(folder) = &options.cwd {
        command.current_dir(folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    command
}

async fn run(options: LaunchOptions, mut command: Command, mut killed: mpsc::Receiver<()>, events: Events) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.as_std().get_program().to_string_lossy().into_owned();
            let advice = match error.kind() {
                std::io::ErrorKind::NotFound if options.cwd.is_some() => {
                    "check 'program', 'python' and 'cwd'"
                }
                std::io::ErrorKind::NotFound => "check 'program' and 'python'",
                std::io::ErrorKind::PermissionDenied => "is it executable?",
                _ => "check the launch configuration",
            };
            let sentence = format!("the driver could not be started: {program}: {error}; {advice}");
            let _told = events.send(Event::DriverFailed(sentence)).await;
            return;
        }
    };
    let _told = events.send(Event::DriverStarted { pid: child.id().unwrap_or(0) }).await;
    let mut prints = tokio::task::JoinSet::new();
    if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
        prints.spawn(pump(stdout, false, events.clone()));
        prints.spawn(pump(stderr, true, events.clone()));
    }
    let status = tokio::select! {
        status = child.wait() => status,
        // A dropped sender is the session's end as well.
        _ = killed.recv() => terminate(&mut child).await,
    };
    let last_output = async { while prints.join_next().await.is_some() {} };
    if timeout(LAST_OUTPUT_WITHIN, last_output).await.is_err() {
        tracing::debug!("something that the driver started still holds its output open");
    }
    let (code, cause) = match status {
        Ok(status) => ending(status),
        Err(error) => (1, Some(format!("the driver's end could not be observed: {error}"))),
    };
    let _told = events.send(Event::DriverExited { code, cause }).await;
}

/// Asks the driver's process group to end, and kills it when it does not.
async fn terminate(child: &mut Child) -> std::io::Result<ExitStatus> {
    #[cfg(unix)]
    {
        use nix::sys::signal::Signal;
        signal_group(child, Signal::SIGTERM);
        if let Ok(status) = timeout(DRIVER_END_WITHIN, child.wait()).await {
            return status;
        }
        signal_group(child, Signal::SIGKILL);
    }
    child.start_kill()?;
    child.wait().await
}

#[cfg(unix)]
fn signal_group(child: &Child, signal: nix::sys::signal::Signal) {
    let group = child.id().and_then(|pid| i32::try_from(pid).ok());
    let Some(group) = group else { return };
    if let Err(error) = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), signal) {
        tracing::debug!(%error, "the driver has ended already");
    }
}

fn ending(status: ExitStatus) -> (i32, Option<String>) {
    if let Some(code) = status.code() {
        return (code, None);
    }
    #[cfg(unix)]
    if let Some(number) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = nix::sys::signal::Signal::try_from(number).map_or("unknown", |signal| signal.as_str());
        return (128 + number, Some(format!("the driver was ended by signal {number} ({name})")));
    }
    (1, Some(format!("the driver ended: {status}")))
}

/// Passes on what is printed, in whole lines where they come in time.
async fn pump(mut source: impl AsyncRead + Unpin, stderr: bool, events: Events) {
    let mut pending: Vec<u8> = Vec::new();
    loop {
        pending.reserve(DRIVER_OUTPUT_BYTES_MAX);
        let is_end = match source.read_buf(&mut pending).await {
            Ok(length) => length == 0,
            Err(error) => {
                tracing::debug!(%error, "the driver's output could not be read");
                true
            }
        };
        let whole = match pending.iter().rposition(|&byte| byte == b'\n') {
            _ if is_end || pending.len() >= DRIVER_OUTPUT_BYTES_MAX => pending.len(),
            Some(newline) => newline + 1,
            None => 0,
        };
        if whole > 0 {
            let text = String::from_utf8_lossy(&pending[..whole]).into_owned();
            pending.drain(..whole);
            if !events.send(Event::DriverOutput { stderr, text }).await {
                return;
            }
        }
        if is_end {
            return;
        }
    }
}
