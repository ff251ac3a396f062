//! Actors: the order of their calls, their ends and restarts, and callers that are not their owner.

use manta_proto::{
    ids::{ActorId, NodeId, ObjectId, TaskId},
    v1::{ActorCreation, TaskSpec, Value},
};
use prost::Message;

use super::{
    super::{ACTOR_SLOT, ActorAddress, ClassKey, ClassOf, EncodedTask, NewActor, Popped, Submission},
    sim::{Sim, Who, inline, message, stored},
};
use crate::{Language, Placement};

fn submission(id: TaskId, name: &str, spec: TaskSpec, num_returns: u32, max_retries: u32) -> Submission {
    let spec = TaskSpec { task_id: id.to_bytes(), name: name.into(), num_returns, ..spec };
    Submission {
        id,
        class: ClassOf::New(ClassKey {
            language: Language::Python,
            program: None,
            resources: [].into(),
            placement: Placement::default(),
            environment: None,
        }),
        function: None,
        name: name.into(),
        encoded: EncodedTask { shared: spec.encode_to_vec().into(), ..EncodedTask::default() },
        arguments: Vec::new(),
        stored: Vec::new(),
        contained: Vec::new(),
        num_returns,
        max_retries,
        retry_exceptions: false,
    }
}

/// Submits the making of an actor.
fn make(sim: &mut Sim, who: Who, max_restarts: u32) -> ActorId {
    make_with(sim, who, max_restarts, &[])
}

pub fn make_with(sim: &mut Sim, who: Who, max_restarts: u32, arguments: &[ObjectId]) -> ActorId {
    let id = ActorId(TaskId::random().0);
    let new = NewActor {
        id,
        class: "Counter".into(),
        max_restarts,
        detached: false,
        registered: false,
        held: Vec::new(),
    };
    let creation = Some(ActorCreation { group_limits: vec![1], ..ActorCreation::default() });
    let spec = TaskSpec { actor_id: id.to_bytes(), creation, ..TaskSpec::default() };
    let arguments = sim.refs(who, arguments);
    let submission = Submission { arguments, ..submission(TaskId(id.0), "Counter.__init__", spec, 0, 0) };
    sim.state(who).on_new_actor(new, submission);
    id
}

fn call(sim: &mut Sim, who: Who, actor: ActorId, name: &str, max_retries: u32) -> ObjectId {
    call_with(sim, who, actor, name, max_retries, &[])
}

pub fn call_with(
    sim: &mut Sim,
    who: Who,
    actor: ActorId,
    name: &str,
    max_retries: u32,
    arguments: &[ObjectId],
) -> ObjectId {
    let id = TaskId::random();
    let spec = TaskSpec { actor_id: actor.to_bytes(), ..TaskSpec::default() };
    let arguments = sim.refs(who, arguments);
    let submission = Submission { arguments, ..submission(id, name, spec, 1, max_retries) };
    sim.state(who).on_call(actor, submission, None).unwrap();
    ObjectId::of(id, 0)
}

/// Runs the creation task that a worker has got.
fn create(sim: &mut Sim, worker: Who) {
    let task = sim.take(worker).expect("the creation task has come");
    assert_eq!(task.name, "Counter.__init__");
    let id = TaskId::try_from(&task.task_id).unwrap();
    sim.state(worker).on_finished(0, id, Vec::new(), false);
    sim.settle();
}

fn take(sim: &mut Sim, worker: Who) -> Option<TaskSpec> {
    sim.settle();
    match sim.state(worker).pop_call(0) {
        Popped::Stretch(_) => panic!("calls are in no series"),
        Popped::Task(spec) => Some(*spec),
        Popped::Wait(_) => None,
        Popped::Exit(cause) => panic!("the worker was told to end: {cause}"),
    }
}

fn finish(sim: &mut Sim, worker: Who, call: &TaskSpec) {
    let id = TaskId::try_from(&call.task_id).unwrap();
    sim.state(worker).on_finished(ACTOR_SLOT, id, vec![inline(call.name.as_bytes())], false);
    sim.settle();
}

fn run_all(sim: &mut Sim, worker: Who) -> Vec<String> {
    let mut ran = Vec::new();
    while let Some(call) = take(sim, worker) {
        finish(sim, worker, &call);
        ran.push(call.name);
    }
    ran
}

fn drop_handle(sim: &mut Sim, who: Who, actor: ActorId) {
    sim.state(who).on_actor_handle_dropped(actor);
    sim.settle();
}

fn error(sim: &mut Sim, who: Who, object: ObjectId) -> String {
    let value: Option<Value> = sim.value(who, object);
    message(value.as_ref())
}

