//! Stacks of workers. A Python worker writes its own, on a signal-free thread of its own, into a file that it is asked for; native
//! stacks are taken by a short-lived `manta` process, which stops each thread for less than a millisecond.

use std::{sync::Arc, time::Duration};

use manta_proto::{
    ids::ProcessId,
    v1::{DumpStacks, NodeToProcess, node_to_process},
};
use serde_json::{Value, json};
use tokio::{process::Command, sync::oneshot};

use super::Shared;

/// How long a worker has for its own stacks: its interpreter may be busy in native code that does not let go.
const PYTHON_LIMIT: Duration = Duration::from_secs(5);
/// How long a native dump may take.
const NATIVE_LIMIT: Duration = Duration::from_secs(10);

/// The stacks of one worker, as JSON.
pub async fn of(shared: &Arc<Shared>, worker: ProcessId, pid: u32, native: bool) -> Value {
    let (description, python, tasks) = shared.read(|core| core.describe_worker(worker));
    let mut stack =
        json!({"worker_id": worker.to_string(), "pid": pid, "description": description, "tasks": tasks});
    if python {
        match python_stack(shared, worker).await {
            Ok(threads) => stack["python"] = threads,
            Err(cause) => stack["python_error"] = json!(cause),
        }
    }
    if native || !python {
        match native_stack(shared, worker, pid).await {
            Ok(threads) => stack["native"] = threads,
            Err(cause) => stack["native_error"] = json!(cause),
        }
    }
    stack
}

async fn python_stack(shared: &Shared, worker: ProcessId) -> Result<Value, String> {
    let (sender, receiver) = oneshot::channel();
    {
        let mut state = shared.lock();
        state.dumps.entry(worker).or_default().push(sender);
        let message = NodeToProcess { message: Some(node_to_process::Message::DumpStacks(DumpStacks {})) };
        state.tell_process(worker, message);
    }
    match tokio::time::timeout(PYTHON_LIMIT, receiver).await {
        Ok(Ok(text)) => serde_json::from_str(&text)
            .map_err(|error| format!("the worker's answer is not understood: {error}")),
        Ok(Err(_)) => Err("the worker ended".to_owned()),
        Err(_) => Err(format!(
            "the worker did not answer within {} s: native code holds its interpreter's lock; see its native stacks",
            PYTHON_LIMIT.as_secs()
        )),
    }
}

async fn native_stack(shared: &Shared, worker: ProcessId, pid: u32) -> Result<Value, String> {
    let mut command = Command::new(shared.host.manta());
    command.args(["debug-agent", "--dump", "--pid", &pid.to_string()]).kill_on_drop(true);
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().map_err(|error| format!("the dumper cannot be started: {error}"))?;
    // Where the kernel lets only parents trace, a worker says who may trace it.
    if let Some(tracer) = child.id() {
        let allow = manta_proto::v1::AllowTracer { pid: tracer };
        let message = NodeToProcess { message: Some(node_to_process::Message::AllowTracer(allow)) };
        shared.lock().tell_process(worker, message);
    }
    let output = tokio::time::timeout(NATIVE_LIMIT, child.wait_with_output()).await;
    let output = output.map_err(|_| format!("it took more than {} s", NATIVE_LIMIT.as_secs()))?;
    let output = output.map_err(|error| format!("the dumper failed: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.trim().trim_start_matches("manta: ").to_owned());
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the dumper's answer is not understood: {error}"))
}
