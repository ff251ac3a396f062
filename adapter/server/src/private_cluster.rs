//! A cluster for one launched driver: `manta local`, which lives as long as its stdin is held open.

use std::{
    collections::VecDeque,
    env,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use manta_proto::{limits::LAST_STDERR_LINES, token::Token};
use manta_session::LaunchOptions;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use crate::{
    happening::Access,
    limits::{CLUSTER_READY_WITHIN, GOODBYE_WITHIN},
};

/// The line by which `manta local` says that it is ready.
#[derive(Deserialize)]
struct Ready {
    address: String,
    token: String,
}

/// A private cluster. Dropped, it is killed; ended, it goes in order.
pub(crate) struct PrivateCluster {
    child: Child,
    lifeline: ChildStdin,
    access: Access,
}

type LastLines = Arc<Mutex<VecDeque<String>>>;

impl PrivateCluster {
    /// Starts one. The error is a sentence.
    pub async fn start(options: &LaunchOptions) -> Result<Self, String> {
        let program = manta()?;
        let mut command = Command::new(&program);
        command
            .args(["local", "--lifeline-stdin", "--json", "--nodes", &options.nodes.to_string()])
            .env_remove("MANTA_TOKEN")
            .env_remove("MANTA_ADDRESS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A Ctrl-C in the client's terminal is for the client: the cluster ends with its lifeline.
        #[cfg(unix)]
        command.process_group(0);
        let failed =
            |error| format!("a private cluster could not be started with {}: {error}", program.display());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(lifeline), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("a private cluster was started without its pipes".to_owned());
        };
        let last_lines = LastLines::default();
        tokio::spawn(keep_last_lines(stderr, Arc::clone(&last_lines)));
        let mut lines = BufReader::new(stdout).lines();
        let line = match timeout(CLUSTER_READY_WITHIN, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Err(not_ready(&mut child, &last_lines).await),
            Ok(Err(error)) => return Err(format!("the private cluster could not be heard: {error}")),
            Err(_) => {
                let seconds = CLUSTER_READY_WITHIN.as_secs();
                return Err(format!(
                    "the private cluster was not ready within {seconds} s; look at the machine's load"
                ));
            }
        };
        let ready: Ready = serde_json::from_str(&line)
            .map_err(|error| format!("the private cluster said something unexpected ({error}): {line}"))?;
        let token = Token::new(&ready.token, "the private cluster").map_err(|error| error.to_string())?;
        Ok(Self { child, lifeline, access: Access { address: ready.address, token } })
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Lets it end in order.
    pub async fn end(self) {
        let Self { mut child, lifeline, .. } = self;
        drop(lifeline);
        if timeout(GOODBYE_WITHIN, child.wait()).await.is_err() {
            tracing::warn!("the private cluster did not end in time and is killed");
            if let Err(error) = child.kill().await {
                tracing::warn!(%error, "the private cluster could not be killed");
            }
        }
    }
}

async fn not_ready(child: &mut Child, last_lines: &LastLines) -> String {
    let ended = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
    let said = lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    format!("the private cluster ended before it was ready ({ended}). {said}")
}

async fn keep_last_lines(stderr: impl AsyncRead + Unpin, last_lines: LastLines) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!("private cluster: {line}");
        let mut kept = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(line);
        if kept.len() > LAST_STDERR_LINES {
            kept.pop_front();
        }
    }
}

/// The `manta` binary: `MANTA_BIN`, or the one that runs.
fn manta() -> Result<PathBuf, String> {
    match env::var_os("MANTA_BIN") {
        Some(path) => Ok(path.into()),
        None => env::current_exe()
            .map_err(|error| format!("the path of the manta binary is not known ({error}); set MANTA_BIN")),
    }
}
