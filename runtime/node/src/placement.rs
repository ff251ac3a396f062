//! Where a task may run and where it should: pure functions over what is known of the nodes.
//!
//! They must never look at anything but what they are given, so that their cost can be measured with as many nodes as one likes.

use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
};

use manta_proto::{ids::NodeId, labels, v1};

use crate::resources::{CPU, Resources};

/// What a task asks of its node beside resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Placement {
    /// Which of the nodes that may run it.
    pub strategy: Strategy,
    /// A node meets all of them, or is out of the question.
    pub labels: Vec<LabelRule>,
    /// Nodes that meet all of them come first.
    pub soft_labels: Vec<LabelRule>,
    /// In place of `labels`, one after the other, where no node with those has room.
    pub fallbacks: Vec<Vec<LabelRule>>,
}

/// Which of several possible nodes is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strategy {
    /// The asking node while it has room, then the one with most room.
    #[default]
    Default,
    /// One after the other.
    Spread,
    /// This one.
    Node {
        /// Which.
        id: NodeId,
        /// Elsewhere when it is gone or can never run the task.
        soft: bool,
        /// Not there either while it has no room.
        only_with_room: bool,
    },
}

/// What a label has to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LabelRule(v1::LabelRule);

impl PartialOrd for LabelRule {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelRule {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |rule: &Self| (rule.0.key.clone(), rule.0.operator, rule.0.values.clone());
        key(self).cmp(&key(other))
    }
}

/// A node as the choice sees it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// Which node.
    pub id: NodeId,
    /// What it has in all.
    pub total: &'a Resources,
    /// What of it is free; `None` when it takes nothing now.
    pub free: Option<&'a Resources>,
    /// Its labels.
    pub labels: &'a HashMap<String, String>,
    /// It is the node that decides.
    pub here: bool,
}

impl Candidate<'_> {
    fn has_room(&self, need: &Resources) -> bool {
        self.free.is_some_and(|free| free.covers(need))
    }

    fn free_of(&self, name: &str) -> u64 {
        self.free.map_or(0, |free| free.amount(name))
    }
}

impl LabelRule {
    fn is_met(&self, node: &Candidate<'_>) -> bool {
        labels::is_met(&self.0, node.id, node.labels)
    }
}

impl Placement {
    /// From the wire; absent means anywhere.
    ///
    /// # Errors
    /// When the node's id is none.
    pub fn from_wire(wire: Option<&v1::Placement>) -> Result<Self, String> {
        let Some(wire) = wire else { return Ok(Self::default()) };
        let strategy = match &wire.strategy {
            None | Some(v1::placement::Strategy::Spread(false)) => Strategy::Default,
            Some(v1::placement::Strategy::Spread(true)) => Strategy::Spread,
            Some(v1::placement::Strategy::Node(node)) => {
                let id = NodeId::try_from(&node.node_id).map_err(|error| error.to_string())?;
                Strategy::Node { id, soft: node.soft, only_with_room: node.only_with_room }
            }
        };
        let rules = |rules: &[v1::LabelRule]| rules.iter().cloned().map(LabelRule).collect();
        Ok(Self {
            strategy,
            labels: rules(&wire.labels),
            soft_labels: rules(&wire.soft_labels),
            fallbacks: wire.fallbacks.iter().map(|fallback| rules(&fallback.rules)).collect(),
        })
    }

    /// True when it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.strategy == Strategy::Default
            && self.labels.is_empty()
            && self.soft_labels.is_empty()
            && self.fallbacks.is_empty()
    }

    /// The labels that a node must have, and what may take their place, in this order.
    fn alternatives(&self) -> impl Iterator<Item = &[LabelRule]> {
        std::iter::once(&self.labels[..]).chain(self.fallbacks.iter().map(|rules| &rules[..]))
    }
}

fn all_met(rules: &[LabelRule], node: &Candidate<'_>) -> bool {
    rules.iter().all(|rule| rule.is_met(node))
}

/// Why a node can never run what needs this, or `None` when it can once it has room.
#[must_use]
pub fn never(need: &Resources, placement: &Placement, node: &Candidate<'_>) -> Option<String> {
    if let Strategy::Node { id, soft: false, only_with_room } = placement.strategy {
        if id != node.id {
            return Some("is not the node that it is to run on".to_owned());
        }
        if only_with_room && !node.has_room(need) {
            return Some("is full, and it is to run there only while there is room".to_owned());
        }
    }
    if let Some(rule) = placement.labels.iter().find(|rule| !rule.is_met(node))
        && !placement.fallbacks.iter().any(|rules| all_met(rules, node))
    {
        return Some(format!("does not have the label that it needs ({})", labels::in_words(&rule.0)));
    }
    let lacks = need.iter().filter(|(name, amount)| node.total.amount(name) < *amount);
    let has: Vec<_> = lacks.map(|(name, _)| node.total.describe(name)).collect();
    (!has.is_empty()).then(|| format!("has {}", has.join(", ")))
}

