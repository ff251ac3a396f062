//! Leases, workers, other nodes, and ends of all kinds.

use super::{Stage, id};
use crate::core::{AskId, Effect, Exit, ReplyId, Timer};
use manta_proto::{
    ids::{LeaseId, NodeId, ProcessId},
    v1::{self, head_to_node, lease_reply, node_to_head, node_to_process, process_to_node},
};

#[test]
fn a_worker_is_leased_given_back_and_leased_again() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    assert_eq!(workers.len(), 1, "one worker for one CPU is started ahead");
    let first = stage.ask(driver, 1.0);
    stage.expect_nothing();
    stage.hello(workers[0], "python");
    let (lease, worker) = stage.expect_grant(driver, first);
    assert_eq!(worker, workers[0]);
    let second = stage.ask(driver, 1.0);
    stage.expect_nothing();
    stage.give_back(driver, lease);
    stage.expect_slot_released(worker);
    let (_, again) = stage.expect_grant(driver, second);
    assert_eq!(again, worker);
}

#[test]
fn a_jobs_first_worker_starts_alone_and_the_others_when_it_is_ready_or_wanted() {
    let mut stage = Stage::new(4.0);
    let (driver, first) = stage.driver(2, "python");
    assert_eq!(first.len(), 1);
    stage.hello(first[0], "python");
    assert_eq!(stage.started().len(), 3);
    let request = stage.ask(driver, 1.0);
    assert_eq!(stage.expect_grant(driver, request).1, first[0]);
    let mut stage = Stage::new(4.0);
    let (driver, first) = stage.driver(2, "python");
    let requests = [(); 3].map(|()| stage.ask(driver, 1.0));
    assert_eq!(stage.started().len(), 2, "who waits for a worker does not wait for another to be ready");
    stage.hello(first[0], "python");
    stage.expect_grant(driver, requests[0]);
    assert_eq!(stage.started().len(), 1);
}

/// A node of one CPU with its only worker leased, and a peer with one CPU free.
fn full_with_peer() -> (Stage, ProcessId, LeaseId, ProcessId) {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    let request = stage.ask(driver, 1.0);
    let (lease, worker) = stage.expect_grant(driver, request);
    let view = stage.view(&[(7, 1.0, 1.0)]);
    stage.head(head_to_node::Message::View(view));
    stage.expect_process(worker, |message| matches!(message, node_to_process::Message::View(_)));
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::View(_)));
    (stage, driver, lease, worker)
}

pub(super) fn expect_ask(stage: &mut Stage) -> AskId {
    match stage.expect(|effect| matches!(effect, Effect::AskLease { .. })) {
        Effect::AskLease { ask, node, address, request } => {
            assert_eq!((node, &*address, request.spillback_count), (NodeId(id(7)), "peer-7:1", 1));
            ask
        }
        _ => unreachable!("looked at above"),
    }
}

fn granted() -> Result<v1::LeaseReply, String> {
    let grant = v1::LeaseGrant { lease_id: LeaseId(id(9)).to_bytes(), ..v1::LeaseGrant::default() };
    Ok(v1::LeaseReply {
        request_id: 2,
        result: Some(lease_reply::Result::Granted(grant)),
        ..v1::LeaseReply::default()
    })
}

#[test]
fn what_does_not_fit_here_is_leased_from_a_peer() {
    let (mut stage, driver, _, _) = full_with_peer();
    stage.ask(driver, 1.0);
    let ask = expect_ask(&mut stage);
    stage.ask(driver, 1.0);
    stage.expect_nothing();
    stage.core.on_lease_answer(ask, NodeId(id(7)), granted());
    stage.settle();
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::Lease(_)));
    stage.give_back(driver, LeaseId(id(9)));
    stage.expect(|effect| matches!(effect, Effect::ReturnLease { .. }));
}

#[test]
fn a_busy_peer_is_asked_again_when_the_view_changes() {
    let (mut stage, driver, _, _) = full_with_peer();
    stage.ask(driver, 1.0);
    let ask = expect_ask(&mut stage);
    let busy = v1::LeaseReply {
        request_id: 2,
        result: Some(lease_reply::Result::Busy(v1::LeaseBusy {})),
        ..v1::LeaseReply::default()
    };
    stage.core.on_lease_answer(ask, NodeId(id(7)), Ok(busy));
    stage.settle();
    stage.expect_nothing();
    let view = stage.view(&[(7, 1.0, 1.0)]);
    stage.head(head_to_node::Message::View(view));
    expect_ask(&mut stage);
}

