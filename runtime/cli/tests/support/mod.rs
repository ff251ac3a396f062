//! A cluster of real processes, a driver and a session that are played by the test, and a worker that is this test's own binary.

#![allow(dead_code, reason = "each test binary uses its part of it")]
#![allow(clippy::print_stdout, reason = "a worker prints")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use manta_proto::{
    PROTOCOL_VERSION, connect,
    connect::AuthorizedChannel,
    ids::{JobId, ProcessId, SessionId},
    token::Token,
    v1::{self, node_to_process, process_hello::Kind, process_to_node},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// What is waited for comes within this time, or the test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn manta() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manta"));
    for name in ["MANTA_ADDRESS", "MANTA_TOKEN", "MANTA_HOME", "MANTA_LOG"] {
        command.env_remove(name);
    }
    command
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < until, "in vain waited for: {what}");
        std::thread::yield_now();
    }
}

/// The same where this thread has I/O of the test to do meanwhile.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < until, "in vain waited for: {what}");
        tokio::task::yield_now().await;
    }
}

pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

pub fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// A home of its own, and what was started from it is stopped at the end.
pub struct Home(pub tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = manta();
        command.args(args).env("MANTA_HOME", self.0.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "manta {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "manta {args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts a cluster on a free port; its address.
    pub fn start(&self, further: &[&str]) -> String {
        let text = self.ok(&[&["start", "--listen", "127.0.0.1:0", "--num-cpus", "1"], further].concat());
        let (_, rest) = text.split_once("head at ").unwrap();
        rest.split_once(": ").unwrap().0.to_owned()
    }

    pub fn status(&self, address: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["status", "--json", "--address", address])).unwrap()
    }
}