/// The node on which something that needs this should be started now, or `None` when none has room.
///
/// `last` is the node that was taken last when things are spread.
#[must_use]
pub fn choose<'a>(
    need: &Resources,
    placement: &Placement,
    last: Option<NodeId>,
    nodes: impl Iterator<Item = Candidate<'a>> + Clone,
) -> Option<NodeId> {
    placement.alternatives().find_map(move |rules| choose_with(rules, need, placement, last, &nodes))
}

/// The same among the nodes with these labels.
fn choose_with<'a>(
    rules: &[LabelRule],
    need: &Resources,
    placement: &Placement,
    last: Option<NodeId>,
    nodes: &(impl Iterator<Item = Candidate<'a>> + Clone),
) -> Option<NodeId> {
    let allowed = |node: &Candidate<'_>| all_met(rules, node);
    if let Strategy::Node { id, soft, only_with_room } = placement.strategy {
        let named = nodes.clone().find(|node| node.id == id);
        let possible = named.as_ref().is_some_and(|node| allowed(node) && node.total.covers(need));
        let named = named.filter(|node| possible && node.has_room(need)).map(|node| node.id);
        if named.is_some() || !soft || (possible && !only_with_room) {
            return named;
        }
    }
    let with_room = nodes.clone().filter(|node| allowed(node) && node.has_room(need));
    let preferred = |node: &Candidate<'_>| all_met(&placement.soft_labels, node);
    if placement.strategy == Strategy::Spread {
        // The ids in their order, from the one after the last taken, round to the start.
        return with_room
            .min_by_key(|node| (!preferred(node), last.is_some_and(|last| node.id <= last), node.id))
            .map(|node| node.id);
    }
    with_room
        .min_by_key(|node| {
            let cpus_free = node.free_of(CPU);
            (!preferred(node), !node.here, use_after(need, node), Reverse(cpus_free), node.id)
        })
        .map(|node| node.id)
}

