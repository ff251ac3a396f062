//! Programs of C and C++, which Rust programs link: their values and names.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Agent, Program};
use serde_json::{Value, json};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/c").join(name)
}

/// Builds a program, and stops it at a mark.
fn stopped(name: &str, options: &[&str], mark: &str) -> (tempfile::TempDir, Program, Agent, Value) {
    let folder = tempfile::tempdir().unwrap();
    let (file, source) = (folder.path().join("program"), source(name));
    let compiler = if name.ends_with(".c") { "cc" } else { "c++" };
    let built = Command::new(compiler).args(options).arg("-g").arg("-o").args([&file, &source]).status();
    assert!(built.expect("a compiler for C and C++").success());
    let text = std::fs::read_to_string(&source).unwrap();
    let wanted = format!("// @{mark}");
    let line = text.lines().position(|line| line.ends_with(&wanted)).unwrap() + 1;
    let mut program = Program::start_file(&file);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    let set = json!({"source": {"path": source}, "breakpoints": [{"line": line}]});
    agent.request("setBreakpoints", &set);
    agent.request("configurationDone", &json!({}));
    program.go();
    let stop = agent.event("stopped");
    let frames = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
    let top = json!({"topFrame": frames["stackFrames"][0], "threadId": stop["threadId"]});
    assert_eq!(top["topFrame"]["line"], line, "{top}");
    (folder, program, agent, top)
}

fn shown(agent: &mut Agent, stop: &Value, expected: &[(&str, &str)]) {
    for (expression, value) in expected {
        assert_eq!(agent.evaluate(stop, expression), *value, "{expression}");
    }
}

#[test]
fn values_of_c_are_what_they_are_in_c() {
    for options in [["-O0", "-gdwarf-4"], ["-O0", "-gdwarf-5"], ["-O2", "-gdwarf-5"]] {
        let (_folder, program, mut agent, stop) = stopped("values.c", &options, "look");
        let matrix = [("matrix", "[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]"), ("matrix[1][2]", "6.0")];
        shown(&mut agent, &stop, &matrix);
        shown(
            &mut agent,
            &stop,
            &[
                ("packed.mode", "5"),
                ("packed.change", "-3"),
                ("packed.level", "HIGH"),
                ("packed.rest", "70000"),
                ("packed.change + 1", "-2"),
                ("first.label", "\"12345678\""),
                ("last.label", "\"abc\""),
                ("nameless.x", "1"),
                ("wide", "2.5"),
            ],
        );
        let locals = agent.locals(&stop);
        let has = |wanted: &str| locals.iter().any(|own| own.starts_with(wanted));
        assert!(has("sum: count_t = "), "{locals:?}");
        assert!(has("apply: operation = "), "{locals:?}");
        assert!(
            has("packed: packed = packed { mode: 5, change: -3, level: HIGH, rest: 70000 }"),
            "{locals:?}"
        );
        let name = agent.evaluate(&stop, "first.name");
        assert!(name.starts_with("0x") && name.ends_with(" \"first\""), "{name}");
        // A field of bits is not written over with its neighbours.
        let locals = agent.locals_reference(&stop);
        let body = agent.request("variables", &json!({"variablesReference": locals}));
        let all = body["variables"].as_array().unwrap();
        let packed = all.iter().find(|own| own["name"] == "packed").unwrap()["variablesReference"].clone();
        let arguments = json!({"variablesReference": packed, "name": "mode", "value": "1"});
        let refused = agent.try_request("setVariable", &arguments);
        assert!(refused["message"].as_str().unwrap().contains("shares its bytes"), "{refused}");
        agent.request("continue", &json!({"threadId": stop["threadId"]}));
        assert_eq!(program.line(), "sum 5");
    }
}

#[test]
fn values_of_cpp_are_what_its_library_means() {
    let (_folder, _program, mut agent, stop) = stopped("values.cpp", &["-O0"], "look");
    let (name, text) = ("text", "\"a text that is too long to lie inside its own value\"");
    shown(
        &mut agent,
        &stop,
        &[
            (name, text),
            ("numbers", "[3, 1, 2]"),
            ("numbers[0] + 1", "4"),
            ("ages", r#"{"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 5, … 14 more}"#),
            ("some", "{1, 2, 3}"),
            ("circle.radius", "2.0"),
            ("circle.Shape.name", "\"circle\""),
            ("best", "3"),
        ],
    );
    let locals = agent.locals(&stop);
    for typed in [
        "text: string = ",
        "numbers: vector<int> = ",
        "ages: map<string, int> = ",
        "owned: unique_ptr<int> = ",
    ] {
        assert!(locals.iter().any(|own| own.starts_with(typed)), "{typed} {locals:?}");
    }
    let circle = locals.iter().find(|own| own.starts_with("circle: ")).unwrap();
    // What all circles share is no part of each.
    assert!(!circle.contains("made"), "{circle}");
    assert!(locals.iter().any(|own| own.starts_with("owned: ") && own.contains("= 0x")), "{locals:?}");
    let (_folder, _program, mut agent, stop) = stopped("values.cpp", &["-O0"], "operator");
    assert!(agent.stack(&stop)[0].starts_with("shapes::operator<<:"), "{:?}", agent.stack(&stop));
    let (_folder, _program, mut agent, stop) = stopped("values.cpp", &["-O0"], "template");
    assert!(agent.stack(&stop)[0].starts_with("shapes::largest:"), "{:?}", agent.stack(&stop));
    assert_eq!(agent.evaluate(&stop, "all"), "&[3, 1, 2]");
    let (_folder, _program, mut agent, stop) = stopped("values.cpp", &["-O0"], "constructor");
    assert!(agent.stack(&stop)[0].starts_with("shapes::Circle::Circle:"), "{:?}", agent.stack(&stop));
    // Calls that the optimiser has removed leave nothing in their caller.
    let (_folder, _program, mut agent, stop) = stopped("values.cpp", &["-O2"], "look");
    let locals = agent.locals(&stop);
    assert!(locals.iter().any(|own| own.starts_with("circle: ")), "{locals:?}");
    assert!(!locals.iter().any(|own| own.starts_with("this: ") || own.starts_with("all: ")), "{locals:?}");
}
