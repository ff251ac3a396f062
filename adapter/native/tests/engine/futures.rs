//! Async functions: suspended values, running frames, and the tasks of tokio's runtimes.

use crate::support::{Agent, Build, Program, at, line_of};
use serde_json::{Value, json};

/// Stops a fresh program at a mark.
fn stopped_at(name: &str, mark: &str, build: Build) -> (Program, Agent, Value) {
    let mut program = Program::start(name, build);
    let mut agent = Agent::attach(&program);
    agent.configure(name, &[(mark, json!({}))]);
    program.go();
    let stop = agent.stopped();
    (program, agent, stop)
}

/// Name and value of each part of what a variable's or scope's reference leads to.
fn parts(agent: &mut Agent, reference: &Value) -> Vec<(String, String, Value)> {
    let body = agent.request("variables", &json!({"variablesReference": reference}));
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let part = |own: &Value| (text(&own["name"]), text(&own["value"]), own["variablesReference"].clone());
    body["variables"].as_array().unwrap().iter().map(part).collect()
}

fn part(agent: &mut Agent, reference: &Value, name: &str) -> (String, Value) {
    let all = parts(agent, reference);
    let found = all.iter().find(|(own, ..)| own == name);
    let (_, value, reference) = found.unwrap_or_else(|| panic!("no {name} in {all:?}"));
    (value.clone(), reference.clone())
}

fn place(name: &str, mark: &str) -> String {
    format!("{name}.rs:{}", line_of(name, mark))
}

#[test]
fn suspended_futures_say_where_they_wait() {
    for build in [Build::Plain, Build::Dwarf5] {
        suspended_futures(build);
    }
}

fn suspended_futures(build: Build) {
    let (program, mut agent, stop) = stopped_at("futures", "look", build);
    let locals = agent.locals(&stop);
    let shown = |name: &str| {
        let line = locals.iter().find(|line| line.starts_with(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name} in {locals:?}")).clone()
    };
    assert_eq!(shown("fresh"), "fresh: async fn collect = futures::collect not started");
    let total = format!("futures::Store::total suspended at {}", place("futures", "total waits"));
    assert_eq!(
        shown("waiting"),
        format!("waiting: Pin<&mut async fn total> = {total}").replace("= f", "= &f")
    );
    assert!(shown("finished").ends_with("finished"), "{}", shown("finished"));
    let blocks = shown("blocks");
    assert!(blocks.contains("= [futures::look::{async_block#1} suspended at futures.rs:"), "{blocks}");

    let reference = json!(agent.locals_reference(&stop));
    let (_, waiting) = part(&mut agent, &reference, "waiting");
    let saved = parts(&mut agent, &waiting);
    let names: Vec<_> = saved.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["self", "more", "awaits"], "each saved variable once");
    let (collect, inner) = part(&mut agent, &waiting, "awaits");
    assert_eq!(collect, format!("futures::collect suspended at {}", place("futures", "collect waits")));
    assert_eq!(part(&mut agent, &inner, "keys").0, "[7]");
    let (fetch, inner) = part(&mut agent, &inner, "awaits");
    assert_eq!(fetch, format!("futures::fetch suspended at {}", place("futures", "fetch waits")));
    assert_eq!(part(&mut agent, &inner, "label").0, "\"key 7\"");
    assert_eq!(agent.evaluate(&stop, "waiting.awaits.awaits.doubled"), "14");

    // The task that was boxed without its type is found by its table of methods.
    let (_, blocks) = part(&mut agent, &reference, "blocks");
    let (_, block) = part(&mut agent, &blocks, "[0]");
    let (boxed, inner) = part(&mut agent, &block, "awaits");
    assert_eq!(boxed, format!("futures::collect suspended at {}", place("futures", "collect waits")));
    assert_eq!(part(&mut agent, &inner, "keys").0, "[8, 9]");
    agent.configure("futures", &[]);
    agent.go_on(&stop);
    assert_eq!(program.line(), "total 124");
}

#[test]
fn frames_of_async_functions_are_called_as_people_call_them() {
    let line = |mark| line_of("futures", mark);
    for build in [Build::Plain, Build::Dwarf5] {
        let mut program = Program::start("futures", build);
        let mut agent = Agent::attach(&program);
        agent.configure("futures", &[("fetch runs", json!({"condition": "doubled == 14"}))]);
        program.go();
        let stop = agent.stopped();
        assert_eq!(at(&stop), format!("futures::fetch:{}", line("fetch runs")));
        let stack = agent.stack(&stop);
        let own: Vec<_> = stack.iter().filter(|frame| frame.starts_with("futures::")).take(4).collect();
        assert_eq!(own[0], &format!("futures::fetch:{}", line("fetch runs")));
        assert_eq!(own[1], &format!("futures::collect:{}", line("collect waits")));
        assert_eq!(own[2], &format!("futures::Store::total:{}", line("total waits")));
        assert!(own[3].starts_with("futures::poll:"), "{stack:?}");
    }
}

