//! A typed, synchronous DAP client that expects: it asks, waits for answers and events with a deadline, and holds the whole
//! conversation to `dap`'s strict check.

mod connect;
mod flow;

use std::{
    collections::VecDeque,
    io::{BufReader, Read, Write},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use dap::{Conversation, Direction, Event, Finding, Message, Request, RequestMessage, ResponseMessage, Seq};

pub use connect::Listener;
pub use flow::{Breakpoint, Frame, Stop};

use crate::{PATIENCE, wire};

/// How much of each unread message a failed wait shows.
const UNREAD_CHARS_MAX: usize = 1500;

/// What the reader thread passes on.
enum Incoming {
    Message(Vec<u8>),
    /// The adapter's side ended; with the cause, when it was not in order.
    End(Option<String>),
}

/// One client and its connection to an adapter.
pub struct DapClient {
    writer: Box<dyn Write + Send>,
    incoming: mpsc::Receiver<Incoming>,
    /// Messages that came while another one was waited for.
    backlog: VecDeque<Message>,
    conversation: Option<Conversation>,
    seq: Seq,
    peer: connect::Peer,
    patience: Duration,
    ended: Option<String>,
}

impl DapClient {
    fn new(
        peer: connect::Peer,
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> Self {
        let (sender, incoming) = mpsc::channel();
        thread::spawn(move || read_all(reader, &sender));
        Self {
            writer: Box::new(writer),
            incoming,
            backlog: VecDeque::new(),
            conversation: Some(Conversation::new()),
            seq: 0,
            peer,
            patience: PATIENCE,
            ended: None,
        }
    }

    /// Sets how long one answer or event may take.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The adapter's process, when this client started it.
    #[must_use]
    pub fn adapter_pid(&self) -> Option<u32> {
        self.peer.pid()
    }

    /// Sends a request and does not wait for its answer.
    ///
    /// # Errors
    /// When the adapter is gone.
    pub fn send<R: Request>(&mut self, arguments: &R::Arguments) -> Result<Seq> {
        self.seq += 1;
        let message = Message::from(RequestMessage::new::<R>(self.seq, arguments));
        let text = message.to_vec();
        self.observe(Direction::In, &text)?;
        wire::write(&mut self.writer, &text)
            .with_context(|| format!("{} could not be sent: the adapter is gone", R::COMMAND))?;
        Ok(self.seq)
    }

    /// Sends bytes as they are, past the check: for tests of bad input.
    ///
    /// # Errors
    /// When the adapter is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes)?;
        self.writer.flush()?;
        Ok(())
    }

    /// Sends a request and gives its answer; the inner error is the adapter's refusal.
    ///
    /// # Errors
    /// When no answer comes, or one that is not of the protocol.
    pub fn ask<R: Request>(&mut self, arguments: &R::Arguments) -> Result<Result<R::Response, String>> {
        let seq = self.send::<R>(arguments)?;
        self.answer::<R>(seq)
    }

    /// Sends a request that has to succeed.
    ///
    /// # Errors
    /// When it is refused or not answered.
    pub fn request<R: Request>(&mut self, arguments: &R::Arguments) -> Result<R::Response> {
        self.ask::<R>(arguments)?.map_err(|refusal| anyhow!("{} was refused: {refusal}", R::COMMAND))
    }

    /// Waits for the answer to a request that was sent before.
    ///
    /// # Errors
    /// When no answer comes, or one that is not of the protocol.
    pub fn answer<R: Request>(&mut self, seq: Seq) -> Result<Result<R::Response, String>> {
        let what = format!("the answer to {} (request {seq})", R::COMMAND);
        let response = self.find(&what, |message| match message {
            Message::Response(response) if response.request_seq == seq => Some(response.clone()),
            _ => None,
        })?;
        read_answer::<R>(&response)
    }

    /// Waits for an event for which `accept` gives something. Events before it stay for later.
    ///
    /// # Errors
    /// When none comes in time or the connection ends.
    pub fn event_where<E: Event, T>(
        &mut self,
        what: &str,
        mut accept: impl FnMut(E::Body) -> Option<T>,
    ) -> Result<T> {
        let what = format!("the event {} ({what})", E::EVENT);
        self.find(&what, |message| match message {
            Message::Event(event) if event.event == E::EVENT => {
                event.body::<E::Body>().ok().and_then(&mut accept)
            }
            _ => None,
        })
    }

    /// Waits for the next event of a kind.
    ///
    /// # Errors
    /// When none comes in time or the connection ends.
    pub fn event<E: Event>(&mut self, what: &str) -> Result<E::Body> {
        self.event_where::<E, _>(what, Some)
    }

    /// Takes the events of a kind that have come already, without waiting.
    ///
    /// # Errors
    /// When a message is not of the protocol.
    pub fn events_so_far<E: Event>(&mut self) -> Result<Vec<E::Body>> {
        while let Ok(incoming) = self.incoming.try_recv() {
            self.take(incoming)?;
        }
        let mut found = Vec::new();
        let mut rest = VecDeque::new();
        for message in self.backlog.drain(..) {
            match &message {
                Message::Event(event) if event.event == E::EVENT => {
                    found.push(event.body::<E::Body>().map_err(|error| anyhow!("{error}"))?);
                }
                _ => rest.push_back(message),
            }
        }
        self.backlog = rest;
        Ok(found)
    }

    /// Takes the first message, come or to come, for which `accept` gives something.
    fn find<T>(&mut self, what: &str, mut accept: impl FnMut(&Message) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + self.patience;
        let mut seen = 0;
        loop {
            while seen < self.backlog.len() {
                if let Some(found) = accept(&self.backlog[seen]) {
                    self.backlog.remove(seen);
                    return Ok(found);
                }
                seen += 1;
            }
            if let Some(cause) = &self.ended {
                bail!("the connection ended ({cause}) while {what} was waited for; {}", self.unread());
            }
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(incoming) => self.take(incoming)?,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{what} did not come within {:?}; {}", self.patience, self.unread())
                }
                Err(RecvTimeoutError::Disconnected) => self.ended = Some("the reader stopped".to_owned()),
            }
        }
    }

    fn take(&mut self, incoming: Incoming) -> Result<()> {
        match incoming {
            Incoming::Message(text) => {
                self.observe(Direction::Out, &text)?;
                let message = Message::from_slice(&text).map_err(|error| anyhow!("{error}"))?;
                self.backlog.push_back(message);
            }
            Incoming::End(cause) => self.ended = Some(cause.unwrap_or_else(|| "in order".to_owned())),
        }
        Ok(())
    }

    fn observe(&mut self, direction: Direction, text: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(text).context("a DAP message is not UTF-8")?;
        if let Some(conversation) = &mut self.conversation {
            conversation.observe(direction, text);
        }
        Ok(())
    }

    /// Names what came and was not asked for, so that a failed wait explains itself.
    fn unread(&self) -> String {
        let names: Vec<String> = self
            .backlog
            .iter()
            .rev()
            .take(12)
            .map(|message| {
                String::from_utf8_lossy(&message.to_vec()).chars().take(UNREAD_CHARS_MAX).collect()
            })
            .collect();
        format!("unread, newest first: [{}]", names.join(",\n  "))
    }

    /// Waits until the adapter's side ends the connection.
    ///
    /// # Errors
    /// When it does not, or not between two messages.
    pub fn end_of_connection(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        while self.ended.is_none() {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(incoming) => self.take(incoming)?,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the adapter did not end the connection within {:?}", self.patience)
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match self.ended.as_deref() {
            Some("in order") | None => Ok(()),
            Some(cause) => bail!("the adapter's side ended badly: {cause}"),
        }
    }

    /// What the strict check finds in the conversation so far. No more is checked afterwards.
    pub fn findings(&mut self) -> Vec<Finding> {
        self.conversation.take().map_or_else(Vec::new, Conversation::finish)
    }

    /// Disconnects in order, waits for the adapter's end and holds the conversation to the strict check.
    ///
    /// # Errors
    /// When the adapter does not answer or end, or the check finds something.
    pub fn close(mut self) -> Result<()> {
        self.request::<dap::requests::Disconnect>(&dap::DisconnectArguments::default())?;
        self.finish()
    }

    /// After a disconnect or the session's end: waits for the adapter's end and holds the conversation to the strict check.
    ///
    /// # Errors
    /// When the adapter does not end, or the check finds something.
    pub fn finish(mut self) -> Result<()> {
        self.peer.hang_up(&mut self.writer);
        self.end_of_connection()?;
        self.peer.wait(self.patience)?;
        check(&self.findings())
    }

    /// Kills the adapter as `kill -9` does. Nothing is checked: an interrupted conversation is not a whole one.
    ///
    /// # Errors
    /// When this client did not start the adapter, or it has ended already.
    pub fn kill_adapter(mut self) -> Result<()> {
        self.conversation = None;
        self.peer.kill()
    }
}

fn read_answer<R: Request>(response: &ResponseMessage) -> Result<Result<R::Response, String>> {
    if response.success {
        return response.body::<R::Response>().map(Ok).map_err(|error| anyhow!("{error}"));
    }
    Ok(Err(response.error().map_or_else(|| "no reason given".to_owned(), |error| error.text())))
}

fn check(findings: &[Finding]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    bail!("the conversation breaks the protocol:\n{}", lines.join("\n"))
}

fn read_all(stream: impl Read, messages: &mpsc::Sender<Incoming>) {
    let mut source = BufReader::new(stream);
    loop {
        let incoming = match wire::read(&mut source) {
            Ok(Some(body)) => Incoming::Message(body),
            Ok(None) => Incoming::End(None),
            Err(error) => Incoming::End(Some(error.to_string())),
        };
        let last = matches!(incoming, Incoming::End(_));
        if messages.send(incoming).is_err() || last {
            return;
        }
    }
}
