//! Packages of environments, as files at the head: put once, read by every node that needs them.
//!
//! What is kept is bounded; the package that was used longest ago goes first, but never one that a running job has named.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use manta_packages::{Hasher, PACKAGE_BYTES_MAX, is_package_id};
use manta_proto::{limits::CHUNK_BYTES, v1::PackageChunk};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tonic::{Status, Streaming};

/// Bytes of all packages together.
const KEPT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Pieces of a package that wait for a slow reader.
const PIECES_MAX: usize = 8;

/// The packages that this head has.
#[derive(Default)]
pub(crate) struct Packages {
    folder: OnceLock<PathBuf>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    known: HashMap<String, Entry>,
    uses: u64,
    uploads: u64,
}

struct Entry {
    bytes: u64,
    last_use: u64,
}

impl Kept {
    fn touch(&mut self, id: &str) -> bool {
        self.uses += 1;
        let uses = self.uses;
        self.known.get_mut(id).map(|entry| entry.last_use = uses).is_some()
    }

    /// Takes a package in, and says which ones make room for it; an error when there is none.
    fn make_room(
        &mut self,
        id: &str,
        bytes: u64,
        bytes_max: u64,
        in_use: &HashSet<String>,
    ) -> Result<Vec<String>, Status> {
        let mut total = bytes + self.known.values().map(|entry| entry.bytes).sum::<u64>();
        let mut by_age: Vec<_> = self.known.iter().map(|(id, entry)| (entry.last_use, id.clone())).collect();
        by_age.sort_unstable();
        let mut gone = Vec::new();
        for (_, oldest) in by_age.into_iter().filter(|(_, other)| !in_use.contains(other)) {
            if total <= bytes_max {
                break;
            }
            total -= self.known.get(&oldest).map_or(0, |entry| entry.bytes);
            gone.push(oldest);
        }
        if total > bytes_max {
            return Err(Status::resource_exhausted(format!(
                "the head has no room for a package of {bytes} bytes: running jobs need most of the {bytes_max} that it keeps; wait for \
                 them, or make the package smaller with 'excludes'"
            )));
        }
        for id in &gone {
            self.known.remove(id);
        }
        self.uses += 1;
        self.known.insert(id.to_owned(), Entry { bytes, last_use: self.uses });
        Ok(gone)
    }
}

impl Packages {
    /// From now on they are kept in this folder. Those that a head before has left there are known again.
    pub fn keep_in(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        *self.kept() = found_in(folder)?;
        // A second call would change nothing, and nobody makes one.
        let _first = self.folder.set(folder.to_owned());
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> Result<&Path, Status> {
        self.folder
            .get()
            .map(PathBuf::as_path)
            .ok_or_else(|| Status::unavailable("this head keeps no packages"))
    }

    /// The cluster has ended: nothing of it is to be found again.
    pub fn remove_all(&self) {
        if let Some(folder) = self.folder.get()
            && let Err(error) = fs::remove_dir_all(folder)
        {
            tracing::warn!(%error, folder = %folder.display(), "the packages of the ended cluster could not be removed");
        }
    }

    /// Those of the packages that have to be put.
    pub fn missing(&self, ids: Vec<String>) -> Vec<String> {
        let mut kept = self.kept();
        ids.into_iter().filter(|id| !kept.touch(id)).collect()
    }

    /// Takes a package in.
    pub async fn put(
        &self,
        mut chunks: Streaming<PackageChunk>,
        in_use: HashSet<String>,
    ) -> Result<(), Status> {
        let folder = self.folder()?;
        let first =
            chunks.message().await?.ok_or_else(|| Status::invalid_argument("a package has a first piece"))?;
        super::service::check_version(first.protocol_version)?;
        let (id, total) = (first.id.clone(), first.total_bytes);
        if !is_package_id(&id) {
            return Err(Status::invalid_argument(format!(
                "'{id}' is no SHA-256 in hex, which is what a package is known by"
            )));
        }
        if total > PACKAGE_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "a package has at most {PACKAGE_BYTES_MAX} bytes, and this one {total}"
            )));
        }
        let number = {
            let mut kept = self.kept();
            kept.uploads += 1;
            kept.uploads
        };
        let path = folder.join(format!("{id}.{number}"));
        let received = receive(&path, first, &mut chunks, &id, total).await;
        let stored = received.and_then(|()| {
            let gone = self.kept().make_room(&id, total, KEPT_BYTES_MAX, &in_use)?;
            for id in gone {
                remove(&folder.join(id));
            }
            fs::rename(&path, folder.join(&id)).map_err(|error| cannot("be stored", &error))
        });
        if stored.is_err() {
            remove(&path);
        }
        stored
    }

    /// Gives a package out, as fast as it is read.
    pub async fn get(&self, id: &str) -> Result<mpsc::Receiver<Result<PackageChunk, Status>>, Status> {
        let folder = self.folder()?;
        if !self.kept().touch(id) {
            return Err(Status::not_found(format!(
                "the package {id} is not at the head: it made room for others, or the head started anew; start the job again"
            )));
        }
        let mut file = File::open(folder.join(id)).await.map_err(|error| cannot("be read", &error))?;
        let mut total_bytes = file.metadata().await.map_err(|error| cannot("be read", &error))?.len();
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            loop {
                let mut data = vec![0; CHUNK_BYTES];
                let chunk = match file.read(&mut data).await {
                    Ok(0) if total_bytes == 0 => return,
                    Ok(read) => {
                        data.truncate(read);
                        Ok(PackageChunk { total_bytes, data: data.into(), ..PackageChunk::default() })
                    }
                    Err(error) => Err(cannot("be read", &error)),
                };
                total_bytes = 0;
                if chunk.is_err() | sender.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

/// The packages in a folder, the one that was stored first as the one to go first. What was cut off in the middle is removed.
fn found_in(folder: &Path) -> io::Result<Kept> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_package_id(&name) {
            let metadata = entry.metadata()?;
            found.push((metadata.modified()?, name, metadata.len()));
        } else {
            remove(&entry.path());
        }
    }
    found.sort_unstable();
    let mut kept = Kept::default();
    for (_, id, bytes) in found {
        kept.uses += 1;
        let last_use = kept.uses;
        kept.known.insert(id, Entry { bytes, last_use });
    }
    Ok(kept)
}

