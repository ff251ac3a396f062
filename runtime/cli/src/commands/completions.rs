//! `manta completions`: what a shell needs to complete our command line.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};

/// Prints it.
///
/// # Errors
/// None so far.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    clap_complete::generate(args.shell, &mut Cli::command(), "manta", &mut std::io::stdout());
    Ok(())
}
