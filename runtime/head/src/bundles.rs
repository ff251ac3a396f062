//! Where the bundles of a placement group go: a pure function over what the nodes have free.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use manta_proto::{ids::NodeId, v1::placement_group::Strategy};

/// Amounts by name, in ten-thousandths.
pub(crate) type Amounts = BTreeMap<String, u64>;

/// Whether a bundle, by its index, may be on a node.
pub(crate) type Allowed<'a> = &'a dyn Fn(usize, NodeId) -> bool;

/// Finds a node for every bundle that has none (`placed` has those that are placed already), or nothing when one finds no room.
pub(crate) fn place(
    strategy: Strategy,
    bundles: &[Amounts],
    placed: &BTreeMap<usize, NodeId>,
    free: &BTreeMap<NodeId, Amounts>,
    allowed: Allowed<'_>,
) -> Option<BTreeMap<usize, NodeId>> {
    let mut open: Vec<usize> = (0..bundles.len()).filter(|index| !placed.contains_key(index)).collect();
    if strategy == Strategy::StrictPack {
        let mut all = Amounts::new();
        for index in &open {
            add(&mut all, &bundles[*index]);
        }
        let node = free
            .iter()
            .filter(|(node, free)| placed.values().all(|other| other == *node) && covers(free, &all))
            .filter(|(node, _)| open.iter().all(|index| allowed(*index, **node)))
            .min_by_key(|(node, free)| (size(free), **node))?;
        return Some(open.into_iter().map(|index| (index, *node.0)).collect());
    }
    // Large bundles first: small ones find room beside them.
    open.sort_by_key(|index| (Reverse(size(&bundles[*index])), *index));
    let mut free = free.clone();
    let mut taken: BTreeMap<NodeId, usize> = BTreeMap::new();
    for node in placed.values() {
        *taken.entry(*node).or_default() += 1;
    }
    let mut found = BTreeMap::new();
    for index in open {
        let need = &bundles[index];
        let bundles_on = |node: &NodeId| taken.get(node).copied().unwrap_or(0);
        let with_room = free.iter().filter(|(node, free)| covers(free, need) && allowed(index, **node));
        let node = match strategy {
            Strategy::StrictSpread => with_room
                .filter(|(node, _)| bundles_on(node) == 0)
                .max_by_key(|(node, free)| (size(free), Reverse(**node))),
            Strategy::Spread => {
                with_room.max_by_key(|(node, free)| (Reverse(bundles_on(node)), size(free), Reverse(**node)))
            }
            Strategy::Pack | Strategy::StrictPack => {
                with_room.max_by_key(|(node, free)| (bundles_on(node), size(free), Reverse(**node)))
            }
        };
        let node = *node?.0;
        if let Some(free) = free.get_mut(&node) {
            take(free, need);
        }
        *taken.entry(node).or_default() += 1;
        found.insert(index, node);
    }
    Some(found)
}

/// Why a group finds no place, as far as it will never find one among these nodes; empty while it only waits for room.
pub(crate) fn impossible(
    strategy: Strategy,
    bundles: &[Amounts],
    totals: &BTreeMap<NodeId, Amounts>,
    allowed: Allowed<'_>,
) -> String {
    if place(strategy, bundles, &BTreeMap::new(), totals, allowed).is_some() {
        return String::new();
    }
    let nowhere = |index: &usize| !totals.keys().any(|node| allowed(*index, *node));
    if let Some(index) = (0..bundles.len()).find(nowhere) {
        return format!("no node of the cluster has the labels that bundle {index} asks for");
    }
    let alone = bundles.iter().find(|bundle| !totals.values().any(|total| covers(total, bundle)));
    if let Some(bundle) = alone {
        return format!(
            "no node of the cluster has as much as one of the bundles asks for: {bundle}",
            bundle = shown(bundle)
        );
    }
    match strategy {
        Strategy::StrictPack => {
            "no node of the cluster has as much as all bundles ask for together".to_owned()
        }
        Strategy::StrictSpread => {
            let nodes: BTreeSet<_> = totals.keys().collect();
            format!(
                "every bundle needs a node of its own, and the cluster has {} nodes for {} bundles, or too few with enough",
                nodes.len(),
                bundles.len()
            )
        }
        Strategy::Pack | Strategy::Spread => {
            "all nodes of the cluster together do not have what the bundles ask for".to_owned()
        }
    }
}

fn shown(amounts: &Amounts) -> String {
    let one = |(name, amount): (&String, &u64)| {
        let (whole, rest) = (amount / 10_000, amount % 10_000);
        if rest == 0 { format!("{name} {whole}") } else { format!("{name} {whole}.{rest:04}") }
    };
    amounts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// True when `need` is there.
pub(crate) fn covers(free: &Amounts, need: &Amounts) -> bool {
    need.iter().all(|(name, amount)| free.get(name).copied().unwrap_or(0) >= *amount)
}

/// Takes `need` away, as far as it is there.
pub(crate) fn take(free: &mut Amounts, need: &Amounts) {
    for (name, amount) in need {
        if let Some(have) = free.get_mut(name) {
            *have = have.saturating_sub(*amount);
        }
    }
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += amount;
    }
}

