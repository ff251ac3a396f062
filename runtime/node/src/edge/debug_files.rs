//! Debug information by build-id: looked for on this machine, then on all other nodes; what was fetched is kept for all nodes and
//! debug agents of this user. What is in a file nobody here reads, beyond its build-id and whether it has any.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env, fs,
    fs::File,
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures::{StreamExt, stream};
use manta_proto::{
    ids::ProcessId,
    v1::{DebugFileKind, FetchFileRequest, FileChunk, WantedDebugFile, fetch_file_request::Wanted},
};
use tonic::{Code, Status, Streaming};

use super::{
    Shared,
    files::{self, Received},
};
use crate::{
    core::DebugFile,
    elf,
    limits::{DEBUG_FILE_BYTES_MAX, DEBUG_FILE_MISSING, DEBUG_FILES_BYTES_MAX, PEERS_ASKED_AT_ONCE},
};

/// More directories of debug files, separated by colons; the native engine looks there too.
const PATH_VARIABLE: &str = "MANTA_DEBUG_PATH";
/// Where distributions put debug files.
const SYSTEM_DIRECTORY: &str = "/usr/lib/debug";
const DELETED: &str = " (deleted)";
/// Names of nodes that a sentence has.
const NAMES_MAX: usize = 8;
/// Files that nobody had and that are remembered.
const MISSING_MAX: usize = 1000;
/// Who writes longer at a file was killed.
const WRITE_TIME_MAX: Duration = Duration::from_secs(3600);

/// What this node keeps, and knows to be nowhere.
pub struct DebugFiles {
    folder: PathBuf,
    missing: Mutex<HashMap<DebugFile, (Instant, String)>>,
    /// Who wants one that is on its way waits for it.
    coming: Mutex<HashMap<DebugFile, Arc<tokio::sync::Mutex<()>>>>,
}

