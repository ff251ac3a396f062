//! A node that runs in the head's own process: what it says and hears needs no connection.

use std::time::Duration;

use futures::{Stream, StreamExt};
use manta_head::{Head, HeadOptions};
use manta_proto::{
    PROTOCOL_VERSION,
    ids::NodeId,
    token::Token,
    v1::{self, HeadToNode, head_to_node},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::Status;

const DEADLINE: Duration = Duration::from_secs(30);

async fn said(
    stream: &mut (impl Stream<Item = Result<HeadToNode, Status>> + Unpin),
) -> head_to_node::Message {
    let next = timeout(DEADLINE, stream.next()).await.expect("in time");
    next.expect("it is not over").expect("no failure").message.expect("a message")
}

#[tokio::test]
async fn a_node_inside_is_taken_heard_and_missed_like_any_other() {
    let head = Head::bind(HeadOptions {
        address: "127.0.0.1:0".to_owned(),
        token: Token::new("secret", "the test").unwrap(),
        metrics: None,
        state: None,
    });
    let head = head.await.unwrap();
    let inside = head.inside();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(head.run(async {
        let _told = stopped.await;
    }));
    let register = |protocol_version, id: NodeId| v1::NodeRegister {
        protocol_version,
        info: Some(v1::NodeInfo { node_id: id.to_bytes(), ..v1::NodeInfo::default() }),
        ..v1::NodeRegister::default()
    };

    let (_, receiver) = mpsc::channel(1);
    let refused = inside.join(register(99, NodeId::random()), receiver).err().expect("another version");
    assert!(refused.contains("version 99"), "{refused}");

    let (first, second) = (NodeId::random(), NodeId::random());
    let (sender, receiver) = mpsc::channel(1);
    let mut hears = inside.join(register(PROTOCOL_VERSION, first), receiver).unwrap();
    let head_to_node::Message::Registered(registered) = said(&mut hears).await else { panic!("not taken") };
    assert!(!registered.name.is_empty());

    // Another node comes, and goes with the end of what it says.
    let (other, receiver) = mpsc::channel(1);
    let _other_hears = inside.join(register(PROTOCOL_VERSION, second), receiver).unwrap();
    let view_of = async |hears: &mut _, count: usize| loop {
        if let head_to_node::Message::View(view) = said(hears).await
            && view.nodes.len() == count
        {
            return;
        }
    };
    view_of(&mut hears, 2).await;
    drop(other);
    view_of(&mut hears, 1).await;

    stop.send(()).unwrap();
    while !matches!(said(&mut hears).await, head_to_node::Message::Shutdown(_)) {}
    drop(sender);
    timeout(DEADLINE, running).await.expect("in time").unwrap().unwrap();
}
