//! Tasks, leases, and the deaths of workers.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{Urgency, Wait, objects::error_value},
    sim::{self, Sim, inline, message},
};
use crate::SystemErrorKind;

const SHORT: Duration = Duration::from_micros(100);
const LONG: Duration = Duration::from_millis(50);

#[test]
fn a_thousand_short_tasks_run_once_each_and_leave_nothing() {
    let mut sim = Sim::new(2);
    let refs: Vec<_> = (0..1000).map(|index| sim.submit(0, &format!("task {index}"), &[], 3)).collect();
    let ran = sim.run_all(SHORT);
    assert_eq!(ran.len(), 1000);
    let names: BTreeSet<_> = ran.iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names.len(), 1000);
    for (index, object) in refs.iter().enumerate() {
        assert_eq!(sim.value(0, *object), Some(inline(format!("task {index}").as_bytes())));
    }
    sim.assert_empty(0, &refs);
}

#[test]
fn long_tasks_spread_over_all_workers_however_early_they_were_sent() {
    let mut sim = Sim::new(4);
    let refs: Vec<_> = (0..8).map(|index| sim.submit(0, &format!("task {index}"), &[], 3)).collect();
    let start = sim.now;
    let ran = sim.run_all(LONG);
    assert_eq!(ran.len(), 8);
    for worker in 1..=4 {
        assert_eq!(ran.iter().filter(|(who, _)| *who == worker).count(), 2, "{ran:?}");
    }
    assert_eq!(sim.now - start, 2 * LONG, "two rounds of four");
    sim.assert_empty(0, &refs);
}

#[test]
fn tasks_behind_a_long_one_go_to_a_worker_that_is_free() {
    let mut sim = Sim::new(1);
    let refs: Vec<_> = (0..4).map(|index| sim.submit(0, &format!("task {index}"), &[], 3)).collect();
    let first = sim.take(1).unwrap();
    assert_eq!(first.name, "task 0");
    sim.pass(Duration::from_millis(4));
    assert!(
        sim.state(0).leftovers().iter().any(|left| left == "0 of class 0 queued"),
        "all four were sent ahead"
    );
    sim.pass(Duration::from_millis(2));
    assert!(sim.state(0).leftovers().iter().any(|left| left == "3 of class 0 queued"), "three came back");
    sim.finish(1, &first, inline(b""));
    assert_eq!(
        sim.run_all(SHORT).iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(),
        ["task 1", "task 2", "task 3"]
    );
    sim.assert_empty(0, &refs);
}

#[test]
fn a_started_task_runs_again_after_its_worker_died_and_the_others_do_not_pay() {
    let mut sim = Sim::new(2);
    let refs: Vec<_> = (0..4).map(|index| sim.submit(0, &format!("task {index}"), &[], 1)).collect();
    let started = sim.take(1).unwrap();
    sim.kill(1);
    sim.settle();
    let ran = sim.run_all(SHORT);
    assert_eq!(ran.len(), 4, "{ran:?}");
    assert!(ran.iter().any(|(_, name)| *name == started.name));
    sim.assert_empty(0, &refs);
}

#[test]
fn a_task_whose_worker_died_too_often_says_how() {
    let mut sim = Sim::new(3);
    let lost = sim.submit(0, "crash", &[], 1);
    let dependent = sim.submit(0, "dependent", &[lost], 3);
    for attempt in 0..2 {
        let (worker, task) = (1..=3).find_map(|worker| Some((worker, sim.take(worker)?))).unwrap();
        assert_eq!(task.attempt, attempt);
        sim.kill(worker);
        sim.settle();
    }
    let expected = "the worker that ran task 'crash' ended: worker 4711 on node-1 was killed by signal 9 (SIGKILL). It was the last of 2 \
                    attempts.";
    assert_eq!(message(sim.value(0, lost).as_ref()), expected);
    assert_eq!(message(sim.value(0, dependent).as_ref()), expected);
    sim.assert_empty(0, &[lost, dependent]);
}

#[test]
fn a_refused_class_fails_at_once_with_the_sentence() {
    let mut sim = Sim::new(1);
    sim.refuse = Some("it asks for 64 CPU, and node-1 has 2".into());
    let refs = [sim.submit(0, "large", &[], 3), sim.submit(0, "large", &[], 3)];
    for object in refs {
        assert_eq!(
            message(sim.value(0, object).as_ref()),
            "task 'large' cannot run: it asks for 64 CPU, and node-1 has 2"
        );
    }
    sim.assert_empty(0, &refs);
}

#[test]
fn a_chain_of_ten_thousand_dependents_fails_without_recursion() {
    let mut sim = Sim::new(1);
    let first = sim.submit(0, "first", &[], 0);
    let mut refs = vec![first];
    for _ in 0..10_000 {
        let next = sim.submit(0, "next", &[*refs.last().unwrap()], 0);
        refs.push(next);
    }
    let task = sim.take(1).unwrap();
    sim.finish(1, &task, error_value(SystemErrorKind::Internal, "broken"));
    assert_eq!(message(sim.value(0, *refs.last().unwrap()).as_ref()), "broken");
    sim.assert_empty(0, &refs);
}

