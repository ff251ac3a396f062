//! What no node of the cluster can run.

use manta_proto::{
    ids::{NodeId, ProcessId},
    v1::{self, head_to_node, node_to_head, node_to_process, process_to_node},
};

use super::{Stage, id, leasing::expect_ask};
use crate::core::{Effect, Timer};

const LACKS: &str =
    "task 'f' needs CPU 64, and no node of the cluster has that much: node-1 has CPU 2; node-7 has CPU 4;";

/// A node of two CPUs and a driver with a view of it and a peer of four.
fn too_small() -> (Stage, ProcessId) {
    let mut stage = Stage::new(2.0);
    let (driver, _) = stage.driver(2, "python");
    stage.see(driver, &[(7, 4.0, 4.0)]);
    (stage, driver)
}

impl Stage {
    fn see(&mut self, driver: ProcessId, peers: &[(u8, f64, f64)]) {
        let view = self.view(peers);
        self.head(head_to_node::Message::View(view));
        self.expect_process(driver, |message| matches!(message, node_to_process::Message::View(_)));
    }

    fn expect_infeasible_timer(&mut self, seconds: u64) -> Timer {
        match self.expect(|effect| matches!(effect, Effect::Timer(Timer::Infeasible { .. }, _))) {
            Effect::Timer(timer, time) => {
                assert_eq!(time, std::time::Duration::from_secs(seconds));
                timer
            }
            _ => unreachable!("looked at above"),
        }
    }

    fn expect_warning(&mut self, driver: ProcessId) -> String {
        let mut text = String::new();
        self.expect_process(driver, |message| match message {
            node_to_process::Message::Output(output) => {
                text.clone_from(&output.text);
                output.stderr && output.task_name == "scheduler"
            }
            _ => false,
        });
        self.expect_head(|message| matches!(message, node_to_head::Message::Output(_)));
        text
    }
}

#[test]
fn what_no_node_has_waits_its_time_with_a_warning_and_is_refused_then() {
    let (mut stage, driver) = too_small();
    let request = stage.ask(driver, 64.0);
    let timer = stage.expect_infeasible_timer(20);
    let warning = stage.expect_warning(driver);
    assert!(warning.starts_with(LACKS) && warning.contains("It fails in 20 s unless"), "{warning}");
    let second = stage.ask(driver, 64.0);
    let of_second = stage.expect_infeasible_timer(20);
    // The driver has been told of the like already.
    stage.expect_nothing();
    assert!(stage.core.explain().to_string().contains("no node of the cluster can run it; it fails"));
    stage.core.on_timer(timer);
    stage.settle();
    let sentence = stage.expect_refusal(driver, request);
    assert!(sentence.starts_with(LACKS), "{sentence}");
    stage.core.on_timer(of_second);
    stage.settle();
    stage.expect_refusal(driver, second);
    // One that comes after them is a new one to the driver.
    stage.ask(driver, 64.0);
    stage.expect_infeasible_timer(20);
    stage.expect_warning(driver);
}

#[test]
fn what_no_node_has_runs_on_one_that_joins_in_time() {
    let (mut stage, driver) = too_small();
    stage.ask(driver, 64.0);
    let timer = stage.expect_infeasible_timer(20);
    stage.expect_warning(driver);
    stage.see(driver, &[(7, 4.0, 4.0), (8, 64.0, 64.0)]);
    stage.expect(|effect| matches!(effect, Effect::AskLease { node, .. } if *node == NodeId(id(8))));
    stage.core.on_timer(timer);
    stage.settle();
    stage.expect_nothing();
}

#[test]
fn what_becomes_impossible_when_a_node_leaves_waits_anew() {
    let (mut stage, driver) = too_small();
    stage.ask(driver, 4.0);
    let ask = expect_ask(&mut stage);
    stage.core.on_lease_answer(ask, NodeId(id(7)), Ok(v1::LeaseReply::default()));
    stage.settle();
    stage.expect_nothing();
    let view = stage.view(&[]);
    stage.head(head_to_node::Message::View(view));
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::View(_)));
    let first = stage.expect_infeasible_timer(20);
    stage.expect_warning(driver);
    stage.see(driver, &[(7, 4.0, 0.0)]);
    stage.see(driver, &[]);
    let second = stage.expect_infeasible_timer(20);
    stage.expect_warning(driver);
    // The time of the first wait says nothing about the second.
    stage.core.on_timer(first);
    stage.settle();
    stage.expect_nothing();
    stage.core.on_timer(second);
    stage.settle();
    stage.expect_process(driver, |message| matches!(message, node_to_process::Message::Lease(_)));
}

#[test]
fn a_job_says_how_long_it_waits_for_what_no_node_has() {
    let (mut stage, driver) = too_small();
    let ask = |stage: &mut Stage, request_id: u64, ms: u64| {
        let job = v1::JobConfig { infeasible_ms: Some(ms), ..Stage::job(2, "python") };
        let request = v1::LeaseRequest { job: Some(job), ..Stage::request(driver, 2, 64.0, request_id) };
        stage.say(driver, process_to_node::Message::RequestLease(request));
    };
    ask(&mut stage, 70, 0);
    stage.expect_refusal(driver, 70);
    ask(&mut stage, 71, 3_000);
    stage.expect_infeasible_timer(3);
    stage.expect_warning(driver);
    stage.say(driver, process_to_node::Message::CancelLease(v1::LeaseCancel { request_id: 71 }));
    ask(&mut stage, 72, u64::MAX);
    assert!(stage.expect_warning(driver).contains("It waits until"));
    stage.expect_nothing();
}