impl DebugFiles {
    /// Where caches of this user are, or in the node's own folder when there is no home.
    pub fn new(session_dir: &Path) -> Self {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        let folder = base.map_or_else(|| session_dir.join("debug"), |base| base.join("manta/debug"));
        Self { folder, missing: Mutex::default(), coming: Mutex::default() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ending(kind: DebugFileKind) -> &'static str {
    match kind {
        DebugFileKind::DebugInformation => "debug",
        DebugFileKind::SplitPackage => "dwp",
    }
}

/// Looks for a file; the core hears of the outcome.
pub fn find(shared: Arc<Shared>, target: ProcessId, file: DebugFile) {
    tokio::spawn(async move {
        let found = found(&shared, &file).await.map(|path| path.display().to_string());
        shared.with(|core| core.on_debug_file_found(target, &file, found));
    });
}

async fn found(shared: &Arc<Shared>, file: &DebugFile) -> Result<PathBuf, String> {
    let turn = Arc::clone(lock(&shared.debug_files.coming).entry(file.clone()).or_default());
    let _turn = turn.lock().await;
    let missing = lock(&shared.debug_files.missing).get(file).cloned();
    if let Some((_, sentence)) = missing.filter(|(since, _)| since.elapsed() < DEBUG_FILE_MISSING) {
        return Err(sentence);
    }
    let result = match on_this_machine(shared, file).await {
        Some(path) => Ok(path),
        None => fetch(shared, file).await,
    };
    if let Err(sentence) = &result {
        let mut missing = lock(&shared.debug_files.missing);
        missing.retain(|_, (since, _)| since.elapsed() < DEBUG_FILE_MISSING);
        if missing.len() < MISSING_MAX {
            missing.insert(file.clone(), (Instant::now(), sentence.clone()));
        }
    }
    lock(&shared.debug_files.coming).remove(file);
    result
}

/// A file for another node.
pub async fn open(shared: &Arc<Shared>, wanted: &WantedDebugFile) -> Result<File, Status> {
    let file = DebugFile { build_id: wanted.build_id.to_vec(), kind: wanted.kind() };
    let none = || Status::not_found("this node has no such debug information");
    let path = on_this_machine(shared, &file).await.ok_or_else(none)?;
    File::open(path).map_err(|_| none())
}

async fn on_this_machine(shared: &Arc<Shared>, file: &DebugFile) -> Option<PathBuf> {
    let (pids, cache, file) =
        (shared.read(crate::core::Core::attached_pids), shared.debug_files.folder.clone(), file.clone());
    let look = tokio::task::spawn_blocking(move || look_for(&file, &cache, &pids));
    look.await.unwrap_or_else(|error| {
        tracing::error!(%error, "debug information cannot be looked for");
        None
    })
}

/// Looks in the cache, in directories of debug files, and at what drivers and workers have loaded and what lies beside that.
fn look_for(file: &DebugFile, cache: &Path, pids: &[u32]) -> Option<PathBuf> {
    let own = env::var_os(PATH_VARIABLE);
    let directories = own.iter().flat_map(env::split_paths).chain([PathBuf::from(SYSTEM_DIRECTORY)]);
    let kept = elf::place_of(cache, &file.build_id, ending(file.kind));
    let mut places =
        directories.map(|directory| elf::place_of(&directory, &file.build_id, ending(file.kind)));
    if is_right(&kept, file) {
        // Tells the one that makes room that it is in use.
        if let Err(error) = File::open(&kept).and_then(|kept| kept.set_modified(SystemTime::now())) {
            tracing::warn!(path = %kept.display(), %error, "a file with debug information may go although it is in use");
        }
        return Some(kept);
    }
    places.find(|place| is_right(place, file)).or_else(|| among_loaded(file, pids))
}

/// A `.dwp` file has no build-id of its own: the engine sees by the ids of its units whether it belongs to the program.
fn is_right(path: &Path, file: &DebugFile) -> bool {
    match file.kind {
        DebugFileKind::DebugInformation => elf::look_at(path).is_some_and(|look| {
            look.has_debug_information && look.build_id.as_deref() == Some(&file.build_id)
        }),
        DebugFileKind::SplitPackage => path.is_file(),
    }
}

/// A file that a process has loaded: its path, and where it can be opened whatever has become of that.
struct Loaded {
    path: PathBuf,
    open: PathBuf,
}

fn among_loaded(file: &DebugFile, pids: &[u32]) -> Option<PathBuf> {
    let mut seen = BTreeSet::new();
    for pid in pids {
        for loaded in loaded_by(*pid) {
            let Ok(metadata) = fs::metadata(&loaded.open) else { continue };
            if !seen.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            let Some(look) = elf::look_at(&loaded.open) else { continue };
            if look.build_id.as_deref() != Some(&file.build_id) {
                continue;
            }
            let found = match file.kind {
                DebugFileKind::DebugInformation if look.has_debug_information => Some(loaded.open),
                DebugFileKind::DebugInformation => {
                    beside(&loaded.path, &look).into_iter().find(|candidate| is_right(candidate, file))
                }
                DebugFileKind::SplitPackage => {
                    let mut package = loaded.path.into_os_string();
                    package.push(".dwp");
                    Some(PathBuf::from(package)).filter(|package| package.is_file())
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// Where the debug file that a stripped one names may lie.
fn beside(path: &Path, look: &elf::Look) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let link = look.debug_link.as_ref();
    link.map(|name| vec![folder.join(name), folder.join(".debug").join(name)]).unwrap_or_default()
}

/// The program of a process and its libraries, as the process sees them. A process that has ended has none.
fn loaded_by(pid: u32) -> Vec<Loaded> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let seen_from_here = |path: &str| {
        let path = path.strip_suffix(DELETED).unwrap_or(path);
        root.join(path.trim_start_matches('/'))
    };
    let mut loaded = Vec::new();
    let program = PathBuf::from(format!("/proc/{pid}/exe"));
    if let Ok(path) = fs::read_link(&program) {
        loaded.push(Loaded { path: seen_from_here(&path.to_string_lossy()), open: program });
    }
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    // proc_pid_maps(5): range, permissions, offset, device, inode, path.
    let code = maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let is_code = fields.nth(1)?.contains('x');
        let path = line.find('/').map(|at| &line[at..])?;
        is_code.then_some(path)
    });
    for path in code.collect::<BTreeSet<_>>() {
        let path = seen_from_here(path);
        loaded.push(Loaded { open: path.clone(), path });
    }
    loaded
}

/// Asks all other nodes, some at a time, and keeps what the first that has it sends whole.
async fn fetch(shared: &Arc<Shared>, file: &DebugFile) -> Result<PathBuf, String> {
    let (here, peers) = shared.read(|core| (core.name(), core.peers()));
    let mut answers = stream::iter(peers)
        .map(|(name, address)| async move {
            let answer = ask(shared, &address, file).await;
            (name, answer)
        })
        .buffer_unordered(PEERS_ASKED_AT_ONCE);
    let mut failures = BTreeMap::new();
    let mut without = BTreeSet::from([here]);
    while let Some((name, answer)) = answers.next().await {
        let cause = match answer {
            Ok(pieces) => match receive(&shared.debug_files.folder, file, pieces, DEBUG_FILE_BYTES_MAX).await
            {
                Ok(path) => return Ok(path),
                Err(cause) => cause,
            },
            Err(status) if status.code() == Code::NotFound => {
                without.insert(name);
                continue;
            }
            Err(status) => status.message().to_owned(),
        };
        failures.insert(name, cause);
    }
    Err(nowhere(file, &without, &failures))
}

async fn ask(shared: &Shared, address: &str, file: &DebugFile) -> Result<Streaming<FileChunk>, Status> {
    let mut client = shared.peers.client(address).await.map_err(Status::unavailable)?;
    let wanted = WantedDebugFile { build_id: file.build_id.clone().into(), kind: file.kind.into() };
    let request = FetchFileRequest { wanted: Some(Wanted::Debug(wanted)) };
    Ok(client.fetch_file(shared.peers.request(request)).await?.into_inner())
}

/// Takes a file into the cache, if it is what was asked for.
async fn receive(
    cache: &Path,
    file: &DebugFile,
    pieces: impl stream::Stream<Item = Result<FileChunk, Status>>,
    bytes_max: u64,
) -> Result<PathBuf, String> {
    let place = elf::place_of(cache, &file.build_id, ending(file.kind));
    let folder = place.parent().unwrap_or(cache).to_owned();
    let unwritable = |error: &io::Error| files::unwritable(&folder, error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| unwritable(&error))?;
    let Received { file: received, bytes, .. } = files::receive(pieces, &folder, bytes_max).await?;
    if !is_right(received.path(), file) {
        return Err("it is of another build, or has no debug information".to_owned());
    }
    received.persist(&place).map_err(|error| unwritable(&error.error))?;
    tracing::info!(file = %place.display(), bytes, "debug information has been fetched");
    if let Err(error) = make_room(cache, &place, DEBUG_FILES_BYTES_MAX) {
        tracing::warn!(folder = %cache.display(), %error, "no room can be made for debug information");
    }
    Ok(place)
}

/// Whom was asked in vain: a part of a sentence.
fn nowhere(file: &DebugFile, without: &BTreeSet<String>, failures: &BTreeMap<String, String>) -> String {
    let what = match file.kind {
        DebugFileKind::DebugInformation => "debug information",
        DebugFileKind::SplitPackage => "package (.dwp) of debug information",
    };
    let id = elf::hex(&file.build_id);
    let names: Vec<&str> = without.iter().take(NAMES_MAX).map(String::as_str).collect();
    let more = without.len().saturating_sub(NAMES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let mut sentence = format!("no {what} for the build-id {id} is on {}{more}", names.join(", "));
    for (name, cause) in failures.iter().take(NAMES_MAX) {
        sentence.push_str(&format!("; that of {name} cannot be had: {cause}"));
    }
    sentence
}

/// Removes what was not used for longest, but not the newest, until the rest has room; and what killed writers have left.
fn make_room(cache: &Path, newest: &Path, bytes_max: u64) -> io::Result<()> {
    let now = SystemTime::now();
    let mut kept = Vec::new();
    for folder in fs::read_dir(cache.join(".build-id"))? {
        for entry in fs::read_dir(folder?.path())? {
            let path = entry?.path();
            // Another node may have removed it in between.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let is_part = path.extension().is_some_and(|ending| ending == "part");
            if !is_part {
                kept.push((path != newest, used, metadata.len(), path));
            } else if now.duration_since(used).is_ok_and(|age| age > WRITE_TIME_MAX) {
                fs::remove_file(&path)?;
            }
        }
    }
    let mut total: u64 = kept.iter().map(|(_, _, bytes, _)| bytes).sum();
    kept.retain(|(may_go, ..)| *may_go);
    kept.sort();
    for (_, _, bytes, path) in kept {
        if total <= bytes_max {
            break;
        }
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        total -= bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    fn own() -> DebugFile {
        let build_id = elf::look_at(Path::new("/proc/self/exe")).unwrap().build_id.unwrap();
        DebugFile { build_id, kind: DebugFileKind::DebugInformation }
    }

    fn sent(path: &str) -> ReceiverStream<Result<FileChunk, Status>> {
        let (sender, receiver) = mpsc::channel(2);
        files::send(File::open(path).unwrap(), sender);
        receiver.into()
    }

    #[test]
    fn it_is_found_in_processes_and_in_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        let file = own();
        assert_eq!(look_for(&file, cache.path(), &[]), None);
        let found = look_for(&file, cache.path(), &[u32::MAX, std::process::id()]).unwrap();
        assert_eq!(found, Path::new(&format!("/proc/{}/exe", std::process::id())));
        let other = DebugFile { build_id: vec![1, 2, 3], kind: file.kind };
        assert_eq!(look_for(&other, cache.path(), &[std::process::id()]), None);
        let place = elf::place_of(cache.path(), &file.build_id, "debug");
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        // Another program under this name is not taken for it.
        fs::copy("/bin/true", &place).unwrap();
        assert_eq!(look_for(&file, cache.path(), &[]), None);
        fs::copy("/proc/self/exe", &place).unwrap();
        assert_eq!(look_for(&file, cache.path(), &[]), Some(place));
    }

    #[tokio::test]
    async fn what_comes_is_kept_only_if_it_is_what_was_asked_for() {
        let cache = tempfile::tempdir().unwrap();
        let file = own();
        let wrong = receive(cache.path(), &file, sent("/bin/true"), u64::MAX).await.unwrap_err();
        assert_eq!(wrong, "it is of another build, or has no debug information");
        let large = receive(cache.path(), &file, sent("/proc/self/exe"), 1000).await.unwrap_err();
        assert!(large.ends_with("the limit is 1000"), "{large}");
        let died = tokio_stream::iter([Err(Status::unavailable("the connection broke"))]);
        assert_eq!(receive(cache.path(), &file, died, u64::MAX).await.unwrap_err(), "the connection broke");
        assert_eq!(look_for(&file, cache.path(), &[]), None);
        let kept = receive(cache.path(), &file, sent("/proc/self/exe"), u64::MAX).await.unwrap();
        assert_eq!(look_for(&file, cache.path(), &[]).as_deref(), Some(&*kept));
        assert_eq!(fs::read_dir(kept.parent().unwrap()).unwrap().count(), 1, "no part of another stays");
    }

    #[test]
    fn the_cache_has_a_bound() {
        let cache = tempfile::tempdir().unwrap();
        let put = |id: u8, ending: &str, age: u64| {
            let path = elf::place_of(cache.path(), &[id, id], ending);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, [0; 100]).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
            path
        };
        let (old, older, newest) = (put(1, "debug", 100), put(2, "dwp", 200), put(3, "debug", 300));
        let (left, writing) = (put(4, "part", 2 * WRITE_TIME_MAX.as_secs()), put(5, "part", 1));
        make_room(cache.path(), &newest, 200).unwrap();
        assert!(old.exists() && !older.exists() && newest.exists());
        assert!(!left.exists() && writing.exists());
        make_room(cache.path(), &newest, 0).unwrap();
        assert!(!old.exists() && newest.exists());
    }

    #[test]
    fn who_was_asked_in_vain_is_named() {
        let file = DebugFile { build_id: vec![0xab, 0xcd], kind: DebugFileKind::DebugInformation };
        let nodes = |count| (1..=count).map(|node| format!("node-{node}")).collect::<BTreeSet<_>>();
        let failed = BTreeMap::from([("node-9".to_owned(), "it broke".to_owned())]);
        assert_eq!(
            nowhere(&file, &nodes(2), &failed),
            "no debug information for the build-id abcd is on node-1, node-2; that of node-9 cannot be had: it broke"
        );
        assert!(nowhere(&file, &nodes(10), &BTreeMap::new()).ends_with("node-7 and 2 more"));
    }
}
