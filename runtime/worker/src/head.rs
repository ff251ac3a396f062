//! Calls of the head that have nothing to do with tasks: packages, submitted jobs, state, logs. They work without being part of the
//! cluster, from any machine that reaches the head.

use std::{path::PathBuf, sync::Arc, time::Duration};

use manta_packages::Package;
use manta_proto::{
    DEFAULT_ADDRESS, PROTOCOL_VERSION,
    connect::{self, AuthorizedChannel, ConnectError},
    limits::{CHUNK_BYTES, MESSAGE_BYTES_MAX},
    token::{Token, TokenError},
    v1::{
        self, DeleteJobRequest, ListStateRequest, MissingPackagesRequest, NodeAnswer, NodeQuestion,
        PackageChunk, QueryNodesRequest, StateFilter, StateKind, StopJobRequest, SubmitJobRequest,
        SubmittedJob, head_client::HeadClient,
    },
};
use parking_lot::Mutex;
use tokio::{
    io::AsyncReadExt,
    sync::{mpsc, oneshot},
};
use tonic::{Status, Streaming};

use crate::Core;

/// How long the head may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Pieces of a package that wait to be sent.
const PIECES_MAX: usize = 4;

/// Why the head did not do it.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// The connection could not be made ready.
    #[error("the head cannot be asked: {0}")]
    Local(#[from] std::io::Error),
}

/// A question about the cluster's state.
#[derive(Debug, Clone, Default)]
pub struct StateQuery {
    /// "tasks", "nodes", "jobs", "workers", "placement-groups", "submitted-jobs" or "actors".
    pub kind: String,
    /// (key, value, whether it must differ).
    pub filters: Vec<(String, String, bool)>,
    /// Rows at most; 0 for the head's own limit.
    pub limit: u32,
    /// Where the answer before ended.
    pub page: String,
    /// Counts in place of rows.
    pub summary: bool,
}

/// A part of an answer of one node.
#[derive(Debug, Clone)]
pub struct AnswerPart {
    /// The node's name.
    pub node_name: String,
    /// What it said.
    pub data: Vec<u8>,
    /// Why it said no more, or empty.
    pub error: String,
}

/// An answer that comes in parts.
pub struct Answer {
    connection: HeadConnection,
    stream: Mutex<Streaming<NodeAnswer>>,
}

/// A connection to a head. Clones share it.
#[derive(Clone)]
pub struct HeadConnection {
    runtime: Arc<Runtime>,
    channel: AuthorizedChannel,
    address: String,
}

/// A thread that reads and writes, so that the connection stays alive between calls. It ends with this value.
struct Runtime {
    handle: tokio::runtime::Handle,
    /// Dropped, it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Runtime {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name("manta-head".to_owned()).spawn(move || {
            // A dropped sender means the same.
            let _told = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, _stop: stop })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }
}

impl Core {
    /// A connection to this cluster's head.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn head(&self) -> Result<HeadConnection, HeadError> {
        let (address, token) = self.0.with(|state| (state.me.head_address.clone(), state.me.token.clone()));
        HeadConnection::with_token(address, &token)
    }
}

