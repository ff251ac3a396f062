//! Bundles of placement groups: resources that are taken from this node's and stand for themselves afterwards, under names that say
//! whose they are. To the scheduler a bundle is nothing but some more resources.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use manta_proto::v1::{self, lease_reply, node_to_head};

use super::{Core, leases::Class};
use crate::resources::{Resources, WHOLE};

/// What every bundle has beside what it asks for, so that tasks that need nothing can be in it.
const BUNDLE: &str = "bundle";
const BUNDLE_AMOUNT: u64 = 1_000 * WHOLE;
/// Removed groups that a node remembers.
const REMOVED_MAX: usize = 10_000;

struct Reserved {
    attempt: u64,
    committed: bool,
    /// What it has, with its index in the group.
    bundle: (u32, Resources),
}

#[derive(Default)]
pub(super) struct Bundles {
    reserved: HashMap<Bytes, Vec<Reserved>>,
    removed: HashSet<String>,
    removed_order: VecDeque<String>,
    /// Groups for which there are no nodes, and have not been for too long: what to say of them.
    hopeless: HashMap<String, String>,
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a bundle adds to its node.
fn named(group: &str, index: u32, resources: &Resources) -> Resources {
    let own = resources.iter().chain([(BUNDLE, BUNDLE_AMOUNT)]);
    own.flat_map(|(name, amount)| {
        [(format!("{name}_group_{group}"), amount), (format!("{name}_group_{index}_{group}"), amount)]
    })
    .collect()
}

/// The group in which a task with this need is, in hex.
pub(super) fn group_of(need: &Resources) -> Option<&str> {
    need.iter()
        .find_map(|(name, _)| Some(name.rsplit_once("_group_")?.1.rsplit('_').next().unwrap_or_default()))
}

impl Core {
    /// The first phase.
    pub(super) fn on_reserve_bundles(&mut self, request: v1::ReserveBundles) {
        let mut need = Resources::default();
        let mut bundles = Vec::new();
        for bundle in &request.bundles {
            let resources = Resources::from_wire(bundle.resources.as_ref());
            need.add(&resources);
            bundles.push(Reserved {
                attempt: request.attempt,
                committed: false,
                bundle: (bundle.index, resources),
            });
        }
        let reserved = self.has_room(&need);
        if reserved {
            self.budget.take(&need);
            self.bundles.reserved.entry(request.group_id.clone()).or_default().extend(bundles);
        }
        let answer = v1::BundlesReserved { group_id: request.group_id, attempt: request.attempt, reserved };
        self.tell_head(node_to_head::Message::BundlesReserved(answer));
    }

    /// The second phase: tasks may use them.
    pub(super) fn on_commit_bundles(&mut self, commit: &v1::CommitBundles) {
        let group = hex(&commit.group_id);
        let reserved = self.bundles.reserved.get_mut(&commit.group_id).into_iter().flatten();
        for reserved in reserved.filter(|reserved| reserved.attempt == commit.attempt && !reserved.committed)
        {
            reserved.committed = true;
            let (index, resources) = &reserved.bundle;
            self.budget.grow(&named(&group, *index, resources));
        }
        self.dispatch();
    }

    /// The head is gone, and its attempts to place groups with it.
    pub(super) fn return_uncommitted(&mut self) {
        let open = self.bundles.reserved.iter().flat_map(|(group, reserved)| {
            let open = reserved.iter().filter(|reserved| !reserved.committed);
            open.map(|reserved| v1::ReturnBundles {
                group_id: group.clone(),
                attempt: reserved.attempt,
                removed: false,
            })
        });
        for back in open.collect::<Vec<_>>() {
            self.on_return_bundles(&back);
        }
    }

    /// An attempt failed, or the group is removed, and what uses it ends.
    pub(super) fn on_return_bundles(&mut self, back: &v1::ReturnBundles) {
        let group = hex(&back.group_id);
        let over = |reserved: &Reserved| back.removed || reserved.attempt == back.attempt;
        let mut kept = self.bundles.reserved.remove(&back.group_id).unwrap_or_default();
        let gone: Vec<_> = kept.extract_if(.., |reserved| over(reserved)).collect();
        if !kept.is_empty() {
            self.bundles.reserved.insert(back.group_id.clone(), kept);
        }
        if back.removed {
            self.bundles.hopeless.remove(&group);
            self.remember_removed(group.clone());
            self.end_users_of(&group);
        }
        for reserved in gone {
            let (index, resources) = &reserved.bundle;
            if reserved.committed {
                self.budget.shrink(&named(&group, *index, resources));
            }
            self.budget.give(resources);
        }
        self.dispatch();
    }

    fn remember_removed(&mut self, group: String) {
        if self.bundles.removed.insert(group.clone()) {
            self.bundles.removed_order.push_back(group);
        }
        if self.bundles.removed_order.len() > REMOVED_MAX
            && let Some(oldest) = self.bundles.removed_order.pop_front()
        {
            self.bundles.removed.remove(&oldest);
        }
    }

    /// The head has waited long enough for nodes that could have a group, or there are some now.
    pub(super) fn on_hopeless_group(&mut self, news: v1::HopelessGroup) {
        let group = hex(&news.group_id);
        if news.sentence.is_empty() {
            self.bundles.hopeless.remove(&group);
            return;
        }
        self.refuse_waiting_in(&group, &news.sentence);
        self.bundles.hopeless.insert(group, news.sentence);
    }

    /// What waits for a group is refused.
    fn refuse_waiting_in(&mut self, group: &str, sentence: &str) {
        let waiting: Vec<Class> =
            self.leases.queues.keys().filter(|class| group_of(&class.need) == Some(group)).cloned().collect();
        for class in waiting {
            for number in self.leases.queues.remove(&class).unwrap_or_default() {
                let Some(pending) = self.leases.remove(number) else { continue };
                self.answer(&pending, lease_reply::Result::Refused(sentence.to_owned()));
            }
        }
    }

    /// Tasks of a removed group end, and those that wait for it are refused.
    fn end_users_of(&mut self, group: &str) {
        self.refuse_waiting_in(group, &self.removed_sentence(group));
        let granted = self.leases.granted.values().filter(|lease| group_of(&lease.need) == Some(group));
        let mut workers: Vec<_> = granted.map(|lease| lease.worker).collect();
        workers.sort_unstable();
        workers.dedup();
        for worker in workers {
            self.end_worker(worker);
        }
    }

    fn removed_sentence(&self, group: &str) -> String {
        format!("its placement group ({group}) was removed")
    }

    /// Whether what needs this can never run, because its group was removed.
    pub(super) fn is_group_removed(&self, need: &Resources) -> bool {
        group_of(need).is_some_and(|group| self.bundles.removed.contains(group))
    }

    /// For what is in a group: why it can never run, or that it waits for its group.
    pub(super) fn hopeless_in_group(&self, need: &Resources) -> Option<Option<String>> {
        let group = group_of(need)?;
        let removed = self.bundles.removed.contains(group).then(|| self.removed_sentence(group));
        Some(removed.or_else(|| self.bundles.hopeless.get(group).cloned()))
    }
}
