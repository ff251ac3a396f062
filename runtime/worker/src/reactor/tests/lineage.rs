//! Lost values: tasks that run again, and those that cannot.

use std::time::Duration;

use manta_proto::ids::{NodeId, ObjectId, TaskId};

use super::{
    super::{Wait, WaiterId},
    sim::{Sim, awaited, inline, message, stored},
};

const HERE: NodeId = NodeId([9; 16]);
const ELSEWHERE: NodeId = NodeId([8; 16]);

fn wait(sim: &mut Sim, object: ObjectId) -> WaiterId {
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&[object]), 1, true, None) else {
        panic!("it is there")
    };
    sim.settle();
    waiter
}

/// Runs the one task that is there; its result lies in the store of a node.
fn run(sim: &mut Sim, name: &str, node: NodeId) {
    let task = sim.take(1).expect("a task was to come");
    assert_eq!(task.name, name);
    let result = ObjectId::of(TaskId::try_from(&task.task_id).unwrap(), 0);
    sim.finish(1, &task, stored(result, node));
}

#[test]
fn a_lost_result_is_made_again_for_who_waits() {
    let mut sim = Sim::new(1);
    let result = sim.submit(0, "make", &[], 2);
    run(&mut sim, "make", ELSEWHERE);
    sim.pull_error = "node-2 is gone".into();
    let waiter = wait(&mut sim, result);
    assert!(!sim.state(0).is_satisfied(waiter));
    run(&mut sim, "make", HERE);
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&[result]));
    sim.assert_empty(0, &[result]);
    assert!(sim.freed.contains(&result));
}

#[test]
fn what_there_is_only_no_room_for_is_not_made_again() {
    let mut sim = Sim::new(1);
    let result = sim.submit(0, "make", &[], 2);
    run(&mut sim, "make", ELSEWHERE);
    (sim.pull_error, sim.disk_full) = ("the disk is full".into(), true);
    let waiter = wait(&mut sim, result);
    assert!(sim.state(0).is_satisfied(waiter), "who waits goes on, to read it and hear why that cannot be");
    sim.state(0).end_wait(waiter, &awaited(&[result]));
    let location = sim.value(0, result).and_then(|value| value.in_store).unwrap();
    let request = sim.state(0).on_need_object(result, &location);
    sim.settle();
    let unread = sim.state(0).take_fetched(request).unwrap().unwrap_err();
    assert_eq!(unread.kind, crate::SystemErrorKind::DiskFull);
    // A task that takes it starts, and finds it out by itself.
    let taker = sim.submit(0, "take", &[result], 2);
    run(&mut sim, "take", HERE);
    assert!(sim.take(1).is_none(), "nothing runs again");
    sim.assert_empty(0, &[result, taker]);
    assert!(sim.freed.contains(&result));
}

#[test]
fn arguments_that_are_gone_are_made_first() {
    let mut sim = Sim::new(1);
    let first = sim.submit(0, "first", &[], 2);
    run(&mut sim, "first", HERE);
    let second = sim.submit(0, "second", &[first], 2);
    run(&mut sim, "second", ELSEWHERE);
    sim.state(0).on_ref_dropped(first);
    sim.settle();
    assert_eq!(sim.freed, [first], "nobody has a ref of it");
    sim.pull_error = "node-2 is gone".into();
    let waiter = wait(&mut sim, second);
    run(&mut sim, "first", HERE);
    run(&mut sim, "second", HERE);
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&[second]));
    sim.assert_empty(0, &[second]);
}

#[test]
fn retries_are_what_a_task_may_run_again() {
    let mut sim = Sim::new(1);
    sim.pull_error = "node-2 is gone".into();
    let never = sim.submit(0, "never", &[], 0);
    run(&mut sim, "never", ELSEWHERE);
    let waiter = wait(&mut sim, never);
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&[never]));
    let said = message(sim.value(0, never).as_ref());
    assert!(said.ends_with("the task 'never' has max_retries=0"), "{said}");
    let once = sim.submit(0, "once", &[], 1);
    run(&mut sim, "once", ELSEWHERE);
    let waiter = wait(&mut sim, once);
    run(&mut sim, "once", ELSEWHERE);
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&[once]));
    let said = message(sim.value(0, once).as_ref());
    assert!(said.contains("the task 'once' ran 2 times"), "{said}");
    sim.assert_empty(0, &[never, once]);
}

