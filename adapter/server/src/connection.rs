//! One client and its session: the loop that feeds the session and does what it says.

use std::{
    fs::File,
    sync::{Arc, Mutex, PoisonError},
};

use dap::{Direction, Log, Message};
use manta_proto::ids::SessionId;
use manta_session::{Effect, Event, Session};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    clock::Clock,
    cluster::Cluster,
    driver::Driver,
    files::LocalFiles,
    happening::{Access, Events, Happening},
    limits::{EVENTS_MAX, LAST_MESSAGES_WITHIN},
    reader,
    writer::ToClient,
};

/// The conversation's log, where one is kept.
#[derive(Clone, Default)]
pub(crate) struct SharedLog(Option<Arc<Mutex<Log<File>>>>);

impl SharedLog {
    pub fn new(file: Option<File>) -> Self {
        Self(file.map(|file| Arc::new(Mutex::new(Log::new(file)))))
    }

    pub fn record(&self, direction: Direction, text: &[u8]) {
        let Some(log) = &self.0 else { return };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.record(direction, text) {
            tracing::error!(%error, "the log of the conversation could not be written");
        }
    }
}

/// One client's connection.
struct Connection {
    session: Session,
    id: SessionId,
    events: Events,
    clock: Clock,
    log: SharedLog,
    client: Option<ToClient>,
    writing: JoinHandle<()>,
    last_seq: i64,
    cluster: Option<Cluster>,
    access: Option<Access>,
    driver: Option<Driver>,
}

/// Serves one client until it has left.
pub(crate) async fn serve<R, W>(source: R, sink: W, log: SharedLog)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (events, happenings) = Events::new(EVENTS_MAX);
    let (client, writing) = ToClient::start(sink);
    let reading = tokio::spawn(reader::read(source, events.clone(), log.clone()));
    let id = SessionId::random();
    let connection = Connection {
        session: Session::new(&id.to_string(), Box::new(LocalFiles)),
        id,
        events,
        clock: Clock::default(),
        log,
        client: Some(client),
        writing,
        last_seq: 0,
        cluster: None,
        access: None,
        driver: None,
    };
    connection.run(happenings).await;
    reading.abort();
}

impl Connection {
    async fn run(mut self, mut happenings: mpsc::Receiver<Happening>) {
        while self.client.is_some() {
            let happening = tokio::select! {
                happening = happenings.recv() => happening,
                timer = self.clock.next() => Some(Happening::Event(Event::Timer(timer))),
            };
            match happening {
                Some(Happening::Event(event)) => self.on(event),
                Some(Happening::Access(access)) => self.access = Some(access),
                Some(Happening::Incarnations(of)) => {
                    if let Some(cluster) = &mut self.cluster {
                        cluster.speak_to(of);
                    }
                }
                // Cannot be: this connection holds a sender itself.
                None => break,
            }
        }
        drop(happenings);
        self.end().await;
    }

    fn on(&mut self, event: Event) {
        for effect in self.session.on(event) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::ToClient(message) => self.send_to_client(message),
            Effect::ToTarget { target, message } => {
                self.tell_cluster(|cluster| cluster.send_to_target(&target, &message));
            }
            Effect::Publish { generation, arguments, empty } => {
                self.tell_cluster(|cluster| cluster.publish(generation, arguments, empty));
            }
            Effect::Release => {
                if let Some(cluster) = &self.cluster {
                    cluster.release();
                }
            }
            Effect::Connect(options) => {
                self.cluster = Some(Cluster::attach(options, self.id, self.events.clone()));
            }
            Effect::StartCluster(options) => {
                self.cluster = Some(Cluster::launch(options, self.id, self.events.clone()));
            }
            Effect::StartDriver(options) => {
                if let Some(access) = &self.access {
                    self.driver = Some(Driver::start(options, access, self.events.clone()));
                }
            }
            Effect::KillDriver => {
                if let Some(driver) = &mut self.driver {
                    driver.kill();
                }
            }
            Effect::SetTimer { id, after } => self.clock.set(id, after),
            Effect::Close => self.client = None,
            Effect::Log(line) => tracing::info!("{line}"),
        }
    }

    fn send_to_client(&mut self, mut message: Message) {
        let Some(client) = &self.client else { return };
        self.last_seq += 1;
        message.set_seq(self.last_seq);
        let text = message.to_vec();
        self.log.record(Direction::Out, &text);
        if !client.send(text.into()) {
            tracing::warn!("the client is gone or does not read; its session ends");
            self.client = None;
        }
    }

    fn tell_cluster(&mut self, send: impl FnOnce(&Cluster) -> Result<(), String>) {
        let Some(cluster) = &self.cluster else { return };
        if let Err(cause) = send(cluster) {
            self.cluster = None;
            self.on(Event::ClusterLost(cause));
        }
    }

    /// Ends what is left: the last messages go out, then the driver ends, then the cluster is told.
    async fn end(mut self) {
        self.client = None;
        if timeout(LAST_MESSAGES_WITHIN, &mut self.writing).await.is_err() {
            self.writing.abort();
        }
        if let Some(driver) = self.driver {
            driver.end().await;
        }
        if let Some(cluster) = self.cluster {
            cluster.end().await;
        }
    }
}
