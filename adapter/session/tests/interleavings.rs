//! Random interleavings of a client, targets that answer late, stops, deaths and time: every request is answered exactly once, no answer
//! speaks of another task than the one that was asked about, and the protocol is kept throughout.

mod sim;

use std::{collections::BTreeMap, time::Duration};

use manta_session::{Event, TargetId, TaskId};
use proptest::prelude::*;
use serde_json::{Value, json};

use sim::{Sim, target::StepOutcome};

/// What a request asked about, to compare with its answer.
struct Asked {
    command: &'static str,
    /// The task that the thread or handle was seen to belong to.
    task: Option<String>,
}

struct Play {
    sim: Sim,
    asked: BTreeMap<i64, Asked>,
    /// Frames and references that the client has been given, with the task that they belong to.
    frames: Vec<(i64, String)>,
    references: Vec<(i64, String)>,
    threads: Vec<i64>,
    tasks_made: usize,
    breakpoint: i32,
}

impl Play {
    fn new() -> Self {
        let mut sim = Sim::attached(json!({"maxPaused": 4}));
        let breakpoint = sim.set_lines(&[10])[0];
        sim.holds_targets = true;
        Self {
            sim,
            asked: BTreeMap::new(),
            frames: Vec::new(),
            references: Vec::new(),
            threads: Vec::new(),
            tasks_made: 0,
            breakpoint,
        }
    }

    fn ask(&mut self, command: &'static str, arguments: Value, task: Option<String>) {
        let seq = self.sim.send(command, arguments);
        self.asked.insert(seq, Asked { command, task });
    }

    fn act(&mut self, action: u16) {
        let choice = usize::from(action / 16);
        match action % 16 {
            0 | 1 => self.stop(choice),
            2..=4 => self.deliver_to_target(),
            5..=7 => self.sim.deliver_from_target(),
            8 => self.sim.advance(Duration::from_millis(u64::from(action) % 200)),
            9 => {
                if let Some(&thread) = pick(&self.threads, choice) {
                    let levels = choice % 3 + 1;
                    self.ask("stackTrace", json!({"threadId": thread, "levels": levels}), None);
                }
            }
            10 => {
                if let Some((frame, task)) = pick(&self.frames, choice).cloned() {
                    self.ask("scopes", json!({"frameId": frame}), Some(task));
                }
            }
            11 => {
                if let Some((reference, task)) = pick(&self.references, choice).cloned() {
                    self.ask("variables", json!({"variablesReference": reference}), Some(task));
                }
            }
            12 | 13 => self.resume(choice),
            14 => self.ask("threads", json!({}), None),
            _ => self.disturb(choice),
        }
        self.look_at_inbox();
    }

    fn stop(&mut self, choice: usize) {
        let target = if choice.is_multiple_of(2) { "t1" } else { "t2" };
        let thread = (choice / 2 % 4) as i32;
        if self.sim.targets.get(target).is_none_or(|target| target.is_stopped(thread)) {
            return;
        }
        self.tasks_made += 1;
        self.sim.stop(target, thread, &format!("task-{}", self.tasks_made), &[self.breakpoint]);
    }

    fn deliver_to_target(&mut self) {
        if let Some((target, message)) = self.sim.to_targets.pop_front() {
            self.sim.deliver_to_target(&target, &message);
        }
    }

    fn resume(&mut self, choice: usize) {
        let Some(&thread) = pick(&self.threads, choice) else { return };
        let command = ["continue", "next", "stepIn", "stepOut"][choice % 4];
        for target in self.sim.targets.values_mut() {
            target.step = [StepOutcome::Stops, StepOutcome::Ends, StepOutcome::Runs][choice % 3];
        }
        self.ask(command, json!({"threadId": thread}), None);
    }

    fn disturb(&mut self, choice: usize) {
        match choice % 6 {
            0 => self.ask(
                "continue",
                json!({"threadId": self.threads.first().unwrap_or(&1), "singleThread": false}),
                None,
            ),
            1 => {
                if let Some(&seq) = pick(&self.asked.keys().copied().collect::<Vec<_>>(), choice) {
                    self.ask("cancel", json!({"requestId": seq}), None);
                }
            }
            2 => {
                self.sim.target_down("t2", "it was killed by signal 9 (SIGKILL)");
                self.sim.target_up("t2", "node-2");
            }
            4 => {
                let (target, task) = (["t1", "t2"][choice / 6 % 2], choice / 12 % (self.tasks_made + 1));
                self.sim.on(Event::TaskEnded {
                    target: TargetId::new(target),
                    task: TaskId::new(&format!("{task:0>32}")),
                });
            }
            3 => {
                let lines = [10, 10 + choice as i64];
                self.ask("setBreakpoints", sim::lines_in("/job/job.py", &lines), None);
            }
            _ => {
                if let Some(&thread) = pick(&self.threads, choice) {
                    self.ask("pause", json!({"threadId": thread}), None);
                }
            }
        }
    }

    /// Compares each answer with what was asked, and notes what the client was given.
    fn look_at_inbox(&mut self) {
        while let Some(message) = self.sim.inbox.pop_front() {
            if message["event"] == "stopped" {
                let thread = message["body"]["threadId"].as_i64().unwrap();
                self.threads.retain(|known| *known != thread);
                self.threads.push(thread);
            }
            let Some(seq) = message["request_seq"].as_i64() else { continue };
            let asked = self.asked.remove(&seq).expect("an answer to a request that waits");
            if message["success"] == false {
                assert_ne!(message["message"], "", "{message}");
                continue;
            }
            let body = &message["body"];
            match asked.command {
                "stackTrace" => {
                    for frame in body["stackFrames"].as_array().unwrap() {
                        let (task, _) = frame["name"].as_str().unwrap().split_once(' ').unwrap();
                        self.frames.push((frame["id"].as_i64().unwrap(), task.to_owned()));
                    }
                }
                "scopes" => {
                    let task = asked.task.unwrap();
                    let scope = &body["scopes"][0];
                    assert_eq!(scope["source"]["path"], format!("/remote/{task}.py"));
                    self.references.push((scope["variablesReference"].as_i64().unwrap(), task));
                }
                "variables" => assert_eq!(body["variables"][0]["value"], asked.task.unwrap()),
                _ => {}
            }
        }
    }

    /// All messages arrive, all deadlines pass.
    fn finish(mut self) {
        for _ in 0..3 {
            while !self.sim.to_targets.is_empty() || !self.sim.from_targets.is_empty() {
                self.deliver_to_target();
                self.sim.deliver_from_target();
                self.look_at_inbox();
            }
            self.sim.advance(Duration::from_secs(50));
            self.look_at_inbox();
        }
        let open: Vec<_> = self.asked.values().map(|asked| asked.command).collect();
        assert!(open.is_empty(), "never answered: {open:?}");
        let stopped: usize = self.sim.targets.values().map(|target| target.stopped_threads()).sum();
        assert_eq!(
            self.sim.threads().len(),
            stopped,
            "the list is what is paused, all of it and nothing else"
        );
        self.sim.on(Event::ClientGone);
        self.sim.finish();
    }
}

fn pick<T>(from: &[T], choice: usize) -> Option<&T> {
    // What is newest is of most interest.
    (!from.is_empty()).then(|| &from[from.len() - 1 - choice % from.len().min(8)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_loses_or_leaks(actions in proptest::collection::vec(any::<u16>(), 1..400)) {
        let mut play = Play::new();
        for action in actions {
            play.act(action);
        }
        play.finish();
    }
}