#[test]
fn calls_wait_for_the_actor_and_run_in_their_order() {
    let mut sim = Sim::new(1);
    let actor = make(&mut sim, 0, 0);
    let refs: Vec<_> = (0..3).map(|index| call(&mut sim, 0, actor, &format!("call {index}"), 0)).collect();
    create(&mut sim, 1);
    assert_eq!(run_all(&mut sim, 1), ["call 0", "call 1", "call 2"]);
    for (index, object) in refs.iter().enumerate() {
        assert_eq!(sim.value(0, *object), Some(inline(format!("call {index}").as_bytes())));
    }
    drop_handle(&mut sim, 0, actor);
    assert!(sim.state(0).leftovers().iter().all(|left| left.ends_with("objects")), "the actor has ended");
}

#[test]
fn a_call_without_retries_fails_with_the_end_of_the_worker() {
    let mut sim = Sim::new(1);
    let actor = make(&mut sim, 0, 0);
    create(&mut sim, 1);
    let (running, waiting) = (call(&mut sim, 0, actor, "running", 0), call(&mut sim, 0, actor, "waiting", 5));
    take(&mut sim, 1).unwrap();
    sim.kill(1);
    for object in [running, waiting] {
        let said = error(&mut sim, 0, object);
        assert!(said.contains("'Counter' is dead") && said.contains("signal 9"), "{said}");
    }
    let late = call(&mut sim, 0, actor, "late", 0);
    assert!(error(&mut sim, 0, late).contains("signal 9"));
}

#[test]
fn a_restart_runs_again_what_may_be_tried_again_and_in_its_order() {
    let mut sim = Sim::new(2);
    let actor = make(&mut sim, 0, 1);
    create(&mut sim, 1);
    let once = call(&mut sim, 0, actor, "once", 0);
    let again: Vec<_> = (0..3).map(|index| call(&mut sim, 0, actor, &format!("again {index}"), 1)).collect();
    take(&mut sim, 1).unwrap();
    sim.kill(1);
    let said = error(&mut sim, 0, once);
    assert!(said.contains("not available") && said.contains("signal 9"), "{said}");
    create(&mut sim, 2);
    assert_eq!(run_all(&mut sim, 2), ["again 0", "again 1", "again 2"]);
    for object in again {
        assert!(sim.value(0, object).is_some());
    }
    sim.kill(2);
    let late = call(&mut sim, 0, actor, "late", 1);
    assert!(error(&mut sim, 0, late).contains("is dead"), "its restarts are used up");
}

#[test]
fn another_process_finds_the_actor_and_follows_its_restart() {
    let mut sim = Sim::new(3);
    let actor = make(&mut sim, 0, 1);
    create(&mut sim, 1);
    let me = &sim.state(0).me;
    let address = ActorAddress { actor, owner: me.process, owner_node: me.node, detached: false };
    sim.state(3).add_actor_handle(address);
    let first = call(&mut sim, 3, actor, "first", 0);
    assert_eq!(run_all(&mut sim, 1), ["first"]);
    assert!(sim.value(3, first).is_some());
    sim.kill(1);
    sim.settle();
    let second = call(&mut sim, 3, actor, "second", 1);
    create(&mut sim, 2);
    assert_eq!(run_all(&mut sim, 2), ["second"]);
    assert!(sim.value(3, second).is_some());
    sim.state(0).on_kill_actor(actor, true);
    let third = call(&mut sim, 3, actor, "third", 1);
    // As its node does, because the lease came back as unusable.
    sim.settle();
    sim.kill(2);
    assert!(error(&mut sim, 3, third).contains("killed by kill()"));
}

#[test]
fn a_call_after_a_kill_that_restarts_is_for_the_next_worker() {
    let mut sim = Sim::new(2);
    let actor = make(&mut sim, 0, 1);
    create(&mut sim, 1);
    sim.state(0).on_kill_actor(actor, false);
    let after = call(&mut sim, 0, actor, "after", 1);
    sim.settle();
    assert!(run_all(&mut sim, 1).is_empty(), "its worker is about to end");
    sim.kill(1);
    create(&mut sim, 2);
    assert_eq!(run_all(&mut sim, 2), ["after"]);
    assert!(sim.value(0, after).is_some());
}

#[test]
fn an_actor_dies_with_its_owner() {
    let mut sim = Sim::new(3);
    let actor = make(&mut sim, 2, 5);
    let host = (1..=3).find(|worker| sim.take(*worker).is_some_and(|task| task.creation.is_some())).unwrap();
    sim.state(host).on_finished(0, TaskId(actor.0), Vec::new(), false);
    sim.settle();
    let me = &sim.state(2).me;
    let address = ActorAddress { actor, owner: me.process, owner_node: me.node, detached: false };
    sim.state(0).add_actor_handle(address);
    let first = call(&mut sim, 0, actor, "first", 0);
    run_all(&mut sim, host);
    assert!(sim.value(0, first).is_some());
    sim.kill(2);
    sim.settle();
    let second = call(&mut sim, 0, actor, "second", 0);
    assert!(error(&mut sim, 0, second).contains("the process that made it ended"));
}

