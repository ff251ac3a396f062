//! Amounts of resources in ten-thousandths, so that fractions add up exactly.

use std::{collections::BTreeMap, fmt};

use manta_proto::v1;

/// One whole CPU, GPU or custom resource.
pub const WHOLE: u64 = 10_000;

/// The name of the resource that a blocked task gives back.
pub const CPU: &str = "CPU";
/// How the names of the CPUs of a placement group begin.
const CPU_OF_GROUP: &str = "CPU_group_";

/// What a task needs or a node has. Amounts of zero are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resources(BTreeMap<String, u64>);

impl Resources {
    /// From whole and fractional amounts.
    ///
    /// # Errors
    /// When an amount is negative or not a number.
    pub fn from_amounts<'a>(amounts: impl IntoIterator<Item = (&'a str, f64)>) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for (name, amount) in amounts {
            if !amount.is_finite() || !(0.0..=1e15).contains(&amount) {
                return Err(format!(
                    "the amount of the resource '{name}' is {amount}; it must be a number from 0 on"
                ));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be in range above"
            )]
            let parts = (amount * 10_000.0).round() as u64;
            if parts > 0 {
                map.insert(name.to_owned(), parts);
            }
        }
        Ok(Self(map))
    }

    /// The amount of one resource.
    #[must_use]
    pub fn amount(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The names and amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }

    /// True when `need` is there.
    #[must_use]
    pub fn covers(&self, need: &Self) -> bool {
        need.0.iter().all(|(name, amount)| self.amount(name) >= *amount)
    }

    /// Takes `need` away, as far as it is there.
    pub fn reduce(&mut self, need: &Self) {
        for (name, amount) in &need.0 {
            if let Some(have) = self.0.get_mut(name) {
                *have = have.saturating_sub(*amount);
            }
        }
    }

    /// What a node has by being one: one of a resource that is called by its address, and the bytes of its object store.
    pub fn add_own(&mut self, host: &str, object_store_bytes: u64) {
        self.0.insert(format!("{NODE_PREFIX}{host}"), WHOLE);
        self.0.insert(OBJECT_STORE_MEMORY.to_owned(), object_store_bytes.saturating_mul(WHOLE));
    }

    /// Adds `more`.
    pub fn add(&mut self, more: &Self) {
        for (name, amount) in &more.0 {
            *self.0.entry(name.clone()).or_default() += amount;
        }
    }

    /// What people want to see of a node: without what belongs to placement groups, which is there under its own name too, and
    /// without what every node has.
    #[must_use]
    pub fn for_people(&self) -> Self {
        self.0
            .iter()
            .filter(|(name, _)| {
                !name.contains("_group_") && !name.starts_with(NODE_PREFIX) && *name != OBJECT_STORE_MEMORY
            })
            .map(|(name, amount)| (name.clone(), *amount))
            .collect()
    }

    /// Only the CPU of it.
    #[must_use]
    pub fn cpu_only(&self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| *name == CPU || name.starts_with(CPU_OF_GROUP))
                .map(|(name, amount)| (name.clone(), *amount))
                .collect(),
        )
    }

    /// For the wire.
    #[must_use]
    pub fn to_wire(&self) -> v1::Resources {
        v1::Resources { amounts: self.0.iter().map(|(name, amount)| (name.clone(), *amount)).collect() }
    }

    /// From the wire.
    #[must_use]
    pub fn from_wire(wire: Option<&v1::Resources>) -> Self {
        let amounts = wire.into_iter().flat_map(|wire| &wire.amounts);
        Self(
            amounts
                .filter(|(_, amount)| **amount > 0)
                .map(|(name, amount)| (name.clone(), *amount))
                .collect(),
        )
    }
}

impl FromIterator<(String, u64)> for Resources {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(amounts: I) -> Self {
        let mut all = Self::default();
        for (name, amount) in amounts {
            *all.0.entry(name).or_default() += amount;
        }
        all
    }
}

/// How the resources begin that stand for one node, for tasks that are to be there: with its address, or with [`BESIDE_HEAD`].
const NODE_PREFIX: &str = "node:";
/// The resource of the node that was started with the head, under Ray's name.
pub const BESIDE_HEAD: &str = "node:__internal_head__";
/// The limit of a node's object store, which is told and not given out.
const OBJECT_STORE_MEMORY: &str = "object_store_memory";

/// The name of the resource whose amounts are bytes.
const MEMORY: &str = "memory";

