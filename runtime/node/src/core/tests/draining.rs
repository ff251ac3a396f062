//! Draining: what a node that leaves still does, and where its objects go.

use manta_proto::{
    ids::{JobId, NodeId, ObjectId, ProcessId, TaskId},
    v1::{self, head_to_node, node_to_process, process_to_node},
};

use super::{Stage, id};
use crate::core::{Effect, Exit, Timer};

fn object(byte: u8) -> ObjectId {
    ObjectId::of(TaskId([byte; 16]), 0)
}

fn drain(stage: &mut Stage) {
    let drain = v1::Drain { reason: "maintenance".into(), deadline_ms: 0 };
    stage.head(head_to_node::Message::Drain(drain));
}

fn seal(stage: &mut Stage, process: ProcessId, byte: u8) {
    let sealed = v1::ObjectSealed { object_id: object(byte).to_bytes(), size: 10, spilled: false };
    stage.say(process, process_to_node::Message::Sealed(sealed));
}

fn expect_exit(stage: &mut Stage) {
    stage.expect(|effect| matches!(effect, Effect::Exit { cause } if cause.contains("maintenance")));
}

#[test]
fn a_drained_node_takes_nothing_new_and_leaves_when_it_is_empty() {
    let mut stage = Stage::new(2.0);
    let (driver, _) = stage.driver_with_workers(2, "python");
    let request = stage.ask(driver, 1.0);
    let (lease, worker) = stage.expect_grant(driver, request);
    let drain = v1::Drain { reason: "maintenance".into(), deadline_ms: 5000 };
    stage.head(head_to_node::Message::Drain(drain));
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Drain, _)));
    assert!(stage.core.load().draining);
    let refused = stage.ask(driver, 1.0);
    let sentence = stage.expect_refusal(driver, refused);
    assert!(sentence.contains("node-1 is being drained (maintenance)"), "{sentence}");
    stage.give_back(driver, lease);
    stage.expect_slot_released(worker);
    // The driver still runs here.
    stage.expect_nothing();
    stage.core.on_timer(Timer::Drain);
    stage.settle();
    stage.expect(|effect| matches!(effect, Effect::Exit { cause } if cause.contains("the time for what it ran is over")));
}

/// A node with an object that a peer's driver owns, which is being drained; peers 2 and 3 are there.
fn leaving() -> Stage {
    let mut stage = Stage::new(1.0);
    let view = stage.view(&[(2, 1.0, 1.0), (3, 2.0, 2.0)]);
    stage.head(head_to_node::Message::View(view));
    stage.core.on_taken_over(object(1), JobId(id(7)), 10, false);
    drain(&mut stage);
    stage
}

fn expect_move(stage: &mut Stage, to: u8) {
    let others = vec!["peer-2:1".to_owned(), "peer-3:1".to_owned()];
    let (heir, address) = (NodeId(id(to)), format!("peer-{to}:1"));
    let objects = vec![(object(1), JobId(id(7)))];
    stage.expect(|effect| *effect == Effect::MoveObjects { heir, address, objects, others });
}

#[test]
fn a_node_leaves_when_another_has_its_objects() {
    let mut stage = leaving();
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Move, _)));
    expect_move(&mut stage, 3);
    // What is freed now may be there already.
    stage.core.on_peer_free(&[object(1).to_bytes()]);
    stage.settle();
    let (addresses, objects) = (vec!["peer-3:1".to_owned()], vec![object(1)]);
    stage.expect(|effect| *effect == Effect::FreeOnPeers { addresses, objects });
    stage.expect(|effect| *effect == Effect::DeleteObjects(vec![object(1)]));
    stage.core.on_moved(Ok(()));
    stage.settle();
    expect_exit(&mut stage);
}

#[test]
fn a_peer_that_cannot_take_the_objects_is_one_of_several() {
    let mut stage = leaving();
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Move, _)));
    for peer in [3, 2] {
        expect_move(&mut stage, peer);
        stage.core.on_moved(Err("it is gone".into()));
        stage.settle();
    }
    expect_exit(&mut stage);
}

