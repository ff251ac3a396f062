//! `manta debug-agent`: the native engine for one process.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use manta_native::agent::{self, AgentError, AgentOptions};

use crate::args::DebugAgentArgs;

/// How long a worker has to allow its agent to trace it, which its node asks it for when the agent starts.
const ALLOW_TIME: Duration = Duration::from_secs(2);

/// Debugs until the client or the process is gone.
///
/// # Errors
/// When the process cannot be traced, or the address cannot be listened on.
pub fn run(args: &DebugAgentArgs) -> anyhow::Result<()> {
    let options = AgentOptions { pid: args.pid, stdio: args.stdio, listen: args.listen };
    let until = Instant::now() + ALLOW_TIME;
    loop {
        match agent::run(&options) {
            Err(AgentError::Attach { cause, .. })
                if args.stdio
                    && cause.kind() == io::ErrorKind::PermissionDenied
                    && Instant::now() < until =>
            {
                sleep(Duration::from_millis(5));
            }
            ended => return Ok(ended?),
        }
    }
}
