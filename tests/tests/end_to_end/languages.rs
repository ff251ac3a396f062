//! Python calls Rust, and Rust calls Python.

use anyhow::{Context, Result, ensure};
use manta_tests::{Cluster, Driver, program};
use serde_json::{Value, json};

/// The last line of what a driver printed.
fn seen(driver: Driver) -> Result<Value> {
    let printed = driver.result()?;
    let line = printed.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("the driver printed {printed}"))
}

fn failure<'a>(seen: &'a Value, name: &str) -> Result<(&'a str, &'a str)> {
    let text = |index: usize| seen[name][index].as_str();
    text(0).zip(text(1)).with_context(|| format!("'{name}' did not fail: {}", seen[name]))
}

#[test]
fn python_calls_functions_and_actors_in_rust() -> Result<()> {
    let cluster = Cluster::start(1, 4)?;
    let binary = program::rust_fixture("cross_language")?.display().to_string();
    let seen = seen(Driver::python(&cluster, "cross_language", &[&binary])?)?;
    let report = json!({"total": 6, "longest": "word", "by_length": [[1, ["a"]], [4, ["long", "word"]]]});
    ensure!(seen["report"] == report, "{}", seen["report"]);
    ensure!(seen["bytes"] == json!([99, 98, 97]) && seen["large"] == true, "{seen}");
    ensure!(seen["refs"] == json!([6, 8, 20]) && seen["rust to python"] == 3, "{seen}");
    ensure!(seen["inside"] == "inside", "{seen}");
    ensure!(seen["sums"] == json!([11, 13, 16]) && seen["found"] == 20 && seen["itself"] == 25, "{seen}");
    ensure!(seen["python actor"] == 101 && seen["in a task"] == 26, "{seen}");

    let (kind, sentence) = failure(&seen, "panic")?;
    ensure!(
        kind == "CrossLanguageError"
            && sentence.contains("panicked at")
            && sentence.contains("on purpose: x")
    );
    ensure!(sentence.contains("cross_language::panics"), "no backtrace in {sentence}");
    let (kind, sentence) = failure(&seen, "error")?;
    ensure!(kind == "CrossLanguageError" && sentence.contains("invalid digit"), "{sentence}");
    ensure!(failure(&seen, "method")?.1.contains("as asked"));
    ensure!(
        failure(&seen, "unknown")?.1.contains("this binary has no task 'cross_language::nothing'"),
        "{seen}"
    );
    ensure!(failure(&seen, "no method")?.1.contains("has no method 'subtract'"), "{seen}");
    ensure!(failure(&seen, "wrong type")?.1.contains("argument 'number'"), "{seen}");
    let (kind, sentence) = failure(&seen, "opaque")?;
    ensure!(
        kind == "TypeError" && sentence.contains("at [1]") && sentence.contains("set"),
        "{kind}: {sentence}"
    );
    ensure!(failure(&seen, "no program")?.1.contains("binary="), "{seen}");
    let (kind, sentence) = failure(&seen, "stillborn")?;
    ensure!(kind == "ActorDiedError" && sentence.contains("-1 is no start"), "{kind}: {sentence}");
    ensure!(failure(&seen, "killed")?.0 == "ActorDiedError");
    cluster.stop()
}

#[test]
fn rust_calls_functions_and_actors_in_python() -> Result<()> {
    let cluster = Cluster::start(1, 4)?;
    let command = program::rust_with_python("cross_language", cluster.home())?;
    let seen = seen(Driver::start(manta_tests::on(&cluster, command), "cross_language")?)?;
    ensure!(seen["root"] == 4.0 && seen["of ref"] == 9 && seen["passed"] == 6, "{seen}");
    ensure!(seen["made"] == json!({"squares": [0, 1, 4, 9]}) && seen["bytes"] == json!(b"cba"), "{seen}");
    ensure!(seen["sums"] == json!([6, 8, 11]) && seen["elsewhere"] == 21 && seen["dead"] == true, "{seen}");
    let sentence = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    let raised = sentence("raised");
    ensure!(
        raised.contains("ValueError: on purpose, here") && raised.contains("cross_language.py"),
        "{raised}"
    );
    ensure!(sentence("unknown").contains("the module 'cross_language' has no 'nothing'"), "{seen}");
    let opaque = sentence("opaque");
    ensure!(opaque.contains("at ['a list'][0]") && opaque.contains("object"), "{opaque}");
    ensure!(sentence("method").contains("KeyError: 'a method'"), "{seen}");
    ensure!(sentence("stillborn").contains("because its constructor failed"), "{seen}");
    cluster.stop()
}
