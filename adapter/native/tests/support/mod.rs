//! A debugged program and the agent that debugs it, driven step by step. Every wait has a deadline.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dap::Codec;
use serde_json::{Value, json};
use tokio_util::codec::Decoder;

pub const DEADLINE: Duration = Duration::from_secs(20);

/// How a fixture is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    Plain,
    Optimized,
    /// Debug information of version 5 (with the standard library's still of version 4), and the newer mangling.
    Dwarf5,
    /// The same, optimized.
    OptimizedDwarf5,
}

/// The folder of the fixtures' sources.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/src/bin").join(format!("{name}.rs"))
}

/// The line with the mark `// @mark`.
pub fn line_of(name: &str, mark: &str) -> u32 {
    let text = std::fs::read_to_string(source(name)).unwrap();
    let wanted = format!("// @{mark}");
    let at = text.lines().position(|line| line.trim_end().ends_with(&wanted));
    u32::try_from(at.unwrap_or_else(|| panic!("no mark {mark} in {name}")) + 1).unwrap()
}

fn built(build: Build) -> &'static Path {
    static PLAIN: OnceLock<PathBuf> = OnceLock::new();
    static OPTIMIZED: OnceLock<PathBuf> = OnceLock::new();
    static DWARF5: OnceLock<PathBuf> = OnceLock::new();
    static OPTIMIZED_DWARF5: OnceLock<PathBuf> = OnceLock::new();
    let (cell, folder, subfolder) = match build {
        Build::Plain => (&PLAIN, "native-fixtures", "debug"),
        Build::Optimized => (&OPTIMIZED, "native-fixtures", "release"),
        Build::Dwarf5 => (&DWARF5, "native-fixtures-dwarf5", "debug"),
        Build::OptimizedDwarf5 => (&OPTIMIZED_DWARF5, "native-fixtures-dwarf5", "release"),
    };
    cell.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg("build").arg("--offline").arg("--quiet").arg("--bins");
        cargo
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/Cargo.toml"));
        cargo.arg("--target-dir").arg(&target);
        if matches!(build, Build::Optimized | Build::OptimizedDwarf5) {
            cargo.arg("--release");
        }
        if matches!(build, Build::Dwarf5 | Build::OptimizedDwarf5) {
            cargo.env("RUSTFLAGS", "-C dwarf-version=5 -C symbol-mangling-version=v0");
        }
        assert!(cargo.status().unwrap().success(), "the fixtures are built");
        target.join(subfolder)
    })
}

/// The built file of a fixture.
pub fn program_file(name: &str, build: Build) -> PathBuf {
    built(build).join(name)
}

/// Where the compiler leaves split debug information.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// In one `.dwp` file beside the program.
    Packed,
    /// In many `.dwo` files beside the objects.
    Unpacked,
}

/// The fixture `values` with split debug information of a version.
pub fn split_program(version: u8, split: Split) -> PathBuf {
    static BUILT: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];
    let word = if split == Split::Packed { "packed" } else { "unpacked" };
    let cell = &BUILT[usize::from(version == 5) * 2 + usize::from(split == Split::Packed)];
    let build = || {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("native-fixtures-{version}-{word}"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--offline", "--quiet", "--bin", "values", "--manifest-path"]);
        cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/Cargo.toml"));
        cargo.arg("--target-dir").arg(&target).env("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", word);
        // As for the whole program of that version, so that the two can be compared.
        if version == 5 {
            cargo.env("RUSTFLAGS", "-C dwarf-version=5 -C symbol-mangling-version=v0");
        }
        assert!(cargo.status().unwrap().success(), "the fixture is built");
        target.join("debug/values")
    };
    cell.get_or_init(build).clone()
}

/// A fixture that runs.
pub struct Program {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Program {
    /// Starts a fixture and waits until it is ready.
    pub fn start(name: &str, build: Build) -> Self {
        Self::start_file(&program_file(name, build))
    }

    /// Starts a fixture from a file.
    pub fn start_file(file: &Path) -> Self {
        let start = || {
            let mut command = Command::new(file);
            // Panics are part of what is looked at; their messages are not.
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        };
        let until = Instant::now() + DEADLINE;
        let mut child = loop {
            match start() {
                Ok(child) => break child,
                // The test has just written it, and another test's child still has that file open until it runs its program.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < until => {}
                Err(error) => panic!("{} does not start: {error}", file.display()),
            }
            thread::yield_now();
        };
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        let mut program = Self { child, input, lines };
        assert_eq!(program.line(), "ready");
        program.write("PID");
        program
    }

    fn write(&mut self, line: &str) {
        // The agent's id is not known before it is started; the test's own process is its parent.
        let line = if line == "PID" { std::process::id().to_string() } else { line.to_owned() };
        writeln!(self.input, "{line}").unwrap();
        if line.parse::<u32>().is_ok() {
            assert_eq!(self.line(), "allowed");
        }
    }

    /// Lets the fixture run.
    pub fn go(&mut self) {
        self.write("go");
    }

    /// The next line, if it has printed one by now.
    pub fn line_so_far(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("the program prints a line in time")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the program ends in time");
            thread::yield_now();
        }
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its end, which must be a good one.
    pub fn ends_well(&mut self) {
        let status = self.end();
        assert!(status.success(), "the program ended with {status}");
    }

    /// Waits for its end, which must come by a signal, and gives that.
    pub fn ends_by_signal(&mut self) -> i32 {
        let status = self.end();
        status.signal().unwrap_or_else(|| panic!("the program ended with {status}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
        let mut child = Command::new(env!("CARGO_BIN_EXE_manta-debug-agent"))
            .args(["--pid", &program.pid().to_string(), "--stdio"])
            .env("XDG_CACHE_HOME", cache())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let input = child.stdin.take().unwrap();
        Self { input: Some(Box::new(input)), messages: reader(output), child, events: Vec::new(), seq: 0 }
    }

    /// The same as an ordinary client, with what the adapter can do.
    pub fn attach_over_tcp(program: &Program) -> (Self, Value) {
        Self::attach_to(program.pid())
    }

    /// The same, to any process.
    pub fn attach_to(pid: u32) -> (Self, Value) {
        // A port that was free just now; nobody else binds it in between but by rare bad luck, which fails loudly.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_manta-debug-agent"))
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

    fn send(&mut self, command: &str, arguments: &Value) -> i64 {
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
            if message["type"] == "response" {
                assert_eq!(message["request_seq"], seq);
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

/// The function and line of a stop.
pub fn at(stop: &Value) -> String {
    format!("{}:{}", stop["topFrame"]["name"].as_str().unwrap(), stop["topFrame"]["line"])
}
