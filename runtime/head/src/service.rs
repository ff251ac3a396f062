//! The head's edge: its listener, timers, and the queues towards nodes and sessions.

mod requests;

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use manta_proto::{
    connect::RequireToken,
    ids::NodeId,
    limits::MESSAGE_BYTES_MAX,
    token::Token,
    v1::{
        self, HeadToNode, HeadToSession, NodeToHead, head_server::HeadServer, head_to_node, head_to_session,
        node_to_head,
    },
    version_conflict,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Status, service::interceptor::InterceptedService};

use self::requests::Service;
use crate::{
    core::{Core, Effect, LinkId},
    metrics,
    outbox::{Outbox, Outgoing},
    packages::Packages,
    queries::{Queries, ToNodes},
    store::{Store, StoreError},
};

/// Views that follow a change of load are sent at most this often.
const VIEW_INTERVAL: Duration = Duration::from_millis(20);
/// How long a head that was started again waits for the nodes that it remembers; they look for it as long.
const RETURN_LIMIT: Duration = Duration::from_secs(60);
/// How long the head waits for its nodes to end.
const NODES_END_TIMEOUT: Duration = Duration::from_secs(5);

/// How to run a head.
pub struct HeadOptions {
    /// `HOST:PORT`; port 0 takes a free one.
    pub address: String,
    /// What every call must carry.
    pub token: Token,
    /// Where Prometheus reads metrics: `HOST:PORT`, port 0 takes a free one; `None` for nowhere.
    pub metrics: Option<String>,
    /// The folder of what the head remembers when it is killed and started again; `None` for nothing.
    pub state: Option<PathBuf>,
}

/// Says why the head cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The address is not free, or not this machine's.
    #[error(
        "the head cannot listen on {address}: {source}. Is a cluster running there already ('manta status')? Another address is chosen with --listen HOST:PORT"
    )]
    Listen {
        /// What was asked for.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The address for metrics is not free, or not this machine's.
    #[error(
        "the head cannot serve metrics on {address}: {source}. Choose another address with --metrics HOST:PORT"
    )]
    Metrics {
        /// What was asked for.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// What it remembers is of no use.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The server failed.
    #[error("the head's server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// A head that listens.
pub struct Head {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    token: Token,
    metrics: Option<TcpListener>,
}

impl Head {
    /// Binds the address; connections are served once [`Head::run`] is called.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(options: HeadOptions) -> Result<Self, HeadError> {
        let failed = |source| HeadError::Listen { address: options.address.clone(), source };
        let listener = TcpListener::bind(&options.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let metrics = match options.metrics {
            Some(address) => {
                let failed = |source| HeadError::Metrics { address: address.clone(), source };
                Some(TcpListener::bind(&address).await.map_err(failed)?)
            }
            None => None,
        };
        let (core, store) = remembered(options.state.as_deref())?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                core,
                store,
                unwritten: BTreeMap::new(),
                nodes: HashMap::new(),
                sessions: HashMap::new(),
                queries: Queries::default(),
                links: 0,
            }),
            packages: Packages::default(),
            started: Instant::now(),
            exit: Notify::new(),
            node_left: Notify::new(),
        });
        Ok(Self { listener, address, shared, token: options.token, metrics })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the packages of environments are kept; without it, environments have none.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn keep_packages_in(&self, folder: &std::path::Path) -> std::io::Result<()> {
        self.shared.packages.keep_in(folder)
    }

    /// The way in for nodes of this very process, which need no connection.
    #[must_use]
    pub fn inside(&self) -> Inside {
        Inside(Arc::clone(&self.shared))
    }

    /// Where it serves metrics.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The id of the cluster that this head makes, in hex.
    #[must_use]
    pub fn cluster_id(&self) -> String {
        self.shared.lock().core.cluster_id().to_owned()
    }

    /// Serves until the cluster is told to end, or until `stop` resolves, which ends it too.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), HeadError> {
        let shared = Arc::clone(&self.shared);
        if shared.lock().core.awaits_nodes() {
            shared.after(RETURN_LIMIT, Core::on_return_over);
        }
        let service = HeadServer::new(Service { shared: Arc::clone(&shared) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let metrics = self.metrics.map(|listener| shared.serve_metrics(listener, self.token.clone()));
        let service = InterceptedService::new(service, RequireToken(self.token));
        let incoming = TcpListenerStream::new(self.listener)
            .map(|stream| stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)));
        let server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .serve_with_incoming(service, incoming);
        let ended = async {
            tokio::select! {
                () = stop => {
                    shared.with(|core| core.on_shutdown("its head was told to end"));
                    shared.end_sessions();
                }
                () = shared.exit.notified() => {}
            }
            let none_left = async {
                while !shared.lock().nodes.is_empty() {
                    shared.node_left.notified().await;
                }
            };
            if tokio::time::timeout(NODES_END_TIMEOUT, none_left).await.is_err() {
                tracing::warn!(
                    "some nodes did not end in time; they end when they notice that their head is gone"
                );
            }
        };
        let result = tokio::select! {
            result = server => Ok(result?),
            () = ended => Ok(()),
        };
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        // The cluster was told to end: the next one begins anew.
        if result.is_ok()
            && let Some(store) = shared.lock().store.take()
        {
            shared.packages.remove_all();
            store.remove();
        }
        result
    }
}

