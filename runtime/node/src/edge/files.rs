//! Programs and debug information on their way between nodes: in pieces, and the hash of all of them last.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use futures::{Stream, StreamExt};
use manta_packages::Hasher;
use manta_proto::{limits::CHUNK_BYTES, v1::FileChunk};
use tempfile::NamedTempFile;
use tokio::{io::AsyncWriteExt, sync::mpsc};
use tonic::Status;

use crate::limits::PIECE_TIMEOUT;

/// A file that has come whole, and goes if it is not put anywhere.
pub struct Received {
    pub file: NamedTempFile,
    /// In hexadecimal.
    pub sha256: String,
    pub bytes: u64,
}

/// Gives out a file, as fast as it is read.
pub fn send(file: File, sender: mpsc::Sender<Result<FileChunk, Status>>) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_all(&file, &sender) {
            let status = Status::internal(format!("it cannot be read: {error}"));
            // Who asked may have gone.
            let _gone = sender.blocking_send(Err(status));
        }
    });
}

fn send_all(mut file: &File, sender: &mpsc::Sender<Result<FileChunk, Status>>) -> io::Result<()> {
    let mut total_bytes = file.metadata()?.len();
    let mut hasher = Hasher::default();
    loop {
        let mut data = Vec::with_capacity(CHUNK_BYTES);
        Read::by_ref(&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut data)?;
        if data.is_empty() {
            let last = FileChunk { total_bytes, sha256: hasher.finish(), ..FileChunk::default() };
            let _gone = sender.blocking_send(Ok(last));
            return Ok(());
        }
        hasher.update(&data);
        let piece = FileChunk { total_bytes, data: data.into(), sha256: String::new() };
        if sender.blocking_send(Ok(piece)).is_err() {
            return Ok(());
        }
        total_bytes = 0;
    }
}

/// Takes a file into a folder.
///
/// # Errors
/// With the cause, as a part of a sentence: it is too large, does not come whole, or cannot be written.
pub async fn receive(
    pieces: impl Stream<Item = Result<FileChunk, Status>>,
    folder: &Path,
    bytes_max: u64,
) -> Result<Received, String> {
    let mut pieces = std::pin::pin!(pieces);
    let cannot = |error: io::Error| unwritable(folder, &error);
    let file = new_file(folder)?;
    let mut writer = tokio::fs::File::from_std(file.reopen().map_err(cannot)?);
    let mut hasher = Hasher::default();
    let (mut bytes, mut total) = (0, None);
    loop {
        let piece = tokio::time::timeout(PIECE_TIMEOUT, pieces.next()).await;
        let piece = piece.map_err(|_| format!("nothing came for {} s", PIECE_TIMEOUT.as_secs()))?;
        let piece = piece.ok_or_else(|| format!("only {bytes} bytes came"))?;
        let piece = piece.map_err(|status| status.message().to_owned())?;
        let total = *total.get_or_insert(piece.total_bytes);
        if total > bytes_max {
            return Err(format!("it has {total} bytes; the limit is {bytes_max}"));
        }
        bytes += piece.data.len() as u64;
        if bytes > total {
            return Err(format!("more came than the {total} bytes that were said"));
        }
        if piece.data.is_empty() {
            writer.flush().await.map_err(cannot)?;
            let sha256 = hasher.finish();
            if bytes != total || sha256 != piece.sha256 {
                return Err(format!("it did not arrive as it was sent ({bytes} of {total} bytes)"));
            }
            return Ok(Received { file, sha256, bytes });
        }
        hasher.update(&piece.data);
        writer.write_all(&piece.data).await.map_err(cannot)?;
        // The write goes on in the background; its failure must be this piece's.
        writer.flush().await.map_err(cannot)?;
    }
}

/// Copies a file of this machine into a folder. Blocks.
///
/// # Errors
/// As in [`receive`].
pub fn copy(mut source: File, folder: &Path, bytes_max: u64) -> Result<Received, String> {
    let cannot_read = |error: io::Error| format!("it cannot be read: {error}");
    let mut file = new_file(folder)?;
    let total = source.metadata().map_err(cannot_read)?.len();
    if total > bytes_max {
        return Err(format!("it has {total} bytes; the limit is {bytes_max}"));
    }
    let mut hasher = Hasher::default();
    let mut piece = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = source.read(&mut piece).map_err(cannot_read)?;
        if read == 0 {
            return Ok(Received { file, sha256: hasher.finish(), bytes });
        }
        bytes += read as u64;
        if bytes > bytes_max {
            return Err(format!("it has more than {bytes_max} bytes, which is the limit"));
        }
        hasher.update(&piece[..read]);
        file.write_all(&piece[..read]).map_err(|error| unwritable(folder, &error))?;
    }
}

