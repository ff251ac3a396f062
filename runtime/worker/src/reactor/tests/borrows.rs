//! Refs that travel: in arguments, in results, inside other values, to third processes and past their tasks.

use std::{collections::BTreeMap, time::Duration};

use manta_proto::{
    ids::{NodeId, ObjectId, TaskId},
    v1::{TaskArgument, TaskSpec, Value, task_argument},
};
use prost::Message;

use super::{
    super::{EncodedTask, Wait},
    sim::{Random, Sim, Who, awaited, inline, message, stored},
};
use crate::object_ref::RefAddress;

const HERE: NodeId = NodeId([9; 16]);
const HISTORIES: u64 = 400;
const EVENTS: usize = 120;

/// A value with refs inside, in the store or not.
fn with_refs(id: ObjectId, refs: &[RefAddress], in_store: bool) -> Value {
    let value = if in_store { stored(id, HERE) } else { inline(b"value") };
    Value { contained: refs.iter().map(|address| address.to_ref()).collect(), ..value }
}

fn put(sim: &mut Sim, who: Who, refs: &[RefAddress]) -> RefAddress {
    let id = ObjectId::of(TaskId::random(), ObjectId::FIRST_PUT);
    let state = sim.state(who);
    state.on_put(id, with_refs(id, refs, true));
    state.own_address(id)
}

/// Submits a task with refs inside its one argument.
fn submit(sim: &mut Sim, who: Who, refs: &[RefAddress]) -> RefAddress {
    let mut submission = sim.submission(who, "takes refs", &[], 3);
    let value = with_refs(ObjectId::of(submission.id, 0), refs, false);
    let argument = TaskArgument { keyword: String::new(), value: Some(task_argument::Value::Inline(value)) };
    let mut spec = TaskSpec::decode(submission.encoded.shared).unwrap();
    spec.arguments.push(argument);
    submission.encoded = EncodedTask { shared: spec.encode_to_vec().into(), ..EncodedTask::default() };
    submission.contained = refs.iter().map(|address| address.object).collect();
    let id = ObjectId::of(submission.id, 0);
    let state = sim.state(who);
    state.on_submit(submission);
    state.own_address(id)
}

/// What the thread of a task makes of its arguments: counted refs.
fn adopt(sim: &mut Sim, worker: Who, task: &TaskSpec) -> Vec<RefAddress> {
    let values = task.arguments.iter().filter_map(|argument| match &argument.value {
        Some(task_argument::Value::Inline(value)) => Some(value),
        _ => None,
    });
    let refs: Vec<_> = values.flat_map(|value| &value.contained).filter_map(RefAddress::from_ref).collect();
    refs.iter().for_each(|address| sim.state(worker).add_ref(*address));
    refs
}

fn result_of(task: &TaskSpec) -> ObjectId {
    ObjectId::of(TaskId::try_from(&task.task_id).unwrap(), 0)
}

/// The value, as a thread gets it: with counted refs for what is inside.
fn get(sim: &mut Sim, who: Who, id: ObjectId) -> (Value, Vec<RefAddress>) {
    if let Wait::Waiting(waiter, _) = sim.state(who).wait_for(&awaited(&[id]), 1, true, None) {
        sim.settle();
        assert!(sim.state(who).is_satisfied(waiter), "nobody answered");
        sim.state(who).end_wait(waiter, &awaited(&[id]));
    }
    let value = Value::clone(&sim.state(who).value(id).unwrap());
    let refs: Vec<_> = value.contained.iter().filter_map(RefAddress::from_ref).collect();
    refs.iter().for_each(|address| sim.state(who).add_ref(*address));
    (value, refs)
}

#[test]
fn what_a_task_does_not_keep_is_freed_with_the_last_ref_of_its_owner() {
    let mut sim = Sim::new(1);
    let object = put(&mut sim, 0, &[]);
    let result = submit(&mut sim, 0, &[object]);
    sim.state(0).on_ref_dropped(object.object);
    let task = sim.take(1).unwrap();
    assert_eq!(sim.freed, [], "the task has it");
    adopt(&mut sim, 1, &task);
    sim.state(1).on_ref_dropped(object.object);
    sim.finish(1, &task, inline(b""));
    assert_eq!(sim.freed, [object.object]);
    sim.assert_empty(0, &[result.object]);
}