impl HeadConnection {
    /// To the head at `HOST:PORT`, or else at `MANTA_ADDRESS`, or else on this machine; with the token that this user has.
    ///
    /// # Errors
    /// When nobody listens there, or there is no token.
    pub fn open(address: Option<String>) -> Result<Self, HeadError> {
        let given =
            address.or_else(|| std::env::var("MANTA_ADDRESS").ok()).filter(|address| !address.is_empty());
        Self::with_token(given.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned()), &Token::find()?)
    }

    fn with_token(address: String, token: &Token) -> Result<Self, HeadError> {
        let runtime = Runtime::start()?;
        let channel = runtime.block_on(connect::tcp(&address, token, ANSWER_LIMIT))?;
        Ok(Self { runtime: Arc::new(runtime), channel, address })
    }

    /// The head's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn call<T>(
        &self,
        call: impl AsyncFnOnce(HeadClient<AuthorizedChannel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, HeadError> {
        let client = HeadClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = self.runtime.block_on(async { tokio::time::timeout(ANSWER_LIMIT, call(client)).await });
        let late = |_| HeadError::Refused(format!("the head at {} does not answer", self.address));
        answer.map_err(late)?.map(tonic::Response::into_inner).map_err(|status| refused(&status))
    }

    /// Gives the head those packages that it lacks.
    ///
    /// # Errors
    /// When it has no room for them, or they cannot be read.
    pub fn put_packages(&self, packages: &[Arc<Package>]) -> Result<(), HeadError> {
        self.runtime.block_on(put_packages(self.channel.clone(), packages)).map_err(HeadError::Refused)
    }

    /// Submits a job, and answers with its submission id; an empty one is made up.
    ///
    /// # Errors
    /// When the head refuses.
    pub fn submit_job(
        &self,
        submission_id: &str,
        entrypoint: &str,
        runtime_env: &str,
        metadata: Vec<(String, String)>,
        resources: &[(&str, f64)],
    ) -> Result<String, HeadError> {
        let amounts =
            crate::convert::class_key(crate::Language::Rust, None, resources, &crate::Placement::default());
        let amounts = amounts.map_err(|error| HeadError::Refused(error.to_string()))?.resources;
        let amounts = amounts.iter().map(|(name, amount)| (name.to_string(), *amount)).collect();
        let job = SubmittedJob {
            submission_id: submission_id.to_owned(),
            entrypoint: entrypoint.to_owned(),
            runtime_env: runtime_env.to_owned(),
            metadata: metadata.into_iter().collect(),
            resources: Some(v1::Resources { amounts }),
            ..SubmittedJob::default()
        };
        let request = SubmitJobRequest { protocol_version: PROTOCOL_VERSION, job: Some(job) };
        Ok(self.call(async |mut head| head.submit_job(request).await)?.submission_id)
    }

    /// Ends a job; false when it had ended.
    ///
    /// # Errors
    /// When there is no such job.
    pub fn stop_job(&self, submission_id: &str) -> Result<bool, HeadError> {
        let submission_id = submission_id.to_owned();
        let request = StopJobRequest { protocol_version: PROTOCOL_VERSION, submission_id };
        Ok(self.call(async |mut head| head.stop_job(request).await)?.stopped)
    }

    /// Forgets a job that ended.
    ///
    /// # Errors
    /// When there is no such job, or it runs.
    pub fn delete_job(&self, submission_id: &str) -> Result<(), HeadError> {
        let submission_id = submission_id.to_owned();
        let request = DeleteJobRequest { protocol_version: PROTOCOL_VERSION, submission_id };
        self.call(async |mut head| head.delete_job(request).await).map(drop)
    }

    /// Rows of the cluster's state as JSON objects, how many there are in all, the next page, and what is missing, in sentences.
    ///
    /// # Errors
    /// When the head refuses the question.
    pub fn list_state(
        &self,
        query: StateQuery,
    ) -> Result<(Vec<String>, u64, String, Vec<String>), HeadError> {
        let kind = match &*query.kind {
            "tasks" => StateKind::StateTasks,
            "nodes" => StateKind::StateNodes,
            "jobs" => StateKind::StateJobs,
            "workers" => StateKind::StateWorkers,
            "objects" => StateKind::StateObjects,
            "placement-groups" => StateKind::StatePlacementGroups,
            "submitted-jobs" => StateKind::StateSubmittedJobs,
            "actors" => StateKind::StateActors,
            "runtime-envs" => StateKind::StateRuntimeEnvs,
            other => return Err(HeadError::Refused(format!("there is no list of '{other}'"))),
        };
        let filter = |(key, value, differs)| StateFilter { key, value, differs };
        let request = ListStateRequest {
            protocol_version: PROTOCOL_VERSION,
            kind: kind.into(),
            filters: query.filters.into_iter().map(filter).collect(),
            limit: query.limit,
            page: query.page,
            summary: query.summary,
        };
        let answer = self.call(async |mut head| head.list_state(request).await)?;
        Ok((answer.rows, answer.total, answer.next_page, answer.notes))
    }

    /// The names of logs of these nodes (all without names) that are as the pattern says, each with its node's name.
    ///
    /// # Errors
    /// When there is no such node, or it does not answer.
    pub fn list_logs(&self, nodes: Vec<String>, pattern: &str) -> Result<Vec<(String, String)>, HeadError> {
        let list = v1::ListLogs { pattern: pattern.to_owned() };
        let question = NodeQuestion { question: Some(v1::node_question::Question::ListLogs(list)) };
        let request =
            QueryNodesRequest { protocol_version: PROTOCOL_VERSION, nodes, question: Some(question) };
        let stream = self.call(async |mut head| head.query_nodes(request).await)?;
        let answer = Answer { connection: self.clone(), stream: Mutex::new(stream) };
        let late = || HeadError::Refused("the nodes do not answer".to_owned());
        let mut found = Vec::new();
        while let Some(part) = answer.next(ANSWER_LIMIT).ok_or_else(late)?? {
            if !part.error.is_empty() {
                return Err(HeadError::Refused(format!("{}: {}", part.node_name, part.error)));
            }
            let rows: Vec<serde_json::Value> = serde_json::from_slice(&part.data).unwrap_or_default();
            let names = rows.iter().filter_map(|row| row["name"].as_str());
            found.extend(names.map(|name| (part.node_name.clone(), name.to_owned())));
        }
        found.sort();
        Ok(found)
    }

    /// A log of one node, which `follow` reads until its writer ends.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn read_log(&self, node: &str, name: &str, tail: i64, follow: bool) -> Result<Answer, HeadError> {
        let read = v1::ReadLog { name: name.to_owned(), tail, follow, task_id: String::new() };
        let question = NodeQuestion { question: Some(v1::node_question::Question::ReadLog(read)) };
        let request = QueryNodesRequest {
            protocol_version: PROTOCOL_VERSION,
            nodes: vec![node.to_owned()],
            question: Some(question),
        };
        let stream = self.call(async |mut head| head.query_nodes(request).await)?;
        Ok(Answer { connection: self.clone(), stream: Mutex::new(stream) })
    }
}

