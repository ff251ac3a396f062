//! Bundles of placement groups on one node.

use super::Stage;
use crate::{core::Effect, resources::Resources};
use manta_proto::{
    ids::ProcessId,
    v1::{self, head_to_node, node_to_head, process_to_node},
};

const GROUP: [u8; 16] = [0xab; 16];

fn group() -> String {
    "ab".repeat(16)
}

impl Stage {
    /// The head wants bundles of so many CPUs; whether they were reserved.
    fn reserve(&mut self, attempt: u64, cpus: &[f64]) -> bool {
        let bundle = |(index, count): (u32, &f64)| v1::Bundle {
            index,
            resources: Some(super::cpus(*count).to_wire()),
            ..v1::Bundle::default()
        };
        let bundles = (0..).zip(cpus).map(bundle).collect();
        let request = v1::ReserveBundles { group_id: GROUP.to_vec().into(), attempt, bundles };
        self.head(head_to_node::Message::ReserveBundles(request));
        let answer = self.expect_head(|message| matches!(message, node_to_head::Message::BundlesReserved(_)));
        let node_to_head::Message::BundlesReserved(answer) = answer else { unreachable!("looked at above") };
        assert_eq!(answer.attempt, attempt);
        answer.reserved
    }

    fn commit(&mut self, attempt: u64) {
        let commit = v1::CommitBundles { group_id: GROUP.to_vec().into(), attempt };
        self.head(head_to_node::Message::CommitBundles(commit));
    }

    fn take_back(&mut self, attempt: u64, removed: bool) {
        let back = v1::ReturnBundles { group_id: GROUP.to_vec().into(), attempt, removed };
        self.head(head_to_node::Message::ReturnBundles(back));
    }

    /// Asks for one CPU of a bundle.
    fn ask_in(&mut self, owner: ProcessId, index: u32, request_id: u64) {
        let names = [format!("CPU_group_{}", group()), format!("CPU_group_{index}_{}", group())];
        let need: Resources = names.into_iter().map(|name| (name, 10_000)).collect();
        let request = v1::LeaseRequest {
            resources: Some(need.to_wire()),
            ..Self::request(owner, owner.0[0], 1.0, request_id)
        };
        self.say(owner, process_to_node::Message::RequestLease(request));
    }

    fn free(&self, name: &str) -> u64 {
        self.core.load().available.unwrap().amounts.get(name).copied().unwrap_or(0)
    }
}

#[test]
fn tasks_wait_for_their_bundle_and_run_in_it() {
    let mut stage = Stage::new(2.0);
    let (driver, _) = stage.driver_with_workers(2, "python");
    stage.ask_in(driver, 0, 71);
    stage.expect_nothing();
    assert!(stage.reserve(1, &[1.0]));
    stage.expect_nothing();
    assert_eq!(stage.free("CPU"), 10_000);
    stage.commit(1);
    let (lease, worker) = stage.expect_grant(driver, 71);
    assert_eq!(stage.free(&format!("CPU_group_0_{}", group())), 0);
    assert_eq!(stage.free(&format!("bundle_group_{}", group())), 10_000_000);
    // The bundle is full, though the node is not.
    stage.ask_in(driver, 0, 72);
    stage.expect_nothing();
    stage.give_back(driver, lease);
    stage.expect_slot_released(worker);
    stage.expect_grant(driver, 72);
}

#[test]
fn a_bundle_that_does_not_fit_is_not_reserved_and_one_of_a_failed_attempt_comes_back() {
    let mut stage = Stage::new(2.0);
    assert!(!stage.reserve(1, &[1.0, 2.0]));
    assert_eq!(stage.free("CPU"), 20_000);
    assert!(stage.reserve(2, &[1.0, 1.0]));
    assert_eq!(stage.free("CPU"), 0);
    stage.take_back(1, false);
    assert_eq!(stage.free("CPU"), 0);
    stage.take_back(2, false);
    assert_eq!(stage.free("CPU"), 20_000);
}

#[test]
fn a_removed_group_ends_its_tasks_refuses_those_that_wait_and_gives_its_resources_back() {
    let mut stage = Stage::new(2.0);
    let (driver, _) = stage.driver_with_workers(2, "python");
    assert!(stage.reserve(1, &[1.0]));
    stage.commit(1);
    stage.ask_in(driver, 0, 71);
    let (_, worker) = stage.expect_grant(driver, 71);
    stage.ask_in(driver, 0, 72);
    stage.take_back(0, true);
    let sentence = stage.expect_refusal(driver, 72);
    assert!(sentence.contains("was removed"), "{sentence}");
    stage.expect(|effect| *effect == Effect::EndWorker(worker));
    stage.ask_in(driver, 0, 73);
    assert!(stage.expect_refusal(driver, 73).starts_with("its placement group"));
    stage.core.on_worker_exited(worker, &crate::core::Exit { signal: 15, ..Default::default() });
    stage.settle();
    stage.expect_head(|message| matches!(message, node_to_head::Message::TargetDown(_)));
    stage.expect(|effect| *effect == Effect::Close(worker));
    assert_eq!(stage.free("CPU"), 20_000);
    assert_eq!(stage.core.load().total.unwrap().amounts.len(), 1);
}

#[test]
fn what_waits_for_a_group_without_nodes_fails_until_there_are_some() {
    let mut stage = Stage::new(2.0);
    let (driver, _) = stage.driver_with_workers(2, "python");
    let news = |sentence: &str| {
        head_to_node::Message::HopelessGroup(v1::HopelessGroup {
            group_id: GROUP.to_vec().into(),
            sentence: sentence.into(),
        })
    };
    stage.ask_in(driver, 0, 1);
    stage.expect_nothing();
    stage.head(news("it cannot be placed"));
    assert_eq!(stage.expect_refusal(driver, 1), "it cannot be placed");
    stage.ask_in(driver, 0, 2);
    assert_eq!(stage.expect_refusal(driver, 2), "it cannot be placed");
    stage.head(news(""));
    stage.ask_in(driver, 0, 3);
    stage.expect_nothing();
    assert!(stage.reserve(1, &[1.0]));
    stage.commit(1);
    stage.expect_grant(driver, 3);
}
