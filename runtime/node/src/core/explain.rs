//! What waits on this node for a worker, and for each node of the cluster what keeps it from running there.

use std::collections::BTreeMap;

use manta_proto::ids::{NodeId, ProcessId};
use serde_json::{Value, json};

use super::{
    Core,
    leases::{Class, Pending, Stage},
    placing::patience,
};
use crate::{
    placement::{self, Candidate},
    resources::Resources,
};

/// Groups of like requests that one answer has.
const GROUPS_MAX: usize = 1000;
/// Names of tasks that one group shows.
const NAMES_MAX: usize = 5;

impl Core {
    /// Requests for workers that wait here, those that are alike together, as JSON.
    #[must_use]
    pub fn explain(&self) -> Value {
        let mut groups: BTreeMap<(Class, ProcessId), Vec<(u64, &Pending)>> = BTreeMap::new();
        for (number, pending) in &self.leases.pendings {
            groups.entry((Class::of(pending), pending.owner)).or_default().push((*number, pending));
        }
        let cut = groups.len().saturating_sub(GROUPS_MAX);
        let waiting: Vec<Value> = groups
            .into_iter()
            .take(GROUPS_MAX)
            .map(|((class, owner), mut pendings)| {
                pendings.sort_unstable_by_key(|(number, _)| *number);
                let first = pendings[0].1;
                let mut names: Vec<&str> = pendings.iter().map(|(_, pending)| &*pending.request.task_name).collect();
                names.dedup();
                names.truncate(NAMES_MAX);
                json!({
                    "node_name": self.me.name, "owner_id": owner.to_string(), "job_id": class.key.job.to_string(),
                    "requests": pendings.len(), "names": names, "language": class.key.language,
                    "required_resources": amounts(&class.need), "needs": class.need.to_string(),
                    "actor": first.request.actor.is_some(), "stage": self.stage(first),
                    "nodes": self.node_reasons(&class, first),
                })
            })
            .collect();
        json!({"waiting": waiting, "groups_left_out": cut, "draining": self.draining})
    }

    /// What a request waits for, in words.
    fn stage(&self, pending: &Pending) -> String {
        match pending.stage {
            Stage::Queued if pending.in_vain.is_some() => match patience(&pending.request) {
                Some(time) => format!(
                    "no node of the cluster can run it; it fails when no such node has joined for {} s",
                    time.as_secs_f64()
                ),
                None => "no node of the cluster can run it; it waits until such a node joins".to_owned(),
            },
            Stage::Queued => "it waits for a node with room".to_owned(),
            Stage::AskingPeer(node) => format!("{} is being asked", self.node_name(node)),
            Stage::AwaitingWorker => match pending.key.environment_key() {
                Some(key) if self.is_being_made(&key) => {
                    format!(
                        "{} has reserved its resources, and makes its environment (runtime_env)",
                        self.me.name
                    )
                }
                _ if self.awaits_program(&pending.key) => {
                    format!("{} has reserved its resources, and fetches its program", self.me.name)
                }
                _ => format!("{} has reserved its resources, and its worker starts", self.me.name),
            },
        }
    }

    fn node_reasons(&self, class: &Class, pending: &Pending) -> Vec<Value> {
        let free_here = self.budget.available();
        let mut reasons = Vec::new();
        if let Some(reason) = &self.draining {
            reasons.push(
                json!({"node_name": self.me.name, "blocked_by": format!("is being drained ({reason})")}),
            );
        }
        for node in self.candidates(Some(&free_here), true) {
            let reason = placement::never(&class.need, &class.placement, &node)
                .map(|never| format!("can never run it: {never}"))
                .or_else(|| self.lacks(class, &node))
                .or_else(|| self.stage_at(pending, node.id));
            reasons.push(json!({
                "node_name": self.node_name(node.id), "node_id": node.id.to_string(), "blocked_by": reason,
            }));
        }
        reasons
    }

    fn stage_at(&self, pending: &Pending, node: NodeId) -> Option<String> {
        match pending.stage {
            Stage::AwaitingWorker if node == self.me.id => Some(self.stage(pending)),
            Stage::AskingPeer(asked) if asked == node => Some("is being asked".to_owned()),
            _ => None,
        }
    }

    fn lacks(&self, class: &Class, node: &Candidate<'_>) -> Option<String> {
        if node.here
            && self.leases.granted_here() > 0
            && self.gpus.find(crate::devices::gpus_of(&class.need)).is_none()
        {
            return Some("has no GPU with enough left".to_owned());
        }
        let peer = self.peers.get(&node.id);
        let free = if node.here { node.free.cloned() } else { peer.map(|peer| peer.free.clone()) }?;
        let lacking: Vec<String> = class
            .need
            .iter()
            .filter(|(name, amount)| free.amount(name) < *amount)
            .map(|(name, amount)| {
                format!(
                    "{} of {}",
                    whole(free.amount(name)),
                    if name.contains("_group_") {
                        format!(
                            "{} {} in the placement group's bundle",
                            whole(amount),
                            name.split("_group_").next().unwrap_or(name)
                        )
                    } else {
                        format!("{} {name}", whole(amount))
                    }
                )
            })
            .collect();
        (!lacking.is_empty()).then(|| format!("has free {} that it needs", lacking.join(", ")))
    }
}

#[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
fn whole(amount: u64) -> f64 {
    amount as f64 / 10_000.0
}

fn amounts(resources: &Resources) -> Value {
    resources
        .iter()
        .map(|(name, amount)| (name.to_owned(), json!(whole(amount))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
