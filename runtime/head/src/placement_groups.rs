//! Placement groups: resources that are reserved together. The head finds nodes for the bundles and has them reserved in two phases:
//! only when every node has reserved, the bundles may be used; when one could not, all give back, and it is tried again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use manta_proto::{
    ids::{JobId, NodeId},
    labels,
    limits::INFEASIBLE_MS,
    v1::{self, head_to_node, placement_group::State},
};

use crate::{
    bundles::{self, Amounts},
    core::{Core, Effect, down},
    durable::Key,
};

/// Groups that a cluster has at one time.
const GROUPS_MAX: usize = 10_000;
/// Bundles of one group.
const BUNDLES_MAX: usize = 1_000;
/// Removed groups that are still shown.
const REMOVED_MAX: usize = 1_000;

/// The id of a group, as it is on the wire.
type GroupId = Vec<u8>;

type LabelsOfNodes = BTreeMap<NodeId, HashMap<String, String>>;

struct Group {
    wire: v1::PlacementGroup,
    bundles: Vec<Amounts>,
    placed: BTreeMap<usize, NodeId>,
    attempt: Option<Attempt>,
    hopeless: Hopeless,
}

/// What was done about a group that no nodes of the cluster can have.
#[derive(Default)]
struct Hopeless {
    /// Which of the timers ends its wait for nodes that can.
    since: Option<u64>,
    /// The nodes know that it has waited long enough.
    told: bool,
    /// Its driver knows.
    warned: bool,
}

/// Nodes have been asked to reserve.
struct Attempt {
    number: u64,
    places: BTreeMap<usize, NodeId>,
    waiting: BTreeSet<NodeId>,
    failed: bool,
}

/// All groups.
#[derive(Default)]
pub(crate) struct PlacementGroups {
    /// By age.
    order: Vec<GroupId>,
    groups: BTreeMap<GroupId, Group>,
    removed: VecDeque<v1::PlacementGroup>,
    attempts: u64,
    /// How often a group began to wait for nodes that could have it.
    waits: u64,
}

impl Group {
    fn is_open(&self) -> bool {
        self.attempt.is_none() && self.placed.len() < self.bundles.len()
    }

    /// Whether a node has the labels that a bundle asks for.
    fn is_allowed(&self, index: usize, node: NodeId, labels: &LabelsOfNodes) -> bool {
        let rules = self.wire.bundles.get(index).map_or(&[][..], |bundle| &bundle.labels);
        labels.get(&node).is_some_and(|labels| rules.iter().all(|rule| labels::is_met(rule, node, labels)))
    }

    /// Why no nodes can have it, whatever room they have; empty when some can.
    fn impossible(&self, totals: &BTreeMap<NodeId, Amounts>, labels: &LabelsOfNodes) -> String {
        let allowed = |index: usize, node: NodeId| self.is_allowed(index, node, labels);
        bundles::impossible(self.wire.strategy(), &self.bundles, totals, &allowed)
    }

    /// For people.
    fn label(&self) -> String {
        let id: String = self.wire.group_id.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.wire.name.is_empty() {
            return format!("the placement group {id}");
        }
        format!("the placement group '{}' ({id})", self.wire.name)
    }

    fn hopeless_news(&self, why: &str) -> v1::HopelessGroup {
        let sentence = format!("{} cannot be placed: {why}", self.label());
        v1::HopelessGroup { group_id: self.wire.group_id.clone(), sentence }
    }

    fn nodes(&self) -> BTreeSet<NodeId> {
        let tried = self.attempt.iter().flat_map(|attempt| attempt.places.values());
        self.placed.values().chain(tried).copied().collect()
    }
}

