//! Values that people meet in every program: errors, iterators, channels, guards, thread-local variables, and those of well-known
//! libraries. And what can be set.

use crate::support::{Agent, Build, Program};
use serde_json::{Value, json};

const BUILDS: [Build; 4] = [Build::Plain, Build::Dwarf5, Build::Optimized, Build::OptimizedDwarf5];

fn stopped(build: Build, mark: &str) -> (Program, Agent, Value) {
    let mut program = Program::start("crates", build);
    let mut agent = Agent::attach(&program);
    agent.configure("crates", &[(mark, json!({}))]);
    program.go();
    let stop = agent.stopped();
    (program, agent, stop)
}

/// What each of these variables or expressions is shown as, in every build. The optimiser leaves out what it does not need, and then it is
/// said that it is not there.
fn shown(mark: &str, expected: &[(&str, &str)]) {
    for (index, build) in BUILDS.into_iter().enumerate() {
        let is_optimized = matches!(build, Build::Optimized | Build::OptimizedDwarf5);
        let (_program, mut agent, stop) = stopped(build, mark);
        for (expression, value) in expected {
            let found = agent.evaluate(&stop, expression);
            let is_left_out =
                is_optimized && (found.contains("optimized out") || found.contains("there is no variable"));
            assert!(is_left_out || found == *value, "{expression} in build {index}: {found}");
        }
    }
}

