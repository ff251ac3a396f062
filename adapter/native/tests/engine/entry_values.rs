//! Arguments that optimized code has not kept, as the callers have passed them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Agent, Build, Program};
use serde_json::{Value, json};

#[test]
fn arguments_that_only_the_callers_know_are_shown() {
    for build in [Build::Optimized, Build::OptimizedDwarf5] {
        let mut program = Program::start("entry", build);
        let mut agent = Agent::attach(&program);
        agent.configure("entry", &[("entry", json!({}))]);
        program.go();
        let expected = [
            ["seed: u64 = 41", "count: u64 = 6"],
            // A multiple of five, in a register that the call preserves.
            ["seed: u64 = 15", "count: u64 = 7"],
            // The caller got it from its own caller.
            ["seed: u64 = 21", "count: u64 = 8"],
            ["seed: u64 = 22", "count: u64 = 8"],
            // The place in memory may hold another value by now.
            ["seed: u64 = <optimized out>", "count: u64 = 9"],
        ];
        for arguments in expected {
            let stop = agent.stopped();
            let locals = agent.locals(&stop);
            assert_eq!(locals[..2], arguments, "{:?}", agent.stack(&stop));
            if !arguments[0].contains('<') {
                assert_eq!(agent.evaluate(&stop, "seed > 14 && count < 9"), "true");
            }
            agent.go_on(&stop);
        }
        program.ends_well();
    }
}

/// Builds the program of which the compiler describes the calls.
fn described_calls(folder: &Path, version: &str) -> PathBuf {
    let file = folder.join(format!("entry-{version}"));
    let source = c_source();
    let built = Command::new("cc")
        .args(["-O2", "-g", &format!("-gdwarf-{version}"), "-o"])
        .args([&file, &source])
        .status()
        .expect("a C compiler, which Rust's linker is too");
    assert!(built.success());
    file
}

fn c_source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/c/entry.c")
}

#[test]
fn descriptions_of_calls_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(c_source()).unwrap();
    let line = text.lines().position(|line| line.ends_with("// @entry")).unwrap() + 1;
    for version in ["4", "5"] {
        let mut program = Program::start_file(&described_calls(folder.path(), version));
        let (mut agent, _) = Agent::attach_over_tcp(&program);
        let set = json!({"source": {"path": c_source()}, "breakpoints": [{"line": line}]});
        let body = agent.request("setBreakpoints", &set);
        assert_eq!(body["breakpoints"][0]["verified"], true, "{body}");
        agent.request("configurationDone", &json!({}));
        program.go();
        let stop = agent.event("stopped");
        let frames = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
        let top: Value = json!({"topFrame": frames["stackFrames"][0]});
        assert_eq!(frames["stackFrames"][0]["name"], "consume");
        let locals = agent.locals(&top);
        assert!(locals.contains(&"seed: long int = 16".to_owned()), "version {version}: {locals:?}");
        agent.request("continue", &json!({"threadId": stop["threadId"]}));
        assert_eq!(program.line(), "sum 32");
    }
}