/// A head, for nodes of the same process.
#[derive(Clone)]
pub struct Inside(Arc<Shared>);

impl Inside {
    /// Takes a node, which says `messages` and hears what comes out of the stream, until either ends. To be called on the head's
    /// runtime.
    ///
    /// # Errors
    /// With a sentence when the head does not take the node.
    pub fn join(
        &self,
        register: v1::NodeRegister,
        messages: mpsc::Receiver<NodeToHead>,
    ) -> Result<impl Stream<Item = Result<HeadToNode, Status>> + Send + use<>, String> {
        self.0.link_node(register, ReceiverStream::new(messages))
    }
}

struct State {
    core: Core,
    store: Option<Store>,
    /// What could not be written, to be tried again.
    unwritten: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    nodes: HashMap<LinkId, Outbox<HeadToNode>>,
    sessions: HashMap<LinkId, SessionEdge>,
    queries: Queries,
    links: u64,
}

impl State {
    /// Writes what has changed, before anybody hears of it.
    fn write_down(&mut self) {
        let Some(store) = &self.store else { return self.core.drop_unsaved() };
        let changes = self.core.take_unsaved();
        if changes.is_empty() {
            return;
        }
        self.unwritten.extend(changes);
        match store.write(&self.unwritten) {
            Ok(()) => self.unwritten.clear(),
            Err(error) => {
                tracing::error!(%error, "a head that is started again would not know of the newest changes");
            }
        }
    }
}

/// The core, with what the head before it wrote down.
fn remembered(folder: Option<&Path>) -> Result<(Core, Option<Store>), HeadError> {
    let cluster_id = NodeId::random().to_string();
    let Some(folder) = folder else { return Ok((Core::new(cluster_id), None)) };
    let (store, saved) = Store::open(folder, &cluster_id)?;
    let Some(saved) = saved else { return Ok((Core::new(cluster_id), Some(store))) };
    let unusable = |cause| StoreError::Unusable { path: folder.to_owned(), cause };
    let core = Core::restored(saved.cluster_id, &saved.entries).map_err(unusable)?;
    Ok((core, Some(store)))
}

struct SessionEdge {
    outbox: Outbox<HeadToSession>,
    /// Printed lines that the session was too slow for.
    outputs_lost: u64,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    packages: Packages,
    started: Instant,
    exit: Notify,
    node_left: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the core an event and carries out what follows.
    fn with<T>(self: &Arc<Self>, event: impl FnOnce(&mut Core) -> T) -> T {
        let mut state = self.lock();
        state.core.now_unix_ms = now_unix_ms();
        let answer = event(&mut state.core);
        state.write_down();
        let effects = state.core.take_effects();
        for effect in effects {
            self.apply(&mut state, effect);
        }
        answer
    }

    fn apply(self: &Arc<Self>, state: &mut State, effect: Effect) {
        match effect {
            Effect::ToNode(link, message) => {
                let lossy = matches!(message.message, Some(head_to_node::Message::Output(_)));
                if let Some(outbox) = state.nodes.get(&link) {
                    if lossy {
                        outbox.send_if_room(message);
                    } else if outbox.send(message).is_err() {
                        tracing::error!(?link, "a node stopped reading; its connection is closed");
                        state.nodes.remove(&link);
                    }
                }
            }
            Effect::ToSession(link, message) => {
                if let Some(edge) = state.sessions.get_mut(&link)
                    && edge.send(message).is_err()
                {
                    tracing::error!(?link, "the debug session stopped reading; its connection is closed");
                    state.sessions.remove(&link);
                }
            }
            Effect::ViewTimer => self.after(VIEW_INTERVAL, Core::on_view_timer),
            Effect::GraceTimer { loss, grace_ms } => {
                self.after(Duration::from_millis(grace_ms.into()), move |core| core.on_grace_over(loss));
            }
            Effect::GroupTimer { group, since, ms } => {
                self.after(Duration::from_millis(ms), move |core| core.on_group_timer(&group, since));
            }
            Effect::Exit => self.exit.notify_one(),
        }
    }

    /// Ends the streams of sessions in order, so that they do not look for a head that will not come back.
    fn end_sessions(&self) {
        self.lock().sessions.clear();
    }

    fn tell_nodes(&self, messages: ToNodes) {
        let mut state = self.lock();
        for (link, message) in messages {
            if state.nodes.get(&link).is_some_and(|outbox| outbox.send(message).is_err()) {
                tracing::error!(?link, "a node stopped reading; its connection is closed");
                state.nodes.remove(&link);
            }
        }
    }

