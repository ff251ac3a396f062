//! Tasks of series: sent and answered together, and by themselves as soon as one is not like the others.

use std::time::Duration;

use manta_proto::{
    ids::{ObjectId, TaskId},
    v1::{TaskArgument, TaskPaused, TaskSpec, Value, node_to_process, task_argument},
};
use prost::Message;

use super::{
    super::{Cancellation, Wait, objects::error_value},
    sim::{Sim, awaited, inline, message},
};
use crate::SystemErrorKind;

const SHORT: Duration = Duration::from_micros(20);

/// Submits so many tasks of one series.
fn submit(sim: &mut Sim, count: usize, max_retries: u32) -> Vec<ObjectId> {
    (0..count).map(|_| sim.submit_in_series(0, "task", &[], max_retries)).collect()
}

/// The encoded argument of a task.
fn argument(text: &[u8]) -> Vec<u8> {
    let value = Some(task_argument::Value::Inline(inline(text)));
    let arguments = vec![TaskArgument { keyword: "k".into(), value }];
    TaskSpec { arguments, ..TaskSpec::default() }.encode_to_vec()
}

fn given(task: &TaskSpec) -> Vec<u8> {
    match &task.arguments[..] {
        [TaskArgument { keyword, value: Some(task_argument::Value::Inline(value)) }] if keyword == "k" => {
            value.data.to_vec()
        }
        other => panic!("{other:?}"),
    }
}

/// A result as the worker writes it.
fn result(text: &[u8]) -> Value {
    let mut data = vec![0; manta_object_store::layout::encoded_len(text.len(), std::iter::empty())];
    manta_object_store::layout::encode(&mut data, text, &[]);
    inline(&data)
}

fn pause(sim: &mut Sim, worker: usize, task: &TaskSpec, paused: bool) {
    let message = TaskPaused { task_id: task.task_id.clone(), paused };
    sim.tell(worker, node_to_process::Message::TaskPaused(message));
    sim.settle();
}

fn object_of(task: &TaskSpec) -> ObjectId {
    ObjectId::of(TaskId::try_from(&task.task_id).unwrap(), 0)
}

#[test]
fn a_thousand_tasks_get_their_arguments_and_give_their_results() {
    let mut sim = Sim::new(2);
    let text = |index: usize| format!("{}", index / 3).into_bytes();
    let refs: Vec<_> =
        (0..1000).map(|index| sim.submit_in_series(0, "task", &argument(&text(index)), 3)).collect();
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&refs), 1000, true, None) else { panic!() };
    let mut ran = 0;
    loop {
        let taken: Vec<_> = (1..=2).filter_map(|worker| Some((worker, sim.take(worker)?))).collect();
        if taken.is_empty() {
            break;
        }
        sim.pass(SHORT);
        for (worker, task) in taken {
            sim.finish(worker, &task, inline(&given(&task)));
            ran += 1;
        }
    }
    assert_eq!(ran, 1000);
    assert!(sim.state(0).is_satisfied(waiter));
    for (index, object) in refs.iter().enumerate() {
        assert_eq!(sim.value(0, *object), Some(result(&text(index))), "{index}");
    }
    sim.state(0).end_wait(waiter, &awaited(&refs));
    sim.assert_empty(0, &refs);
}

#[test]
fn refs_that_go_first_leave_nothing() {
    let mut sim = Sim::new(1);
    let refs = submit(&mut sim, 300, 0);
    for object in &refs[..200] {
        sim.state(0).on_ref_dropped(*object);
    }
    assert_eq!(sim.run_all(SHORT).len(), 300);
    sim.assert_empty(0, &refs[200..]);
}

#[test]
fn one_that_fails_fails_alone_and_one_with_retries_runs_again() {
    let mut sim = Sim::new(1);
    let refs = submit(&mut sim, 5, 0);
    for _ in 0..5 {
        let task = sim.take(1).unwrap();
        let failed = object_of(&task) == refs[2];
        let value = if failed { error_value(SystemErrorKind::Internal, "it failed") } else { inline(b"") };
        sim.finish(1, &task, value);
    }
    sim.take(1);
    assert_eq!(message(sim.value(0, refs[2]).as_ref()), "it failed");
    assert!([0, 1, 3, 4].iter().all(|index| sim.value(0, refs[*index]) == Some(result(b""))));
    sim.assert_empty(0, &refs);
}

#[test]
fn a_worker_that_dies_costs_its_first_task_a_retry_and_the_others_nothing() {
    let mut sim = Sim::new(1);
    let refs = submit(&mut sim, 4, 0);
    let first = sim.take(1).unwrap();
    assert_eq!(object_of(&first), refs[0]);
    sim.kill(1);
    sim.add_worker();
    sim.settle();
    let ran = sim.run_all(SHORT);
    assert_eq!(ran.len(), 3);
    assert!(message(sim.value(0, refs[0]).as_ref()).contains("ended"), "it had no retry");
    assert!(refs[1..].iter().all(|object| sim.value(0, *object).is_some()));
    sim.assert_empty(0, &refs);
}