#[test]
fn a_worker_that_does_not_find_an_argument_has_it_made_again() {
    let mut sim = Sim::new(1);
    let first = sim.submit(0, "first", &[], 2);
    run(&mut sim, "first", ELSEWHERE);
    sim.pull_error = "node-2 is gone".into();
    let second = sim.submit(0, "second", &[first], 0);
    for _ in 0..4 {
        sim.pass(Duration::from_millis(5));
        if let Some(task) = sim.take(1) {
            let result = ObjectId::of(TaskId::try_from(&task.task_id).unwrap(), 0);
            sim.finish(1, &task, if task.name == "first" { stored(result, HERE) } else { inline(b"done") });
        }
    }
    assert_eq!(sim.value(0, second), Some(inline(b"done")));
    sim.assert_empty(0, &[first, second]);
}

/// Has the driver find out that nobody has an object any more.
fn lose(sim: &mut Sim, object: ObjectId) {
    sim.pull_error = "node-2 is gone".into();
    let waiter = wait(sim, object);
    sim.state(0).end_wait(waiter, &awaited(&[object]));
    sim.settle();
}

/// A task that has been sent with a stored argument, and given back because its worker was busy.
fn returned_with_argument(sim: &mut Sim, max_retries: u32) -> [ObjectId; 3] {
    let first = sim.submit(0, "first", &[], max_retries);
    run(sim, "first", ELSEWHERE);
    let busy = sim.submit(0, "busy", &[], 0);
    let task = sim.take(1).unwrap();
    let second = sim.submit(0, "second", &[first], 0);
    sim.pass(Duration::from_millis(20));
    lose(sim, first);
    sim.finish(1, &task, inline(b"done"));
    [first, busy, second]
}

#[test]
fn a_task_whose_argument_was_lost_in_the_queue_waits_for_it() {
    let mut sim = Sim::new(1);
    let refs = returned_with_argument(&mut sim, 2);
    run(&mut sim, "first", HERE);
    let task = sim.take(1).expect("its argument is there again");
    assert_eq!(task.name, "second");
    sim.finish(1, &task, inline(b"second"));
    assert_eq!(sim.value(0, refs[2]), Some(inline(b"second")));
    sim.assert_empty(0, &refs);
}

#[test]
fn a_task_whose_argument_was_lost_in_the_queue_for_good_fails_as_it_does() {
    let mut sim = Sim::new(1);
    let refs = returned_with_argument(&mut sim, 0);
    assert!(sim.take(1).is_none(), "it is not sent");
    assert_eq!(sim.value(0, refs[2]), sim.value(0, refs[0]));
    let said = message(sim.value(0, refs[2]).as_ref());
    assert!(said.ends_with("the task 'first' has max_retries=0"), "{said}");
    sim.assert_empty(0, &refs);
}

#[test]
fn an_old_copy_that_is_lost_says_nothing_of_the_new_one() {
    let mut sim = Sim::new(1);
    let result = sim.submit(0, "make", &[], 1);
    run(&mut sim, "make", ELSEWHERE);
    lose(&mut sim, result);
    run(&mut sim, "make", HERE);
    assert!(!sim.state(0).on_value_lost(result, &[ELSEWHERE.to_bytes()], "it was there"));
    assert!(sim.take(1).is_none(), "it is not made again");
    assert!(sim.state(0).is_ready(result, true));
    sim.assert_empty(0, &[result]);
}

#[test]
fn a_large_argument_is_kept_for_when_its_task_runs_again() {
    let mut sim = Sim::new(1);
    let mut submission = sim.submission(0, "make", &[], 2);
    let (argument, result) =
        (ObjectId::of(submission.id, ObjectId::FIRST_PUT), ObjectId::of(submission.id, 0));
    submission.stored = vec![(argument, stored(argument, HERE))];
    sim.state(0).on_submit(submission);
    run(&mut sim, "make", ELSEWHERE);
    assert!(!sim.freed.contains(&argument));
    lose(&mut sim, result);
    run(&mut sim, "make", HERE);
    assert!(sim.state(0).is_ready(result, true));
    sim.assert_empty(0, &[result]);
    assert!(sim.freed.contains(&argument));
}
