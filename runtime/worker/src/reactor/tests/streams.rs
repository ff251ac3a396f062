//! Streaming tasks: values that come one by one.

use manta_proto::{
    ids::{NodeId, ObjectId, TaskId},
    v1::{TaskSpec, Value},
};

use super::{
    super::objects::error_value,
    sim::{Sim, inline, message, stored},
};
use crate::SystemErrorKind;

const HERE: NodeId = NodeId([9; 16]);
const ELSEWHERE: NodeId = NodeId([8; 16]);
const ENDED: &[u8] = b"ended";

fn submit(sim: &mut Sim, backpressure: bool, max_retries: u32) -> TaskId {
    let submission = sim.submission(0, "stream", &[], max_retries);
    let id = submission.id;
    sim.state(0).on_submit_stream(submission, backpressure);
    id
}

fn give(sim: &mut Sim, worker: usize, task: &TaskSpec, index: u32) -> bool {
    let id = TaskId::try_from(&task.task_id).unwrap();
    let sent = sim.state(worker).on_yield(0, id, index, value(index));
    sim.settle();
    sent
}

/// Gives a value that lies in the store of a node.
fn give_stored(sim: &mut Sim, worker: usize, task: &TaskSpec, index: u32, node: NodeId) {
    let id = TaskId::try_from(&task.task_id).unwrap();
    sim.state(worker).on_yield(0, id, index, stored(ObjectId::of(id, index + 1), node));
    sim.settle();
}

fn value(index: u32) -> Value {
    inline(&index.to_be_bytes())
}

fn next(sim: &mut Sim, id: TaskId) -> Option<(ObjectId, u32)> {
    let next = sim.state(0).next_of_stream(id);
    sim.settle();
    next
}

/// Drops the stream and its result, and sees that nothing stayed behind.
fn assert_empty(sim: &mut Sim, id: TaskId, refs: &[ObjectId]) {
    sim.state(0).on_stream_dropped(id);
    sim.assert_empty(0, &[&[ObjectId::of(id, 0)], refs].concat());
}

#[test]
fn values_are_there_before_the_end_whoever_is_first() {
    let mut sim = Sim::new(1);
    let id = submit(&mut sim, false, 0);
    let (early, _) = next(&mut sim, id).unwrap();
    let task = sim.take(1).unwrap();
    assert_eq!(sim.value(0, early), None);
    assert!(give(&mut sim, 1, &task, 0));
    assert!(give(&mut sim, 1, &task, 1));
    assert_eq!(sim.value(0, early), Some(value(0)));
    let (second, _) = next(&mut sim, id).unwrap();
    assert_eq!(sim.value(0, second), Some(value(1)));
    let (beyond, index) = next(&mut sim, id).unwrap();
    sim.finish(1, &task, inline(ENDED));
    assert!(sim.value(0, beyond).is_some(), "its waiter wakes");
    assert!(sim.state(0).is_past_stream(id, index));
    assert!(!sim.state(0).is_past_stream(id, 1));
    assert_eq!(next(&mut sim, id), None);
    assert_eq!(sim.value(0, ObjectId::of(id, 0)), Some(inline(ENDED)));
    assert_empty(&mut sim, id, &[early, second, beyond]);
}

#[test]
fn a_failure_is_the_last_value() {
    let mut sim = Sim::new(1);
    let id = submit(&mut sim, false, 0);
    let task = sim.take(1).unwrap();
    give(&mut sim, 1, &task, 0);
    let error = error_value(SystemErrorKind::Internal, "after the first");
    sim.finish(1, &task, error.clone());
    let (first, _) = next(&mut sim, id).unwrap();
    let (last, index) = next(&mut sim, id).unwrap();
    assert_eq!(sim.value(0, first), Some(value(0)));
    assert_eq!(sim.value(0, last), Some(error));
    assert!(!sim.state(0).is_past_stream(id, index));
    assert_eq!(next(&mut sim, id), None);
    assert_empty(&mut sim, id, &[first, last]);
}

#[test]
fn a_worker_that_dies_is_a_failure_too_and_says_how() {
    let mut sim = Sim::new(1);
    let id = submit(&mut sim, false, 0);
    let task = sim.take(1).unwrap();
    give(&mut sim, 1, &task, 0);
    sim.kill(1);
    let refs: Vec<_> = std::iter::from_fn(|| next(&mut sim, id)).map(|(object, _)| object).collect();
    assert_eq!(refs.len(), 2);
    assert!(message(sim.value(0, refs[1]).as_ref()).contains("SIGKILL"));
    assert_empty(&mut sim, id, &refs);
}