#[test]
fn what_a_worker_keeps_past_its_task_lives_until_it_lets_go() {
    let mut sim = Sim::new(1);
    let object = put(&mut sim, 0, &[]);
    let result = submit(&mut sim, 0, &[object]);
    let task = sim.take(1).unwrap();
    adopt(&mut sim, 1, &task);
    sim.finish(1, &task, inline(b""));
    sim.state(0).on_ref_dropped(object.object);
    sim.pass(Duration::from_secs(5));
    assert_eq!(sim.freed, []);
    let (value, _) = get(&mut sim, 1, object.object);
    assert!(value.in_store.is_some());
    sim.state(1).on_ref_dropped(object.object);
    sim.settle();
    assert_eq!(sim.freed, [object.object]);
    sim.assert_empty(0, &[result.object]);
}

#[test]
fn a_task_returns_a_ref_of_its_own_object() {
    let mut sim = Sim::new(1);
    let result = sim.submit(0, "makes one", &[], 3);
    let task = sim.take(1).unwrap();
    let inner = put(&mut sim, 1, &[]);
    sim.finish(1, &task, with_refs(result, &[inner], false));
    sim.state(1).on_ref_dropped(inner.object);
    sim.settle();
    assert_eq!(sim.freed, [], "it is inside a value that lives");
    let (_, refs) = get(&mut sim, 0, result);
    sim.state(0).on_ref_dropped(result);
    assert!(get(&mut sim, 0, refs[0].object).0.in_store.is_some());
    assert_eq!(sim.freed, []);
    sim.assert_empty(0, &[inner.object]);
    assert_eq!(sim.freed, [inner.object]);
}

#[test]
fn a_ref_passed_on_to_a_third_process_outlives_those_between() {
    let mut sim = Sim::new(2);
    // The driver's object goes to worker 1, which passes it on to a task of its own, on worker 2, which keeps it.
    let object = put(&mut sim, 0, &[]);
    let first = submit(&mut sim, 0, &[object]);
    let outer = sim.take(1).unwrap();
    let refs = adopt(&mut sim, 1, &outer);
    let second = submit(&mut sim, 1, &refs);
    sim.settle();
    let inner = sim.take(2).unwrap();
    adopt(&mut sim, 2, &inner);
    sim.finish(2, &inner, inline(b""));
    sim.state(1).on_ref_dropped(object.object);
    sim.state(1).on_ref_dropped(second.object);
    sim.finish(1, &outer, inline(b""));
    sim.state(0).on_ref_dropped(object.object);
    sim.pass(Duration::from_secs(5));
    assert_eq!(sim.freed, [], "worker 2 has it");
    assert!(get(&mut sim, 2, object.object).0.in_store.is_some());
    sim.kill(2);
    sim.pass(Duration::from_secs(5));
    assert_eq!(sim.freed, [object.object], "a borrower that died is subtracted");
    sim.assert_empty(0, &[first.object]);
}

#[test]
fn an_answer_that_comes_too_late_frees_nothing() {
    let mut sim = Sim::new(1);
    let object = put(&mut sim, 0, &[]);
    sim.state(1).add_ref(object);
    let Wait::Waiting(waiter, _) = sim.state(1).wait_for(&awaited(&[object.object]), 1, true, None) else {
        panic!()
    };
    sim.state(1).end_wait(waiter, &awaited(&[object.object]));
    sim.state(1).on_ref_dropped(object.object);
    sim.settle();
    assert_eq!(sim.freed, [], "it is its owner's");
    sim.assert_empty(0, &[object.object]);
}

