//! The reactor alone: events in, effects out. Every effect must be looked at: one that nobody expected fails the test.

mod memory;
mod placement_groups;

use std::collections::VecDeque;

use manta_proto::{
    PROTOCOL_VERSION,
    ids::{JobId, NodeId, ProcessId, SessionId},
    v1::{self, head_to_node, head_to_session, node_to_head, session_to_head},
};

use crate::core::{Core, Effect, LinkId};

struct Stage {
    core: Core,
    effects: VecDeque<Effect>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.effects.is_empty(), "nobody expected {:?}", self.effects);
        }
    }
}

fn node(byte: u8) -> NodeId {
    NodeId([byte; 16])
}

fn session(byte: u8) -> SessionId {
    SessionId([byte; 16])
}

impl Stage {
    fn new() -> Self {
        Self { core: Core::new("cluster".into()), effects: VecDeque::new() }
    }

    fn settle(&mut self) {
        self.effects.extend(self.core.take_effects());
    }

    fn register(&mut self, link: u64, byte: u8) -> v1::NodeRegistered {
        let info = v1::NodeInfo { node_id: node(byte).to_bytes(), ..v1::NodeInfo::default() };
        let register = v1::NodeRegister {
            protocol_version: PROTOCOL_VERSION,
            info: Some(info),
            ..v1::NodeRegister::default()
        };
        self.core.on_node_register(LinkId(link), register).unwrap();
        self.settle();
        match self.expect_to_node(link) {
            head_to_node::Message::Registered(registered) => registered,
            other => panic!("a node was answered with {other:?}"),
        }
    }

    fn say(&mut self, from: u8, message: node_to_head::Message) {
        self.core.on_node_message(node(from), v1::NodeToHead { message: Some(message) });
        self.settle();
    }

    fn open(&mut self, link: u64, id: SessionId, grace_ms: u32) -> Result<SessionId, String> {
        let open = v1::SessionOpen {
            protocol_version: PROTOCOL_VERSION,
            session_id: id.to_bytes(),
            client: format!("client {link}"),
            grace_ms,
        };
        let opened = self.core.on_session_open(LinkId(link), open);
        self.settle();
        opened
    }

    fn session_says(&mut self, link: u64, message: session_to_head::Message) -> bool {
        let open = self.core.on_session_message(LinkId(link), v1::SessionToHead { message: Some(message) });
        self.settle();
        open
    }

    fn expect_to_node(&mut self, link: u64) -> head_to_node::Message {
        match self.effects.pop_front() {
            Some(Effect::ToNode(to, message)) if to == LinkId(link) => message.message.unwrap(),
            other => panic!("a message to the node behind link {link} was expected, not {other:?}"),
        }
    }

    fn expect_to_session(&mut self, link: u64) -> head_to_session::Message {
        match self.effects.pop_front() {
            Some(Effect::ToSession(to, message)) if to == LinkId(link) => message.message.unwrap(),
            other => panic!("a message to the session behind link {link} was expected, not {other:?}"),
        }
    }

    fn expect_view(&mut self, link: u64, nodes: usize) {
        match self.expect_to_node(link) {
            head_to_node::Message::View(view) => assert_eq!(view.nodes.len(), nodes),
            other => panic!("a view was expected, not {other:?}"),
        }
    }

    fn expect_opened(&mut self, link: u64) -> v1::SessionOpened {
        match self.expect_to_session(link) {
            head_to_session::Message::Opened(opened) => opened,
            other => panic!("a session was answered with {other:?}"),
        }
    }

    fn expect_session_ended(&mut self, link: u64, grace_ms: u32) {
        match self.expect_to_node(link) {
            head_to_node::Message::SessionEnded(ended) => assert_eq!(ended.grace_ms, grace_ms),
            other => panic!("the session's end was expected, not {other:?}"),
        }
    }
}

fn target(byte: u8) -> node_to_head::Message {
    let target_id = ProcessId([byte; 16]).to_bytes();
    node_to_head::Message::TargetUp(v1::TargetUp { target_id, ..v1::TargetUp::default() })
}

#[test]
fn nodes_get_names_that_are_not_used_again_and_learn_of_each_other() {
    let mut stage = Stage::new();
    assert_eq!(stage.register(1, 1).name, "node-1");
    assert_eq!(stage.register(2, 2).name, "node-2");
    stage.expect_view(1, 2);
    stage.core.on_node_lost(LinkId(2));
    stage.settle();
    stage.expect_view(1, 1);
    assert_eq!(stage.register(3, 3).name, "node-3");
    stage.expect_view(1, 2);
}

