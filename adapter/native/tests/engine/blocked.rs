//! Steps of a thread that waits in the kernel: whatever becomes of them, the thread lives.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::{Agent, Build, DEADLINE, Program, line_of, source};
use serde_json::{Value, json};

/// A program whose main thread waits for its input, paused there by an ordinary client.
fn paused_in_read() -> (Program, Agent, Value) {
    let program = Program::start("tasks", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    let stop = paused(&mut agent);
    (program, agent, stop)
}

fn paused(agent: &mut Agent) -> Value {
    agent.request("attach", &json!({}));
    agent.request("configurationDone", &json!({}));
    let threads = agent.request("threads", &json!({}));
    agent.request("pause", &json!({"threadId": threads["threads"][0]["id"]}));
    agent.event("stopped")
}

fn finishes(mut program: Program) {
    program.go();
    assert!(program.line().starts_with("results"));
    program.ends_well();
}

#[test]
fn a_breakpoint_behind_a_system_call_is_reached_when_the_call_is_over() {
    let (mut program, mut agent, stop) = paused_in_read();
    let stack = agent.request("stackTrace", &json!({"threadId": stop["threadId"]}));
    let behind = stack["stackFrames"][0]["instructionPointerReference"].clone();
    let set = |agent: &mut Agent, marks: &[&str]| {
        let breakpoints: Vec<_> = marks.iter().map(|mark| json!({"line": line_of("tasks", mark)})).collect();
        agent.request(
            "setBreakpoints",
            &json!({"source": {"path": source("tasks")}, "breakpoints": breakpoints}),
        );
    };
    // These have the debug registers, and the instruction behind the call is patched.
    set(&mut agent, &["s0", "s1", "s2"]);
    let arguments = json!({"breakpoints": [{"instructionReference": behind}]});
    agent.request("setInstructionBreakpoints", &arguments);
    agent.request("next", &json!({"threadId": stop["threadId"], "granularity": "instruction"}));
    // A debug register that changes interrupts the call, and so the step over it.
    set(&mut agent, &["s0", "s1", "s3"]);
    program.go();
    let stop = agent.event("stopped");
    assert_eq!(stop["reason"], "instruction breakpoint", "{stop}");
    set(&mut agent, &[]);
    agent.go_on(&stop);
    assert!(program.line().starts_with("results"));
    assert_eq!(agent.event("exited")["exitCode"], 0);
    program.ends_well();
}

/// A step by line, and one by a single instruction: that of the system call.
fn each_step(then: impl Fn(&mut Agent, &Value)) {
    for step in [json!({}), json!({"granularity": "instruction"})] {
        let (program, mut agent, stop) = paused_in_read();
        let mut arguments = step;
        arguments["threadId"] = stop["threadId"].clone();
        agent.request("next", &arguments);
        then(&mut agent, &stop);
        drop(agent);
        finishes(program);
    }
}

#[test]
fn a_client_says_goodbye_during_the_step() {
    each_step(|agent, _| {
        agent.request("disconnect", &json!({}));
    });
}

#[test]
fn the_thread_is_paused_during_the_step_and_runs_on() {
    each_step(|agent, stop| {
        agent.request("pause", &json!({"threadId": stop["threadId"]}));
        agent.event("stopped");
        agent.go_on(stop);
        agent.request("disconnect", &json!({}));
    });
}

#[test]
fn the_agent_is_killed_during_the_step() {
    each_step(|agent, _| agent.kill());
}

/// A program that knows nothing of any debugger, ended with the test.
struct Plain(Child);

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_program_without_the_guard_outlives_a_step_that_was_given_up() {
    for granularity in ["line", "instruction"] {
        let cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut cat = Plain(cat);
        let (mut agent, _) = Agent::attach_to(cat.0.id());
        let stop = paused(&mut agent);
        agent.request("next", &json!({"threadId": stop["threadId"], "granularity": granularity}));
        agent.request("disconnect", &json!({}));
        agent.close();
        writeln!(cat.0.stdin.take().unwrap(), "still here").unwrap();
        let mut line = String::new();
        BufReader::new(cat.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "still here\n");
        assert!(cat.0.wait().unwrap().success());
    }
}

#[test]
fn a_thread_that_is_moved_out_of_a_system_call_does_not_make_it_again() {
    let mut program = Program::start("syscall", Build::Plain);
    let (mut agent, _) = Agent::attach_over_tcp(&program);
    agent.request("attach", &json!({}));
    agent.request("configurationDone", &json!({}));
    program.go();
    assert_eq!(program.line(), "waits");
    // Nothing else in the program waits by then.
    let status = format!("/proc/{}/status", program.pid());
    let until = Instant::now() + DEADLINE;
    while !std::fs::read_to_string(&status).unwrap().contains("State:\tS") {
        assert!(Instant::now() < until, "the program waits in time");
        std::thread::yield_now();
    }
    let threads = agent.request("threads", &json!({}));
    agent.request("pause", &json!({"threadId": threads["threads"][0]["id"]}));
    let stop = agent.event("stopped");
    let stack = agent.request("stackTrace", &json!({"threadId": stop["threadId"], "levels": 1}));
    assert_eq!(stack["stackFrames"][0]["name"], "syscall::waits");
    let to = json!({"source": {"path": source("syscall")}, "line": line_of("syscall", "after")});
    let targets = agent.request("gotoTargets", &to);
    let target = &targets["targets"][0]["id"];
    agent.request("goto", &json!({"threadId": stop["threadId"], "targetId": target}));
    assert_eq!(agent.event("stopped")["reason"], "goto");
    agent.go_on(&stop);
    assert_eq!(program.line(), "turns 11");
    program.ends_well();
}
