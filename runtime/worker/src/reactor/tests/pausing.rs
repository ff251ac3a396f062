//! Tasks that a debugger holds, and tasks that wait for others.

use std::time::Duration;

use manta_proto::{
    ids::TaskId,
    v1::{TaskPaused, TaskSpec, node_to_process},
};

use super::{
    super::Wait,
    sim::{Sim, awaited, inline},
};

fn debugger(sim: &mut Sim, worker: usize, task: &TaskSpec, paused: bool) {
    sim.tell(
        worker,
        node_to_process::Message::TaskPaused(TaskPaused { task_id: task.task_id.clone(), paused }),
    );
    sim.settle();
}

#[test]
fn a_paused_task_lets_go_of_those_behind_it_and_is_known_to_those_who_wait() {
    let mut sim = Sim::new(1);
    let refs = [sim.submit(0, "first", &[], 3), sim.submit(0, "second", &[], 3)];
    let task = sim.take(1).unwrap();
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&refs[..1]), 1, true, None) else {
        panic!()
    };
    debugger(&mut sim, 1, &task, true);
    assert!(sim.state(0).is_wait_paused(waiter));
    assert!(
        sim.state(0).leftovers().iter().any(|left| left == "1 of class 0 queued"),
        "the second came back"
    );
    debugger(&mut sim, 1, &task, false);
    assert!(!sim.state(0).is_wait_paused(waiter));
    sim.finish(1, &task, inline(b""));
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&refs[..1]));
    sim.run_all(Duration::ZERO);
    sim.assert_empty(0, &refs);
}

#[test]
fn a_pause_reaches_those_who_wait_for_a_dependent_task() {
    let mut sim = Sim::new(1);
    let first = sim.submit(0, "first", &[], 3);
    let second = sim.submit(0, "second", &[first], 3);
    let third = sim.submit(0, "third", &[second], 3);
    let task = sim.take(1).unwrap();
    debugger(&mut sim, 1, &task, true);
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&[third]), 1, true, None) else { panic!() };
    assert!(sim.state(0).is_wait_paused(waiter));
    debugger(&mut sim, 1, &task, false);
    assert!(!sim.state(0).is_wait_paused(waiter));
    sim.state(0).end_wait(waiter, &awaited(&[third]));
    sim.finish(1, &task, inline(b""));
    sim.run_all(Duration::ZERO);
    sim.assert_empty(0, &[first, second, third]);
}

#[test]
fn a_task_that_waits_for_a_paused_one_is_paused_to_its_owner_and_its_cpu_is_free() {
    let mut sim = Sim::new(2);
    let outer = sim.submit(0, "outer", &[], 3);
    let outer_task = sim.take(1).unwrap();
    let inner = sim.submit(1, "inner", &[], 3);
    let me = Some((0, TaskId::try_from(&outer_task.task_id).unwrap()));
    let Wait::Waiting(inside, _) = sim.state(1).wait_for(&awaited(&[inner]), 1, true, me) else { panic!() };
    let Wait::Waiting(outside, _) = sim.state(0).wait_for(&awaited(&[outer]), 1, true, None) else {
        panic!()
    };
    let inner_task = sim.take(2).unwrap();
    assert_eq!(sim.blocked(), 1);
    debugger(&mut sim, 2, &inner_task, true);
    assert!(sim.state(1).is_wait_paused(inside));
    assert!(sim.state(0).is_wait_paused(outside), "the driver waits for a task that waits for a paused one");
    debugger(&mut sim, 2, &inner_task, false);
    assert!(!sim.state(0).is_wait_paused(outside));
    sim.finish(2, &inner_task, inline(b"inner"));
    sim.state(1).end_wait(inside, &awaited(&[inner]));
    sim.settle();
    assert_eq!(sim.blocked(), 0);
    sim.finish(1, &outer_task, inline(b"outer"));
    sim.state(0).end_wait(outside, &awaited(&[outer]));
    sim.state(1).on_ref_dropped(inner);
    sim.assert_empty(0, &[outer]);
}

#[test]
fn a_blocked_task_returns_what_was_sent_behind_it() {
    let mut sim = Sim::new(1);
    let refs = [sim.submit(0, "waits", &[], 3), sim.submit(0, "behind", &[], 3)];
    let task = sim.take(1).unwrap();
    let never = sim.submit(1, "nested", &[], 3);
    let me = Some((0, TaskId::try_from(&task.task_id).unwrap()));
    let Wait::Waiting(waiter, _) = sim.state(1).wait_for(&awaited(&[never]), 1, true, me) else { panic!() };
    sim.settle();
    assert!(sim.state(0).leftovers().iter().any(|left| left == "1 of class 0 queued"));
    sim.state(1).end_wait(waiter, &awaited(&[never]));
    sim.finish(1, &task, inline(b""));
    assert_eq!(sim.run_all(Duration::ZERO), [(1, "behind".to_owned())]);
    // The driver's idle lease goes back, and the nested task gets the only worker.
    sim.pass(Duration::from_millis(200));
    assert_eq!(sim.run_all(Duration::ZERO), [(1, "nested".to_owned())]);
    sim.state(1).on_ref_dropped(never);
    sim.assert_empty(0, &refs);
}

#[test]
fn a_pause_that_outlives_its_worker_is_forgotten_with_it() {
    let mut sim = Sim::new(2);
    let object = sim.submit(0, "paused", &[], 3);
    let task = sim.take(1).unwrap();
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&[object]), 1, true, None) else {
        panic!()
    };
    debugger(&mut sim, 1, &task, true);
    assert!(sim.state(0).is_wait_paused(waiter));
    sim.kill(1);
    sim.settle();
    assert!(!sim.state(0).is_wait_paused(waiter));
    sim.run_all(Duration::ZERO);
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&[object]));
    sim.assert_empty(0, &[object]);
}

#[test]
fn the_end_of_a_task_that_was_paused_is_told_once_and_of_others_never() {
    let mut sim = Sim::new(1);
    let refs = [sim.submit(0, "paused", &[], 3), sim.submit(0, "other", &[], 3)];
    let task = sim.take(1).unwrap();
    debugger(&mut sim, 1, &task, true);
    debugger(&mut sim, 1, &task, false);
    assert!(sim.ended.is_empty());
    sim.finish(1, &task, inline(b""));
    assert_eq!(sim.ended, std::slice::from_ref(&task.task_id));
    sim.run_all(Duration::ZERO);
    assert_eq!(sim.ended.len(), 1);
    // The word of a stop may come when it is over and the task has ended.
    debugger(&mut sim, 1, &task, true);
    debugger(&mut sim, 1, &task, false);
    assert_eq!(sim.ended.len(), 2);
    sim.assert_empty(0, &refs);
}