#[test]
fn a_node_that_connects_again_takes_the_place_of_its_old_connection() {
    let mut stage = Stage::new();
    stage.register(1, 1);
    assert_eq!(stage.register(2, 1).view.unwrap().nodes.len(), 1);
    // The late end of the old connection means nothing.
    stage.core.on_node_lost(LinkId(1));
    stage.settle();
    assert_eq!(stage.core.status().nodes.len(), 1);
}

#[test]
fn many_changes_of_load_make_one_view() {
    let mut stage = Stage::new();
    stage.register(1, 1);
    for amount in 1..100 {
        let available = Some(v1::Resources { amounts: [("CPU".to_owned(), amount)].into() });
        stage.say(1, node_to_head::Message::Load(v1::NodeLoad { available, ..v1::NodeLoad::default() }));
    }
    assert_eq!(stage.effects.pop_front(), Some(Effect::ViewTimer));
    stage.core.on_view_timer();
    stage.settle();
    stage.expect_view(1, 1);
}

#[test]
fn a_lost_node_ends_the_jobs_of_its_drivers_and_its_targets() {
    let mut stage = Stage::new();
    stage.register(1, 1);
    stage.register(2, 2);
    stage.expect_view(1, 2);
    stage.open(9, session(1), 0).unwrap();
    assert_eq!(stage.expect_opened(9).view.unwrap().nodes.len(), 2);
    let job_id = JobId([7; 16]).to_bytes();
    let started = v1::JobStarted {
        job_id: job_id.clone(),
        name: "job".into(),
        driver_pid: 5,
        ..v1::JobStarted::default()
    };
    stage.say(2, node_to_head::Message::JobStarted(started.clone()));
    assert_eq!(stage.expect_to_session(9), head_to_session::Message::JobStarted(started));
    stage.say(2, target(4));
    assert!(matches!(stage.expect_to_session(9), head_to_session::Message::TargetUp(_)));
    stage.core.on_node_lost(LinkId(2));
    stage.settle();
    match stage.expect_to_session(9) {
        head_to_session::Message::TargetDown(down) => assert_eq!(down.cause, "its node was lost (node-2)"),
        other => panic!("{other:?}"),
    }
    match stage.expect_to_node(1) {
        head_to_node::Message::JobEnded(ended) => assert_eq!(ended.job_id, job_id),
        other => panic!("{other:?}"),
    }
    assert!(matches!(stage.expect_to_session(9), head_to_session::Message::JobEnded(_)));
    stage.expect_view(1, 1);
    assert!(matches!(stage.expect_to_session(9), head_to_session::Message::View(_)));
    assert!(!stage.core.status().jobs[0].running);
}

#[test]
fn printed_lines_reach_the_drivers_node_and_the_session() {
    let mut stage = Stage::new();
    stage.register(1, 1);
    stage.register(2, 2);
    stage.expect_view(1, 2);
    let job_id = JobId([7; 16]).to_bytes();
    stage.say(
        1,
        node_to_head::Message::JobStarted(v1::JobStarted { job_id: job_id.clone(), ..Default::default() }),
    );
    let output = v1::TaskOutput { job_id, text: "hello\n".into(), ..v1::TaskOutput::default() };
    // From the driver's own node, which has given it to the driver already.
    stage.say(1, node_to_head::Message::Output(output.clone()));
    stage.say(2, node_to_head::Message::Output(output.clone()));
    assert_eq!(stage.expect_to_node(1), head_to_node::Message::Output(output));
}

fn config(generation: u64) -> session_to_head::Message {
    session_to_head::Message::Config(v1::DebugConfig { generation, ..v1::DebugConfig::default() })
}

#[test]
fn a_sessions_breakpoints_reach_present_and_future_nodes_and_go_with_it() {
    let mut stage = Stage::new();
    stage.register(1, 1);
    stage.open(9, session(1), 700).unwrap();
    stage.expect_opened(9);
    assert!(stage.session_says(9, config(1)));
    match stage.expect_to_node(1) {
        head_to_node::Message::Config(config) => assert_eq!(config.session_id, session(1).to_bytes()),
        other => panic!("{other:?}"),
    }
    let registered = stage.register(2, 2);
    assert_eq!(registered.config.unwrap().generation, 1);
    stage.expect_view(1, 2);
    assert!(matches!(stage.expect_to_session(9), head_to_session::Message::View(_)));
    stage.core.on_session_lost(LinkId(9));
    stage.settle();
    stage.expect_session_ended(1, 700);
    stage.expect_session_ended(2, 700);
    assert_eq!(stage.effects.pop_front(), Some(Effect::GraceTimer { loss: 1, grace_ms: 700 }));
    assert!(stage.register(3, 3).config.is_none());
    stage.expect_view(1, 3);
    stage.expect_view(2, 3);
    stage.core.on_grace_over(1);
    assert!(stage.core.status().sessions.is_empty());
}