#[test]
fn a_long_chain_of_nested_refs_is_freed_without_recursion() {
    let mut sim = Sim::new(1);
    let mut last = put(&mut sim, 0, &[]);
    for _ in 0..20_000 {
        let next = put(&mut sim, 0, &[last]);
        sim.state(0).on_ref_dropped(last.object);
        last = next;
    }
    assert_eq!(sim.freed.len(), 0);
    sim.assert_empty(0, &[last.object]);
    assert_eq!(sim.freed.len(), 20_001);
}

#[test]
fn a_ref_from_where_nobody_counts_asks_its_owner() {
    let mut sim = Sim::new(1);
    let object = put(&mut sim, 0, &[]);
    sim.state(1).add_ref(object);
    sim.state(1).borrow_if_uncounted(object);
    sim.settle();
    sim.state(0).on_ref_dropped(object.object);
    sim.settle();
    assert_eq!(sim.freed, []);
    sim.state(1).on_ref_dropped(object.object);
    sim.settle();
    assert_eq!(sim.freed, [object.object]);
    sim.state(1).add_ref(object);
    sim.state(1).borrow_if_uncounted(object);
    sim.settle();
    let said = message(sim.value(1, object.object).as_ref());
    assert!(said.contains("no longer known to its owner"), "{said}");
    let value = sim.value(1, object.object).unwrap();
    let error = crate::SystemError::decode(&manta_object_store::layout::decode(&value.data).unwrap().inband);
    assert_eq!(error.kind, crate::SystemErrorKind::Forgotten);
    sim.state(1).on_ref_dropped(object.object);
    sim.assert_empty(0, &[]);
}

