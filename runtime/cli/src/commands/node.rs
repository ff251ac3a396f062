//! `manta node`: a node, and nothing else.

use std::{
    net::{ToSocketAddrs, UdpSocket},
    sync::Arc,
};

use anyhow::Context;
use manta_node::{Host, Node, NodeOptions};
use manta_proto::{ids::NodeId, token::Token};
use serde::{Deserialize, Serialize};

use crate::{args::NodeArgs, daemon, logging};

/// What a node says when it is ready.
#[derive(Serialize, Deserialize)]
pub struct NodeReady {
    /// What the head calls it.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Where drivers attach.
    pub local_socket: String,
    /// What it has, for people.
    pub resources: String,
}

/// Runs until the cluster ends.
///
/// # Errors
/// When the head cannot be reached or does not take the node.
pub async fn run(args: NodeArgs) -> anyhow::Result<()> {
    let token = Token::find()?;
    let stop = daemon::told_to_end()?;
    let host = host()?;
    logging::to_folder(host.session_dir())?;
    let resources = args.resources.resources()?;
    let shown = resources.for_people().to_string();
    let options = NodeOptions {
        listen_host: own_address_towards(&args.address),
        head_address: args.address,
        head_inside: None,
        token,
        resources,
        name: String::new(),
        labels: args.resources.labels(),
        object_store_bytes: args.resources.object_store_bytes(),
        host: Arc::clone(&host),
        memory: args.resources.memory_watch()?,
    };
    let node = Node::start(options).await?;
    daemon::ready(&NodeReady {
        name: node.name(),
        pid: std::process::id(),
        local_socket: node.local_socket().to_owned(),
        resources: shown,
    })?;
    if args.daemon {
        daemon::detach()?;
    }
    Ok(node.run(stop).await?)
}

/// The folder and the watcher of this process.
///
/// # Errors
/// When they cannot be made.
pub fn host() -> anyhow::Result<Arc<Host>> {
    let manta = std::env::current_exe().context("this program's own file is not known")?;
    Host::create(&NodeId::random().short(), manta)
        .context("a folder below /tmp, or the watcher of this process, cannot be made")
}

/// The address of this machine that a peer near the head can reach: loopback for a head on loopback.
pub fn own_address_towards(head: &str) -> String {
    // Connecting a datagram socket sends nothing; it only asks for the route.
    let route = || {
        let remote = head.to_socket_addrs().ok()?.next()?;
        let socket = UdpSocket::bind(if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).ok()?;
        socket.connect(remote).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    route().unwrap_or_else(|| "127.0.0.1".to_owned())
}