impl Core {
    /// Somebody wants a group.
    ///
    /// # Errors
    /// With the sentence to refuse it with.
    pub fn on_create_group(&mut self, mut wire: v1::PlacementGroup) -> Result<(), String> {
        if wire.group_id.len() != 16 {
            return Err(format!(
                "the id of a placement group has 16 bytes, and this one {}",
                wire.group_id.len()
            ));
        }
        let count = wire.bundles.len();
        if count == 0 || count > BUNDLES_MAX {
            return Err(format!(
                "a placement group has from 1 to {BUNDLES_MAX} bundles, and this one {count}"
            ));
        }
        if self.groups.groups.len() >= GROUPS_MAX {
            return Err(format!(
                "the cluster has {GROUPS_MAX} placement groups already, which is the most it takes"
            ));
        }
        let same_name = |other: &Group| !wire.name.is_empty() && other.wire.name == wire.name;
        if self.groups.groups.values().any(same_name) {
            return Err(format!("there is a placement group named '{}' already; remove it first", wire.name));
        }
        if self.groups.groups.contains_key(&wire.group_id[..]) {
            return Err("this placement group exists already".to_owned());
        }
        let mut amounts = Vec::new();
        for (index, bundle) in (0..).zip(&mut wire.bundles) {
            bundle.index = index;
            bundle.node_id = bytes::Bytes::new();
            let given = bundle.resources.take().unwrap_or_default().amounts;
            let given: Amounts = given.into_iter().filter(|(_, amount)| *amount > 0).collect();
            if given.is_empty() {
                return Err(format!("bundle {index} of the placement group asks for nothing"));
            }
            bundle.resources = Some(v1::Resources { amounts: given.clone().into_iter().collect() });
            amounts.push(given);
        }
        wire.set_state(State::Pending);
        let id = wire.group_id.to_vec();
        let group = Group {
            wire,
            bundles: amounts,
            placed: BTreeMap::new(),
            attempt: None,
            hopeless: Hopeless::default(),
        };
        self.groups.order.push(id.clone());
        self.groups.groups.insert(id.clone(), group);
        self.mark(Key::Group(id));
        self.review_hopeless_groups();
        self.place_groups();
        Ok(())
    }

    /// A group was made, a job began, or a node came or went: groups that no nodes can have wait for some that can, for the time that their job
    /// gives them. The driver hears of it at once.
    pub(crate) fn review_hopeless_groups(&mut self) {
        let why = self.why_hopeless();
        let (mut warnings, mut news) = (Vec::new(), Vec::new());
        for (id, group) in &mut self.groups.groups {
            let Some(why) = why.get(id) else {
                (group.hopeless.since, group.hopeless.warned) = (None, false);
                if std::mem::take(&mut group.hopeless.told) {
                    let group_id = group.wire.group_id.clone();
                    news.push(v1::HopelessGroup { group_id, sentence: String::new() });
                }
                continue;
            };
            let ms = group.wire.infeasible_ms.unwrap_or(INFEASIBLE_MS);
            if group.hopeless.since.is_none() {
                self.groups.waits += 1;
                let since = self.groups.waits;
                group.hopeless.since = Some(since);
                if ms < u64::MAX {
                    self.effects.push(Effect::GroupTimer { group: id.clone(), since, ms });
                }
            }
            // The news of the job's beginning may be behind the group.
            let has_driver =
                JobId::try_from(&group.wire.job_id).is_ok_and(|job| self.jobs.contains_key(&job));
            if has_driver && !std::mem::replace(&mut group.hopeless.warned, true) {
                let end = match ms {
                    u64::MAX => "waits until there are nodes for it".to_owned(),
                    ms => format!(
                        "fails unless there are some within {} s",
                        Duration::from_millis(ms).as_secs_f64()
                    ),
                };
                let text = format!("{}: {why}. What waits for it {end}\n", group.label());
                warnings.push((group.wire.job_id.clone(), text));
            }
        }
        for (job_id, text) in warnings {
            let task_name = "scheduler".to_owned();
            let output = v1::TaskOutput { job_id, task_name, stderr: true, text, ..Default::default() };
            self.on_output(NodeId([0; 16]), output);
        }
        for news in news {
            self.tell_nodes(&head_to_node::Message::HopelessGroup(news));
        }
    }

