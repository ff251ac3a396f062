//! The node's one link to the head: a connection, or a pair of queues where the head runs in the same process.

use std::{sync::Arc, time::Duration};

use manta_proto::{
    connect,
    limits::MESSAGE_BYTES_MAX,
    v1::{HeadToNode, NodeInfo, NodeToHead, head_client::HeadClient, head_to_node, node_to_head},
};
use tokio::time::Instant;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::{Shared, head_queue, questions};
use crate::{
    limits::{CONNECT_TIMEOUT, HEAD_SEARCH, HEARTBEAT},
    node::{FromHead, HeadInside, NodeError},
};

/// How the head is reached, and what it is told first.
pub struct HeadLink {
    pub shared: Arc<Shared>,
    pub address: String,
    pub inside: Option<HeadInside>,
    pub info: NodeInfo,
}

impl HeadLink {
    /// Registers this node with the head. Its first answer has been given to the core when this returns.
    pub async fn register(&self) -> Result<FromHead, NodeError> {
        let shared = &self.shared;
        let (sender, receiver) = head_queue();
        let register = shared.read(|core| core.registration(self.info.clone()));
        let refused = |status: tonic::Status| NodeError::Head(status.message().to_owned());
        let mut messages = match &self.inside {
            Some(join) => join(register, receiver).map_err(NodeError::Head)?,
            None => {
                let channel = connect::tcp(&self.address, &shared.token, CONNECT_TIMEOUT).await?;
                let mut client = HeadClient::new(channel)
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX);
                let first = NodeToHead { message: Some(node_to_head::Message::Register(register)) };
                let said = tokio_stream::once(first).chain(ReceiverStream::new(receiver));
                Box::pin(client.node_link(said).await.map_err(refused)?.into_inner())
            }
        };
        let registered = messages.next().await.transpose().map_err(refused)?;
        let registered = registered
            .ok_or_else(|| NodeError::Head("it closed the connection without an answer".to_owned()))?;
        shared.set_head(Some(sender));
        shared.with(|core| core.on_head_message(registered));
        Ok(messages)
    }

    /// Reads from the head until the node ends; looks for a head that is gone, for a while.
    pub async fn serve(self, mut messages: FromHead) {
        let Self { shared, address, .. } = &self;
        loop {
            read(shared, &mut messages).await;
            shared.set_head(None);
            questions::end_all(shared);
            tracing::warn!(address, "the head is gone; looking for it");
            shared.with(crate::core::Core::on_head_lost);
            let until = Instant::now() + HEAD_SEARCH;
            messages = loop {
                match self.register().await {
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
}

async fn read(shared: &Arc<Shared>, messages: &mut FromHead) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(Ok(HeadToNode { message: Some(head_to_node::Message::Ask(ask)) })) => questions::ask(shared, ask),
                Some(Ok(HeadToNode { message: Some(head_to_node::Message::More(more)) })) => {
                    questions::more(shared, more);
                }
                Some(Ok(message)) => shared.with(|core| core.on_head_message(message)),
                Some(Err(_)) | None => return,
            },
            _ = heartbeat.tick() => shared.heartbeat(),
        }
    }
}
