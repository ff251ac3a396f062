//! Cancelled tasks: wherever they are, and with or without their workers.

use std::time::Duration;

use manta_proto::ids::{ObjectId, TaskId};

use super::{
    super::{Cancellation, objects::error_value},
    sim::{Sim, inline, message},
};
use crate::SystemErrorKind;

const SHORT: Duration = Duration::from_micros(100);
const GENTLY: Cancellation = Cancellation { force: false, recursive: true };
const BY_FORCE: Cancellation = Cancellation { force: true, recursive: true };

fn cancel(sim: &mut Sim, who: usize, object: ObjectId, how: Cancellation) {
    let state = sim.state(who);
    let address = state.own_address(object);
    state.on_cancel_request(address, how);
    sim.settle();
}

#[test]
fn queued_tasks_end_at_once_and_ask_for_no_workers() {
    let mut sim = Sim::new(0);
    let refs: Vec<_> = (0..100).map(|index| sim.submit(0, &format!("task {index}"), &[], 3)).collect();
    sim.settle();
    for object in &refs {
        cancel(&mut sim, 0, *object, GENTLY);
        assert!(message(sim.value(0, *object).as_ref()).contains("was cancelled"));
    }
    sim.assert_empty(0, &refs);
}

#[test]
fn a_task_that_waits_for_an_argument_ends_and_those_that_wait_for_it() {
    let mut sim = Sim::new(1);
    let first = sim.submit(0, "first", &[], 3);
    let second = sim.submit(0, "second", &[first], 3);
    let third = sim.submit(0, "third", &[second], 3);
    cancel(&mut sim, 0, second, GENTLY);
    assert!(message(sim.value(0, third).as_ref()).contains("'second' was cancelled"));
    assert_eq!(sim.run_all(SHORT).len(), 1);
    assert_eq!(sim.value(0, first), Some(inline(b"first")));
    sim.assert_empty(0, &[first, second, third]);
}

#[test]
fn a_task_that_was_sent_ahead_does_not_start() {
    let mut sim = Sim::new(1);
    let refs: Vec<_> = (0..3).map(|index| sim.submit(0, &format!("task {index}"), &[], 3)).collect();
    let running = sim.take(1).unwrap();
    cancel(&mut sim, 0, refs[1], BY_FORCE);
    assert!(message(sim.value(0, refs[1]).as_ref()).contains("'task 1' was cancelled"));
    assert!(sim.interrupted.is_empty());
    sim.finish(1, &running, inline(b""));
    let ran: Vec<_> = sim.run_all(SHORT).into_iter().map(|(_, name)| name).collect();
    assert_eq!(ran, ["task 2"]);
    sim.assert_empty(0, &refs);
}

#[test]
fn a_running_task_is_interrupted_and_not_tried_again() {
    let mut sim = Sim::new(1);
    let object = sim.submit(0, "task", &[], 3);
    let running = sim.take(1).unwrap();
    cancel(&mut sim, 0, object, GENTLY);
    assert_eq!(sim.interrupted, [(1, object.task())]);
    let error = error_value(SystemErrorKind::Cancelled, "cancelled while it ran");
    sim.finish(1, &running, error.clone());
    assert_eq!(sim.value(0, object), Some(error));
    assert!(sim.take(1).is_none());
    sim.assert_empty(0, &[object]);
}

#[test]
fn a_forced_end_takes_the_worker_and_nothing_else() {
    let mut sim = Sim::new(1);
    let refs: Vec<_> = (0..4).map(|index| sim.submit(0, &format!("task {index}"), &[], 0)).collect();
    let running = sim.take(1).unwrap();
    cancel(&mut sim, 0, refs[0], BY_FORCE);
    assert!(message(sim.value(0, refs[0]).as_ref()).contains("'task 0' was cancelled"));
    // What the thread still says is nobody's result.
    sim.state(1).on_finished(0, TaskId::try_from(&running.task_id).unwrap(), vec![inline(b"late")], false);
    assert_eq!(sim.run_all(SHORT).len(), 3, "those behind it had not started, and have no retries");
    for (index, object) in refs.iter().enumerate().skip(1) {
        assert_eq!(sim.value(0, *object), Some(inline(format!("task {index}").as_bytes())));
    }
    sim.assert_empty(0, &refs);
}

#[test]
fn a_cancelled_task_whose_worker_dies_was_cancelled() {
    let mut sim = Sim::new(1);
    let object = sim.submit(0, "task", &[], 3);
    sim.take(1).unwrap();
    cancel(&mut sim, 0, object, GENTLY);
    sim.kill(1);
    assert!(message(sim.value(0, object).as_ref()).contains("'task' was cancelled"));
    sim.assert_empty(0, &[object]);
}

#[test]
fn a_worker_that_retires_gives_back_what_it_has_not_started() {
    let mut sim = Sim::new(2);
    let refs: Vec<_> = (0..8).map(|index| sim.submit(0, &format!("task {index}"), &[], 0)).collect();
    let last = sim.take(1).unwrap();
    sim.state(1).retire(0);
    assert!(sim.take(1).is_none(), "it starts nothing more");
    sim.finish(1, &last, inline(last.name.clone().as_bytes()));
    assert_eq!(sim.run_all(SHORT).len(), 7);
    for (index, object) in refs.iter().enumerate() {
        assert_eq!(sim.value(0, *object), Some(inline(format!("task {index}").as_bytes())));
    }
    sim.assert_empty(0, &refs);
}
