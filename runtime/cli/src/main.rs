//! The `manta` binary: starts and stops clusters, shows what they do, and holds the processes that a cluster is made of.
//!
//! It must never decide anything that the head, the node or the adapter decides: it reads the command line and calls them.

mod args;
mod client;
mod commands;
mod daemon;
mod logging;
mod process;
mod state;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, StartArgs};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(
        cli.command,
        Command::Status(_)
            | Command::List(_)
            | Command::Get(_)
            | Command::Summary(_)
            | Command::Memory(_)
            | Command::Timeline(_)
            | Command::Job(_)
            | Command::Logs(_)
            | Command::Explain(_)
            | Command::Stack(_)
            | Command::Completions(_)
            | Command::Stop(_)
            | Command::Start(StartArgs { foreground: false, .. })
    ) {
        end_with_the_reader();
    }
    // One thread: a head and a node wait far more than they compute, and start in milliseconds.
    let result = run(cli.command);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manta: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread: a head and a node wait far more than they compute, and start in milliseconds.
fn with_io(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| anyhow::anyhow!("the I/O of this process cannot be set up: {error}"))?;
    let result = runtime.block_on(work);
    // A thread may still read stdin, which ends when it likes.
    runtime.shutdown_background();
    result
}

/// A command whose output goes to `head` or a pager ends quietly when the reader has seen enough.
fn end_with_the_reader() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action runs no code of this process, and no other thread exists yet.
    if let Err(error) = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) } {
        eprintln!("manta: the reader's end will not be noticed: {error}");
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Start(args) => with_io(commands::start::run(args)),
        Command::Stop(args) => with_io(commands::stop::run(&args)),
        Command::Status(args) => with_io(commands::status::run(&args)),
        Command::List(args) => with_io(commands::list::list(&args)),
        Command::Get(args) => with_io(commands::list::get(&args)),
        Command::Summary(args) => with_io(commands::list::summary(&args)),
        Command::Memory(args) => with_io(commands::memory::run(&args)),
        Command::Timeline(args) => with_io(commands::timeline::run(&args)),
        Command::Job(command) => with_io(commands::job::run(command)),
        Command::Logs(args) => with_io(commands::logs::run(&args)),
        Command::Explain(args) => with_io(commands::explain::run(&args)),
        Command::Stack(args) => with_io(commands::stack::run(&args)),
        Command::DrainNode(args) => with_io(commands::drain::run(&args)),
        Command::Local(args) => with_io(commands::local::run(args)),
        Command::Dap(args) => with_io(commands::dap::run(args)),
        Command::Head(args) => with_io(commands::head::run(args)),
        Command::Node(args) => with_io(commands::node::run(args)),
        // These wait in their own way, and the agent must have its process to itself.
        Command::DebugAgent(args) => commands::debug_agent::run(&args),
        Command::Watch => commands::watch::run(),
        Command::Completions(args) => commands::completions::run(&args),
    }
}
