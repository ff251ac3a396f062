//! Libraries that are loaded while the program runs.

use std::path::Path;

use crate::support::{Agent, Build, Program, at, line_of, plugin, source};
use serde_json::{Value, json};

const BUILDS: [Build; 2] = [Build::Plain, Build::Optimized];
/// Steps from 6 and from 7 to 1.
const RESULT: &str = "steps 8 16";

fn place(function: &str, mark: &str) -> String {
    format!("plugin::{function}:{}", line_of("plugin", mark))
}

/// Is the innermost frame of a stack there? The optimiser gives code that it moves the line of its neighbours.
fn assert_at(build: Build, stack: &[String], function: &str, mark: &str) {
    let wanted = if build == Build::Plain { place(function, mark) } else { format!("plugin::{function}:") };
    assert!(stack[0].starts_with(&wanted), "{stack:?} in place of {wanted}");
}

fn load(program: &mut Program, library: &Path) {
    program.say(&format!("load {}", library.display()));
    assert_eq!(program.line(), "loaded");
}

/// A program that has loaded nothing yet, with an agent.
fn started(build: Build) -> (Program, Agent) {
    let mut program = Program::start("plugins", build);
    let agent = Agent::attach(&program);
    program.go();
    (program, agent)
}

fn ends(mut program: Program) {
    program.say("end");
    program.ends_well();
}

#[test]
fn a_breakpoint_waits_for_its_library_and_stops_every_thread_there() {
    for build in BUILDS {
        let (mut program, mut agent) = started(build);
        let body = agent.configure("plugin", &[("half", json!({})), ("count", json!({}))]);
        for breakpoint in body["breakpoints"].as_array().unwrap() {
            assert_eq!((&breakpoint["verified"], &breakpoint["reason"]), (&json!(false), &json!("pending")));
        }
        load(&mut program, &plugin(build));
        for id in [1, 2] {
            let bound = agent.event("breakpoint");
            assert_eq!(bound["reason"], "changed");
            let bound = &bound["breakpoint"];
            assert_eq!((&bound["id"], &bound["verified"]), (&json!(id), &json!(true)), "{bound}");
        }
        program.say("call 6 7");
        let mut counts = 0;
        let mut halves = 0;
        // 6 is halved six times and 7 eleven times.
        while counts < 2 || halves < 17 {
            let stop = agent.stopped();
            let stack = agent.stack(&stop);
            if stop["hitBreakpointIds"] == json!([2]) {
                counts += 1;
                assert_at(build, &stack, "steps", "count");
                let name = stop["task"]["name"].as_str().unwrap();
                let steps = if name == "call-6" { "8" } else { "16" };
                if build == Build::Plain {
                    assert_eq!(agent.evaluate(&stop, "count"), steps, "{name}");
                }
            } else {
                halves += 1;
                assert!(stack[0].starts_with("plugin::halve:"), "{stack:?}");
                assert_eq!(stack[1], place("steps", "calls"));
            }
            // Through the library and back into the program.
            assert!(stack.iter().any(|frame| frame.starts_with("plugins::call:")), "{stack:?}");
            agent.go_on(&stop);
        }
        assert_eq!(program.line(), RESULT);
        ends(program);
    }
}

#[test]
fn a_function_of_a_library_calls_back_into_the_program() {
    for build in BUILDS {
        let (mut program, mut agent) = started(build);
        load(&mut program, &plugin(build));
        // The library is here already.
        let functions = json!([{"id": 1, "name": "plugin::halve"}, {"id": 2, "name": "steps"}]);
        let set = json!({"generation": 1, "sessionId": "00", "functionBreakpoints": functions});
        let body = agent.request("mantaConfigure", &set);
        for breakpoint in body["breakpoints"].as_array().unwrap() {
            assert_eq!(breakpoint["verified"], true, "{breakpoint}");
        }
        program.say("call 6");
        let stop = agent.stopped();
        assert!(agent.stack(&stop)[0].starts_with("plugin::steps:"), "{stop}");
        if build == Build::Plain {
            assert_eq!(agent.evaluate(&stop, "start"), "6");
        }
        agent.go_on(&stop);
        let stop = agent.stopped();
        assert!(agent.stack(&stop)[0].starts_with("plugin::halve:"), "{stop}");
        let body = agent.configure("plugins", &[("triple", json!({}))]);
        assert_eq!(body["breakpoints"][0]["verified"], true);
        agent.go_on(&stop);
        let stop = agent.stopped();
        let stack = agent.stack(&stop);
        assert_eq!(stack[0], format!("plugins::triple:{}", line_of("plugins", "triple")));
        assert_eq!(stack[1], place("steps", "calls"));
        assert!(stack[2].starts_with("plugins::call:"), "{stack:?}");
        // A step out of the program's function ends in the library.
        let back = agent.step("stepOut", &stop);
        assert!(at(&back).starts_with("plugin::steps:"), "{back}");
        agent.configure("plugins", &[]);
        agent.go_on(&back);
        assert_eq!(program.line(), "steps 8");
        ends(program);
    }
}

