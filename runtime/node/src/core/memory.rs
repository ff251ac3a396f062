//! What happens when the machine runs out of memory: one worker after the other is killed, until there is enough again.
//!
//! Which one is Ray's policy: tasks of the owner that has the most of them here, since it is the one that can spare one; of those the
//! newest, which loses the least work. Plain tasks, which their owner runs again, go before actors, whose state would be lost.

use std::collections::HashMap;

use manta_proto::{ids::ProcessId, v1::NodeMeasures};

use super::{Core, Effect};

/// What the machine and the workers use, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the machine, or of the control group that this node is in.
    pub used: u64,
    /// What there is.
    pub total: u64,
    /// Resident memory of each worker with all its children.
    pub workers: Vec<(ProcessId, u64)>,
}

#[derive(Default)]
pub(super) struct Memory {
    usage: Usage,
    killed: u64,
}

impl Core {
    /// The edge has looked. `limit` is the share of the memory, from 0 to 1, above which a worker is killed.
    pub fn on_memory(&mut self, usage: Usage, limit: f64) {
        self.memory.usage = usage;
        let Usage { used, total, .. } = self.memory.usage;
        #[expect(clippy::cast_precision_loss, reason = "a share needs no exact bytes")]
        let share = used as f64 / total.max(1) as f64;
        // One at a time: the next look says whether it was enough.
        let dying = self.workers.values().any(|worker| worker.killed_for_memory.is_some());
        if share <= limit || dying {
            return;
        }
        let Some((victim, task)) = self.victim() else { return };
        let rss = self.memory.usage.workers.iter().find(|(id, _)| *id == victim).map_or(0, |(_, rss)| *rss);
        let gib = |bytes: u64| format!("{}.{:02} GiB", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 100) >> 30);
        let mut largest = self.memory.usage.workers.clone();
        largest.sort_by_key(|(id, rss)| (std::cmp::Reverse(*rss), *id));
        let of = |(id, rss): &(ProcessId, u64)| {
            Some(format!("worker {} with {}", self.workers.get(id)?.pid().unwrap_or(0), gib(*rss)))
        };
        let largest: Vec<_> = largest.iter().take(3).filter_map(of).collect();
        let Some(worker) = self.workers.get_mut(&victim) else { return };
        worker.killed_for_memory = Some(format!(
            "the machine of {} was running out of memory ({} of {} used, {:.1}%, above the limit of {:.1}%), and worker {}, which ran \
             '{task}' with {}, was killed to free some; the largest workers were {}. Let tasks ask for memory (memory=BYTES) or for more \
             CPUs, so that fewer run at once, or change the limit with memory_usage_threshold",
            self.me.name,
            gib(used),
            gib(total),
            share * 100.0,
            limit * 100.0,
            worker.pid().unwrap_or(0),
            gib(rss),
            largest.join(", "),
        ));
        self.memory.killed += 1;
        self.effects.push(Effect::KillWorker(victim));
    }

    fn victim(&self) -> Option<(ProcessId, String)> {
        let mut of_owner: HashMap<ProcessId, usize> = HashMap::new();
        for lease in self.leases.granted.values().filter(|lease| lease.actor.is_none()) {
            *of_owner.entry(lease.owner).or_default() += 1;
        }
        let leases = self.leases.granted.values().filter(|lease| self.workers.contains_key(&lease.worker));
        let chosen = leases.max_by_key(|lease| {
            (lease.actor.is_none(), of_owner.get(&lease.owner).copied().unwrap_or(0), lease.number)
        })?;
        Some((chosen.worker, chosen.task_name.clone()))
    }

    /// For metrics.
    pub(super) fn measures(&self) -> NodeMeasures {
        let (objects, store_bytes) = self.stored_objects();
        NodeMeasures {
            memory_used_bytes: self.memory.usage.used,
            memory_total_bytes: self.memory.usage.total,
            workers_rss_bytes: self.memory.usage.workers.iter().map(|(_, rss)| rss).sum(),
            store_bytes,
            objects,
            workers_killed_for_memory: self.memory.killed,
        }
    }

    /// The workers that run, with their process ids.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<(ProcessId, u32)> {
        self.workers.iter().filter_map(|(id, worker)| Some((*id, worker.pid()?))).collect()
    }
}
