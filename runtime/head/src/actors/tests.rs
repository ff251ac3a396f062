//! The register alone: who has a name, and what is known of an actor whose owner or worker is gone.

use manta_proto::{
    PROTOCOL_VERSION,
    ids::{ActorId, JobId, NodeId, ProcessId},
    v1::{self, ActorEntry, ActorReply, ActorState, actor_state::Phase, head_to_node, node_to_head},
};

use crate::core::{Core, Effect, LinkId};

const NODE: NodeId = NodeId([1; 16]);
const OWNER: ProcessId = ProcessId([2; 16]);
const JOB: JobId = JobId([3; 16]);

struct Stage(Core);

impl Stage {
    fn new() -> Self {
        let mut core = Core::new("cluster".into());
        for (link, node) in [(1, NODE), (2, NodeId([9; 16]))] {
            let info = v1::NodeInfo { node_id: node.to_bytes(), ..v1::NodeInfo::default() };
            let register = v1::NodeRegister {
                protocol_version: PROTOCOL_VERSION,
                info: Some(info),
                ..v1::NodeRegister::default()
            };
            core.on_node_register(LinkId(link), register).unwrap();
        }
        let mut stage = Self(core);
        let started = v1::JobStarted { job_id: JOB.to_bytes(), ..v1::JobStarted::default() };
        stage.say(node_to_head::Message::JobStarted(started));
        stage
    }

    /// What the head answers to a message of the first node.
    fn say(&mut self, message: node_to_head::Message) -> Option<ActorReply> {
        self.0.on_node_message(NODE, v1::NodeToHead { message: Some(message) });
        self.0.take_effects().into_iter().find_map(|effect| match effect {
            Effect::ToNode(
                LinkId(1),
                v1::HeadToNode { message: Some(head_to_node::Message::Actor(reply)) },
            ) => Some(reply),
            _ => None,
        })
    }

    fn register(&mut self, id: u8, name: &str, detached: bool) -> ActorReply {
        let entry = ActorEntry {
            actor_id: ActorId([id; 16]).to_bytes(),
            namespace: "space".into(),
            name: name.into(),
            detached,
            owner_id: OWNER.to_bytes(),
            job_id: JOB.to_bytes(),
            ..ActorEntry::default()
        };
        let request = v1::RegisterActor { request_id: 7, entry: Some(entry), ..v1::RegisterActor::default() };
        self.say(node_to_head::Message::RegisterActor(request)).unwrap()
    }

    fn alive(&mut self, id: u8, worker: u8) {
        let state = ActorState {
            actor_id: ActorId([id; 16]).to_bytes(),
            phase: Phase::Alive as i32,
            worker_id: ProcessId([worker; 16]).to_bytes(),
            node_id: NodeId([9; 16]).to_bytes(),
            ..ActorState::default()
        };
        assert!(self.say(node_to_head::Message::ActorUpdate(state)).is_none());
    }

    fn worker_ended(&mut self, id: u8, worker: u8) {
        self.say(node_to_head::Message::ActorWorkerEnded(v1::ActorWorkerEnded {
            actor_id: ActorId([id; 16]).to_bytes(),
            worker_id: ProcessId([worker; 16]).to_bytes(),
            cause: "worker 4711 was killed by signal 9".into(),
        }));
    }

    fn owner_ended(&mut self) {
        self.say(node_to_head::Message::OwnerEnded(v1::OwnerEnded { process_id: OWNER.to_bytes() }));
    }

    fn named(&mut self, name: &str) -> Option<ActorEntry> {
        let request =
            v1::GetActor { namespace: "space".into(), name: name.into(), ..v1::GetActor::default() };
        self.say(node_to_head::Message::GetActor(request)).unwrap().entry
    }

    fn phase(&mut self, id: u8) -> (Phase, String) {
        let request = v1::GetActor { actor_id: ActorId([id; 16]).to_bytes(), ..v1::GetActor::default() };
        let entry = self.say(node_to_head::Message::GetActor(request)).unwrap().entry.unwrap();
        let state = entry.state.unwrap_or_default();
        (state.phase(), state.cause)
    }
}

