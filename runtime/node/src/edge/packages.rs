//! Unpacked packages: each is fetched once from the head, and stays while anything uses it, and for as long as there is room.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use manta_packages::{Hasher, unpack};
use manta_proto::{
    PROTOCOL_VERSION, connect,
    limits::MESSAGE_BYTES_MAX,
    v1::{GetPackageRequest, head_client::HeadClient},
};
use tokio::{io::AsyncWriteExt, sync::Mutex};

use super::Shared;
use crate::limits::PACKAGES_BYTES_MAX;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The packages of this node.
#[derive(Default)]
pub struct Packages {
    known: Mutex<HashMap<String, Unpacked>>,
}

struct Unpacked {
    folder: PathBuf,
    bytes: u64,
    used: Instant,
    /// Copies of it are with those who use the package.
    hold: Arc<()>,
}

/// The folder of a package, and what keeps it there.
pub async fn unpacked(shared: &Arc<Shared>, id: &str) -> Result<(PathBuf, Arc<dyn Send + Sync>), String> {
    // One after the other: a second wish for the same package finds it there.
    let mut known = shared.packages.known.lock().await;
    if let Some(package) = known.get_mut(id) {
        package.used = Instant::now();
        let hold: Arc<dyn Send + Sync> = Arc::<()>::clone(&package.hold);
        return Ok((package.folder.clone(), hold));
    }
    let all = shared.session_dir.join("packages");
    let failed = |error: io::Error| format!("a package cannot be stored on this node: {error}");
    fs::create_dir_all(&all).map_err(failed)?;
    let file = tempfile::NamedTempFile::new_in(&all).map_err(failed)?;
    fetch(shared, id, file.path()).await?;
    let folder = all.join(id);
    let new = all.join(format!("{id}.new"));
    let target = folder.clone();
    let bytes = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&new).map_err(failed)?;
        let bytes = unpack(file.path(), &new).map_err(|error| error.to_string())?;
        fs::rename(&new, &target).map_err(failed)?;
        Ok::<_, String>(bytes)
    });
    let bytes = bytes.await.map_err(|error| format!("a package cannot be unpacked: {error}"))??;
    let hold = Arc::new(());
    known.insert(
        id.to_owned(),
        Unpacked { folder: folder.clone(), bytes, used: Instant::now(), hold: Arc::clone(&hold) },
    );
    make_room(&mut known, PACKAGES_BYTES_MAX);
    Ok((folder, hold))
}

/// Removes what nothing uses, the oldest first, until the rest has room.
fn make_room(known: &mut HashMap<String, Unpacked>, bytes_max: u64) {
    let mut total: u64 = known.values().map(|package| package.bytes).sum();
    let unused = known.iter().filter(|(_, package)| Arc::strong_count(&package.hold) == 1);
    let mut unused: Vec<_> = unused.map(|(id, package)| (package.used, id.clone())).collect();
    unused.sort();
    for (_, id) in unused {
        if total <= bytes_max {
            return;
        }
        if let Some(package) = known.remove(&id) {
            total -= package.bytes;
            if let Err(error) = fs::remove_dir_all(&package.folder) {
                tracing::warn!(folder = %package.folder.display(), %error, "an unused package could not be removed");
            }
        }
    }
}

async fn fetch(shared: &Shared, id: &str, path: &Path) -> Result<(), String> {
    let address = shared.read(|core| core.me.head_address.clone());
    let cannot =
        |cause: &str| format!("the package {id} cannot be fetched from the head at {address}: {cause}");
    let channel = connect::tcp(&address, &shared.token, CONNECT_LIMIT)
        .await
        .map_err(|error| cannot(&error.to_string()))?;
    let mut head = HeadClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = GetPackageRequest { protocol_version: PROTOCOL_VERSION, id: id.to_owned() };
    let mut pieces = head.get_package(request).await.map_err(|status| cannot(status.message()))?.into_inner();
    let failed = |error: io::Error| cannot(&error.to_string());
    let mut file = tokio::fs::File::create(path).await.map_err(failed)?;
    let mut hasher = Hasher::default();
    while let Some(piece) = pieces.message().await.map_err(|status| cannot(status.message()))? {
        hasher.update(&piece.data);
        file.write_all(&piece.data).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    if hasher.finish() != id {
        return Err(cannot("it did not arrive as it was sent"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_oldest_of_the_rest_goes() {
        let all = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        let mut known = HashMap::new();
        for (age, id) in ["used", "old", "new"].into_iter().enumerate() {
            let folder = all.path().join(id);
            fs::create_dir(&folder).unwrap();
            let used = begin + Duration::from_secs(age as u64);
            known.insert(id.to_owned(), Unpacked { folder, bytes: 40, used, hold: Arc::new(()) });
        }
        let _user = Arc::clone(&known["used"].hold);
        make_room(&mut known, 100);
        let mut left: Vec<_> = known.keys().map(String::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["new", "used"]);
        assert!(!all.path().join("old").exists() && all.path().join("used").exists());
        make_room(&mut known, 0);
        assert_eq!(known.len(), 1, "what is in use stays even without room");
    }
}
