//! Native programs of jobs. A worker runs the file that its driver runs: the one at its path where that is the same build, else a
//! copy of what the driver runs, fetched from the driver's node and kept under the hash of its content.
//!
//! A build that replaces the file while the driver runs changes nothing for its job: the driver's node reads it by `/proc`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use manta_proto::{
    ids::{JobId, NodeId},
    v1::{FetchFileRequest, JobConfig, JobOrigin, ProgramFile, WantedProgram, fetch_file_request::Wanted},
};

use super::{
    Shared,
    files::{self, Received},
};
use crate::{
    elf,
    limits::{PROGRAM_BYTES_MAX, PROGRAMS_BYTES_MAX},
};

const NATIVE: &str = "rust";
/// The kernel says this of a file that has no name any more.
const DELETED: &str = " (deleted)";

/// Programs that this node has fetched.
#[derive(Default)]
pub struct Programs {
    known: Mutex<HashMap<String, Kept>>,
    /// Who wants one that is on its way waits for it.
    coming: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

struct Kept {
    path: PathBuf,
    bytes: u64,
    used: Instant,
    /// Copies of it are with those who run the program.
    hold: Arc<()>,
}

/// A program that can be run, as long as `hold` is kept.
pub struct Ready {
    pub path: PathBuf,
    pub hold: Arc<()>,
}

/// What a driver's node tells others of the native program that the driver runs. Reads headers only. Of programs that it merely names
/// there is nothing to tell: a later build under the same name is meant, too.
pub fn origin(job: &JobConfig, pid: u32, node: NodeId, machine_id: &str) -> JobOrigin {
    let own = Some(&job.executable).filter(|_| job.language == NATIVE);
    let running = own.and_then(|path| describe(&running(pid, path)?, path));
    JobOrigin {
        node_id: node.to_bytes(),
        machine_id: machine_id.to_owned(),
        programs: running.into_iter().collect(),
    }
}

/// What a driver's process runs, if that is the program: its path may lead to another build by now.
fn running(pid: u32, path: &str) -> Option<PathBuf> {
    let running = PathBuf::from(format!("/proc/{pid}/exe"));
    let runs = fs::read_link(&running).ok()?.to_string_lossy().into_owned();
    (runs.strip_suffix(DELETED).unwrap_or(&runs) == path).then_some(running)
}

/// Where a driver's program is to be read.
fn source(pid: u32, path: &str) -> PathBuf {
    running(pid, path).unwrap_or_else(|| PathBuf::from(path))
}

fn describe(file: &Path, path: &str) -> Option<ProgramFile> {
    let file = File::open(file).ok()?;
    let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let build_id = elf::look(file).and_then(|look| look.build_id).unwrap_or_default();
    Some(ProgramFile { path: path.to_owned(), build_id: build_id.into(), ..place(&metadata) })
}

/// What tells a file from others of its machine.
fn place(metadata: &fs::Metadata) -> ProgramFile {
    ProgramFile {
        bytes: metadata.len(),
        modified_ns: metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec()),
        device: metadata.dev(),
        inode: metadata.ino(),
        ..ProgramFile::default()
    }
}

/// What the driver's node says of the job's own program.
fn wanted(job: &JobConfig) -> Option<&ProgramFile> {
    job.origin.as_ref()?.programs.iter().find(|program| program.path == job.executable)
}

/// Whether the job's workers can be started from its program's path as it is now.
pub fn is_there(job: &JobConfig, machine_id: &str) -> bool {
    let Some(origin) = job.origin.as_ref().filter(|_| job.language == NATIVE) else { return true };
    let path = Path::new(&job.executable);
    let Ok(metadata) = fs::metadata(path) else { return false };
    let Some(wanted) = wanted(job) else { return true };
    let same_place =
        ProgramFile { path: wanted.path.clone(), build_id: wanted.build_id.clone(), ..place(&metadata) };
    if origin.machine_id == machine_id && same_place == *wanted {
        return true;
    }
    // A stripped copy has the same build-id, and is the same program.
    !wanted.build_id.is_empty()
        && elf::look_at(path).and_then(|look| look.build_id).is_some_and(|id| id == wanted.build_id)
}

/// What a program is kept under while this node runs.
fn key(job: &JobConfig) -> String {
    match wanted(job) {
        Some(program) if !program.build_id.is_empty() => elf::hex(&program.build_id),
        Some(program) => {
            let machine = job.origin.as_ref().map_or("", |origin| &origin.machine_id);
            let ProgramFile { bytes, modified_ns, device, inode, .. } = program;
            format!("{machine} {device} {inode} {bytes} {modified_ns}")
        }
        None => format!("{} {}", elf::hex(&job.job_id), job.executable),
    }
}

/// A copy of the job's program, fetched if it is not there yet.
///
/// # Errors
/// With a sentence.
pub async fn ready(shared: &Arc<Shared>, job: &JobConfig) -> Result<Ready, String> {
    let key = key(job);
    let turn = Arc::clone(lock(&shared.programs.coming).entry(key.clone()).or_default());
    let _turn = turn.lock().await;
    if let Some(ready) = shared.programs.take(&key) {
        return Ok(ready);
    }
    let result = fetch_and_keep(shared, job, &key).await;
    lock(&shared.programs.coming).remove(&key);
    result
}

