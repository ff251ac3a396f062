//! Lines: straight ways to targets of this machine, beside the one over the head (see [`manta_proto::line`]).
//!
//! A target has one engine after the other, each with a line and with numbers of its own: its incarnations.
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
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, Bytes, BytesMut};
use dap::{Message, Seq};
use manta_proto::{
    ids::{Incarnation, ProcessId},
    line::{self, NODE_SEQ_MIN},
    token::Token,
    v1::TargetUp,
};
use manta_session::{Event, TargetId};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    task::AbortHandle,
};

use crate::{
    happening::{Events, Room},
    limits::TO_HEAD_MAX,
};

/// The event with which an engine asks its node for debug information.
const NEEDS_DEBUG_INFO: &str = "mantaNeedsDebugInfo";

/// Bytes for which there is room at each read: a stop with its stack is read at once.
const READ_BYTES: usize = 16 * 1024;

/// The targets of one session, by what they are reached.
#[derive(Clone)]
pub(crate) struct Lines {
    targets: Arc<Mutex<HashMap<ProcessId, Target>>>,
    token: Arc<Mutex<Option<Token>>>,
    events: Events,
}

/// A target.
struct Target {
    incarnation: Incarnation,
    /// Where it offers a line, if its machine is this one.
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

/// Whose line.
#[derive(Clone, Copy)]
struct Which {
    target: ProcessId,
    incarnation: Incarnation,
}

struct Line {
    stream: Arc<UnixStream>,
    /// What could not be written at once, for a task that waits until it can.
    waiting: mpsc::Sender<Bytes>,
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

    /// A target is there. It may be known, by this incarnation or the one before.
    pub fn target_up(&self, up: &TargetUp) {
        let Ok(target) = ProcessId::try_from(&up.target_id) else { return };
        let incarnation = Incarnation(up.incarnation);
        let mut targets = self.lock();
        if targets.get(&target).is_none_or(|known| known.incarnation != incarnation) {
            let socket = PathBuf::from(&up.line);
            let way = if up.line.is_empty() { Way::None } else { Way::Untried };
            let known = Target { incarnation, socket, heard: 0, heard_before: None, unanswered: 0, way };
            targets.insert(target, known);
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
                let which = Which { target: id, incarnation: known.incarnation };
                let (lines, socket) = (self.clone(), known.socket.clone());
                // It changes what is locked here.
                tokio::spawn(async move { lines.open(which, &socket) });
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
    pub fn send(&self, target: ProcessId, incarnation: Incarnation, message: &Message) -> bool {
        let mut targets = self.lock();
        let Some(target) = (Which { target, incarnation }).of(&mut targets) else { return false };
        match &target.way {
            Way::Line(line) if target.unanswered == 0 && line.send(&message.to_vec()) => true,
            _ => {
                target.unanswered += usize::from(matches!(message, Message::Request(_)));
                false
            }
        }
    }

    fn open(&self, which: Which, socket: &Path) {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(token) = token else { return };
        // Most often, the target is on another machine.
        let Ok(stream) = connect(socket, &token) else { return };
        let stream = Arc::new(stream);
        // Not for writing: whenever the target has read something, that would wake this process for nothing.
        let Ok(readable) = watch(Arc::clone(&stream), Interest::READABLE) else { return };
        let (waiting, unsent) = mpsc::channel(TO_HEAD_MAX);
        if let Some(known) = which.of(&mut self.lock()) {
            // Nothing is heard on the line before it is known what was heard without it.
            known.heard_before = Some(known.heard);
            tokio::spawn(write(Arc::clone(&stream), unsent));
            let reader = tokio::spawn(self.clone().read(which, readable)).abort_handle();
            known.way = Way::Line(Line { stream, waiting, reader });
        }
    }

    /// Hears what comes on the line until its end.
    async fn read(self, which: Which, stream: AsyncFd<Arc<UnixStream>>) {
        let id = TargetId::new(&which.target.to_string());
        let mut received = BytesMut::new();
        while read_some(&stream, &mut received).await {
            loop {
                let text = match line::take(&mut received) {
                    Ok(Some(text)) => text,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, target = %id, "a line is closed");
                        return self.ended(which);
                    }
                };
                match Message::from_slice(&text) {
                    Ok(message) => {
                        let Some(room) = self.events.room().await else { return };
                        self.hear_next(which, &id, message, room);
                    }
                    Err(error) => {
                        tracing::warn!(%error, target = %id, "a line is closed, as no DAP message came on it");
                        return self.ended(which);
                    }
                }
            }
        }
        self.ended(which);
    }

