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

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Status(_) | Command::Completions(_)) {
        end_with_the_reader();
    }
    // One thread: a head and a node wait far more than they compute, and start in milliseconds.
    let result = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli.command));
            // A thread may still read stdin, which ends when it likes.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::anyhow!("the I/O of this process cannot be set up: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manta: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A command whose output goes to `head` or a pager ends quietly when the reader has seen enough.
fn end_with_the_reader() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action runs no code of this process, and no other thread exists yet.
    if let Err(error) = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) } {
        eprintln!("manta: the reader's end will not be noticed: {error}");
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Start(args) => commands::start::run(args).await,
        Command::Stop(args) => commands::stop::run(&args).await,
        Command::Status(args) => commands::status::run(&args).await,
        Command::Local(args) => commands::local::run(args).await,
        Command::Dap(args) => commands::dap::run(args).await,
        Command::Head(args) => commands::head::run(args).await,
        Command::Node(args) => commands::node::run(args).await,
        Command::Watch => commands::watch::run(),
        Command::Completions(args) => commands::completions::run(&args),
    }
}