    /// A group that no nodes can have has waited long enough for some.
    pub(crate) fn on_group_timer(&mut self, id: &[u8], since: u64) {
        let Some(why) = self.why_hopeless().remove(id) else { return };
        let Some(group) = self.groups.groups.get_mut(id).filter(|group| group.hopeless.since == Some(since))
        else {
            return;
        };
        group.hopeless.told = true;
        let news = group.hopeless_news(&why);
        self.tell_nodes(&head_to_node::Message::HopelessGroup(news));
    }

    /// A node that joins learns which groups have waited long enough.
    pub(crate) fn tell_hopeless_groups(&mut self, node: NodeId) {
        let why = self.why_hopeless();
        let told = self.groups.groups.iter().filter(|(_, group)| group.hopeless.told);
        let news: Vec<_> = told.filter_map(|(id, group)| Some(group.hopeless_news(why.get(id)?))).collect();
        for news in news {
            self.tell_node(node, head_to_node::Message::HopelessGroup(news));
        }
    }

    /// The groups that no nodes of the cluster can have, with why.
    fn why_hopeless(&self) -> BTreeMap<GroupId, String> {
        let open = |(_, group): &(&GroupId, &Group)| group.placed.len() < group.bundles.len();
        if !self.groups.groups.iter().any(|entry| open(&entry)) {
            return BTreeMap::new();
        }
        let totals = self.amounts_of_nodes(|node| node.info.total.as_ref());
        let labels = self.labels_of_nodes();
        let why = |(id, group): (&GroupId, &Group)| {
            let why = group.impossible(&totals, &labels);
            (!why.is_empty()).then(|| (id.clone(), why))
        };
        self.groups.groups.iter().filter(open).filter_map(why).collect()
    }

    /// Somebody needs a group no more; one that is not there is none to remove.
    pub fn on_remove_group(&mut self, id: &[u8]) {
        let Some(mut group) = self.groups.groups.remove(id) else { return };
        self.groups.order.retain(|other| other != id);
        self.mark(Key::Group(id.to_vec()));
        // Every node learns it, since tasks of the group may wait on any.
        let gone = v1::ReturnBundles { group_id: group.wire.group_id.clone(), attempt: 0, removed: true };
        self.tell_nodes(&head_to_node::Message::ReturnBundles(gone));
        group.wire.set_state(State::Removed);
        for bundle in &mut group.wire.bundles {
            bundle.node_id = bytes::Bytes::new();
        }
        self.groups.removed.push_back(group.wire);
        if self.groups.removed.len() > REMOVED_MAX {
            self.groups.removed.pop_front();
        }
    }

    /// All groups, those that were removed last.
    pub fn list_groups(&self) -> Vec<v1::PlacementGroup> {
        let totals = self.amounts_of_nodes(|node| node.info.total.as_ref());
        let labels = self.labels_of_nodes();
        let living = self.groups.order.iter().filter_map(|id| self.groups.groups.get(id)).map(|group| {
            let mut wire = group.wire.clone();
            if group.placed.len() < group.bundles.len() {
                let never = group.impossible(&totals, &labels);
                wire.waits_for = if never.is_empty() { "room on the nodes".to_owned() } else { never };
            }
            wire
        });
        living.chain(self.groups.removed.iter().cloned()).collect()
    }

    /// A node has reserved, or could not.
    pub(crate) fn on_bundles_reserved(&mut self, from: NodeId, answer: &v1::BundlesReserved) {
        let group = self.groups.groups.get_mut(&answer.group_id[..]);
        let attempt = group.and_then(|group| group.attempt.as_mut());
        let Some(attempt) = attempt.filter(|attempt| attempt.number == answer.attempt) else {
            // The group, or this attempt, is over: what was reserved for it goes back.
            return self.tell_return(from, &answer.group_id, answer.attempt);
        };
        if !attempt.waiting.remove(&from) {
            return;
        }
        attempt.failed |= !answer.reserved;
        if attempt.waiting.is_empty() {
            self.end_attempt(&answer.group_id);
        }
    }

