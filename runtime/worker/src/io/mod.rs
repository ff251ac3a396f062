//! The I/O thread: it carries out what the reactor asks for, and brings it what happens.
//!
//! One thread per process, with a single-threaded runtime. It must never wait for the language (Python's GIL), nor decide anything.

mod edge;
mod incoming;
mod join;
mod node_link;
mod outgoing;
mod peer_link;
mod private_cluster;
mod push;

use std::{path::PathBuf, rc::Rc, sync::Arc, sync::mpsc, thread, time::Duration};

use manta_proto::{ids::ProcessId, token::Token};
use tokio::sync::oneshot;

use crate::{DriverOptions, JoinError, Language, shared::Shared};
use edge::Edge;
use join::{Joined, Joining};
use private_cluster::PrivateCluster;

pub(crate) use incoming::{Incoming, Lead, Ready};
pub(crate) use node_link::OutputGate;
pub(crate) use outgoing::{Outgoing, Sending};

/// The running I/O thread, and the private cluster that ends with it.
pub(crate) struct IoThread {
    thread: thread::JoinHandle<()>,
    stop: oneshot::Sender<()>,
    cluster: Option<PrivateCluster>,
    /// The process that has the thread: a fork of it has only this record.
    pid: u32,
}

impl IoThread {
    /// Whether this process is a fork of the one that has the thread.
    pub fn is_inherited(&self) -> bool {
        self.pid != std::process::id()
    }

    /// Ends the thread, then the private cluster; each is waited for.
    pub fn stop(self, cluster_end: Duration) {
        if self.is_inherited() {
            // The thread and the cluster are the parent's, which goes on with them.
            return std::mem::forget(self);
        }
        // The thread has ended by itself when nobody receives this.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the I/O thread panicked");
        }
        if let Some(cluster) = self.cluster {
            cluster.end(cluster_end);
        }
    }
}

/// What a node tells its worker by environment variables.
pub(crate) struct WorkerEnvironment {
    node_socket: PathBuf,
    process: ProcessId,
    token: Token,
    language: Language,
    language_version: String,
}

impl WorkerEnvironment {
    pub fn read(language_version: &str) -> Result<Self, JoinError> {
        let variable = |name: &'static str| std::env::var(name).map_err(|_| JoinError::Environment(name));
        let process = ProcessId::from_hex(&variable("MANTA_PROCESS_ID")?)
            .ok_or(JoinError::Environment("MANTA_PROCESS_ID"))?;
        let native = std::env::var_os("MANTA_WORKER").is_some_and(|kind| kind == "native");
        Ok(Self {
            node_socket: variable("MANTA_NODE_SOCKET")?.into(),
            process,
            token: Token::new(&variable("MANTA_TOKEN")?, "MANTA_TOKEN")?,
            language: if native { Language::Rust } else { Language::Python },
            language_version: language_version.to_owned(),
        })
    }
}

/// Joins as a driver; a private cluster is started first if no address is given.
pub(crate) fn start_driver(options: DriverOptions) -> Result<Arc<Shared>, JoinError> {
    let address = options
        .address
        .clone()
        .or_else(|| std::env::var("MANTA_ADDRESS").ok().filter(|address| !address.is_empty()));
    let (cluster, joining) = match address {
        Some(address) => (None, Joining::cluster(address, options)?),
        None => {
            let cluster = PrivateCluster::start(&options)?;
            let joining = Joining::private(&cluster, options)?;
            (Some(cluster), joining)
        }
    };
    start(joining, cluster)
}

pub(crate) fn start_worker(environment: WorkerEnvironment) -> Result<Arc<Shared>, JoinError> {
    start(Joining::worker(environment), None)
}

fn start(joining: Joining, cluster: Option<PrivateCluster>) -> Result<Arc<Shared>, JoinError> {
    let (stop, stopped) = oneshot::channel();
    let (report, reported) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("manta-io".to_owned())
        .spawn(move || run(joining, stopped, &report))
        .map_err(|source| JoinError::Local { what: "starting its I/O thread", source })?;
    let shared = reported.recv().unwrap_or_else(|_| {
        let source = std::io::Error::other("the thread ended without a word");
        Err(JoinError::Local { what: "starting its I/O thread", source })
    })?;
    *shared.io.lock() = Some(IoThread { thread, stop, cluster, pid: std::process::id() });
    Ok(shared)
}

/// How long a process that leaves waits for its node to read its last words.
const LEAVE_LIMIT: Duration = Duration::from_millis(300);

/// The thread's whole life.
fn run(
    joining: Joining,
    mut stopped: oneshot::Receiver<()>,
    report: &mpsc::SyncSender<Result<Arc<Shared>, JoinError>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(source) => {
            let _ = report.send(Err(JoinError::Local { what: "starting its I/O runtime", source }));
            return;
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match joining.join().await {
            Err(error) => {
                // Nobody waits any more if this fails.
                let _ = report.send(Err(error));
            }
            Ok(joined) => {
                let Joined { shared, listener, inbound, to_node, token, peer_socket, is_worker } = joined;
                let edge = Rc::new(Edge::new(Arc::clone(&shared), to_node, token));
                tokio::task::spawn_local(peer_link::accept(Rc::clone(&edge), listener));
                tokio::task::spawn_local(peer_link::read(Rc::clone(&edge)));
                let reader = tokio::task::spawn_local(node_link::read(Rc::clone(&edge), inbound, is_worker));
                if report.send(Ok(shared)).is_ok() {
                    edge.run(&mut stopped).await;
                    // A node that does not answer has had its time; nothing depends on it.
                    let _ = tokio::time::timeout(LEAVE_LIMIT, reader).await;
                }
                // A missing file is as good: the session's folder may be gone already.
                let _ = std::fs::remove_file(peer_socket);
            }
        }
    });
}
