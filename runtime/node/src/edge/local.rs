//! The Unix socket on which drivers and workers of this machine attach.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use manta_proto::ids::{ObjectId, ProcessId};
use manta_proto::{
    v1::{
        NodeToProcess, ProcessHello, ProcessToNode, node_local_server::NodeLocal, process_hello::Kind,
        process_to_node,
    },
    version_conflict,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, process_queue, programs};
use crate::core::Core;

/// So often it is looked whether a process that has left has ended.
const GONE_LOOKS: u32 = 50;
/// Between two such looks.
const GONE_LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The service on the node's Unix socket.
pub struct Local(pub Arc<Shared>);

#[tonic::async_trait]
impl NodeLocal for Local {
    type AttachStream = ReceiverStream<Result<NodeToProcess, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<ProcessToNode>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.message);
        let Some(process_to_node::Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument("a process says hello first"));
        };
        let pid = hello.pid;
        let (process, outgoing) = self.welcome(hello)?;
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                match &message.message {
                    Some(process_to_node::Message::Output(output)) => shared.log_output(process, output),
                    Some(process_to_node::Message::Stacks(stacks)) => {
                        shared.stacks_arrived(process, stacks);
                        continue;
                    }
                    Some(process_to_node::Message::Objects(list)) => {
                        shared.objects_arrived(process, list);
                        continue;
                    }
                    Some(process_to_node::Message::Sealed(sealed)) => {
                        if let Ok(object) = ObjectId::try_from(&sealed.object_id) {
                            shared.announced(object, sealed.spilled, pid);
                        }
                    }
                    _ => {}
                }
                shared.with(|core| core.on_process_message(process, message));
            }
            shared.detach(process);
            shared.with(|core| core.on_detached(process));
            // Its connection ends a moment before the process does.
            for _ in 0..GONE_LOOKS {
                if is_gone(pid) {
                    return shared.sweep(pid);
                }
                tokio::time::sleep(GONE_LOOK_AGAIN).await;
            }
        });
        Ok(Response::new(outgoing))
    }
}

impl Shared {
    /// A process has told of an object that it wrote.
    pub fn announced(&self, object: ObjectId, is_spilled: bool, pid: u32) {
        if is_spilled {
            self.spilled.announced(object, pid);
        } else {
            self.store.announced(object, pid);
        }
    }

    /// Removes what a process that is gone wrote and told nobody of.
    pub fn sweep(&self, pid: u32) {
        self.store.sweep(pid);
        self.spilled.sweep(pid);
    }
}

/// Whether a process has ended. One that only left the cluster clears up after itself.
fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may hold anything: the state.
    stat.rsplit_once(')').is_none_or(|(_, rest)| matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}

impl Local {
    fn welcome(
        &self,
        mut hello: ProcessHello,
    ) -> Result<(ProcessId, ReceiverStream<Result<NodeToProcess, Status>>), Status> {
        let peer = format!("the process {} on this machine", hello.pid);
        if let Some(conflict) = version_conflict(&peer, hello.protocol_version) {
            return Err(Status::failed_precondition(conflict));
        }
        let process = ProcessId::try_from(&hello.process_id)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (sender, receiver) = process_queue();
        if !self.0.attach(process, sender) {
            return Err(Status::already_exists("a process with this id is attached already"));
        }
        if hello.kind() == Kind::Driver
            && let Some(job) = &mut hello.job
        {
            job.origin = Some(programs::origin(job, hello.pid, self.0.read(Core::id), &self.0.machine_id));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        if let Err(sentence) = self.0.with(|core| core.on_attached(hello, now_unix_ms)) {
            self.0.detach(process);
            return Err(Status::failed_precondition(sentence));
        }
        Ok((process, receiver.into()))
    }
}