impl Answer {
    /// The next part; `Ok(None)` at the end; `None` when nothing came in time.
    ///
    /// # Errors
    /// When the head is gone.
    pub fn next(&self, limit: Duration) -> Option<Result<Option<AnswerPart>, HeadError>> {
        let mut stream = self.stream.lock();
        let next =
            self.connection.runtime.block_on(async { tokio::time::timeout(limit, stream.message()).await });
        let part = |part: NodeAnswer| AnswerPart {
            node_name: part.node_name,
            data: part.data.to_vec(),
            error: part.error,
        };
        Some(next.ok()?.map(|next| next.map(part)).map_err(|status| refused(&status)))
    }
}

fn refused(status: &Status) -> HeadError {
    HeadError::Refused(match status.message() {
        "" => format!("the head answered with an error and no reason ({})", status.code()),
        message => message.to_owned(),
    })
}

/// Gives the head those packages that it lacks; the error is a sentence.
pub(crate) async fn put_packages(
    channel: AuthorizedChannel,
    packages: &[Arc<Package>],
) -> Result<(), String> {
    let mut head = HeadClient::new(channel).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let ids = packages.iter().map(|package| package.id.clone()).collect();
    let request = MissingPackagesRequest { protocol_version: PROTOCOL_VERSION, ids };
    let said = |status: Status| status.message().to_owned();
    let missing = head.missing_packages(request).await.map_err(said)?.into_inner().ids;
    for package in packages.iter().filter(|package| missing.contains(&package.id)) {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let reading =
            tokio::spawn(read(package.file.path().to_owned(), package.id.clone(), package.bytes, sender));
        let put = head.put_package(tokio_stream::wrappers::ReceiverStream::new(receiver)).await;
        // What cannot be read is the reason for what did not arrive.
        reading
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("a package cannot be read: {error}"))?;
        put.map_err(said)?;
    }
    Ok(())
}

async fn read(
    path: PathBuf,
    id: String,
    total_bytes: u64,
    sender: mpsc::Sender<PackageChunk>,
) -> std::io::Result<()> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut first =
        PackageChunk { id, total_bytes, protocol_version: PROTOCOL_VERSION, ..PackageChunk::default() };
    loop {
        let mut data = vec![0; CHUNK_BYTES];
        let read = file.read(&mut data).await?;
        data.truncate(read);
        let chunk = PackageChunk { data: data.into(), ..std::mem::take(&mut first) };
        // The head may have seen enough of it.
        if read == 0 || sender.send(chunk).await.is_err() {
            return Ok(());
        }
    }
}
