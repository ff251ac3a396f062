//! `manta local`: a private cluster in one process, which lives exactly as long as its driver.

use std::{io::Read, sync::Arc};

use anyhow::Context;
use manta_head::{Head, HeadOptions};
use manta_node::{FromHead, HeadInside, Node, NodeOptions};
use manta_proto::token::Token;
use serde_json::json;
use tokio::sync::{oneshot, watch};

use super::node::host;
use crate::{args::LocalArgs, daemon, logging};

/// Runs until stdin ends or a signal comes.
///
/// # Errors
/// When the cluster cannot be made.
pub async fn run(args: LocalArgs) -> anyhow::Result<()> {
    let told = daemon::told_to_end()?;
    let token = private_token()?;
    let host = host()?;
    logging::to_folder(host.session_dir())?;
    let head = Head::bind(HeadOptions {
        address: "127.0.0.1:0".to_owned(),
        token: token.clone(),
        metrics: None,
        state: None,
    })
    .await?;
    head.keep_packages_in(&host.session_dir().join("head-packages"))
        .context("the head's folder for packages cannot be made")?;
    let address = head.address().to_string();
    let inside = head.inside();
    let inside: HeadInside =
        Arc::new(move |register, messages| Ok(Box::pin(inside.join(register, messages)?) as FromHead));
    let (stop_head, head_stopped) = oneshot::channel::<()>();
    let head = tokio::spawn(head.run(async {
        // A dropped sender means the same.
        let _told = head_stopped.await;
    }));
    let (stop_nodes, stopped) = watch::channel(false);
    let (mut nodes, mut sockets) = (tokio::task::JoinSet::new(), Vec::new());
    for number in 0..args.nodes {
        let resources = if number == 0 { args.resources.beside_head() } else { args.resources.clone() };
        let options = NodeOptions {
            head_address: address.clone(),
            head_inside: Some(Arc::clone(&inside)),
            token: token.clone(),
            resources: resources.resources()?,
            name: String::new(),
            labels: args.resources.labels(),
            object_store_bytes: args.resources.object_store_bytes(),
            listen_host: "127.0.0.1".to_owned(),
            host: Arc::clone(&host),
            memory: args.resources.memory_watch()?,
        };
        let node = Node::start(options).await?;
        sockets.push(node.local_socket().to_owned());
        let mut stopped = stopped.clone();
        nodes.spawn(node.run(async move {
            let _told = stopped.wait_for(|stop| *stop).await;
        }));
    }
    announce(&args, &address, &token, &host, &sockets)?;
    tokio::select! {
        () = told => {}
        () = lifeline(args.lifeline_stdin) => {}
        Some(ended) = nodes.join_next() => ended.context("a node failed")??,
    }
    stop_nodes.send_replace(true);
    while let Some(ended) = nodes.join_next().await {
        ended.context("a node failed")??;
    }
    drop(stop_head);
    head.await.context("the head failed")??;
    Ok(())
}

/// A private cluster needs no token file: only its driver has to know it.
fn private_token() -> anyhow::Result<Token> {
    match std::env::var("MANTA_TOKEN") {
        Ok(text) => Ok(Token::new(&text, "MANTA_TOKEN")?),
        Err(_) => Ok(Token::random()),
    }
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn announce(
    args: &LocalArgs,
    address: &str,
    token: &Token,
    host: &manta_node::Host,
    sockets: &[String],
) -> anyhow::Result<()> {
    if args.json {
        return daemon::ready(&json!({
            "address": address,
            "token": token.as_str(),
            "session_dir": host.session_dir(),
            "node_sockets": sockets,
        }));
    }
    println!(
        "A private cluster of {} listens on {address}; it ends with this process.",
        super::start::nodes(args.nodes)
    );
    println!("Use it with MANTA_ADDRESS={address} MANTA_TOKEN={}", token.as_str());
    Ok(())
}

/// Resolves when stdin ends. A thread of its own reads it: a lifeline may be any kind of file.
async fn lifeline(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut bytes).is_ok_and(|read| read > 0) {}
        let _told = ended.send(());
    });
    let _ended = end.await;
}
