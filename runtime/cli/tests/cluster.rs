//! Clusters of real processes: leases, ends of all kinds, and what is left afterwards.

mod support;

use std::{path::Path, process::Stdio, time::Instant};

use manta_proto::{
    PROTOCOL_VERSION, connect,
    ids::{NodeId, ObjectId, ProcessId, TaskId},
    token::Token,
    v1::{self, node_to_process, process_hello::Kind, process_to_node},
};
use support::{Local, eventually, is_alive, kill, script, worker_program};
use tokio_stream::StreamExt;

#[tokio::test]
#[ignore = "no test: the other tests start it as a worker"]
async fn worker() {
    support::be_a_worker().await;
}

#[tokio::test]
async fn a_lease_is_granted_and_what_its_worker_prints_reaches_the_driver() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Local::start(1, 2.0);
    let mut driver = cluster.driver(0, &worker_program(folder.path())).await;
    let grant = driver.lease(1).await;
    assert_eq!(grant.node_name, "node-1");
    assert!(is_alive(grant.worker_pid));
    let output = driver.output("slot 0").await;
    assert_eq!((output.pid, &*output.node_name, output.stderr), (grant.worker_pid, "node-1", false));
    assert!(driver.output("words on stderr").await.stderr);
    // A second lease is a second slot of the same process.
    let second = driver.lease(1).await;
    assert_eq!(second.worker_pid, grant.worker_pid);
    driver.output("slot 1").await;
    let pid = grant.worker_pid;
    drop(driver);
    eventually("the worker ends with its driver", || !is_alive(pid)).await;
    cluster.end();
}

#[tokio::test]
async fn a_killed_worker_is_explained_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Local::start(1, 1.0);
    let mut driver = cluster.driver(0, &worker_program(folder.path())).await;
    let grant = driver.lease(1).await;
    driver.output("words on stderr").await;
    kill(grant.worker_pid);
    let fate = driver.fate(&grant).await;
    assert_eq!(
        fate.sentence,
        format!("worker {} on node-1 was killed by signal 9 (SIGKILL)", grant.worker_pid)
    );
    assert_eq!((fate.signal, fate.intended), (9, false));
    assert!(fate.last_stderr.iter().any(|line| line == "words on stderr"), "{:?}", fate.last_stderr);
    let next = driver.lease(1).await;
    assert_ne!(next.worker_pid, grant.worker_pid);
}

#[tokio::test]
async fn a_worker_that_cannot_start_is_explained_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Local::start(1, 1.0);
    let mut driver = cluster.driver(0, Path::new("/no/such/program")).await;
    driver.ask(1).await;
    let sentence = driver.answer().await.unwrap_err();
    assert!(sentence.contains("/no/such/program cannot be started: No such file or directory"), "{sentence}");
    let failing = script(folder.path(), "failing", "echo 'the reason' >&2; exit 3");
    let mut driver = cluster.driver(0, &failing).await;
    driver.ask(1).await;
    let sentence = driver.answer().await.unwrap_err();
    assert!(sentence.contains("exited with code 3") && sentence.ends_with("the reason"), "{sentence}");
}

#[tokio::test]
async fn what_does_not_fit_on_one_node_runs_on_the_other_and_what_fits_nowhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Local::start(2, 1.0);
    let mut driver = cluster.driver(0, &worker_program(folder.path())).await;
    let (here, there) = (driver.lease(1).await, driver.lease(1).await);
    assert_eq!((&*here.node_name, &*there.node_name), ("node-1", "node-2"));
    // What the other node's worker prints comes here all the same.
    let mut printed = [driver.output("slot 0").await.node_name, driver.output("slot 0").await.node_name];
    printed.sort();
    assert_eq!(printed, ["node-1", "node-2"]);
    kill(there.worker_pid);
    let fate = driver.fate(&there).await;
    assert!(fate.sentence.contains("on node-2 was killed by signal 9"), "{}", fate.sentence);
    driver.ask(3).await;
    let sentence = driver.answer().await.unwrap_err();
    assert!(
        sentence.contains("'f' needs CPU 3") && sentence.contains("node-1 has CPU 1; node-2 has CPU 1"),
        "{sentence}"
    );
    let pids = [here.worker_pid, there.worker_pid];
    drop(driver);
    eventually("the workers on both nodes end with the driver", || !pids.iter().any(|pid| is_alive(*pid)))
        .await;
}

#[tokio::test]
async fn an_object_crosses_from_node_to_node() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Local::start(2, 1.0);
    let program = worker_program(folder.path());
    let (from, mut to) = (cluster.driver(0, &program).await, cluster.driver(1, &program).await);
    let object = ObjectId::of(TaskId::random(), 0);
    // More than one piece, and not a whole number of them.
    let bytes: Vec<u8> = (0..3_500_001_u32).map(|index| (index % 251) as u8).collect();
    std::fs::write(from.object_dir.join(object.to_string()), &bytes).unwrap();
    let size = bytes.len() as u64;
    from.say(process_to_node::Message::Sealed(v1::ObjectSealed {
        object_id: object.to_bytes(),
        size,
        spilled: false,
    }))
    .await;
    let mut head = support::head(&cluster.address, &cluster.token).await;
    let status = head
        .get_status(v1::GetStatusRequest { protocol_version: PROTOCOL_VERSION })
        .await
        .unwrap()
        .into_inner();
    let node_1 =
        status.nodes.iter().filter_map(|node| node.info.clone()).find(|info| info.name == "node-1").unwrap();
    for request_id in [1, 2] {
        let pull =
            v1::PullObject { request_id, object_id: object.to_bytes(), node_id: node_1.node_id.clone() };
        to.say(process_to_node::Message::Pull(pull)).await;
    }
    for request_id in [1, 2] {
        let message = to.next().await;
        assert_eq!(
            message,
            node_to_process::Message::Pulled(v1::Pulled { request_id, size, ..v1::Pulled::default() })
        );
    }
    let copy = to.object_dir.join(object.to_string());
    assert!(std::fs::read(&copy).unwrap() == bytes, "the bytes are others");
    // The owner frees it: both copies go.
    from.say(process_to_node::Message::Free(v1::FreeObjectsRequest { object_ids: vec![object.to_bytes()] }))
        .await;
    eventually("both copies are removed", || {
        !copy.exists() && !from.object_dir.join(object.to_string()).exists()
    })
    .await;
    let pull = v1::PullObject { request_id: 3, object_id: object.to_bytes(), node_id: node_1.node_id };
    to.say(process_to_node::Message::Pull(pull)).await;
    let node_to_process::Message::Pulled(answer) = to.next().await else { panic!("no answer") };
    assert!(answer.error.contains("is not on this node"), "{}", answer.error);
}

