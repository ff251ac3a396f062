//! Workers as processes: started as their own process group, reaped here, and ended with all that they started.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use manta_proto::{ids::ProcessId, v1::JobConfig};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    sync::Notify,
};

use super::{
    Shared,
    logs::{LastLines, Pipe, WorkerLogs},
};
use crate::{
    core::Exit,
    limits::{PIPE_DRAIN, REAP_AGAIN, REAP_LIMIT, TERM_GRACE},
};

const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// A worker's process.
pub struct Handle {
    pid: u32,
    end: Arc<Notify>,
    logs: Option<WorkerLogs>,
}

impl Handle {
    /// Of a process without logs of a worker's kind.
    pub fn new(pid: u32, end: Arc<Notify>) -> Self {
        Self { pid, end, logs: None }
    }

    pub fn logs(&self) -> Option<WorkerLogs> {
        self.logs.clone()
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends the process group, gently at first.
    pub fn end(&self) {
        self.end.notify_one();
    }
}

/// Starts a worker; its end comes to the core as an event.
pub fn start(
    shared: &Arc<Shared>,
    worker: ProcessId,
    job: &JobConfig,
    arguments: &[String],
    program: Option<Arc<()>>,
) -> io::Result<Handle> {
    let mut child = spawn(&mut command(shared, worker, job, arguments))?;
    let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
    let last_lines = LastLines::default();
    let logs = WorkerLogs {
        out: shared.logs.open(&format!("worker-{worker}-{pid}.out")),
        err: shared.logs.open(&format!("worker-{worker}-{pid}.err")),
    };
    let pipe = |stderr: bool| Pipe {
        worker,
        stderr,
        log: Arc::clone(if stderr { &logs.err } else { &logs.out }),
        last_lines: last_lines.clone(),
    };
    let mut readers = tokio::task::JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        readers.spawn(pipe(false).read(Arc::clone(shared), stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn(pipe(true).read(Arc::clone(shared), stderr));
    }
    let end = Arc::new(Notify::new());
    let (shared, wish, written) = (Arc::clone(shared), Arc::clone(&end), logs.clone());
    tokio::spawn(async move {
        // What was fetched for it stays as long as it runs.
        let _program = program;
        let status = wait(&mut child, pid, &wish, TERM_GRACE).await;
        // Nothing that the worker started outlives it; and then its pipes end.
        signal(pid, Signal::SIGKILL);
        let drained = async { while readers.join_next().await.is_some() {} };
        if tokio::time::timeout(PIPE_DRAIN, drained).await.is_err() {
            readers.abort_all();
        }
        reap_group(pid).await;
        shared.logs.close(&written.out);
        shared.logs.close(&written.err);
        let exit = Exit {
            code: status.as_ref().ok().and_then(ExitStatus::code).unwrap_or(0),
            signal: status.as_ref().ok().and_then(ExitStatusExt::signal).unwrap_or(0),
            last_stderr: last_lines.take(),
            spawn_error: status.err().map(|error| error.to_string()).unwrap_or_default(),
        };
        shared.worker_exited(worker, pid, &exit);
    });
    Ok(Handle { pid, end, logs: Some(logs) })
}

/// A program that was written a moment ago may still be open for writing in another child of this process, between its fork and
/// its exec.
fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
    command.spawn()
}

pub(super) async fn wait(
    child: &mut Child,
    pid: u32,
    wish: &Notify,
    grace: std::time::Duration,
) -> io::Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => return status,
        () = wish.notified() => signal(pid, Signal::SIGTERM),
    }
    match tokio::time::timeout(grace, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            signal(pid, Signal::SIGKILL);
            child.wait().await
        }
    }
}

pub(super) fn signal(group: u32, signal: Signal) {
    let Ok(group) = i32::try_from(group) else { return };
    match killpg(Pid::from_raw(group), signal) {
        // No such group: all its processes ended already.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(group, %error, "a process group could not be signalled"),
    }
}

/// Takes the zombies of a worker's children, which became this process' children when the worker ended. They were killed, and may be about
/// to end: nobody else waits for them, so what is left here stays a zombie as long as the node.
pub(super) async fn reap_group(group: u32) {
    let Ok(group) = i32::try_from(group) else { return };
    let until = Instant::now() + REAP_LIMIT;
    while let Ok(status) = waitpid(Pid::from_raw(-group), Some(WaitPidFlag::WNOHANG)) {
        if status != WaitStatus::StillAlive {
            continue;
        }
        if Instant::now() > until {
            tracing::warn!(group, "a process that was killed has not ended");
            return;
        }
        tokio::time::sleep(REAP_AGAIN).await;
    }
}

fn command(shared: &Shared, worker: ProcessId, job: &JobConfig, arguments: &[String]) -> Command {
    let mut command = Command::new(&job.executable);
    command.args(arguments).envs(&job.env);
    if job.language == "python" {
        command.args(["-m", "manta._worker"]).env_remove("MANTA_WORKER");
        // A virtual environment of ours has what the driver's interpreter has.
        let finds_it = job.env.contains_key("PYTHONPATH") || job.env.contains_key("VIRTUAL_ENV");
        if let Some(folder) = package_folder(job).filter(|_| !finds_it) {
            command.env("PYTHONPATH", folder);
        }
    } else {
        command.env("MANTA_WORKER", "native");
    }
    command
        .env("MANTA_NODE_SOCKET", &shared.local_socket)
        .env("MANTA_PROCESS_ID", worker.to_string())
        .env("MANTA_TOKEN", shared.token.as_str())
        .env(
            "MANTA_JOB_ID",
            manta_proto::ids::JobId::try_from(&job.job_id).map(|id| id.to_string()).unwrap_or_default(),
        )
        .env("MANTA_SESSION_DIR", &shared.session_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if Path::new(&job.working_dir).is_dir() {
        command.current_dir(&job.working_dir);
    }
    command
}

/// The folder in which the driver found the package: an interpreter that is started without the driver's path would not.
fn package_folder(job: &JobConfig) -> Option<&str> {
    let has_package = |folder: &&String| Path::new(folder).join("manta/_worker.py").is_file();
    job.sys_path.iter().find(has_package).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_killed_a_moment_ago_is_reaped_too() {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        for _ in 0..20 {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", "sleep 1000 & exit 0"]).process_group(0);
            let mut child = shell.spawn().unwrap();
            let group = child.id().unwrap();
            child.wait().await.unwrap();
            signal(group, Signal::SIGKILL);
            reap_group(group).await;
            let left = waitpid(Pid::from_raw(-group.cast_signed()), Some(WaitPidFlag::WNOHANG));
            assert_eq!(left, Err(Errno::ECHILD));
        }
    }
}
