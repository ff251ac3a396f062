//! `bench debug`: how fast tasks stop, step and show their variables through a whole cluster, beside local debuggers.

use anyhow::Result;

use super::{report::Figures, tasks::figures};
use crate::{
    python,
    run::Step,
    workspace::{Profile, target},
};

/// The release that Manta is measured beside.
const DEBUGPY: &str = "debugpy==1.8.22";

/// Measures Manta's cluster session, then each peer debugging the same program locally.
///
/// # Errors
/// When a build, a set-up or a measurement fails.
pub fn measure(peers: &[String], rounds: u32) -> Result<Vec<Figures>> {
    Step::cargo("build")
        .args(["--release", "--package", "manta-cli", "--package", "manta-fixtures"])
        .run()?;
    let layout = python::layout(Profile::Release)?;
    let python = python::find()?.pop().expect("find gives at least one");
    let environment = python.environment()?;
    let peer_environment = target().join("bench-venv").join(format!("debugpy-{}", python.version));
    let mut systems = Vec::new();
    for system in std::iter::once("manta").chain(peers.iter().map(String::as_str)) {
        println!("measuring {system}");
        let interpreter = if system == "debugpy" {
            python::environment(&python, &peer_environment, &[DEBUGPY])?
        } else {
            environment.clone()
        };
        let step =
            Step::new(interpreter).args(["tests/bench/debug.py", system, "--rounds", &rounds.to_string()]);
        let step = step.env("MANTA_BIN", Profile::Release.program("manta")).env("PYTHONPATH", &layout);
        let step = step.env("MANTA_FIXTURES", target().join("release"));
        systems.push(Figures { system: system.to_owned(), figures: figures(step)? });
    }
    Ok(systems)
}
