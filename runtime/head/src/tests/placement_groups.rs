//! Placement groups: two phases, and what becomes of them when nodes and jobs end.

use manta_proto::{
    ids::JobId,
    v1::{self, head_to_node, node_to_head, placement_group::State},
};

use super::{Stage, node};
use crate::core::{Effect, LinkId};

const GROUP: [u8; 16] = [5; 16];

fn cpus(count: u64) -> v1::Resources {
    v1::Resources { amounts: [("CPU".to_owned(), count * 10_000)].into() }
}

impl Stage {
    /// A node of two CPUs joins; the views of the others are looked at.
    fn join(&mut self, link: u64) {
        let others = link - 1;
        self.register(link, u8::try_from(link).unwrap());
        for other in 1..=others {
            self.expect_view(other, usize::try_from(link).unwrap());
        }
        self.load(link, 2);
        assert_eq!(self.effects.pop_front(), Some(Effect::ViewTimer));
        self.core.on_view_timer();
        self.settle();
        for other in 1..=link {
            self.expect_view(other, usize::try_from(link).unwrap());
        }
    }

    fn load(&mut self, link: u64, free: u64) {
        let load = v1::NodeLoad { available: Some(cpus(free)), total: Some(cpus(2)), ..Default::default() };
        self.say(u8::try_from(link).unwrap(), node_to_head::Message::Load(load));
    }

    fn create(&mut self, strategy: v1::placement_group::Strategy, bundles: usize) -> Result<(), String> {
        let bundle = v1::Bundle { resources: Some(cpus(1)), ..v1::Bundle::default() };
        let mut group = v1::PlacementGroup {
            group_id: GROUP.to_vec().into(),
            job_id: JobId([7; 16]).to_bytes(),
            bundles: vec![bundle; bundles],
            ..v1::PlacementGroup::default()
        };
        group.set_strategy(strategy);
        let created = self.core.on_create_group(group);
        self.settle();
        created
    }