#[test]
fn a_name_belongs_to_one_living_actor() {
    let mut stage = Stage::new();
    assert_eq!(stage.register(1, "counter", false).entry, None);
    let taken = stage.register(2, "counter", false).entry.unwrap();
    assert_eq!(taken.actor_id, ActorId([1; 16]).to_bytes());
    assert_eq!(stage.named("counter").unwrap().actor_id, ActorId([1; 16]).to_bytes());
    assert_eq!(stage.named("other"), None);
    let dead = ActorState {
        actor_id: ActorId([1; 16]).to_bytes(),
        phase: Phase::Dead as i32,
        ..ActorState::default()
    };
    stage.say(node_to_head::Message::ActorUpdate(dead));
    assert_eq!(stage.named("counter"), None);
    assert_eq!(stage.register(2, "counter", false).entry, None, "the name is free again");
}

#[test]
fn actors_without_a_name_do_not_take_each_others_place() {
    let mut stage = Stage::new();
    assert_eq!(stage.register(1, "", true).entry, None);
    assert_eq!(stage.register(2, "", true).entry, None);
}

#[test]
fn a_named_actor_ends_with_its_owner_and_a_detached_one_does_not() {
    let mut stage = Stage::new();
    stage.register(1, "bound", false);
    stage.register(2, "free", true);
    stage.alive(1, 11);
    stage.alive(2, 12);
    stage.owner_ended();
    assert_eq!(stage.named("bound"), None);
    assert_eq!(stage.phase(1).0, Phase::Dead);
    assert!(stage.named("free").unwrap().owner_gone);
    assert_eq!(stage.phase(2).0, Phase::Alive);
    stage.worker_ended(2, 12);
    let (phase, cause) = stage.phase(2);
    assert_eq!(phase, Phase::Dead);
    assert!(cause.contains("killed by signal 9"), "{cause}");
}

#[test]
fn the_end_of_a_worker_is_its_owners_business_as_long_as_there_is_one() {
    let mut stage = Stage::new();
    stage.register(1, "free", true);
    stage.alive(1, 11);
    stage.worker_ended(1, 11);
    assert_eq!(stage.phase(1).0, Phase::Alive, "its owner has not said what comes next");
    stage.alive(1, 12);
    stage.owner_ended();
    assert_eq!(stage.phase(1).0, Phase::Alive, "it had been made anew");
}

#[test]
fn owner_and_worker_that_end_together_leave_no_name() {
    let mut stage = Stage::new();
    stage.register(1, "free", true);
    stage.alive(1, 11);
    stage.worker_ended(1, 11);
    stage.owner_ended();
    assert_eq!(stage.named("free"), None);
}

#[test]
fn a_lost_node_takes_its_actors_and_owners_along() {
    let mut stage = Stage::new();
    stage.register(1, "there", true);
    stage.alive(1, 11);
    stage.owner_ended();
    stage.0.on_node_lost(LinkId(2));
    stage.0.take_effects();
    assert_eq!(stage.named("there"), None);
}

#[test]
fn actors_that_are_not_registered_are_listed_as_their_owner_says_and_end_with_it() {
    let mut stage = Stage::new();
    let mut list = |id: u8, phase: Phase| {
        let state = ActorState { phase: phase as i32, cause: "why".into(), ..ActorState::default() };
        let entry = ActorEntry {
            actor_id: ActorId([id; 16]).to_bytes(),
            owner_id: OWNER.to_bytes(),
            class_name: "Counter".into(),
            state: Some(state),
            ..ActorEntry::default()
        };
        stage.say(node_to_head::Message::ActorListed(entry));
    };
    list(1, Phase::Pending);
    list(1, Phase::Alive);
    list(2, Phase::Dead);
    // What comes late changes nothing.
    list(2, Phase::Alive);
    let listed = |stage: &Stage| {
        let rows = stage.0.list_state(&v1::ListStateRequest {
            protocol_version: PROTOCOL_VERSION,
            kind: v1::StateKind::StateActors.into(),
            ..v1::ListStateRequest::default()
        });
        let row = |row: &String| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            (row["class_name"].to_string(), row["state"].to_string(), row["death_cause"].to_string())
        };
        rows.unwrap().rows.iter().map(row).collect::<Vec<_>>()
    };
    let row =
        |state: &str, cause: &str| ("\"Counter\"".to_owned(), format!("{state:?}"), format!("{cause:?}"));
    assert_eq!(listed(&stage), [row("ALIVE", "why"), row("DEAD", "why")]);
    stage.owner_ended();
    assert_eq!(listed(&stage), [row("DEAD", "the process that made it ended"), row("DEAD", "why")]);
}
