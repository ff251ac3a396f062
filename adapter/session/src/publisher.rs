//! Sets of breakpoints on their way to the nodes: generations, acknowledgements, and who still owes one.
//!
//! While a set is on its way, further changes gather and travel together, for a short time at most: a client that sets the breakpoints
//! of fifty files causes a few sets, not fifty.

use std::collections::BTreeMap;

use crate::{
    breakpoints::Armed,
    event::{ConfigAck, Node},
    ids::{Generation, NodeId},
    limits::ACKNOWLEDGE_WITHIN,
};

#[derive(Debug)]
struct NodeState {
    name: String,
    /// The newest generation that it has answered for, well or ill.
    answered: Generation,
    failure: Option<String>,
}

/// The newest set of breakpoints, and where it is in force.
#[derive(Debug, Default)]
pub struct Publisher {
    nodes: BTreeMap<NodeId, NodeState>,
    published: Generation,
    is_changed: bool,
    is_gate_open: bool,
}

impl Publisher {
    /// Takes the cluster's nodes. One that joins gets the newest set as it registers, ahead of its first task.
    pub fn set_nodes(&mut self, view: Vec<Node>) {
        let mut old = std::mem::take(&mut self.nodes);
        let published = self.published;
        self.nodes = view
            .into_iter()
            .map(|node| {
                let state = old.remove(&node.id).unwrap_or(NodeState {
                    name: node.name,
                    answered: published,
                    failure: None,
                });
                (node.id, state)
            })
            .collect();
    }

    /// The set has changed. The change is in force once the generation returned is settled.
    pub fn change(&mut self) -> Generation {
        self.is_changed = true;
        self.published.next()
    }

    /// The generation that holds all that was set so far.
    #[must_use]
    pub fn newest(&self) -> Generation {
        if self.is_changed { self.published.next() } else { self.published }
    }

    /// Whether a changed set should go out now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.is_changed && (self.is_gate_open || self.is_settled(self.published))
    }

    /// The number for the set that goes out now.
    pub fn publish(&mut self) -> Generation {
        self.is_changed = false;
        self.is_gate_open = false;
        self.published = self.published.next();
        self.published
    }

    /// The set before may not have arrived, and is not waited for.
    pub fn skip_wait(&mut self) {
        self.is_gate_open = true;
    }

    /// The set before has had its time.
    pub fn open_gate(&mut self, generation: Generation) {
        self.is_gate_open |= generation == self.published;
    }

    /// A node answered. Whether that was news.
    pub fn on_ack(&mut self, ack: &ConfigAck) -> bool {
        let Some(node) = self.nodes.get_mut(&ack.node) else { return false };
        if ack.generation < node.answered {
            return false;
        }
        node.answered = ack.generation;
        node.failure = ack.error.as_deref().map(|error| {
            let error = error.trim_end_matches('.');
            if error.contains(node.name.as_str()) {
                error.to_owned()
            } else {
                format!("{} could not arm it: {error}", node.name)
            }
        });
        true
    }

    /// Nodes that still owe an answer for `generation` are given up.
    pub fn give_up(&mut self, generation: Generation) {
        for node in self.nodes.values_mut().filter(|node| node.answered < generation) {
            node.answered = generation;
            node.failure = Some(format!(
                "{} did not confirm it within {} s, so tasks there may pass it; look at 'manta status'",
                node.name,
                ACKNOWLEDGE_WITHIN.as_secs()
            ));
        }
    }

    /// Whether every node has answered for `generation`.
    #[must_use]
    pub fn is_settled(&self, generation: Generation) -> bool {
        generation <= self.published && self.nodes.values().all(|node| node.answered >= generation)
    }

    /// Whether nothing is on its way and nothing waits to go.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.is_changed && self.is_settled(self.published)
    }

    /// Where the newest set is in force.
    #[must_use]
    pub fn armed(&self) -> Armed {
        let nodes = self.nodes.values().filter(|node| node.failure.is_none()).count();
        Armed { nodes, failure: self.nodes.values().find_map(|node| node.failure.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node { id: NodeId::new(name), name: name.to_owned() }
    }

    fn ack(name: &str, generation: u64, error: Option<&str>) -> ConfigAck {
        ConfigAck {
            generation: Generation(generation),
            node: NodeId::new(name),
            targets: Vec::new(),
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn changes_gather_while_one_is_on_its_way() {
        let mut publisher = Publisher::default();
        publisher.set_nodes(vec![node("node-1"), node("node-2")]);
        assert_eq!(publisher.change(), Generation(1));
        assert!(publisher.is_due());
        assert_eq!(publisher.publish(), Generation(1));
        assert_eq!((publisher.change(), publisher.change()), (Generation(2), Generation(2)));
        assert!(!publisher.is_due());
        publisher.on_ack(&ack("node-1", 1, None));
        assert!(!publisher.is_settled(Generation(1)));
        publisher.on_ack(&ack("node-2", 1, None));
        assert!(publisher.is_settled(Generation(1)) && publisher.is_due());
        assert!(!publisher.is_settled(Generation(2)), "it has not even been sent");
        publisher.publish();
        publisher.change();
        publisher.open_gate(Generation(1));
        assert!(!publisher.is_due(), "an old gate");
        publisher.open_gate(Generation(2));
        assert!(publisher.is_due());
    }

    #[test]
    fn a_node_that_fails_is_named_until_it_answers() {
        let mut publisher = Publisher::default();
        publisher.set_nodes(vec![node("node-1"), node("node-2")]);
        publisher.change();
        publisher.publish();
        publisher.on_ack(&ack("node-1", 1, Some("its worker 7 hangs")));
        publisher.give_up(Generation(1));
        assert!(publisher.is_settled(Generation(1)));
        assert_eq!(publisher.armed().failure.unwrap(), "node-1 could not arm it: its worker 7 hangs");
        publisher.on_ack(&ack("node-1", 1, None));
        assert!(publisher.armed().failure.unwrap().starts_with("node-2 did not confirm it within 6 s"));
        publisher.set_nodes(vec![node("node-1")]);
        assert_eq!(publisher.armed(), Armed { nodes: 1, failure: None });
    }
}
