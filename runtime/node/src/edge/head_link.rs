//! The node's one connection to the head.

use std::{sync::Arc, time::Duration};

use manta_proto::{
    connect,
    limits::MESSAGE_BYTES_MAX,
    v1::{HeadToNode, NodeInfo, NodeToHead, head_client::HeadClient, head_to_node, node_to_head},
};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Shared, head_queue, questions};
use crate::{
    limits::{CONNECT_TIMEOUT, HEAD_SEARCH, HEARTBEAT},
    node::NodeError,
};

/// Registers this node with the head. Its first answer has been given to the core when this returns.
pub async fn register(
    shared: &Arc<Shared>,
    address: &str,
    info: &NodeInfo,
) -> Result<Streaming<HeadToNode>, NodeError> {
    let channel = connect::tcp(address, &shared.token, CONNECT_TIMEOUT).await?;
    let mut client = HeadClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (sender, receiver) = head_queue();
    let register = shared.read(|core| core.registration(info.clone()));
    let first = NodeToHead { message: Some(node_to_head::Message::Register(register)) };
    sender.try_send(first).map_err(|_| NodeError::Head("its connection closed at once".to_owned()))?;
    let refused = |status: tonic::Status| NodeError::Head(status.message().to_owned());
    let mut messages = client.node_link(ReceiverStream::new(receiver)).await.map_err(refused)?.into_inner();
    let registered = messages.message().await.map_err(refused)?;
    let registered =
        registered.ok_or_else(|| NodeError::Head("it closed the connection without an answer".to_owned()))?;
    shared.set_head(Some(sender));
    shared.with(|core| core.on_head_message(registered));
    Ok(messages)
}

/// Reads from the head until the node ends; looks for a head that is gone, for a while.
pub async fn serve(
    shared: Arc<Shared>,
    address: String,
    info: NodeInfo,
    mut messages: Streaming<HeadToNode>,
) {
    loop {
        read(&shared, &mut messages).await;
        shared.set_head(None);
        questions::end_all(&shared);
        tracing::warn!(address, "the head is gone; looking for it");
        shared.with(crate::core::Core::on_head_lost);
        let until = Instant::now() + HEAD_SEARCH;
        messages = loop {
            match register(&shared, &address, &info).await {
                Ok(messages) => break messages,
                Err(error) if Instant::now() > until => {
                    tracing::error!(%error, "the head did not come back; this node ends");
                    shared.exit.notify_one();
                    return;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        tracing::info!(address, "the head is back");
    }
}

async fn read(shared: &Arc<Shared>, messages: &mut Streaming<HeadToNode>) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            message = messages.message() => match message {
                Ok(Some(HeadToNode { message: Some(head_to_node::Message::Ask(ask)) })) => questions::ask(shared, ask),
                Ok(Some(HeadToNode { message: Some(head_to_node::Message::More(more)) })) => {
                    questions::more(shared, more);
                }
                Ok(Some(message)) => shared.with(|core| core.on_head_message(message)),
                Ok(None) | Err(_) => return,
            },
            _ = heartbeat.tick() => shared.heartbeat(),
        }
    }
}