/// How full the scarcest of the needed resources would be, in ten-thousandths.
fn use_after(need: &Resources, node: &Candidate<'_>) -> u64 {
    let share = |(name, amount): (&str, u64)| {
        let total = node.total.amount(name).max(1);
        let used = total.saturating_sub(node.free_of(name)).saturating_add(amount);
        u64::try_from(u128::from(used) * 10_000 / u128::from(total)).unwrap_or(u64::MAX)
    };
    need.iter().map(share).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use manta_proto::v1::label_rule::Operator;

    use super::*;

    struct Nodes(Vec<(NodeId, Resources, Resources, HashMap<String, String>)>);

    impl Nodes {
        /// Nodes of four CPUs with so many free; the first is the one that decides.
        fn with_free(free: &[f64]) -> Self {
            let cpus = |count| Resources::from_amounts([("CPU", count)]).unwrap();
            let node = |(index, free): (usize, &f64)| {
                let byte = u8::try_from(index + 1).unwrap();
                let zone = if index % 2 == 0 { "even" } else { "odd" };
                (NodeId([byte; 16]), cpus(4.0), cpus(*free), [("zone".to_owned(), zone.to_owned())].into())
            };
            Self(free.iter().enumerate().map(node).collect())
        }

        fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> + Clone {
            self.0.iter().enumerate().map(|(index, (id, total, free, labels))| Candidate {
                id: *id,
                total,
                free: Some(free),
                labels,
                here: index == 0,
            })
        }

        fn choose(&self, cpus: f64, placement: &Placement) -> Option<u8> {
            let need = Resources::from_amounts([("CPU", cpus)]).unwrap();
            choose(&need, placement, None, self.candidates()).map(|id| id.0[0])
        }
    }

    fn zone(operator: Operator, value: &str) -> LabelRule {
        LabelRule(v1::LabelRule { key: "zone".into(), operator: operator.into(), values: vec![value.into()] })
    }

    #[test]
    fn the_asking_node_comes_first_then_the_emptiest() {
        let default = Placement::default();
        assert_eq!(Nodes::with_free(&[1.0, 4.0, 2.0]).choose(1.0, &default), Some(1));
        assert_eq!(Nodes::with_free(&[0.0, 2.0, 4.0]).choose(1.0, &default), Some(3));
        assert_eq!(Nodes::with_free(&[0.0, 2.0, 4.0]).choose(4.5, &default), None);
    }

    #[test]
    fn spreading_takes_the_nodes_in_turn_and_passes_over_full_ones() {
        let nodes = Nodes::with_free(&[4.0, 4.0, 0.0, 4.0]);
        let spread = Placement { strategy: Strategy::Spread, ..Placement::default() };
        let need = Resources::from_amounts([("CPU", 1.0)]).unwrap();
        let mut last = None;
        let mut taken = Vec::new();
        for _ in 0..5 {
            last = choose(&need, &spread, last, nodes.candidates());
            taken.push(last.unwrap().0[0]);
        }
        assert_eq!(taken, [1, 2, 4, 1, 2]);
    }

    #[test]
    fn a_hard_affinity_waits_for_its_node_and_a_soft_one_only_while_it_could_ever_run_there() {
        let on = |byte, soft| Placement {
            strategy: Strategy::Node { id: NodeId([byte; 16]), soft, only_with_room: false },
            ..Placement::default()
        };
        let nodes = Nodes::with_free(&[4.0, 0.0, 4.0]);
        assert_eq!(nodes.choose(1.0, &on(3, false)), Some(3));
        assert_eq!(nodes.choose(1.0, &on(2, false)), None);
        assert_eq!(nodes.choose(1.0, &on(2, true)), None);
        assert_eq!(nodes.choose(1.0, &on(9, false)), None);
        assert_eq!(nodes.choose(1.0, &on(9, true)), Some(1));
    }

    #[test]
    fn an_affinity_to_a_node_with_room_goes_elsewhere_when_it_is_soft_and_is_refused_when_not() {
        let on = |soft| Placement {
            strategy: Strategy::Node { id: NodeId([2; 16]), soft, only_with_room: true },
            ..Placement::default()
        };
        let full = Nodes::with_free(&[4.0, 0.0, 4.0]);
        assert_eq!(full.choose(1.0, &on(true)), Some(1));
        assert_eq!(full.choose(1.0, &on(false)), None);
        let need = Resources::from_amounts([("CPU", 1.0)]).unwrap();
        let refused =
            |nodes: &Nodes, soft| nodes.candidates().all(|node| never(&need, &on(soft), &node).is_some());
        assert!(refused(&full, false) && !refused(&full, true));
        let free = Nodes::with_free(&[4.0, 1.0]);
        assert_eq!((free.choose(1.0, &on(true)), free.choose(1.0, &on(false))), (Some(2), Some(2)));
        assert!(!refused(&free, false));
    }

    #[test]
    fn labels_that_may_take_the_place_of_others_are_tried_in_their_order() {
        let rules = |value| vec![zone(Operator::In, value)];
        let wanted = Placement {
            labels: rules("nowhere"),
            fallbacks: vec![rules("odd"), rules("even")],
            ..Placement::default()
        };
        assert_eq!(Nodes::with_free(&[4.0, 1.0, 4.0]).choose(1.0, &wanted), Some(2));
        assert_eq!(Nodes::with_free(&[4.0, 0.0, 4.0]).choose(1.0, &wanted), Some(1));
        let nodes = Nodes::with_free(&[4.0]);
        let first = nodes.candidates().next().unwrap();
        assert_eq!(never(&Resources::default(), &wanted, &first), None);
        let only_odd = Placement { fallbacks: vec![rules("odd")], ..wanted };
        assert!(never(&Resources::default(), &only_odd, &first).unwrap().contains("zone=nowhere"));
    }

    #[test]
    fn labels_rule_nodes_out_and_soft_ones_only_order_them() {
        let nodes = Nodes::with_free(&[4.0, 1.0, 4.0]);
        let hard = |rule| Placement { labels: vec![rule], ..Placement::default() };
        assert_eq!(nodes.choose(1.0, &hard(zone(Operator::In, "odd"))), Some(2));
        assert_eq!(nodes.choose(2.0, &hard(zone(Operator::In, "odd"))), None);
        assert_eq!(nodes.choose(2.0, &hard(zone(Operator::NotIn, "odd"))), Some(1));
        assert_eq!(nodes.choose(1.0, &hard(zone(Operator::DoesNotExist, ""))), None);
        let soft = Placement { soft_labels: vec![zone(Operator::In, "odd")], ..Placement::default() };
        assert_eq!(nodes.choose(1.0, &soft), Some(2));
        assert_eq!(nodes.choose(2.0, &soft), Some(1));
    }

    #[test]
    fn what_can_never_run_says_why() {
        let nodes = Nodes::with_free(&[4.0, 4.0]);
        let need = Resources::from_amounts([("CPU", 8.0)]).unwrap();
        let first = nodes.candidates().next().unwrap();
        assert_eq!(never(&need, &Placement::default(), &first).unwrap(), "has CPU 4");
        let rule = Placement { labels: vec![zone(Operator::In, "odd")], ..Placement::default() };
        let sentence = never(&Resources::default(), &rule, &first).unwrap();
        assert_eq!(sentence, "does not have the label that it needs (zone=odd)");
    }
}