    /// Gives the session a message that came on the line, if it is the next.
    fn hear_next(&self, which: Which, id: &TargetId, message: Message, room: Room<'_>) {
        let mut targets = self.lock();
        let Some(known) = which.of(&mut targets) else { return };
        if message.seq() != known.heard + 1 {
            return;
        }
        known.hear(&message);
        if !is_for_node(&message) {
            room.send(Event::FromTarget { target: id.clone(), message });
        }
    }

    fn ended(&self, which: Which) {
        if let Some(target) = which.of(&mut self.lock()) {
            target.way = Way::None;
        }
    }
}

/// Nodes take what answers them, and one event, from what they pass on.
fn is_for_node(message: &Message) -> bool {
    match message {
        Message::Response(response) => response.request_seq >= NODE_SEQ_MIN,
        Message::Event(event) => event.event == NEEDS_DEBUG_INFO,
        Message::Request(_) => false,
    }
}

impl Which {
    fn of(self, targets: &mut HashMap<ProcessId, Target>) -> Option<&mut Target> {
        targets.get_mut(&self.target).filter(|target| target.incarnation == self.incarnation)
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
        let mut frame = frame.freeze();
        // Nothing waits before it.
        if self.waiting.capacity() == self.waiting.max_capacity() && !write_some(&self.stream, &mut frame) {
            return false;
        }
        frame.is_empty() || self.waiting.try_send(frame).is_ok()
    }
}

/// Whether the target's socket takes it is known at once, as it is one of this machine: nothing of this waits.
fn connect(socket: &Path, token: &Token) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    let mut hello = BytesMut::new();
    line::append(&mut hello, line::hello(token).as_bytes()).map_err(io::Error::other)?;
    stream.write_all(&hello)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Writes as much as goes without waiting, and takes it off. False at the end of the line.
fn write_some(mut stream: &UnixStream, bytes: &mut Bytes) -> bool {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}

/// Writes what had to wait. The reader finds the end of the line.
async fn write(stream: Arc<UnixStream>, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(mut frame) = waiting.recv().await {
        while write_some(&stream, &mut frame) && !frame.is_empty() {
            if until_writable(&stream).await.is_err() {
                return;
            }
        }
    }
}

async fn until_writable(stream: &UnixStream) -> io::Result<()> {
    watch(Arc::new(stream.try_clone()?), Interest::WRITABLE)?.writable().await?.retain_ready();
    Ok(())
}

/// Has the runtime wait for a stream.
fn watch(stream: Arc<UnixStream>, interest: Interest) -> io::Result<AsyncFd<Arc<UnixStream>>> {
    // SAFETY: the descriptor is the stream's own, which is held until it is waited for no more.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(io::Error::from)
}

/// Waits for more bytes. False at the end.
async fn read_some(stream: &AsyncFd<Arc<UnixStream>>, received: &mut BytesMut) -> bool {
    loop {
        let Ok(mut ready) = stream.readable().await else { return false };
        let length = received.len();
        received.resize(length + READ_BYTES, 0);
        let read = ready.try_io(|stream| (&**stream.get_ref()).read(&mut received[length..]));
        received.truncate(length + read.as_ref().map_or(0, |read| *read.as_ref().unwrap_or(&0)));
        match read {
            Ok(Ok(count)) => return count > 0,
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return false,
            // There was nothing.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dap::EventMessage;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{UnixListener, UnixStream},
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
        let socket = line::socket(folder.path(), id, Incarnation::default());
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
        assert!(
            !lines.send(id, Incarnation(0), &request),
            "there is no line before the target has said anything"
        );

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
        assert!(!lines.send(id, Incarnation(0), &request), "a request before it is not answered");
        for (seq, answered) in [(5, 1), (6, 2)] {
            let answer = format!(
                r#"{{"seq":{seq},"type":"response","request_seq":{answered},"command":"next","success":true}}"#
            );
            stream.write_all(&frame(answer.as_bytes())).await.unwrap();
            assert_eq!(heard(&mut happenings).await, seq);
        }
        request.set_seq(3);
        assert!(lines.send(id, Incarnation(0), &request));
        assert_eq!(next_frame(&mut stream, &mut received).await, request.to_vec());

        // What answers the node is counted, and not for the session.
        let node = format!(
            r#"{{"seq":7,"type":"response","request_seq":{NODE_SEQ_MIN},"command":"mantaConfigure","success":true}}"#
        );
        stream.write_all(&frame(node.as_bytes())).await.unwrap();
        let wish = format!(r#"{{"seq":8,"type":"event","event":"{NEEDS_DEBUG_INFO}"}}"#);
        stream.write_all(&frame(wish.as_bytes())).await.unwrap();
        stream.write_all(&frame(&said(9).to_vec())).await.unwrap();
        assert_eq!(heard(&mut happenings).await, 9);

        drop(stream);
        let ended = async {
            while lines.send(id, Incarnation(0), &request) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), ended).await.expect("the end of the line is noticed");
        assert!(!over_head(&mut happenings, 9).await && over_head(&mut happenings, 10).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn messages_keep_their_order_on_two_ways_at_one_time() {
        const MESSAGES: Seq = 5_000;
        let folder = tempfile::tempdir().unwrap();
        let (id, token) = (ProcessId([8; 16]), Token::random());
        let target = TargetId::new(&id.to_string());
        let socket = line::socket(folder.path(), id, Incarnation::default());
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

    #[tokio::test]
    async fn each_incarnation_has_its_own_line_and_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let (id, token) = (ProcessId([7; 16]), Token::random());
        let target = TargetId::new(&id.to_string());
        let (events, mut happenings) = Events::new(8);
        let lines = Lines::new(events);
        lines.set_token(&token);
        let mut streams = Vec::new();
        for number in [0, 1] {
            let socket = line::socket(folder.path(), id, Incarnation(number));
            let listener = UnixListener::bind(&socket).unwrap();
            let line = socket.display().to_string();
            lines.target_up(&TargetUp {
                target_id: id.to_bytes(),
                line,
                incarnation: number,
                ..TargetUp::default()
            });
            lines.hear(target.clone(), said(1)).await;
            assert!(happenings.try_recv().is_ok(), "each counts from one");
            let (mut stream, _) = timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
            next_frame(&mut stream, &mut BytesMut::new()).await;
            streams.push(stream);
        }
        // What the first one still says, and its end, are nothing to the second.
        let mut first = streams.remove(0);
        // Its line is closed already.
        let _refused = first.write_all(&frame(&said(2).to_vec())).await;
        drop(first);
        streams[0].write_all(&frame(&said(2).to_vec())).await.unwrap();
        streams[0].write_all(&frame(&said(3).to_vec())).await.unwrap();
        for seq in [2, 3] {
            let next = timeout(Duration::from_secs(10), happenings.recv()).await.unwrap();
            let Some(Happening::Event(Event::FromTarget { message, .. })) = next else {
                panic!("no message")
            };
            assert_eq!(message.seq(), seq);
        }
        let request = Message::from_slice(br#"{"seq":1,"type":"request","command":"next"}"#).unwrap();
        assert!(!lines.send(id, Incarnation(0), &request), "that one is gone");
        assert!(lines.send(id, Incarnation(1), &request));
        assert_eq!(next_frame(&mut streams[0], &mut BytesMut::new()).await, request.to_vec());
    }
}
