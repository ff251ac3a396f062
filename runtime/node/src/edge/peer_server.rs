//! The node's one TCP port, for other nodes and for what they relay.

use std::sync::Arc;

use manta_proto::{
    ids::{JobId, NodeId, ObjectId, ProcessId},
    v1::{
        Empty, FetchFileRequest, FetchObjectRequest, FileChunk, FreeObjectsRequest, LeaseReply, LeaseRequest,
        LeaseReturn, MovedObjects, ObjectChunk, RelayBytes, TakeObjectsReply, TakeObjectsRequest,
        WorkerFateReply, WorkerFateRequest, fetch_file_request::Wanted, node_peer_server::NodePeer,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{Shared, debug_files, files, peer_client::NODE_ID, programs, transfer};

/// Bytes of a relayed connection that are read at a time.
const RELAY_BYTES: usize = 64 * 1024;
/// Pieces that wait for a slow reader.
const PIECES_MAX: usize = 8;

/// The service on the node's TCP port.
pub struct PeerService(pub Arc<Shared>);

#[tonic::async_trait]
impl NodePeer for PeerService {
    type FetchObjectStream = ReceiverStream<Result<ObjectChunk, Status>>;
    type FetchFileStream = ReceiverStream<Result<FileChunk, Status>>;
    type RelayStream = ReceiverStream<Result<RelayBytes, Status>>;

    async fn request_lease(&self, request: Request<LeaseRequest>) -> Result<Response<LeaseReply>, Status> {
        let node = id_in(request.metadata(), NODE_ID, NodeId::from_hex)?;
        let (reply, receiver) = self.0.expect_lease();
        self.0.with(|core| core.on_peer_lease(reply, node, request.into_inner()));
        let reply = receiver.await.map_err(|_| Status::unavailable("the asking node is gone"))?;
        Ok(Response::new(reply))
    }

    async fn return_lease(&self, request: Request<LeaseReturn>) -> Result<Response<Empty>, Status> {
        self.0.with(|core| core.on_peer_return(request.get_ref()));
        Ok(Response::new(Empty {}))
    }

    async fn worker_fate(
        &self,
        request: Request<WorkerFateRequest>,
    ) -> Result<Response<WorkerFateReply>, Status> {
        let (reply, receiver) = self.0.expect_fate();
        self.0.with(|core| core.on_peer_fate(reply, request.get_ref()));
        let fate = receiver.await.map_err(|_| Status::unavailable("the node is ending"))?;
        Ok(Response::new(fate))
    }

    async fn fetch_object(
        &self,
        request: Request<FetchObjectRequest>,
    ) -> Result<Response<Self::FetchObjectStream>, Status> {
        let object = ObjectId::try_from(&request.get_ref().object_id)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let bytes = transfer::read(&self.0, object).await?;
        self.0.with(|core| core.on_copied(object));
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::spawn(transfer::send(bytes, sender));
        Ok(Response::new(receiver.into()))
    }

    async fn free_objects(&self, request: Request<FreeObjectsRequest>) -> Result<Response<Empty>, Status> {
        self.0.with(|core| core.on_peer_free(&request.get_ref().object_ids));
        Ok(Response::new(Empty {}))
    }

    async fn take_objects(
        &self,
        request: Request<TakeObjectsRequest>,
    ) -> Result<Response<TakeObjectsReply>, Status> {
        let node = id_in(request.metadata(), NODE_ID, NodeId::from_hex)?;
        let address = self.0.read(|core| core.peer_address(node));
        let address =
            address.ok_or_else(|| Status::failed_precondition("the calling node is not known here"))?;
        let objects = request.into_inner().objects;
        let mut reply = TakeObjectsReply::default();
        for wanted in objects {
            let ids = (ObjectId::try_from(&wanted.object_id), JobId::try_from(&wanted.job_id));
            let (Ok(object), Ok(job)) = ids else {
                return Err(Status::invalid_argument("an object to take over has an id and a job"));
            };
            match transfer::take_over(&self.0, object, job, &address).await {
                Ok(()) => reply.taken += 1,
                // It may have been freed meanwhile.
                Err(error) if reply.error.is_empty() => reply.error = error,
                Err(_) => {}
            }
        }
        Ok(Response::new(reply))
    }

    async fn objects_moved(&self, request: Request<MovedObjects>) -> Result<Response<Empty>, Status> {
        let moved = request.into_inner();
        let ids = (NodeId::try_from(&moved.from_node_id), NodeId::try_from(&moved.to_node_id));
        let (Ok(from), Ok(to)) = ids else {
            return Err(Status::invalid_argument("objects move from one node to another, both with ids"));
        };
        self.0.with(|core| core.on_peer_moved(from, to));
        Ok(Response::new(Empty {}))
    }

    async fn fetch_file(
        &self,
        request: Request<FetchFileRequest>,
    ) -> Result<Response<Self::FetchFileStream>, Status> {
        let file = match request.into_inner().wanted {
            Some(Wanted::Program(wanted)) => {
                programs::open(&self.0, &wanted.job_id, &wanted.path).map_err(|error| {
                    Status::not_found(format!("{} cannot be read there: {error}", wanted.path))
                })?
            }
            Some(Wanted::Debug(wanted)) => debug_files::open(&self.0, &wanted).await?,
            None => return Err(Status::invalid_argument("a file is asked for by what it is")),
        };
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        files::send(file, sender);
        Ok(Response::new(receiver.into()))
    }

    async fn relay(
        &self,
        request: Request<Streaming<RelayBytes>>,
    ) -> Result<Response<Self::RelayStream>, Status> {
        let process = id_in(request.metadata(), "process-id", ProcessId::from_hex)?;
        let socket = self.0.read(|core| core.peer_socket(process).map(str::to_owned));
        let socket = socket
            .ok_or_else(|| Status::not_found(format!("process {process} is not on this node any more")))?;
        let stream = UnixStream::connect(&socket).await.map_err(|error| {
            Status::unavailable(format!("process {process} does not accept peers: {error}"))
        })?;
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::spawn(relay(stream, request.into_inner(), sender));
        Ok(Response::new(receiver.into()))
    }
}

fn id_in<T>(
    metadata: &MetadataMap,
    name: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, Status> {
    let id = metadata.get(name).and_then(|value| value.to_str().ok()).and_then(read);
    id.ok_or_else(|| Status::invalid_argument(format!("the metadata '{name}' must be an id in hex")))
}

/// Copies both ways until either side ends; then the other is ended too.
async fn relay(
    stream: UnixStream,
    mut incoming: Streaming<RelayBytes>,
    outgoing: mpsc::Sender<Result<RelayBytes, Status>>,
) {
    let (mut from_process, mut to_process) = stream.into_split();
    let up = async {
        while let Ok(Some(piece)) = incoming.message().await {
            if to_process.write_all(&piece.data).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut buffer = bytes::BytesMut::with_capacity(RELAY_BYTES);
        while let Ok(read) = from_process.read_buf(&mut buffer).await {
            if read == 0 || outgoing.send(Ok(RelayBytes { data: buffer.split().freeze() })).await.is_err() {
                return;
            }
            buffer.reserve(RELAY_BYTES);
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
