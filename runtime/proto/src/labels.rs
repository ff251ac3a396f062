//! What a label of a node has to be. Nodes ask it for tasks, the head for bundles of placement groups.

use std::collections::HashMap;

use crate::{
    ids::NodeId,
    v1::{LabelRule, label_rule::Operator},
};

/// The label that every node has: its id in hex.
pub const NODE_ID_LABEL: &str = "ray.io/node-id";

/// Whether a node with these labels is as the rule wants it.
#[must_use]
pub fn is_met(rule: &LabelRule, id: NodeId, labels: &HashMap<String, String>) -> bool {
    let own_id;
    let value = if rule.key == NODE_ID_LABEL {
        own_id = id.to_string();
        Some(&own_id)
    } else {
        labels.get(&rule.key)
    };
    match rule.operator() {
        Operator::In => value.is_some_and(|value| rule.values.contains(value)),
        Operator::NotIn => value.is_none_or(|value| !rule.values.contains(value)),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}

/// The rule in words.
#[must_use]
pub fn in_words(rule: &LabelRule) -> String {
    let (key, values) = (&rule.key, rule.values.join(", "));
    match rule.operator() {
        Operator::In if rule.values.len() == 1 => format!("{key}={values}"),
        Operator::In => format!("{key} in ({values})"),
        Operator::NotIn if rule.values.len() == 1 => format!("{key}!={values}"),
        Operator::NotIn => format!("{key} not in ({values})"),
        Operator::Exists => key.clone(),
        Operator::DoesNotExist => format!("no {key}"),
    }
}
