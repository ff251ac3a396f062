//! Between the wire's messages and the session's events. Ids travel as hex inside the session.

use manta_proto::{
    ids::{InvalidId, JobId as WireJobId, NodeId as WireNodeId, ProcessId, TaskId as WireTaskId},
    v1::{self, head_to_session},
};
use manta_session::{
    ConfigAck, Event, Generation, JobId, Node, NodeId, Output, Target, TargetAck, TargetId, TaskId,
};

/// Why a message from the head is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("a message of a target is no DAP message: {0}")]
    Dap(#[from] dap::Malformed),
    #[error("a set of breakpoints was acknowledged with something that is no text")]
    NoText,
}

/// What a message from the head means to the session. `None` for one that a newer head may send.
pub(crate) fn event(message: v1::HeadToSession) -> Result<Option<Event>, ConvertError> {
    use head_to_session::Message;
    let Some(message) = message.message else { return Ok(None) };
    Ok(Some(match message {
        Message::Opened(opened) => Event::Connected {
            nodes: nodes(opened.view.unwrap_or_default())?,
            targets: opened.targets.into_iter().map(target).collect::<Result<_, _>>()?,
        },
        Message::View(view) => Event::ClusterView(nodes(view)?),
        Message::TargetUp(up) => Event::TargetUp(target(up)?),
        Message::TargetDown(down) => {
            Event::TargetDown { target: target_id(&down.target_id)?, cause: down.cause }
        }
        Message::FromTarget(from) => Event::FromTarget {
            target: target_id(&from.target_id)?,
            message: dap::Message::from_slice(&from.dap)?,
        },
        Message::ConfigAck(ack) => Event::ConfigAck(config_ack(ack)?),
        Message::Output(output) => Event::Output(task_output(output)),
        Message::JobStarted(job) => job_started(job)?,
        Message::TaskEnded(ended) => Event::TaskEnded {
            target: target_id(&ended.target_id)?,
            task: WireTaskId::try_from(&ended.task_id).map(|id| TaskId::new(&id.to_string()))?,
        },
        Message::JobEnded(job) => Event::JobEnded { job: job_id(&job.job_id)?, cause: job.cause },
    }))
}

pub(crate) fn job_started(job: v1::JobStarted) -> Result<Event, ConvertError> {
    Ok(Event::JobStarted { job: job_id(&job.job_id)?, name: job.name })
}

fn nodes(view: v1::ClusterView) -> Result<Vec<Node>, ConvertError> {
    let infos = view.nodes.into_iter().filter_map(|node| node.info);
    infos.map(|info| Ok(Node { id: node_id(&info.node_id)?, name: info.name })).collect()
}

fn target(up: v1::TargetUp) -> Result<Target, ConvertError> {
    Ok(Target { id: target_id(&up.target_id)?, node_name: up.node_name, description: up.description })
}

fn config_ack(ack: v1::ConfigAck) -> Result<ConfigAck, ConvertError> {
    let target_ack = |ack: v1::TargetAck| {
        let body = if ack.error.is_empty() {
            Ok(String::from_utf8(ack.body.to_vec()).map_err(|_| ConvertError::NoText)?)
        } else {
            Err(ack.error)
        };
        Ok(TargetAck { target: target_id(&ack.target_id)?, body })
    };
    Ok(ConfigAck {
        generation: Generation(ack.generation),
        node: node_id(&ack.node_id)?,
        targets: ack.targets.into_iter().map(target_ack).collect::<Result<_, ConvertError>>()?,
        error: (!ack.error.is_empty()).then_some(ack.error),
    })
}

fn task_output(output: v1::TaskOutput) -> Output {
    Output {
        task_name: output.task_name,
        task: WireTaskId::try_from(&output.task_id).ok().map(|id| TaskId::new(&id.to_string())),
        node_name: output.node_name,
        pid: output.pid,
        stderr: output.stderr,
        text: output.text,
    }
}

fn target_id(bytes: &bytes::Bytes) -> Result<TargetId, InvalidId> {
    ProcessId::try_from(bytes).map(|id| TargetId::new(&id.to_string()))
}

fn node_id(bytes: &bytes::Bytes) -> Result<NodeId, InvalidId> {
    WireNodeId::try_from(bytes).map(|id| NodeId::new(&id.to_string()))
}

fn job_id(bytes: &bytes::Bytes) -> Result<JobId, InvalidId> {
    WireJobId::try_from(bytes).map(|id| JobId::new(&id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_another_length_are_refused() {
        let down = v1::TargetDown { target_id: vec![1, 2].into(), cause: String::new() };
        let message = head_to_session::Message::TargetDown(down);
        let error = event(v1::HeadToSession { message: Some(message) }).unwrap_err();
        assert!(error.to_string().contains("16 bytes, but 2 came"), "{error}");
    }
}
