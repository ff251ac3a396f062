//! Calls to other nodes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use manta_proto::{
    connect::{self, AuthorizedChannel},
    ids::{JobId, LeaseId, NodeId, ObjectId, ProcessId},
    limits::MESSAGE_BYTES_MAX,
    token::Token,
    v1::{
        FreeObjectsRequest, LeaseRequest, LeaseReturn, MovedObjects, NodeToProcess, ObjectToTake,
        TakeObjectsRequest, WorkerFateReply, WorkerFateRequest, node_peer_client::NodePeerClient,
        node_to_process,
    },
};
use tonic::Request;

use super::Shared;
use crate::{core::AskId, limits::CONNECT_TIMEOUT};

/// Objects that a node is asked at one time to take over.
const OBJECTS_AT_ONCE: usize = 10_000;

/// The metadata that says which node calls.
pub const NODE_ID: &str = "node-id";

/// Connections to other nodes, made when first needed and kept.
pub struct Peers {
    token: Token,
    node_id: NodeId,
    channels: Mutex<HashMap<String, AuthorizedChannel>>,
}

impl Peers {
    pub fn new(token: Token, node_id: NodeId) -> Self {
        Self { token, node_id, channels: Mutex::new(HashMap::new()) }
    }

    /// A client of the node at `address`; the error is a sentence.
    pub async fn client(&self, address: &str) -> Result<NodePeerClient<AuthorizedChannel>, String> {
        let known = self.channels.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let channel = connect::tcp(address, &self.token, CONNECT_TIMEOUT).await;
                let channel =
                    channel.map_err(|error| format!("the node at {address} cannot be reached: {error}"))?;
                let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
                channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        let client = NodePeerClient::new(channel);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// A request that says from whom it is.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Ok(id) = self.node_id.to_string().parse() {
            request.metadata_mut().insert(NODE_ID, id);
        }
        request
    }
}

pub fn ask_lease(shared: Arc<Shared>, ask: AskId, node: NodeId, address: String, request: LeaseRequest) {
    tokio::spawn(async move {
        let answer = async {
            let mut client = shared.peers.client(&address).await?;
            let request = shared.peers.request(request);
            client
                .request_lease(request)
                .await
                .map(tonic::Response::into_inner)
                .map_err(|status| status.message().to_owned())
        };
        let answer = answer.await;
        shared.with(|core| core.on_lease_answer(ask, node, answer));
    });
}

pub fn return_lease(shared: Arc<Shared>, address: String, lease: LeaseId, message: LeaseReturn) {
    tokio::spawn(async move {
        let returned = async {
            let mut client = shared.peers.client(&address).await?;
            client
                .return_lease(shared.peers.request(message))
                .await
                .map_err(|status| status.message().to_owned())
        };
        if let Err(cause) = returned.await {
            // A node that cannot be reached takes all leases of ours back when the head calls one of us lost.
            tracing::warn!(%lease, address, cause, "a lease could not be given back");
        }
    });
}

pub fn ask_fate(shared: Arc<Shared>, process: ProcessId, address: String, request: WorkerFateRequest) {
    tokio::spawn(async move {
        let request_id = request.request_id;
        let answer = async {
            let mut client = shared.peers.client(&address).await?;
            let reply = client.worker_fate(shared.peers.request(request)).await;
            reply.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
        };
        let mut fate = answer.await.unwrap_or_else(|cause| WorkerFateReply {
            sentence: format!("how the worker ended cannot be found out: {cause}"),
            node_gone: true,
            ..WorkerFateReply::default()
        });
        fate.request_id = request_id;
        let message = NodeToProcess { message: Some(node_to_process::Message::Fate(fate)) };
        shared.lock().tell_process(process, message);
    });
}

pub fn free_objects(shared: &Arc<Shared>, addresses: Vec<String>, objects: &[ObjectId]) {
    let object_ids: Vec<_> = objects.iter().map(|object| object.to_bytes()).collect();
    for address in addresses {
        let (shared, object_ids) = (Arc::clone(shared), object_ids.clone());
        tokio::spawn(async move {
            let freed = async {
                let mut client = shared.peers.client(&address).await?;
                let request = shared.peers.request(FreeObjectsRequest { object_ids });
                client.free_objects(request).await.map_err(|status| status.message().to_owned())
            };
            if let Err(cause) = freed.await {
                tracing::info!(
                    address,
                    cause,
                    "a peer could not be told to free objects; it does so when the job ends"
                );
            }
        });
    }
}

/// Has a peer take our objects over, and then tells all peers of it.
pub fn move_objects(
    shared: Arc<Shared>,
    heir: NodeId,
    address: String,
    objects: Vec<(ObjectId, JobId)>,
    others: Vec<String>,
) {
    tokio::spawn(async move {
        let result = hand_over(&shared, &address, &objects).await;
        if result.is_ok() {
            let moves = [(shared.read(|core| core.id()), heir)];
            for other in others {
                tell_moved(&shared, &other, &moves).await;
            }
        }
        shared.with(|core| core.on_moved(result));
    });
}

async fn hand_over(shared: &Arc<Shared>, heir: &str, objects: &[(ObjectId, JobId)]) -> Result<(), String> {
    let mut client = shared.peers.client(heir).await?;
    let mut taken = 0;
    for some in objects.chunks(OBJECTS_AT_ONCE) {
        let to_take = |(object, job): &(ObjectId, JobId)| ObjectToTake {
            object_id: object.to_bytes(),
            job_id: job.to_bytes(),
        };
        let request = TakeObjectsRequest { objects: some.iter().map(to_take).collect() };
        let request = shared.peers.request(request);
        let reply =
            client.take_objects(request).await.map_err(|status| status.message().to_owned())?.into_inner();
        taken += reply.taken;
        if !reply.error.is_empty() {
            tracing::warn!(error = reply.error, "some objects stay behind");
        }
    }
    tracing::info!(heir, taken, of = objects.len(), "another node has this one's objects");
    Ok(())
}

/// Tells a peer who left their objects to whom.
pub fn tell_moves(shared: Arc<Shared>, address: String, moves: Vec<(NodeId, NodeId)>) {
    tokio::spawn(async move { tell_moved(&shared, &address, &moves).await });
}

async fn tell_moved(shared: &Arc<Shared>, address: &str, moves: &[(NodeId, NodeId)]) {
    let told = async {
        let mut client = shared.peers.client(address).await?;
        for (from, to) in moves {
            let moved = MovedObjects { from_node_id: from.to_bytes(), to_node_id: to.to_bytes() };
            let told = client.objects_moved(shared.peers.request(moved)).await;
            told.map_err(|status| status.message().to_owned())?;
        }
        Ok::<(), String>(())
    };
    if let Err(cause) = told.await {
        tracing::warn!(address, cause, "a peer does not hear where objects have gone");
    }
}
