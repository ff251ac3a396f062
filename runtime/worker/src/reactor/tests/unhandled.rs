//! Errors that nobody reads.

use manta_proto::{ids::ObjectId, v1::Value};

use super::sim::Sim;
use crate::{
    SystemErrorKind,
    reactor::{Cancellation, objects::error_value},
};

/// A driver that is told, and a worker.
fn sim() -> Sim {
    let mut sim = Sim::new(1);
    sim.state(0).tell_unhandled();
    sim
}

fn fail(sim: &mut Sim, kind: SystemErrorKind) -> ObjectId {
    let result = sim.submit(0, "f", &[], 0);
    let task = sim.take(1).unwrap();
    sim.finish(1, &task, error(kind));
    result
}

fn error(kind: SystemErrorKind) -> Value {
    error_value(kind, "broken")
}

#[test]
fn an_error_that_nobody_reads_is_told_when_its_result_is_forgotten() {
    let mut sim = sim();
    let result = fail(&mut sim, SystemErrorKind::WorkerDied);
    assert_eq!(sim.said, []);
    sim.assert_empty(0, &[result]);
    assert_eq!(sim.said, [(0, "task 'f' failed, and nobody asked for its result: broken".to_owned())]);
}

#[test]
fn an_error_whose_ref_was_dropped_before_is_told_at_once() {
    let mut sim = sim();
    let result = sim.submit(0, "f", &[], 0);
    let task = sim.take(1).unwrap();
    sim.state(0).on_ref_dropped(result);
    sim.finish(1, &task, error(SystemErrorKind::WorkerDied));
    assert_eq!(sim.said.len(), 1);
    sim.assert_empty(0, &[]);
}

#[test]
fn a_cancelled_task_is_no_news_however_it_ends() {
    let mut sim = sim();
    let result = sim.submit(0, "f", &[], 0);
    let task = sim.take(1).unwrap();
    let address = sim.state(0).own_address(result);
    sim.state(0).on_cancel_request(address, Cancellation { force: false, recursive: true });
    sim.settle();
    // A Python task that runs raises an error of its own.
    sim.finish(1, &task, error(SystemErrorKind::WorkerDied));
    sim.assert_empty(0, &[result]);
    assert_eq!(sim.said, []);
}

#[test]
fn what_is_read_or_passed_on_or_no_news_is_not_told() {
    let mut sim = sim();
    let read = fail(&mut sim, SystemErrorKind::WorkerDied);
    sim.state(0).on_read_all([read].into_iter());
    let cancelled = fail(&mut sim, SystemErrorKind::Cancelled);
    let passed_on = fail(&mut sim, SystemErrorKind::WorkerDied);
    let early = sim.submit(0, "f", &[], 0);
    let dependent = sim.submit(0, "g", &[passed_on], 0);
    let after_early = sim.submit(0, "h", &[early], 0);
    let task = sim.take(1).unwrap();
    sim.finish(1, &task, error(SystemErrorKind::WorkerDied));
    for object in [read, cancelled, passed_on, early] {
        sim.state(0).on_ref_dropped(object);
    }
    sim.settle();
    assert_eq!(sim.said, []);
    sim.assert_empty(0, &[dependent, after_early]);
    let told = |name| (0, format!("task '{name}' failed, and nobody asked for its result: broken"));
    assert_eq!(sim.said, [told("g"), told("h")]);
}
