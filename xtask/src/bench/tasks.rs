//! `bench tasks`: how fast clusters start, and take, run and answer tasks.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::report::{Figure, Figures};
use crate::{
    python::{self, Python},
    run::Step,
    workspace::{Profile, target},
};

/// The release that Manta is measured beside.
const RAY: &str = "ray==2.60.0";

/// What measures tasks, of Manta and its peers.
const TASKS: &str = "tests/bench/tasks.py";
/// What measures calls of actors.
const ACTORS: &str = "tests/bench/actors.py";
/// What measures Manta as it grows.
const SCALE: &str = "tests/bench/scale.py";

/// Measures Manta, then each peer, one after the other so that none disturbs another.
///
/// # Errors
/// When a build or a measurement fails.
pub fn measure(peers: &[String], rounds: u32) -> Result<Vec<Figures>> {
    let python = python::find()?.remove(0);
    // What cannot be had is better known before anything is built and measured.
    let mut interpreters = Vec::new();
    for peer in peers {
        interpreters.push(peer_environment(&python, peer).with_context(|| {
            format!(
                "{peer} cannot be installed for Python {}, so nothing was measured; pip says why above. Leave {peer} out of --vs to measure \
                 without it",
                python.version
            )
        })?);
    }
    super::build()?;
    let layout = python::layout(Profile::Release)?;
    let rounds = rounds.to_string();
    let program = |python: &std::path::Path, file: &str, arguments: &[&str]| {
        let step = Step::new(python).args([file]).args(arguments);
        step.env("MANTA_BIN", Profile::Release.program("manta")).env("PYTHONPATH", &layout)
    };
    println!("measuring manta");
    let environment = python.environment()?;
    let mut own = Vec::new();
    for file in [TASKS, ACTORS] {
        own.extend(figures(program(&environment, file, &["manta", "--rounds", &rounds]))?);
    }
    let native = Step::new(Profile::Release.program("examples/bench_tasks")).args(["--rounds", &rounds]);
    own.extend(figures(native.env("MANTA_BIN", Profile::Release.program("manta")))?);
    own.extend(figures(program(&environment, SCALE, &[]))?);
    own.extend(figures(Step::new(Profile::Release.program("examples/schedule")))?);
    let beside = in_rust_beside_python(&own);
    let mut others = Vec::new();
    for peer in own.iter().filter_map(|figure| figure.peer.clone()).collect::<BTreeSet<_>>() {
        let figures = own.extract_if(.., |figure| figure.peer.as_ref() == Some(&peer)).collect();
        others.push(Figures { system: peer, figures });
    }
    let mut systems = vec![Figures { system: "manta".to_owned(), figures: own }, beside];
    systems.extend(others);
    for (peer, interpreter) in peers.iter().zip(&interpreters) {
        println!("measuring {peer}");
        let mut measured = Vec::new();
        for file in files(peer) {
            measured.extend(figures(program(interpreter, file, &[peer, "--rounds", &rounds]))?);
        }
        measured.retain(|figure| figure.peer.is_none());
        systems.push(Figures { system: peer.clone(), figures: measured });
    }
    Ok(systems)
}

/// The programs that measure a peer.
fn files(peer: &str) -> &'static [&'static str] {
    if peer == "ray" { &[TASKS, ACTORS] } else { &[TASKS] }
}

/// Manta's Python tasks as the peer of its Rust tasks: what the language costs.
fn in_rust_beside_python(own: &[Figure]) -> Figures {
    let same = |figure: &Figure| Figure {
        measure: figure.measure.replace(".python.", ".rust."),
        unit: figure.unit.clone(),
        value: figure.value,
        peer: None,
    };
    let of_python = own.iter().filter(|figure| figure.measure.contains(".python."));
    Figures { system: "python".to_owned(), figures: of_python.map(same).collect() }
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