impl Resources {
    /// "CPU 2" or "no GPU".
    #[must_use]
    pub fn describe(&self, name: &str) -> String {
        match self.amount(name) {
            0 => format!("no {name}"),
            amount => format!("{name} {}", shown(name, amount)),
        }
    }
}

/// An amount as people write it: memory in the unit that suits it.
fn shown(name: &str, amount: u64) -> String {
    let (whole, rest) = (amount / WHOLE, amount % WHOLE);
    if name == MEMORY && whole >= 1024 {
        #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
        let bytes = whole as f64;
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let (unit, shift) = units.into_iter().find(|(_, shift)| whole >> shift > 0).unwrap_or(("KiB", 10));
        let in_unit = format!("{:.1}", bytes / f64::from(1_u32 << shift));
        return format!("{} {unit}", in_unit.trim_end_matches(".0"));
    }
    if rest == 0 {
        return whole.to_string();
    }
    let rest = format!("{rest:04}");
    format!("{whole}.{}", rest.trim_end_matches('0'))
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (index, (name, amount)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name} {}", shown(name, *amount))?;
        }
        Ok(())
    }
}

/// What a node has left. It falls below zero when blocked tasks, whose CPU was given to others, run on.
#[derive(Clone, Debug)]
pub struct Budget {
    total: Resources,
    used: BTreeMap<String, u64>,
}

impl Budget {
    /// Everything is free.
    #[must_use]
    pub fn new(total: Resources) -> Self {
        Self { total, used: BTreeMap::new() }
    }

    /// What the node has in all.
    #[must_use]
    pub fn total(&self) -> &Resources {
        &self.total
    }

    /// There is more of this now.
    pub fn grow(&mut self, more: &Resources) {
        self.total.add(more);
    }

    /// There is less of this now, though some of it may still be in use.
    pub fn shrink(&mut self, less: &Resources) {
        self.total.reduce(less);
        self.total.0.retain(|_, amount| *amount > 0);
    }

    /// True when `need` is free.
    #[must_use]
    pub fn covers(&self, need: &Resources) -> bool {
        need.0.iter().all(|(name, amount)| {
            self.total.amount(name) >= self.used.get(name).copied().unwrap_or(0).saturating_add(*amount)
        })
    }

    /// Takes `need`, whether it is free or not.
    pub fn take(&mut self, need: &Resources) {
        for (name, amount) in &need.0 {
            *self.used.entry(name.clone()).or_default() += amount;
        }
    }

    /// Gives `need` back.
    pub fn give(&mut self, need: &Resources) {
        for (name, amount) in &need.0 {
            if let Some(used) = self.used.get_mut(name) {
                debug_assert!(*used >= *amount, "more of {name} came back than was taken");
                *used = used.saturating_sub(*amount);
            }
        }
    }

    /// What is free.
    #[must_use]
    pub fn available(&self) -> Resources {
        let mut free = self.total.clone();
        for (name, have) in &mut free.0 {
            *have = have.saturating_sub(self.used.get(name).copied().unwrap_or(0));
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(amounts: &[(&str, f64)]) -> Resources {
        Resources::from_amounts(amounts.iter().copied()).unwrap()
    }

    #[test]
    fn fractions_add_up_exactly() {
        let mut budget = Budget::new(resources(&[("CPU", 1.0)]));
        let tenth = resources(&[("CPU", 0.1)]);
        for _ in 0..10 {
            assert!(budget.covers(&tenth));
            budget.take(&tenth);
        }
        assert!(!budget.covers(&tenth));
        budget.give(&tenth);
        assert!(budget.covers(&tenth));
    }

    #[test]
    fn a_budget_may_be_overdrawn_and_recovers() {
        let mut budget = Budget::new(resources(&[("CPU", 1.0)]));
        let one = resources(&[("CPU", 1.0)]);
        budget.take(&one);
        budget.take(&one);
        assert_eq!(budget.available().amount("CPU"), 0);
        budget.give(&one);
        assert!(!budget.covers(&one));
        budget.give(&one);
        assert!(budget.covers(&one));
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        assert_eq!(resources(&[("CPU", 2.0), ("GPU", 0.25)]).to_string(), "CPU 2, GPU 0.25");
        assert_eq!(Resources::default().to_string(), "nothing");
        assert_eq!(resources(&[("memory", 1_610_612_736.0)]).to_string(), "memory 1.5 GiB");
        assert_eq!(resources(&[("CPU", 2.0)]).describe("GPU"), "no GPU");
        assert!(Resources::from_amounts([("CPU", -1.0)]).unwrap_err().contains("'CPU' is -1"));
    }
}
