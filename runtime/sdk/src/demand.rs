//! What a task or an actor needs of its node, and which nodes it may be on.

use manta_worker::{LabelOperator, NodeId, Placement};

use crate::{Error, PlacementGroup};

/// Resources and placement, as builders collect them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    /// Amounts by name.
    pub resources: Vec<(String, f64)>,
    pub placement: Placement,
    /// A placement group, and a bundle of it.
    pub group: Option<(PlacementGroup, Option<usize>)>,
    /// What was asked for and cannot be; told when it is submitted.
    pub wrong: Option<String>,
}

/// Amounts as the core takes them.
pub(crate) fn borrowed(amounts: &[(String, f64)]) -> Vec<(&str, f64)> {
    amounts.iter().map(|(name, amount)| (name.as_str(), *amount)).collect()
}

impl Demand {
    pub fn set(&mut self, name: impl Into<String>, amount: f64) {
        let name = name.into();
        self.resources.retain(|(other, _)| *other != name);
        self.resources.push((name, amount));
    }

    pub fn change_placement(&mut self, change: impl FnOnce(Placement) -> Placement) {
        self.placement = change(std::mem::take(&mut self.placement));
    }

    pub fn on_node(&mut self, node: &str, soft: bool) {
        match NodeId::from_hex(node) {
            Some(node) => self.change_placement(|placement| placement.on_node(node, soft, false)),
            None => self.wrong = Some(format!("'{node}' is not the id of a node; manta::nodes() has them")),
        }
    }

    pub fn label(&mut self, key: &str, operator: LabelOperator, values: Vec<String>) {
        self.change_placement(|placement| placement.with_label(key, operator, values, false));
    }

    /// What a node must have free, these amounts included, by the names that the scheduler uses.
    pub fn amounts(&self, more: &[(&str, f64)]) -> Result<Vec<(String, f64)>, Error> {
        if let Some(sentence) = &self.wrong {
            return Err(Error::Value(sentence.clone()));
        }
        let mut amounts = self.resources.clone();
        amounts.extend(more.iter().map(|(name, amount)| ((*name).to_owned(), *amount)));
        match &self.group {
            None => Ok(amounts),
            Some((group, bundle)) => group.amounts(*bundle, &amounts).map_err(Error::Value),
        }
    }
}

/// Builder methods about nodes, for a type that answers `demand()`.
macro_rules! demand_methods {
    () => {
        /// GPUs that it takes while it runs.
        pub fn num_gpus(self, amount: f64) -> Self {
            self.resource("GPU", amount)
        }

        /// Bytes of memory that it takes while it runs, for the scheduler's books.
        pub fn memory(self, bytes: f64) -> Self {
            self.resource("memory", bytes)
        }

        /// Another resource that some nodes have.
        pub fn resource(mut self, name: impl Into<String>, amount: f64) -> Self {
            self.demand().set(name, amount);
            self
        }

        /// In a placement group, in whichever bundle has room.
        pub fn in_group(mut self, group: &$crate::PlacementGroup) -> Self {
            self.demand().group = Some((group.clone(), None));
            self
        }

        /// In this bundle of a placement group.
        pub fn in_bundle(mut self, group: &$crate::PlacementGroup, index: usize) -> Self {
            self.demand().group = Some((group.clone(), Some(index)));
            self
        }

        /// Submissions go to the nodes in turn.
        pub fn spread(mut self) -> Self {
            self.demand().change_placement(manta_worker::Placement::spread);
            self
        }

        /// On the node with this id, in hex; with `soft`, elsewhere when that node is gone or can never run it.
        pub fn on_node(mut self, node: &str, soft: bool) -> Self {
            self.demand().on_node(node, soft);
            self
        }

        /// Only nodes with this label.
        pub fn label(mut self, key: &str, value: impl Into<String>) -> Self {
            self.demand().label(key, manta_worker::LabelOperator::In, vec![value.into()]);
            self
        }

        /// Only nodes on which the label has none of the values, or is not there.
        pub fn label_not_in(mut self, key: &str, values: &[&str]) -> Self {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            self.demand().label(key, manta_worker::LabelOperator::NotIn, values);
            self
        }

        /// Only nodes that have the label, whatever its value.
        pub fn label_exists(mut self, key: &str) -> Self {
            self.demand().label(key, manta_worker::LabelOperator::Exists, Vec::new());
            self
        }
    };
}
pub(crate) use demand_methods;

/// The builder methods that all actors have, for a type that answers `raw()`.
macro_rules! common_methods {
    () => {
        /// CPUs that it keeps for its life. Without this, it needs one to start and none afterwards.
        pub fn num_cpus(mut self, amount: f64) -> Self {
            self.raw().num_cpus = Some(amount);
            self
        }

        /// A name, unique in its namespace, by which others find it.
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.raw().name = Some(name.into());
            self
        }

        /// Where the name counts, in place of the job's own namespace.
        pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
            self.raw().namespace = Some(namespace.into());
            self
        }

        /// An actor that has the name already is the answer, and no error.
        pub fn get_if_exists(mut self) -> Self {
            self.raw().get_if_exists = true;
            self
        }

        /// It outlives the job that makes it, until it is killed.
        pub fn detached(mut self) -> Self {
            self.raw().detached = true;
            self
        }

        /// How often it is made anew after its worker ended; `u32::MAX` is without limit.
        pub fn max_restarts(mut self, times: u32) -> Self {
            self.raw().max_restarts = times;
            self
        }

        /// How often a call runs again when the worker ended under it.
        pub fn max_task_retries(mut self, times: u32) -> Self {
            self.raw().max_task_retries = times;
            self
        }

        /// Calls of one caller that may be under way; the next one then fails at once.
        pub fn max_pending_calls(mut self, calls: usize) -> Self {
            self.raw().max_pending_calls = Some(calls);
            self
        }

        /// Calls that run at once, each on a thread of its own. Methods with `&mut self` still run alone.
        pub fn max_concurrency(mut self, calls: u32) -> Self {
            self.raw().limits[0] = calls.max(1);
            self
        }
    };
}
pub(crate) use common_methods;