fn new_file(folder: &Path) -> Result<NamedTempFile, String> {
    let made = std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::Builder::new().prefix(".").suffix(".part").tempfile_in(folder));
    made.map_err(|error| unwritable(folder, &error))
}

/// Why nothing can be kept in a folder, and what to do.
pub fn unwritable(folder: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space there",
        _ => "",
    };
    format!("it cannot be stored in {}: {error}{advice}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::wrappers::ReceiverStream;

    const NO_LIMIT: u64 = u64::MAX;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        file
    }

    fn pieces_of(bytes: &[u8]) -> Vec<FileChunk> {
        let (sender, mut receiver) = mpsc::channel(100);
        send_all(&file_of(bytes), &sender).unwrap();
        drop(sender);
        std::iter::from_fn(move || receiver.blocking_recv()).map(Result::unwrap).collect()
    }

    async fn take(
        pieces: Vec<Result<FileChunk, Status>>,
        folder: &Path,
        most: u64,
    ) -> Result<Received, String> {
        receive(tokio_stream::iter(pieces), folder, most).await
    }

    fn content() -> Vec<u8> {
        (0..CHUNK_BYTES * 2 + 17).map(|at| (at % 251) as u8).collect()
    }

    #[tokio::test]
    async fn a_file_arrives_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [content(), Vec::new(), vec![7; CHUNK_BYTES]] {
            let (sender, receiver) = mpsc::channel(2);
            send(file_of(&bytes), sender);
            let received = receive(ReceiverStream::new(receiver), folder.path(), NO_LIMIT).await.unwrap();
            assert_eq!(std::fs::read(received.file.path()).unwrap(), bytes);
            let copied = copy(file_of(&bytes), folder.path(), NO_LIMIT).unwrap();
            assert_eq!((copied.sha256, copied.bytes), (received.sha256, received.bytes));
        }
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing stays that nobody has put anywhere"
        );
    }

    #[tokio::test]
    async fn what_is_damaged_cut_or_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pieces = tokio::task::spawn_blocking(|| pieces_of(&content())).await.unwrap();
        let fails = async |change: fn(&mut Vec<Result<FileChunk, Status>>), most: u64| {
            let mut changed = pieces.iter().cloned().map(Ok).collect();
            change(&mut changed);
            take(changed, folder.path(), most).await.err().expect("it must not be taken")
        };
        let damaged = fails(
            |pieces| {
                let piece = pieces[1].as_mut().unwrap();
                let mut data = piece.data.to_vec();
                data[5] ^= 1;
                piece.data = data.into();
            },
            NO_LIMIT,
        );
        assert!(damaged.await.contains("did not arrive as it was sent"));
        let swapped =
            fails(|pieces| pieces.last_mut().unwrap().as_mut().unwrap().sha256 = "0".repeat(64), NO_LIMIT);
        assert!(swapped.await.contains("did not arrive as it was sent"));
        let cut = fails(|pieces| pieces.truncate(2), NO_LIMIT).await;
        assert_eq!(cut, format!("only {} bytes came", 2 * CHUNK_BYTES));
        let died = fails(|pieces| pieces[2] = Err(Status::unavailable("connection reset")), NO_LIMIT).await;
        assert_eq!(died, "connection reset");
        let longer = fails(|pieces| pieces[0].as_mut().unwrap().total_bytes = 5, NO_LIMIT).await;
        assert_eq!(longer, "more came than the 5 bytes that were said");
        let too_large = fails(|_| {}, 1000).await;
        assert_eq!(too_large, format!("it has {} bytes; the limit is 1000", content().len()));
        let too_large = copy(file_of(&content()), folder.path(), 1000).err().unwrap();
        assert_eq!(too_large, format!("it has {} bytes; the limit is 1000", content().len()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let Some(_small) = SmallDisk::on(folder.path()) else { return };
        let pieces = tokio::task::spawn_blocking(|| pieces_of(&content())).await.unwrap();
        let sentence =
            take(pieces.into_iter().map(Ok).collect(), folder.path(), NO_LIMIT).await.err().unwrap();
        assert!(
            sentence.contains("No space left on device") && sentence.ends_with("free some space there"),
            "{sentence}"
        );
        let sentence = copy(file_of(&content()), folder.path(), NO_LIMIT).err().unwrap();
        assert!(sentence.contains("No space left on device"), "{sentence}");
    }

    /// A disk of half a megabyte.
    struct SmallDisk(std::path::PathBuf);

    impl SmallDisk {
        fn on(folder: &Path) -> Option<Self> {
            let mount = std::process::Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
                .arg(folder)
                .output();
            match mount {
                Ok(done) if done.status.success() => Some(Self(folder.to_owned())),
                other => {
                    eprintln!("left out: a small disk cannot be mounted here ({other:?})");
                    None
                }
            }
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let done = std::process::Command::new("umount").arg(&self.0).status().unwrap();
            assert!(done.success());
        }
    }
}
