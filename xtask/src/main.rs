//! The project's own commands: `cargo xtask test`, `tidy`, `demo`, `bench`, `soak` and `gen-dap`.
//!
//! It sets up whatever they need under `target/` and calls cargo, Python and npm. It must stay small: everybody waits for it to compile.

// A command-line program talks to people on stdout.
#![allow(clippy::print_stdout)]

mod bench;
mod counts;
mod demo;
mod gen_dap;
mod node;
mod python;
mod random;
mod run;
mod soak;
mod stamp;
mod stock_client;
mod test;
mod tidy;
mod workspace;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Manta's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sets up everything under target/ and runs every test.
    Test(test::Options),
    /// Checks what compilers do not: dependency arrows, licences, lengths, docs, words.
    Tidy,
    /// Runs a real job on two nodes and stops its Rust and Python tasks in one session.
    Demo(demo::Options),
    /// Measures speed, beside peers where they are named.
    Bench(bench::Options),
    /// Runs random graphs of tasks while workers and nodes are killed, and looks at what is left.
    Soak(soak::Options),
    /// Generates adapter/dap/src/generated.rs from the protocol's schema.
    GenDap {
        /// The official debugAdapterProtocol.json.
        #[arg(long)]
        schema: PathBuf,
        /// The file to write.
        #[arg(long, default_value = "adapter/dap/src/generated.rs")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that Debug would print: people read this, and each context says enough.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Test(options) => test::run(&options),
        Verb::Tidy => tidy::run(),
        Verb::Demo(options) => demo::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Soak(options) => soak::run(&options),
        Verb::GenDap { schema, out } => gen_dap::run(&schema, &out),
    }
}

/// The names of all verbs, so that docs can be held to them.
fn verbs() -> Vec<String> {
    use clap::CommandFactory;
    Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}