#[test]
fn results_do_not_wait_for_a_long_task_behind_them_and_tasks_do_not_either() {
    let mut sim = Sim::new(1);
    let refs = submit(&mut sim, 4, 3);
    let short = sim.take(1).unwrap();
    sim.finish(1, &short, inline(b"short"));
    let long = sim.take(1).unwrap();
    assert_eq!(sim.value(0, refs[0]), None, "it goes with the next");
    sim.pass(Duration::from_millis(6));
    assert_eq!(sim.value(0, refs[0]), Some(result(b"short")));
    assert!(sim.state(0).leftovers().iter().any(|left| left == "2 of class 0 queued"), "two came back");
    sim.finish(1, &long, inline(b"long"));
    sim.run_all(SHORT);
    assert!(refs.iter().all(|object| sim.value(0, *object).is_some()));
    sim.assert_empty(0, &refs);
}

#[test]
fn tasks_are_cancelled_wherever_they_are() {
    let mut sim = Sim::new(1);
    let refs = submit(&mut sim, 300, 3);
    let running = sim.take(1).unwrap();
    for index in [0, 1, 299] {
        let address = sim.state(0).own_address(refs[index]);
        sim.state(0).on_cancel_request(address, Cancellation { force: false, recursive: true });
    }
    sim.settle();
    assert_eq!(sim.interrupted, [(1, TaskId::try_from(&running.task_id).unwrap())]);
    for index in [1, 299] {
        assert!(message(sim.value(0, refs[index]).as_ref()).contains("was cancelled"), "{index}");
    }
    sim.finish(1, &running, inline(b"it looked away"));
    assert_eq!(sim.run_all(SHORT).len(), 297);
    assert!(refs.iter().all(|object| sim.value(0, *object).is_some()));
    sim.assert_empty(0, &refs);
}

#[test]
fn a_task_that_is_stopped_in_a_debugger_pauses_its_waiters_and_gives_back_what_waits() {
    let mut sim = Sim::new(2);
    let refs = submit(&mut sim, 8, 3);
    let task = sim.take(1).unwrap();
    let object = object_of(&task);
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&refs), 8, true, None) else { panic!() };
    pause(&mut sim, 1, &task, true);
    assert!(sim.state(0).is_wait_paused(waiter));
    while let Some(other) = sim.take(2) {
        sim.finish(2, &other, inline(b""));
    }
    assert!(!sim.state(0).is_satisfied(waiter), "one is stopped");
    pause(&mut sim, 1, &task, false);
    assert!(!sim.state(0).is_wait_paused(waiter));
    sim.finish(1, &task, inline(b"stopped"));
    assert!(sim.state(0).is_satisfied(waiter));
    assert_eq!(sim.value(0, object), Some(inline(b"stopped")));
    sim.state(0).end_wait(waiter, &awaited(&refs));
    sim.assert_empty(0, &refs);
}

#[test]
fn results_are_arguments_and_are_waited_for_twice() {
    let mut sim = Sim::new(1);
    let refs = submit(&mut sim, 3, 3);
    let dependent = sim.submit(0, "dependent", &[refs[0], refs[2]], 0);
    let twice = [refs[1], refs[1], refs[2]];
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&twice), 3, true, None) else { panic!() };
    let names: Vec<_> = sim.run_all(SHORT).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["task", "task", "task", "dependent"]);
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&twice));
    sim.assert_empty(0, &[&refs[..], &[dependent]].concat());
}

#[test]
fn a_task_that_waits_for_another_gives_back_what_is_behind_it() {
    let mut sim = Sim::new(1);
    sim.start_workers = true;
    let refs = submit(&mut sim, 3, 3);
    let task = sim.take(1).unwrap();
    let id = TaskId::try_from(&task.task_id).unwrap();
    let nested = sim.submit(1, "nested", &[], 0);
    let Wait::Waiting(waiter, _) = sim.state(1).wait_for(&awaited(&[nested]), 1, true, Some((0, id))) else {
        panic!()
    };
    sim.settle();
    assert_eq!(sim.blocked(), 1);
    assert!(sim.state(0).leftovers().iter().any(|left| left == "2 of class 0 queued"), "two came back");
    assert_eq!(sim.run_all(SHORT).len(), 1, "the nested one, on the CPU that it gave back");
    sim.state(1).end_wait(waiter, &awaited(&[nested]));
    sim.state(1).on_ref_dropped(nested);
    sim.finish(1, &task, inline(b""));
    assert_eq!(sim.run_all(SHORT).len(), 2);
    sim.assert_empty(0, &refs);
}
