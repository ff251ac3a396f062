//! Which of a node's GPUs a lease has.
//!
//! Whole GPUs are had alone; shares of one are put together on as few GPUs as possible, so that whole ones stay free.

use crate::resources::{Resources, WHOLE};

/// The resource that stands for GPUs.
pub const GPU: &str = "GPU";
/// GPUs of one node.
const DEVICES_MAX: u64 = 256;

/// The GPUs that this needs, from its placement group when it is in one.
#[must_use]
pub fn gpus_of(need: &Resources) -> u64 {
    let of_group = |name: &str| name.strip_prefix("GPU_group_").is_some_and(|rest| !rest.contains('_'));
    need.iter().find(|(name, _)| *name == GPU || of_group(name)).map_or(0, |(_, amount)| amount)
}

/// The GPUs of a node.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// By index: what CUDA calls it, and how much of it is free.
    devices: Vec<(String, u64)>,
}

/// GPUs, or shares of them, that were taken, each by its index; nothing for what needs none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Taken(Vec<(usize, u64)>);

impl Devices {
    /// As many as the node's resources say. `visible` are their names, where this process may not see all of the machine's.
    #[must_use]
    pub fn new(total: &Resources, visible: Option<&str>) -> Self {
        let count = total.amount(GPU).div_ceil(WHOLE).min(DEVICES_MAX);
        let mut names =
            visible.into_iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty());
        let name = |index: u64| names.next().map_or_else(|| index.to_string(), |name| name.trim().to_owned());
        Self { devices: (0..count).map(name).map(|name| (name, WHOLE)).collect() }
    }

    /// True on a node without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Takes this amount, or nothing when it is not to be had.
    pub fn take(&mut self, amount: u64) -> Option<Taken> {
        let taken = self.find(amount)?;
        for (index, amount) in &taken.0 {
            self.devices[*index].1 -= amount;
        }
        Some(taken)
    }

    /// What [`Devices::take`] would take.
    #[must_use]
    pub fn find(&self, amount: u64) -> Option<Taken> {
        if amount == 0 {
            return Some(Taken::default());
        }
        if amount >= WHOLE {
            let count = usize::try_from(amount.div_ceil(WHOLE)).ok()?;
            let free = self.devices.iter().enumerate().filter(|(_, (_, free))| *free == WHOLE);
            let taken: Vec<_> = free.take(count).map(|(index, _)| (index, WHOLE)).collect();
            (taken.len() == count).then_some(Taken(taken))
        } else {
            let fitting = self.devices.iter().enumerate().filter(|(_, (_, free))| *free >= amount);
            let (index, _) = fitting.min_by_key(|(index, (_, free))| (*free, *index))?;
            Some(Taken(vec![(index, amount)]))
        }
    }

    /// Gives back what was taken.
    pub fn give(&mut self, taken: &Taken) {
        for (index, amount) in &taken.0 {
            if let Some((_, free)) = self.devices.get_mut(*index) {
                debug_assert!(*free + amount <= WHOLE, "more of a GPU came back than was taken");
                *free = (*free + amount).min(WHOLE);
            }
        }
    }

    /// The value of `CUDA_VISIBLE_DEVICES` for a process that has these.
    #[must_use]
    pub fn names(&self, taken: &Taken) -> String {
        let names = taken.0.iter().filter_map(|(index, _)| self.devices.get(*index));
        names.map(|(name, _)| &**name).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: f64) -> Devices {
        Devices::new(&Resources::from_amounts([(GPU, count)]).unwrap(), None)
    }

    #[test]
    fn whole_gpus_are_had_alone() {
        let mut gpus = of(3.0);
        let two = gpus.take(2 * WHOLE).unwrap();
        assert_eq!(gpus.names(&two), "0,1");
        assert_eq!(gpus.take(2 * WHOLE), None);
        let third = gpus.take(WHOLE).unwrap();
        assert_eq!(gpus.names(&third), "2");
        gpus.give(&two);
        assert_eq!(gpus.take(2 * WHOLE), Some(two));
    }

    #[test]
    fn shares_are_put_together() {
        let mut gpus = of(2.0);
        let first = gpus.take(5_000).unwrap();
        let second = gpus.take(5_000).unwrap();
        assert_eq!((gpus.names(&first), gpus.names(&second)), ("0".to_owned(), "0".to_owned()));
        let whole = gpus.take(WHOLE).unwrap();
        assert_eq!(gpus.names(&whole), "1");
        assert_eq!(gpus.take(1), None);
        gpus.give(&first);
        assert!(gpus.take(6_000).is_none());
        assert!(gpus.take(4_000).is_some());
    }

    #[test]
    fn gpus_of_a_bundle_are_gpus() {
        let need = [("GPU_group_0_ab".to_owned(), WHOLE), ("GPU_group_ab".to_owned(), WHOLE)];
        assert_eq!(gpus_of(&need.into_iter().collect()), WHOLE);
        assert_eq!(gpus_of(&[("CPU".to_owned(), WHOLE)].into_iter().collect()), 0);
    }

    #[test]
    fn gpus_are_called_what_this_process_may_see() {
        let total = Resources::from_amounts([(GPU, 2.0)]).unwrap();
        let mut gpus = Devices::new(&total, Some("GPU-a1, 5"));
        let both = gpus.take(2 * WHOLE).unwrap();
        assert_eq!(gpus.names(&both), "GPU-a1,5");
    }
}
