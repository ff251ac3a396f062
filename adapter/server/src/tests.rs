//! One client after the other against a head in this process that says what each test tells it to: real sockets, real gRPC.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use dap::{Codec, Conversation, Direction, Incoming, Message};
use futures::StreamExt;
use manta_proto::{
    connect::RequireToken,
    ids::{NodeId, ProcessId},
    token::Token,
    v1::{
        self, HeadToSession, SessionToHead,
        head_server::{Head, HeadServer},
        head_to_session, session_to_head,
    },
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::codec::{Decoder, FramedRead};
use tonic::{Request, Response, Status, Streaming};

use crate::connection::{SharedLog, serve};

const DEADLINE: Duration = Duration::from_secs(10);

/// What a session says to its head; `None` at the end of its stream.
type Said = mpsc::UnboundedReceiver<Option<session_to_head::Message>>;

/// The head's way to its session, while there is one.
type ToSession = Arc<Mutex<Option<mpsc::Sender<Result<HeadToSession, Status>>>>>;

/// A head with one node and one target.
struct FakeHead {
    said: mpsc::UnboundedSender<Option<session_to_head::Message>>,
    to_session: ToSession,
    node: NodeId,
    target: ProcessId,
}

#[tonic::async_trait]
impl Head for FakeHead {
    type NodeLinkStream = ReceiverStream<Result<v1::HeadToNode, Status>>;
    type DebugSessionStream = ReceiverStream<Result<HeadToSession, Status>>;
    type GetPackageStream = ReceiverStream<Result<v1::PackageChunk, Status>>;
    type QueryNodesStream = ReceiverStream<Result<v1::NodeAnswer, Status>>;

    async fn node_link(
        &self,
        _: Request<Streaming<v1::NodeToHead>>,
    ) -> Result<Response<Self::NodeLinkStream>, Status> {
        Err(Status::unimplemented("no nodes here"))
    }

    async fn debug_session(
        &self,
        request: Request<Streaming<SessionToHead>>,
    ) -> Result<Response<Self::DebugSessionStream>, Status> {
        let mut messages = request.into_inner();
        let Some(session_to_head::Message::Open(_)) =
            messages.message().await?.and_then(|first| first.message)
        else {
            return Err(Status::invalid_argument("not opened"));
        };
        let (sender, receiver) = mpsc::channel(64);
        let info =
            v1::NodeInfo { node_id: self.node.to_bytes(), name: "node-1".to_owned(), ..Default::default() };
        let view = v1::ClusterView { nodes: vec![v1::NodeView { info: Some(info), available: None }] };
        let target = v1::TargetUp {
            target_id: self.target.to_bytes(),
            node_name: "node-1".to_owned(),
            description: "python worker 7 on node-1".to_owned(),
            ..Default::default()
        };
        let opened =
            v1::SessionOpened { view: Some(view), targets: vec![target], ..v1::SessionOpened::default() };
        let opened = HeadToSession { message: Some(head_to_session::Message::Opened(opened)) };
        sender.send(Ok(opened)).await.unwrap();
        *self.to_session.lock().await = Some(sender);
        let (said, to_session) = (self.said.clone(), Arc::clone(&self.to_session));
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let Some(message) = message.message else { continue };
                said.send(Some(message)).unwrap();
            }
            to_session.lock().await.take();
            said.send(None).unwrap();
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Err(Status::unimplemented("no status here"))
    }

    async fn shutdown(
        &self,
        _: Request<v1::ShutdownRequest>,
    ) -> Result<Response<v1::ShutdownResponse>, Status> {
        Err(Status::unimplemented("no end here"))
    }

    async fn create_placement_group(
        &self,
        _: Request<v1::CreatePlacementGroupRequest>,
    ) -> Result<Response<v1::CreatePlacementGroupResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn remove_placement_group(
        &self,
        _: Request<v1::RemovePlacementGroupRequest>,
    ) -> Result<Response<v1::RemovePlacementGroupResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn list_placement_groups(
        &self,
        _: Request<v1::ListPlacementGroupsRequest>,
    ) -> Result<Response<v1::ListPlacementGroupsResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn list_state(
        &self,
        _: Request<v1::ListStateRequest>,
    ) -> Result<Response<v1::ListStateResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn missing_packages(
        &self,
        _: Request<v1::MissingPackagesRequest>,
    ) -> Result<Response<v1::MissingPackagesResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn put_package(
        &self,
        _: Request<Streaming<v1::PackageChunk>>,
    ) -> Result<Response<v1::PutPackageResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn get_package(
        &self,
        _: Request<v1::GetPackageRequest>,
    ) -> Result<Response<Self::GetPackageStream>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn submit_job(
        &self,
        _: Request<v1::SubmitJobRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn stop_job(
        &self,
        _: Request<v1::StopJobRequest>,
    ) -> Result<Response<v1::StopJobResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn delete_job(
        &self,
        _: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn query_nodes(
        &self,
        _: Request<v1::QueryNodesRequest>,
    ) -> Result<Response<Self::QueryNodesStream>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }

    async fn drain_node(
        &self,
        _: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        Err(Status::unimplemented("a session does not ask for this"))
    }
}

struct Cluster {
    address: String,
    said: Said,
    to_session: ToSession,
    node: NodeId,
    target: ProcessId,
}

impl Cluster {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, said) = mpsc::unbounded_channel();
        let (node, target) = (NodeId::random(), ProcessId::random());
        let to_session = Arc::default();
        let head = FakeHead { said: sender, to_session: Arc::clone(&to_session), node, target };
        let check = RequireToken(Token::new("secret", "the test").unwrap());
        let service = HeadServer::with_interceptor(head, check);
        let server = tonic::transport::Server::builder();
        tokio::spawn(
            async move { server.serve_with_incoming(service, TcpListenerStream::new(listener)).await },
        );
        Self { address, said, to_session, node, target }
    }

    /// The next thing that the session says to its head.
    async fn said(&mut self) -> Option<session_to_head::Message> {
        timeout(DEADLINE, self.said.recv()).await.expect("in time").expect("a head")
    }

    async fn say(&self, message: head_to_session::Message) {
        let to_session = self.to_session.lock().await;
        to_session.as_ref().unwrap().send(Ok(HeadToSession { message: Some(message) })).await.unwrap();
    }

    async fn say_for_target(&self, event: &str, body: Value) {
        let dap = json!({"seq": 1, "type": "event", "event": event, "body": body}).to_string();
        self.say(head_to_session::Message::FromTarget(v1::FromTarget {
            session_id: Vec::new().into(),
            target_id: self.target.to_bytes(),
            dap: dap.into(),
        }))
        .await;
    }
}

