//! `bench tasks`: how fast clusters start, and take, run and answer tasks.

use anyhow::{Context, Result};

use super::report::{Figure, Figures};
use crate::{
    python::{self, Python},
    run::Step,
    workspace::{Profile, target},
};

/// The release that Manta is measured beside.
const RAY: &str = "ray==2.60.0";

/// Measures Manta, then each peer, one after the other so that none disturbs another.
///
/// # Errors
/// When a build or a measurement fails.
pub fn measure(peers: &[String], rounds: u32) -> Result<Vec<Figures>> {
    Step::cargo("build")
        .args(["--release", "--package", "manta-cli", "--package", "manta-fixtures"])
        .run()?;
    let layout = python::layout(Profile::Release)?;
    let python = python::find()?.remove(0);
    let rounds = rounds.to_string();
    let program = |python: &std::path::Path, system: &str| {
        let step = Step::new(python).args(["tests/bench/tasks.py", system, "--rounds", &rounds]);
        step.env("MANTA_BIN", Profile::Release.program("manta")).env("PYTHONPATH", &layout)
    };
    println!("measuring manta");
    let mut own = figures(program(&python.environment()?, "manta"))?;
    let native = Step::new(Profile::Release.program("bench_tasks")).args(["--rounds", &rounds]);
    own.extend(figures(native.env("MANTA_BIN", Profile::Release.program("manta")))?);
    let schedule =
        Step::cargo("run").args(["--release", "--quiet", "--package", "manta-node", "--example", "schedule"]);
    own.extend(figures(schedule)?);
    let mut systems = vec![Figures { system: "manta".to_owned(), figures: own }];
    for peer in peers {
        println!("measuring {peer}");
        let interpreter = peer_environment(&python, peer)?;
        systems.push(Figures { system: peer.clone(), figures: figures(program(&interpreter, peer))? });
    }
    Ok(systems)
}

fn peer_environment(python: &Python, peer: &str) -> Result<std::path::PathBuf> {
    match peer {
        "ray" => python::environment(python, &target().join("bench-venv/ray"), &[RAY, "numpy"]),
        _ => python.environment(),
    }
}

/// Runs a measuring program and reads the JSON list that is its last line.
///
/// # Errors
/// When it fails or prints something else.
pub fn figures(step: Step) -> Result<Vec<Figure>> {
    let text = step.output()?;
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    serde_json::from_str(last)
        .with_context(|| format!("a measuring program's last line is no list of figures: {last:?}"))
}
