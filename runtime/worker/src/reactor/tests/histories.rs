//! Random histories: whatever happens in whatever order, every task ends, and nothing stays behind.

use std::{collections::BTreeMap, time::Duration};

use manta_proto::{
    ids::{NodeId, ObjectId, TaskId},
    v1::{TaskArgument, TaskPaused, TaskSpec, node_to_process, task_argument},
};
use prost::Message;

use super::{
    super::{Cancellation, Wait, WaiterId, objects::error_value},
    sim::{Random, Sim, Who, awaited, inline, stored},
};
use crate::SystemErrorKind;

const HISTORIES: u64 = 400;
const EVENTS: usize = 120;
const WORKERS: usize = 3;
const KILLS_MAX: usize = 3;

/// The encoded argument of a task of a series.
fn argument(byte: u8) -> Vec<u8> {
    let value = Some(task_argument::Value::Inline(inline(&[byte])));
    TaskSpec { arguments: vec![TaskArgument { keyword: String::new(), value }], ..TaskSpec::default() }
        .encode_to_vec()
}

/// A task that a worker's thread is in.
struct Running {
    task: TaskSpec,
    paused: bool,
    /// A task that it has submitted and waits for.
    nested: Option<(ObjectId, WaiterId)>,
}

struct History {
    sim: Sim,
    random: Random,
    refs: Vec<ObjectId>,
    running: BTreeMap<Who, Running>,
    kills: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(WORKERS);
        sim.start_workers = true;
        sim.random = Some(Random(seed ^ 0xdead_beef));
        Self { sim, random: Random(seed), refs: Vec::new(), running: BTreeMap::new(), kills: 0 }
    }

    fn event(&mut self) {
        match self.random.below(13) {
            0..3 => self.submit(),
            3 => self.drop_ref(),
            4..6 => self.take(),
            6 => self.finish(),
            7 => self.nest(),
            8 => self.pause(),
            9 if self.kills < KILLS_MAX && self.random.below(4) == 0 => self.kill(),
            9 | 10 => self.sim.pass(Duration::from_micros(self.random.below(8_000) as u64)),
            11 => self.cancel(),
            _ => {
                for _ in 0..self.random.below(20) {
                    self.sim.step();
                }
            }
        }
    }

    fn submit(&mut self) {
        if self.random.below(3) == 0 {
            for _ in 0..=self.random.below(8) {
                let bytes = if self.random.below(2) == 0 { &[][..] } else { &argument(7)[..] };
                self.refs.push(self.sim.submit_in_series(0, "task", bytes, 1));
            }
            if self.random.below(4) == 0 {
                self.sim.close_series(0);
            }
            return;
        }
        let mut arguments = Vec::new();
        if !self.refs.is_empty() {
            arguments
                .extend((0..self.random.below(3)).map(|_| self.refs[self.random.below(self.refs.len())]));
        }
        let retries = u32::try_from(self.random.below(3)).unwrap();
        let object = self.sim.submit(0, "task", &arguments, retries);
        self.refs.push(object);
    }

    fn drop_ref(&mut self) {
        if !self.refs.is_empty() {
            let object = self.refs.swap_remove(self.random.below(self.refs.len()));
            self.sim.state(0).on_ref_dropped(object);
        }
    }

    fn cancel(&mut self) {
        if !self.refs.is_empty() {
            let object = self.refs[self.random.below(self.refs.len())];
            let address = self.sim.state(0).own_address(object);
            self.sim.state(0).on_cancel_request(address, Cancellation { force: false, recursive: true });
        }
    }

    /// A worker that is alive.
    fn worker(&mut self) -> Who {
        let alive: Vec<Who> =
            (1..self.sim.processes.len()).filter(|who| self.sim.processes[*who].alive).collect();
        alive[self.random.below(alive.len())]
    }

    fn take(&mut self) {
        let worker = self.worker();
        if !self.running.contains_key(&worker)
            && let Some(task) = self.sim.take_now(worker)
        {
            self.running.insert(worker, Running { task, paused: false, nested: None });
        }
    }

    fn finish(&mut self) {
        let worker = self.worker();
        let ready = |running: &Running| {
            !running.paused
                && running
                    .nested
                    .is_none_or(|(_, waiter)| self.sim.processes[worker].state.is_satisfied(waiter))
        };
        if !self.running.get(&worker).is_some_and(ready) {
            return;
        }
        let Some(Running { task, nested, .. }) = self.running.remove(&worker) else { return };
        if let Some((object, waiter)) = nested {
            self.sim.state(worker).end_wait(waiter, &awaited(&[object]));
            self.sim.state(worker).on_ref_dropped(object);
        }
        let result = ObjectId::of(TaskId::try_from(&task.task_id).unwrap(), 0);
        let value = match self.random.below(5) {
            0 => stored(result, NodeId([9; 16])),
            1 => stored(result, NodeId([8; 16])),
            2 => error_value(SystemErrorKind::Internal, "it failed"),
            _ => inline(b"value"),
        };
        self.sim.finish_now(worker, &task, value);
    }

    /// A running task submits another and waits for it.
    fn nest(&mut self) {
        let worker = self.worker();
        let Some(running) =
            self.running.get_mut(&worker).filter(|running| !running.paused && running.nested.is_none())
        else {
            return;
        };
        let id = TaskId::try_from(&running.task.task_id).unwrap();
        let object = self.sim.submit(worker, "nested", &[], 5);
        match self.sim.state(worker).wait_for(&awaited(&[object]), 1, true, Some((0, id))) {
            Wait::Waiting(waiter, _) => running.nested = Some((object, waiter)),
            Wait::Done => panic!("nobody can have run it"),
        }
    }

    fn pause(&mut self) {
        let worker = self.worker();
        if let Some(running) = self.running.get_mut(&worker).filter(|running| running.nested.is_none()) {
            running.paused = !running.paused;
            let message = TaskPaused { task_id: running.task.task_id.clone(), paused: running.paused };
            self.sim.tell(worker, node_to_process::Message::TaskPaused(message));
        }
    }

    fn kill(&mut self) {
        let worker = self.worker();
        self.kills += 1;
        self.running.remove(&worker);
        self.sim.kill(worker);
        self.sim.add_worker();
    }

    /// Lets everything come to its end, and looks at what is left.
    fn end(&mut self) {
        for worker in self.running.keys().copied().collect::<Vec<_>>() {
            if self.running[&worker].paused {
                let running = self.running.get_mut(&worker).unwrap();
                running.paused = false;
                let message = TaskPaused { task_id: running.task.task_id.clone(), paused: false };
                self.sim.tell(worker, node_to_process::Message::TaskPaused(message));
            }
        }
        for _ in 0..4000 {
            if self.running.is_empty() && self.sim.is_idle() {
                break;
            }
            self.sim.pass(Duration::from_millis(1));
            self.take();
            self.finish();
        }
        for object in self.refs.clone() {
            assert!(
                self.sim.value(0, object).is_some(),
                "a task never ended: {:?}",
                self.sim.state(0).leftovers()
            );
        }
        assert!(self.running.is_empty());
        let refs = std::mem::take(&mut self.refs);
        self.sim.assert_empty(0, &refs);
    }
}

#[test]
fn every_random_history_ends_well() {
    for seed in 0..HISTORIES {
        let history = std::panic::catch_unwind(|| {
            let mut history = History::new(seed);
            (0..EVENTS).for_each(|_| history.event());
            history.end();
        });
        assert!(history.is_ok(), "the history of seed {seed} did not end well");
    }
}