/// A measure by which nodes and bundles are ordered: what is scarce counts before CPUs, and memory, which is counted in bytes, not.
fn size(amounts: &Amounts) -> (u64, u64) {
    let of = |name: &str| amounts.get(name).copied().unwrap_or(0);
    (of("GPU"), of("CPU"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(count: u64) -> Amounts {
        [("CPU".to_owned(), count * 10_000)].into()
    }

    fn node(byte: u8) -> NodeId {
        NodeId([byte; 16])
    }

    fn nodes(free: &[u64]) -> BTreeMap<NodeId, Amounts> {
        (1..).zip(free).map(|(byte, free)| (node(byte), cpus(*free))).collect()
    }

    /// The nodes of the bundles, in the bundles' order.
    fn places(strategy: Strategy, bundles: &[u64], free: &[u64]) -> Option<Vec<u8>> {
        let bundles: Vec<_> = bundles.iter().map(|count| cpus(*count)).collect();
        let found = place(strategy, &bundles, &BTreeMap::new(), &nodes(free), &|_, _| true)?;
        Some(found.values().map(|node| node.0[0]).collect())
    }

    #[test]
    fn packing_uses_few_nodes_and_more_when_it_must() {
        assert_eq!(places(Strategy::Pack, &[1, 1, 1], &[2, 4]), Some(vec![2, 2, 2]));
        assert_eq!(places(Strategy::Pack, &[1, 1, 1], &[2, 2]), Some(vec![1, 1, 2]));
        assert_eq!(places(Strategy::Pack, &[3], &[2, 2]), None);
    }

    #[test]
    fn strict_packing_takes_one_node_or_none() {
        assert_eq!(places(Strategy::StrictPack, &[1, 2], &[2, 8, 4]), Some(vec![3, 3]));
        assert_eq!(places(Strategy::StrictPack, &[2, 2], &[2, 2]), None);
    }

    #[test]
    fn spreading_uses_many_nodes_and_the_same_again_when_it_must() {
        assert_eq!(places(Strategy::Spread, &[1, 1, 1], &[2, 2]), Some(vec![1, 2, 1]));
        assert_eq!(places(Strategy::StrictSpread, &[1, 1], &[2, 2]), Some(vec![1, 2]));
        assert_eq!(places(Strategy::StrictSpread, &[1, 1, 1], &[2, 2]), None);
    }

    #[test]
    fn what_is_placed_already_stays_and_counts() {
        let placed: BTreeMap<_, _> = [(0, node(1))].into();
        let bundles = [cpus(1), cpus(1)];
        let found = place(Strategy::StrictSpread, &bundles, &placed, &nodes(&[4, 1]), &|_, _| true).unwrap();
        assert_eq!(found, [(1, node(2))].into());
        let found = place(Strategy::StrictPack, &bundles, &placed, &nodes(&[1, 4]), &|_, _| true).unwrap();
        assert_eq!(found, [(1, node(1))].into());
    }

    #[test]
    fn a_bundle_is_only_where_it_may_be() {
        let second_on_first = |index: usize, on: NodeId| index != 1 || on == node(1);
        let bundles = [cpus(1), cpus(1)];
        let place = |strategy, free: &[u64]| {
            place(strategy, &bundles, &BTreeMap::new(), &nodes(free), &second_on_first)
        };
        assert_eq!(place(Strategy::Pack, &[1, 4]).unwrap()[&1], node(1));
        assert_eq!(place(Strategy::StrictPack, &[2, 4]).unwrap()[&0], node(1));
        assert_eq!(place(Strategy::StrictPack, &[1, 4]), None);
        let why = impossible(Strategy::Pack, &bundles, &nodes(&[4]), &|index, _| index == 0);
        assert!(why.contains("the labels that bundle 1 asks for"), "{why}");
    }

    #[test]
    fn what_can_never_be_placed_says_why() {
        let why = |strategy, bundles: &[u64], totals: &[u64]| {
            let bundles: Vec<_> = bundles.iter().map(|count| cpus(*count)).collect();
            impossible(strategy, &bundles, &nodes(totals), &|_, _| true)
        };
        assert_eq!(why(Strategy::Pack, &[2], &[2]), "");
        assert!(why(Strategy::Pack, &[4], &[2]).contains("one of the bundles asks for: CPU 4"));
        assert!(why(Strategy::StrictPack, &[1, 1], &[1, 1]).contains("all bundles ask for together"));
        assert!(why(Strategy::StrictSpread, &[1, 1], &[2]).contains("a node of its own"));
    }
}