#[test]
fn the_second_attempt_gives_each_value_once() {
    let mut sim = Sim::new(2);
    let id = submit(&mut sim, false, 1);
    let task = sim.take(1).unwrap();
    give(&mut sim, 1, &task, 0);
    give(&mut sim, 1, &task, 1);
    let (first, _) = next(&mut sim, id).unwrap();
    sim.state(0).on_ref_dropped(first);
    sim.kill(1);
    let again = sim.take(2).unwrap();
    assert_eq!(again.attempt, 1);
    for index in 0..3 {
        give(&mut sim, 2, &again, index);
    }
    sim.finish(2, &again, inline(ENDED));
    let refs: Vec<_> = std::iter::from_fn(|| next(&mut sim, id)).map(|(object, _)| object).collect();
    let values: Vec<_> = refs.iter().map(|object| sim.value(0, *object)).collect();
    assert_eq!(values, [Some(value(1)), Some(value(2))]);
    assert_empty(&mut sim, id, &refs);
}

#[test]
fn a_full_stream_has_room_when_its_consumer_asks() {
    let mut sim = Sim::new(1);
    let id = submit(&mut sim, true, 0);
    let task = sim.take(1).unwrap();
    give(&mut sim, 1, &task, 0);
    assert!(sim.state(1).stream_has_no_room(id, 2).is_none());
    give(&mut sim, 1, &task, 1);
    assert!(sim.state(1).stream_has_no_room(id, 2).is_some());
    let (first, _) = next(&mut sim, id).unwrap();
    assert!(sim.state(1).stream_has_no_room(id, 2).is_none());
    give(&mut sim, 1, &task, 2);
    assert!(sim.state(1).stream_has_no_room(id, 2).is_some());
    sim.state(0).on_stream_dropped(id);
    sim.settle();
    assert!(sim.state(1).stream_has_no_room(id, 2).is_none(), "nobody is waited for any more");
    sim.finish(1, &task, inline(ENDED));
    sim.assert_empty(0, &[ObjectId::of(id, 0), first]);
}

#[test]
fn what_nobody_takes_is_let_go() {
    let mut sim = Sim::new(1);
    let id = submit(&mut sim, false, 0);
    let task = sim.take(1).unwrap();
    for index in 0..3 {
        give(&mut sim, 1, &task, index);
    }
    let (first, _) = next(&mut sim, id).unwrap();
    sim.state(0).on_stream_dropped(id);
    give(&mut sim, 1, &task, 3);
    sim.finish(1, &task, inline(ENDED));
    sim.assert_empty(0, &[ObjectId::of(id, 0), first]);
}

#[test]
fn what_was_asked_for_and_never_comes_is_over_with_its_task_also_when_the_consumer_is_gone() {
    let mut sim = Sim::new(1);
    let id = submit(&mut sim, false, 0);
    let refs: Vec<_> = (0..3).filter_map(|_| next(&mut sim, id)).map(|(object, _)| object).collect();
    sim.state(0).on_stream_dropped(id);
    // One of them is let go before it is known that it will not come.
    sim.state(0).on_ref_dropped(refs[2]);
    let task = sim.take(1).unwrap();
    give(&mut sim, 1, &task, 0);
    assert_eq!((sim.value(0, refs[0]), sim.value(0, refs[1])), (Some(value(0)), None));
    sim.finish(1, &task, inline(ENDED));
    assert!(message(sim.value(0, refs[1]).as_ref()).contains("no further value"));
    sim.assert_empty(0, &[ObjectId::of(id, 0), refs[0], refs[1]]);
}

/// A stream of three values that lie elsewhere, all taken, whose task has ended.
fn ended_elsewhere(sim: &mut Sim, max_retries: u32) -> (TaskId, Vec<ObjectId>) {
    let id = submit(sim, false, max_retries);
    let task = sim.take(1).unwrap();
    (0..3).for_each(|index| give_stored(sim, 1, &task, index, ELSEWHERE));
    sim.finish(1, &task, inline(ENDED));
    let refs: Vec<_> = std::iter::from_fn(|| next(sim, id)).map(|(object, _)| object).collect();
    assert_eq!(refs.len(), 3);
    (id, refs)
}

#[test]
fn a_lost_value_is_given_again_by_the_whole_task() {
    let mut sim = Sim::new(1);
    let (id, refs) = ended_elsewhere(&mut sim, 1);
    sim.lose(refs[1]);
    let again = sim.take(1).expect("it runs again");
    assert_eq!(again.attempt, 1);
    (0..3).for_each(|index| give_stored(&mut sim, 1, &again, index, HERE));
    sim.finish(1, &again, inline(ENDED));
    assert!(refs.iter().all(|object| sim.state(0).is_ready(*object, true)));
    assert_eq!(next(&mut sim, id), None, "the stream has ended as before");
    assert_empty(&mut sim, id, &refs);
}

