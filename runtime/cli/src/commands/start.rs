//! `manta start`: a cluster in the background, or this machine as a part of one.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use manta_proto::{DEFAULT_ADDRESS, token::Token};

use super::{head::HeadReady, node::NodeReady};
use crate::{
    args::{ResourceArgs, StartArgs},
    client, daemon,
    process::{ProcessRef, wait_gone},
    state::{self, Started},
};

/// Starts, and says how to connect.
///
/// # Errors
/// When something runs there already, or cannot be started.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub async fn run(args: StartArgs) -> anyhow::Result<()> {
    let args = args.with_whole_address();
    let joins = args.address.is_some();
    let token = if joins { Token::find()? } else { Token::find_or_create()? };
    let mut metrics = None;
    let mut started = match &args.address {
        Some(address) => {
            client::status(&mut client::head(address, &token).await?).await?;
            Started::at(address.clone(), None)
        }
        None => {
            let (started, served) = start_head(&args, &token).await?;
            metrics = served;
            started
        }
    };
    let mut names = Vec::new();
    let left = if joins { 0 } else { living_nodes(&started.address)? };
    let wanted = (args.nodes as usize).saturating_sub(left);
    if args.foreground {
        for left in orphans(&started.address)?.into_iter().filter(|left| Some(*left) != started.head) {
            started.nodes.push(left);
            names.push(format!("process {}, which was left", left.pid));
        }
    }
    while names.len() < wanted {
        let beside_head = names.is_empty() && started.head.is_some();
        let resources = if beside_head { args.resources.beside_head() } else { args.resources.clone() };
        match start_node(&resources, &started.address, &token) {
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
    let (processes, head) = (started.processes(), started.head);
    if args.foreground {
        started.keep(&processes);
    }
    started.save()?;
    // What reads this may be gone: what was started is known to 'manta stop' by now.
    if let Some(metrics) = metrics {
        println!("Metrics for Prometheus are at http://{metrics}/metrics");
    }
    explain(&args, &address, &names, left);
    if args.foreground { stay(&args, &token, &address, processes, head).await } else { Ok(()) }
}

/// Waits until it is told to end, and ends what was started. A head that dies before that is started again.
#[expect(clippy::print_stdout, reason = "the command's output")]
async fn stay(
    args: &StartArgs,
    token: &Token,
    address: &str,
    mut processes: Vec<ProcessRef>,
    mut head: Option<ProcessRef>,
) -> anyhow::Result<()> {
    let told = daemon::told_to_end()?;
    tokio::pin!(told);
    let mut look = tokio::time::interval(HEAD_LOOK);
    let mut restarts = Restarts::default();
    loop {
        tokio::select! {
            () = &mut told => return super::stop::stop(address, &processes).await,
            _ = look.tick() => {}
        }
        let Some(dead) = head.filter(|head| !head.is_alive()) else { continue };
        anyhow::ensure!(
            args.listen.port() != 0,
            "the head at {address} has died, and one on a free port cannot come back; give --listen a port of its own"
        );
        anyhow::ensure!(
            restarts.may(Instant::now()),
            "the head at {address} has died {RESTARTS_MAX} times within {} s; see its log",
            RESTARTS_WITHIN.as_secs()
        );
        let (mut started, _metrics) =
            start_head(args, token).await.context("the head has died, and cannot be started again")?;
        println!("The head at {address} has died and was started again.");
        head = started.head;
        processes.retain(|process| *process != dead);
        processes.extend(head);
        started.keep(&processes);
        started.save()?;
    }
}

/// A head that was killed is gone within this time.
const HEAD_END: Duration = Duration::from_secs(2);
/// How often a head in the foreground is looked after.
const HEAD_LOOK: Duration = Duration::from_millis(250);
/// A head that dies more often than this within the time below has something that another start does not mend.
const RESTARTS_MAX: usize = 5;
const RESTARTS_WITHIN: Duration = Duration::from_secs(60);

/// When the head was started again.
#[derive(Default)]
struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Whether it may be once more, which is noted.
    fn may(&mut self, now: Instant) -> bool {
        self.0.retain(|before| now.duration_since(*before) < RESTARTS_WITHIN);
        if self.0.len() >= RESTARTS_MAX {
            return false;
        }
        self.0.push_back(now);
        true
    }
}

