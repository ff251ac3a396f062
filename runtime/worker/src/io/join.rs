//! Finding the node to attach to, and the first words with it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use manta_object_store::{ObjectStore, SpillFolder};
use manta_proto::{
    PROTOCOL_VERSION,
    connect::{self, AuthorizedChannel},
    ids::{JobId, NodeId, ProcessId},
    limits::MESSAGE_BYTES_MAX,
    token::Token,
    v1::{
        GetStatusRequest, JobConfig, NodeToProcess, ProcessHello, ProcessToNode, Welcome,
        head_client::HeadClient, node_local_client::NodeLocalClient, node_to_process, process_hello,
        process_to_node,
    },
};
use tokio::{net::UnixListener, sync::mpsc};

use super::{OutputGate, WorkerEnvironment, node_link, private_cluster::PrivateCluster};
use crate::{
    DriverOptions, JoinError, Language, OutputHandler, Program,
    reactor::{Identity, State},
    shared::Shared,
};

/// How long the head may take to answer.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a node may take to welcome a process.
const WELCOME_LIMIT: Duration = Duration::from_secs(30);

/// Where the node is.
enum Place {
    /// A head, which knows.
    Head(String),
    /// The node's socket.
    Socket(PathBuf),
}

/// A process that is about to join.
pub(super) struct Joining {
    place: Place,
    token: Token,
    process: ProcessId,
    language: Language,
    language_version: String,
    job: Option<JobConfig>,
    on_output: Option<OutputHandler>,
    /// What the head gets before this process joins, when it lacks it.
    packages: Vec<Arc<manta_packages::Package>>,
    head: String,
}

/// A process that its node has welcomed.
pub(super) struct Joined {
    pub shared: Arc<Shared>,
    pub listener: UnixListener,
    pub peer_socket: PathBuf,
    pub inbound: tonic::Streaming<NodeToProcess>,
    pub to_node: mpsc::UnboundedSender<ProcessToNode>,
    pub token: Token,
    pub is_worker: bool,
}

impl Joining {
    /// A driver of the cluster whose head is at this address.
    pub fn cluster(address: String, options: DriverOptions) -> Result<Self, JoinError> {
        let token = Token::find()?;
        Self::driver(Place::Head(address.clone()), address, token, options)
    }

    /// A driver of a cluster of its own.
    pub fn private(cluster: &PrivateCluster, options: DriverOptions) -> Result<Self, JoinError> {
        let place = Place::Socket(cluster.node_socket.clone());
        Self::driver(place, cluster.address.clone(), cluster.token.clone(), options)
    }

    fn driver(place: Place, head: String, token: Token, options: DriverOptions) -> Result<Self, JoinError> {
        let infeasible = match options.infeasible_timeout {
            None => infeasible_from_env()?,
            given => given,
        };
        let job = JobConfig {
            job_id: JobId::random().to_bytes(),
            name: options.job_name,
            language: options.language.as_str().to_owned(),
            executable: options.executable.display().to_string(),
            sys_path: options.sys_path,
            // An unreadable working directory is the worker's to complain of: it starts in its own.
            working_dir: std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
            env: options.env.into_iter().collect(),
            namespace: options.namespace,
            programs: options.programs.iter().map(Program::to_wire).collect(),
            runtime_env: options.runtime_env,
            here: None,
            origin: None,
            infeasible_ms: infeasible.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            // Set by the node that runs a submitted job's driver.
            submission_id: std::env::var("MANTA_SUBMISSION_ID").unwrap_or_default(),
        };
        Ok(Self {
            place,
            token,
            process: ProcessId::random(),
            language: options.language,
            language_version: options.language_version,
            job: Some(job),
            on_output: options.on_output,
            packages: options.packages,
            head,
        })
    }

    pub fn worker(environment: WorkerEnvironment) -> Self {
        Self {
            place: Place::Socket(environment.node_socket),
            token: environment.token,
            process: environment.process,
            language: environment.language,
            language_version: environment.language_version,
            job: None,
            on_output: None,
            packages: Vec::new(),
            head: String::new(),
        }
    }

    pub async fn join(self) -> Result<Joined, JoinError> {
        let node_socket = match &self.place {
            Place::Socket(socket) => socket.clone(),
            Place::Head(address) => find_local_node(address, &self.token).await?,
        };
        if !self.packages.is_empty() {
            // Before the node hears of them, which fetches them at once.
            let channel = connect::tcp(&self.head, &self.token, HEAD_LIMIT).await?;
            crate::head::put_packages(channel, &self.packages).await.map_err(JoinError::Packages)?;
        }
        let folder = node_socket.parent().unwrap_or(Path::new("/")).to_owned();
        let peer_socket = folder.join(format!("p-{}.sock", self.process));
        let listener = UnixListener::bind(&peer_socket)
            .map_err(|source| JoinError::Local { what: "making its peer socket", source })?;
        let channel = connect::unix(node_socket.clone(), &self.token).await?;
        let gate = Arc::new(OutputGate::default());
        let address = node_socket.display().to_string();
        let attached = self.attach(channel, &peer_socket, Arc::clone(&gate), &address);
        let late =
            |_| refused(&node_socket, format!("it did not answer within {} s", WELCOME_LIMIT.as_secs()));
        let attached =
            tokio::time::timeout(WELCOME_LIMIT, attached).await.map_err(late).and_then(|attached| attached);
        let (inbound, to_node, welcome) = attached.inspect_err(|_| {
            // Left behind, it would look like a process that lives.
            let _ = std::fs::remove_file(&peer_socket);
        })?;
        let is_worker = self.job.is_none();
        let (token, shared) = (self.token.clone(), self.shared(welcome, folder, gate)?);
        Ok(Joined { shared: Arc::new(shared), listener, peer_socket, inbound, to_node, token, is_worker })
    }

