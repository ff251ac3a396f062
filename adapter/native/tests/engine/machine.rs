//! What lies under the lines: modules, files, memory, registers, instructions.

use crate::support::{Agent, Build, Program, line_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A fresh program whose first task is stopped at a line, and an ordinary client.
fn stopped(build: Build, mark: &str) -> (Program, Agent, Value) {
    let mut program = Program::start("tasks", build);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.request("attach", &json!({}));
    let source = json!({"path": crate::support::source("tasks")});
    let breakpoint = json!({"line": line_of("tasks", mark), "condition": "n == 1"});
    let set = agent.request("setBreakpoints", &json!({"source": source, "breakpoints": [breakpoint]}));
    assert_eq!(set["breakpoints"][0]["verified"], true, "{set}");
    program.go();
    let stop = agent.event("stopped");
    (program, agent, stop)
}

fn top(agent: &mut Agent, stop: &Value) -> Value {
    let body = agent.request("stackTrace", &json!({"threadId": stop["threadId"], "levels": 1}));
    body["stackFrames"][0].clone()
}

fn variable(agent: &mut Agent, reference: &Value, name: &str) -> Value {
    let body = agent.request("variables", &json!({"variablesReference": reference}));
    let all = body["variables"].as_array().unwrap();
    all.iter().find(|variable| variable["name"] == name).unwrap_or_else(|| panic!("{name} in {body}")).clone()
}

fn scope(agent: &mut Agent, frame: &Value, name: &str) -> Value {
    let body = agent.request("scopes", &json!({"frameId": frame["id"]}));
    let scopes = body["scopes"].as_array().unwrap();
    let found = scopes.iter().find(|scope| scope["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {body}"))["variablesReference"].clone()
}

/// The byte of code at a breakpoint.
fn before_at(agent: &mut Agent, breakpoint: &Value) -> String {
    let place = json!({"memoryReference": breakpoint["instructionReference"], "count": 1});
    agent.request("readMemory", &place)["data"].as_str().unwrap().to_owned()
}

#[test]
fn modules_and_files_are_listed() {
    let (_program, mut agent, _) = stopped(Build::Plain, "first");
    let body = agent.request("modules", &json!({}));
    let modules = body["modules"].as_array().unwrap();
    assert_eq!(body["totalModules"], modules.len());
    let own = modules.iter().find(|module| module["name"] == "tasks").unwrap();
    assert_eq!(own["symbolStatus"], "Debug information loaded");
    assert!(modules.iter().any(|module| module["name"].as_str().unwrap().starts_with("libc.so")), "{body}");
    let page = agent.request("modules", &json!({"startModule": 1, "moduleCount": 1}));
    assert_eq!(page["modules"][0], modules[1]);
    let sources = agent.request("loadedSources", &json!({}));
    let path = json!(crate::support::source("tasks"));
    assert!(sources["sources"].as_array().unwrap().iter().any(|source| source["path"] == path));
    assert!(sources["sources"][0].get("presentationHint").is_none(), "the user's own come first: {sources}");
}

#[test]
fn lines_with_code_are_told() {
    let (_program, mut agent, _) = stopped(Build::Plain, "first");
    let line = |mark| line_of("tasks", mark);
    let body = agent.request(
        "breakpointLocations",
        &json!({"source": {"path": crate::support::source("tasks")}, "line": line("leaf") - 2, "endLine": line("leaf") + 2}),
    );
    let lines: Vec<_> =
        body["breakpoints"].as_array().unwrap().iter().map(|own| own["line"].clone()).collect();
    // The line after the leaf has a closing brace only; the one before asks.
    assert!(lines.contains(&json!(line("leaf"))) && lines.contains(&json!(line("fib"))), "{lines:?}");
    assert!(!lines.contains(&json!(line("leaf") + 1)), "{lines:?}");
}

#[test]
fn memory_is_read_and_written_without_the_engines_patches() {
    let (program, mut agent, stop) = stopped(Build::Plain, "loop");
    let frame = top(&mut agent, &stop);
    let locals = scope(&mut agent, &frame, "Locals");
    let total = variable(&mut agent, &locals, "total");
    let place = total["memoryReference"].clone();
    let read = agent.request("readMemory", &json!({"memoryReference": place, "count": 8}));
    assert_eq!(STANDARD.decode(read["data"].as_str().unwrap()).unwrap(), 1u64.to_le_bytes());
    let seven = STANDARD.encode(7u64.to_le_bytes());
    agent.request("writeMemory", &json!({"memoryReference": place, "data": seven}));
    assert_eq!(variable(&mut agent, &locals, "total")["value"], "7");
    agent.request(
        "writeMemory",
        &json!({"memoryReference": place, "data": STANDARD.encode(1u64.to_le_bytes())}),
    );
    // Enough breakpoints that some are patched instructions.
    let source = json!({"path": crate::support::source("tasks")});
    let marks = ["s0", "s1", "s2", "s3", "s4", "s5"];
    let before: Vec<_> = {
        let body = agent.request(
            "disassemble",
            &json!({"memoryReference": frame["instructionPointerReference"],
            "instructionOffset": -200, "instructionCount": 400}),
        );
        body["instructions"].as_array().unwrap().iter().map(|own| own["instructionBytes"].clone()).collect()
    };
    let lines: Vec<_> =
        marks.iter().map(|mark| json!({"line": line_of("tasks", mark), "condition": "seed == 0"})).collect();
    let set = agent.request("setBreakpoints", &json!({"source": source, "breakpoints": lines}));
    let patched = set["breakpoints"].as_array().unwrap();
    assert!(patched.iter().all(|own| own["verified"] == true), "{set}");
    let after = agent.request(
        "disassemble",
        &json!({"memoryReference": frame["instructionPointerReference"],
        "instructionOffset": -200, "instructionCount": 400}),
    );
    let after: Vec<_> =
        after["instructions"].as_array().unwrap().iter().map(|own| own["instructionBytes"].clone()).collect();
    assert_eq!(before, after, "patches are not shown");
    // Some sit in debug registers, the others are patches. What is written is what is there.
    let mut refused = 0;
    for own in patched {
        let data = before_at(&mut agent, own);
        let write = json!({"memoryReference": own["instructionReference"], "data": data});
        let answer = agent.try_request("writeMemory", &write);
        if answer["success"] == false {
            assert!(answer["message"].as_str().unwrap().contains("breakpoint is set"), "{answer}");
            refused += 1;
        }
    }
    assert!(refused >= 3, "{refused} of six were patches");
    let nothing = agent.request("readMemory", &json!({"memoryReference": "0x10", "count": 4}));
    assert_eq!((&nothing["unreadableBytes"], nothing.get("data")), (&json!(4), None));
    agent.request("continue", &json!({"threadId": stop["threadId"]}));
    assert!(program.line().starts_with("results"));
}

#[test]
fn registers_are_shown_and_set() {
    let (_program, mut agent, stop) = stopped(Build::Optimized, "format");
    let frame = top(&mut agent, &stop);
    let registers = scope(&mut agent, &frame, "Registers");
    let rip = variable(&mut agent, &registers, "rip");
    assert_eq!(rip["value"], frame["instructionPointerReference"]);
    assert!(variable(&mut agent, &registers, "xmm15")["value"].as_str().unwrap().starts_with("0x"));
    let set = json!({"variablesReference": registers, "name": "r11", "value": "0x1234"});
    assert_eq!(agent.request("setVariable", &set)["value"], "0x1234");
    assert_eq!(variable(&mut agent, &registers, "r11")["value"], "0x1234");
    let refused = agent.try_request(
        "setVariable",
        &json!({"variablesReference": registers, "name": "r11", "value": "many"}),
    );
    assert!(refused["message"].as_str().unwrap().contains("not a number"), "{refused}");
    let outer = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
    let outer = outer["stackFrames"].as_array().unwrap().last().unwrap().clone();
    let registers = scope(&mut agent, &outer, "Registers");
    assert_eq!(variable(&mut agent, &registers, "rax")["value"], "<overwritten by a call>");
    let refused = agent
        .try_request("setVariable", &json!({"variablesReference": registers, "name": "rbx", "value": "1"}));
    assert!(refused["message"].as_str().unwrap().contains("innermost"), "{refused}");
}

#[test]
fn instructions_are_listed_with_lines_and_stepped() {
    for build in [Build::Plain, Build::Optimized] {
        let (program, mut agent, stop) = stopped(build, "loop");
        let frame = top(&mut agent, &stop);
        let here = frame["instructionPointerReference"].clone();
        let body = agent.request(
            "disassemble",
            &json!({"memoryReference": here, "instructionOffset": -3, "instructionCount": 10}),
        );
        let listed = body["instructions"].as_array().unwrap().clone();
        assert_eq!(listed.len(), 10);
        assert_eq!(listed[3]["address"], here);
        assert!(listed.iter().any(|own| own["line"] == line_of("tasks", "loop")), "{body}");
        assert!(listed[3]["symbol"].as_str().unwrap().starts_with("tasks::work"), "{body}");
        // One instruction further on; the next one in the list unless the code jumps or calls.
        agent.request("next", &json!({"threadId": stop["threadId"], "granularity": "instruction"}));
        let step = agent.event("stopped");
        assert_eq!(step["reason"], "step");
        let now = top(&mut agent, &step)["instructionPointerReference"].clone();
        let leads_on = !listed[3]["instruction"].as_str().unwrap().starts_with('j');
        assert!(now != here && (!leads_on || now == listed[4]["address"]), "{here} to {now} in {body}");
        let wanted = listed[3]["address"].clone();
        let set = agent.request(
            "setInstructionBreakpoints",
            &json!({"breakpoints": [{"instructionReference": wanted, "condition": "n == 1"}]}),
        );
        assert_eq!(
            (&set["breakpoints"][0]["verified"], &set["breakpoints"][0]["instructionReference"]),
            (&json!(true), &wanted)
        );
        agent.request(
            "setBreakpoints",
            &json!({"source": {"path": crate::support::source("tasks")}, "breakpoints": []}),
        );
        agent.request(
            "setInstructionBreakpoints",
            &json!({"breakpoints": [{"instructionReference": "0x10"}]}),
        );
        agent.request("continue", &json!({"threadId": stop["threadId"]}));
        assert!(program.line().starts_with("results"));
    }
}

#[test]
fn an_instruction_breakpoint_stops_and_one_inside_an_instruction_is_refused() {
    let (_program, mut agent, stop) = stopped(Build::Plain, "first");
    let body = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
    let caller =
        body["stackFrames"].as_array().unwrap().iter().find(|own| own["name"] == "tasks::run_task").unwrap();
    // Where the call returns to.
    let back = caller["instructionPointerReference"].clone();
    let list = agent.request("disassemble", &json!({"memoryReference": back, "instructionCount": 8}));
    let long = list["instructions"].as_array().unwrap().iter();
    let long = long.clone().find(|own| own["instructionBytes"].as_str().unwrap().len() > 5).unwrap();
    let set = agent.request(
        "setInstructionBreakpoints",
        &json!({"breakpoints": [
            {"instructionReference": back},
            {"instructionReference": long["address"], "offset": 1},
            {"instructionReference": "0x10"}]}),
    );
    let breakpoints = set["breakpoints"].as_array().unwrap();
    assert_eq!(breakpoints[0]["verified"], true, "{set}");
    assert!(breakpoints[1]["message"].as_str().unwrap().contains("in the middle of an instruction"), "{set}");
    assert!(breakpoints[2]["message"].as_str().unwrap().contains("No code"), "{set}");
    agent.request(
        "setBreakpoints",
        &json!({"source": {"path": crate::support::source("tasks")}, "breakpoints": []}),
    );
    agent.request("continue", &json!({"threadId": stop["threadId"]}));
    loop {
        let hit = agent.event("stopped");
        assert_eq!(hit["reason"], "instruction breakpoint");
        assert_eq!(top(&mut agent, &hit)["instructionPointerReference"], back);
        if hit["threadId"] == stop["threadId"] {
            return;
        }
    }
}
