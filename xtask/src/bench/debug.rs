//! `bench debug`: how fast tasks stop, step and show their variables, beside local debuggers.

use std::path::PathBuf;

use anyhow::Result;

use super::{
    report::{Figure, Figures},
    tasks::figures,
};
use crate::{
    python::{self, Python},
    run::Step,
    workspace::{Profile, target},
};

/// The release that Manta is measured beside.
const DEBUGPY: &str = "debugpy==1.8.22";

/// A measuring program under `tests/bench`. It is run as `FILE SYSTEM --rounds COUNT`.
struct Program {
    file: &'static str,
    /// Whom it can measure.
    systems: &'static [&'static str],
}

/// All of them; what they print of one system is put together.
const PROGRAMS: &[Program] = &[
    Program { file: "debug.py", systems: &["manta", "debugpy", "lldb-dap"] },
    Program { file: "debug_python.py", systems: &["manta", "debugpy"] },
    Program { file: "debug_native.py", systems: &["manta", "lldb-dap"] },
    Program { file: "debug_symbols.py", systems: &["manta", "lldb-dap"] },
];

/// Measures Manta, then each peer, one after the other so that none disturbs another.
///
/// # Errors
/// When a build, a set-up or a measurement fails.
pub fn measure(peers: &[String], rounds: u32) -> Result<Vec<Figures>> {
    super::build()?;
    let layout = python::layout(Profile::Release)?;
    let pythons = python::find()?;
    let mut systems = Vec::new();
    for system in std::iter::once("manta").chain(peers.iter().map(String::as_str)) {
        let interpreters = interpreters(&pythons, system)?;
        let newest = interpreters.last().expect("find gives at least one");
        let mut all = Vec::new();
        for program in PROGRAMS.iter().filter(|program| program.systems.contains(&system)) {
            println!("measuring {system} with {}", program.file);
            let file = format!("tests/bench/{}", program.file);
            let step = Step::new(newest).args([&file, system, "--rounds", &rounds.to_string()]);
            let step = step.env("MANTA_BIN", Profile::Release.program("manta")).env("PYTHONPATH", &layout);
            let step = step.env("MANTA_FIXTURES", target().join("release"));
            // Where a program keeps what it builds.
            let step = step.env("MANTA_BENCH", target().join("bench"));
            // For those that measure on each Python, oldest first.
            let step = step.env("MANTA_BENCH_PYTHONS", std::env::join_paths(&interpreters)?);
            all.extend(figures(step)?);
        }
        let alone = (system == "manta").then(|| engine_alone(&all));
        systems.push(Figures { system: system.to_owned(), figures: all });
        systems.extend(alone);
    }
    Ok(systems)
}

/// An interpreter of each Python for measuring `system`, in an environment with what that needs.
fn interpreters(pythons: &[Python], system: &str) -> Result<Vec<PathBuf>> {
    let interpreter = |python: &Python| {
        let folder = target().join("bench-venv").join(format!("debugpy-{}", python.version));
        match system {
            "debugpy" => python::environment(python, &folder, &[DEBUGPY]),
            _ => python.environment(),
        }
    };
    pythons.iter().map(interpreter).collect()
}

/// What the way through the cluster costs: an engine alone, `debug.KIND.…`, is a peer of `debug.cluster.KIND.…`, the same loop stopped
/// in a task.
fn engine_alone(own: &[Figure]) -> Figures {
    let named = |measure: &str| own.iter().find(|figure| figure.measure == measure);
    let through = own.iter().filter_map(|figure| {
        let rest = figure.measure.strip_prefix("debug.cluster.")?;
        let alone = named(&format!("debug.{rest}"))?;
        Some(Figure { measure: figure.measure.clone(), ..alone.clone() })
    });
    Figures { system: "engine".to_owned(), figures: through.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_alone_is_a_peer_of_the_way_through_the_cluster() {
        let figure = |measure: &str, value| Figure {
            measure: measure.to_owned(),
            unit: "ms".to_owned(),
            value,
            peer: None,
        };
        let own = [
            figure("debug.cluster.native.next", 0.4),
            figure("debug.cluster.python.next", 0.3),
            figure("debug.native.next", 0.2),
            figure("debug.native.stack", 0.1),
        ];
        let peer = engine_alone(&own);
        let found: Vec<_> = peer.figures.iter().map(|own| (own.measure.as_str(), own.value)).collect();
        assert_eq!((peer.system.as_str(), found), ("engine", vec![("debug.cluster.native.next", 0.2)]));
    }
}
