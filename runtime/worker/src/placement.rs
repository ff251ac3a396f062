//! Where a task may run, as bindings say it.

use std::sync::Arc;

use manta_proto::{ids::NodeId, v1};
use prost::Message;

/// Where a task may run, beyond having its resources; anywhere by default. Cheap to clone, compare and hash: tasks with equal
/// placement share leases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Placement(
    /// The encoded message; none for anywhere.
    Option<Arc<[u8]>>,
);

/// What a label of a node has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelOperator {
    /// One of the values.
    In,
    /// None of the values, or not there.
    NotIn,
    /// There.
    Exists,
    /// Not there.
    DoesNotExist,
}

impl LabelOperator {
    pub(crate) fn rule(self, key: &str, values: Vec<String>) -> v1::LabelRule {
        let operator = match self {
            Self::In => v1::label_rule::Operator::In,
            Self::NotIn => v1::label_rule::Operator::NotIn,
            Self::Exists => v1::label_rule::Operator::Exists,
            Self::DoesNotExist => v1::label_rule::Operator::DoesNotExist,
        };
        v1::LabelRule { key: key.to_owned(), operator: operator.into(), values }
    }
}

impl Placement {
    /// On the nodes in turn.
    #[must_use]
    pub fn spread(self) -> Self {
        self.changed(|wire| wire.strategy = Some(v1::placement::Strategy::Spread(true)))
    }

    /// On this node; with `soft`, elsewhere when the node is gone or can never run it. With `only_with_room`, only while the node has
    /// room: else elsewhere, or, without `soft`, refused.
    #[must_use]
    pub fn on_node(self, node: NodeId, soft: bool, only_with_room: bool) -> Self {
        let affinity = v1::NodeAffinity { node_id: node.to_bytes(), soft, only_with_room };
        self.changed(|wire| wire.strategy = Some(v1::placement::Strategy::Node(affinity)))
    }

    /// On nodes with such a label; with `soft`, only preferably.
    #[must_use]
    pub fn with_label(self, key: &str, operator: LabelOperator, values: Vec<String>, soft: bool) -> Self {
        let rule = operator.rule(key, values);
        self.changed(|wire| if soft { wire.soft_labels.push(rule) } else { wire.labels.push(rule) })
    }

    /// On nodes with all of these labels where no node with the labels before has room. Labels are key, operator and values.
    #[must_use]
    pub fn or_with_labels(self, labels: Vec<(String, LabelOperator, Vec<String>)>) -> Self {
        let rules = labels.into_iter().map(|(key, operator, values)| operator.rule(&key, values)).collect();
        self.changed(|wire| wire.fallbacks.push(v1::LabelRules { rules }))
    }

    fn changed(self, change: impl FnOnce(&mut v1::Placement)) -> Self {
        let mut wire = self.to_wire().unwrap_or_default();
        change(&mut wire);
        Self(Some(wire.encode_to_vec().into()))
    }

    /// For a lease request.
    pub(crate) fn to_wire(&self) -> Option<v1::Placement> {
        // The bytes were made above.
        self.0.as_ref().and_then(|bytes| v1::Placement::decode(&bytes[..]).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_wishes_are_equal_and_reach_the_wire() {
        let node = NodeId([7; 16]);
        let wish = || {
            let zone = vec!["a".to_owned()];
            Placement::default().on_node(node, true, false).with_label("zone", LabelOperator::In, zone, false)
        };
        assert_eq!(wish(), wish());
        assert_ne!(wish(), wish().spread());
        assert_eq!(Placement::default().to_wire(), None);
        let wire = wish().to_wire().unwrap();
        let affinity = v1::NodeAffinity { node_id: node.to_bytes(), soft: true, only_with_room: false };
        assert_eq!(wire.strategy, Some(v1::placement::Strategy::Node(affinity)));
        assert_eq!((&*wire.labels[0].key, wire.soft_labels.len()), ("zone", 0));
        let other = wish().or_with_labels(vec![("zone".into(), LabelOperator::Exists, Vec::new())]);
        assert_eq!(other.to_wire().unwrap().fallbacks[0].rules[0].key, "zone");
    }
}
