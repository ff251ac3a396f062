//! Connections to peers: Unix sockets on this machine, relayed streams to other nodes.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use manta_proto::{
    ids::ProcessId,
    limits::CHUNK_BYTES,
    v1::{RelayBytes, node_peer_client::NodePeerClient},
};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest, unix::AsyncFd},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{edge::Edge, outgoing::Outbox};
use crate::reactor::ConnId;

/// A peer's first message; a longer one is no hello.
const HELLO_BYTES_MAX: usize = 4 * 1024;
/// Pieces that may wait for a relay.
const RELAY_PIECES: usize = 16;
/// How long the accept loop rests when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection to make.
pub(super) struct Dial {
    pub conn: ConnId,
    pub process: ProcessId,
    pub socket: Option<PathBuf>,
    pub relay: Option<String>,
}

/// Accepts peers for ever.
pub(super) async fn accept(edge: Rc<Edge>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let conn = edge.shared.lock().on_accepted();
                let outbox = edge.shared.outgoing.add(conn);
                tokio::task::spawn_local(serve_accepted(Rc::clone(&edge), conn, stream, outbox));
            }
            Err(error) => {
                tracing::error!("a peer could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Makes a connection and serves it to its end.
pub(super) async fn dial(edge: Rc<Edge>, dial: Dial, outbox: Arc<Outbox>) {
    let Dial { conn, process, socket, relay } = dial;
    let mut cause = "there is no way to its node".to_owned();
    if let Some(socket) = socket {
        match UnixStream::connect(&socket).await {
            Ok(stream) => return serve(edge, conn, stream, outbox).await,
            Err(error) => cause = describe(&socket, &error),
        }
    }
    if let Some(address) = relay {
        match relay_to(&edge, conn, process, &address, &outbox).await {
            Ok(()) => "it closed the connection".clone_into(&mut cause),
            Err(error) => {
                edge.forget_channel(&address);
                cause = error;
            }
        }
    }
    edge.lost(conn, &cause);
}

fn describe(socket: &Path, error: &std::io::Error) -> String {
    format!("its socket {} does not answer: {error}", socket.display())
}

/// Answers an accepted peer's hello before anything behind it is read. A task behind it may end this process at once, and it is by
/// the answer that the task's owner knows that it had started.
async fn serve_accepted(edge: Rc<Edge>, conn: ConnId, stream: UnixStream, outbox: Arc<Outbox>) {
    let (mut reader, mut writer) = stream.into_split();
    let greeted = async {
        let length = reader.read_u32_le().await? as usize;
        if length > HELLO_BYTES_MAX {
            return Err(std::io::Error::other(format!(
                "its first message has {length} bytes, so it is no hello"
            )));
        }
        let mut frame = BytesMut::zeroed(4 + length);
        frame[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        reader.read_exact(&mut frame[4..]).await?;
        edge.deliver(conn, &mut frame).map_err(std::io::Error::other)?;
        writer.write_all(&outbox.take_now()).await
    };
    match greeted.await.and_then(|()| reader.reunite(writer).map_err(std::io::Error::other)) {
        Ok(stream) => serve(edge, conn, stream, outbox).await,
        Err(error) => edge.lost(conn, &error.to_string()),
    }
}

/// Serves a connection to its end. Whoever waits reads from it; what does not leave at once is written here.
async fn serve(edge: Rc<Edge>, conn: ConnId, stream: UnixStream, outbox: Arc<Outbox>) {
    let written = async {
        // Out of this thread's own epoll, which would be woken whenever the peer has read something.
        let socket = Arc::new(OwnedFd::from(stream.into_std()?));
        outbox.connected(Arc::clone(&socket));
        edge.shared.incoming.add(conn, Arc::clone(&socket))?;
        if write(&socket, &outbox).await.is_err() {
            // The peer is gone, but what it said before lies in the socket: results of tasks, perhaps. Who reads its end closes the box.
            while outbox.take().await.is_some() {}
        }
        std::io::Result::Ok(())
    };
    let ended = written.await;
    edge.shared.incoming.remove(conn);
    edge.lost(
        conn,
        &ended.err().map_or_else(|| "it closed the connection".to_owned(), |error| error.to_string()),
    );
}

async fn write(socket: &OwnedFd, outbox: &Outbox) -> Result<(), Errno> {
    while let Some(mut bytes) = outbox.take().await {
        while !bytes.is_empty() {
            match send(socket.as_raw_fd(), &bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => bytes.advance(sent),
                Err(Errno::EAGAIN) => writable(socket).await.map_err(|_| Errno::EIO)?,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Waits until a full socket has room again.
async fn writable(socket: &OwnedFd) -> std::io::Result<()> {
    // SAFETY: the descriptor is borrowed for longer than it is registered, so it stays the open socket's.
    let watched = unsafe { AsyncFd::register_with_interest(socket.as_fd(), Interest::WRITABLE) }?;
    watched.writable().await?.retain_ready();
    Ok(())
}

/// Reads what peers send while no thread that waits does.
pub(super) async fn read(edge: Rc<Edge>) {
    let shared = Arc::clone(&edge.shared);
    // SAFETY: `shared` outlives the registration, and keeps the gate open as a descriptor.
    let gate = match unsafe { AsyncFd::register_with_interest(shared.incoming.gate(), Interest::READABLE) } {
        Ok(gate) => gate,
        Err(error) => {
            let cause = format!("this process cannot watch the sockets of its peers: {error}");
            return shared.lock().on_gone(cause);
        }
    };
    loop {
        tokio::select! {
            ready = gate.readable() => match ready {
                // Before the look, so that what comes during it is not missed.
                Ok(mut ready) => ready.clear_ready(),
                // The runtime ends.
                Err(_) => return,
            },
            () = shared.incoming.left() => {}
        }
        loop {
            let ready = shared.incoming.look();
            if ready.is_empty() {
                break;
            }
            shared.read_peers(&ready, None);
            edge.flush();
            tokio::task::yield_now().await;
        }
    }
}

/// Talks to a process through the port of its node.
async fn relay_to(
    edge: &Rc<Edge>,
    conn: ConnId,
    process: ProcessId,
    address: &str,
    outbox: &Outbox,
) -> Result<(), String> {
    let channel = edge.channel(address).await.map_err(|error| error.to_string())?;
    let (pieces, outgoing) = mpsc::channel(RELAY_PIECES);
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    let name = process.to_string().parse().map_err(|_| "its id is no header value".to_owned())?;
    request.metadata_mut().insert("process-id", name);
    let writing = async {
        while let Some(mut bytes) = outbox.take().await {
            while !bytes.is_empty() {
                let piece = bytes.split_to(bytes.len().min(CHUNK_BYTES));
                if pieces.send(RelayBytes { data: piece.freeze() }).await.is_err() {
                    return Err("its node closed the relay".to_owned());
                }
            }
        }
        Ok(())
    };
    let reading = async {
        let response = NodePeerClient::new(channel).relay(request).await;
        let mut incoming = response.map_err(|status| status.message().to_owned())?.into_inner();
        let mut buffer = BytesMut::new();
        while let Some(piece) = incoming.message().await.map_err(|status| status.message().to_owned())? {
            buffer.extend_from_slice(&piece.data);
            edge.deliver(conn, &mut buffer).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}