async fn receive(
    path: &Path,
    first: PackageChunk,
    chunks: &mut Streaming<PackageChunk>,
    id: &str,
    total: u64,
) -> Result<(), Status> {
    let failed = |error: io::Error| cannot("be stored", &error);
    let mut file = File::create(path).await.map_err(failed)?;
    let (mut hasher, mut received, mut next) = (Hasher::default(), 0, Some(first));
    while let Some(chunk) = next {
        received += chunk.data.len() as u64;
        if received > total {
            break;
        }
        hasher.update(&chunk.data);
        file.write_all(&chunk.data).await.map_err(failed)?;
        next = chunks.message().await?;
    }
    file.flush().await.map_err(failed)?;
    if received != total || hasher.finish() != id {
        return Err(Status::data_loss(format!(
            "the package {id} did not arrive as it was sent ({received} of {total} bytes came, or others than its name says); try again"
        )));
    }
    Ok(())
}

fn cannot(what: &str, error: &io::Error) -> Status {
    Status::internal(format!("a package cannot {what} at the head: {error}"))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a package could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_that_was_used_longest_ago_makes_room_unless_a_job_needs_it() {
        let mut kept = Kept::default();
        let none = HashSet::new();
        for id in ["a", "b", "c"] {
            assert!(kept.make_room(id, 30, 100, &none).unwrap().is_empty());
        }
        assert!(kept.touch("a"));
        assert_eq!(kept.make_room("d", 30, 100, &none).unwrap(), ["b"]);
        let needed = HashSet::from(["c".to_owned()]);
        assert_eq!(kept.make_room("e", 30, 100, &needed).unwrap(), ["a"]);
        let all = ["c", "d", "e"].map(str::to_owned).into();
        assert!(kept.make_room("f", 30, 100, &all).unwrap_err().message().contains("no room for a package"));
        assert!(!kept.touch("b"));
    }
    #[test]
    fn a_new_head_finds_the_packages_of_the_one_before_and_no_half_ones() {
        let folder = tempfile::tempdir().unwrap();
        let whole = "a".repeat(64);
        fs::write(folder.path().join(&whole), b"twelve bytes").unwrap();
        fs::write(folder.path().join(format!("{}.1", "b".repeat(64))), b"half").unwrap();
        let packages = Packages::default();
        packages.keep_in(folder.path()).unwrap();
        assert_eq!(packages.missing(vec![whole.clone(), "b".repeat(64)]), ["b".repeat(64)]);
        assert_eq!(packages.kept().known[&whole].bytes, 12);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        packages.remove_all();
        assert!(!folder.path().exists());
    }
}
