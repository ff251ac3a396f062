//! What a process tells of its tasks.

use std::time::Duration;

use manta_proto::v1::{TaskEvents, task_event::State};

use super::{
    super::Effect,
    sim::{Sim, Who, inline},
};

/// The batch that the process would send now, if there is any.
fn batch(sim: &mut Sim, who: Who) -> Option<TaskEvents> {
    sim.settle();
    let mut effects = Vec::new();
    let state = sim.state(who);
    state.send_events();
    state.take_effects(&mut effects);
    effects.into_iter().find_map(|effect| match effect {
        Effect::Events(batch) => Some(batch.into_message()),
        _ => None,
    })
}

fn states(batch: &TaskEvents) -> Vec<(&str, State)> {
    batch.events.iter().map(|event| (&*event.name, event.state())).collect()
}

#[test]
fn each_state_is_told_once_and_the_end_with_where_and_when() {
    let mut sim = Sim::new(1);
    sim.submit(0, "first", &[], 0);
    sim.submit(0, "second", &[], 0);
    let told = batch(&mut sim, 0).unwrap();
    assert_eq!(states(&told), [("first", State::Running), ("second", State::SubmittedToWorker)]);
    assert_eq!((told.submitted, told.live), (2, 2));
    assert_eq!(batch(&mut sim, 0), None, "nothing has changed");
    let task = sim.take(1).unwrap();
    sim.now += Duration::from_millis(3);
    sim.finish(1, &task, inline(b"x"));
    let told = batch(&mut sim, 0).unwrap();
    assert_eq!(states(&told), [("first", State::Finished), ("second", State::Running)]);
    let end = &told.events[0];
    assert_eq!((end.started_us_ago, end.ended_us_ago), (Some(3000), Some(0)));
    assert!(!end.worker_id.is_empty() && !end.node_id.is_empty());
    assert_eq!((told.submitted, told.finished, told.failed, told.live), (0, 1, 0, 1));
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let mut sim = Sim::new(0);
    sim.refuse = Some("there is no such node".into());
    for _ in 0..12_000 {
        sim.submit(0, "f", &[], 0);
    }
    let told = batch(&mut sim, 0).unwrap();
    assert_eq!((told.submitted, told.failed), (12_000, 12_000));
    assert_eq!((told.events.len(), told.not_recorded), (10_000, 2_000));
    assert!(told.events[0].error.contains("there is no such node"), "{}", told.events[0].error);
    // Room comes back with time.
    sim.now += Duration::from_millis(500);
    assert_eq!(batch(&mut sim, 0), None);
    for _ in 0..600 {
        sim.submit(0, "f", &[], 0);
    }
    let told = batch(&mut sim, 0).unwrap();
    assert_eq!((told.events.len(), told.not_recorded), (500, 100));
}
