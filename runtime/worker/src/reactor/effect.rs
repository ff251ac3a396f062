//! What the reactor asks its edges to do.

use std::path::PathBuf;

use bytes::Bytes;
use manta_proto::{
    ids::{LeaseId, ObjectId, ProcessId, TaskId},
    v1::{TaskArgument, peer_message, process_to_node},
};

use super::{ConnId, EncodedTask, EventBatch};

pub(crate) enum Effect {
    /// Sends a message to a peer. Messages to a connection that is being made wait for it.
    Send { conn: ConnId, message: peer_message::Message },
    /// Sends a task: its encoded parts, which stay the same over its attempts, and what this attempt adds.
    Push {
        conn: ConnId,
        id: TaskId,
        task: EncodedTask,
        lease: LeaseId,
        attempt: u32,
        made_again: bool,
        arguments: Vec<TaskArgument>,
    },
    /// Makes a connection: to the socket, or else through the relay of the node at an address.
    Dial { conn: ConnId, process: ProcessId, socket: Option<PathBuf>, relay: Option<String> },
    /// Closes a connection.
    Close { conn: ConnId },
    /// Sends a message to this process's node.
    ToNode(Box<process_to_node::Message>),
    /// Tells this process's node of its tasks.
    Events(Box<EventBatch>),
    /// Frees objects on another node.
    FreeAt { address: String, objects: Vec<ObjectId> },
    /// Gives up the files that this process keeps to write them again.
    TrimStore,
    /// Tells the user, as if a task had printed it.
    Say(String),
    /// Calls back into the binding, outside of every lock.
    Call(Box<dyn FnOnce() + Send>),
    /// Hands a DAP message to this worker's engine.
    Debug(Bytes),
    /// Has the binding raise in the thread that runs a task.
    Interrupt(TaskId),
    /// Lets a process trace this one.
    AllowTracer(u32),
    /// Has the binding say where its threads are.
    DumpStacks,
}
