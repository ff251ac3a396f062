//! Where requests of processes here are served, and what is said of those that no node can serve.

use std::time::Duration;

use bytes::Bytes;
use manta_proto::{
    ids::NodeId,
    limits::INFEASIBLE_MS,
    v1::{LeaseRequest, TaskOutput, lease_reply, node_to_head},
};

use super::{
    Core, Effect, Timer,
    bundles::group_of,
    leases::{Class, Pending, Stage},
};
use crate::{
    placement::{self, Candidate, Placement, Strategy},
    resources::Resources,
};

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

    /// For a request that is not worth a wait: why.
    pub(super) fn refused_at_once(
        &self,
        need: &Resources,
        placement: &Placement,
        request: &LeaseRequest,
    ) -> Option<String> {
        let sentence = self.infeasible(need, placement, &request.task_name)?;
        // No other node can take the place of the one that is named, a group that is removed does not come back, and a node that is being
        // drained waits for nothing.
        let named = matches!(placement.strategy, Strategy::Node { soft: false, .. });
        let is_over = named
            || group_of(need).is_some()
            || self.draining.is_some()
            || patience(request) == Some(Duration::ZERO);
        is_over.then_some(sentence)
    }

    /// What no node can run waits for one that can, for the time that its job gives it. The driver hears of it at once.
    pub(super) fn watch_hopeless(&mut self, number: u64) {
        let Some(pending) = self.leases.pendings.get(&number).filter(|pending| pending.in_vain.is_none())
        else {
            return;
        };
        let Some(sentence) = self.infeasible(&pending.need, &pending.placement, &pending.request.task_name)
        else {
            return;
        };
        let (class, patience) = (Class::of(pending), patience(&pending.request));
        let job_id = pending.request.job_id.clone();
        self.counter += 1;
        let since = self.counter;
        if let Some(pending) = self.leases.pendings.get_mut(&number) {
            pending.in_vain = Some(since);
        }
        let end = match patience {
            Some(time) => {
                self.effects.push(Effect::Timer(Timer::Infeasible { pending: number, since }, time));
                format!("fails in {} s unless such a node joins", time.as_secs_f64())
            }
            None => "waits until such a node joins".to_owned(),
        };
        if self.leases.hopeless.insert(class) {
            self.warn_driver(job_id, &format!("{sentence}. It {end}"));
        }
    }

    fn warn_driver(&mut self, job_id: Bytes, sentence: &str) {
        let output = TaskOutput {
            job_id,
            node_id: self.me.id.to_bytes(),
            node_name: self.me.name.clone(),
            task_name: "scheduler".to_owned(),
            stderr: true,
            text: format!("{sentence}\n"),
            ..TaskOutput::default()
        };
        self.output_to_driver(output.clone());
        self.tell_head(node_to_head::Message::Output(output));
    }

    /// Nodes joined, or left, or take nothing new any more.
    pub(super) fn review_hopeless(&mut self) {
        let queues: Vec<(Class, Vec<u64>)> = self
            .leases
            .queues
            .iter()
            .map(|(class, queue)| (class.clone(), queue.iter().copied().collect()))
            .collect();
        for (class, numbers) in queues {
            if self.infeasible(&class.need, &class.placement, "").is_some() {
                numbers.into_iter().for_each(|number| self.watch_hopeless(number));
            } else if self.leases.hopeless.remove(&class) {
                for number in numbers {
                    if let Some(pending) = self.leases.pendings.get_mut(&number) {
                        pending.in_vain = None;
                    }
                }
            }
        }
    }

    pub(super) fn on_infeasible_timer(&mut self, number: u64, since: u64) {
        let waits = |pending: &&Pending| pending.in_vain == Some(since) && pending.stage == Stage::Queued;
        let Some(pending) = self.leases.pendings.get(&number).filter(waits) else { return };
        let class = Class::of(pending);
        let sentence = self.infeasible(&class.need, &class.placement, &pending.request.task_name);
        let Some(sentence) = sentence else { return };
        self.leave_queue(number, &class);
        let Some(pending) = self.leases.remove(number) else { return };
        self.answer(&pending, lease_reply::Result::Refused(sentence));
        self.leave_when_drained();
    }

    /// Takes a request out of its queue, if it is in it. With the last one of its class, what was said of the class is over.
    pub(super) fn leave_queue(&mut self, number: u64, class: &Class) {
        let Some(queue) = self.leases.queues.get_mut(class) else { return };
        if let Some(place) = queue.iter().position(|other| *other == number) {
            queue.remove(place);
        }
        if queue.is_empty() {
            self.leases.queues.remove(class);
            self.leases.hopeless.remove(class);
        }
    }
}

/// How long what no node can run waits for one that can; `None` without end.
pub(super) fn patience(request: &LeaseRequest) -> Option<Duration> {
    let ms = request.job.as_ref().and_then(|job| job.infeasible_ms).unwrap_or(INFEASIBLE_MS);
    (ms < u64::MAX).then(|| Duration::from_millis(ms))
}