#[test]
fn objects_of_a_node_that_left_are_fetched_from_its_heirs_heir() {
    let mut stage = Stage::new(1.0);
    let view = stage.view(&[(3, 1.0, 1.0)]);
    stage.head(head_to_node::Message::View(view));
    let (driver, _) = stage.driver(4, "python");
    stage.core.on_peer_moved(NodeId(id(9)), NodeId(id(8)));
    stage.core.on_peer_moved(NodeId(id(8)), NodeId(id(3)));
    let pull =
        v1::PullObject { request_id: 1, object_id: object(1).to_bytes(), node_id: NodeId(id(9)).to_bytes() };
    stage.say(driver, process_to_node::Message::Pull(pull));
    let addresses = vec!["peer-3:1".to_owned()];
    stage.expect(|effect| *effect == Effect::Pull { object: object(1), addresses });
    stage.core.on_pulled(object(1), &Ok((10, false)));
    stage.settle();
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::Pulled(_)));
    let free = v1::FreeObjectsRequest { object_ids: vec![object(1).to_bytes()] };
    stage.say(driver, process_to_node::Message::Free(free));
    // Its owner knows only of the node that left.
    let (addresses, objects) = (vec!["peer-3:1".to_owned()], vec![object(1)]);
    stage.expect(|effect| *effect == Effect::FreeOnPeers { addresses, objects });
    stage.expect(|effect| *effect == Effect::DeleteObjects(vec![object(1)]));
}

#[test]
fn a_node_that_joins_later_hears_from_the_last_heir_where_objects_are() {
    let mut stage = Stage::new(1.0);
    let me = NodeId(id(1));
    let view = stage.view(&[(3, 1.0, 1.0)]);
    stage.head(head_to_node::Message::View(view));
    stage.core.on_peer_moved(NodeId(id(9)), NodeId(id(8)));
    // This left its objects to another that is still there.
    stage.core.on_peer_moved(NodeId(id(7)), NodeId(id(3)));
    stage.settle();
    stage.expect_nothing();
    let told = |peer: u8, moves: &[(u8, NodeId)]| Effect::TellMoved {
        address: format!("peer-{peer}:1"),
        moves: moves.iter().map(|(from, to)| (NodeId(id(*from)), *to)).collect(),
    };
    stage.core.on_peer_moved(NodeId(id(8)), me);
    stage.core.on_peer_moved(NodeId(id(8)), me);
    stage.settle();
    // Who joined while node 8 left may be unknown to it.
    stage.expect(|effect| *effect == told(3, &[(8, me)]));
    stage.expect_nothing();
    let view = stage.view(&[(3, 1.0, 1.0), (4, 1.0, 1.0)]);
    stage.head(head_to_node::Message::View(view));
    stage.expect(|effect| *effect == told(4, &[(9, NodeId(id(8))), (8, me)]));
    stage.expect_nothing();
}

#[test]
fn what_a_worker_said_before_its_end_counts_although_it_is_read_later() {
    let mut stage = Stage::new(2.0);
    let (driver, _) = stage.driver_with_workers(2, "python");
    let request = stage.ask(driver, 1.0);
    let (_, worker) = stage.expect_grant(driver, request);
    stage.core.on_worker_exited(worker, &Exit { signal: 9, ..Exit::default() });
    stage.settle();
    stage.effects.clear();
    seal(&mut stage, worker, 5);
    stage.expect_nothing();
    assert_eq!(stage.core.load().running_tasks, 0);
    assert_eq!(stage.core.stored_objects(), (1, 10));
    stage.core.on_detached(worker);
    seal(&mut stage, worker, 6);
    assert_eq!(
        stage.expect(|_| true),
        Effect::DeleteObjects(vec![object(6)]),
        "nobody knows of what job it is"
    );
}
