//! Storms: random histories of tasks, series, actors, streams and their arguments, while workers are killed, tasks are paused and
//! cancelled, and stored values are lost. Whatever happens, everything ends, and nothing stays behind.

use std::{collections::BTreeMap, time::Duration};

use manta_proto::{
    ids::{ActorId, NodeId, ObjectId, TaskId},
    v1::{TaskArgument, TaskPaused, TaskSpec, Value, node_to_process, task_argument},
};
use prost::Message;

use super::{
    super::{ACTOR_SLOT, Cancellation, Popped, Wait, WaiterId, objects::error_value},
    actors::{call_with, make_with},
    sim::{Random, Sim, Who, awaited, inline, stored},
};
use crate::SystemErrorKind;

const STORMS: u64 = 500;
const EVENTS: usize = 150;
const WORKERS: usize = 3;
const KILLS_MAX: usize = 4;
const ACTORS_MAX: usize = 2;
const UNLIMITED: u32 = u32::MAX;
/// Storms come to their end within so many milliseconds, or never.
const END_MILLIS: usize = 6000;

/// What a worker's thread is in.
struct Running {
    task: TaskSpec,
    slot: u32,
    paused: bool,
    /// A task that it has submitted and waits for.
    nested: Option<(ObjectId, WaiterId)>,
    /// Values that it has given, if it is to give any.
    given: u32,
}

impl Running {
    fn id(&self) -> TaskId {
        TaskId::try_from(&self.task.task_id).unwrap()
    }
}