async fn fetch_and_keep(shared: &Arc<Shared>, job: &JobConfig, key: &str) -> Result<Ready, String> {
    let folder = shared.session_dir.join("programs");
    let origin = job.origin.as_ref().and_then(|origin| NodeId::try_from(&origin.node_id).ok());
    let origin = origin.ok_or("nobody says where its driver is")?;
    let (here, name, address) =
        shared.read(|core| (core.name(), core.node_name(origin), core.peer_address(origin)));
    let cannot = |cause: &str| {
        format!(
            "the file is not on {here}, or is of another build, and what the driver on {name} runs cannot be had: {cause}"
        )
    };
    let received = if shared.read(crate::core::Core::id) == origin {
        let file = open(shared, &job.job_id, &job.executable).map_err(|error| error.to_string())?;
        let into = folder.clone();
        let copied = tokio::task::spawn_blocking(move || files::copy(file, &into, PROGRAM_BYTES_MAX));
        copied.await.map_err(|error| error.to_string()).flatten()
    } else {
        let address = address.ok_or_else(|| cannot("that node has left"))?;
        let wanted = WantedProgram { job_id: job.job_id.clone(), path: job.executable.clone() };
        fetch(shared, &address, Wanted::Program(wanted), &folder, PROGRAM_BYTES_MAX).await
    };
    let received = received.map_err(|cause| cannot(&cause))?;
    check(&received, wanted(job)).map_err(|cause| cannot(&cause))?;
    tracing::info!(
        program = job.executable,
        from = name,
        bytes = received.bytes,
        "a program has been fetched"
    );
    shared.programs.keep(key, received, &folder, &job.executable).map_err(|cause| cannot(&cause))
}

/// Fetches a file from another node.
pub async fn fetch(
    shared: &Shared,
    address: &str,
    wanted: Wanted,
    folder: &Path,
    bytes_max: u64,
) -> Result<Received, String> {
    let mut client = shared.peers.client(address).await?;
    let request = shared.peers.request(FetchFileRequest { wanted: Some(wanted) });
    let pieces = client.fetch_file(request).await.map_err(|status| status.message().to_owned())?;
    files::receive(pieces.into_inner(), folder, bytes_max).await
}

fn check(received: &Received, wanted: Option<&ProgramFile>) -> Result<(), String> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.build_id.is_empty()) else { return Ok(()) };
    let build_id = elf::look_at(received.file.path()).and_then(|look| look.build_id).unwrap_or_default();
    if build_id == wanted.build_id {
        return Ok(());
    }
    let has = if build_id.is_empty() { "none".to_owned() } else { elf::hex(&build_id) };
    Err(format!("what came has the build-id {has}, not {}", elf::hex(&wanted.build_id)))
}

