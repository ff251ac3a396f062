//! Many random histories: whatever happens, nothing is granted twice, and what was taken comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Stage, cpus};
use crate::core::{Effect, Exit};
use manta_proto::{
    ids::{LeaseId, ProcessId},
    v1::{self, lease_reply, node_to_process, process_to_node},
};

/// A small generator (xorshift), so that a failing history is repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[derive(Default)]
struct World {
    starting: Vec<ProcessId>,
    alive: BTreeSet<ProcessId>,
    leases: BTreeMap<LeaseId, ProcessId>,
}

impl World {
    /// Plays everything around the node.
    fn play(&mut self, stage: &mut Stage) {
        while let Some(effect) = stage.effects.pop_front() {
            match effect {
                Effect::StartWorker { worker, .. } => self.starting.push(worker),
                Effect::EndWorker(worker) => {
                    self.starting.retain(|other| *other != worker);
                    self.alive.remove(&worker);
                    self.leases.retain(|_, of| *of != worker);
                    stage.core.on_worker_exited(worker, &Exit { signal: 15, ..Exit::default() });
                    stage.settle();
                }
                Effect::ToProcess(_, message) => self.hear(message),
                _ => {}
            }
        }
    }

    fn hear(&mut self, message: v1::NodeToProcess) {
        let Some(node_to_process::Message::Lease(reply)) = message.message else { return };
        let Some(lease_reply::Result::Granted(grant)) = reply.result else { return };
        let lease = LeaseId::try_from(&grant.lease_id).unwrap();
        let worker = ProcessId::try_from(&grant.worker_id).unwrap();
        assert!(self.alive.contains(&worker), "a lease on a worker that is not there");
        assert!(!self.leases.values().any(|other| *other == worker), "a Python worker has one slot");
        assert!(self.leases.insert(lease, worker).is_none(), "a lease id twice");
    }
}

fn history(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut stage = Stage::new(3.0);
    let mut world = World::default();
    let (driver, started) = stage.driver(2, "python");
    world.starting = started;
    for request in 0..60 {
        match dice.below(7) {
            0..=2 => {
                let need = [0.5, 1.0, 2.0][dice.below(3)];
                stage.ask(driver, need);
            }
            3 if !world.starting.is_empty() => {
                let worker = world.starting.swap_remove(dice.below(world.starting.len()));
                world.alive.insert(worker);
                stage.hello(worker, "python");
            }
            4 if !world.leases.is_empty() => {
                let lease = *world.leases.keys().nth(dice.below(world.leases.len())).unwrap();
                world.leases.remove(&lease);
                stage.give_back(driver, lease);
            }
            5 if !world.leases.is_empty() => {
                let (lease, worker) = world.leases.iter().nth(dice.below(world.leases.len())).unwrap();
                let (lease, worker) = (*lease, *worker);
                let blocked = v1::LeaseBlocked { lease_id: lease.to_bytes(), blocked: dice.below(2) == 0 };
                stage.say(worker, process_to_node::Message::Blocked(blocked));
            }
            6 if dice.below(4) == 0 && !world.alive.is_empty() => {
                let worker = *world.alive.iter().nth(dice.below(world.alive.len())).unwrap();
                stage.effects.push_back(Effect::EndWorker(worker));
            }
            _ => {
                let cancel = v1::LeaseCancel { request_id: dice.below(request + 1) as u64 };
                stage.say(driver, process_to_node::Message::CancelLease(cancel));
            }
        }
        world.play(&mut stage);
    }
    stage.core.on_detached(driver);
    stage.settle();
    world.play(&mut stage);
    assert_eq!(stage.core.budget.available(), cpus(3.0), "seed {seed}: not everything came back");
    assert!(stage.core.has_no_workers(), "seed {seed}: a worker outlived its job");
    assert_eq!(stage.core.leases.pending(), 0, "seed {seed}: a request outlived its owner");
    assert!(stage.core.pools.is_empty(), "seed {seed}: a pool outlived its job");
}

#[test]
fn everything_comes_back_in_every_history() {
    for seed in 1..2_000 {
        history(seed);
    }
}