#[test]
fn errors_of_the_system_say_their_code_kind_and_message() {
    shown(
        "errors",
        &[
            ("system", r#"Os { code: 2, kind: NotFound, message: "No such file or directory" }"#),
            ("kind", "Kind(WouldBlock)"),
            ("own", r#"Custom { kind: Other, error: "it is mine" }"#),
            (
                "message",
                r#"Error { kind: InvalidInput, message: "file name contained an unexpected NUL byte" }"#,
            ),
            ("failed", r#"Err(Os { code: 13, kind: PermissionDenied, message: "Permission denied" })"#),
        ],
    );
}

#[test]
fn iterators_are_what_they_have_left() {
    shown(
        "iterators",
        &[
            ("slice", "[2, 3, 4]"),
            ("owned", "[6]"),
            ("array", "[2, 3]"),
            ("letters", "\"éllo\""),
            ("drained", "[8, 9]"),
            ("units.len()", "2"),
            ("slice[1]", "3"),
            ("slice[1..]", "[3, 4]"),
        ],
    );
}

#[test]
fn channels_are_the_messages_that_wait() {
    shown(
        "channels",
        &[
            ("receiver", "[35, 36, 37, 38, 39]"),
            ("sender.len()", "5"),
            ("limited_receiver", r#"["b", "c", "d"]"#),
            ("limited", r#"["b", "c", "d"]"#),
            ("nothing", "[]"),
            ("tokio_receiver", "[35, 36, 37]"),
        ],
    );
}

#[test]
fn guards_are_what_they_guard() {
    shown(
        "locks",
        &[
            ("locked", "&[1]"),
            ("reads", "&7"),
            ("borrowed", "&\"text\""),
            ("changed", "&4"),
            ("async_locked", "&6"),
            ("lazy", "(not computed)"),
            ("forced", "4"),
        ],
    );
}

#[test]
fn thread_local_variables_are_those_of_the_frames_thread() {
    shown(
        "thread",
        &[
            ("COUNTER", "9"),
            ("COUNTER + 1", "10"),
            ("PLAIN", "5"),
            ("NAMES", r#"["me"]"#),
            ("NAMES[0].len()", "2"),
            ("TEXT", "\"x\""),
            ("UNUSED", "(not set in this thread)"),
            ("LAZY", "\"computed\""),
            ("NEVER", "(not computed)"),
        ],
    );
}

#[test]
fn values_of_other_libraries_read_as_people_think_of_them() {
    shown(
        "libraries",
        &[
            ("bytes", "[114, 97, 119]"),
            ("growing.len()", "2"),
            ("short", "[1, 2]"),
            ("long", "[1, 2, 3]"),
            ("ordered", r#"{"z": 1, "a": 2}"#),
            ("ordered[\"a\"]", "2"),
            ("ordered_set", "{3, 1}"),
            ("hashed", "{1: 'x'}"),
            ("document[\"list\"]", "[1, -2, 1.5, true, null]"),
            ("document[\"list\"][1] == -2", "true"),
            ("document[\"name\"]", "\"x\""),
            ("number", "7"),
            ("nothing", "null"),
        ],
    );
}

#[test]
fn a_range_is_a_part_of_a_list_or_a_text() {
    let (_program, mut agent, stop) = stopped(Build::Plain, "iterators");
    for (expression, value) in [
        ("numbers[1..3]", "[2, 3]"),
        ("numbers[..=1]", "[1, 2]"),
        ("numbers[2..][1]", "4"),
        ("numbers[..].len()", "4"),
        ("numbers[4..]", "[]"),
    ] {
        assert_eq!(agent.evaluate(&stop, expression), value, "{expression}");
    }
    let frame = stop["topFrame"]["id"].clone();
    let result = agent.request("evaluate", &json!({"expression": "numbers[1..3]", "frameId": frame}));
    assert_eq!(result["type"], "[i32]");
    let children = agent.request("variables", &json!({"variablesReference": result["variablesReference"]}));
    assert_eq!(children["variables"][1]["value"], "3");
    for (expression, reason) in [
        ("numbers[1..9]", "ends at 9, and there are 4 elements"),
        ("numbers[3..1]", "begins at 3 and ends at 1"),
        ("1..3", "stands in brackets"),
        ("numbers[..=]", "end of the range is missing"),
    ] {
        let refused = agent.try_request("evaluate", &json!({"expression": expression, "frameId": frame}));
        assert!(refused["message"].as_str().unwrap().contains(reason), "{expression}: {refused}");
    }
}

#[test]
fn what_holds_plain_values_is_set_and_the_rest_says_what_can_be() {
    let (program, mut agent, stop) = stopped(Build::Plain, "settable");
    let locals = agent.locals_reference(&stop);
    let mut set = |name: &str, value: &str| {
        let arguments = json!({"variablesReference": locals, "name": name, "value": value});
        agent.try_request("setVariable", &arguments)
    };
    for (name, value, shown) in [
        ("letter", "'\\n'", "'\\n'"),
        ("truth", "true", "true"),
        ("mode", "Mode::Fast", "Fast"),
        ("some", "None", "None"),
        ("some", "Some(0x10)", "Some(16)"),
        ("none", "Some(true)", "Some(true)"),
        ("nonzero", "None", "None"),
        ("nonzero", "Some(9)", "Some(9)"),
        ("shape", "Empty", "Empty"),
    ] {
        let answer = set(name, value);
        assert_eq!(answer["body"]["value"], shown, "{name} = {value}: {answer}");
    }
    for (name, value, reason) in [
        ("letter", "b", "a char is written as 'x'"),
        ("truth", "1", "it is true or false"),
        ("mode", "Middle", "which has Slow, Fast"),
        ("some", "5", "is no variant of Option<u32>, which has None, Some"),
        ("some", "Some", "write Some(…)"),
        ("some", "Some(-1)", "does not fit"),
        ("nonzero", "Some(0)", "0 is no value of"),
        ("boxed", "None", "would never be dropped"),
        ("named", "Empty", "would never be dropped"),
        ("shape", "Rect(1)", "set them one by one"),
        ("text", "\"new\"", "as Some(5) and None, can be set, and this is a String"),
    ] {
        let answer = set(name, value);
        let message = answer["message"].as_str().unwrap_or_else(|| panic!("{name} = {value}: {answer}"));
        assert!(message.contains(reason), "{name} = {value}: {message}");
    }
    agent.go_on(&stop);
    assert_eq!(program.line(), "'\\n' true 1 Some(16) Some(true) Some(9)");
    assert_eq!(program.line(), "Some(1) text true");
}
