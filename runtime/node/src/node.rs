//! A node as its process runs it.

use std::{
    collections::HashMap,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use manta_object_store::{ObjectStore, SpillFolder};
use manta_proto::{
    connect::{CONNECTION_WINDOW_BYTES, ConnectError, RequireToken, STREAM_WINDOW_BYTES},
    ids::NodeId,
    limits::MESSAGE_BYTES_MAX,
    token::Token,
    v1::{
        HeadToNode, NodeInfo, NodeRegister, NodeToHead, node_local_server::NodeLocalServer,
        node_peer_server::NodePeerServer,
    },
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::mpsc,
};
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{TcpListenerStream, UnixListenerStream},
};
use tonic::{Status, service::interceptor::InterceptedService, transport::Server};

use crate::{
    core::{Core, Identity},
    edge::{self, Shared, head_link::HeadLink},
    host::Host,
    machine,
    resources::Resources,
};

/// How long a node waits for its workers to end when it ends itself.
const WORKERS_END_TIMEOUT: Duration = Duration::from_secs(4);

/// How to run a node.
pub struct NodeOptions {
    /// The head's `HOST:PORT`.
    pub head_address: String,
    /// That head, when it runs in this process: then nothing is sent to its address.
    pub head_inside: Option<HeadInside>,
    /// What every call carries.
    pub token: Token,
    /// What the node has.
    pub resources: Resources,
    /// Bytes that its objects in shared memory may have together.
    pub object_store_bytes: u64,
    /// What people call it; the head gives it a name when it is empty or taken.
    pub name: String,
    /// For placing tasks.
    pub labels: HashMap<String, String>,
    /// The address of this machine on which other nodes reach this one.
    pub listen_host: String,
    /// What the nodes of this process share.
    pub host: Arc<Host>,
    /// When a worker is killed because memory runs out.
    pub memory: MemoryWatch,
}

/// What a head says to a node, until it is gone.
pub type FromHead = Pin<Box<dyn Stream<Item = Result<HeadToNode, Status>> + Send>>;

/// Joins a head of the same process, with a registration and all that the node will say; the error is the head's refusal.
pub type HeadInside =
    Arc<dyn Fn(NodeRegister, mpsc::Receiver<NodeToHead>) -> Result<FromHead, String> + Send + Sync>;

/// When and how often a node looks at its memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryWatch {
    /// The share of the memory, from 0 to 1, above which a worker is killed.
    pub threshold: f64,
    /// The time between two looks.
    pub refresh: Duration,
}

impl Default for MemoryWatch {
    /// What Ray does.
    fn default() -> Self {
        Self { threshold: 0.95, refresh: Duration::from_millis(250) }
    }
}

