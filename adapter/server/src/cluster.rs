//! The session's connection to its cluster's head: one stream for everything.

use std::env;

use dap::Message;
use manta_proto::{
    DEFAULT_ADDRESS, PROTOCOL_VERSION, connect,
    ids::{ProcessId, SessionId},
    limits::MESSAGE_BYTES_MAX,
    token::Token,
    v1::{self, head_client::HeadClient, head_to_session, session_to_head},
};
use manta_session::{AttachOptions, Event, Generation, LaunchOptions, TargetId};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{
    convert,
    happening::{Access, Events},
    limits::{CONNECT_WITHIN, GOODBYE_WITHIN, OPEN_WITHIN, TO_HEAD_MAX},
    private_cluster::PrivateCluster,
};

/// The connection to a cluster, or the attempt at one.
pub(crate) struct Cluster {
    to_head: mpsc::Sender<v1::SessionToHead>,
    task: JoinHandle<()>,
    id: SessionId,
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
        let task = tokio::spawn(run(which, open, outgoing, events));
        Self { to_head, task, id }
    }

    /// Sends a message to a target. The error says why the head is lost.
    pub fn send_to_target(&self, target: &TargetId, message: &Message) -> Result<(), String> {
        let Some(target) = ProcessId::from_hex(target.as_str()) else {
            return Err(format!("'{target}' is no target's id"));
        };
        self.send(session_to_head::Message::ToTarget(v1::ToTarget {
            session_id: self.id.to_bytes(),
            target_id: target.to_bytes(),
            dap: message.to_vec().into(),
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
    }

    fn send(&self, message: session_to_head::Message) -> Result<(), String> {
        self.to_head.try_send(v1::SessionToHead { message: Some(message) }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                format!("its head does not read: {TO_HEAD_MAX} messages wait for it")
            }
            mpsc::error::TrySendError::Closed(_) => "its head closed the connection".to_owned(),
        })
    }

    /// Ends the connection, and the cluster if it is a private one. What was sent before arrives before.
    pub async fn end(self) {
        let Self { to_head, mut task, .. } = self;
        drop(to_head);
        if timeout(GOODBYE_WITHIN, &mut task).await.is_err() {
            task.abort();
        }
    }
}

async fn run(
    which: Which,
    open: v1::SessionOpen,
    outgoing: mpsc::Receiver<v1::SessionToHead>,
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
    match open_session(&access, open, outgoing).await {
        Ok(messages) => {
            let _told = events.tell_access(access.clone()).await;
            let cause = pump(messages, &events, &access.address).await;
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

/// Passes on what the head says until its end. Gives the reason of that.
async fn pump(mut messages: Streaming<v1::HeadToSession>, events: &Events, address: &str) -> String {
    loop {
        match messages.message().await {
            Ok(Some(mut message)) => {
                let jobs = take_jobs(&mut message);
                match convert::event(message) {
                    // When nobody listens any more, the stream is read to its end all the same: so the head has read to ours.
                    Ok(Some(event)) => {
                        let _told = events.send(event).await;
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "a message from the head was not understood"),
                }
                for job in jobs {
                    match convert::job_started(job) {
                        Ok(event) => {
                            let _told = events.send(event).await;
                        }
                        Err(error) => tracing::warn!(%error, "a job from the head was not understood"),
                    }
                }
            }
            Ok(None) => return format!("the head at {address} closed the connection"),
            Err(status) => return format!("the head at {address} is gone ({})", status.message()),
        }
    }
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