struct Storm {
    sim: Sim,
    random: Random,
    refs: Vec<ObjectId>,
    running: BTreeMap<Who, Running>,
    hosts: Vec<Who>,
    actors: Vec<ActorId>,
    streams: Vec<TaskId>,
    waits: Vec<(WaiterId, ObjectId)>,
    kills: usize,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(WORKERS);
        sim.start_workers = true;
        sim.ends_workers = true;
        sim.loses = true;
        sim.random = Some(Random(seed ^ 0x5709_14e5));
        Self {
            sim,
            random: Random(seed),
            refs: Vec::new(),
            running: BTreeMap::new(),
            hosts: Vec::new(),
            actors: Vec::new(),
            streams: Vec::new(),
            waits: Vec::new(),
            kills: 0,
        }
    }

    fn event(&mut self) {
        match self.random.below(24) {
            0 | 1 => self.submit(),
            2 => self.submit_series(),
            3 | 4 => self.call(),
            5 => self.submit_stream(),
            6 => self.next_of_stream(),
            7 => self.drop_ref(),
            8..12 => self.take(),
            12 | 13 => self.finish(),
            14 => self.nest(),
            15 => self.pause(),
            16 if self.kills < KILLS_MAX && self.random.below(3) == 0 => self.kill(),
            17 => self.cancel(),
            18 => self.wait(),
            19 | 20 => self.sim.pass(Duration::from_micros(self.random.below(8_000) as u64)),
            _ => {
                for _ in 0..self.random.below(20) {
                    self.sim.step();
                }
            }
        }
    }

    fn retries(&mut self) -> u32 {
        [0, 1, 2, UNLIMITED, UNLIMITED][self.random.below(5)]
    }

    fn arguments(&mut self) -> Vec<ObjectId> {
        let count = if self.refs.is_empty() { 0 } else { self.random.below(3) };
        (0..count).map(|_| self.refs[self.random.below(self.refs.len())]).collect()
    }

    fn submit(&mut self) {
        let (arguments, retries) = (self.arguments(), self.retries());
        let object = self.sim.submit(0, "task", &arguments, retries);
        self.refs.push(object);
    }

    fn submit_series(&mut self) {
        for _ in 0..=self.random.below(8) {
            let value = Some(task_argument::Value::Inline(inline(&[7])));
            let argument = TaskArgument { keyword: String::new(), value };
            let spec = TaskSpec { arguments: vec![argument], ..TaskSpec::default() };
            let bytes = if self.random.below(2) == 0 { Vec::new() } else { spec.encode_to_vec() };
            self.refs.push(self.sim.submit_in_series(0, "task", &bytes, 1));
        }
        if self.random.below(4) == 0 {
            self.sim.close_series(0);
        }
    }

    fn call(&mut self) {
        let arguments = self.arguments();
        if self.actors.len() < ACTORS_MAX {
            let restarts = self.retries();
            let count = arguments.len().min(1);
            self.actors.push(make_with(&mut self.sim, 0, restarts, &arguments[..count]));
        }
        let actor = self.actors[self.random.below(self.actors.len())];
        let retries = self.retries();
        self.refs.push(call_with(&mut self.sim, 0, actor, "call", retries, &arguments));
    }

    fn submit_stream(&mut self) {
        let (arguments, retries) = (self.arguments(), self.retries());
        let submission = self.sim.submission(0, "stream", &arguments, retries);
        self.streams.push(submission.id);
        self.refs.push(ObjectId::of(submission.id, 0));
        self.sim.state(0).on_submit_stream(submission, false);
    }

    fn next_of_stream(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let stream = self.random.below(self.streams.len());
        let id = self.streams[stream];
        if self.random.below(8) == 0 {
            self.streams.swap_remove(stream);
            self.sim.state(0).on_stream_dropped(id);
        } else if let Some((object, _)) = self.sim.state(0).next_of_stream(id) {
            self.refs.push(object);
        }
    }

    fn drop_ref(&mut self) {
        if !self.refs.is_empty() {
            let object = self.refs.swap_remove(self.random.below(self.refs.len()));
            if self.waits.iter().any(|(_, waited)| *waited == object) {
                // Who waits holds a ref.
                return self.refs.push(object);
            }
            self.sim.state(0).on_ref_dropped(object);
        }
    }

    fn cancel(&mut self) {
        if !self.refs.is_empty() {
            let object = self.refs[self.random.below(self.refs.len())];
            let force = self.random.below(4) == 0 && !self.sim.state(0).is_call_of_actor(object.task());
            let address = self.sim.state(0).own_address(object);
            self.sim.state(0).on_cancel_request(address, Cancellation { force, recursive: true });
        }
    }

    /// The driver begins to wait for a value, which has to come to its node.
    fn wait(&mut self) {
        if !self.refs.is_empty() {
            let object = self.refs[self.random.below(self.refs.len())];
            if let Wait::Waiting(waiter, _) = self.sim.state(0).wait_for(&awaited(&[object]), 1, true, None) {
                self.waits.push((waiter, object));
            }
        }
    }

    /// A worker that is alive.
    fn worker(&mut self) -> Who {
        let processes = &self.sim.processes;
        let alive: Vec<Who> = (1..processes.len()).filter(|who| processes[*who].alive).collect();
        self.running.retain(|who, _| processes[*who].alive);
        alive[self.random.below(alive.len())]
    }

    fn take(&mut self) {
        let worker = self.worker();
        if self.running.contains_key(&worker) {
            return;
        }
        let (task, slot) = if self.hosts.contains(&worker) {
            let Popped::Task(call) = self.sim.state(worker).pop_call(0) else { return };
            (*call, ACTOR_SLOT)
        } else {
            let Some(task) = self.sim.take_now(worker) else { return };
            (task, 0)
        };
        let running = Running { task, slot, paused: false, nested: None, given: 0 };
        // What a thread has taken it may not find, though it was there.
        let first = running.task.arguments.iter().find_map(|argument| match &argument.value {
            Some(task_argument::Value::Inline(value)) => value.in_store.as_ref(),
            _ => None,
        });
        if let Some(place) = first.filter(|_| self.sim.loses && self.random.below(4) == 0) {
            let object = ObjectId::try_from(&place.object_id).unwrap();
            let spec = Box::new(running.task);
            self.sim.state(worker).on_argument_lost(slot, spec, object, "it is lost");
            return;
        }
        self.running.insert(worker, running);
    }

    fn value(&mut self, object: ObjectId, may_fail: bool) -> Value {
        match self.random.below(6) {
            0 => stored(object, NodeId([9; 16])),
            1 | 2 => stored(object, NodeId([8; 16])),
            3 if may_fail && self.random.below(3) == 0 => error_value(SystemErrorKind::Internal, "it failed"),
            _ => inline(b"value"),
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
        let Some(mut running) = self.running.remove(&worker) else { return };
        let id = running.id();
        if running.task.name == "stream" && running.given < 3 && self.random.below(4) > 0 {
            let value = self.value(ObjectId::of(id, running.given + 1), false);
            if self.sim.state(worker).on_yield(running.slot, id, running.given, value) {
                running.given += 1;
            }
            self.running.insert(worker, running);
            return;
        }
        if let Some((object, waiter)) = running.nested {
            self.sim.state(worker).end_wait(waiter, &awaited(&[object]));
            self.sim.state(worker).on_ref_dropped(object);
        }
        if running.task.creation.is_some() {
            self.sim.state(worker).on_finished(0, id, Vec::new(), false);
            self.hosts.push(worker);
            return;
        }
        let value = self.value(ObjectId::of(id, 0), true);
        if running.slot == ACTOR_SLOT {
            let failed = super::super::objects::is_error(&value);
            self.sim.state(worker).on_finished(ACTOR_SLOT, id, vec![value], failed);
        } else {
            self.sim.finish_now(worker, &running.task, value);
        }
    }

    /// A running task submits another and waits for it.
    fn nest(&mut self) {
        let worker = self.worker();
        let in_series = self.random.below(2) == 0;
        let can = |running: &&mut Running| {
            !running.paused && running.nested.is_none() && running.task.creation.is_none()
        };
        let Some(running) = self.running.get_mut(&worker).filter(can) else { return };
        let (id, slot) = (running.id(), running.slot);
        let object = if in_series {
            self.sim.submit_in_series(worker, "nested", &[], 5)
        } else {
            self.sim.submit(worker, "nested", &[], 5)
        };
        match self.sim.state(worker).wait_for(&awaited(&[object]), 1, true, Some((slot, id))) {
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
        self.sim.loses = false;
        for worker in self.running.keys().copied().collect::<Vec<_>>() {
            let running = self.running.get_mut(&worker).unwrap();
            if std::mem::take(&mut running.paused) {
                let message = TaskPaused { task_id: running.task.task_id.clone(), paused: false };
                self.sim.tell(worker, node_to_process::Message::TaskPaused(message));
            }
        }
        for _ in 0..END_MILLIS {
            self.worker();
            if self.running.is_empty() && self.sim.is_idle() {
                break;
            }
            self.sim.pass(Duration::from_millis(1));
            for _ in 0..WORKERS {
                self.take();
                self.finish();
            }
        }
        for object in self.refs.clone() {
            assert!(
                self.sim.value(0, object).is_some(),
                "a task never ended: {object}: {:#?}",
                self.sim.state(0).leftovers()
            );
        }
        assert!(self.running.is_empty());
        for (waiter, object) in std::mem::take(&mut self.waits) {
            assert!(self.sim.state(0).is_satisfied(waiter), "nobody woke who waits for {object}");
            self.sim.state(0).end_wait(waiter, &awaited(&[object]));
        }
        for stream in std::mem::take(&mut self.streams) {
            self.sim.state(0).on_stream_dropped(stream);
        }
        for actor in std::mem::take(&mut self.actors) {
            self.sim.state(0).on_actor_handle_dropped(actor);
        }
        let refs = std::mem::take(&mut self.refs);
        self.sim.assert_empty(0, &refs);
    }
}

#[test]
fn every_storm_ends_well() {
    let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = given("MANTA_TEST_SEED").unwrap_or(0);
    for seed in first..first + given("MANTA_TEST_STORMS").unwrap_or(STORMS) {
        let storm = std::panic::catch_unwind(|| {
            let mut storm = Storm::new(seed);
            (0..EVENTS).for_each(|_| storm.event());
            storm.end();
        });
        assert!(storm.is_ok(), "the storm of seed {seed} did not end well");
    }
}