#[test]
fn a_dead_owner_leaves_no_task_in_its_workers() {
    let mut sim = Sim::new(2);
    sim.submit(1, "nested", &[], 3);
    sim.submit(1, "nested", &[], 3);
    let task = sim.take(2).unwrap();
    sim.kill(1);
    sim.settle();
    sim.finish(2, &task, inline(b"for nobody"));
    assert!(sim.take(2).is_none());
    assert_eq!(sim.state(2).leftovers(), Vec::<String>::new());
}

#[test]
fn a_grant_that_crosses_its_cancellation_goes_back() {
    let mut sim = Sim::new(4);
    // Four requests for four tasks; the first worker does them all before the node has answered the others.
    let refs: Vec<_> = (0..4).map(|_| sim.submit(0, "quick", &[], 3)).collect();
    assert_eq!(sim.run_all(Duration::ZERO).len(), 4);
    sim.assert_empty(0, &refs);
}

#[test]
fn a_worker_that_was_dead_before_it_was_reached_costs_no_retry() {
    let mut sim = Sim::new(2);
    sim.dead_on_arrival = 3;
    let object = sim.submit(0, "task", &[], 0);
    assert_eq!(sim.run_all(SHORT).len(), 1);
    assert_eq!(sim.value(0, object), Some(inline(b"task")));
    sim.assert_empty(0, &[object]);
}

#[test]
fn workers_that_can_never_be_reached_end_in_an_error() {
    let mut sim = Sim::new(2);
    sim.dead_on_arrival = usize::MAX;
    let object = sim.submit(0, "task", &[], 2);
    assert_eq!(sim.run_all(SHORT).len(), 0);
    let said = message(sim.value(0, object).as_ref());
    assert!(said.starts_with("the worker that ran task 'task' ended: "), "{said}");
    sim.assert_empty(0, &[object]);
}

#[test]
fn what_may_wait_wakes_nobody_until_it_is_much() {
    let mut sim = Sim::new(1);
    let first = sim.submission(0, "first", &[], 0);
    let state = sim.state(0);
    let mut effects = Vec::new();
    state.on_submit(first);
    assert!(state.needs_wake_lazily(false), "an I/O thread that sleeps is woken for the first");
    assert!(state.take_effects(&mut effects).could_wait, "more of the kind is to be expected");
    let mut quiet = 0;
    loop {
        let next = sim.submission(0, "next", &[], 0);
        let state = sim.state(0);
        state.on_submit(next);
        if state.needs_wake_lazily(true) {
            break;
        }
        quiet += 1;
    }
    assert_eq!(quiet, 63);
    let state = sim.state(0);
    state.take_effects(&mut effects);
    let last = sim.submission(0, "last", &[], 0);
    let state = sim.state(0);
    state.on_submit(last);
    assert!(!state.needs_wake_lazily(true));
    assert!(state.needs_wake(), "who waits for a result does not wait for that");
}

/// Submits a task whose result nobody awaits, and says who sees to it.
fn submit_and_forget(sim: &mut Sim, polling: bool) -> Urgency {
    let submission = sim.submission(0, "forgotten", &[], 0);
    let state = sim.state(0);
    state.on_submit(submission);
    state.urgency(polling)
}

#[test]
fn every_submission_is_sent_by_its_thread_or_announced_to_one_that_is_awake() {
    let mut sim = Sim::new(1);
    let mut effects = Vec::new();
    assert_eq!(submit_and_forget(&mut sim, false), Urgency::Now, "nothing else may follow");
    assert!(sim.state(0).take_effects(&mut effects).could_wait, "its thread sends it");
    assert_eq!(submit_and_forget(&mut sim, false), Urgency::Wake, "one has followed, so more may");
    assert_eq!(submit_and_forget(&mut sim, false), Urgency::CanWait, "the I/O thread has been told");
    assert!(sim.state(0).take_effects(&mut effects).could_wait, "it looks again by itself");
    assert_eq!(submit_and_forget(&mut sim, true), Urgency::CanWait, "when it does");
    sim.state(0).take_effects(&mut effects);
    assert!(!sim.state(0).take_effects(&mut effects).could_wait, "it found nothing, and sleeps");
    assert_eq!(submit_and_forget(&mut sim, false), Urgency::Now);
    sim.state(0).take_effects(&mut effects);
    let awaited = sim.submit(0, "awaited", &[], 0);
    assert!(matches!(sim.state(0).wait_for(&sim::awaited(&[awaited]), 1, true, None), Wait::Waiting(..)));
    assert_eq!(submit_and_forget(&mut sim, false), Urgency::Now, "a thread has waited since the last");
}
