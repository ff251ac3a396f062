//! The session's connection to its cluster's head: one stream for everything.

use std::{
    collections::HashMap,
    env,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dap::Message;
use manta_proto::{
    DEFAULT_ADDRESS, PROTOCOL_VERSION, connect,
    ids::{Incarnation, ProcessId, SessionId},
    limits::MESSAGE_BYTES_MAX,
    token::Token,
    v1::{self, head_client::HeadClient, head_to_session, session_to_head},
};
use manta_session::{AttachOptions, Event, Generation, LaunchOptions, TargetId};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{
    convert,
    happening::{Access, Events},
    limits::{CONNECT_WITHIN, GOODBYE_WITHIN, OPEN_WITHIN, RETURN_RETRY, RETURN_WITHIN, TO_HEAD_MAX},
    lines::Lines,
    private_cluster::PrivateCluster,
};

/// The connection to a cluster, or the attempt at one.
pub(crate) struct Cluster {
    link: Arc<Link>,
    lines: Lines,
    task: JoinHandle<()>,
    id: SessionId,
    /// Which incarnations the session means. The edges may have heard of later ones already.
    incarnations: HashMap<ProcessId, Incarnation>,
}

/// The way to the head, which may be another head later.
struct Link(Mutex<Way>);

enum Way {
    Open(mpsc::Sender<v1::SessionToHead>),
    /// The head is away. What is said to it meanwhile is lost; the session knows.
    Broken,
    /// The session has ended, and wants no other connection.
    Ended,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Way> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        matches!(*self.lock(), Way::Ended)
    }

    /// Makes a new queue to the head; `None` when the session has ended meanwhile.
    fn renew(&self) -> Option<mpsc::Receiver<v1::SessionToHead>> {
        let mut way = self.lock();
        if matches!(*way, Way::Ended) {
            return None;
        }
        let (to_head, outgoing) = mpsc::channel(TO_HEAD_MAX);
        *way = Way::Open(to_head);
        Some(outgoing)
    }

    fn break_off(&self) {
        let mut way = self.lock();
        if !matches!(*way, Way::Ended) {
            *way = Way::Broken;
        }
    }
}

/// Which cluster.
enum Which {
    Running(AttachOptions),
    Private(LaunchOptions),
}

impl Cluster {
    /// Connects to a cluster that runs.
    pub fn attach(options: AttachOptions, id: SessionId, events: Events) -> Self {
        let (client, grace) = (options.client.clone(), options.grace);
        Self::start(Which::Running(options), id, client, grace, events)
    }

    /// Starts a private cluster and connects to it.
    pub fn launch(options: LaunchOptions, id: SessionId, events: Events) -> Self {
        let (client, grace) = (options.client.clone(), options.grace);
        Self::start(Which::Private(options), id, client, grace, events)
    }

    fn start(
        which: Which,
        id: SessionId,
        client: String,
        grace: std::time::Duration,
        events: Events,
    ) -> Self {
        let (to_head, outgoing) = mpsc::channel(TO_HEAD_MAX);
        let open = v1::SessionOpen {
            protocol_version: PROTOCOL_VERSION,
            session_id: id.to_bytes(),
            client: with_host(client),
            grace_ms: u32::try_from(grace.as_millis()).unwrap_or(u32::MAX),
        };
        let link = Arc::new(Link(Mutex::new(Way::Open(to_head))));
        let lines = Lines::new(events.clone());
        let task = tokio::spawn(run(which, open, outgoing, Arc::clone(&link), lines.clone(), events));
        Self { link, lines, task, id, incarnations: HashMap::new() }
    }

    /// The session has heard of these incarnations.
    pub fn speak_to(&mut self, of: Vec<(ProcessId, Option<Incarnation>)>) {
        for (target, incarnation) in of {
            match incarnation {
                Some(incarnation) => self.incarnations.insert(target, incarnation),
                None => self.incarnations.remove(&target),
            };
        }
    }

    /// Sends a message to a target. The error says why the head is lost.
    pub fn send_to_target(&self, target: &TargetId, message: &Message) -> Result<(), String> {
        let Some(target) = ProcessId::from_hex(target.as_str()) else {
            return Err(format!("'{target}' is no target's id"));
        };
        let incarnation = self.incarnations.get(&target).copied().unwrap_or_default();
        if self.lines.send(target, incarnation, message) {
            return Ok(());
        }
        self.send(session_to_head::Message::ToTarget(v1::ToTarget {
            session_id: self.id.to_bytes(),
            target_id: target.to_bytes(),
            dap: message.to_vec().into(),
            incarnation: incarnation.0,
        }))
    }

