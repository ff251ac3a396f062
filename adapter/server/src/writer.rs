//! Writing to a client: what is ready goes out in one piece, in the order in which the session said it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::{Bytes, BytesMut};
use dap::Outgoing;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};
use tokio_util::codec::Encoder;

use crate::limits::TO_CLIENT_BYTES_MAX;

/// The session's way to its client.
pub(crate) struct ToClient {
    sender: mpsc::UnboundedSender<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl ToClient {
    /// Starts the task that writes. The task ends when this is dropped and all is written, or when the client is gone.
    pub fn start<W>(sink: W) -> (Self, tokio::task::JoinHandle<()>)
    where
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(write(sink, receiver, Arc::clone(&waiting_bytes)));
        (Self { sender, waiting_bytes }, task)
    }

    /// False when the client is gone, or does not read.
    #[must_use]
    pub fn send(&self, text: Bytes) -> bool {
        let waiting = self.waiting_bytes.fetch_add(text.len(), Ordering::Relaxed);
        waiting <= TO_CLIENT_BYTES_MAX && self.sender.send(text).is_ok()
    }
}

async fn write<W>(mut sink: W, mut texts: mpsc::UnboundedReceiver<Bytes>, waiting_bytes: Arc<AtomicUsize>)
where
    W: AsyncWrite + Unpin,
{
    let mut codec = dap::Codec::default();
    let mut buffer = BytesMut::new();
    while let Some(first) = texts.recv().await {
        let mut next = Some(first);
        while let Some(text) = next {
            waiting_bytes.fetch_sub(text.len(), Ordering::Relaxed);
            if let Err(error) = codec.encode(Outgoing(text), &mut buffer) {
                tracing::error!(%error, "a message to the client could not be written");
                return;
            }
            next = texts.try_recv().ok();
        }
        if let Err(error) = write_out(&mut sink, &mut buffer).await {
            // The reader learns it as well, and tells the session.
            tracing::debug!(%error, "the client is gone");
            return;
        }
    }
}

async fn write_out<W: AsyncWrite + Unpin>(sink: &mut W, buffer: &mut BytesMut) -> std::io::Result<()> {
    sink.write_all_buf(buffer).await?;
    sink.flush().await
}
