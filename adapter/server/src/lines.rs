//! Lines: straight ways to targets of this machine, beside the one over the head (see [`manta_proto::line`]).
//!
//! A target says everything on both ways, numbered without gaps. What comes over the head is heard unless it was heard since the line was
//! made; what comes on the line is heard if it is the very next. So nothing is lost or heard twice, whatever becomes of a line. What is
//! older than the line is always heard: nodes tell of old stops again to a session that was away. What is asked goes over the line once
//! all that went over the head before it is answered.
//!
//! Whether a message is heard is decided, and it is given to the session, under one lock: else what comes next on the other way could
//! overtake it, and a task that runs on be taken for one that has stopped.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use dap::{Message, Seq};
use manta_proto::{
    ids::ProcessId,
    line::{self, NODE_SEQ_MIN},
    token::Token,
    v1::TargetUp,
};
use manta_session::{Event, TargetId};
use tokio::{net::UnixStream, sync::mpsc, task::AbortHandle};

use crate::{
    happening::{Events, Room},
    limits::TO_HEAD_MAX,
};

/// The targets of one session, by what they are reached.
#[derive(Clone)]
pub(crate) struct Lines {
    targets: Arc<Mutex<HashMap<ProcessId, Target>>>,
    token: Arc<Mutex<Option<Token>>>,
    events: Events,
}

/// A target that offers a line.
struct Target {
    socket: PathBuf,
    /// The highest number of a message that was heard.
    heard: Seq,
    /// What was heard before there was a line.
    heard_before: Option<Seq>,
    /// Requests that went over the head and are not answered.
    unanswered: usize,
    way: Way,
}

enum Way {
    /// Nothing has come from the target yet.
    Untried,
    /// A line is made, or was tried in vain, or has ended.
    None,
    Line(Line),
}

struct Line {
    outgoing: mpsc::Sender<Bytes>,
    reader: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Lines {
    pub fn new(events: Events) -> Self {
        Self { targets: Arc::default(), token: Arc::default(), events }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProcessId, Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a line is opened with.
    pub fn set_token(&self, token: &Token) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
    }

    /// A target is there.
    pub fn target_up(&self, up: &TargetUp) {
        let Ok(target) = ProcessId::try_from(&up.target_id) else { return };
        if !up.line.is_empty() {
            let socket = PathBuf::from(&up.line);
            let target_up = Target { socket, heard: 0, heard_before: None, unanswered: 0, way: Way::Untried };
            self.lock().entry(target).or_insert(target_up);
        }
    }

    /// A target is gone.
    pub fn target_down(&self, target: &Bytes) {
        if let Ok(target) = ProcessId::try_from(target) {
            self.lock().remove(&target);
        }
    }

    /// Forgets them all: the head is away and nobody knows what becomes of the session, or that is over.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Gives the session a message that came over the head, unless it was heard. The first one has a line made.
    pub async fn hear(&self, target: TargetId, message: Message) {
        let Some(room) = self.events.room().await else { return };
        let mut targets = self.lock();
        let known = ProcessId::from_hex(target.as_str()).and_then(|id| Some((id, targets.get_mut(&id)?)));
        if let Some((id, known)) = known {
            if matches!(known.way, Way::Untried) {
                known.way = Way::None;
                let socket = known.socket.clone();
                tokio::spawn(self.clone().open(id, socket));
            }
            let number = message.seq();
            if known.heard_before.is_some_and(|before| before < number && number <= known.heard) {
                return;
            }
            known.hear(&message);
        }
        room.send(Event::FromTarget { target, message });
    }

    /// Sends a message on the line. False when it has to go over the head.
    pub fn send(&self, target: ProcessId, message: &Message) -> bool {
        let mut targets = self.lock();
        let Some(target) = targets.get_mut(&target) else { return false };
        match &target.way {
            Way::Line(line) if target.unanswered == 0 && line.send(&message.to_vec()) => true,
            _ => {
                target.unanswered += usize::from(matches!(message, Message::Request(_)));
                false
            }
        }
    }

    async fn open(self, target: ProcessId, socket: PathBuf) {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(token) = token else { return };
        // Most often, the target is on another machine.
        let Ok(stream) = connect(&socket, &token).await else { return };
        let stream = Arc::new(stream);
        let (outgoing, waiting) = mpsc::channel(TO_HEAD_MAX);
        if let Some(known) = self.lock().get_mut(&target) {
            // Nothing is heard on the line before it is known what was heard without it.
            known.heard_before = Some(known.heard);
            tokio::spawn(write(Arc::clone(&stream), waiting));
            let reader = tokio::spawn(self.clone().read(target, stream)).abort_handle();
            known.way = Way::Line(Line { outgoing, reader });
        }
    }

    /// Hears what comes on the line until its end.
    async fn read(self, target: ProcessId, stream: Arc<UnixStream>) {
        let id = TargetId::new(&target.to_string());
        let mut received = BytesMut::new();
        while read_some(&stream, &mut received).await {
            loop {
                let text = match line::take(&mut received) {
                    Ok(Some(text)) => text,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, target = %id, "a line is closed");
                        return self.ended(target);
                    }
                };
                match Message::from_slice(&text) {
                    Ok(message) => {
                        let Some(room) = self.events.room().await else { return };
                        self.hear_next(target, &id, message, room);
                    }
                    Err(error) => {
                        tracing::warn!(%error, target = %id, "a line is closed, as no DAP message came on it");
                        return self.ended(target);
                    }
                }
            }
        }
        self.ended(target);
    }

    /// Gives the session a message that came on the line, if it is the next.
    fn hear_next(&self, target: ProcessId, id: &TargetId, message: Message, room: Room<'_>) {
        let mut targets = self.lock();
        let Some(known) = targets.get_mut(&target) else { return };
        if message.seq() != known.heard + 1 {
            return;
        }
        known.hear(&message);
        // What answers the node is not the session's.
        let is_nodes =
            matches!(&message, Message::Response(response) if response.request_seq >= NODE_SEQ_MIN);
        if !is_nodes {
            room.send(Event::FromTarget { target: id.clone(), message });
        }
    }

    fn ended(&self, target: ProcessId) {
        if let Some(target) = self.lock().get_mut(&target) {
            target.way = Way::None;
        }
    }
}

