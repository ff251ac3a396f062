//! Objects on their way from one node's store to another's.

use std::sync::Arc;

use bytes::Bytes;
use manta_proto::{
    ids::ObjectId,
    limits::CHUNK_BYTES,
    v1::{FetchObjectRequest, ObjectChunk},
};
use tokio::sync::mpsc;
use tonic::Status;

use super::Shared;

/// Gives out an object in pieces, as fast as they are read.
pub async fn send(mut bytes: Bytes, sender: mpsc::Sender<Result<ObjectChunk, Status>>) {
    let mut total_bytes = bytes.len() as u64;
    loop {
        let data = bytes.split_to(bytes.len().min(CHUNK_BYTES));
        if sender.send(Ok(ObjectChunk { total_bytes, data })).await.is_err() || bytes.is_empty() {
            return;
        }
        total_bytes = 0;
    }
}

/// Fetches an object into our store.
pub fn pull(shared: Arc<Shared>, object: ObjectId, address: String) {
    tokio::spawn(async move {
        let result = fetch(&shared, object, &address).await;
        shared.with(|core| core.on_pulled(object, &result));
    });
}

async fn fetch(shared: &Shared, object: ObjectId, address: &str) -> Result<u64, String> {
    let lost =
        |cause: &str| format!("object {object} could not be fetched from the node at {address}: {cause}");
    let mut client = shared.peers.client(address).await?;
    let request = shared.peers.request(FetchObjectRequest { object_id: object.to_bytes() });
    let mut pieces =
        client.fetch_object(request).await.map_err(|status| lost(status.message()))?.into_inner();
    let first = pieces
        .message()
        .await
        .map_err(|status| lost(status.message()))?
        .ok_or_else(|| lost("nothing came"))?;
    let total = first.total_bytes;
    let mut writer = shared.store.writer(object, total).map_err(|error| lost(&error.to_string()))?;
    let mut filled = 0;
    let mut piece = Some(first);
    while let Some(ObjectChunk { data, .. }) = piece {
        let room = writer
            .bytes_mut()
            .get_mut(filled..filled + data.len())
            .ok_or_else(|| lost("it is longer than was said"))?;
        room.copy_from_slice(&data);
        filled += data.len();
        piece = pieces.message().await.map_err(|status| lost(status.message()))?;
    }
    if filled as u64 != total {
        return Err(lost(&format!("{filled} of {total} bytes came")));
    }
    writer.seal().map_err(|error| lost(&error.to_string()))?;
    Ok(total)
}