    fn end_attempt(&mut self, id: &[u8]) {
        let Some(group) = self.groups.groups.get_mut(id) else { return };
        let Some(attempt) = group.attempt.take() else { return };
        let nodes: BTreeSet<NodeId> = attempt.places.values().copied().collect();
        if attempt.failed {
            for node in nodes {
                self.tell_return(node, id, attempt.number);
            }
            // It is tried again when a load changes, which it has, or this node would have had room.
            return;
        }
        for (index, node) in attempt.places {
            group.wire.bundles[index].node_id = node.to_bytes();
            group.placed.insert(index, node);
        }
        group.wire.set_state(State::Created);
        let group_id = group.wire.group_id.clone();
        self.mark(Key::Group(id.to_vec()));
        for node in nodes {
            let commit = v1::CommitBundles { group_id: group_id.clone(), attempt: attempt.number };
            self.tell_node(node, head_to_node::Message::CommitBundles(commit));
        }
    }

    /// Tries to place what is not placed, the oldest first.
    pub(crate) fn place_groups(&mut self) {
        let open = |group: &Group| group.is_open();
        if !self.groups.groups.values().any(open) {
            return;
        }
        let mut free =
            self.amounts_of_nodes(|node| node.load.available.as_ref().filter(|_| !node.load.draining));
        // What other attempts are about to take is gone already.
        for attempt in self.groups.groups.values().filter_map(|group| Some((group, group.attempt.as_ref()?)))
        {
            for (index, node) in &attempt.1.places {
                if let Some(free) = free.get_mut(node) {
                    bundles::take(free, &attempt.0.bundles[*index]);
                }
            }
        }
        let labels = self.labels_of_nodes();
        let mut messages = Vec::new();
        for id in &self.groups.order {
            let Some(group) = self.groups.groups.get_mut(id).filter(|group| group.is_open()) else {
                continue;
            };
            let allowed = |index: usize, node: NodeId| group.is_allowed(index, node, &labels);
            let strategy = group.wire.strategy();
            let Some(places) = bundles::place(strategy, &group.bundles, &group.placed, &free, &allowed)
            else {
                continue;
            };
            self.groups.attempts += 1;
            let number = self.groups.attempts;
            let mut of_node: BTreeMap<NodeId, Vec<v1::Bundle>> = BTreeMap::new();
            for (index, node) in &places {
                if let Some(free) = free.get_mut(node) {
                    bundles::take(free, &group.bundles[*index]);
                }
                of_node.entry(*node).or_default().push(group.wire.bundles[*index].clone());
            }
            let waiting = of_node.keys().copied().collect();
            group.attempt = Some(Attempt { number, places, waiting, failed: false });
            for (node, bundles) in of_node {
                let group_id = group.wire.group_id.clone();
                messages.push((node, v1::ReserveBundles { group_id, attempt: number, bundles }));
            }
        }
        for (node, message) in messages {
            self.tell_node(node, head_to_node::Message::ReserveBundles(message));
        }
    }

    /// A node is gone, and the bundles on it: they get other places.
    pub(crate) fn on_node_of_groups_lost(&mut self, node: NodeId) {
        let (mut ended, mut changed) = (Vec::new(), Vec::new());
        for (id, group) in &mut self.groups.groups {
            if !group.nodes().contains(&node) {
                continue;
            }
            let before = group.placed.len();
            group.placed.retain(|_, on| *on != node);
            if group.placed.len() < before {
                group.wire.set_state(State::Rescheduling);
                changed.push(id.clone());
                for bundle in &mut group.wire.bundles {
                    if bundle.node_id == node.to_bytes() {
                        bundle.node_id = bytes::Bytes::new();
                    }
                }
            }
            if let Some(attempt) = &mut group.attempt
                && attempt.places.values().any(|on| *on == node)
            {
                attempt.failed = true;
                attempt.waiting.remove(&node);
                if attempt.waiting.is_empty() {
                    ended.push(id.clone());
                }
            }
        }
        changed.into_iter().for_each(|id| self.mark(Key::Group(id)));
        for id in ended {
            self.end_attempt(&id);
        }
        self.review_hopeless_groups();
        self.place_groups();
    }

