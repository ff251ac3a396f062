//! Ways to an adapter: a child on stdio, or a TCP address.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};

use super::DapClient;
use crate::{PATIENCE, cluster, program};

/// What is at the other end.
pub(super) enum Peer {
    Child { child: Child, stderr: Arc<Mutex<String>> },
    Tcp(TcpStream),
}

impl Peer {
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Child { child, .. } => Some(child.id()),
            Self::Tcp(_) => None,
        }
    }

    /// Says that no more requests come.
    pub(super) fn hang_up(&mut self, writer: &mut Box<dyn Write + Send>) {
        *writer = Box::new(io::sink());
        if let Self::Tcp(stream) = self {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    pub(super) fn wait(&mut self, patience: Duration) -> Result<()> {
        let Self::Child { child, stderr } = self else { return Ok(()) };
        let status = cluster::wait(child, patience).context("the adapter did not end after its session")?;
        if !status.success() {
            let said = stderr.lock().map(|text| text.clone()).unwrap_or_default();
            bail!("the adapter ended with {status}: {}", said.trim());
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        let Self::Child { child, .. } = self else {
            bail!("this client did not start the adapter, so it does not kill it")
        };
        child.kill().context("the adapter could not be killed")?;
        child.wait().context("the killed adapter could not be reaped")?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        match self {
            Self::Child { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
            // The reader's thread has a handle of its own, so closing this one alone would not end the connection.
            Self::Tcp(stream) => {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl DapClient {
    /// Starts `manta dap` and speaks with it over its stdio. It inherits no address and no token.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn stdio() -> Result<Self> {
        let home = std::env::temp_dir();
        let mut command = program::isolated(&program::manta()?, &home);
        command.arg("dap").args(log_arguments());
        Self::child(command)
    }

    /// Starts an adapter and speaks with it over its stdio.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn child(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("{} could not be started", command.get_program().display()))?;
        let (Some(writer), Some(reader)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the adapter has no stdio")
        };
        let stderr = keep(child.stderr.take());
        Ok(Self::new(Peer::Child { child, stderr }, reader, writer))
    }

    /// Connects to an adapter that listens.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn tcp(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("nobody listens at {address}"))?;
        stream.set_nodelay(true)?;
        let (reader, writer) = (stream.try_clone()?, stream.try_clone()?);
        Ok(Self::new(Peer::Tcp(stream), reader, writer))
    }
}

/// An adapter that serves one client after the other on TCP.
pub struct Listener {
    child: Child,
    address: String,
}

impl Listener {
    /// Starts `manta dap --listen` on a free port of the loopback interface.
    ///
    /// # Errors
    /// When it does not say where it listens.
    pub fn start() -> Result<Self> {
        let mut command = program::isolated(&program::manta()?, &std::env::temp_dir());
        // It logs nothing: its clients are those that send what is not of the protocol, and one file has only one conversation.
        command.args(["dap", "--listen", "127.0.0.1:0"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("manta dap could not be started")?;
        let (sender, lines) = mpsc::channel();
        watch(child.stdout.take(), sender.clone());
        watch(child.stderr.take(), sender);
        let address = loop {
            let line = lines
                .recv_timeout(PATIENCE)
                .map_err(|_| anyhow!("manta dap did not say where it listens"))?;
            if let Some(address) = address(&line) {
                break address;
            }
        };
        Ok(Self { child, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The loopback address in a line, wherever it stands.
fn address(line: &str) -> Option<String> {
    let start = line.find("127.0.0.1:")?;
    let text = &line[start..];
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(text.len());
    Some(text[..end].trim_end_matches(['.', ':']).to_owned())
}

/// `--log-dap FILE` with a new file in `MANTA_DAP_LOGS`, when that is set.
fn log_arguments() -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Some(folder) = std::env::var_os("MANTA_DAP_LOGS").map(PathBuf::from) else { return Vec::new() };
    let program = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{program}-{}-{number}.jsonl", std::process::id());
    vec!["--log-dap".to_owned(), folder.join(name).display().to_string()]
}

fn watch(stream: Option<impl Read + Send + 'static>, lines: mpsc::Sender<String>) {
    if let Some(stream) = stream {
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // The receiver has what it waited for; read on, so that the adapter never blocks on a full pipe.
                let _ = lines.send(line);
            }
        });
    }
}

fn keep(stream: Option<impl Read + Send + 'static>) -> Arc<Mutex<String>> {
    let kept = Arc::new(Mutex::new(String::new()));
    if let Some(stream) = stream {
        let kept = Arc::clone(&kept);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Ok(mut text) = kept.lock() {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        });
    }
    kept
}
