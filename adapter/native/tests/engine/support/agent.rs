//! The agent of a program, and the conversation with it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use bytes::BytesMut;
use dap::Codec;
use serde_json::{Value, json};
use tokio_util::codec::Decoder;

use super::DEADLINE;
use super::fixtures::{line_of, source};
use super::program::Program;

/// Where agents keep their indices.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// An agent and the conversation with it.
pub struct Agent {
    child: Child,
    input: Option<Box<dyn Write>>,
    messages: Receiver<Value>,
    /// Events that nobody has asked for yet.
    events: Vec<Value>,
    seq: i64,
}

impl Agent {
    /// Attaches to a program.
    pub fn attach(program: &Program) -> Self {
        Self::attach_with(program, &[])
    }

    /// Attaches with variables in the agent's environment.
    pub fn attach_with(program: &Program, variables: &[(&str, PathBuf)]) -> Self {
        Self::start(program, &[], variables)
    }

    fn start(program: &Program, further: &[&str], variables: &[(&str, PathBuf)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manta-debug-agent"));
        command
            .args(further)
            .env("XDG_CACHE_HOME", cache())
            .envs(variables.iter().map(|(name, value)| (name, value)));
        Self::spawn(&mut command, program)
    }

    /// Attaches where the system refuses ptrace to the agent, in this way.
    pub fn attach_without(refuse: fn(&mut Command) -> &mut Command, program: &Program) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manta-debug-agent"));
        Self::spawn(refuse(command.env("XDG_CACHE_HOME", cache())), program)
    }