#[test]
fn a_second_session_is_refused_with_the_name_of_the_first() {
    let mut stage = Stage::new();
    stage.open(8, session(1), 0).unwrap();
    stage.expect_opened(8);
    let refused = stage.open(9, session(2), 0).unwrap_err();
    assert!(refused.starts_with("client 8 is debugging this cluster already"), "{refused}");
    assert!(!stage.session_says(8, session_to_head::Message::Close(v1::SessionClose {})));
    stage.open(9, session(2), 0).unwrap();
    stage.expect_opened(9);
}

#[test]
fn another_session_takes_over_from_a_lost_one_and_the_same_one_goes_on() {
    let mut stage = Stage::new();
    stage.register(1, 1);
    stage.open(8, session(1), 700).unwrap();
    stage.expect_opened(8);
    let lose = |stage: &mut Stage, link| {
        stage.core.on_session_lost(LinkId(link));
        stage.settle();
        stage.expect_session_ended(1, 700);
        assert!(matches!(stage.effects.pop_front(), Some(Effect::GraceTimer { .. })));
    };
    lose(&mut stage, 8);
    stage.open(9, session(1), 700).unwrap();
    stage.expect_opened(9);
    // The first grace runs out, but the session is back.
    stage.core.on_grace_over(1);
    assert_eq!(stage.core.status().sessions.len(), 1);
    lose(&mut stage, 9);
    stage.core.on_grace_over(1);
    assert_eq!(stage.core.status().sessions.len(), 1, "the second loss has its own grace");
    stage.open(10, session(2), 700).unwrap();
    stage.expect_session_ended(1, 0);
    stage.expect_opened(10);
}

#[test]
fn messages_find_their_target_and_their_session() {
    let mut stage = Stage::new();
    stage.register(1, 1);
    stage.say(1, target(4));
    stage.open(9, session(1), 0).unwrap();
    assert_eq!(stage.expect_opened(9).targets.len(), 1);
    let message = |byte: u8| {
        let target_id = ProcessId([byte; 16]).to_bytes();
        session_to_head::Message::ToTarget(v1::ToTarget {
            target_id,
            dap: "{}".into(),
            ..v1::ToTarget::default()
        })
    };
    stage.session_says(9, message(4));
    assert!(matches!(stage.expect_to_node(1), head_to_node::Message::ToTarget(_)));
    stage.session_says(9, message(5));
    assert!(matches!(stage.expect_to_session(9), head_to_session::Message::TargetDown(_)));
    let ack = |byte: u8| v1::ConfigAck { session_id: session(byte).to_bytes(), ..v1::ConfigAck::default() };
    stage.say(1, node_to_head::Message::ConfigAck(ack(1)));
    assert!(matches!(stage.expect_to_session(9), head_to_session::Message::ConfigAck(_)));
    // Of a session that is over.
    stage.say(1, node_to_head::Message::ConfigAck(ack(2)));
    stage.say(1, node_to_head::Message::TaskEnded(v1::TaskEnded::default()));
    assert!(matches!(stage.expect_to_session(9), head_to_session::Message::TaskEnded(_)));
}

#[test]
fn a_cluster_that_is_told_to_end_tells_its_nodes() {
    let mut stage = Stage::new();
    stage.register(1, 1);
    assert_eq!(stage.core.on_shutdown("by the test"), 1);
    stage.settle();
    assert_eq!(
        stage.expect_to_node(1),
        head_to_node::Message::Shutdown(v1::Shutdown { cause: "by the test".into() })
    );
    assert_eq!(stage.effects.pop_front(), Some(Effect::Exit));
}

#[test]
fn other_versions_are_refused() {
    let mut stage = Stage::new();
    let register = v1::NodeRegister { protocol_version: 99, ..v1::NodeRegister::default() };
    assert!(stage.core.on_node_register(LinkId(1), register).unwrap_err().contains("version 99"));
    let open = v1::SessionOpen { protocol_version: 99, ..v1::SessionOpen::default() };
    assert!(stage.core.on_session_open(LinkId(2), open).unwrap_err().contains("version 99"));
}
