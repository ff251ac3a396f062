//! Data breakpoints on living programs.

use crate::support::{Agent, Build, Program, line_of};
use serde_json::{Value, json};

/// A program whose first task is stopped before its loop, under a session.
fn before_the_loop(build: Build) -> (Program, Agent, Value) {
    let mut program = Program::start("tasks", build);
    let mut agent = Agent::attach(&program);
    agent.configure("tasks", &[("loop", json!({"condition": "n == 1"}))]);
    program.go();
    let stop = agent.stopped();
    (program, agent, stop)
}

fn info(agent: &mut Agent, stop: &Value, name: &str) -> Value {
    let reference = agent.locals_reference(stop);
    agent.request("dataBreakpointInfo", &json!({"variablesReference": reference, "name": name}))
}

/// Sets data breakpoints only; they get the ids 1, 2, …
fn watch(agent: &mut Agent, generation: u64, places: &[Value]) -> Value {
    let numbered = places.iter().zip(1..).map(|(place, id)| {
        let mut place = place.clone();
        place["id"] = json!(id);
        place
    });
    let data: Vec<Value> = numbered.collect();
    let set = json!({"generation": generation, "sessionId": "00", "dataBreakpoints": data});
    agent.request("mantaConfigure", &set)
}

#[test]
fn a_watched_variable_stops_where_it_changes() {
    let (mut program, mut agent, stop) = before_the_loop(Build::Plain);
    let place = info(&mut agent, &stop, "total");
    assert_eq!(place["accessTypes"], json!(["write", "readWrite"]));
    let set = watch(&mut agent, 100, &[json!({"dataId": place["dataId"]})]);
    assert_eq!(set["breakpoints"][0]["verified"], true, "{set}");
    let mut stop = stop;
    // The first round adds 0: what is written there is the same, and that is no change.
    for change in ["0x1 has become 0x2", "0x2 has become 0x4"] {
        agent.go_on(&stop);
        stop = agent.stopped();
        assert_eq!((&stop["reason"], &stop["text"]), (&json!("data breakpoint"), &json!(change)));
        assert_eq!(stop["hitBreakpointIds"], json!([1]));
        assert_eq!(stop["topFrame"]["name"], "tasks::work");
    }
    // A step goes on as ever from such a stop.
    let stop = agent.step("next", &stop);
    assert_eq!(stop["topFrame"]["name"], "tasks::work");
    watch(&mut agent, 101, &[]);
    agent.go_on(&stop);
    assert!(program.line().starts_with("results"));
    program.ends_well();
}

#[test]
fn a_watched_variable_stops_where_it_is_read_if_that_is_wanted() {
    let (program, mut agent, stop) = before_the_loop(Build::Plain);
    let place = info(&mut agent, &stop, "total");
    let both = json!({"dataId": place["dataId"], "accessType": "readWrite", "hitCondition": "2"});
    watch(&mut agent, 100, &[both]);
    agent.go_on(&stop);
    let stop = agent.stopped();
    assert_eq!(stop["text"], "0x1 was read or written", "the second access writes the same number");
    watch(&mut agent, 101, &[]);
    agent.go_on(&stop);
    assert!(program.line().starts_with("results"));
}

#[test]
fn places_beyond_the_registers_are_refused_and_code_still_stops() {
    let (mut program, mut agent, stop) = before_the_loop(Build::Plain);
    let place = info(&mut agent, &stop, "total");
    let id = place["dataId"].as_str().unwrap();
    let (process, rest) = id.split_once(':').unwrap();
    let start = u64::from_str_radix(rest.split(':').next().unwrap().trim_start_matches("0x"), 16).unwrap();
    // Far below the stack pointer nobody writes.
    let unused =
        |index: u64| json!({"dataId": format!("{process}:{:#x}:8", (start & !7) - 0x8000 + index * 8)});
    let elsewhere = json!({"dataId": "1-1:0x7fff0000:8"});
    let places = [unused(0), unused(1), elsewhere, unused(2), unused(3), unused(4)];
    let numbered = places.iter().zip(10..).map(|(place, id)| json!({"id": id, "dataId": place["dataId"]}));
    let data: Vec<Value> = numbered.collect();
    let path = crate::support::source("tasks");
    let last = json!({"id": 1, "line": line_of("tasks", "last"), "condition": "n == 1"});
    let set = agent.request(
        "mantaConfigure",
        &json!({"generation": 100, "sessionId": "00", "dataBreakpoints": data, "sources": [
            {"source": {"path": path}, "paths": [path], "breakpoints": [last]}]}),
    );
    let breakpoints = set["breakpoints"].as_array().unwrap();
    let find = |id: i64| breakpoints.iter().find(|own| own["id"] == id).unwrap();
    for id in [1, 10, 11, 13] {
        assert_eq!(find(id)["verified"], true, "{set}");
    }
    assert_eq!((&find(12)["verified"], &find(12)["reason"]), (&json!(false), &json!("pending")));
    for id in [14, 15] {
        let refusal = find(id)["message"].as_str().unwrap();
        assert!(
            refusal.contains("four debug registers") && refusal.contains("remove a data breakpoint"),
            "{refusal}"
        );
    }
    agent.go_on(&stop);
    let stop = agent.stopped();
    assert_eq!(crate::support::at(&stop), format!("tasks::work:{}", line_of("tasks", "last")));
    agent.request("mantaConfigure", &json!({"generation": 101, "sessionId": "00"}));
    agent.go_on(&stop);
    assert!(program.line().starts_with("results"));
    program.ends_well();
}

#[test]
fn what_is_no_memory_cannot_be_watched() {
    let (_program, mut agent, stop) = before_the_loop(Build::Plain);
    for (name, reason) in [("name", "16 bytes"), ("nobody", "no such variable")] {
        let refused = info(&mut agent, &stop, name);
        assert_eq!(refused["dataId"], Value::Null);
        assert!(refused["description"].as_str().unwrap().contains(reason), "{refused}");
    }
    let by_expression = json!({"frameId": stop["topFrame"]["id"], "name": "total"});
    let place = agent.request("dataBreakpointInfo", &by_expression);
    assert_eq!(place["dataId"], info(&mut agent, &stop, "total")["dataId"]);
    let bad = agent.try_request(
        "mantaConfigure",
        &json!({"generation": 100, "sessionId": "00",
        "dataBreakpoints": [{"id": 1, "dataId": "anything"}]}),
    );
    assert!(bad["message"].as_str().unwrap().contains("no id that dataBreakpointInfo has given"), "{bad}");
}

#[test]
fn a_value_in_a_register_cannot_be_watched() {
    let mut program = Program::start("values", Build::Optimized);
    let mut agent = Agent::attach(&program);
    agent.configure("values", &[("note", json!({}))]);
    program.go();
    let stop = agent.stopped();
    let refused = info(&mut agent, &stop, "x");
    assert_eq!(refused["dataId"], Value::Null);
    assert!(refused["description"].as_str().unwrap().contains("register"), "{refused}");
}