/// More lines than there are debug registers: some are patched, with their copies behind the library's code.
const MANY: [&str; 5] = ["start", "calls", "count", "half", "halved"];

fn many() -> Vec<(&'static str, Value)> {
    MANY.iter().map(|mark| (*mark, json!({}))).collect()
}

#[test]
fn a_library_comes_and_goes_and_comes_again() {
    for build in BUILDS {
        let (mut program, mut agent) = started(build);
        agent.configure("plugin", &many());
        for _ in 0..3 {
            load(&mut program, &plugin(build));
            for _ in MANY {
                assert_eq!(agent.event("breakpoint")["breakpoint"]["verified"], true);
            }
            program.say("call 8");
            let mut lines = Vec::new();
            // `start`, three times `calls`, `half` and `halved`, then `count`.
            for _ in 0..11 {
                let stop = agent.stopped();
                lines.push(stop["topFrame"]["line"].as_u64().unwrap());
                agent.go_on(&stop);
            }
            if build == Build::Plain {
                let turn = ["calls", "half", "halved"];
                let expected = ["start"].into_iter().chain(turn).chain(turn).chain(turn).chain(["count"]);
                let expected: Vec<u64> = expected.map(|mark| u64::from(line_of("plugin", mark))).collect();
                assert_eq!(lines, expected);
            }
            assert_eq!(program.line(), "steps 3");
            program.say("close");
            assert_eq!(program.line(), "closed 0");
            for _ in MANY {
                let gone = agent.event("breakpoint");
                let gone = &gone["breakpoint"];
                assert_eq!(
                    (&gone["verified"], &gone["reason"]),
                    (&json!(false), &json!("pending")),
                    "{gone}"
                );
            }
        }
        ends(program);
    }
}

#[test]
fn an_agent_that_is_killed_leaves_nothing_in_a_library() {
    for build in BUILDS {
        let (mut program, mut agent) = started(build);
        load(&mut program, &plugin(build));
        agent.configure("plugin", &many());
        program.say("call 6 7");
        let stop = agent.stopped();
        agent.go_on(&stop);
        agent.stopped();
        agent.kill();
        assert_eq!(program.line(), RESULT);
        // Unloaded while nobody watches; the next agent does not take what lies there for its predecessor's.
        program.say("close");
        assert_eq!(program.line(), "closed 0");
        load(&mut program, &plugin(build));
        let mut agent = Agent::attach(&program);
        let body = agent.configure("plugin", &many());
        assert!(body["breakpoints"].as_array().unwrap().iter().all(|own| own["verified"] == true), "{body}");
        program.say("call 1");
        for mark in ["start", "count"] {
            let stop = agent.stopped();
            assert_at(build, &agent.stack(&stop), "steps", mark);
            agent.go_on(&stop);
        }
        assert_eq!(program.line(), "steps 0");
        agent.close();
        program.say("call 6 7");
        assert_eq!(program.line(), RESULT);
        ends(program);
    }
}

#[test]
fn a_panic_in_a_library_stops_there() {
    for build in BUILDS {
        let (mut program, mut agent) = started(build);
        let set = json!({"generation": 1, "sessionId": "00", "exceptionFilters": ["panic"]});
        agent.request("mantaConfigure", &set);
        load(&mut program, &plugin(build));
        program.say("fail");
        let stop = agent.stopped();
        assert_eq!((&stop["reason"], &stop["text"]), (&json!("exception"), &json!("the library fails")));
        assert_eq!(stop["topFrame"]["line"], line_of("plugin", "fails"), "{stop}");
        agent.go_on(&stop);
        assert_eq!(program.line(), "failed true");
        ends(program);
    }
}