/// A program of a job whose driver is on this node.
pub fn open(shared: &Shared, job: &[u8], path: &str) -> io::Result<File> {
    let job = JobId::try_from(job).map_err(io::Error::other)?;
    let pid = shared.read(|core| core.driver_pid(job));
    let pid = pid.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its driver has ended"))?;
    let file = File::open(source(pid, path))?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Programs {
    fn take(&self, key: &str) -> Option<Ready> {
        let mut known = lock(&self.known);
        let kept = known.get_mut(key).filter(|kept| kept.path.is_file())?;
        kept.used = Instant::now();
        Some(Ready { path: kept.path.clone(), hold: Arc::clone(&kept.hold) })
    }

    /// Puts a file where it is run from, under its hash and with the name that people know.
    fn keep(&self, key: &str, received: Received, folder: &Path, path: &str) -> Result<Ready, String> {
        let path = path.strip_suffix(DELETED).unwrap_or(path);
        let name = Path::new(path).file_name().unwrap_or("program".as_ref());
        let own = folder.join(&received.sha256);
        let path = own.join(name);
        let put = fs::create_dir_all(&own)
            .and_then(|()| fs::set_permissions(received.file.path(), fs::Permissions::from_mode(0o700)))
            .and_then(|()| received.file.persist(&path).map_err(|error| error.error));
        put.map_err(|error| files::unwritable(folder, &error))?;
        let hold = Arc::new(());
        let kept =
            Kept { path: path.clone(), bytes: received.bytes, used: Instant::now(), hold: Arc::clone(&hold) };
        let mut known = lock(&self.known);
        known.insert(key.to_owned(), kept);
        make_room(&mut known, PROGRAMS_BYTES_MAX);
        Ok(Ready { path, hold })
    }
}

/// Removes what nobody runs, the oldest first, until the rest has room.
fn make_room(known: &mut HashMap<String, Kept>, bytes_max: u64) {
    let mut total: u64 = known.values().map(|kept| kept.bytes).sum();
    let unused = known.iter().filter(|(_, kept)| Arc::strong_count(&kept.hold) == 1);
    let mut unused: Vec<_> = unused.map(|(key, kept)| (kept.used, key.clone())).collect();
    unused.sort();
    for (_, key) in unused {
        if total <= bytes_max {
            return;
        }
        let Some(gone) = known.remove(&key) else { continue };
        total -= gone.bytes;
        // Files with the same content are one.
        if known.values().all(|kept| kept.path != gone.path)
            && let Err(error) = fs::remove_file(&gone.path)
        {
            tracing::warn!(file = %gone.path.display(), %error, "an unused program could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job_of(path: &Path) -> JobConfig {
        let executable = path.display().to_string();
        let mut job = JobConfig { language: NATIVE.into(), executable, ..JobConfig::default() };
        job.origin = Some(JobOrigin {
            machine_id: "here".into(),
            programs: vec![describe(path, &job.executable).unwrap()],
            ..JobOrigin::default()
        });
        job
    }

    fn own_file() -> PathBuf {
        std::env::current_exe().unwrap()
    }

    #[test]
    fn a_program_is_known_by_its_build_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let mut job = job_of(&own_file());
        assert!(is_there(&job, "here") && is_there(&job, "elsewhere"));
        // The same build in another file; then another program, and none.
        let copy = folder.path().join("copy");
        fs::copy(own_file(), &copy).unwrap();
        let moved = |job: &mut JobConfig, to: &Path| {
            job.executable = to.display().to_string();
            job.origin.as_mut().unwrap().programs[0].path.clone_from(&job.executable);
        };
        moved(&mut job, &copy);
        assert!(is_there(&job, "here") && is_there(&job, "elsewhere"));
        fs::remove_file(&copy).unwrap();
        assert!(!is_there(&job, "here"));
        fs::copy("/bin/true", &copy).unwrap();
        assert!(!is_there(&job, "here"));
        fs::write(&copy, "no program").unwrap();
        assert!(!is_there(&job, "here"));
    }

    #[test]
    fn a_program_without_a_build_id_is_known_by_its_place_on_its_machine() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let job = job_of(&script);
        assert!(is_there(&job, "here") && !is_there(&job, "elsewhere"));
        fs::write(&script, "#!/bin/sh\n:\n").unwrap();
        assert!(!is_there(&job, "here"));
        assert_ne!(key(&job_of(&script)), key(&job));
    }

    #[test]
    fn what_a_driver_runs_is_read_from_its_process() {
        let own = own_file().display().to_string();
        let told = origin(&job_of(&own_file()), std::process::id(), NodeId([1; 16]), "here");
        assert_eq!(told.programs, job_of(&own_file()).origin.unwrap().programs);
        assert_eq!(source(std::process::id(), &own), Path::new(&format!("/proc/{}/exe", std::process::id())));
        assert_eq!(source(std::process::id(), "/bin/true"), Path::new("/bin/true"));
        assert_eq!(source(u32::MAX, "/bin/true"), Path::new("/bin/true"));
    }

    #[test]
    fn a_program_that_a_driver_only_names_is_known_by_its_path_alone() {
        let own = own_file().display().to_string();
        let mut job = JobConfig { language: "python".into(), executable: own, ..JobConfig::default() };
        let told = origin(&job, std::process::id(), NodeId([1; 16]), "here");
        assert!(told.programs.is_empty());
        job.origin = Some(told);
        assert!(is_there(&job, "here"));
        job.language = NATIVE.into();
        assert!(is_there(&job, "elsewhere"));
        job.executable.push_str(".gone");
        assert!(!is_there(&job, "here"));
    }

    #[test]
    fn another_build_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let job = job_of(&own_file());
        let received = |path: &str| files::copy(File::open(path).unwrap(), folder.path(), u64::MAX).unwrap();
        let own = received(&job.executable);
        assert_eq!(check(&own, wanted(&job)), Ok(()));
        let refused = check(&received("/bin/true"), wanted(&job)).unwrap_err();
        assert!(refused.contains("what came has the build-id"), "{refused}");
        let refused = check(&received("/proc/self/status"), wanted(&job)).unwrap_err();
        assert!(refused.contains("the build-id none"), "{refused}");
    }

    #[test]
    fn what_runs_stays_and_the_oldest_of_the_rest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let programs = Programs::default();
        let keep = |key: &str, content: &str| {
            let source = folder.path().join("source");
            fs::write(&source, content).unwrap();
            let received = files::copy(File::open(source).unwrap(), folder.path(), u64::MAX).unwrap();
            programs.keep(key, received, folder.path(), "/far/away/tool (deleted)").unwrap()
        };
        let running = keep("running", "running");
        let paths =
            [keep("old", "one more").path, keep("new", "another one").path, keep("twin", "another one").path];
        assert!(running.path.ends_with("tool"));
        assert_eq!(paths[1], paths[2], "the same content is one file");
        assert_eq!(programs.take("old").unwrap().path, paths[0]);
        make_room(&mut lock(&programs.known), 30);
        // The old one has been used since.
        assert!(programs.take("new").is_none() && programs.take("twin").is_some());
        assert!(paths.iter().all(|path| path.is_file()));
        make_room(&mut lock(&programs.known), 0);
        assert!(running.path.is_file() && !paths[0].exists() && !paths[1].exists());
    }
}
