//! Placement groups: resources that are reserved together, on one node or on several, for tasks and actors that run in them.

use std::time::Duration;

use manta_worker::{GroupError, LabelOperator, NewGroup};
use serde::{Deserialize, Serialize};

use crate::{Error, ObjectRef, session};

pub use manta_worker::GroupStrategy;

/// What a task takes of its bundle so as to be in it, even when it needs nothing else.
const BUNDLE_AMOUNT: f64 = 0.001;

/// A group, which may not be placed yet. It may travel inside arguments and results. It ends with its job, unless it is detached.
///
/// ```no_run
/// # #[manta::task]
/// # fn train(part: u32) -> u32 { part }
/// # fn main() -> Result<(), manta::Error> {
/// # let _session = manta::init()?;
/// let group = manta::PlacementGroup::of(&[&[("CPU", 2.0)], &[("CPU", 1.0), ("GPU", 1.0)]])
///     .strategy(manta::GroupStrategy::Spread)
///     .create()?;
/// manta::get(&group.ready())?;
/// let part = train.options().in_bundle(&group, 1).remote(7);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementGroup {
    id: String,
    bundles: Vec<Vec<(String, f64)>>,
}

/// A group that is to be made.
#[derive(Debug, Clone)]
#[must_use = "the group is made by .create()"]
pub struct NewPlacementGroup(NewGroup);

impl NewPlacementGroup {
    /// How the bundles lie on the nodes; [`GroupStrategy::Pack`] without this.
    pub fn strategy(mut self, strategy: GroupStrategy) -> Self {
        self.0.strategy = strategy;
        self
    }

    /// A name, unique in the cluster.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// It stays when its job ends.
    pub fn detached(mut self) -> Self {
        self.0.detached = true;
        self
    }

    /// The bundle of this index lies on a node with this label.
    pub fn bundle_label(mut self, index: usize, key: &str, value: impl Into<String>) -> Self {
        if let Some(labels) = self.0.labels.get_mut(index) {
            labels.push((key.to_owned(), LabelOperator::In, vec![value.into()]));
        }
        self
    }

    /// Asks for the group; it is placed as soon as there is room.
    ///
    /// # Errors
    /// When it asks for nothing or for amounts that are none, its name is taken, or the cluster is gone.
    pub fn create(self) -> Result<PlacementGroup, Error> {
        let id = session::core()?.create_placement_group(&self.0).map_err(|error| of_group(&error))?;
        Ok(PlacementGroup { id, bundles: self.0.bundles })
    }
}

impl PlacementGroup {
    /// A group with these bundles: what each reserves on one node, by the names of resources.
    pub fn of(bundles: &[&[(&str, f64)]]) -> NewPlacementGroup {
        let bundle = |amounts: &&[(&str, f64)]| {
            amounts.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
        };
        NewPlacementGroup(NewGroup {
            name: String::new(),
            strategy: GroupStrategy::Pack,
            bundles: bundles.iter().map(bundle).collect(),
            labels: vec![Vec::new(); bundles.len()],
            detached: false,
        })
    }

    /// Its id, in hex.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What each bundle reserves.
    #[must_use]
    pub fn bundles(&self) -> &[Vec<(String, f64)>] {
        &self.bundles
    }

    /// A ref that is ready as soon as all bundles are placed.
    #[must_use]
    pub fn ready(&self) -> ObjectRef<()> {
        placed.options().num_cpus(0.0).in_group(self).remote()
    }

    /// Whether it is placed within this time.
    ///
    /// # Errors
    /// When the cluster is gone.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Error> {
        Ok(!crate::wait(&[self.ready()], 1, Some(timeout))?.0.is_empty())
    }

    /// Gives its resources back: what runs in it ends, and what waits for it fails.
    ///
    /// # Errors
    /// When the cluster is gone.
    pub fn remove(&self) -> Result<(), Error> {
        session::core()?.remove_placement_group(&self.id).map_err(|error| of_group(&error))
    }

    /// The same amounts under the names that they have in the group, or in one bundle of it; or why they do not fit.
    pub(crate) fn amounts(
        &self,
        bundle: Option<usize>,
        wanted: &[(String, f64)],
    ) -> Result<Vec<(String, f64)>, String> {
        let one = bundle.and_then(|index| self.bundles.get(index)).map(std::slice::from_ref);
        let bundles = match bundle {
            None => &self.bundles[..],
            Some(index) => one.ok_or_else(|| {
                format!(
                    "the placement group has {} bundles, and none with the index {index}",
                    self.bundles.len()
                )
            })?,
        };
        let has = |bundle: &Vec<(String, f64)>, name: &str| {
            bundle.iter().find(|(other, _)| other == name).map_or(0.0, |(_, amount)| *amount)
        };
        let fits =
            |bundle: &Vec<(String, f64)>| wanted.iter().all(|(name, amount)| has(bundle, name) >= *amount);
        if !bundles.iter().any(fits) {
            return Err(format!(
                "what is asked for ({wanted:?}) does not fit into a bundle of the placement group {}, which has {bundles:?}",
                self.id
            ));
        }
        let marked = wanted.iter().filter(|(_, amount)| *amount > 0.0);
        let marked = marked.map(|(name, amount)| (&**name, *amount)).chain([("bundle", BUNDLE_AMOUNT)]);
        let id = &self.id;
        Ok(marked
            .flat_map(|(name, amount)| {
                let in_bundle = bundle.map(|index| (format!("{name}_group_{index}_{id}"), amount));
                std::iter::once((format!("{name}_group_{id}"), amount)).chain(in_bundle)
            })
            .collect())
    }
}

fn of_group(error: &GroupError) -> Error {
    match error {
        GroupError::Connect(_) | GroupError::Local(_) => Error::Disconnected(error.to_string()),
        GroupError::Amount(_) | GroupError::Refused(_) => Error::Value(error.to_string()),
    }
}

/// Runs in a group as soon as that is placed.
#[manta_macros::task]
pub fn placed() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_in_a_group_have_its_names() {
        let NewPlacementGroup(new) = PlacementGroup::of(&[&[("CPU", 1.0)], &[("GPU", 1.0)]]);
        let group = PlacementGroup { id: "ab".to_owned(), bundles: new.bundles };
        let cpu = |amount| vec![("CPU".to_owned(), amount)];
        let names = |bundle| {
            let amounts = group.amounts(bundle, &cpu(1.0)).unwrap();
            amounts.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["CPU_group_ab", "bundle_group_ab"]);
        assert_eq!(
            names(Some(0)),
            ["CPU_group_ab", "CPU_group_0_ab", "bundle_group_ab", "bundle_group_0_ab"]
        );
        assert!(group.amounts(Some(1), &cpu(1.0)).unwrap_err().contains("does not fit"));
        assert!(group.amounts(None, &cpu(2.0)).unwrap_err().contains("does not fit"));
        assert!(group.amounts(Some(2), &cpu(0.0)).unwrap_err().contains("none with the index 2"));
    }
}
