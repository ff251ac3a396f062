//! A node that is being drained takes nothing new. It leaves when what it runs has ended, or when its time is over, and another node has
//! taken over the objects that lie here alone.

use std::time::Duration;

use manta_proto::{ids::NodeId, v1::Drain};

use super::{Core, Effect, Timer};

/// The objects of a node that leaves are moved within this time.
const MOVE_TIME: Duration = Duration::from_secs(60);

/// A node that leaves.
pub(super) struct Moving {
    cause: String,
    /// The address of who takes its objects over.
    heir: Option<String>,
    tried: Vec<NodeId>,
}

impl Core {
    pub(super) fn on_drain(&mut self, drain: Drain) {
        let reason = if drain.reason.is_empty() { "no reason was given".to_owned() } else { drain.reason };
        self.draining = Some(reason);
        if drain.deadline_ms > 0 {
            self.effects.push(Effect::Timer(Timer::Drain, Duration::from_millis(drain.deadline_ms)));
        }
        self.review_hopeless();
        self.dispatch();
        self.leave_when_drained();
    }

    pub(super) fn on_drain_deadline(&mut self) {
        if let Some(reason) = &self.draining {
            self.leave(format!("it was drained ({reason}), and the time for what it ran is over"));
        }
    }

    /// Leaves when nothing runs here any more.
    pub(super) fn leave_when_drained(&mut self) {
        let Some(reason) = &self.draining else { return };
        let idle = self.leases.granted.is_empty()
            && self.leases.pendings.is_empty()
            && self.drivers.is_empty()
            && self.submitted.is_empty();
        if idle {
            self.leave(format!("it was drained ({reason})"));
        }
    }

    /// Ends this node, once another has what lies here and nowhere else.
    fn leave(&mut self, cause: String) {
        if self.moving.is_some() {
            return;
        }
        self.moving = Some(Moving { cause, heir: None, tried: Vec::new() });
        self.move_objects();
    }

    fn move_objects(&mut self) {
        let objects = self.objects_to_move();
        let Some(moving) = &mut self.moving else { return };
        let untried = self.peers.iter().filter(|(id, _)| !moving.tried.contains(id));
        let cpus = |peer: &super::peers::Peer| peer.free.amount(crate::resources::CPU);
        let heir = untried.max_by_key(|(_, peer)| cpus(peer)).map(|(id, peer)| (*id, peer.address.clone()));
        let Some((heir, address)) = heir.filter(|_| !objects.is_empty()) else {
            let cause = moving.cause.clone();
            return self.effects.push(Effect::Exit { cause });
        };
        if moving.tried.is_empty() {
            self.effects.push(Effect::Timer(Timer::Move, MOVE_TIME));
        }
        moving.tried.push(heir);
        moving.heir = Some(address.clone());
        let others = self.peers.values().map(|peer| peer.address.clone()).collect();
        self.effects.push(Effect::MoveObjects { heir, address, objects, others });
    }

    /// A peer has taken this node's objects over, or could not.
    pub fn on_moved(&mut self, result: Result<(), String>) {
        let Some(moving) = &self.moving else { return };
        match result {
            Ok(()) => {
                let cause = moving.cause.clone();
                self.effects.push(Effect::Exit { cause });
            }
            Err(error) => {
                tracing::warn!(error, "objects could not be moved; another node is asked");
                self.move_objects();
            }
        }
    }

    pub(super) fn on_move_deadline(&mut self) {
        if let Some(moving) = &self.moving {
            let cause = format!("{}; not all of its objects could be moved in time", moving.cause);
            self.effects.push(Effect::Exit { cause });
        }
    }

    /// A node that joins after others have left hears from the heir where their objects are: those who left cannot tell it any more.
    pub(super) fn tell_what_moved_here(&mut self, peer: NodeId) {
        let moves = self.moves_that_end_here();
        let Some(address) = self.peer_address(peer).filter(|_| !moves.is_empty()) else { return };
        self.effects.push(Effect::TellMoved { address, moves });
    }

    pub(super) fn tell_peers_of_move(&mut self, from: NodeId) {
        let mut addresses: Vec<_> =
            self.peers.iter().filter(|(id, _)| **id != from).map(|(_, peer)| peer.address.clone()).collect();
        addresses.sort_unstable();
        let moves = vec![(from, self.me.id)];
        let told = addresses.into_iter().map(|address| Effect::TellMoved { address, moves: moves.clone() });
        self.effects.extend(told);
    }

    /// Where objects go that are freed while they move.
    pub(super) fn heir_address(&self) -> Option<&String> {
        self.moving.as_ref()?.heir.as_ref()
    }
}