/// A random history: processes put values with refs inside, pass refs on, return, keep and drop them, and some die.
struct History {
    sim: Sim,
    random: Random,
    /// What the code of each process has: one count each.
    held: BTreeMap<Who, Vec<RefAddress>>,
    running: BTreeMap<Who, TaskSpec>,
    /// Objects in the order in which they were made: a value holds older ones alone, because counting frees no circle.
    made: BTreeMap<ObjectId, usize>,
    kills: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(3);
        sim.start_workers = true;
        sim.random = Some(Random(seed ^ 0xfeed));
        Self {
            sim,
            random: Random(seed),
            held: BTreeMap::new(),
            running: BTreeMap::new(),
            made: BTreeMap::new(),
            kills: 0,
        }
    }

    fn process(&mut self) -> Who {
        let alive: Vec<Who> =
            (0..self.sim.processes.len()).filter(|who| self.sim.processes[*who].alive).collect();
        alive[self.random.below(alive.len())]
    }

    /// A process in which code runs: the driver, or a worker with a task.
    fn busy(&mut self) -> Who {
        let who = self.process();
        if self.running.contains_key(&who) { who } else { 0 }
    }

    fn some_of(&mut self, who: Who) -> Vec<RefAddress> {
        let held = self.held.entry(who).or_default();
        if held.is_empty() {
            return Vec::new();
        }
        let count = self.random.below(3);
        (0..count).map(|_| held[self.random.below(held.len())]).collect()
    }

    fn keep(&mut self, who: Who, address: RefAddress) {
        let age = self.made.len();
        self.made.entry(address.object).or_insert(age);
        self.held.entry(who).or_default().push(address);
    }

    fn event(&mut self) {
        match self.random.below(12) {
            0 | 1 => {
                let who = self.busy();
                let refs = self.some_of(who);
                let address = put(&mut self.sim, who, &refs);
                self.keep(who, address);
            }
            2 | 3 => {
                let who = self.busy();
                let refs = self.some_of(who);
                let address = submit(&mut self.sim, who, &refs);
                self.keep(who, address);
            }
            4 | 5 => self.take(),
            6 => self.finish(),
            7 => {
                let who = self.busy();
                let held = self.held.entry(who).or_default();
                if !held.is_empty() {
                    let dropped = held.swap_remove(self.random.below(held.len()));
                    self.sim.state(who).on_ref_dropped(dropped.object);
                }
            }
            8 => self.open(),
            9 if self.kills < 2 && self.random.below(6) == 0 => self.kill(),
            9 => self.sim.pass(Duration::from_micros(self.random.below(8_000) as u64)),
            _ => {
                for _ in 0..self.random.below(20) {
                    self.sim.step();
                }
            }
        }
    }

    fn take(&mut self) {
        let who = self.process();
        if who == 0 || self.running.contains_key(&who) {
            return;
        }
        if let Some(task) = self.sim.take_now(who) {
            for address in adopt(&mut self.sim, who, &task) {
                self.keep(who, address);
            }
            self.running.insert(who, task);
        }
    }

    /// A task ends; it returns some of what its process has, and keeps or drops the rest, as an actor would or a function.
    fn finish(&mut self) {
        let who = self.process();
        let Some(task) = self.running.remove(&who) else { return };
        let mut refs = self.some_of(who);
        let age = self.made.get(&result_of(&task)).copied().unwrap_or(0);
        refs.retain(|address| self.made[&address.object] < age);
        let in_store = self.random.below(2) == 0;
        self.sim.finish_now(who, &task, with_refs(result_of(&task), &refs, in_store));
        if self.random.below(3) > 0 {
            for address in self.held.remove(&who).unwrap_or_default() {
                self.sim.state(who).on_ref_dropped(address.object);
            }
        }
    }

    /// Code looks into a value that is there, and keeps the refs inside.
    fn open(&mut self) {
        let who = self.busy();
        let held = self.held.entry(who).or_default();
        if held.is_empty() {
            return;
        }
        let id = held[self.random.below(held.len())].object;
        let waiting = self.sim.state(who).wait_for(&awaited(&[id]), 1, false, None);
        if let Wait::Waiting(waiter, _) = waiting {
            return self.sim.state(who).end_wait(waiter, &awaited(&[id]));
        }
        let (_, refs) = get(&mut self.sim, who, id);
        refs.into_iter().for_each(|address| self.keep(who, address));
    }

    fn kill(&mut self) {
        let who = self.process();
        if who == 0 {
            return;
        }
        self.kills += 1;
        self.running.remove(&who);
        self.held.remove(&who);
        self.sim.kill(who);
        self.sim.add_worker();
    }

    /// Every task ends; every ref that is still held can be read, unless its owner is dead; and then all is let go.
    fn end(&mut self) {
        for _ in 0..6000 {
            if self.running.is_empty() && self.sim.is_idle() {
                break;
            }
            self.sim.pass(Duration::from_millis(1));
            self.take();
            self.finish();
        }
        assert!(self.running.is_empty(), "a task never ended");
        self.sim.pass(Duration::from_secs(5));
        self.sim.random = None;
        let held = std::mem::take(&mut self.held);
        for (who, refs) in &held {
            for address in refs {
                let lives = |process: &super::sim::Process| {
                    process.alive && process.state.me.process == address.owner
                };
                if self.sim.processes.iter().any(lives) {
                    let freed = self.sim.freed.contains(&address.object);
                    assert!(!freed, "{address:?} of process {who} was freed");
                    let (value, inside) = get(&mut self.sim, *who, address.object);
                    inside.iter().for_each(|inner| self.sim.state(*who).on_ref_dropped(inner.object));
                    let is_error = super::super::objects::is_error(&value);
                    assert!(!is_error, "{address:?} of process {who}: {}", message(Some(&value)));
                }
            }
        }
        for (who, refs) in held {
            refs.into_iter().for_each(|address| self.sim.state(who).on_ref_dropped(address.object));
        }
        self.sim.assert_empty(0, &[]);
    }
}

#[test]
fn no_ref_that_is_held_is_lost_and_no_object_stays() {
    for seed in 0..HISTORIES {
        let history = std::panic::catch_unwind(|| {
            let mut history = History::new(seed);
            (0..EVENTS).for_each(|_| history.event());
            history.end();
        });
        assert!(history.is_ok(), "the history of seed {seed} did not end well");
    }
}