#[test]
fn what_a_task_gives_beyond_its_end_of_before_is_let_go() {
    let mut sim = Sim::new(1);
    let (id, refs) = ended_elsewhere(&mut sim, 1);
    sim.lose(refs[1]);
    let again = sim.take(1).unwrap();
    (0..5).for_each(|index| give_stored(&mut sim, 1, &again, index, HERE));
    sim.finish(1, &again, inline(ENDED));
    assert_eq!(next(&mut sim, id), None, "the stream has ended as before");
    assert_empty(&mut sim, id, &refs);
}

#[test]
fn a_lost_value_that_does_not_come_again_says_so() {
    let mut sim = Sim::new(1);
    let (id, refs) = ended_elsewhere(&mut sim, 1);
    sim.state(0).on_stream_dropped(id);
    sim.lose(refs[2]);
    let again = sim.take(1).unwrap();
    give_stored(&mut sim, 1, &again, 0, HERE);
    sim.finish(1, &again, inline(ENDED));
    let said = message(sim.value(0, refs[2]).as_ref());
    assert!(said.ends_with("gave only 1 values when it ran again, not the 3 of before"), "{said}");
    assert_empty(&mut sim, id, &refs);
}

#[test]
fn a_task_that_fails_when_it_runs_again_fails_what_was_lost_alone() {
    let mut sim = Sim::new(1);
    let (id, refs) = ended_elsewhere(&mut sim, 1);
    sim.lose(refs[0]);
    let again = sim.take(1).unwrap();
    let error = error_value(SystemErrorKind::Internal, "this time");
    sim.finish(1, &again, error.clone());
    assert_eq!(sim.value(0, refs[0]), Some(error));
    assert!(sim.value(0, refs[1]).is_some_and(|value| value.in_store.is_some()));
    assert_eq!(next(&mut sim, id), None);
    assert_empty(&mut sim, id, &refs);
}

#[test]
fn a_value_that_is_lost_before_the_second_attempt_gave_it_is_waited_for() {
    let mut sim = Sim::new(2);
    let id = submit(&mut sim, false, 1);
    let task = sim.take(1).unwrap();
    give_stored(&mut sim, 1, &task, 0, ELSEWHERE);
    sim.kill(1);
    let (first, _) = next(&mut sim, id).unwrap();
    let again = sim.take(2).unwrap();
    sim.lose(first);
    assert_eq!(sim.value(0, first), None);
    give_stored(&mut sim, 2, &again, 0, HERE);
    assert!(sim.state(0).is_ready(first, true));
    sim.finish(2, &again, inline(ENDED));
    assert_empty(&mut sim, id, &[first]);
}

#[test]
fn a_value_that_is_lost_while_its_generator_runs_on_says_so() {
    let mut sim = Sim::new(1);
    let id = submit(&mut sim, false, 1);
    let task = sim.take(1).unwrap();
    give_stored(&mut sim, 1, &task, 0, ELSEWHERE);
    let (first, _) = next(&mut sim, id).unwrap();
    sim.lose(first);
    let said = message(sim.value(0, first).as_ref());
    assert!(said.ends_with("the generator 'stream' has given it and still runs"), "{said}");
    sim.finish(1, &task, inline(ENDED));
    assert_empty(&mut sim, id, &[first]);
}

#[test]
fn values_that_nobody_consumes_are_held_by_the_result_that_names_them() {
    let mut sim = Sim::new(1);
    let id = submit(&mut sim, false, 0);
    sim.state(0).keep_stream_for_result(id);
    let task = sim.take(1).unwrap();
    for index in 0..2 {
        give_stored(&mut sim, 1, &task, index, HERE);
    }
    let [first, second] = [1, 2].map(|index| ObjectId::of(id, index));
    assert_eq!(sim.freed, [], "they wait for the result");
    let named = sim.state(0).own_address(first);
    // The worker's own ref, which its result is made with.
    sim.state(1).add_ref(named);
    sim.state(1).borrow_if_uncounted(named);
    let result = Value { contained: vec![named.to_ref()], ..inline(ENDED) };
    sim.finish(1, &task, result);
    sim.state(1).on_ref_dropped(first);
    sim.settle();
    assert_eq!(sim.freed, [second], "the result does not name it");
    assert!(sim.value(0, first).is_some());
    sim.assert_empty(0, &[ObjectId::of(id, 0)]);
    assert_eq!(sim.freed, [second, first]);
}