    /// Gives the nodes a new set of breakpoints. The error says why the head is lost.
    pub fn publish(&self, generation: Generation, arguments: String, empty: bool) -> Result<(), String> {
        self.send(session_to_head::Message::Config(v1::DebugConfig {
            session_id: self.id.to_bytes(),
            generation: generation.0,
            arguments: arguments.into(),
            empty,
        }))
    }

    /// Lets all paused tasks run on at once.
    pub fn release(&self) {
        // A head that is lost has told its nodes already.
        if let Err(cause) = self.send(session_to_head::Message::Close(v1::SessionClose {})) {
            tracing::debug!(%cause, "the cluster could not be told of the session's end");
        }
        *self.link.lock() = Way::Ended;
    }

    fn send(&self, message: session_to_head::Message) -> Result<(), String> {
        let Way::Open(to_head) = &*self.link.lock() else { return Ok(()) };
        match to_head.try_send(v1::SessionToHead { message: Some(message) }) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(format!("its head does not read: {TO_HEAD_MAX} messages wait for it"))
            }
            // Who reads from the head finds the same, and looks for it.
            Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }

    /// Ends the connection, and the cluster if it is a private one. What was sent before arrives before.
    pub async fn end(self) {
        let Self { link, lines, mut task, .. } = self;
        lines.clear();
        *link.lock() = Way::Ended;
        if timeout(GOODBYE_WITHIN, &mut task).await.is_err() {
            task.abort();
        }
    }
}

async fn run(
    which: Which,
    open: v1::SessionOpen,
    outgoing: mpsc::Receiver<v1::SessionToHead>,
    link: Arc<Link>,
    lines: Lines,
    events: Events,
) {
    let (access, private) = match access(which).await {
        Ok(found) => found,
        Err(cause) => {
            // Without a session there is nobody left to tell.
            let _told = events.send(Event::ConnectFailed(cause)).await;
            return;
        }
    };
    match open_session(&access, open.clone(), outgoing).await {
        Ok(messages) => {
            let _told = events.tell_access(access.clone()).await;
            lines.set_token(&access.token);
            let may_return = private.is_none();
            let cause = stay(messages, &access, &open, &link, &lines, &events, may_return).await;
            lines.clear();
            let _told = events.send(Event::ClusterLost(cause)).await;
        }
        Err(cause) => {
            let _told = events.send(Event::ConnectFailed(cause)).await;
        }
    }
    if let Some(private) = private {
        private.end().await;
    }
}

/// Passes on what the head says, and looks for a head that is gone. Gives the reason of the end.
async fn stay(
    mut messages: Streaming<v1::HeadToSession>,
    access: &Access,
    open: &v1::SessionOpen,
    link: &Link,
    lines: &Lines,
    events: &Events,
    may_return: bool,
) -> String {
    loop {
        let cause = match pump(messages, lines, events, &access.address).await {
            // It has said goodbye.
            End::Closed(cause) => return cause,
            End::Broken(cause) if !may_return || link.has_ended() => return cause,
            End::Broken(cause) => cause,
        };
        link.break_off();
        lines.clear();
        let _told = events.send(Event::ClusterAway(cause.clone())).await;
        let until = Instant::now() + RETURN_WITHIN;
        messages = loop {
            let Some(outgoing) = link.renew() else { return cause };
            match open_session(access, open.clone(), outgoing).await {
                Ok(messages) => break messages,
                Err(again) if Instant::now() > until => {
                    return format!(
                        "{cause}, and it did not come back within {} s: {again}",
                        RETURN_WITHIN.as_secs()
                    );
                }
                Err(_) => link.break_off(),
            }
            tokio::time::sleep(RETURN_RETRY).await;
        };
    }
}

async fn access(which: Which) -> Result<(Access, Option<PrivateCluster>), String> {
    match which {
        Which::Private(options) => {
            let private = PrivateCluster::start(&options).await?;
            Ok((private.access().clone(), Some(private)))
        }
        Which::Running(options) => {
            let address = options
                .address
                .filter(|address| !address.is_empty())
                .or_else(|| env::var("MANTA_ADDRESS").ok())
                .unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
            let token = match options.token {
                Some(token) => Token::new(&token, "the configuration's 'token'"),
                None => Token::find(),
            };
            Ok((Access { address, token: token.map_err(|error| error.to_string())? }, None))
        }
    }
}