/// A client at the other end of a pipe.
struct Client {
    wire: DuplexStream,
    received: BytesMut,
    codec: Codec,
    seq: i64,
    conversation: Conversation,
    serving: JoinHandle<()>,
}

impl Client {
    fn connect() -> Self {
        let (wire, served) = tokio::io::duplex(64 * 1024);
        let (source, sink) = tokio::io::split(served);
        let serving = tokio::spawn(serve(source, sink, SharedLog::default()));
        Self {
            wire,
            received: BytesMut::new(),
            codec: Codec::default(),
            seq: 0,
            conversation: Conversation::new(),
            serving,
        }
    }

    async fn attached(cluster: &Cluster) -> Self {
        let mut client = Self::connect();
        client.ok("initialize", json!({"adapterID": "manta"})).await;
        client.ok("attach", json!({"address": cluster.address, "token": "secret"})).await;
        client.event("initialized").await;
        client
    }

    async fn send(&mut self, command: &str, arguments: Value) -> i64 {
        self.seq += 1;
        let arguments = Some(to_raw_value(&arguments).unwrap());
        let request = dap::RequestMessage { seq: self.seq, command: command.to_owned(), arguments };
        let text = Message::from(request).to_vec();
        self.conversation.observe(Direction::In, std::str::from_utf8(&text).unwrap());
        self.send_raw(format!("Content-Length: {}\r\n\r\n", text.len()).as_bytes()).await;
        self.send_raw(&text).await;
        self.seq
    }

    async fn send_raw(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).await.unwrap();
    }

    /// The next message; `None` when the adapter has closed the connection.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(Incoming { text, .. }) = self.codec.decode(&mut self.received).unwrap() {
                self.conversation.observe(Direction::Out, std::str::from_utf8(&text).unwrap());
                return Some(serde_json::from_slice(&text).unwrap());
            }
            let length = timeout(DEADLINE, self.wire.read_buf(&mut self.received)).await.expect("in time");
            if length.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn response(&mut self, seq: i64) -> Value {
        let message = self.next().await.expect("an answer");
        assert_eq!(message["request_seq"], seq, "{message}");
        message
    }

    async fn ok(&mut self, command: &str, arguments: Value) -> Value {
        let seq = self.send(command, arguments).await;
        let answer = self.response(seq).await;
        assert_eq!(answer["success"], true, "{answer}");
        answer["body"].clone()
    }

    async fn refused(&mut self, command: &str, arguments: Value) -> String {
        let seq = self.send(command, arguments).await;
        let answer = self.response(seq).await;
        assert_eq!(answer["success"], false, "{answer}");
        answer["message"].as_str().unwrap().to_owned()
    }

    async fn event(&mut self, name: &str) -> Value {
        let message = self.next().await.expect("an event");
        assert_eq!(message["event"], name, "{message}");
        message["body"].clone()
    }

    /// The adapter closes the connection, and kept the protocol.
    async fn finish(mut self) {
        assert_eq!(self.next().await, None);
        timeout(DEADLINE, self.serving).await.expect("in time").unwrap();
        let findings = self.conversation.finish();
        assert!(findings.is_empty(), "{findings:#?}");
    }
}

