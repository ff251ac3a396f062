//! `manta status`: nodes, jobs and the debug session.

use manta_node::resources::Resources;
use manta_proto::{
    token::Token,
    v1::{GetStatusResponse, NodeStatus},
};
use serde_json::json;

use crate::{args::StatusArgs, client};

/// Prints it.
///
/// # Errors
/// When the head cannot be asked.
#[expect(clippy::print_stdout, reason = "the command's output")]
pub async fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let mut head = client::head(&args.address, &Token::find()?).await?;
    let status = client::status(&mut head).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&as_json(&args.address, &status))?);
    } else {
        print!("{}", as_text(&args.address, &status));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn as_text(address: &str, status: &GetStatusResponse) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "Cluster at {address}, version {}, up {}\n\n",
        status.version,
        duration(status.uptime_seconds)
    );
    let mut rows = vec![["NODE", "FREE", "OF", "WORKERS", "TASKS", "WAITING", "PID"].map(str::to_owned)];
    let mut nodes: Vec<_> = status.nodes.iter().map(node_row).collect();
    // node-2 comes before node-10.
    nodes.sort_by(|[a, ..], [b, ..]| (a.len(), a).cmp(&(b.len(), b)));
    rows.extend(nodes);
    text.push_str(&table(&rows));
    if !status.jobs.is_empty() {
        let mut rows = vec![["JOB", "NAME", "STATE", "DRIVER PID"].map(str::to_owned)];
        rows.extend(status.jobs.iter().map(|job| {
            let state = if job.running { "running" } else { "ended" };
            [hex(&job.job_id)[..8].to_owned(), job.name.clone(), state.to_owned(), job.driver_pid.to_string()]
        }));
        text.push('\n');
        text.push_str(&table(&rows));
    }
    for session in &status.sessions {
        // Writing to a string does not fail.
        let _written = writeln!(text, "\nDebug session of {}", session.client);
    }
    text
}

fn node_row(node: &NodeStatus) -> [String; 7] {
    let info = node.info.clone().unwrap_or_default();
    [
        info.name,
        Resources::from_wire(node.available.as_ref()).for_people().to_string(),
        Resources::from_wire(info.total.as_ref()).for_people().to_string(),
        node.workers.to_string(),
        node.running_tasks.to_string(),
        node.pending_leases.to_string(),
        info.pid.to_string(),
    ]
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn amounts(resources: Option<&manta_proto::v1::Resources>) -> serde_json::Value {
    #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52")]
    let whole = |amount: u64| amount as f64 / manta_node::resources::WHOLE as f64;
    let named = resources.into_iter().flat_map(|resources| &resources.amounts);
    named
        .map(|(name, amount)| (name.clone(), json!(whole(*amount))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn as_json(address: &str, status: &GetStatusResponse) -> serde_json::Value {
    let node = |node: &NodeStatus| {
        let info = node.info.clone().unwrap_or_default();
        json!({
            "node_id": hex(&info.node_id), "name": info.name, "alive": node.alive, "pid": info.pid,
            "peer_address": info.peer_address, "local_socket": info.local_socket,
            "total": amounts(info.total.as_ref()), "available": amounts(node.available.as_ref()),
            "workers": node.workers, "running_tasks": node.running_tasks, "pending_leases": node.pending_leases,
        })
    };
    json!({
        "address": address,
        "cluster_id": status.cluster_id,
        "version": status.version,
        "uptime_seconds": status.uptime_seconds,
        "nodes": status.nodes.iter().map(node).collect::<Vec<_>>(),
        "jobs": status.jobs.iter().map(|job| json!({
            "job_id": hex(&job.job_id), "name": job.name, "driver_pid": job.driver_pid, "node_id": hex(&job.node_id),
            "running": job.running, "started_unix_ms": job.started_unix_ms,
        })).collect::<Vec<_>>(),
        "sessions": status.sessions.iter().map(|session| json!({
            "session_id": hex(&session.session_id), "client": session.client, "generation": session.generation,
        })).collect::<Vec<_>>(),
    })
}