impl Home {
    /// The process of the cluster's head.
    pub fn head_pid(&self) -> u32 {
        let clusters = fs::read_dir(self.0.path().join("clusters")).unwrap();
        let state = clusters.map(|entry| entry.unwrap().path()).next().unwrap();
        let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
        u32::try_from(state["head"]["pid"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // There may be nothing left to stop.
        let _stopped = self.run(&["stop"]);
    }
}

/// The processes of the cluster's nodes.
pub fn pids(status: &serde_json::Value) -> Vec<u32> {
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().map(|node| u32::try_from(node["pid"].as_u64().unwrap()).unwrap()).collect()
}

/// `manta local`, ended with the test.
pub struct Local {
    pub child: Child,
    pub address: String,
    pub token: Token,
    pub session_dir: PathBuf,
    pub sockets: Vec<PathBuf>,
}

impl Local {
    pub fn start(nodes: u32, cpus: f64) -> Self {
        let mut child = manta()
            .args(["local", "--json", "--lifeline-stdin"])
            .args(["--nodes", &nodes.to_string(), "--num-cpus", &cpus.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self {
            child,
            address: text("address"),
            token: Token::new(&text("token"), "the test").unwrap(),
            session_dir: text("session_dir").into(),
            sockets: ready["node_sockets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|socket| socket.as_str().unwrap().into())
                .collect(),
        }
    }

    pub async fn driver(&self, node: usize, executable: &Path) -> Driver {
        Driver::attach(&self.sockets[node], &self.token, executable).await
    }

    pub async fn session(&self, client: &str) -> Result<Session, tonic::Status> {
        Session::open(&self.address, &self.token, client).await
    }

    /// Ends it as its driver's end would, and checks that nothing is left.
    pub fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        assert!(!self.session_dir.exists());
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The test may have ended it already.
        let _ended = self.child.wait();
    }
}

/// A driver on one node.
pub struct Driver {
    pub id: ProcessId,
    pub job: v1::JobConfig,
    sender: mpsc::Sender<v1::ProcessToNode>,
    messages: Streaming<v1::NodeToProcess>,
    requests: u64,
    /// Read while something else was waited for.
    pub outputs: Vec<v1::TaskOutput>,
    pub object_dir: PathBuf,
}

pub fn job(executable: &Path, language: &str) -> v1::JobConfig {
    v1::JobConfig {
        job_id: JobId::random().to_bytes(),
        name: "job".into(),
        language: language.into(),
        executable: executable.display().to_string(),
        // What no node can run is refused soon.
        infeasible_ms: Some(100),
        ..v1::JobConfig::default()
    }
}

impl Driver {
    pub async fn attach(socket: &Path, token: &Token, executable: &Path) -> Self {
        let id = ProcessId::random();
        let job = job(executable, "rust");
        let hello = v1::ProcessHello {
            protocol_version: PROTOCOL_VERSION,
            kind: Kind::Driver.into(),
            process_id: id.to_bytes(),
            pid: std::process::id(),
            job: Some(job.clone()),
            ..v1::ProcessHello::default()
        };
        let (sender, messages) = attach(socket, token, hello).await.unwrap();
        let mut driver =
            Self { id, job, sender, messages, requests: 0, outputs: Vec::new(), object_dir: PathBuf::new() };
        let node_to_process::Message::Welcome(welcome) = driver.next().await else { panic!("no welcome") };
        driver.object_dir = welcome.object_dir.into();
        driver
    }

    pub async fn say(&self, message: process_to_node::Message) {
        self.sender.send(v1::ProcessToNode { message: Some(message) }).await.unwrap();
    }

    pub async fn next(&mut self) -> node_to_process::Message {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.messages.message())
                .await
                .expect("no message came in time");
            match message.unwrap().expect("the node closed the connection").message.unwrap() {
                node_to_process::Message::Output(output) => self.outputs.push(output),
                node_to_process::Message::View(_) => {}
                message => return message,
            }
        }
    }

    pub async fn ask(&mut self, cpus: u64) -> u64 {
        self.requests += 1;
        let request = v1::LeaseRequest {
            request_id: self.requests,
            owner_id: self.id.to_bytes(),
            job_id: self.job.job_id.clone(),
            resources: Some(v1::Resources { amounts: [("CPU".to_owned(), cpus * 10_000)].into() }),
            language: "rust".into(),
            job: Some(self.job.clone()),
            task_name: "f".into(),
            ..v1::LeaseRequest::default()
        };
        self.say(process_to_node::Message::RequestLease(request)).await;
        self.requests
    }

    /// The answer to a lease request: the grant, or the sentence of a refusal.
    pub async fn answer(&mut self) -> Result<v1::LeaseGrant, String> {
        let message = self.next().await;
        let node_to_process::Message::Lease(reply) = message else { panic!("no answer: {message:?}") };
        match reply.result.unwrap() {
            v1::lease_reply::Result::Granted(grant) => Ok(grant),
            v1::lease_reply::Result::Refused(sentence) => Err(sentence),
            v1::lease_reply::Result::Busy(_) => panic!("a node queues for its own processes"),
        }
    }

    pub async fn lease(&mut self, cpus: u64) -> v1::LeaseGrant {
        self.ask(cpus).await;
        self.answer().await.unwrap()
    }

    /// Waits until a printed line contains `text`.
    pub async fn output(&mut self, text: &str) -> v1::TaskOutput {
        loop {
            if let Some(found) = self.outputs.iter().position(|output| output.text.contains(text)) {
                return self.outputs.remove(found);
            }
            let message = tokio::time::timeout(DEADLINE, self.messages.message())
                .await
                .expect("no output came in time");
            if let Some(node_to_process::Message::Output(output)) = message.unwrap().unwrap().message {
                self.outputs.push(output);
            }
        }
    }

    pub async fn fate(&mut self, grant: &v1::LeaseGrant) -> v1::WorkerFateReply {
        let request = v1::WorkerFateRequest {
            request_id: 77,
            worker_id: grant.worker_id.clone(),
            node_id: grant.node_id.clone(),
        };
        self.say(process_to_node::Message::Fate(request)).await;
        match self.next().await {
            node_to_process::Message::Fate(fate) => fate,
            other => panic!("no fate: {other:?}"),
        }
    }
}

type Attached = (mpsc::Sender<v1::ProcessToNode>, Streaming<v1::NodeToProcess>);

pub async fn attach(
    socket: &Path,
    token: &Token,
    hello: v1::ProcessHello,
) -> Result<Attached, tonic::Status> {
    let channel = connect::unix(socket.to_owned(), token).await.unwrap();
    let mut client = v1::node_local_client::NodeLocalClient::new(channel);
    let (sender, receiver) = mpsc::channel(100);
    let hello = v1::ProcessToNode { message: Some(process_to_node::Message::Hello(hello)) };
    sender.send(hello).await.unwrap();
    let messages = client.attach(ReceiverStream::new(receiver)).await?.into_inner();
    Ok((sender, messages))
}

pub async fn head(address: &str, token: &Token) -> v1::head_client::HeadClient<AuthorizedChannel> {
    v1::head_client::HeadClient::new(connect::tcp(address, token, DEADLINE).await.unwrap())
}

/// A debug session.
pub struct Session {
    pub id: SessionId,
    sender: mpsc::Sender<v1::SessionToHead>,
    messages: Streaming<v1::HeadToSession>,
}

impl Session {
    pub async fn open(address: &str, token: &Token, client: &str) -> Result<Self, tonic::Status> {
        let id = SessionId::random();
        let (sender, receiver) = mpsc::channel(100);
        let open = v1::SessionOpen {
            protocol_version: PROTOCOL_VERSION,
            session_id: id.to_bytes(),
            client: client.into(),
            grace_ms: 0,
        };
        let first = v1::SessionToHead { message: Some(v1::session_to_head::Message::Open(open)) };
        sender.send(first).await.unwrap();
        let messages =
            head(address, token).await.debug_session(ReceiverStream::new(receiver)).await?.into_inner();
        let mut session = Self { id, sender, messages };
        session
            .wait_for(|message| matches!(message, v1::head_to_session::Message::Opened(_)).then_some(()))
            .await;
        Ok(session)
    }

    pub async fn say(&self, message: v1::session_to_head::Message) {
        self.sender.send(v1::SessionToHead { message: Some(message) }).await.unwrap();
    }

    pub async fn configure(&self, generation: u64) {
        let config = v1::DebugConfig {
            generation,
            arguments: format!(r#"{{"generation": {generation}}}"#).into(),
            ..v1::DebugConfig::default()
        };
        self.say(v1::session_to_head::Message::Config(config)).await;
    }

    /// The first message that `pick` takes.
    pub async fn wait_for<T>(
        &mut self,
        mut pick: impl FnMut(v1::head_to_session::Message) -> Option<T>,
    ) -> T {
        let found = async {
            loop {
                let message = self.messages.message().await.unwrap().expect("the head closed the session");
                if let Some(found) = message.message.and_then(&mut pick) {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, found).await.expect("no such message came in time")
    }
}

/// A program that nodes can start as a worker: it runs the test `worker` of this binary.
pub fn worker_program(folder: &Path) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let text = format!("exec '{}' --exact worker --ignored --nocapture", own.display());
    script(folder, "worker", &text)
}

pub fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// What a worker does: says hello, speaks of its slots, answers its debugger, and ends with its node.
pub async fn be_a_worker() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let id = ProcessId::from_hex(&variable("MANTA_PROCESS_ID")).unwrap();
    let token = Token::new(&variable("MANTA_TOKEN"), "MANTA_TOKEN").unwrap();
    let peer_socket = Path::new(&variable("MANTA_SESSION_DIR")).join(format!("p-{id}.sock"));
    let listener = tokio::net::UnixListener::bind(&peer_socket).unwrap();
    tokio::spawn(async move {
        // An echo, for the test of the relay.
        while let Ok((stream, _)) = listener.accept().await {
            let (mut reader, mut writer) = stream.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut reader, &mut writer).await });
        }
    });
    let hello = v1::ProcessHello {
        protocol_version: PROTOCOL_VERSION,
        kind: Kind::Worker.into(),
        process_id: id.to_bytes(),
        pid: std::process::id(),
        language: "rust".into(),
        peer_socket: peer_socket.display().to_string(),
        ..v1::ProcessHello::default()
    };
    let (_sender, mut messages) =
        attach(Path::new(&variable("MANTA_NODE_SOCKET")), &token, hello).await.unwrap();
    while let Ok(Some(message)) = messages.message().await {
        if let Some(node_to_process::Message::Slot(slot)) = message.message {
            println!("slot {}", slot.slot);
            eprintln!("words on stderr");
        }
    }
}
