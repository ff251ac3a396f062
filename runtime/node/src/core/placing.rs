//! Where requests of processes here are served, and what is said of those that no node can serve.

use std::time::Duration;

use manta_proto::{ids::NodeId, v1::lease_reply};

use super::{Core, Effect, Timer, leases::Class};
use crate::{
    placement::{self, Candidate, Placement, Strategy},
    resources::Resources,
};

/// What became impossible because a node left waits this long for it to come back.
const INFEASIBLE_TIME: Duration = Duration::from_secs(10);

impl Core {
    /// The node on which a request of this class should be served now.
    pub(super) fn place(&self, class: &Class) -> Option<NodeId> {
        let room_here = self.has_room(&class.need);
        if room_here && class.placement.is_default() {
            return Some(self.me.id);
        }
        if self.peers.is_empty() && !room_here {
            return None;
        }
        let free_here = room_here.then(|| self.budget.available());
        let may_ask = self.may_ask();
        let candidates = self.candidates(free_here.as_ref(), may_ask);
        placement::choose(&class.need, &class.placement, self.leases.last_spread, candidates)
    }

    pub(super) fn candidates<'a>(
        &'a self,
        free_here: Option<&'a Resources>,
        may_ask: bool,
    ) -> impl Iterator<Item = Candidate<'a>> + Clone {
        // A node that is being drained is no place for anything new.
        let here = self.draining.is_none().then(|| Candidate {
            id: self.me.id,
            total: self.budget.total(),
            free: free_here,
            labels: &self.me.labels,
            here: true,
        });
        let peers = self.peers.iter().map(move |(id, peer)| Candidate {
            id: *id,
            total: &peer.total,
            free: (may_ask && !peer.busy).then_some(&peer.available),
            labels: &peer.labels,
            here: false,
        });
        here.into_iter().chain(peers)
    }

    /// Whether somebody waits for some of the same resources, and might get them here.
    pub(super) fn is_awaited_here(&self, need: &Resources) -> bool {
        let here = self.candidates(None, false).find(|candidate| candidate.here);
        self.leases.queues.keys().any(|class| {
            let shares = need.iter().any(|(name, _)| class.need.amount(name) > 0);
            shares
                && here.is_some_and(|here| placement::never(&class.need, &class.placement, &here).is_none())
        })
    }

    /// The sentence for a request that no node can ever serve.
    pub(super) fn infeasible(
        &self,
        need: &Resources,
        placement: &Placement,
        task_name: &str,
    ) -> Option<String> {
        if let Some(sentence) = self.hopeless_in_group(need) {
            return sentence;
        }
        let mut nodes = Vec::new();
        let mut only_amounts = true;
        let free_here = self.budget.available();
        for node in self.candidates(Some(&free_here), true) {
            let reason = placement::never(need, placement, &node)?;
            only_amounts &= reason.starts_with("has ");
            nodes.push(format!("{} {reason}", self.node_name(node.id)));
        }
        if let Some(reason) = &self.draining {
            only_amounts = false;
            nodes.push(format!("{} is being drained ({reason})", self.me.name));
        }
        nodes.sort_unstable();
        let task = if task_name.is_empty() { "a task".to_owned() } else { format!("task '{task_name}'") };
        if let Strategy::Node { id, soft: false, .. } = placement.strategy
            && id != self.me.id
            && !self.peers.contains_key(&id)
        {
            return Some(format!(
                "{task} is to run on the node {id}, and no such node is in the cluster; give the id of one that is \
                 (manta.nodes()), or soft=True to let it run elsewhere"
            ));
        }
        let nodes = nodes.join("; ");
        Some(if only_amounts {
            format!(
                "{task} needs {need}, and no node of the cluster has that much: {nodes}; ask for less, or add a node that has it \
                 ('manta start --address HOST:PORT')"
            )
        } else {
            format!(
                "{task} needs {need}, and no node of the cluster can run it: {nodes}; ask for less or for other nodes, or add a \
                 node that can ('manta start --address HOST:PORT --labels KEY=VALUE')"
            )
        })
    }

    /// Nodes joined or left: what no node can run any more is refused, unless one that can comes back in time.
    pub(super) fn arm_infeasible(&mut self) {
        let hopeless = |class: &Class| self.infeasible(&class.need, &class.placement, "").is_some();
        if !self.leases.infeasible_timer_runs && self.leases.queues.keys().any(hopeless) {
            self.leases.infeasible_timer_runs = true;
            self.effects.push(Effect::Timer(Timer::Infeasible, INFEASIBLE_TIME));
        }
    }

    pub(super) fn on_infeasible_timer(&mut self) {
        self.leases.infeasible_timer_runs = false;
        let hopeless = |class: &&Class| self.infeasible(&class.need, &class.placement, "").is_some();
        let classes: Vec<Class> = self.leases.queues.keys().filter(hopeless).cloned().collect();
        for class in classes {
            for number in self.leases.queues.remove(&class).unwrap_or_default() {
                let Some(pending) = self.leases.remove(number) else { continue };
                let sentence = self.infeasible(&class.need, &class.placement, &pending.request.task_name);
                self.answer(&pending, lease_reply::Result::Refused(sentence.unwrap_or_default()));
            }
        }
    }
}
