//! Leases on other nodes, for what does not fit here.

use std::time::Duration;

use manta_proto::{
    ids::{LeaseId, NodeId},
    v1::{LeaseReply, LeaseReturn, lease_reply},
};

use super::{
    AskId, Core, Effect, Timer,
    leases::{Asker, Class, Stage},
};

/// Questions to peers that are open at one time.
const ASKS_MAX: usize = 64;
/// What the view says of a peer may be out of date without ever changing again: who waits asks anew after this time.
const RETRY: Duration = Duration::from_millis(100);

impl Core {
    /// Has peers asked again in a while, when somebody waits for one.
    pub(super) fn arm_spill(&mut self) {
        let waits = !self.leases.queues.is_empty() && !self.peers.is_empty();
        if waits && !self.leases.spill_timer_runs {
            self.leases.spill_timer_runs = true;
            self.effects.push(Effect::Timer(Timer::Spill, RETRY));
        }
    }

    pub(super) fn on_spill_timer(&mut self) {
        self.leases.spill_timer_runs = false;
        for peer in self.peers.values_mut() {
            peer.busy = false;
            peer.available = peer.free.clone();
        }
        self.dispatch();
    }

    /// Whether another question to a peer may be open at the same time.
    pub(super) fn may_ask(&self) -> bool {
        self.leases.asks < ASKS_MAX
    }

    pub(super) fn ask_peer(&mut self, number: u64, node: NodeId) {
        let (Some(pending), Some(peer)) = (self.leases.pendings.get_mut(&number), self.peers.get_mut(&node))
        else {
            return;
        };
        pending.stage = Stage::AskingPeer(node);
        pending.in_vain = None;
        self.leases.asks += 1;
        peer.available.reduce(&pending.need);
        let mut request = Box::new(pending.request.clone());
        request.spillback_count += 1;
        request.owner_id = pending.owner.to_bytes();
        self.effects.push(Effect::AskLease {
            ask: AskId(number),
            node,
            address: peer.address.clone(),
            request,
        });
    }

    /// A peer answered, or could not be asked (`Err` with the cause).
    pub fn on_lease_answer(&mut self, ask: AskId, node: NodeId, answer: Result<LeaseReply, String>) {
        self.leases.asks = self.leases.asks.saturating_sub(1);
        let mut reply = answer.unwrap_or_else(|cause| {
            tracing::info!(%node, cause, "a peer could not be asked for a lease");
            LeaseReply::default()
        });
        let result = reply.result.take().unwrap_or(lease_reply::Result::Busy(manta_proto::v1::LeaseBusy {}));
        let asked =
            self.leases.pendings.get(&ask.0).is_some_and(|pending| pending.stage == Stage::AskingPeer(node));
        match result {
            lease_reply::Result::Granted(grant) => {
                let Ok(lease) = LeaseId::try_from(&grant.lease_id) else { return };
                if asked && let Some(pending) = self.leases.remove(ask.0) {
                    self.leases.elsewhere.insert(lease, (node, pending.owner));
                    self.on_actor_granted_elsewhere(lease, &pending.request);
                    self.answer(&pending, lease_reply::Result::Granted(grant));
                } else {
                    self.return_to_peer(lease, node, false, false);
                }
            }
            lease_reply::Result::Busy(_) => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.busy = true;
                }
                if asked {
                    self.queue_again(ask.0);
                }
            }
            lease_reply::Result::Refused(sentence) => {
                if asked && let Some(pending) = self.leases.remove(ask.0) {
                    let result = Some(lease_reply::Result::Refused(sentence));
                    self.answer_with(&pending, LeaseReply { result, ..reply });
                }
            }
        }
        self.dispatch();
    }

    fn queue_again(&mut self, number: u64) {
        let Some(pending) = self.leases.pendings.get_mut(&number) else { return };
        pending.stage = Stage::Queued;
        let class = Class::of(pending);
        let queue = self.leases.queues.entry(class).or_default();
        // Its number is its age: it goes back to its place.
        let place = queue.partition_point(|other| *other < number);
        queue.insert(place, number);
        self.watch_hopeless(number);
    }

    /// A peer gives a lease of ours back.
    pub fn on_peer_return(&mut self, returned: &LeaseReturn) {
        if let Ok(lease) = LeaseId::try_from(&returned.lease_id) {
            self.take_back(lease, returned);
        }
    }

    /// A node left the cluster.
    pub(super) fn on_peer_lost(&mut self, node: NodeId) {
        self.leases.elsewhere.retain(|_, (on, _)| *on != node);
        let mut asked: Vec<_> = self
            .leases
            .pendings
            .iter()
            .filter(|(_, pending)| pending.stage == Stage::AskingPeer(node))
            .map(|(number, _)| *number)
            .collect();
        asked.sort_unstable();
        for number in asked {
            self.queue_again(number);
        }
        let mut for_it: Vec<_> = self
            .leases
            .pendings
            .iter()
            .filter(|(_, pending)| matches!(pending.asker, Asker::Peer { node: of, .. } if of == node))
            .map(|(number, _)| *number)
            .collect();
        for_it.sort_unstable();
        for number in for_it {
            self.forget_pending(number);
        }
        let mut orphans: Vec<_> = self
            .leases
            .granted
            .iter()
            .filter(|(_, lease)| lease.owner_node == Some(node))
            .map(|(id, _)| *id)
            .collect();
        orphans.sort_unstable();
        for lease in orphans {
            self.return_orphan(lease);
        }
    }
}