#[test]
fn a_busy_peer_is_asked_again_though_the_view_stays_as_it_is() {
    let (mut stage, driver, _, _) = full_with_peer();
    stage.ask(driver, 1.0);
    let ask = expect_ask(&mut stage);
    assert_eq!(stage.spill_timers, 0);
    let busy = v1::LeaseReply {
        request_id: 2,
        result: Some(lease_reply::Result::Busy(v1::LeaseBusy {})),
        ..v1::LeaseReply::default()
    };
    stage.core.on_lease_answer(ask, NodeId(id(7)), Ok(busy));
    stage.settle();
    assert_eq!(stage.spill_timers, 1);
    stage.core.on_timer(Timer::Spill);
    stage.settle();
    expect_ask(&mut stage);
    assert_eq!(stage.spill_timers, 1, "nobody waits in the queue now");
}

#[test]
fn a_cancelled_request_gives_the_peers_lease_back() {
    let (mut stage, driver, _, _) = full_with_peer();
    let request_id = stage.ask(driver, 1.0);
    let ask = expect_ask(&mut stage);
    stage.say(driver, process_to_node::Message::CancelLease(v1::LeaseCancel { request_id }));
    stage.core.on_lease_answer(ask, NodeId(id(7)), granted());
    stage.settle();
    stage.expect(|effect| matches!(effect, Effect::ReturnLease { worker_unusable: false, .. }));
}

#[test]
fn a_peer_that_is_lost_while_asked_does_not_lose_the_request() {
    let (mut stage, driver, lease, worker) = full_with_peer();
    let request = stage.ask(driver, 1.0);
    expect_ask(&mut stage);
    let view = stage.view(&[]);
    stage.head(head_to_node::Message::View(view));
    stage.expect_process(worker, |message| matches!(message, node_to_process::Message::View(_)));
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::View(_)));
    stage.give_back(driver, lease);
    stage.expect_slot_released(worker);
    stage.expect_grant(driver, request);
}

#[test]
fn a_blocked_lease_gives_its_cpu_back() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    let request = stage.ask(driver, 1.0);
    let (lease, worker) = stage.expect_grant(driver, request);
    let second = stage.ask(driver, 1.0);
    let blocked =
        |blocked| process_to_node::Message::Blocked(v1::LeaseBlocked { lease_id: lease.to_bytes(), blocked });
    stage.say(worker, blocked(true));
    let started = stage.started();
    assert_eq!(started.len(), 1, "the blocked worker's CPU goes to a second one");
    stage.hello(started[0], "python");
    let (other, _) = stage.expect_grant(driver, second);
    stage.say(worker, blocked(false));
    assert_eq!(stage.core.budget.available().amount("CPU"), 0);
    stage.give_back(driver, other);
    stage.expect_slot_released(started[0]);
    assert_eq!(stage.core.budget.available().amount("CPU"), 0, "the first still has its CPU");
    stage.give_back(driver, lease);
    stage.expect_slot_released(worker);
    assert_eq!(stage.core.budget.available().amount("CPU"), 10_000);
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Idle(spare), _) if *spare == worker));
    stage.core.on_timer(Timer::Idle(worker));
    stage.settle();
    stage.expect(|effect| *effect == Effect::EndWorker(worker));
    stage.core.on_timer(Timer::Idle(started[0]));
    stage.settle();
    assert!(stage.effects.is_empty(), "as many as there are CPUs stay");
}

#[test]
fn a_worker_that_cannot_start_refuses_those_who_wait_with_its_words() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    let request = stage.ask(driver, 1.0);
    stage.core.on_worker_spawned(workers[0], 4711);
    let exit = Exit { code: 1, last_stderr: vec!["No module named manta".into()], ..Exit::default() };
    stage.core.on_worker_exited(workers[0], &exit);
    stage.settle();
    let sentence = stage.expect_refusal(driver, request);
    assert_eq!(
        sentence,
        "a python worker could not start on node-1: worker 4711 on node-1 exited with code 1; its last lines on stderr:\n\
         No module named manta"
    );
    stage.expect(|effect| *effect == Effect::Close(workers[0]));
    assert_eq!(stage.core.budget.available().amount("CPU"), 10_000);
}