const HERE: NodeId = NodeId([9; 16]);
const ELSEWHERE: NodeId = NodeId([8; 16]);

/// Runs a task whose result lies in the store of a node.
fn run_stored(sim: &mut Sim, worker: Who, node: NodeId) {
    let task = sim.take(worker).expect("a task was to come");
    assert_eq!(task.name, "make");
    let result = ObjectId::of(TaskId::try_from(&task.task_id).unwrap(), 0);
    sim.finish(worker, &task, stored(result, node));
}

#[test]
fn a_call_whose_argument_is_lost_has_it_made_again_and_keeps_its_place() {
    let mut sim = Sim::new(2);
    let actor = make(&mut sim, 0, 0);
    create(&mut sim, 1);
    let made = sim.submit(0, "make", &[], 5);
    run_stored(&mut sim, 2, ELSEWHERE);
    sim.pull_error = "node-2 is gone".into();
    let first = call_with(&mut sim, 0, actor, "first", 0, &[made, made]);
    let second = call(&mut sim, 0, actor, "second", 0);
    assert!(take(&mut sim, 1).is_none(), "the second waits for the first");
    run_stored(&mut sim, 2, HERE);
    assert_eq!(run_all(&mut sim, 1), ["first", "second"]);
    assert_eq!(sim.value(0, first), Some(inline(b"first")));
    assert_eq!(sim.value(0, second), Some(inline(b"second")));
}

#[test]
fn a_call_whose_argument_is_lost_for_good_says_why_and_lets_others_pass() {
    let mut sim = Sim::new(2);
    let actor = make(&mut sim, 0, 0);
    create(&mut sim, 1);
    let made = sim.submit(0, "make", &[], 0);
    run_stored(&mut sim, 2, ELSEWHERE);
    sim.pull_error = "node-2 is gone".into();
    let first = call_with(&mut sim, 0, actor, "first", 0, &[made]);
    let second = call(&mut sim, 0, actor, "second", 0);
    assert_eq!(run_all(&mut sim, 1), ["second"]);
    let said = error(&mut sim, 0, first);
    assert!(said.ends_with("the task 'make' has max_retries=0"), "{said}");
    assert_eq!(sim.value(0, second), Some(inline(b"second")));
}

#[test]
fn the_calls_of_others_pass_one_that_waits_for_its_argument() {
    let mut sim = Sim::new(3);
    let actor = make(&mut sim, 0, 0);
    create(&mut sim, 1);
    let made = sim.submit(0, "make", &[], 5);
    run_stored(&mut sim, 2, ELSEWHERE);
    sim.pull_error = "node-2 is gone".into();
    let waits = call_with(&mut sim, 0, actor, "waits", 0, &[made]);
    sim.settle();
    let me = &sim.state(0).me;
    let address = ActorAddress { actor, owner: me.process, owner_node: me.node, detached: false };
    sim.state(3).add_actor_handle(address);
    let passes = call(&mut sim, 3, actor, "passes", 0);
    assert_eq!(run_all(&mut sim, 1), ["passes"]);
    assert!(sim.value(3, passes).is_some());
    run_stored(&mut sim, 2, HERE);
    assert_eq!(run_all(&mut sim, 1), ["waits"]);
    assert_eq!(sim.value(0, waits), Some(inline(b"waits")));
}

#[test]
fn a_thread_that_does_not_find_an_argument_of_a_call_puts_it_back() {
    let mut sim = Sim::new(2);
    let actor = make(&mut sim, 0, 0);
    create(&mut sim, 1);
    let made = sim.submit(0, "make", &[], 5);
    run_stored(&mut sim, 2, HERE);
    let first = call_with(&mut sim, 0, actor, "first", 0, &[made]);
    let second = call(&mut sim, 0, actor, "second", 0);
    let taken = take(&mut sim, 1).unwrap();
    assert_eq!(taken.name, "first");
    sim.state(1).on_argument_lost(ACTOR_SLOT, Box::new(taken), made, "its file is gone");
    assert!(take(&mut sim, 1).is_none(), "the second waits for the first");
    run_stored(&mut sim, 2, HERE);
    assert_eq!(run_all(&mut sim, 1), ["first", "second"]);
    assert!(sim.value(0, first).is_some() && sim.value(0, second).is_some());
}

#[test]
fn calls_are_not_sent_while_an_argument_of_the_first_is_lost() {
    let mut sim = Sim::new(2);
    let made = sim.submit(0, "make", &[], 5);
    run_stored(&mut sim, 1, ELSEWHERE);
    let actor = make(&mut sim, 0, 0);
    let first = call_with(&mut sim, 0, actor, "first", 0, &[made]);
    let second = call(&mut sim, 0, actor, "second", 0);
    sim.settle();
    sim.lose(made);
    create(&mut sim, 2);
    assert!(take(&mut sim, 2).is_none(), "the argument is not there");
    run_stored(&mut sim, 1, HERE);
    assert_eq!(run_all(&mut sim, 2), ["first", "second"]);
    assert!(sim.value(0, first).is_some() && sim.value(0, second).is_some());
}

