//! Objects: freeing, other processes' objects, stored values.

use std::time::Duration;

use manta_proto::ids::{NodeId, ObjectId, TaskId};

use super::{
    super::Wait,
    sim::{Sim, awaited, inline, message, stored},
};
use crate::{Seen, object_ref::RefAddress};

const ELSEWHERE: NodeId = NodeId([8; 16]);

fn put(sim: &mut Sim, who: usize, value: impl FnOnce(ObjectId) -> manta_proto::v1::Value) -> RefAddress {
    let id = ObjectId::of(TaskId::random(), ObjectId::FIRST_PUT);
    let state = sim.state(who);
    state.on_put(id, value(id));
    state.own_address(id)
}

#[test]
fn a_stored_object_is_freed_with_its_last_ref_and_not_before_its_task() {
    let mut sim = Sim::new(1);
    let object = put(&mut sim, 0, |id| stored(id, NodeId([9; 16]))).object;
    let result = sim.submit(0, "reads it", &[object], 3);
    sim.state(0).on_ref_dropped(object);
    sim.settle();
    assert_eq!(sim.freed, [], "a task needs it");
    sim.run_all(Duration::ZERO);
    assert_eq!(sim.freed, [object]);
    sim.assert_empty(0, &[result]);
}

#[test]
fn a_look_tells_ready_pending_and_repeated_refs_apart() {
    let mut sim = Sim::new(1);
    let here = put(&mut sim, 0, |_| inline(b"x")).object;
    let away = put(&mut sim, 0, |id| stored(id, ELSEWHERE)).object;
    let state = sim.state(0);
    state.forget_value(away);
    for _ in 0..2 {
        state.begin_look();
        assert_eq!(
            [here, away, here].map(|id| state.see(id, true)),
            [Seen::Ready, Seen::Pending, Seen::Again]
        );
    }
    state.begin_look();
    assert_eq!(state.see(ObjectId::of(TaskId::random(), 0), false), Seen::Pending, "nobody knows it");
}

#[test]
fn a_result_that_nobody_wants_is_freed_when_it_comes() {
    let mut sim = Sim::new(1);
    let result = sim.submit(0, "large", &[], 3);
    let task = sim.take(1).unwrap();
    sim.state(0).on_ref_dropped(result);
    sim.finish(1, &task, stored(result, NodeId([9; 16])));
    assert_eq!(sim.freed, [result]);
    sim.assert_empty(0, &[]);
}

#[test]
fn another_process_gets_the_value_from_its_owner() {
    let mut sim = Sim::new(1);
    let pending = sim.submit(0, "pending", &[], 3);
    let address = sim.state(0).own_address(pending);
    sim.state(1).add_ref(address);
    let waiting = sim.state(1).wait_for(&awaited(&[pending]), 1, true, None);
    let Wait::Waiting(waiter, _) = waiting else { panic!("it is not ready") };
    sim.run_all(Duration::ZERO);
    sim.settle();
    assert!(sim.state(1).is_satisfied(waiter));
    sim.state(1).end_wait(waiter, &awaited(&[pending]));
    assert_eq!(sim.value(1, pending), Some(inline(b"pending")));
    sim.state(1).on_ref_dropped(pending);
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.state(1).leftovers(), Vec::<String>::new());
}

#[test]
fn the_object_of_a_dead_owner_is_an_error_that_says_so() {
    let mut sim = Sim::new(2);
    let address = put(&mut sim, 1, |_| inline(b"gone soon"));
    sim.state(0).add_ref(address);
    sim.kill(1);
    sim.settle();
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&[address.object]), 1, true, None) else {
        panic!("it is not here")
    };
    sim.settle();
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&[address.object]));
    let said = message(sim.value(0, address.object).as_ref());
    assert!(said.ends_with("is lost, because the process that owned it ended: worker 4711 on node-1 was killed by signal 9 (SIGKILL)"), "{said}");
    sim.assert_empty(0, &[address.object]);
}

#[test]
fn a_value_on_another_node_is_pulled_once_for_all_who_wait() {
    let mut sim = Sim::new(1);
    let result = sim.submit(0, "elsewhere", &[], 3);
    let Wait::Waiting(first, _) = sim.state(0).wait_for(&awaited(&[result]), 1, true, None) else { panic!() };
    let Wait::Waiting(second, _) = sim.state(0).wait_for(&awaited(&[result]), 1, true, None) else {
        panic!()
    };
    let Wait::Waiting(without, _) = sim.state(0).wait_for(&awaited(&[result]), 1, false, None) else {
        panic!()
    };
    let task = sim.take(1).unwrap();
    sim.finish(1, &task, stored(result, ELSEWHERE));
    assert_eq!(sim.pulls, [result]);
    for waiter in [first, second, without] {
        assert!(sim.state(0).is_satisfied(waiter));
        sim.state(0).end_wait(waiter, &awaited(&[result]));
    }
    sim.assert_empty(0, &[result]);
}

#[test]
fn an_argument_that_is_lost_fails_the_task_with_the_cause() {
    let mut sim = Sim::new(1);
    let argument = put(&mut sim, 0, |id| stored(id, ELSEWHERE)).object;
    sim.pull_error = "node-2 is gone".into();
    let result = sim.submit(0, "reads it", &[argument], 3);
    assert!(sim.take(1).is_none(), "it must not start");
    let said = message(sim.value(0, result).as_ref());
    let expected = format!(
        "object {argument} could not be brought to node node-1: node-2 is gone. It was made by put(), and only results of tasks are made \
         again"
    );
    assert_eq!(said, expected);
    sim.assert_empty(0, &[argument, result]);
}

#[test]
fn waiting_for_some_of_many_ends_when_enough_are_there() {
    let mut sim = Sim::new(2);
    let refs: Vec<_> = (0..4).map(|index| sim.submit(0, &format!("task {index}"), &[], 3)).collect();
    let Wait::Waiting(waiter, _) = sim.state(0).wait_for(&awaited(&refs), 2, true, None) else { panic!() };
    for worker in [1, 2] {
        assert!(!sim.state(0).is_satisfied(waiter));
        let task = sim.take(worker).unwrap();
        sim.finish(worker, &task, inline(b""));
    }
    assert!(sim.state(0).is_satisfied(waiter));
    sim.state(0).end_wait(waiter, &awaited(&refs));
    sim.run_all(Duration::ZERO);
    sim.assert_empty(0, &refs);
}