impl Target {
    fn hear(&mut self, message: &Message) {
        self.heard = self.heard.max(message.seq());
        if matches!(message, Message::Response(response) if response.request_seq < NODE_SEQ_MIN) {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
    }
}

impl Line {
    /// False when it has ended, or its target does not read.
    fn send(&self, message: &[u8]) -> bool {
        let mut frame = BytesMut::with_capacity(message.len() + 4);
        if line::append(&mut frame, message).is_err() {
            return false;
        }
        self.outgoing.try_send(frame.freeze()).is_ok()
    }
}

async fn connect(socket: &Path, token: &Token) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket).await?;
    let mut hello = BytesMut::new();
    line::append(&mut hello, line::hello(token).as_bytes()).map_err(io::Error::other)?;
    write_all(&stream, &hello).await?;
    Ok(stream)
}

async fn write_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn write(stream: Arc<UnixStream>, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(frame) = waiting.recv().await {
        if write_all(&stream, &frame).await.is_err() {
            // The reader finds the end.
            return;
        }
    }
}

/// Waits for more bytes. False at the end.
async fn read_some(stream: &UnixStream, received: &mut BytesMut) -> bool {
    loop {
        if stream.readable().await.is_err() {
            return false;
        }
        match stream.try_read_buf(received) {
            Ok(count) => return count > 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dap::EventMessage;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
        time::timeout,
    };

    use super::*;
    use crate::happening::Happening;

    fn said(seq: Seq) -> Message {
        let mut message = Message::from(EventMessage::new::<dap::events::Output>(&Default::default()));
        message.set_seq(seq);
        message
    }

    fn frame(message: &[u8]) -> BytesMut {
        let mut frame = BytesMut::new();
        line::append(&mut frame, message).unwrap();
        frame
    }

    async fn next_frame(stream: &mut UnixStream, received: &mut BytesMut) -> Bytes {
        loop {
            if let Some(message) = line::take(received).unwrap() {
                return message;
            }
            let read = timeout(Duration::from_secs(10), stream.read_buf(received)).await;
            assert_ne!(read.unwrap().unwrap(), 0, "the line ended");
        }
    }

    #[tokio::test]
    async fn each_message_is_heard_once_whichever_way_it_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let (id, token) = (ProcessId([7; 16]), Token::random());
        let target = TargetId::new(&id.to_string());
        let socket = line::socket(folder.path(), id);
        let listener = UnixListener::bind(&socket).unwrap();
        let (events, mut happenings) = Events::new(8);
        let lines = Lines::new(events);
        lines.set_token(&token);
        lines.target_up(&TargetUp {
            target_id: id.to_bytes(),
            line: socket.display().to_string(),
            ..TargetUp::default()
        });
        let mut request = Message::from_slice(br#"{"seq":1,"type":"request","command":"next"}"#).unwrap();
        assert!(!lines.send(id, &request), "there is no line before the target has said anything");

        // What comes over the head, and is heard.
        let over_head = async |happenings: &mut mpsc::Receiver<Happening>, seq: Seq| {
            lines.hear(target.clone(), said(seq)).await;
            match happenings.try_recv() {
                Ok(Happening::Event(Event::FromTarget { message, .. })) => message.seq() == seq,
                _ => false,
            }
        };
        assert!(over_head(&mut happenings, 2).await);
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = BytesMut::new();
        let hello = next_frame(&mut stream, &mut received).await;
        assert!(line::is_hello(&hello, &token));

        // What is not the next one comes over the head; the next one is heard at once.
        for seq in [4, 3] {
            stream.write_all(&frame(&said(seq).to_vec())).await.unwrap();
        }
        let heard = async |happenings: &mut mpsc::Receiver<Happening>| {
            let next = timeout(Duration::from_secs(10), happenings.recv()).await.unwrap();
            let Some(Happening::Event(Event::FromTarget { message, .. })) = next else {
                panic!("no message")
            };
            message.seq()
        };
        assert_eq!(heard(&mut happenings).await, 3);
        assert!(!over_head(&mut happenings, 3).await && over_head(&mut happenings, 4).await);
        // A stop from before that a node tells of again.
        assert!(over_head(&mut happenings, 2).await && !over_head(&mut happenings, 4).await);

        // The answer to what went over the head; then requests go on the line.
        request.set_seq(2);
        assert!(!lines.send(id, &request), "a request before it is not answered");
        for (seq, answered) in [(5, 1), (6, 2)] {
            let answer = format!(
                r#"{{"seq":{seq},"type":"response","request_seq":{answered},"command":"next","success":true}}"#
            );
            stream.write_all(&frame(answer.as_bytes())).await.unwrap();
            assert_eq!(heard(&mut happenings).await, seq);
        }
        request.set_seq(3);
        assert!(lines.send(id, &request));
        assert_eq!(next_frame(&mut stream, &mut received).await, request.to_vec());

        // What answers the node is counted, and not for the session.
        let node = format!(
            r#"{{"seq":7,"type":"response","request_seq":{NODE_SEQ_MIN},"command":"mantaConfigure","success":true}}"#
        );
        stream.write_all(&frame(node.as_bytes())).await.unwrap();
        stream.write_all(&frame(&said(8).to_vec())).await.unwrap();
        assert_eq!(heard(&mut happenings).await, 8);

        drop(stream);
        let ended = async {
            while lines.send(id, &request) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), ended).await.expect("the end of the line is noticed");
        assert!(!over_head(&mut happenings, 8).await && over_head(&mut happenings, 9).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn messages_keep_their_order_on_two_ways_at_one_time() {
        const MESSAGES: Seq = 5_000;
        let folder = tempfile::tempdir().unwrap();
        let (id, token) = (ProcessId([8; 16]), Token::random());
        let target = TargetId::new(&id.to_string());
        let socket = line::socket(folder.path(), id);
        let listener = UnixListener::bind(&socket).unwrap();
        let (events, mut happenings) = Events::new(1);
        let lines = Lines::new(events);
        lines.set_token(&token);
        let line = socket.display().to_string();
        lines.target_up(&TargetUp { target_id: id.to_bytes(), line, ..TargetUp::default() });
        lines.hear(target.clone(), said(1)).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        // From here on it says everything twice.
        let on_line = tokio::spawn(async move {
            for seq in 2..=MESSAGES {
                stream.write_all(&frame(&said(seq).to_vec())).await.unwrap();
                if seq % 8 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            stream
        });
        let over_head = tokio::spawn(async move {
            for seq in 2..=MESSAGES {
                lines.hear(target.clone(), said(seq)).await;
            }
            lines
        });
        for expected in 1..=MESSAGES {
            let next = timeout(Duration::from_secs(30), happenings.recv()).await.unwrap();
            let Some(Happening::Event(Event::FromTarget { message, .. })) = next else {
                panic!("no message")
            };
            assert_eq!(message.seq(), expected);
        }
        let _open = (on_line.await.unwrap(), over_head.await.unwrap());
        assert!(happenings.try_recv().is_err(), "nothing is heard twice");
    }
}
