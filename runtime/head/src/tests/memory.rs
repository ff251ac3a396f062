//! A head that comes back with what the one before wrote down.

use std::collections::BTreeMap;

use manta_proto::{
    PROTOCOL_VERSION,
    ids::{ActorId, JobId, NodeId, ProcessId},
    v1::{
        self, ActorEntry, ActorState, actor_state::Phase, head_to_node, node_to_head, placement_group,
        submitted_job::State as SubmittedState,
    },
};

use crate::core::{Core, Effect, LinkId};

const NODE: NodeId = NodeId([1; 16]);
const JOB: JobId = JobId([2; 16]);
const OWNER: ProcessId = ProcessId([3; 16]);
const WORKER: ProcessId = ProcessId([4; 16]);

/// A head, and what it has written down.
struct Stage {
    core: Core,
    written: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The submitted jobs that the node knows something of.
    drivers: Vec<String>,
}

impl Stage {
    /// A head with a node, a job on it, and two actors: one that dies with its owner, one that does not.
    fn new() -> Self {
        let mut stage =
            Self { core: Core::new("cluster".into()), written: BTreeMap::new(), drivers: Vec::new() };
        stage.register(1, &[], &[], &[]);
        stage.say(node_to_head::Message::JobStarted(v1::JobStarted {
            job_id: JOB.to_bytes(),
            name: "job".into(),
            ..v1::JobStarted::default()
        }));
        for (id, detached) in [(5, false), (6, true)] {
            let entry = ActorEntry {
                actor_id: ActorId([id; 16]).to_bytes(),
                name: format!("actor {id}"),
                detached,
                owner_id: OWNER.to_bytes(),
                owner_node_id: NODE.to_bytes(),
                job_id: JOB.to_bytes(),
                ..ActorEntry::default()
            };
            let request = v1::RegisterActor { entry: Some(entry), ..v1::RegisterActor::default() };
            stage.say(node_to_head::Message::RegisterActor(request));
            stage.say(node_to_head::Message::ActorUpdate(ActorState {
                actor_id: ActorId([id; 16]).to_bytes(),
                phase: Phase::Alive as i32,
                worker_id: WORKER.to_bytes(),
                node_id: NODE.to_bytes(),
                ..ActorState::default()
            }));
        }
        stage
    }

    fn write_down(&mut self) -> Vec<Effect> {
        for (key, value) in self.core.take_unsaved() {
            match value {
                Some(value) => self.written.insert(key, value),
                None => self.written.remove(&key),
            };
        }
        self.core.take_effects()
    }

    fn register(
        &mut self,
        link: u64,
        jobs: &[JobId],
        owners: &[ProcessId],
        workers: &[ProcessId],
    ) -> Vec<Effect> {
        let info = v1::NodeInfo { node_id: NODE.to_bytes(), ..v1::NodeInfo::default() };
        let register = v1::NodeRegister {
            protocol_version: PROTOCOL_VERSION,
            info: Some(info),
            job_ids: jobs.iter().map(|job| job.to_bytes()).collect(),
            actor_owner_ids: owners.iter().map(|owner| owner.to_bytes()).collect(),
            actor_worker_ids: workers.iter().map(|worker| worker.to_bytes()).collect(),
            submission_ids: self.drivers.clone(),
        };
        self.core.on_node_register(LinkId(link), register).unwrap();
        self.write_down()
    }

    fn say(&mut self, message: node_to_head::Message) -> Vec<Effect> {
        self.core.on_node_message(NODE, v1::NodeToHead { message: Some(message) });
        self.write_down()
    }

    /// The head is killed, and started again.
    fn come_back(self) -> Self {
        let entries: Vec<_> = self.written.clone().into_iter().collect();
        Self { core: Core::restored("cluster".into(), &entries).unwrap(), ..self }
    }

    fn find(&mut self, id: u8) -> Option<ActorEntry> {
        let request = v1::GetActor { name: format!("actor {id}"), ..v1::GetActor::default() };
        let answer = |effect| match effect {
            Effect::ToNode(_, v1::HeadToNode { message: Some(head_to_node::Message::Actor(reply)) }) => {
                Some(reply)
            }
            _ => None,
        };
        self.say(node_to_head::Message::GetActor(request)).into_iter().find_map(answer).unwrap().entry
    }
}

#[test]
fn a_node_that_returns_with_all_it_had_goes_on_as_before() {
    let mut stage = Stage::new().come_back();
    assert!(stage.core.awaits_nodes() && stage.core.status().nodes.is_empty());
    let effects = stage.register(2, &[JOB], &[OWNER], &[WORKER]);
    let [
        Effect::ToNode(LinkId(2), v1::HeadToNode { message: Some(head_to_node::Message::Registered(said)) }),
    ] = &effects[..]
    else {
        panic!("the node heard {effects:?}");
    };
    assert_eq!((&*said.cluster_id, &*said.name), ("cluster", "node-1"));
    let status = stage.core.status();
    assert!(status.jobs.len() == 1 && status.jobs[0].running && status.jobs[0].name == "job");
    for id in [5, 6] {
        assert_eq!(stage.find(id).unwrap().state.unwrap().phase(), Phase::Alive);
    }
    stage.core.on_return_over();
    assert!(stage.write_down().is_empty());
}

