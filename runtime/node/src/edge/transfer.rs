//! Objects on their way from one node's store to another's.

use std::{collections::HashSet, sync::Arc, time::Instant};

use bytes::Bytes;
use manta_object_store::{StoreError, Writer};
use manta_proto::{
    ids::{JobId, ObjectId},
    limits::CHUNK_BYTES,
    v1::{FetchObjectRequest, ObjectChunk},
};
use tokio::sync::mpsc;
use tonic::Status;

use super::Shared;
use crate::core::NotHere;

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

/// The bytes of an object of this node, wherever they are.
pub async fn read(shared: &Arc<Shared>, object: ObjectId) -> Result<Bytes, Status> {
    let failed = |error: StoreError| Status::internal(error.to_string());
    if let Some(bytes) = shared.store.open(object).map_err(failed)? {
        return Ok(bytes);
    }
    let reader = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || reader.spilled.read(object)).await;
    match read.map_err(|error| Status::internal(error.to_string()))? {
        Ok(bytes) => Ok(bytes),
        // It may have been restored meanwhile.
        Err(error) => shared
            .store
            .open(object)
            .map_err(failed)?
            .ok_or_else(|| Status::not_found(format!("object {object} is not on this node ({error})"))),
    }
}

/// A place for an object in the store, once there is room; `None` when it has to go to disk.
async fn place(shared: &Arc<Shared>, object: ObjectId, bytes: u64) -> Result<Option<Writer>, StoreError> {
    match shared.store.writer(object, bytes) {
        Err(StoreError::NoRoom { .. }) => {}
        Err(StoreError::TooLarge { .. }) => return Ok(None),
        other => return other.map(Some),
    }
    if !shared.wait_for_room(bytes).await {
        return Ok(None);
    }
    match shared.store.writer_in_room(object, bytes) {
        Err(StoreError::NoRoom { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// Runs what reads or writes much on a thread of its own.
async fn blocking(work: impl FnOnce() -> Result<(), StoreError> + Send + 'static) -> Result<(), NotHere> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| {
            let disk_full = matches!(error, StoreError::DiskFull { .. });
            NotHere { sentence: error.to_string(), disk_full }
        }),
        Err(error) => Err(error.to_string().into()),
    }
}

/// Writes an object to disk.
pub fn spill(shared: Arc<Shared>, object: ObjectId) {
    tokio::spawn(async move {
        let writer = Arc::clone(&shared);
        let result = blocking(move || match writer.store.open(object)? {
            Some(bytes) => writer.spilled.write(object, &bytes),
            // It was freed meanwhile.
            None => Ok(()),
        });
        let result = result.await;
        shared.with(|core| core.on_spilled(object, result.map_err(|error| error.sentence)));
    });
}

/// Reads an object from disk into the store, or sees that it can be read where it is.
pub fn restore(shared: Arc<Shared>, object: ObjectId, size: u64) {
    tokio::spawn(async move {
        let result = match place(&shared, object, size).await {
            Ok(Some(mut writer)) => {
                let reader = Arc::clone(&shared);
                let read = blocking(move || {
                    reader.spilled.read_into(object, writer.bytes_mut())?;
                    writer.seal()
                });
                read.await.map(|()| true).map_err(|error| error.sentence)
            }
            Ok(None) => shared.spilled.length(object).map(|_| false).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        shared.with(|core| core.on_restored(object, &result));
    });
}

/// Finds what processes have mapped.
pub fn find_mapped(shared: Arc<Shared>, pids: Vec<u32>, missing: u64) {
    tokio::task::spawn_blocking(move || {
        // A process that is gone has nothing mapped.
        let mapped: HashSet<ObjectId> =
            pids.iter().filter_map(|pid| shared.store.mapped_by(*pid).ok()).flatten().collect();
        shared.store.recount(Instant::now());
        shared.with(|core| core.on_mapped(&mapped, missing));
    });
}

/// Fetches an object into our store, or onto our disk, from the first peer that has it.
pub fn pull(shared: Arc<Shared>, object: ObjectId, addresses: Vec<String>) {
    tokio::spawn(async move {
        let mut result = Err(format!("object {object} is on no node that is known").into());
        for address in addresses {
            result = fetch(&shared, object, &address).await;
            // For another copy there is no more room.
            if result.as_ref().map_or_else(|error| error.disk_full, |_| true) {
                break;
            }
        }
        shared.with(|core| core.on_pulled(object, &result));
    });
}

/// Takes over an object of a node that leaves.
///
/// # Errors
/// With a sentence, when it cannot be fetched.
pub async fn take_over(shared: &Arc<Shared>, object: ObjectId, job: JobId, from: &str) -> Result<(), String> {
    if shared.with(|core| core.adopt_object(object, job)) {
        return Ok(());
    }
    let (size, spilled) = fetch(shared, object, from).await.map_err(|error| error.sentence)?;
    shared.with(|core| core.on_taken_over(object, job, size, spilled));
    Ok(())
}

async fn fetch(shared: &Arc<Shared>, object: ObjectId, address: &str) -> Result<(u64, bool), NotHere> {
    let sentence =
        |cause: &str| format!("object {object} could not be fetched from the node at {address}: {cause}");
    let lost = |cause: &str| NotHere::from(sentence(cause));
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
    let length = usize::try_from(total).map_err(|error| lost(&error.to_string()))?;
    let mut writer = place(shared, object, total).await.map_err(|error| lost(&error.to_string()))?;
    let mut for_disk = if writer.is_none() { vec![0; length] } else { Vec::new() };
    let mut filled = 0;
    let mut piece = Some(first);
    while let Some(ObjectChunk { data, .. }) = piece {
        let target = writer.as_mut().map_or(&mut for_disk[..], Writer::bytes_mut);
        let room =
            target.get_mut(filled..filled + data.len()).ok_or_else(|| lost("it is longer than was said"))?;
        room.copy_from_slice(&data);
        filled += data.len();
        piece = pieces.message().await.map_err(|status| lost(status.message()))?;
    }
    if filled != length {
        return Err(lost(&format!("{filled} of {total} bytes came")));
    }
    match writer {
        Some(writer) => writer.seal().map_err(|error| lost(&error.to_string()))?,
        None => {
            let disk = shared.spilled.clone();
            let written = blocking(move || disk.write(object, &for_disk)).await;
            written.map_err(|error| NotHere { sentence: sentence(&error.sentence), ..error })?;
            return Ok((total, true));
        }
    }
    Ok((total, false))
}