#[test]
fn a_worker_that_is_killed_while_it_starts_is_replaced_some_times() {
    let mut stage = Stage::new(1.0);
    let (driver, mut workers) = stage.driver(2, "python");
    let request = stage.ask(driver, 1.0);
    let killed = Exit { signal: 9, ..Exit::default() };
    for _ in 0..2 {
        stage.core.on_worker_exited(workers[0], &killed);
        stage.settle();
        stage.expect(|effect| *effect == Effect::Close(workers[0]));
        workers = stage.started();
        assert_eq!(workers.len(), 1, "another one is tried");
    }
    stage.core.on_worker_exited(workers[0], &killed);
    stage.settle();
    assert!(stage.expect_refusal(driver, request).contains("killed by signal 9 (SIGKILL)"));
    stage.expect(|effect| *effect == Effect::Close(workers[0]));
}

#[test]
fn a_worker_whose_connection_ends_gets_no_lease_and_has_time_to_end_by_itself() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    stage.hello(workers[0], "python");
    stage.core.on_detached(workers[0]);
    stage.settle();
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Detached(_), _)));
    let request = stage.ask(driver, 1.0);
    let started = stage.started();
    stage.core.on_worker_exited(workers[0], &Exit { code: 3, ..Exit::default() });
    stage.settle();
    match stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_))) {
        node_to_head::Message::TargetDown(down) => {
            assert!(down.cause.ends_with("exited with code 3"), "{}", down.cause);
        }
        _ => unreachable!("looked at above"),
    }
    stage.expect(|effect| *effect == Effect::Close(workers[0]));
    stage.core.on_timer(Timer::Detached(workers[0]));
    stage.settle();
    stage.hello(started[0], "python");
    stage.expect_grant(driver, request);
}

#[test]
fn a_worker_that_says_nothing_is_ended_in_time() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    let request = stage.ask(driver, 1.0);
    stage.core.on_timer(Timer::WorkerStart(workers[0]));
    stage.settle();
    assert!(stage.expect_refusal(driver, request).contains("did not say hello within 30 seconds"));
    stage.expect(|effect| *effect == Effect::EndWorker(workers[0]));
}

#[test]
fn a_worker_whose_program_is_fetched_has_its_time_to_start_afterwards() {
    let mut stage = Stage::new(1.0);
    let (driver, workers) = stage.driver(2, "python");
    let (worker, request) = (workers[0], stage.ask(driver, 1.0));
    stage.core.on_program_awaited(worker);
    stage.core.on_timer(Timer::WorkerStart(worker));
    stage.settle();
    stage.expect_nothing();
    stage.core.on_worker_spawned(worker, 300);
    stage.settle();
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::WorkerStart(of), _) if *of == worker));
    stage.core.on_timer(Timer::WorkerStart(worker));
    stage.settle();
    assert!(stage.expect_refusal(driver, request).contains("did not say hello within 30 seconds"));
    stage.expect(|effect| *effect == Effect::EndWorker(worker));
}

#[test]
fn a_driver_asks_with_what_its_node_has_found_out_of_its_program() {
    let mut stage = Stage::new(1.0);
    let driver = ProcessId(id(2));
    let origin = v1::JobOrigin { machine_id: "here".into(), ..v1::JobOrigin::default() };
    let job = v1::JobConfig { origin: Some(origin.clone()), ..Stage::job(2, "rust") };
    let hello = v1::ProcessHello {
        kind: v1::process_hello::Kind::Driver.into(),
        process_id: driver.to_bytes(),
        job: Some(job),
        ..v1::ProcessHello::default()
    };
    stage.core.on_attached(hello, 5).unwrap();
    stage.settle();
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::Welcome(_)));
    stage.expect_head(|message| matches!(message, node_to_head::Message::JobStarted(_)));
    let started = stage.started();
    stage.head(head_to_node::Message::View(stage.view(&[(7, 4.0, 4.0)])));
    stage.effects.clear();
    let mut request = Stage::request(driver, 2, 2.0, 1);
    request.job = Some(Stage::job(2, "rust"));
    stage.say(driver, process_to_node::Message::RequestLease(request));
    let ask = stage.expect(|effect| matches!(effect, Effect::AskLease { .. }));
    let Effect::AskLease { request, .. } = ask else { unreachable!("looked at above") };
    assert_eq!(request.job.unwrap().origin, Some(origin));
    assert_eq!(started.len(), 1);
}