/// Says why a node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The head cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The head refused.
    #[error("the head did not take this node: {0}")]
    Head(String),
    /// Something of the machine failed.
    #[error("a node cannot run on this machine: {what}: {source}")]
    Machine {
        /// What was being done.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The object store cannot be made.
    #[error("a node cannot run on this machine: {0}")]
    Store(#[from] manta_object_store::StoreError),
    /// A server failed.
    #[error("the node's server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// A node that the head has taken.
pub struct Node {
    shared: Arc<Shared>,
    tcp: TcpListener,
    unix: UnixListener,
    info: NodeInfo,
    head: HeadLink,
    messages: FromHead,
}

impl Node {
    /// Makes the node's folders and sockets and registers it with the head.
    ///
    /// # Errors
    /// When the machine or the head does not allow it.
    pub async fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let machine = |what| move |source| NodeError::Machine { what, source };
        let id = NodeId::random();
        let path = options.host.session_dir().join(id.short());
        std::fs::create_dir_all(path.join("logs")).map_err(machine("its folder cannot be made"))?;
        let objects = object_dir(&options.host, &path, id)
            .map_err(machine("its folder for objects cannot be noted"))?;
        let store = ObjectStore::create(objects, options.object_store_bytes)?;
        let spilled = SpillFolder::new(path.join("spilled"));
        become_reaper();
        let tcp = TcpListener::bind((&*options.listen_host, 0))
            .await
            .map_err(machine("its port cannot be opened"))?;
        let local_socket = path.join("node.sock");
        let unix = UnixListener::bind(&local_socket).map_err(machine("its socket cannot be made"))?;
        let address = tcp.local_addr().map_err(machine("its port is not known"))?;
        let mut total = options.resources;
        total.add_own(&options.listen_host, options.object_store_bytes);
        let identity = Identity {
            id,
            name: String::new(),
            total: total.clone(),
            labels: options.labels.clone(),
            visible_gpus: std::env::var("CUDA_VISIBLE_DEVICES").ok(),
            session_dir: path.display().to_string(),
            object_dir: store.folder().display().to_string(),
            spill_dir: spilled.folder().display().to_string(),
            head_address: options.head_address.clone(),
        };
        let info = NodeInfo {
            node_id: id.to_bytes(),
            name: options.name,
            peer_address: address.to_string(),
            local_socket: local_socket.display().to_string(),
            machine_id: machine::machine_id(),
            total: Some(total.to_wire()),
            labels: options.labels,
            pid: std::process::id(),
            version: manta_proto::VERSION.to_owned(),
        };
        let shared = Shared::new(edge::Parts {
            core: Core::new(identity),
            token: options.token,
            host: options.host,
            session_dir: path,
            local_socket,
            store,
            spilled,
        });
        edge::memory::start(&shared, options.memory);
        let head = HeadLink {
            shared: Arc::clone(&shared),
            address: options.head_address,
            inside: options.head_inside,
            info: info.clone(),
        };
        let messages = head.register().await?;
        Ok(Self { shared, tcp, unix, info, head, messages })
    }

    /// What the head calls it.
    #[must_use]
    pub fn name(&self) -> String {
        self.shared.read(|core| core.me.name.clone())
    }

    /// Where drivers and workers of this machine attach.
    #[must_use]
    pub fn local_socket(&self) -> &str {
        &self.info.local_socket
    }

    /// What it says about itself to the cluster.
    #[must_use]
    pub fn info(&self) -> &NodeInfo {
        &self.info
    }

    /// Serves until the head ends the cluster, the head is lost for good, or `stop` resolves. No worker is left afterwards.
    ///
    /// # Errors
    /// When a server fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), NodeError> {
        let shared = self.shared;
        let token = RequireToken(shared.token.clone());
        let local = NodeLocalServer::new(edge::local::Local(Arc::clone(&shared)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let local = Server::builder().serve_with_incoming(
            InterceptedService::new(local, token.clone()),
            UnixListenerStream::new(self.unix),
        );
        let peer = NodePeerServer::new(edge::peer_server::PeerService(Arc::clone(&shared)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let incoming = TcpListenerStream::new(self.tcp)
            .map(|stream| stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)));
        let peer = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .serve_with_incoming(InterceptedService::new(peer, token), incoming);
        let link = tokio::spawn(self.head.serve(self.messages));
        let ended = async {
            tokio::select! {
                () = stop => {}
                () = shared.exit.notified() => {}
            }
            end_workers(&shared).await;
        };
        let result = tokio::select! {
            result = local => result.map_err(NodeError::from),
            result = peer => result.map_err(NodeError::from),
            () = ended => Ok(()),
        };
        link.abort();
        // The stream to the head ends with its sender, and tells the head that this node is gone.
        shared.set_head(None);
        result
    }
}

async fn end_workers(shared: &Arc<Shared>) {
    shared.end_drivers();
    shared.with(Core::end_all_workers);
    let none_left = async {
        while !shared.read(Core::has_no_workers) || !shared.has_no_drivers() {
            shared.worker_gone.notified().await;
        }
    };
    if tokio::time::timeout(WORKERS_END_TIMEOUT, none_left).await.is_err() {
        tracing::error!("some workers did not end in time; the watcher kills them");
    }
}

/// In memory where the machine has a file system for it, else beside the sockets.
fn object_dir(host: &Host, node_dir: &Path, id: NodeId) -> io::Result<PathBuf> {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        let folder = memory.join(format!("manta-{}-{}", nix::unistd::getuid(), id.short()));
        host.also_remove(&folder)?;
        Ok(folder)
    } else {
        Ok(node_dir.join("objects"))
    }
}

/// Children of workers that lose their parent become this process' children, so that they can be reaped.
fn become_reaper() {
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "this process cannot reap the children of its workers");
    }
}
