//! `manta debug-agent`: the native engine for one process.

use std::{
    io,
    os::fd::BorrowedFd,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use manta_native::{
    agent::{self, AgentError, AgentOptions},
    attach::Refused,
    dump,
};
use manta_proto::{line::Listener, token::Token};

use crate::args::DebugAgentArgs;

/// How long a worker has to allow its agent to trace it, which its node asks it for when the agent starts.
const ALLOW_TIME: Duration = Duration::from_secs(2);

/// Debugs until the client or the process is gone.
///
/// # Errors
/// When the process cannot be traced, or the address cannot be listened on.
pub fn run(args: &DebugAgentArgs) -> anyhow::Result<()> {
    if args.dump {
        return dump(args.pid);
    }
    let mut options = AgentOptions {
        pid: args.pid,
        stdio: args.stdio,
        listen: args.listen,
        // The agent before this one may be about to leave.
        takes_pictures: !args.stdio,
        asks_for_debug_info: args.ask_for_debug_info,
    };
    let mut line = args.line.as_deref().and_then(listen);
    let until = Instant::now() + ALLOW_TIME;
    loop {
        match agent::run(&options, line.as_mut().map(|line| line as _)) {
            Err(AgentError::Attach(refused))
                if args.stdio && refused.may_be_allowed_later() && Instant::now() < until =>
            {
                sleep(Duration::from_millis(5));
            }
            Err(AgentError::Attach(Refused::Traced { .. })) if !options.takes_pictures => {
                options.takes_pictures = true;
            }
            ended => return Ok(ended?),
        }
    }
}

/// Where it cannot listen, the way over the node is there.
fn listen(path: &Path) -> Option<ToAdapter> {
    let listens = Token::find()
        .map_err(anyhow::Error::from)
        .and_then(|token| Listener::listen(path, token).context("the system refuses it"));
    listens
        .inspect_err(|error| {
            tracing::warn!(
                "debug adapters reach this agent over its node only, as it cannot listen at {}: {error:#}",
                path.display()
            );
        })
        .ok()
        .map(ToAdapter)
}

/// The cluster's line as the agent has it.
struct ToAdapter(Listener);

impl agent::Line for ToAdapter {
    fn is_heard(&self) -> bool {
        self.0.is_heard()
    }

    fn waits(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        self.0.waits().collect()
    }

    fn take(&mut self, give: &mut dyn FnMut(Bytes)) {
        self.0.take(give);
    }

    fn send(&mut self, message: &[u8]) {
        self.0.send(message);
    }

    fn flush(&mut self) {
        self.0.flush();
    }
}

/// Prints the stacks of a process as JSON.
#[expect(clippy::print_stdout, reason = "the command's output")]
fn dump(pid: i32) -> anyhow::Result<()> {
    let until = Instant::now() + ALLOW_TIME;
    loop {
        match dump::dump(pid) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && Instant::now() < until => {
                sleep(Duration::from_millis(5));
            }
            stacks => {
                println!(
                    "{}",
                    stacks.with_context(|| format!("the stacks of process {pid} cannot be read"))?
                );
                return Ok(());
            }
        }
    }
}
