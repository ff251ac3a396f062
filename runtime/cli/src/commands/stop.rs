//! `manta stop`: ends a cluster, or this machine's part of it.

use std::time::Duration;

use anyhow::bail;
use manta_proto::{connect::ConnectError, token::Token};
use nix::sys::signal::Signal;

use super::start::nodes;
use crate::{
    args::StopArgs,
    client,
    process::{ProcessRef, wait_gone},
    state::{self, Started},
};

/// How long nodes have to end their workers and themselves.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Stops.
///
/// # Errors
/// When nothing runs, or it does not end.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub async fn run(args: &StopArgs) -> anyhow::Result<()> {
    let mut known = state::load(args.address.as_deref())?;
    for stale in known.extract_if(.., |started| !started.is_alive()) {
        stale.forget()?;
    }
    if known.is_empty() {
        let Some(address) = &args.address else {
            bail!(
                "no cluster was started on this machine; one elsewhere is stopped with --address HOST:PORT"
            );
        };
        let told = client::shutdown(&mut client::head(address, &Token::find()?).await?).await?;
        println!("The cluster at {address} was told to end: {}.", nodes(told));
        return Ok(());
    }
    for started in known {
        end_keepers(&started).await?;
        if started.head.is_some() {
            stop(&started.address, &started.processes()).await?;
            println!("The cluster at {} has ended.", started.address);
        } else {
            leave(&started).await?;
            let count = u32::try_from(started.nodes.len()).unwrap_or(u32::MAX);
            println!("{} of this machine left the cluster at {}.", nodes(count), started.address);
        }
        started.forget()?;
    }
    Ok(())
}

/// Ends a cluster through its head, and what is left of it by signals.
///
/// # Errors
/// When processes of it do not end.
pub async fn stop(address: &str, processes: &[ProcessRef]) -> anyhow::Result<()> {
    match client::head(address, &Token::find()?).await {
        Ok(mut head) => {
            // A head that is on its way out already may not answer any more.
            if let Err(error) = client::shutdown(&mut head).await
                && processes.iter().any(|process| process.is_alive())
            {
                eprintln!("manta: {error:#}; its processes are ended by signals");
                signal_all(processes, Signal::SIGTERM)?;
            }
        }
        Err(ConnectError::Unreachable { .. }) => signal_all(processes, Signal::SIGTERM)?,
        Err(error) => return Err(error.into()),
    }
    end_for_sure(processes).await
}

/// A `manta start` in the foreground would start the head again; told to end, it ends what it looks after, and itself.
async fn end_keepers(started: &Started) -> anyhow::Result<()> {
    let keepers: Vec<_> = started.kept.iter().map(|kept| kept.keeper).collect();
    signal_all(&keepers, Signal::SIGTERM)?;
    end_for_sure(&keepers).await
}

async fn leave(started: &Started) -> anyhow::Result<()> {
    signal_all(&started.nodes, Signal::SIGTERM)?;
    end_for_sure(&started.nodes).await
}

async fn end_for_sure(processes: &[ProcessRef]) -> anyhow::Result<()> {
    let left = wait_gone(processes, END_TIMEOUT).await;
    signal_all(&left, Signal::SIGKILL)?;
    let left = wait_gone(&left, END_TIMEOUT).await;
    if left.is_empty() {
        return Ok(());
    }
    let pids: Vec<_> = left.iter().map(|process| process.pid.to_string()).collect();
    bail!("these processes do not end, even by SIGKILL: {}", pids.join(", "))
}

fn signal_all(processes: &[ProcessRef], signal: Signal) -> anyhow::Result<()> {
    processes.iter().try_for_each(|process| process.signal(signal))
}