/// Starts a head; with it comes where it serves metrics.
#[expect(clippy::print_stdout, reason = "the command's output")]
async fn start_head(args: &StartArgs, token: &Token) -> anyhow::Result<(Started, Option<String>)> {
    let wanted = args.listen.to_string();
    let known_as = reachable(&wanted);
    if args.listen.port() != 0
        && let Ok(mut head) = client::head(&known_as, token).await
    {
        match client::status(&mut head).await {
            Ok(_)
                if args.foreground
                    && let Some(left) = orphaned_head(&known_as)? =>
            {
                println!(
                    "Took over the head at {known_as}: the 'manta start' that looked after it was killed."
                );
                return Ok((Started::at(known_as, Some(left)), None));
            }
            Ok(_) => anyhow::bail!(
                "a cluster runs at {wanted} already; use it, stop it with 'manta stop', or start another with --listen HOST:PORT"
            ),
            // One that was killed a moment ago may still take connections.
            Err(_) if is_going(&known_as).await? => {}
            Err(error) => {
                return Err(error
                    .context(format!("{wanted} is in use; choose another address with --listen HOST:PORT")));
            }
        }
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
    let head = ProcessRef::of(ready.pid).context("the head ended as soon as it was ready")?;
    Ok((Started::at(reachable(&ready.address), Some(head)), ready.metrics))
}

/// Whether the head that was started here ends just now.
async fn is_going(address: &str) -> anyhow::Result<bool> {
    let known = state::load(Some(address))?;
    let heads: Vec<_> = known.iter().filter_map(|started| started.head).collect();
    Ok(!heads.is_empty() && wait_gone(&heads, HEAD_END).await.is_empty())
}

/// What a `manta start` in the foreground left behind that was killed: the next one looks after it, so that nothing is there twice.
fn orphans(address: &str) -> anyhow::Result<Vec<ProcessRef>> {
    Ok(state::load(Some(address))?.iter().flat_map(Started::orphans).collect())
}

/// How many nodes of this machine a head that was killed has left behind: they find the new one by themselves.
fn living_nodes(address: &str) -> anyhow::Result<usize> {
    let known = state::load(Some(address))?;
    Ok(known.iter().flat_map(|started| &started.nodes).filter(|node| node.is_alive()).count())
}

fn orphaned_head(address: &str) -> anyhow::Result<Option<ProcessRef>> {
    let known = state::load(Some(address))?;
    Ok(known.iter().find_map(|started| started.head.filter(|head| started.orphans().contains(head))))
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

fn start_node(resources: &ResourceArgs, address: &str, token: &Token) -> anyhow::Result<NodeReady> {
    let mut node = ["node", "--daemon", "--address", address].map(str::to_owned).to_vec();
    node.extend(resources.to_args());
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
fn explain(args: &StartArgs, address: &str, names: &[String], left: usize) {
    let verb = if args.address.is_some() { "joined the cluster at" } else { "started, with its head at" };
    if names.is_empty() {
        println!("A head listens on {address}; nodes that it had before find it by themselves.");
        if left == 0 {
            println!("It runs no tasks itself: nodes join it with 'manta start --address {address}'.");
        }
    } else {
        let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
        println!("{} {verb} {address}: {}", nodes(count), names.join(", "));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_dies_again_and_again_is_given_up() {
        let (start, mut restarts) = (Instant::now(), Restarts::default());
        assert!((0..RESTARTS_MAX).all(|_| restarts.may(start)));
        assert!(!restarts.may(start + RESTARTS_WITHIN / 2));
        assert!(restarts.may(start + RESTARTS_WITHIN));
    }
}