#[tokio::test]
async fn a_session_lives_and_ends_in_order() {
    let mut cluster = Cluster::start().await;
    let mut client = Client::attached(&cluster).await;
    let lines = json!({"source": {"path": file!()}, "breakpoints": [{"line": 3}]});
    let seq = client.send("setBreakpoints", lines).await;
    let Some(session_to_head::Message::Config(config)) = cluster.said().await else {
        panic!("no breakpoints")
    };
    assert!(!config.empty && config.generation == 1);
    let ack = v1::ConfigAck { generation: 1, node_id: cluster.node.to_bytes(), ..Default::default() };
    cluster.say(head_to_session::Message::ConfigAck(ack)).await;
    assert_eq!(client.response(seq).await["body"]["breakpoints"][0]["id"], 1);
    client.ok("configurationDone", json!({})).await;

    let up = v1::TargetUp {
        target_id: cluster.target.to_bytes(),
        node_name: "node-1".to_owned(),
        incarnation: 3,
        ..v1::TargetUp::default()
    };
    cluster.say(head_to_session::Message::TargetUp(up)).await;
    let task =
        json!({"taskId": "00112233445566778899aabbccddeeff", "attempt": 0, "name": "index", "jobId": "00"});
    let stopped =
        json!({"threadId": 4, "reason": "breakpoint", "hitBreakpointIds": [1], "stop": 1, "task": task});
    cluster.say_for_target("mantaStopped", stopped).await;
    assert_eq!(client.event("stopped").await["threadId"], 1);

    // The target never answers; what is known is answered all the same.
    let stack = client.send("stackTrace", json!({"threadId": 1})).await;
    let Some(session_to_head::Message::ToTarget(asked)) = cluster.said().await else { panic!("not asked") };
    assert_eq!((asked.target_id, asked.incarnation), (cluster.target.to_bytes(), 3));
    let threads = client.ok("threads", json!({})).await;
    assert_eq!(threads["threads"][0]["name"], "index 00112233 · node-1 · attempt 0");

    let disconnect = client.send("disconnect", json!({})).await;
    assert_eq!(client.response(stack).await["success"], false);
    assert_eq!(client.response(disconnect).await["success"], true);
    assert!(matches!(cluster.said().await, Some(session_to_head::Message::Close(_))));
    client.finish().await;
    assert_eq!(cluster.said().await, None);
}

#[tokio::test]
async fn a_client_that_vanishes_in_mid_message_leaves_its_tasks_their_grace() {
    let mut cluster = Cluster::start().await;
    let mut client = Client::attached(&cluster).await;
    client.send_raw(b"Content-Length: 100\r\n\r\n{\"seq\":").await;
    client.wire.shutdown().await.unwrap();
    // The stream ends without a close, which is what starts the grace.
    assert_eq!(cluster.said().await, None);
    let said = client.event("output").await;
    assert!(said["output"].as_str().unwrap().contains("in the middle of a message"), "{said}");
    client.finish().await;
    Client::attached(&cluster).await;
}

#[tokio::test]
async fn what_cannot_be_attached_to_says_why() {
    let mut cluster = Cluster::start().await;
    let mut client = Client::connect();
    client.ok("initialize", json!({"adapterID": "manta"})).await;
    let wrong = client.refused("attach", json!({"address": cluster.address, "token": "guess"})).await;
    assert!(wrong.contains("the token is not this cluster's"), "{wrong}");
    let nobody = client.refused("attach", json!({"address": "127.0.0.1:1", "token": "secret"})).await;
    assert!(nobody.contains("no cluster answers at 127.0.0.1:1"), "{nobody}");
    let malformed = client.refused("attach", json!({"address": "here", "token": "secret"})).await;
    assert!(malformed.contains("HOST:PORT"), "{malformed}");
    // A second try with the right words finds the same session.
    client.ok("attach", json!({"address": cluster.address, "token": "secret"})).await;
    client.event("initialized").await;
    cluster.to_session.lock().await.take();
    assert!(client.event("output").await["output"].as_str().unwrap().contains("closed the connection"));
    client.event("terminated").await;
    client.ok("disconnect", json!({})).await;
    client.finish().await;
    assert_eq!(cluster.said().await, None);
}

