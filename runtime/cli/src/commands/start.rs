//! `manta start`: a cluster in the background, or this machine as a part of one.

use std::net::SocketAddr;

use anyhow::Context;
use manta_proto::{DEFAULT_ADDRESS, token::Token};

use super::{head::HeadReady, node::NodeReady};
use crate::{
    args::StartArgs,
    client, daemon,
    process::ProcessRef,
    state::{self, Started},
};

/// Starts, and says how to connect.
///
/// # Errors
/// When something runs there already, or cannot be started.
pub async fn run(args: StartArgs) -> anyhow::Result<()> {
    let joins = args.address.is_some();
    let token = if joins { Token::find()? } else { Token::find_or_create()? };
    let mut started = match &args.address {
        Some(address) => {
            client::status(&mut client::head(address, &token).await?).await?;
            Started { address: address.clone(), head: None, nodes: Vec::new() }
        }
        None => start_head(&args, &token).await?,
    };
    let mut names = Vec::new();
    let nodes = if args.head { 0 } else { args.nodes };
    for _ in 0..nodes {
        match start_node(&args, &started.address, &token) {
            Ok(ready) => {
                started.nodes.extend(ProcessRef::of(ready.pid));
                names.push(format!("{} ({})", ready.name, ready.resources));
            }
            Err(error) => {
                end(&started);
                return Err(error);
            }
        }
    }
    let address = started.address.clone();
    let processes = started.processes();
    started.save()?;
    explain(&args, &address, &names);
    if args.foreground {
        daemon::told_to_end()?.await;
        super::stop::stop(&address, &processes).await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the command's output")]
async fn start_head(args: &StartArgs, token: &Token) -> anyhow::Result<Started> {
    let wanted = args.listen.to_string();
    let known_as = reachable(&wanted);
    if args.listen.port() != 0
        && let Ok(mut head) = client::head(&known_as, token).await
    {
        return match client::status(&mut head).await {
            Ok(_) => Err(anyhow::anyhow!(
                "a cluster runs at {wanted} already; use it, stop it with 'manta stop', or start another with --listen HOST:PORT"
            )),
            Err(error) => {
                Err(error
                    .context(format!("{wanted} is in use; choose another address with --listen HOST:PORT")))
            }
        };
    }
    for stale in state::load(Some(&known_as))?.iter().filter(|started| !started.is_alive()) {
        stale.forget()?;
    }
    let mut command = ["head", "--listen", &wanted, "--daemon"].map(str::to_owned).to_vec();
    if let Some(state) = &args.state {
        command.extend(["--state".to_owned(), std::path::absolute(state)?.display().to_string()]);
    }
    if let Some(metrics) = args.metrics {
        command.extend(["--metrics".to_owned(), metrics.to_string()]);
    }
    let ready: HeadReady = daemon::start(&command, token)?;
    if let Some(metrics) = &ready.metrics {
        println!("Metrics for Prometheus are at http://{metrics}/metrics");
    }
    let head = ProcessRef::of(ready.pid).context("the head ended as soon as it was ready")?;
    Ok(Started { address: reachable(&ready.address), head: Some(head), nodes: Vec::new() })
}

/// A head that listens on all addresses of the machine is reached at the one that other machines know.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(all) if all.ip().is_unspecified() => {
            // An address that is reserved for documentation stands for any other machine; nothing is sent there.
            let own = super::node::own_address_towards("192.0.2.1:9");
            format!("{own}:{}", all.port())
        }
        _ => address.to_owned(),
    }
}

fn start_node(args: &StartArgs, address: &str, token: &Token) -> anyhow::Result<NodeReady> {
    let mut node = ["node", "--daemon", "--address", address].map(str::to_owned).to_vec();
    node.extend(args.resources.to_args());
    daemon::start(&node, token)
}

/// Ends what was started before something failed.
fn end(started: &Started) {
    for process in started.processes() {
        if let Err(error) = process.signal(nix::sys::signal::Signal::SIGTERM) {
            eprintln!("manta: {error:#}");
        }
    }
}

/// "1 node", "2 nodes".
pub fn nodes(count: u32) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

#[expect(clippy::print_stdout, reason = "the command's output")]
fn explain(args: &StartArgs, address: &str, names: &[String]) {
    let verb = if args.address.is_some() { "joined the cluster at" } else { "started, with its head at" };
    if args.head {
        println!("A head listens on {address}; nodes that it had before find it by themselves.");
    } else {
        println!("{} {verb} {address}: {}", nodes(args.nodes), names.join(", "));
    }
    if args.address.is_some() {
        println!("\nThis machine's part ends with 'manta stop'.");
        return;
    }
    let default = address == DEFAULT_ADDRESS;
    let env = if default { String::new() } else { format!("MANTA_ADDRESS={address} ") };
    println!("\nConnect");
    println!("  from Python:    manta.init(address=\"{address}\")");
    println!("  from Rust:      MANTA_ADDRESS={address} cargo run");
    println!(
        "  from VS Code:   debug configuration of type \"manta\", request \"attach\", \"address\": \"{address}\""
    );
    println!(
        "  other machines: manta start --address HOST:{}",
        address.rsplit_once(':').map_or("", |(_, port)| port)
    );
    if args.listen.ip().is_loopback() {
        println!(
            "                  (only with a head on an address that they can reach: manta start --listen 0.0.0.0:6480)"
        );
    }
    if !args.listen.ip().is_loopback() {
        println!(
            "\nWhat the cluster says to other machines is not encrypted: use it on a network that you trust."
        );
    }
    println!("\nThe cluster's token is in {}.", Token::default_path().display());
    println!("See it with '{env}manta status', end it with '{env}manta stop'.");
}
