//! The stream to this process's node.

use std::{rc::Rc, sync::Arc, time::Duration};

use manta_proto::v1::{NodeToProcess, ProcessToNode, TaskOutput, node_to_process, process_to_node};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::UnboundedReceiverStream};

use super::edge::Edge;
use crate::TaskOutputLine;

/// Pieces of task output under way to the node before the task that prints waits.
const OUTPUT_PIECES_MAX: usize = 256;
/// How often a task that waits to print looks whether the cluster is still there.
const OUTPUT_POLL: Duration = Duration::from_millis(100);

/// Counts output under way, so that a task that prints without end waits for its readers.
#[derive(Default)]
pub(crate) struct OutputGate {
    pieces: Mutex<usize>,
    room: Condvar,
}

impl OutputGate {
    /// Waits for room for one piece, unless `gone`.
    pub fn enter(&self, gone: impl Fn() -> bool) {
        let mut pieces = self.pieces.lock();
        while *pieces >= OUTPUT_PIECES_MAX && !gone() {
            self.room.wait_for(&mut pieces, OUTPUT_POLL);
        }
        *pieces += 1;
    }

    pub fn leave(&self) {
        let mut pieces = self.pieces.lock();
        *pieces = pieces.saturating_sub(1);
        self.room.notify_one();
    }
}

/// The messages to the node, as they leave.
pub(super) fn outgoing(
    receiver: mpsc::UnboundedReceiver<ProcessToNode>,
    gate: Arc<OutputGate>,
) -> impl Stream<Item = ProcessToNode> {
    UnboundedReceiverStream::new(receiver).map(move |message| {
        if matches!(message.message, Some(process_to_node::Message::Output(_))) {
            gate.leave();
        }
        message
    })
}

/// Reads what the node says until it is gone.
pub(super) async fn read(edge: Rc<Edge>, mut inbound: tonic::Streaming<NodeToProcess>, is_worker: bool) {
    let mut told = None;
    let cause = loop {
        match inbound.message().await {
            Ok(Some(message)) => {
                if let Some(node_to_process::Message::Exit(exit)) = &message.message {
                    told = Some(exit.cause.clone());
                }
                let output = edge.shared.lock().on_node_message(message);
                edge.flush();
                if let Some(output) = output {
                    show(&edge, output);
                }
            }
            Ok(None) => break "it closed the connection".to_owned(),
            Err(status) => break status.message().to_owned(),
        }
    };
    if edge.is_leaving() {
        return;
    }
    if is_worker {
        end_process_group(&cause);
    }
    tracing::info!("the connection to the node ended: {cause}");
    let reason = told.unwrap_or_else(|| "its process ended without a word, or was killed".to_owned());
    let mut state = edge.shared.lock();
    let sentence = format!(
        "node {}, which this process was attached to, is gone: {reason}; what it ran for this job is lost",
        state.me.node_name
    );
    state.on_gone(sentence);
    drop(state);
    edge.flush();
}

fn show(edge: &Edge, output: TaskOutput) {
    let TaskOutput { task_name, pid, node_name, stderr, text, worker_id, sequence, .. } = output;
    if let Some(handler) = &edge.shared.on_output {
        handler(TaskOutputLine { task_name, pid, node_name, stderr, text });
    }
    edge.shared.output_arrived(&worker_id, sequence);
}

/// A worker without its node is an orphan: it ends, with all that its tasks have started.
fn end_process_group(cause: &str) -> ! {
    use nix::{
        sys::signal::{Signal, killpg},
        unistd::{getpgrp, getpid},
    };
    tracing::info!("this worker ends, because its node is gone: {cause}");
    // Only a group of its own: one that was started by hand must not take its shell along.
    if getpgrp() == getpid() {
        // Whether it fails or not, this process ends here.
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    }
    std::process::exit(1)
}