#[test]
fn the_end_of_a_driver_ends_its_job() {
    let (mut stage, driver, _, worker) = full_with_peer();
    stage.ask(driver, 1.0);
    let ask = expect_ask(&mut stage);
    stage.core.on_lease_answer(ask, NodeId(id(7)), granted());
    stage.settle();
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::Lease(_)));
    stage.core.on_detached(driver);
    stage.settle();
    stage.expect_head(|message| matches!(message, node_to_head::Message::JobEnded(_)));
    stage.expect(|effect| *effect == Effect::EndWorker(worker));
    stage.expect(|effect| matches!(effect, Effect::ReturnLease { worker_unusable: true, .. }));
    stage.core.on_worker_exited(worker, &Exit { signal: 15, ..Exit::default() });
    stage.settle();
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    stage.expect(|effect| *effect == Effect::Close(worker));
    assert_eq!(stage.core.budget.available().amount("CPU"), 10_000);
}

#[test]
fn the_exact_end_of_a_worker_is_told_to_who_asks_before_and_after() {
    let (mut stage, driver, _, worker) = full_with_peer();
    let request = |request_id| {
        process_to_node::Message::Fate(v1::WorkerFateRequest {
            request_id,
            worker_id: worker.to_bytes(),
            node_id: NodeId(id(1)).to_bytes(),
        })
    };
    stage.say(driver, request(11));
    stage.expect(|effect| matches!(effect, Effect::Timer(Timer::Fate(_), _)));
    let exit = Exit { signal: 9, last_stderr: vec!["last".into()], ..Exit::default() };
    stage.core.on_worker_exited(worker, &exit);
    stage.settle();
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    let check = |message: &node_to_process::Message, request_id| {
        let node_to_process::Message::Fate(fate) = message else { return false };
        assert!(fate.sentence.ends_with("on node-1 was killed by signal 9 (SIGKILL)"), "{}", fate.sentence);
        fate.request_id == request_id && fate.last_stderr == ["last"] && !fate.intended
    };
    stage.expect_process(driver, |message| check(message, 11));
    stage.expect(|effect| *effect == Effect::Close(worker));
    stage.say(driver, request(12));
    stage.expect_process(driver, |message| check(message, 12));
}

#[test]
fn a_peers_request_is_answered_at_once() {
    let mut stage = Stage::new(1.0);
    let view = stage.view(&[(7, 1.0, 0.0)]);
    stage.head(head_to_node::Message::View(view));
    let owner = ProcessId(id(8));
    stage.core.on_peer_lease(ReplyId(1), NodeId(id(7)), Stage::request(owner, 3, 1.0, 1));
    stage.settle();
    let started = stage.started();
    stage.core.on_peer_lease(ReplyId(2), NodeId(id(7)), Stage::request(owner, 3, 1.0, 2));
    stage.settle();
    let busy = stage.expect(|effect| matches!(effect, Effect::AnswerLease(ReplyId(2), _)));
    assert!(format!("{busy:?}").contains("Busy"), "{busy:?}");
    stage.hello(started[0], "python");
    stage.expect_process(started[0], |message| matches!(message, node_to_process::Message::Slot(_)));
    stage.expect(|effect| matches!(effect, Effect::AnswerLease(ReplyId(1), _)));
    // The owner's node is lost: its worker may be busy for nobody.
    let view = stage.view(&[]);
    stage.head(head_to_node::Message::View(view));
    stage.expect_slot_released(started[0]);
    stage.expect(|effect| *effect == Effect::EndWorker(started[0]));
    stage.expect_process(started[0], |message| matches!(message, node_to_process::Message::View(_)));
    assert_eq!(stage.core.budget.available().amount("CPU"), 10_000);
}
