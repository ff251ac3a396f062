//! `cargo xtask test`: every test of the project, with a closing table; not zero when anything failed.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    counts::{self, Counts},
    node,
    python::{self, Python},
    random,
    run::{Outcome, Step},
    stock_client, tidy,
    workspace::{Profile, root, target},
};

/// What to test.
#[derive(clap::Args)]
pub struct Options {
    /// Runs only the suites whose name starts with this, for instance `python-3.12`; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Lists the suites and runs none.
    #[arg(long)]
    list: bool,
}

/// The test target of whole clusters, which takes as many processors as there are for each test.
const END_TO_END: &str = "end_to_end";

/// What `cargo metadata` says of the packages here, as far as it counts.
#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(serde::Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(serde::Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// What a suite does: one outcome for each program that it ran.
type Work = Box<dyn Fn(&Setup) -> Result<Vec<Outcome>>>;

/// A suite: its name, what it needs, and the work.
struct Suite {
    name: String,
    needs: Needs,
    work: Work,
}

/// Suites that check and do not count.
const COUNTLESS: [&str; 4] = ["fmt", "tidy", "clippy", "lint-python"];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Sources alone.
    Nothing,
    /// The `manta` binary and the fixtures.
    Programs,
    /// Those, the extension module and the Python environments.
    Everything,
}

/// What set-up made.
struct Setup {
    manta: PathBuf,
    python_path: PathBuf,
    /// The newest Python's environment, where one was asked for: fixtures run on it.
    python: Option<PathBuf>,
}

struct Row {
    name: String,
    counts: Counts,
    failure: Option<String>,
    /// What a suite that failed printed last.
    end: Vec<String>,
    took: Duration,
}

/// Lines of a suite that failed which stand once more before the table: a long log is often read from its end, or kept in part.
const END_LINES: usize = 40;

/// Runs the suites that were asked for.
///
/// # Errors
/// When set-up fails or a suite fails.
pub fn run(options: &Options) -> Result<()> {
    let pythons = python::find()?;
    let mut suites = suites(&pythons);
    suites.retain(|suite| {
        options.only.is_empty() || options.only.iter().any(|name| suite.name.starts_with(name))
    });
    if suites.is_empty() {
        bail!("no suite is called {}; `cargo xtask test --list` names them", options.only.join(" or "));
    }
    if options.list {
        suites.iter().for_each(|suite| println!("{}", suite.name));
        return Ok(());
    }
    let started = Instant::now();
    let setup = set_up(suites.iter().map(|suite| suite.needs).max().unwrap_or(Needs::Nothing), &pythons)?;
    println!("set-up took {:.0?}", started.elapsed());
    let rows: Vec<Row> = suites.iter().map(|suite| run_suite(suite, &setup)).collect();
    close(&rows, started.elapsed())
}

fn set_up(needs: Needs, pythons: &[Python]) -> Result<Setup> {
    let mut python = None;
    if needs >= Needs::Everything {
        for found in pythons {
            python = Some(found.environment()?);
        }
    }
    match needs {
        Needs::Nothing => {}
        Needs::Programs => Step::build(Profile::Debug).run()?,
        Needs::Everything => {
            Step::build(Profile::Debug).arg("--all-targets").run()?;
            python::layout(Profile::Debug)?;
        }
    }
    Ok(Setup { manta: Profile::Debug.program("manta"), python_path: target().join("python"), python })
}

fn run_suite(suite: &Suite, setup: &Setup) -> Row {
    println!("\n==== {}", suite.name);
    let started = Instant::now();
    let mut row = Row {
        name: suite.name.clone(),
        counts: Counts::default(),
        failure: None,
        end: Vec::new(),
        took: Duration::ZERO,
    };
    match (suite.work)(setup) {
        Ok(outcomes) => {
            for outcome in outcomes {
                let counts = counts::read(&outcome.text);
                if outcome.failure.is_some() || counts.failed > 0 {
                    row.end.extend(counts::telling(&outcome.text, END_LINES));
                }
                row.counts += counts;
                row.failure = row.failure.or(outcome.failure);
            }
        }
        Err(error) => row.failure = Some(format!("{error:#}")),
    }
    if row.failure.is_none() && row.counts.failed > 0 {
        row.failure = Some("the runner counted failures".to_owned());
    }
    if row.failure.is_none() && row.counts == Counts::default() && !COUNTLESS.contains(&row.name.as_str()) {
        row.failure = Some("no test ran".to_owned());
    }
    row.took = started.elapsed();
    row
}

