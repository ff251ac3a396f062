//! Drivers of submitted jobs as processes: a shell runs the entrypoint, in a process group of its own.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use manta_proto::v1::SubmittedJob;
use tokio::{process::Command, sync::Notify};

use super::{
    Shared,
    logs::{LastLines, read_lines},
    process::{self, Handle},
};
use crate::{
    core::Exit,
    limits::{DRIVER_GRACE, PIPE_DRAIN},
};

/// What the driver's environment is.
pub struct Place {
    pub sys_path: Vec<String>,
    pub working_dir: Option<String>,
    pub env: Vec<(String, String)>,
    /// The cluster that it is to join.
    pub head_address: String,
}

/// The name of a submitted job's log.
pub fn log_name(submission_id: &str) -> String {
    format!("job-driver-{submission_id}.log")
}

/// Starts a driver; its end comes to the core as an event.
pub fn start(shared: &Arc<Shared>, job: &SubmittedJob, place: Place) -> io::Result<Handle> {
    // One pipe for both, so that lines stand in the order in which they were written.
    let (reader, writer) = io::pipe()?;
    let mut command = command(shared, job, place);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    // It holds the other end of the pipe.
    drop(command);
    let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
    let source = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into())?;
    let log = shared.logs.open(&log_name(&job.submission_id));
    let last_lines = LastLines::default();
    let (lines, file) = (last_lines.clone(), Arc::clone(&log));
    let mut reader = tokio::spawn(async move {
        read_lines(source, |text| {
            file.write(text.as_bytes());
            lines.extend(&text);
        })
        .await;
    });
    let end = Arc::new(Notify::new());
    let (shared, wish, id) = (Arc::clone(shared), Arc::clone(&end), job.submission_id.clone());
    tokio::spawn(async move {
        let status = process::wait(&mut child, pid, &wish, DRIVER_GRACE).await;
        // Nothing that the driver started outlives it; and then its pipe ends.
        process::signal(pid, nix::sys::signal::Signal::SIGKILL);
        if tokio::time::timeout(PIPE_DRAIN, &mut reader).await.is_err() {
            reader.abort();
        }
        process::reap_group(pid).await;
        shared.logs.close(&log);
        let exit = Exit {
            code: status.as_ref().ok().and_then(ExitStatus::code).unwrap_or(0),
            signal: status.as_ref().ok().and_then(ExitStatusExt::signal).unwrap_or(0),
            last_stderr: last_lines.take(),
            spawn_error: status.err().map(|error| error.to_string()).unwrap_or_default(),
        };
        shared.driver_exited(&id, pid, &exit);
    });
    Ok(Handle::new(pid, end))
}

fn command(shared: &Shared, job: &SubmittedJob, place: Place) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &job.entrypoint]).envs(place.env);
    if !place.sys_path.is_empty() {
        let inherited = std::env::var("PYTHONPATH").ok().filter(|path| !path.is_empty());
        let path: Vec<String> = place.sys_path.into_iter().chain(inherited).collect();
        command.env("PYTHONPATH", path.join(":"));
    }
    command
        .env("MANTA_ADDRESS", place.head_address)
        .env("MANTA_TOKEN", shared.token.as_str())
        .env("MANTA_SUBMISSION_ID", &job.submission_id)
        .env("MANTA_JOB_RUNTIME_ENV", &job.runtime_env)
        // What it prints appears in its log at once.
        .env("PYTHONUNBUFFERED", "1");
    match place.working_dir.or_else(|| std::env::var("HOME").ok()) {
        Some(folder) if std::path::Path::new(&folder).is_dir() => command.current_dir(folder),
        _ => &mut command,
    };
    command
}