    fn expect_reserve(&mut self, link: u64) -> (u64, Vec<u32>) {
        match self.expect_to_node(link) {
            head_to_node::Message::ReserveBundles(reserve) => {
                (reserve.attempt, reserve.bundles.iter().map(|bundle| bundle.index).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, link: u64, attempt: u64, reserved: bool) {
        let answer = v1::BundlesReserved { group_id: GROUP.to_vec().into(), attempt, reserved };
        self.say(u8::try_from(link).unwrap(), node_to_head::Message::BundlesReserved(answer));
    }

    fn expect_commit(&mut self, link: u64) {
        let message = self.expect_to_node(link);
        assert!(matches!(message, head_to_node::Message::CommitBundles(_)), "{message:?}");
    }

    fn expect_return(&mut self, link: u64, removed: bool) {
        match self.expect_to_node(link) {
            head_to_node::Message::ReturnBundles(back) => assert_eq!(back.removed, removed),
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> State {
        self.core.list_groups()[0].state()
    }
}

/// Two nodes, and a group of two bundles on both.
fn spread() -> Stage {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.create(v1::placement_group::Strategy::StrictSpread, 2).unwrap();
    let (attempt, _) = stage.expect_reserve(1);
    stage.expect_reserve(2);
    stage.answer(1, attempt, true);
    assert_eq!(stage.state(), State::Pending);
    stage.answer(2, attempt, true);
    stage.expect_commit(1);
    stage.expect_commit(2);
    assert_eq!(stage.state(), State::Created);
    stage
}

#[test]
fn a_group_may_be_used_when_all_its_nodes_have_reserved_and_ends_with_its_job() {
    let mut stage = spread();
    let job_id = JobId([7; 16]).to_bytes();
    let started = v1::JobStarted { job_id: job_id.clone(), ..v1::JobStarted::default() };
    stage.say(1, node_to_head::Message::JobStarted(started));
    stage.say(1, node_to_head::Message::JobEnded(v1::JobEnded { job_id, cause: String::new() }));
    for link in [1, 2] {
        assert!(matches!(stage.expect_to_node(link), head_to_node::Message::JobEnded(_)));
    }
    stage.expect_return(1, true);
    stage.expect_return(2, true);
    assert_eq!(stage.state(), State::Removed);
}

#[test]
fn when_one_node_cannot_all_give_back_and_it_is_tried_again() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    stage.create(v1::placement_group::Strategy::StrictSpread, 2).unwrap();
    let (attempt, _) = stage.expect_reserve(1);
    stage.expect_reserve(2);
    stage.answer(2, attempt, false);
    stage.answer(1, attempt, true);
    stage.expect_return(1, false);
    stage.expect_return(2, false);
    stage.load(2, 2);
    let (again, _) = stage.expect_reserve(1);
    stage.expect_reserve(2);
    assert!(again > attempt);
    // A late answer to what is over gives back what it reserved.
    stage.answer(1, attempt, true);
    stage.expect_return(1, false);
    stage.answer(1, again, true);
    stage.answer(2, again, true);
    stage.expect_commit(1);
    stage.expect_commit(2);
}

#[test]
fn a_group_without_room_waits_and_says_for_what() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.create(v1::placement_group::Strategy::StrictSpread, 2).unwrap();
    stage.expect_group_timer();
    let waits_for = stage.core.list_groups()[0].waits_for.clone();
    assert!(waits_for.contains("a node of its own"), "{waits_for}");
    stage.register(2, 2);
    stage.expect_view(1, 2);
    // The new node said what it has when it registered, which was nothing here.
    stage.load(2, 2);
    assert_eq!(stage.effects.pop_front(), Some(Effect::ViewTimer));
    stage.expect_reserve(1);
    stage.expect_reserve(2);
    assert_eq!(stage.core.list_groups()[0].waits_for, "room on the nodes");
}

#[test]
fn the_bundles_of_a_lost_node_get_another_place() {
    let mut stage = spread();
    stage.core.on_node_lost(LinkId(2));
    stage.settle();
    stage.expect_group_timer();
    stage.expect_view(1, 1);
    assert_eq!(stage.state(), State::Rescheduling);
    stage.register(3, 3);
    stage.expect_view(1, 2);
    stage.load(3, 2);
    assert_eq!(stage.effects.pop_front(), Some(Effect::ViewTimer));
    let (attempt, bundles) = stage.expect_reserve(3);
    assert_eq!(bundles.len(), 1);
    stage.answer(3, attempt, true);
    stage.expect_commit(3);
    let group = stage.core.list_groups().remove(0);
    assert_eq!(group.state(), State::Created);
    assert!(group.bundles.iter().any(|bundle| bundle.node_id == node(3).to_bytes()));
}

#[test]
fn groups_that_make_no_sense_are_refused() {
    let mut stage = Stage::new();
    assert!(stage.create(v1::placement_group::Strategy::Pack, 0).unwrap_err().contains("from 1 to 1000"));
    stage.create(v1::placement_group::Strategy::Pack, 1).unwrap();
    stage.expect_group_timer();
    assert!(stage.create(v1::placement_group::Strategy::Pack, 1).unwrap_err().contains("exists already"));
}

impl Stage {
    fn expect_group_timer(&mut self) -> u64 {
        match self.effects.pop_front() {
            Some(Effect::GroupTimer { group, since, ms: 20_000 }) if group == GROUP => since,
            other => panic!("{other:?}"),
        }
    }

    fn expect_news(&mut self, link: u64) -> String {
        match self.expect_to_node(link) {
            head_to_node::Message::HopelessGroup(news) => news.sentence,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_group_without_nodes_waits_its_time_and_is_placed_when_there_are_some() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.create(v1::placement_group::Strategy::StrictSpread, 2).unwrap();
    let since = stage.expect_group_timer();
    stage.core.on_group_timer(&GROUP, since + 1);
    stage.settle();
    assert!(stage.effects.is_empty(), "{:?}", stage.effects);
    stage.core.on_group_timer(&GROUP, since);
    stage.settle();
    let sentence = stage.expect_news(1);
    assert!(sentence.contains("cannot be placed: every bundle needs a node of its own"), "{sentence}");
    assert_eq!(stage.state(), State::Pending);
    stage.register(2, 2);
    stage.expect_view(1, 2);
    assert!(stage.expect_news(2).contains("or too few with enough"));
    stage.load(2, 2);
    assert_eq!(stage.effects.pop_front(), Some(Effect::ViewTimer));
    assert_eq!((stage.expect_news(1), stage.expect_news(2)), (String::new(), String::new()));
    let (attempt, _) = stage.expect_reserve(1);
    assert_eq!(stage.expect_reserve(2).0, attempt);
    stage.answer(1, attempt, true);
    stage.answer(2, attempt, true);
    stage.expect_commit(1);
    stage.expect_commit(2);
    assert_eq!(stage.state(), State::Created);
}

#[test]
fn a_driver_is_told_once_that_its_group_has_no_nodes_though_its_job_comes_after_the_group() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.create(v1::placement_group::Strategy::StrictSpread, 2).unwrap();
    stage.expect_group_timer();
    let started = v1::JobStarted { job_id: JobId([7; 16]).to_bytes(), ..v1::JobStarted::default() };
    stage.say(1, node_to_head::Message::JobStarted(started));
    let head_to_node::Message::Output(output) = stage.expect_to_node(1) else { panic!("no warning") };
    assert!(
        output.text.contains("a node of its own")
            && output.text.contains("fails unless there are some within 20 s")
    );
    stage.register(2, 2);
    stage.expect_view(1, 2);
}