#[test]
fn an_actor_whose_constructor_has_lost_an_argument_is_made_when_it_is_there_again() {
    let mut sim = Sim::new(1);
    let made = sim.submit(0, "make", &[], 5);
    run_stored(&mut sim, 1, ELSEWHERE);
    sim.pull_error = "node-2 is gone".into();
    sim.pass(std::time::Duration::from_secs(1));
    let actor = make_with(&mut sim, 0, 0, &[made]);
    assert!(sim.take(1).is_none());
    sim.pass(std::time::Duration::from_secs(1));
    run_stored(&mut sim, 1, HERE);
    sim.pass(std::time::Duration::from_secs(1));
    create(&mut sim, 1);
    let object = call(&mut sim, 0, actor, "call", 0);
    assert_eq!(run_all(&mut sim, 1), ["call"]);
    assert!(sim.value(0, object).is_some());
}

/// Runs a call whose result lies in the store of a node.
fn run_stored_call(sim: &mut Sim, worker: Who, name: &str, node: NodeId) {
    let task = take(sim, worker).expect("a call was to come");
    assert_eq!(task.name, name);
    let id = TaskId::try_from(&task.task_id).unwrap();
    sim.state(worker).on_finished(ACTOR_SLOT, id, vec![stored(ObjectId::of(id, 0), node)], false);
    sim.settle();
}

#[test]
fn lost_results_of_calls_are_made_again_by_their_actor_and_in_their_order() {
    let mut sim = Sim::new(1);
    let actor = make(&mut sim, 0, 0);
    create(&mut sim, 1);
    let first = call(&mut sim, 0, actor, "first", 2);
    run_stored_call(&mut sim, 1, "first", ELSEWHERE);
    let second = call_with(&mut sim, 0, actor, "second", 2, &[first]);
    run_stored_call(&mut sim, 1, "second", ELSEWHERE);
    sim.state(0).on_ref_dropped(first);
    sim.settle();
    sim.lose(second);
    run_stored_call(&mut sim, 1, "first", HERE);
    run_stored_call(&mut sim, 1, "second", HERE);
    assert!(sim.state(0).is_ready(second, true));
    sim.state(0).on_ref_dropped(second);
    drop_handle(&mut sim, 0, actor);
    let left = sim.state(0).leftovers();
    assert!(!left.iter().any(|left| left.ends_with("kept") || left.ends_with("objects")), "{left:?}");
}

#[test]
fn a_call_that_waits_for_a_lost_result_of_one_before_does_not_hold_that_up() {
    let mut sim = Sim::new(1);
    let actor = make(&mut sim, 0, 0);
    create(&mut sim, 1);
    let before = call(&mut sim, 0, actor, "before", 2);
    run_stored_call(&mut sim, 1, "before", ELSEWHERE);
    let first = call_with(&mut sim, 0, actor, "first", 2, &[before]);
    run_stored_call(&mut sim, 1, "first", ELSEWHERE);
    sim.state(0).on_ref_dropped(before);
    sim.settle();
    sim.pull_error = "node-2 is gone".into();
    let waits = call_with(&mut sim, 0, actor, "waits", 0, &[first]);
    let behind = call(&mut sim, 0, actor, "behind", 0);
    sim.settle();
    run_stored_call(&mut sim, 1, "before", HERE);
    run_stored_call(&mut sim, 1, "first", HERE);
    assert_eq!(run_all(&mut sim, 1), ["waits", "behind"]);
    assert!(sim.value(0, waits).is_some() && sim.value(0, behind).is_some());
}

#[test]
fn a_lost_result_of_a_call_that_cannot_run_again_says_why() {
    let mut sim = Sim::new(1);
    let actor = make(&mut sim, 0, 0);
    create(&mut sim, 1);
    let never = call(&mut sim, 0, actor, "never", 0);
    run_stored_call(&mut sim, 1, "never", ELSEWHERE);
    let orphan = call(&mut sim, 0, actor, "orphan", 5);
    run_stored_call(&mut sim, 1, "orphan", ELSEWHERE);
    sim.lose(never);
    let said = error(&mut sim, 0, never);
    assert!(said.ends_with("the call 'never' has max_task_retries=0"), "{said}");
    sim.state(0).on_kill_actor(actor, true);
    sim.settle();
    sim.lose(orphan);
    let said = error(&mut sim, 0, orphan);
    assert!(said.ends_with("the actor of the call 'orphan' is gone"), "{said}");
}