#[test]
fn frames_of_async_functions_in_optimized_code_have_their_names() {
    let (_program, mut agent, stop) = stopped_at("futures", "fetch runs", Build::Optimized);
    assert_eq!(at(&stop), format!("futures::fetch:{}", line_of("futures", "fetch runs")));
    let stack = agent.stack(&stop);
    assert_eq!(stack[1], format!("futures::collect:{}", line_of("futures", "collect waits")));
}

#[test]
fn a_function_breakpoint_on_an_async_function_is_on_its_body() {
    let mut program = Program::start("futures", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    let body = agent.request("setFunctionBreakpoints", &json!({"breakpoints": [{"name": "futures::fetch"}]}));
    assert_eq!(body["breakpoints"][0]["verified"], true, "{body}");
    agent.request("configurationDone", &json!({}));
    program.go();
    let stop = agent.event("stopped");
    let frames = agent.request("stackTrace", &json!({"threadId": stop["threadId"], "levels": 2}));
    // Its body is polled by the one that awaits it; making it would be no poll.
    assert_eq!(frames["stackFrames"][0]["name"], "futures::fetch");
    let scopes = agent.request("scopes", &json!({"frameId": frames["stackFrames"][0]["id"]}));
    let names: Vec<_> = parts(&mut agent, &scopes["scopes"][0]["variablesReference"]);
    assert!(names.iter().any(|(name, ..)| name == "_task_context"), "{names:?}");
}

/// Scopes of the top frame, by name.
fn scopes(agent: &mut Agent, frame: &Value) -> Vec<(String, Value)> {
    let body = agent.request("scopes", &json!({"frameId": frame}));
    let scope = |own: &Value| (own["name"].as_str().unwrap().to_owned(), own["variablesReference"].clone());
    body["scopes"].as_array().unwrap().iter().map(scope).collect()
}

/// What is to be seen while the worker computes, in either kind of runtime.
fn tasks_are_listed(agent: &mut Agent, thread: &Value) {
    let trace = agent.request("stackTrace", &json!({"threadId": thread}));
    let frames = trace["stackFrames"].as_array().unwrap();
    assert_eq!(trace["totalFrames"], frames.len());
    assert_eq!(frames[0]["name"], "runtimes::compute");
    let line = |mark| json!(line_of("runtimes", mark));

    // The task's own async functions, then tokio's frames, folded.
    let named = |name: &str| frames.iter().filter(|own| own["name"] == name).collect::<Vec<_>>();
    assert_eq!(named("runtimes::step")[0]["line"], line("step"));
    assert_eq!(named("runtimes::worker")[0]["line"], line("works"));
    let tokio = |own: &&Value| own["name"].as_str().unwrap().starts_with("tokio::runtime::");
    let polls: Vec<_> = frames.iter().filter(tokio).collect();
    assert!(!polls.is_empty() && polls.iter().all(|own| own["presentationHint"] == "subtle"), "{polls:?}");

    // Behind them who waits for it.
    let label = frames.iter().position(|own| own["presentationHint"] == "label").expect("a label");
    let name = frames[label]["name"].as_str().unwrap();
    assert!(name.starts_with("awaited by task ") && name.ends_with(" runtimes::waits_for"), "{name}");
    let awaiter = &frames[label + 1];
    assert_eq!((&awaiter["name"], &awaiter["line"]), (&json!("runtimes::waits_for"), &line("joins")));
    let locals = scopes(agent, &awaiter["id"]);
    assert_eq!(part(agent, &locals[0].1, "reason").0, "\"because\"");
    let evaluate = |agent: &mut Agent, expression: &str| {
        agent.try_request("evaluate", &json!({"expression": expression, "frameId": awaiter["id"]}))
    };
    assert_eq!(evaluate(agent, "reason.len()")["body"]["result"], "7");
    assert!(evaluate(agent, "nobody")["message"].as_str().unwrap().contains("no variable"));
    assert!(scopes(agent, &frames[label]["id"]).is_empty());

    // The other tasks are a scope of the top frame.
    let all = scopes(agent, &frames[0]["id"]);
    let (_, tasks) = all.iter().find(|(name, _)| name == "Tokio tasks").expect("a scope of tasks").clone();
    let listed = parts(agent, &tasks);
    let of = |start: &str| {
        let found = listed.iter().find(|(_, value, _)| value.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {listed:?}")).clone()
    };
    assert_eq!(listed.len(), 4, "{listed:?}");
    let place = |mark| place("runtimes", mark);
    assert_eq!(of("runtimes::sleeper").1, format!("runtimes::sleeper: idle, waits at {}", place("sleeps")));
    assert_eq!(
        of("runtimes::waits_for").1,
        format!("runtimes::waits_for: idle, waits at {}", place("joins"))
    );
    assert_eq!(of("async fn worker").1, "async fn worker: it is the one that stopped");

    let limited = of("runtimes::limited");
    assert_eq!(limited.1, format!("runtimes::limited: idle, waits at {}", place("receives")));
    let chain = parts(agent, &limited.2);
    let chain: Vec<_> = chain.iter().map(|(name, value, _)| (name.as_str(), value.clone())).collect();
    assert_eq!(
        chain[2..],
        [
            ("runtimes::next_message", place("receives")),
            ("runtimes::reader", place("reads")),
            ("runtimes::limited", place("limits")),
        ]
    );
    assert_eq!(chain[1].0, "tokio::sync::mpsc::bounded::Receiver::recv");
    let reader = part(agent, &limited.2, "runtimes::reader");
    assert_eq!(part(agent, &reader.1, "sum").0, "6");
    let sleeper = part(agent, &of("runtimes::sleeper").2, "runtimes::sleeper");
    assert_eq!(part(agent, &sleeper.1, "note").0, "\"sleeps 3600\"");
    let joins = part(agent, &of("runtimes::waits_for").2, "awaits").0;
    assert_eq!(joins, format!("the end of {}", of("async fn worker").0));

    // A page of them.
    let page = agent
        .request("variables", &json!({"variablesReference": tasks, "start": 1, "count": 2}))["variables"]
        .take();
    assert_eq!(page.as_array().unwrap().len(), 2);
    assert_eq!(page[0]["name"], json!(listed[1].0));
}

#[test]
fn tokio_tasks_are_listed_with_what_each_waits_for() {
    for build in [Build::Plain, Build::Optimized, Build::Dwarf5] {
        let mut program = Program::start("runtimes", build);
        let (mut agent, _) = Agent::attach_over_tcp(&program);
        let path = crate::support::source("runtimes");
        agent.request(
            "setBreakpoints",
            &json!({"source": {"path": path}, "breakpoints": [{"line": line_of("runtimes", "compute")}]}),
        );
        agent.request("configurationDone", &json!({}));
        program.go();
        // A runtime of the thread that asks, then one with a thread of its own.
        for result in ["single 54", "many 54"] {
            let stop = agent.event("stopped");
            tasks_are_listed(&mut agent, &stop["threadId"]);
            agent.request("continue", &json!({"threadId": stop["threadId"]}));
            assert_eq!(program.line(), result);
        }
        let stop = agent.event("stopped");
        tasks_of_a_local_set_are_listed(&mut agent, &stop["threadId"]);
        agent.request("continue", &json!({"threadId": stop["threadId"]}));
        assert_eq!(program.line(), "local 9");
        program.ends_well();
    }
}

#[test]
fn a_future_that_is_dropped_does_not_come_to_the_line_where_it_waits() {
    for build in [Build::Plain, Build::Optimized] {
        let mut program = Program::start("runtimes", build);
        let (mut agent, _) = Agent::attach_over_tcp(&program);
        let path = crate::support::source("runtimes");
        let breakpoints = json!([{"line": line_of("runtimes", "sleeps")}]);
        agent.request("setBreakpoints", &json!({"source": {"path": path}, "breakpoints": breakpoints}));
        agent.request("configurationDone", &json!({}));
        program.go();
        // Each runtime has one, and so has the set of tasks. All are dropped while they wait.
        for _ in 0..3 {
            let stop = agent.event("stopped");
            let stack = agent.stack(&stop);
            assert!(stack[0].starts_with("runtimes::sleeper:"), "{stack:?}");
            agent.request("continue", &json!({"threadId": stop["threadId"]}));
        }
        for result in ["single 54", "many 54", "local 9"] {
            assert_eq!(program.line(), result);
        }
        program.ends_well();
    }
}

/// They belong to a set, and that to a thread; the thread's runtime does not know of them.
fn tasks_of_a_local_set_are_listed(agent: &mut Agent, thread: &Value) {
    let trace = agent.request("stackTrace", &json!({"threadId": thread, "levels": 1}));
    let all = scopes(agent, &trace["stackFrames"][0]["id"]);
    let (_, tasks) = all.iter().find(|(name, _)| name == "Tokio tasks").expect("a scope of tasks").clone();
    let listed = parts(agent, &tasks);
    let values: Vec<_> = listed.iter().map(|(_, value, _)| value.as_str()).collect();
    let sleeps = format!("runtimes::sleeper: idle, waits at {}", place("runtimes", "sleeps"));
    // What was aborted in the thread's runtime may not have been cleared away.
    for expected in [sleeps.as_str(), "async fn step: it is the one that stopped"] {
        assert!(values.contains(&expected), "no {expected} in {values:?}");
    }
}

#[test]
fn a_program_without_tokio_has_no_scope_of_tasks() {
    let (_program, mut agent, stop) = stopped_at("futures", "look", Build::Plain);
    let names: Vec<_> =
        scopes(&mut agent, &stop["topFrame"]["id"]).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Locals", "Registers"]);
}