#[tokio::test]
async fn rubbish_gets_one_sentence_and_harms_nobody_else() {
    let cluster = Cluster::start().await;
    let mut other = Client::attached(&cluster).await;
    for (rubbish, sentence) in [
        (&b"Content-Length: 104857600\r\n\r\n"[..], "the limit is 4194304 bytes"),
        (b"Content-Length: many\r\n\r\n", "not a number of bytes"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", "web page"),
    ] {
        let mut client = Client::connect();
        client.send_raw(rubbish).await;
        let said = client.event("output").await;
        assert!(said["output"].as_str().unwrap().contains(sentence), "{said}");
        client.finish().await;
    }
    // Broken JSON in a whole frame ends nothing.
    let mut client = Client::connect();
    client.send_raw(b"Content-Length: 5\r\n\r\n{nope").await;
    client.event("output").await;
    client.ok("initialize", json!({"adapterID": "manta"})).await;
    client.ok("disconnect", json!({})).await;
    client.finish().await;
    assert_eq!(other.ok("threads", json!({})).await, json!({"threads": []}));
}

#[tokio::test]
async fn clients_on_a_port_are_limited_and_each_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("dap.jsonl");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let path = log.clone();
    let listening = tokio::spawn(async move { crate::listen::accept(&listener, Some(&path)).await });
    let mut clients = Vec::new();
    for _ in 0..crate::limits::CLIENTS_MAX {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let text = r#"{"seq":1,"type":"request","command":"initialize","arguments":{"adapterID":"manta"}}"#;
        stream.write_all(format!("Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes()).await.unwrap();
        let mut frames = FramedRead::new(stream, Codec::default());
        let answer = timeout(DEADLINE, frames.next()).await.expect("in time").unwrap().unwrap();
        assert!(matches!(answer.message, Ok(Message::Response(answer)) if answer.success));
        clients.push(frames);
    }
    let one_too_many = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut frames = FramedRead::new(one_too_many, Codec::default());
    let said = timeout(DEADLINE, frames.next()).await.expect("in time").unwrap().unwrap();
    assert!(String::from_utf8_lossy(&said.text).contains("connected to this adapter already"));
    let second = std::fs::read_to_string(folder.path().join("dap.jsonl.2")).unwrap();
    let mut conversation = Conversation::new();
    conversation.observe_log(&second);
    assert_eq!(conversation.message_count(), 2);
    assert_eq!(conversation.finish(), []);
    listening.abort();
}

#[cfg(unix)]
#[tokio::test]
async fn a_driver_runs_prints_and_ends_when_it_is_told_to() {
    use manta_session::{Event, LaunchOptions};

    use crate::{
        driver::Driver,
        happening::{Access, Events, Happening},
    };

    let access =
        Access { address: "127.0.0.1:9".to_owned(), token: Token::new("secret", "the test").unwrap() };
    let options = |script: &str| LaunchOptions {
        program: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: [("GREETING".to_owned(), Some("hello".to_owned()))].into(),
        cwd: None,
        python: None,
        nodes: 1,
        grace: Duration::ZERO,
        client: String::new(),
    };
    let (events, mut happenings) = Events::new(64);
    let mut next = async || match timeout(DEADLINE, happenings.recv()).await.expect("in time") {
        Some(Happening::Event(event)) => event,
        _ => panic!("an event was expected"),
    };
    let driver = Driver::start(options("echo $GREETING $MANTA_ADDRESS; exit 3"), &access, events.clone());
    assert!(matches!(next().await, Event::DriverStarted { .. }));
    assert!(
        matches!(next().await, Event::DriverOutput { stderr: false, text } if text == "hello 127.0.0.1:9\n")
    );
    assert!(matches!(next().await, Event::DriverExited { code: 3, cause: None }));
    driver.end().await;

    let mut driver = Driver::start(options("trap '' HUP; echo up; sleep 100 & wait"), &access, events);
    assert!(matches!(next().await, Event::DriverStarted { .. }));
    assert!(matches!(next().await, Event::DriverOutput { .. }));
    driver.kill();
    let Event::DriverExited { code: 143, cause: Some(cause) } = next().await else {
        panic!("it did not end")
    };
    assert!(cause.contains("SIGTERM"), "{cause}");
}
