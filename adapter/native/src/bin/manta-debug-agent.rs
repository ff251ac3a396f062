//! The native engine alone: an ordinary DAP adapter for a process that runs, without any of the runtime.

use std::process::ExitCode;

use manta_native::agent::{AgentOptions, run};

const USAGE: &str = "usage: manta-debug-agent --pid PID (--stdio [--ask-for-debug-info] | --listen ADDRESS)";

fn options() -> Result<AgentOptions, String> {
    let mut options =
        AgentOptions { pid: 0, stdio: false, listen: None, takes_pictures: true, asks_for_debug_info: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value; {USAGE}"));
        match argument.as_str() {
            "--pid" => {
                options.pid = value()?.parse().map_err(|_| format!("--pid needs a number; {USAGE}"))?;
            }
            "--stdio" => options.stdio = true,
            "--ask-for-debug-info" => options.asks_for_debug_info = true,
            "--listen" => {
                options.listen =
                    Some(value()?.parse().map_err(|_| format!("--listen needs HOST:PORT; {USAGE}"))?);
            }
            other => return Err(format!("{other:?} is not known; {USAGE}")),
        }
    }
    if options.pid == 0 { Err(format!("--pid is missing; {USAGE}")) } else { Ok(options) }
}

fn main() -> ExitCode {
    let done = options().and_then(|options| run(&options, None).map_err(|error| error.to_string()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("manta-debug-agent: {reason}");
            ExitCode::FAILURE
        }
    }
}