    async fn attach(
        &self,
        channel: AuthorizedChannel,
        peer_socket: &Path,
        gate: Arc<OutputGate>,
        address: &str,
    ) -> Result<(tonic::Streaming<NodeToProcess>, mpsc::UnboundedSender<ProcessToNode>, Welcome), JoinError>
    {
        let (to_node, receiver) = mpsc::unbounded_channel();
        let kind = if self.job.is_some() { process_hello::Kind::Driver } else { process_hello::Kind::Worker };
        let hello = ProcessHello {
            protocol_version: PROTOCOL_VERSION,
            kind: kind as i32,
            process_id: self.process.to_bytes(),
            pid: std::process::id(),
            language: self.language.as_str().to_owned(),
            language_version: self.language_version.clone(),
            token: self.token.as_str().to_owned(),
            job: self.job.clone(),
            peer_socket: peer_socket.display().to_string(),
        };
        // The receiver is at hand, so this cannot fail.
        let _ = to_node.send(ProcessToNode { message: Some(process_to_node::Message::Hello(hello)) });
        let said = |cause: &str| JoinError::Refused { address: address.to_owned(), cause: cause.to_owned() };
        let mut client = NodeLocalClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let response = client
            .attach(node_link::outgoing(receiver, gate))
            .await
            .map_err(|status| said(status.message()))?;
        let mut inbound = response.into_inner();
        let first = inbound.message().await.map_err(|status| said(status.message()))?;
        match first.and_then(|first| first.message) {
            Some(node_to_process::Message::Welcome(welcome)) => Ok((inbound, to_node, welcome)),
            Some(node_to_process::Message::Exit(exit)) => Err(said(&exit.cause)),
            _ => Err(said("it closed the connection without a word")),
        }
    }

    fn shared(self, welcome: Welcome, peer_dir: PathBuf, gate: Arc<OutputGate>) -> Result<Shared, JoinError> {
        let node = NodeId::try_from(&welcome.node_id).map_err(|error| JoinError::Refused {
            address: welcome.node_name.clone(),
            cause: error.to_string(),
        })?;
        let identity = Identity {
            process: self.process,
            node,
            node_name: welcome.node_name,
            session_dir: welcome.session_dir.into(),
            peer_dir,
            head_address: welcome.head_address,
            token: self.token,
        };
        let mut state = State::new(identity, self.job, welcome.view.unwrap_or_default(), Instant::now());
        // Ray's variable, for programs that are used to it.
        if self.on_output.is_some() && std::env::var("RAY_IGNORE_UNHANDLED_ERRORS").as_deref() != Ok("1") {
            state.tell_unhandled();
        }
        let spilled = SpillFolder::attach(welcome.spill_dir);
        Shared::new(state, ObjectStore::attach(welcome.object_dir), spilled, self.on_output, gate)
            .map_err(|source| JoinError::Local { what: "watching its peers' sockets", source })
    }
}

fn refused(socket: &Path, cause: String) -> JoinError {
    JoinError::Refused { address: socket.display().to_string(), cause }
}

/// Asks the head for a node whose socket is on this machine.
async fn find_local_node(address: &str, token: &Token) -> Result<PathBuf, JoinError> {
    let channel = connect::tcp(address, token, HEAD_LIMIT).await?;
    let said = |cause: &str| JoinError::Refused { address: address.to_owned(), cause: cause.to_owned() };
    let request = GetStatusRequest { protocol_version: PROTOCOL_VERSION };
    let mut head = HeadClient::new(channel);
    let answer = tokio::time::timeout(HEAD_LIMIT, head.get_status(request));
    let late = |_| said(&format!("it did not answer within {} s", HEAD_LIMIT.as_secs()));
    let status = answer.await.map_err(late)?.map_err(|status| said(status.message()))?.into_inner();
    let mut infos: Vec<_> =
        status.nodes.into_iter().filter(|node| node.alive).filter_map(|node| node.info).collect();
    // The oldest first, which is the head's own machine's where there is a choice.
    infos.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    for info in infos {
        // A socket of that name that answers is the node: its folder's name is random.
        let socket = PathBuf::from(info.local_socket);
        if tokio::net::UnixStream::connect(&socket).await.is_ok() {
            return Ok(socket);
        }
    }
    Err(JoinError::NoLocalNode { address: address.to_owned() })
}

/// How long what no node can run waits, as the user's environment has it.
fn infeasible_from_env() -> Result<Option<Duration>, JoinError> {
    let Some(given) = std::env::var("MANTA_INFEASIBLE_TIMEOUT").ok().filter(|given| !given.is_empty()) else {
        return Ok(None);
    };
    match given.parse::<f64>() {
        // What is too long for a duration has no end either.
        Ok(seconds) if seconds >= 0.0 => {
            Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
        }
        _ => Err(JoinError::InfeasibleTimeout(given)),
    }
}