    fn on_answer(&self, from: NodeId, answer: v1::NodeAnswer) {
        let told = self.lock().queries.on_answer(from, answer);
        self.tell_nodes(told);
    }

    fn serve_metrics(self: &Arc<Self>, listener: TcpListener, token: Token) -> tokio::task::JoinHandle<()> {
        let shared = Arc::clone(self);
        let render = move || metrics::render(&shared.lock().core, shared.started.elapsed());
        tokio::spawn(metrics::serve(listener, token, Arc::new(render)))
    }

    fn after(self: &Arc<Self>, delay: Duration, event: impl FnOnce(&mut Core) + Send + 'static) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            shared.with(event);
        });
    }

    /// Takes a node; from then on what it says is heard, and what it is to do comes out of the stream. The error is for people.
    pub(crate) fn link_node(
        self: &Arc<Self>,
        register: v1::NodeRegister,
        mut messages: impl Stream<Item = NodeToHead> + Send + Unpin + 'static,
    ) -> Result<Outgoing<HeadToNode>, String> {
        let link = self.new_link();
        let (outbox, outgoing) = Outbox::new();
        self.lock().nodes.insert(link, outbox);
        let registered = self.with(|core| core.on_node_register(link, register));
        let node = registered.inspect_err(|_| drop(self.lock().nodes.remove(&link)))?;
        tracing::info!(%node, ?link, "a node joined");
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                if !shared.lock().nodes.contains_key(&link) {
                    break;
                }
                match message.message {
                    Some(node_to_head::Message::NodeAnswer(answer)) => shared.on_answer(node, answer),
                    message => shared.with(|core| core.on_node_message(node, NodeToHead { message })),
                }
            }
            tracing::info!(%node, ?link, "a node's connection ended");
            {
                let mut state = shared.lock();
                state.nodes.remove(&link);
                state.queries.on_node_lost(node);
            }
            shared.with(|core| core.on_node_lost(link));
            shared.node_left.notify_waiters();
            shared.node_left.notify_one();
        });
        Ok(outgoing)
    }

    fn new_link(&self) -> LinkId {
        let mut state = self.lock();
        state.links += 1;
        LinkId(state.links)
    }
}

impl SessionEdge {
    fn send(&mut self, message: HeadToSession) -> Result<(), crate::outbox::Stalled> {
        let Some(head_to_session::Message::Output(output)) = &message.message else {
            return self.outbox.send(message);
        };
        let job_id = output.job_id.clone();
        if self.outputs_lost > 0 {
            let text = format!(
                "[{} printed lines are missing here: the session read too slowly]\n",
                self.outputs_lost
            );
            let notice = v1::TaskOutput { job_id, stderr: true, text, ..v1::TaskOutput::default() };
            let notice = HeadToSession { message: Some(head_to_session::Message::Output(notice)) };
            if self.outbox.send_if_room(notice) {
                self.outputs_lost = 0;
            }
        }
        if !self.outbox.send_if_room(message) {
            self.outputs_lost += 1;
        }
        Ok(())
    }
}

/// Asks nodes; their answers come as fast as they are taken.
pub(crate) fn ask_nodes(
    shared: &Arc<Shared>,
    nodes: &[String],
    question: &v1::NodeQuestion,
) -> Result<impl tokio_stream::Stream<Item = Result<v1::NodeAnswer, Status>> + Send + use<>, Status> {
    let (query_id, receiver, told) = {
        let mut state = shared.lock();
        let nodes = state.core.find_nodes(nodes).map_err(Status::not_found)?;
        state.queries.ask(nodes, question)?
    };
    shared.tell_nodes(told);
    Ok(answers(Arc::clone(shared), query_id, receiver))
}

/// The parts of an answer. A node sends the next ones when these are taken, and stops when nobody takes them any more.
fn answers(
    shared: Arc<Shared>,
    query_id: u64,
    receiver: tokio::sync::mpsc::Receiver<Result<v1::NodeAnswer, Status>>,
) -> impl tokio_stream::Stream<Item = Result<v1::NodeAnswer, Status>> + Send {
    struct Asked(Arc<Shared>, u64);
    impl Drop for Asked {
        fn drop(&mut self) {
            let told = self.0.lock().queries.cancel(self.1);
            self.0.tell_nodes(told);
        }
    }
    let asked = Asked(shared, query_id);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    tokio_stream::StreamExt::map(stream, move |part| {
        if let Ok(part) = &part {
            let told = asked.0.lock().queries.on_taken(query_id, &part.node_id);
            asked.0.tell_nodes(told.into_iter().collect());
        }
        part
    })
}

fn now_unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn check_version(theirs: u32) -> Result<(), Status> {
    version_conflict("the client", theirs)
        .map_or(Ok(()), |conflict| Err(Status::failed_precondition(conflict)))
}