#[tokio::test]
async fn a_relayed_connection_carries_bytes_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Local::start(1, 1.0);
    let mut driver = cluster.driver(0, &worker_program(folder.path())).await;
    let grant = driver.lease(1).await;
    let mut head = support::head(&cluster.address, &cluster.token).await;
    let status = head
        .get_status(v1::GetStatusRequest { protocol_version: PROTOCOL_VERSION })
        .await
        .unwrap()
        .into_inner();
    let address = status.nodes[0].info.clone().unwrap().peer_address;
    let channel = connect::tcp(&address, &cluster.token, support::DEADLINE).await.unwrap();
    let mut peer = v1::node_peer_client::NodePeerClient::new(channel);
    let pieces =
        tokio_stream::iter([v1::RelayBytes { data: "there and back".into() }]).chain(tokio_stream::pending());
    let mut request = tonic::Request::new(pieces);
    let worker = ProcessId::try_from(&grant.worker_id).unwrap().to_string();
    request.metadata_mut().insert("process-id", worker.parse().unwrap());
    let mut back = peer.relay(request).await.unwrap().into_inner();
    assert_eq!(back.message().await.unwrap().unwrap().data, "there and back");
    kill(grant.worker_pid);
    assert!(back.message().await.unwrap().is_none(), "the worker's end is the relay's end");
}

#[tokio::test]
async fn a_killed_private_cluster_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Local::start(2, 1.0);
    let mut driver = cluster.driver(0, &worker_program(folder.path())).await;
    let pids = [driver.lease(1).await.worker_pid, driver.lease(1).await.worker_pid];
    let object_dir = driver.object_dir.clone();
    assert!(object_dir.exists());
    kill(cluster.child.id());
    cluster.child.wait().unwrap();
    eventually("no worker is left", || !pids.iter().any(|pid| is_alive(*pid))).await;
    eventually("no folder is left", || !cluster.session_dir.exists() && !object_dir.exists()).await;
}

#[test]
fn a_private_cluster_is_there_in_no_time() {
    let start = Instant::now();
    let cluster = Local::start(1, 1.0);
    let took = start.elapsed();
    cluster.end();
    assert!(took.as_millis() < 500, "it took {took:?}");
}

#[tokio::test]
async fn a_wrong_token_and_a_wrong_version_are_refused_with_a_sentence() {
    let cluster = Local::start(1, 1.0);
    let wrong = Token::new("wrong", "the test").unwrap();
    let mut head = support::head(&cluster.address, &wrong).await;
    let request = || v1::GetStatusRequest { protocol_version: PROTOCOL_VERSION };
    let refused = head.get_status(request()).await.unwrap_err();
    assert!(refused.message().contains("the token is not this cluster's"), "{}", refused.message());
    let mut head = support::head(&cluster.address, &cluster.token).await;
    let refused = head.get_status(v1::GetStatusRequest { protocol_version: 99 }).await.unwrap_err();
    assert!(refused.message().contains("speaks version 99"), "{}", refused.message());
    let hello = v1::ProcessHello {
        protocol_version: PROTOCOL_VERSION,
        kind: Kind::Worker.into(),
        process_id: ProcessId::random().to_bytes(),
        ..v1::ProcessHello::default()
    };
    let refused = support::attach(&cluster.sockets[0], &wrong, hello.clone()).await.unwrap_err();
    assert!(refused.message().contains("the token is not this cluster's"), "{}", refused.message());
    let refused = support::attach(&cluster.sockets[0], &cluster.token, hello).await.unwrap_err();
    assert!(refused.message().contains("expects no such worker"), "{}", refused.message());
    let register = v1::NodeRegister {
        protocol_version: 99,
        info: Some(v1::NodeInfo { node_id: NodeId::random().to_bytes(), ..Default::default() }),
        ..Default::default()
    };
    let first = v1::NodeToHead { message: Some(v1::node_to_head::Message::Register(register)) };
    let refused = head_of(&cluster).await.node_link(tokio_stream::iter([first])).await.unwrap_err();
    assert!(refused.message().contains("install the same release"), "{}", refused.message());
    assert!(head_of(&cluster).await.get_status(request()).await.is_ok(), "nobody else is harmed");
}

async fn head_of(cluster: &Local) -> v1::head_client::HeadClient<connect::AuthorizedChannel> {
    support::head(&cluster.address, &cluster.token).await
}

#[test]
fn a_signal_ends_a_private_cluster_in_good_order() {
    let mut cluster = Local::start(1, 1.0);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(cluster.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(cluster.child.wait().unwrap().success());
    assert!(!cluster.session_dir.exists());
}

#[test]
fn a_command_line_that_is_wrong_exits_with_2() {
    let output = support::manta().arg("frobnicate").stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("frobnicate"));
}