    /// What the head's memory has of a group.
    pub(crate) fn group_wire(&self, id: &[u8]) -> Option<&v1::PlacementGroup> {
        self.groups.groups.get(id).map(|group| &group.wire)
    }

    /// A group from the head's memory, with the places that its bundles have.
    pub(crate) fn restore_group(&mut self, wire: v1::PlacementGroup) {
        let amounts = |bundle: &v1::Bundle| {
            let given = bundle.resources.clone().unwrap_or_default().amounts;
            given.into_iter().collect::<Amounts>()
        };
        let place =
            |(index, bundle): (usize, &v1::Bundle)| Some((index, NodeId::try_from(&bundle.node_id).ok()?));
        let group = Group {
            bundles: wire.bundles.iter().map(amounts).collect(),
            placed: wire.bundles.iter().enumerate().filter_map(place).collect(),
            attempt: None,
            hopeless: Hopeless::default(),
            wire,
        };
        let id = group.wire.group_id.to_vec();
        self.groups.order.push(id.clone());
        self.groups.groups.insert(id, group);
    }

    /// A node is back that did not hear of groups that were removed meanwhile.
    pub(crate) fn on_node_of_groups_returned(&mut self, node: NodeId) {
        let removed: Vec<_> = self.groups.removed.iter().map(|group| group.group_id.clone()).collect();
        for group_id in removed {
            let gone = v1::ReturnBundles { group_id, attempt: 0, removed: true };
            self.tell_node(node, head_to_node::Message::ReturnBundles(gone));
        }
    }

    /// A job ended, and its groups with it unless they are to stay.
    pub(crate) fn on_job_of_groups_ended(&mut self, job: JobId) {
        let of_job = |group: &&Group| !group.wire.detached && group.wire.job_id == job.to_bytes();
        let gone: Vec<_> =
            self.groups.groups.values().filter(of_job).map(|group| group.wire.group_id.clone()).collect();
        for id in gone {
            self.on_remove_group(&id);
        }
    }

    /// The labels of all nodes, when any group asks for labels; else none for each.
    fn labels_of_nodes(&self) -> LabelsOfNodes {
        let mut bundles = self.groups.groups.values().flat_map(|group| &group.wire.bundles);
        let wanted = bundles.any(|bundle| !bundle.labels.is_empty());
        let of = |node: &crate::core::Node| if wanted { node.info.labels.clone() } else { HashMap::new() };
        self.nodes.iter().map(|(id, node)| (*id, of(node))).collect()
    }

    fn amounts_of_nodes<'a>(
        &'a self,
        which: impl Fn(&'a crate::core::Node) -> Option<&'a v1::Resources>,
    ) -> BTreeMap<NodeId, Amounts> {
        let amounts = |resources: Option<&v1::Resources>| {
            let all = resources.into_iter().flat_map(|resources| &resources.amounts);
            all.map(|(name, amount)| (name.clone(), *amount)).collect()
        };
        self.nodes.iter().map(|(id, node)| (*id, amounts(which(node)))).collect()
    }

    fn tell_return(&mut self, node: NodeId, group_id: &[u8], attempt: u64) {
        let group_id = bytes::Bytes::copy_from_slice(group_id);
        let back = v1::ReturnBundles { group_id, attempt, removed: false };
        self.tell_node(node, head_to_node::Message::ReturnBundles(back));
    }

    fn tell_node(&mut self, node: NodeId, message: head_to_node::Message) {
        if let Some(node) = self.nodes.get(&node) {
            self.effects.push(Effect::ToNode(node.link, down(message)));
        }
    }
}