#[test]
fn what_ended_while_the_head_was_away_has_ended() {
    let mut stage = Stage::new().come_back();
    let effects = stage.register(2, &[], &[], &[WORKER]);
    let ended = |effect: &Effect| {
        matches!(
            effect,
            Effect::ToNode(_, v1::HeadToNode { message: Some(head_to_node::Message::JobEnded(_)) })
        )
    };
    assert!(effects.iter().any(ended), "{effects:?}");
    assert!(stage.find(5).is_none(), "its owner is gone");
    assert_eq!(stage.find(6).unwrap().state.unwrap().phase(), Phase::Alive);
    // Its worker ends the next time that nobody looks.
    let mut stage = stage.come_back();
    stage.register(3, &[], &[], &[]);
    assert!(stage.find(6).is_none());
    assert_eq!(stage.core.status().jobs.len(), 1, "an ended job is remembered too");
}

#[test]
fn a_node_that_does_not_return_is_lost_with_all_it_had() {
    let mut stage = Stage::new().come_back();
    stage.core.on_return_over();
    stage.write_down();
    assert!(!stage.core.status().jobs[0].running);
    let stage = stage.come_back();
    assert!(!stage.core.awaits_nodes());
}

#[test]
fn a_registration_that_comes_again_is_no_conflict() {
    let mut stage = Stage::new().come_back();
    stage.register(2, &[JOB], &[OWNER], &[WORKER]);
    let entry = stage.find(5).unwrap();
    let request = v1::RegisterActor { entry: Some(entry), ..v1::RegisterActor::default() };
    let effects = stage.say(node_to_head::Message::RegisterActor(request));
    let [Effect::ToNode(_, v1::HeadToNode { message: Some(head_to_node::Message::Actor(reply)) })] =
        &effects[..]
    else {
        panic!("the owner heard {effects:?}");
    };
    assert_eq!((reply.entry.as_ref(), &*reply.error), (None, ""));
}

#[test]
fn a_groups_places_are_remembered() {
    let mut stage = Stage::new();
    let free = Some(v1::Resources { amounts: [("CPU".to_owned(), 20_000)].into() });
    stage.say(node_to_head::Message::Load(v1::NodeLoad { available: free, ..v1::NodeLoad::default() }));
    let resources = Some(v1::Resources { amounts: [("CPU".to_owned(), 10_000)].into() });
    let bundle = v1::Bundle { resources, ..v1::Bundle::default() };
    let group_id = bytes::Bytes::from_static(&[7; 16]);
    let group =
        v1::PlacementGroup { group_id: group_id.clone(), bundles: vec![bundle], ..Default::default() };
    stage.core.on_create_group(group).unwrap();
    stage.write_down();
    let reserved = v1::BundlesReserved { group_id, attempt: 1, reserved: true };
    stage.say(node_to_head::Message::BundlesReserved(reserved));
    let mut stage = stage.come_back();
    stage.register(2, &[JOB], &[OWNER], &[WORKER]);
    let groups = stage.core.list_groups();
    assert_eq!((groups.len(), groups[0].state()), (1, placement_group::State::Created));
    assert_eq!(groups[0].bundles[0].node_id, NODE.to_bytes());
}

fn submitted(id: &str) -> v1::SubmittedJob {
    v1::SubmittedJob {
        submission_id: id.to_owned(),
        entrypoint: "true".into(),
        ..v1::SubmittedJob::default()
    }
}

fn update(id: &str, state: SubmittedState) -> node_to_head::Message {
    let update = v1::DriverUpdate { submission_id: id.to_owned(), state: state.into(), ..Default::default() };
    node_to_head::Message::DriverUpdate(update)
}

#[test]
fn submitted_jobs_are_remembered_and_their_node_says_what_became_of_them() {
    let mut stage = Stage::new();
    for id in ["ended", "runs", "forgotten", "never-heard-of"] {
        stage.core.on_submit_job(submitted(id), String::new()).unwrap();
    }
    stage.write_down();
    for id in ["ended", "runs", "forgotten"] {
        stage.say(update(id, SubmittedState::Running));
    }
    let mut stage = stage.come_back();
    assert_eq!(stage.core.submitted_jobs().len(), 4);
    assert!(stage.core.on_stop_job("runs").unwrap_err().contains("not back yet"));
    assert!(stage.core.on_submit_job(submitted("runs"), String::new()).is_err());
    stage.drivers = vec!["ended".into(), "runs".into()];
    let effects = stage.register(2, &[JOB], &[OWNER], &[WORKER]);
    let started = |effect: &Effect| match effect {
        Effect::ToNode(_, v1::HeadToNode { message: Some(head_to_node::Message::StartDriver(start)) }) => {
            start.job.as_ref().map(|job| job.submission_id.clone())
        }
        _ => None,
    };
    assert_eq!(effects.iter().filter_map(started).collect::<Vec<_>>(), ["never-heard-of"]);
    stage.say(update("ended", SubmittedState::Succeeded));
    let stage = stage.come_back();
    let states: Vec<_> = stage
        .core
        .submitted_jobs()
        .into_iter()
        .map(|job| (job.submission_id.as_str(), job.state()))
        .collect();
    assert_eq!(
        states,
        [
            ("never-heard-of", SubmittedState::Pending),
            ("forgotten", SubmittedState::Failed),
            ("runs", SubmittedState::Running),
            ("ended", SubmittedState::Succeeded)
        ]
    );
}

#[test]
fn a_damaged_entry_is_refused() {
    let entries = [(b"n-not-an-id".to_vec(), Vec::new())];
    assert!(Core::restored("cluster".into(), &entries).err().unwrap().contains("is damaged"));
}