fn close(rows: &[Row], took: Duration) -> Result<()> {
    for row in rows.iter().filter(|row| !row.end.is_empty()) {
        println!("\n==== {} failed, and said among other things", row.name);
        row.end.iter().for_each(|line| println!("{line}"));
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(5);
    println!(
        "\n{:width$}  {:>6}  {:>6}  {:>7}  {:>7}  outcome",
        "suite", "passed", "failed", "skipped", "seconds"
    );
    let mut total = Counts::default();
    for row in rows {
        total += row.counts;
        let outcome = row.failure.as_deref().unwrap_or("ok");
        let Counts { passed, failed, skipped } = row.counts;
        println!(
            "{:width$}  {passed:>6}  {failed:>6}  {skipped:>7}  {:>7.1}  {outcome}",
            row.name,
            row.took.as_secs_f64()
        );
    }
    let failed = rows.iter().filter(|row| row.failure.is_some()).count();
    println!(
        "\n{} tests passed, {} failed, {} skipped; {} of {} suites ok; {:.0?}",
        total.passed,
        total.failed,
        total.skipped,
        rows.len() - failed,
        rows.len(),
        took
    );
    if failed > 0 {
        bail!("{failed} of {} suites failed", rows.len());
    }
    Ok(())
}

fn suites(pythons: &[Python]) -> Vec<Suite> {
    let mut all = vec![
        suite("fmt", Needs::Nothing, |_| one(Step::cargo("fmt").args(["--all", "--check"]))),
        suite("tidy", Needs::Programs, |_| tidy::run().map(|()| Vec::new())),
        suite("clippy", Needs::Nothing, |_| {
            one(Step::cargo("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
        }),
        suite("lint-python", Needs::Nothing, |_| lint_python()),
        suite("rust", Needs::Everything, rust_suite),
        suite("end-to-end", Needs::Everything, |setup| {
            one(cargo_test(setup).args(["--test", END_TO_END, "--", "--test-threads", "2"]))
        }),
    ];
    all.push(suite("random", Needs::Everything, random_suite));
    for python in pythons {
        all.push(engine_suite(python.clone()));
        all.push(api_suite(python.clone()));
    }
    if node::is_there() {
        all.push(suite("extension", Needs::Nothing, |_| extension()));
        all.push(suite("stock-client", Needs::Everything, |setup| {
            stock_client::run(&setup.manta, &setup.python_path)
        }));
    } else {
        println!(
            "Node.js with npm was not found: the suites extension and stock-client are left out; install Node.js 20 or newer to run them"
        );
    }
    all
}

fn suite(
    name: impl Into<String>,
    needs: Needs,
    work: impl Fn(&Setup) -> Result<Vec<Outcome>> + 'static,
) -> Suite {
    Suite { name: name.into(), needs, work: Box::new(work) }
}

/// All but the end-to-end tests. They are chosen by target and not by package, so that the features are those of the build.
fn rust_suite(setup: &Setup) -> Result<Vec<Outcome>> {
    let text = Step::cargo("metadata").args(["--format-version", "1", "--no-deps"]).output()?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo's metadata could not be read")?;
    let targets = metadata.packages.into_iter().flat_map(|package| package.targets);
    let names = targets.filter(|target| target.kind == ["test"] && target.name != END_TO_END);
    let step = names.fold(cargo_test(setup).args(["--lib", "--bins"]), |step, target| {
        step.arg("--test").arg(target.name)
    });
    Ok(vec![step.watch()?, cargo_test(setup).arg("--doc").watch()?])
}

fn one(step: Step) -> Result<Vec<Outcome>> {
    Ok(vec![step.watch()?])
}

/// All binaries come from the one target folder; `--no-fail-fast` so that one run says all that is wrong.
fn cargo_test(setup: &Setup) -> Step {
    let step = Step::cargo("test")
        .args(["--workspace", "--no-fail-fast"])
        .env("MANTA_BIN", &setup.manta)
        .env("PYTHONPATH", &setup.python_path);
    // A test's error is a sentence; the frames of the test runner above it say nothing.
    let step = step.env("RUST_LIB_BACKTRACE", "0");
    match &setup.python {
        Some(python) => step.env("MANTA_TEST_PYTHON", python),
        None => step,
    }
}

/// The engine's own suite: needs nothing but the interpreter.
fn engine_suite(python: Python) -> Suite {
    suite(format!("engine-{}", python.version), Needs::Nothing, move |_| {
        let step = Step::new(&python.path).args([
            "-m",
            "unittest",
            "discover",
            "--start-directory",
            "adapter/python/tests",
        ]);
        one(step
            .args(["--top-level-directory", "adapter/python"])
            .env("PYTHONPATH", root().join("adapter/python")))
    })
}

fn api_suite(python: Python) -> Suite {
    suite(format!("python-{}", python.version), Needs::Everything, move |setup| {
        let step = Step::new(python.environment()?).args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "runtime/python/tests",
        ]);
        one(step.env("MANTA_BIN", &setup.manta).env("PYTHONPATH", &setup.python_path))
    })
}

fn random_suite(setup: &Setup) -> Result<Vec<Outcome>> {
    let python = setup.python.as_deref().expect("everything was set up");
    let options = ["--seeds".to_owned(), random::SEEDS_IN_TESTS.to_string()];
    one(random::step(&setup.manta, python, &setup.python_path, &options)?)
}

/// What compilers check in Rust: names, types, habits that are mistakes.
fn lint_python() -> Result<Vec<Outcome>> {
    let python = python::linters()?;
    let run = |words: &[&str]| Step::new(&python).arg("-m").args(words).watch();
    let types = ["mypy", "--config-file", "runtime/python/pyproject.toml", "--cache-dir", "target/mypy"];
    Ok(vec![
        run(&["ruff", "format", "--no-cache", "--check", "."])?,
        run(&["ruff", "check", "--no-cache", "."])?,
        run(&[&types[..], &["runtime/python/manta"]].concat())?,
        run(&[&types[..], &["adapter/python/manta_debug"]].concat())?,
    ])
}

fn extension() -> Result<Vec<Outcome>> {
    node::packages("vscode-extension")?;
    let folder = root().join("vscode-extension");
    let mut outcomes = vec![Step::new("npm").args(["run", "compile"]).folder(&folder).watch()?];
    outcomes.push(Step::new("npm").arg("test").folder(&folder).watch()?);
    let text = fs::read_to_string(folder.join("package.json"))?;
    if text.contains("\"package\":") {
        outcomes.push(Step::new("npm").args(["run", "package"]).folder(&folder).watch()?);
    }
    Ok(outcomes)
}