async fn open_session(
    access: &Access,
    open: v1::SessionOpen,
    outgoing: mpsc::Receiver<v1::SessionToHead>,
) -> Result<Streaming<v1::HeadToSession>, String> {
    let address = &access.address;
    let channel =
        connect::tcp(address, &access.token, CONNECT_WITHIN).await.map_err(|error| error.to_string())?;
    let mut head = HeadClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let open = v1::SessionToHead { message: Some(session_to_head::Message::Open(open)) };
    let messages = futures::StreamExt::chain(tokio_stream::once(open), ReceiverStream::new(outgoing));
    let opening = head.debug_session(messages);
    match timeout(OPEN_WITHIN, opening).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(sentence(address, &status)),
        Err(_) => Err(format!(
            "the head at {address} did not open a debug session within {} s; look at 'manta status'",
            OPEN_WITHIN.as_secs()
        )),
    }
}

/// The head's own sentence where it has one, otherwise what the failure means.
fn sentence(address: &str, status: &Status) -> String {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument => {
            status.message().to_owned()
        }
        Code::Unimplemented => format!(
            "what answers at {address} does not open debug sessions; check that the address is that of a Manta head of this \
             version ({})",
            manta_proto::VERSION
        ),
        _ => format!(
            "what answers at {address} could not open a debug session ({}); check that the address is that of a Manta head",
            status.message()
        ),
    }
}

/// How the head's messages end, with the reason.
enum End {
    /// By the head's will.
    Closed(String),
    /// The connection broke.
    Broken(String),
}

/// Passes on what the head says until its end.
async fn pump(
    mut messages: Streaming<v1::HeadToSession>,
    lines: &Lines,
    events: &Events,
    address: &str,
) -> End {
    loop {
        match messages.message().await {
            Ok(Some(mut message)) => {
                let jobs = take_jobs(&mut message);
                let (before, after) = note_targets(lines, &message);
                let _told = events.tell_incarnations(before).await;
                match convert::event(message) {
                    Ok(Some(Event::FromTarget { target, message })) => lines.hear(target, message).await,
                    // When nobody listens any more, the stream is read to its end all the same: so the head has read to ours.
                    Ok(Some(event)) => {
                        let _told = events.send(event).await;
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "a message from the head was not understood"),
                }
                let _told = events.tell_incarnations(after).await;
                for job in jobs {
                    match convert::job_started(job) {
                        Ok(event) => {
                            let _told = events.send(event).await;
                        }
                        Err(error) => tracing::warn!(%error, "a job from the head was not understood"),
                    }
                }
            }
            Ok(None) => return End::Closed(format!("the head at {address} closed the connection")),
            Err(status) => {
                return End::Broken(format!("the head at {address} is gone ({})", status.message()));
            }
        }
    }
}

/// Incarnations that the session means from now on; none of targets that are gone.
type Meant = Vec<(ProcessId, Option<Incarnation>)>;

/// Which targets there are to have lines to. Gives which of their incarnations the session means before it hears of this, and after.
fn note_targets(lines: &Lines, message: &v1::HeadToSession) -> (Meant, Meant) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut up = |up: &v1::TargetUp| {
        lines.target_up(up);
        let id = ProcessId::try_from(&up.target_id);
        before.extend(id.map(|id| (id, Some(Incarnation(up.incarnation)))));
    };
    match &message.message {
        Some(head_to_session::Message::Opened(opened)) => opened.targets.iter().for_each(up),
        Some(head_to_session::Message::TargetUp(target)) => up(target),
        Some(head_to_session::Message::TargetDown(down)) => {
            lines.target_down(&down.target_id);
            after.extend(ProcessId::try_from(&down.target_id).map(|id| (id, None)));
        }
        _ => {}
    }
    (before, after)
}

/// The jobs that ran before the session.
fn take_jobs(message: &mut v1::HeadToSession) -> Vec<v1::JobStarted> {
    match &mut message.message {
        Some(head_to_session::Message::Opened(opened)) => std::mem::take(&mut opened.jobs),
        _ => Vec::new(),
    }
}

/// "VS Code on laptop".
fn with_host(client: String) -> String {
    let named = env::var("COMPUTERNAME").or_else(|_| env::var("HOSTNAME")).ok();
    let host = named.or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    match host.as_deref().map(str::trim).filter(|host| !host.is_empty()) {
        Some(host) => format!("{client} on {host}"),
        None => client,
    }
}
