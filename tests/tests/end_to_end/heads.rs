//! A head that is killed and started again: the session of a client goes on.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Stdio},
};

use anyhow::{Context, Result, ensure};
use dap::events;
use manta_tests::{DapClient, Driver, program};
use serde_json::json;

use crate::support::Language;

/// A process that ends with the test.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Apart {
    home: tempfile::TempDir,
    address: String,
}

impl Apart {
    fn new() -> Result<Self> {
        let home = tempfile::Builder::new().prefix("manta-test-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { home, address: format!("127.0.0.1:{port}") })
    }

    /// Starts a process of the cluster, and waits until it says that it is ready.
    fn member(&self, arguments: &[&str]) -> Result<Member> {
        let mut command = program::isolated(&program::manta()?, self.home.path());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let member = Member(child);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        ensure!(!line.is_empty(), "manta {} did not get ready", arguments.join(" "));
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Ok(member)
    }

    fn head(&self) -> Result<Member> {
        let state = self.home.path().join("state").display().to_string();
        self.member(&["head", "--listen", &self.address, "--state", &state])
    }

    fn token(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.home.path().join("token"))?.trim().to_owned())
    }

    fn driver(&self, language: Language, fixture: &str) -> Result<Driver> {
        let mut command = match language {
            Language::Rust => program::isolated(&program::rust_fixture(fixture)?, self.home.path()),
            Language::Python => {
                let mut command = program::isolated(&program::python()?, self.home.path());
                command.arg(program::python_source(fixture)).env("PYTHONPATH", program::python_path());
                command
            }
        };
        command.env("MANTA_ADDRESS", &self.address).env("MANTA_TOKEN", self.token()?);
        Driver::start(command, fixture)
    }
}

/// Waits until the client is told something that matters.
fn told(client: &mut DapClient, what: &str) -> Result<()> {
    client.event_where::<events::Output, _>(what, |output| output.output.contains(what).then_some(()))
}

fn goes_on(language: Language) -> Result<()> {
    let cluster = Apart::new()?;
    let mut head = cluster.head()?;
    let _node = cluster.member(&["node", "--address", &cluster.address, "--num-cpus", "4"])?;
    let plain = cluster.driver(language, "forty_tasks")?.result()?;
    let mut client = DapClient::stdio()?;
    let attach = client.attach_to(&cluster.address, &cluster.token()?, &json!({}))?;
    let source = language.source("forty_tasks");
    ensure!(client.break_at_mark(&source, None)?.verified, "the breakpoint is not verified");
    client.configured(attach)?;
    let driver = cluster.driver(language, "forty_tasks")?;
    let first = client.paused(1)?.remove(0);
    let frame = client.top_frame(first.id)?;
    // Some of the others stop while nobody can be told.
    head.0.kill()?;
    head.0.wait()?;
    told(&mut client, "Paused tasks stay paused")?;
    let _second = cluster.head()?;
    told(&mut client, "The cluster is back")?;
    let paused = client.paused(8)?;
    ensure!(paused.iter().any(|task| task.id == first.id), "the first task is gone: {paused:?}");
    // What the client had open is still open.
    ensure!(!client.locals(frame.id)?.is_empty(), "the first task shows nothing");
    for task in &paused {
        client.top_frame(task.id)?;
    }
    client.set_breakpoints(&source, Vec::new())?;
    for task in paused {
        client.resume(task.id)?;
    }
    let result = driver.result()?;
    ensure!(result == plain, "the job gave {result}, and {plain} undisturbed");
    client.close()
}

#[test]
fn a_session_outlives_its_head_with_rust_tasks() -> Result<()> {
    goes_on(Language::Rust)
}

#[test]
fn a_session_outlives_its_head_with_python_tasks() -> Result<()> {
    goes_on(Language::Python)
}
