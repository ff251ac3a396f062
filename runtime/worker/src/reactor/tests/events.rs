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

#[test]
fn tasks_of_a_series_are_told_of_when_they_end_or_stay() {
    let mut sim = Sim::new(1);
    let submit = |sim: &mut Sim| (0..3).map(|_| sim.submit_in_series(0, "f", &[], 0)).collect::<Vec<_>>();
    submit(&mut sim);
    sim.run_all(Duration::from_micros(10));
    let told = batch(&mut sim, 0).unwrap();
    assert_eq!((states(&told), told.events[0].more), (vec![("f", State::Finished)], 2));
    assert_eq!((told.submitted, told.finished, told.live), (3, 3, 0));
    assert!(!told.events[0].worker_id.is_empty());
    sim.close_series(0);
    submit(&mut sim);
    let task = sim.take(1).unwrap();
    sim.now += Duration::from_millis(60);
    let told = batch(&mut sim, 0).unwrap();
    assert_eq!(
        states(&told),
        [("f", State::Running), ("f", State::SubmittedToWorker), ("f", State::SubmittedToWorker)]
    );
    assert_eq!((told.submitted, told.finished, told.live), (3, 0, 3));
    sim.finish(1, &task, inline(b""));
    sim.run_all(Duration::from_micros(10));
    let told = batch(&mut sim, 0).unwrap();
    assert_eq!((states(&told), told.finished), (vec![("f", State::Finished); 3], 3));
}
