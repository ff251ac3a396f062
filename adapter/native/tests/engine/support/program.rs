//! A debugged program.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use super::DEADLINE;
use super::fixtures::{Build, program_file};

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
        // In one go: what comes in two is read by two system calls.
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
        if line.parse::<u32>().is_ok() {
            assert_eq!(self.line(), "allowed");
        }
    }

    /// Tells the fixture something.
    pub fn say(&mut self, line: &str) {
        self.write(line);
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
