//! The debug plane between real processes: one session, its breakpoints, and its targets.

mod support;

use manta_proto::v1::{self, head_to_session::Message, session_to_head};
use support::{Local, kill, worker_program};

#[tokio::test]
#[ignore = "no test: the other tests start it as a worker"]
async fn worker() {
    support::be_a_worker().await;
}

#[tokio::test]
async fn one_session_at_a_time_and_the_second_learns_who_has_it() {
    let cluster = Local::start(1, 1.0);
    let first = cluster.session("VS Code on laptop").await.unwrap();
    let refused = cluster.session("nvim").await.err().expect("a second session was taken");
    assert!(
        refused.message().starts_with("VS Code on laptop is debugging this cluster already"),
        "{}",
        refused.message()
    );
    first.say(session_to_head::Message::Close(v1::SessionClose {})).await;
    let until = std::time::Instant::now() + support::DEADLINE;
    while let Err(refused) = cluster.session("nvim").await {
        assert!(
            std::time::Instant::now() < until,
            "the closed session is still there: {}",
            refused.message()
        );
    }
}

#[tokio::test]
async fn every_node_acknowledges_breakpoints_and_targets_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Local::start(2, 1.0);
    let mut session = cluster.session("test").await.unwrap();
    session.configure(1).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let ack = session
            .wait_for(|message| match message {
                Message::ConfigAck(ack) => Some(ack),
                _ => None,
            })
            .await;
        assert_eq!((ack.generation, &*ack.error), (1, ""));
        nodes.push(ack.node_id);
    }
    assert_ne!(nodes[0], nodes[1]);
    let empty =
        v1::DebugConfig { generation: 2, empty: true, arguments: "{}".into(), ..v1::DebugConfig::default() };
    session.say(session_to_head::Message::Config(empty)).await;
    let mut driver = cluster.driver(0, &worker_program(folder.path())).await;
    let grant = driver.lease(1).await;
    let up = session
        .wait_for(|message| match message {
            Message::TargetUp(up) => Some(up),
            _ => None,
        })
        .await;
    assert_eq!((&up.target_id, &*up.kind, up.pid), (&grant.worker_id, "native", grant.worker_pid));
    assert_eq!(up.description, format!("native worker {} on node-1", grant.worker_pid));
    let output = session
        .wait_for(|message| match message {
            Message::Output(output) if output.text.contains("slot 0") => Some(output),
            _ => None,
        })
        .await;
    assert_eq!(output.pid, grant.worker_pid);
    kill(grant.worker_pid);
    let down = session
        .wait_for(|message| match message {
            Message::TargetDown(down) => Some(down),
            _ => None,
        })
        .await;
    assert!(down.cause.contains("killed by signal 9 (SIGKILL)"), "{}", down.cause);
}