    fn spawn(command: &mut Command, program: &Program) -> Self {
        let mut child = command
            .args(["--pid", &program.pid().to_string(), "--stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let input = child.stdin.take().unwrap();
        Self { input: Some(Box::new(input)), messages: reader(output), child, events: Vec::new(), seq: 0 }
    }

    /// Attaches as a node does that finds debug information.
    pub fn attach_for_node(program: &Program) -> Self {
        Self::start(program, &["--ask-for-debug-info"], &[])
    }

    /// The same as an ordinary client, with what the adapter can do.
    pub fn attach_over_tcp(program: &Program) -> (Self, Value) {
        Self::attach_to(program.pid())
    }

    /// The same, to any process.
    pub fn attach_to(pid: u32) -> (Self, Value) {
        Self::attach_by(&mut Command::new(env!("CARGO_BIN_EXE_manta-debug-agent")), pid)
    }

    /// The same with an agent that was prepared.
    pub fn attach_by(command: &mut Command, pid: u32) -> (Self, Value) {
        // A port that was free just now; nobody else binds it in between but by rare bad luck, which fails loudly.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = command
            .args(["--pid", &pid.to_string(), "--listen", &address.to_string()])
            .env("XDG_CACHE_HOME", cache())
            .spawn()
            .unwrap();
        let until = Instant::now() + DEADLINE;
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < until, "the agent listens in time: {error}"),
            }
            thread::yield_now();
        };
        let output = stream.try_clone().unwrap();
        let mut agent = Self {
            input: Some(Box::new(stream)),
            messages: reader(output),
            child,
            events: Vec::new(),
            seq: 0,
        };
        let capabilities = agent.request("initialize", &json!({"adapterID": "manta"}));
        (agent, capabilities)
    }

    /// Sends a request whose answer may take a while.
    pub fn send(&mut self, command: &str, arguments: &Value) -> i64 {
        self.seq += 1;
        let message = json!({"seq": self.seq, "type": "request", "command": command, "arguments": arguments})
            .to_string();
        let input = self.input.as_mut().expect("the connection is open");
        write!(input, "Content-Length: {}\r\n\r\n{message}", message.len()).unwrap();
        input.flush().unwrap();
        self.seq
    }

    fn next(&mut self, what: &str) -> Value {
        match self.messages.recv_timeout(DEADLINE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                panic!("nothing came in time; waited for {what}; had {:?}", self.events)
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the agent ended; waited for {what}; had {:?}", self.events)
            }
        }
    }

    /// Sends a request and gives the whole response.
    pub fn try_request(&mut self, command: &str, arguments: &Value) -> Value {
        let seq = self.send(command, arguments);
        loop {
            let message = self.next(command);
            if message["type"] == "response" && message["request_seq"] == seq {
                return message;
            }
            self.events.push(message);
        }
    }

    /// Sends a request to an agent that may be about to end. `None` when it ends without an answer.
    pub fn last_request(&mut self, command: &str, arguments: &Value) -> Option<Value> {
        self.seq += 1;
        let seq = self.seq;
        let message =
            json!({"seq": seq, "type": "request", "command": command, "arguments": arguments}).to_string();
        let input = self.input.as_mut().expect("the connection is open");
        write!(input, "Content-Length: {}\r\n\r\n{message}", message.len())
            .and_then(|()| input.flush())
            .ok()?;
        loop {
            match self.messages.recv_timeout(DEADLINE) {
                Ok(message) if message["type"] == "response" && message["request_seq"] == seq => {
                    return Some(message);
                }
                Ok(message) => self.events.push(message),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("{command} was not answered"),
            }
        }
    }

    /// Sends a request that must succeed, and gives its body.
    pub fn request(&mut self, command: &str, arguments: &Value) -> Value {
        let mut response = self.try_request(command, arguments);
        assert_eq!(response["success"], true, "{command}: {}", response["message"]);
        response["body"].take()
    }

    /// The response to a request that was sent before. Others stay for later.
    pub fn response_to(&mut self, seq: i64) -> Value {
        let is_it = |message: &Value| message["type"] == "response" && message["request_seq"] == seq;
        if let Some(at) = self.events.iter().position(is_it) {
            return self.events.remove(at);
        }
        loop {
            let message = self.next("a response");
            if is_it(&message) {
                return message;
            }
            self.events.push(message);
        }
    }

    /// The next event of this name, with its body. Others stay for later.
    pub fn event(&mut self, name: &str) -> Value {
        if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
            return self.events.remove(at)["body"].take();
        }
        loop {
            let mut message = self.next(name);
            if message["event"] == name {
                return message["body"].take();
            }
            self.events.push(message);
        }
    }

    /// Events of this name that are there already.
    pub fn events_so_far(&mut self, name: &str) -> usize {
        self.events.extend(self.messages.try_iter());
        self.events.iter().filter(|event| event["event"] == name).count()
    }

    /// Sets line breakpoints `(mark, extra keys)` of a fixture; they get the ids 1, 2, …
    pub fn configure(&mut self, name: &str, marks: &[(&str, Value)]) -> Value {
        let breakpoints: Vec<Value> = marks
            .iter()
            .zip(1..)
            .map(|((mark, extra), id)| {
                let mut breakpoint = json!({"id": id, "line": line_of(name, mark)});
                for (key, value) in extra.as_object().into_iter().flatten() {
                    breakpoint[key] = value.clone();
                }
                breakpoint
            })
            .collect();
        let path = source(name);
        let generation = self.seq + 1;
        self.request(
            "mantaConfigure",
            &json!({"generation": generation, "sessionId": "00", "sources": [
                {"source": {"path": path}, "paths": [path], "breakpoints": breakpoints}]}),
        )
    }

    /// The next stop.
    pub fn stopped(&mut self) -> Value {
        self.event("mantaStopped")
    }

    pub fn go_on(&mut self, stop: &Value) {
        self.request("continue", &json!({"threadId": stop["threadId"]}));
    }

    /// Makes a step and gives the stop that ends it.
    pub fn step(&mut self, command: &str, stop: &Value) -> Value {
        self.request(command, &json!({"threadId": stop["threadId"]}));
        self.stopped()
    }

    /// Lets every thread run on that has stopped by now. Gives their number.
    pub fn resume_those_stopped(&mut self) -> usize {
        self.events.extend(self.messages.try_iter());
        let (stops, others) =
            std::mem::take(&mut self.events).into_iter().partition(|event| event["event"] == "mantaStopped");
        self.events = others;
        let stops: Vec<Value> = stops;
        for stop in &stops {
            self.go_on(&stop["body"]);
        }
        stops.len()
    }

    /// The stack as `function:line`, user's frames only.
    pub fn stack(&mut self, stop: &Value) -> Vec<String> {
        let body = self.request("stackTrace", &json!({"threadId": stop["threadId"]}));
        let frames = body["stackFrames"].as_array().unwrap();
        let users = frames.iter().filter(|frame| frame["presentationHint"] != "subtle");
        users.map(|frame| format!("{}:{}", frame["name"].as_str().unwrap(), frame["line"])).collect()
    }

    /// The variables of the top frame as `name: type = value`.
    pub fn locals(&mut self, stop: &Value) -> Vec<String> {
        let reference = self.locals_reference(stop);
        self.variables(reference)
    }

    pub fn locals_reference(&mut self, stop: &Value) -> i64 {
        let scopes = self.request("scopes", &json!({"frameId": stop["topFrame"]["id"]}));
        scopes["scopes"][0]["variablesReference"].as_i64().unwrap()
    }

    pub fn variables(&mut self, reference: i64) -> Vec<String> {
        let body = self.request("variables", &json!({"variablesReference": reference}));
        let variables = body["variables"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        variables
            .iter()
            .map(|v| format!("{}: {} = {}", text(&v["name"]), text(&v["type"]), text(&v["value"])))
            .collect()
    }

    pub fn evaluate(&mut self, stop: &Value, expression: &str) -> String {
        let response = self
            .try_request("evaluate", &json!({"expression": expression, "frameId": stop["topFrame"]["id"]}));
        let shown =
            if response["success"] == true { &response["body"]["result"] } else { &response["message"] };
        shown.as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the agent as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes the connection and waits for the agent's end.
    pub fn close(mut self) {
        drop(self.input.take());
        let until = Instant::now() + DEADLINE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the agent ends in time");
            thread::yield_now();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes messages from an agent as they come.
fn reader(mut output: impl Read + Send + 'static) -> Receiver<Value> {
    let (sender, messages) = channel();
    thread::spawn(move || {
        let mut codec = Codec::default();
        let mut received = BytesMut::new();
        let mut buffer = [0; 65536];
        loop {
            match output.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => received.extend_from_slice(&buffer[..count]),
            }
            while let Some(incoming) = codec.decode(&mut received).unwrap() {
                if sender.send(serde_json::from_slice(&incoming.text).unwrap()).is_err() {
                    return;
                }
            }
        }
    });
    messages
}