#[test]
fn an_ordinary_client_is_told_of_libraries() {
    let library = plugin(Build::Plain);
    let mut program = Program::start("plugins", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.request("attach", &json!({}));
    let lines =
        json!({"source": {"path": source("plugin")}, "breakpoints": [{"line": line_of("plugin", "start")}]});
    let set = agent.request("setBreakpoints", &lines);
    assert_eq!(set["breakpoints"][0]["verified"], false, "{set}");
    agent.request("configurationDone", &json!({}));
    program.go();
    load(&mut program, &library);
    let module = agent.event("module");
    assert_eq!(module["reason"], "new");
    assert_eq!(module["module"]["path"], library.to_str().unwrap());
    assert_eq!(module["module"]["symbolStatus"], "Debug information loaded");
    let bound = agent.event("breakpoint")["breakpoint"].clone();
    assert_eq!((&bound["id"], &bound["verified"]), (&set["breakpoints"][0]["id"], &json!(true)), "{bound}");
    assert_eq!(bound["source"]["path"], source("plugin").to_str().unwrap());
    let sources = agent.request("loadedSources", &json!({}));
    let sources = sources["sources"].as_array().unwrap();
    assert!(sources.iter().any(|own| own["path"] == source("plugin").to_str().unwrap()));
    program.say("close");
    assert_eq!(program.line(), "closed 0");
    let module = agent.event("module");
    assert_eq!((&module["reason"], &module["module"]["id"]), (&json!("removed"), &json!(library)));
    assert_eq!(agent.event("breakpoint")["breakpoint"]["verified"], false);
    agent.request("disconnect", &json!({}));
    ends(program);
}

#[test]
fn a_stack_leads_through_a_library_that_was_loaded_unseen() {
    let mut program = Program::start("plugins", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.request("attach", &json!({}));
    // No breakpoint: nobody watches the loader.
    agent.request("configurationDone", &json!({}));
    program.go();
    load(&mut program, &plugin(Build::Plain));
    let lines = json!({"source": {"path": source("plugins")}, "breakpoints": [{"line": line_of("plugins", "triple")}]});
    agent.request("setBreakpoints", &lines);
    program.say("call 7");
    let stop = agent.event("stopped");
    let stack = agent.stack(&stop);
    assert_eq!(stack[1], place("steps", "calls"));
    agent.request("disconnect", &json!({}));
    assert_eq!(program.line(), "steps 16");
    ends(program);
}

#[test]
fn a_branch_of_a_library_is_run_behind_its_code() {
    let mut program = Program::start("plugins", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.request("attach", &json!({}));
    // These take the debug registers.
    let mains = ["call", "triple", "main"]
        .map(|mark| json!({"line": line_of("plugins", mark), "condition": "1 == 2"}));
    let lines = json!({"source": {"path": source("plugins")}, "breakpoints": mains});
    agent.request("setBreakpoints", &lines);
    let lines =
        json!({"source": {"path": source("plugin")}, "breakpoints": [{"line": line_of("plugin", "start")}]});
    agent.request("setBreakpoints", &lines);
    agent.request("configurationDone", &json!({}));
    program.go();
    load(&mut program, &plugin(Build::Plain));
    program.say("call 4");
    let stop = agent.event("stopped");
    let stack = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
    let here = &stack["stackFrames"][0]["instructionPointerReference"];
    let code = agent.request("disassemble", &json!({"memoryReference": here, "instructionCount": 60}));
    let code = code["instructions"].as_array().unwrap();
    let is_branch = |own: &&Value| {
        let text = own["instruction"].as_str().unwrap();
        text.starts_with('j') && !text.starts_with("jmp")
    };
    let branch = code.iter().find(is_branch).expect("the loop has a branch");
    let set = agent.request(
        "setInstructionBreakpoints",
        &json!({"breakpoints": [{"instructionReference": branch["address"]}]}),
    );
    assert_eq!(set["breakpoints"][0]["verified"], true, "{set}");
    agent.go_on(&stop);
    // 4, 2 and 1.
    for _ in 0..3 {
        let stop = agent.event("stopped");
        assert_eq!(stop["reason"], "instruction breakpoint");
        agent.go_on(&stop);
    }
    assert_eq!(program.line(), "steps 2");
    agent.request("disconnect", &json!({}));
    ends(program);
}
