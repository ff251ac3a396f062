//! Steps of a thread that waits in the kernel: whatever becomes of them, the thread lives.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{Agent, Build, Program};

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
