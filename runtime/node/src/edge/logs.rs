//! What workers and drivers write to stdout and stderr: into files, to those who listen, and the last lines for the message about
//! their end.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::UNIX_EPOCH,
};

use manta_proto::{
    ids::{ProcessId, TaskId},
    limits::{ANSWER_PART_BYTES, LAST_STDERR_LINES, OUTPUT_LINE_BYTES_MAX},
    v1::TaskOutput,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::Notify,
};

use super::Shared;
use crate::limits::{LOG_FILE_BYTES_MAX, LOG_TASKS_MAX, LOGS_MAX};

/// The last lines that a process wrote.
#[derive(Clone)]
pub struct LastLines(Arc<Mutex<VecDeque<String>>>, usize);

impl Default for LastLines {
    fn default() -> Self {
        Self::with_room(LAST_STDERR_LINES)
    }
}

impl LastLines {
    /// For so many lines.
    pub fn with_room(lines_max: usize) -> Self {
        Self(Arc::default(), lines_max)
    }

    pub fn extend(&self, text: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            if lines.len() == self.1 {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        }
    }

    pub fn take(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

/// All logs of a node: those that are being written, and those of processes that ended.
pub struct Logs {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    logs: BTreeMap<String, Arc<Log>>,
    /// Logs that nobody writes any more, the oldest first.
    ended: VecDeque<String>,
    /// Which pieces of which logs a task has printed.
    tasks: HashMap<TaskId, Vec<(String, u64, u64)>>,
    task_order: VecDeque<TaskId>,
}

impl Logs {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new log.
    pub fn open(&self, name: &str) -> Arc<Log> {
        let file = LogFile::new(self.folder.join(name), LOG_FILE_BYTES_MAX);
        let log = Arc::new(Log { name: name.to_owned(), file: Mutex::new(file), changed: Notify::new() });
        self.known().logs.insert(name.to_owned(), Arc::clone(&log));
        log
    }

    /// Nobody writes it any more. It stays readable until newer ones need its place.
    pub fn close(&self, log: &Log) {
        log.file().closed = true;
        log.changed.notify_waiters();
        let mut known = self.known();
        known.ended.push_back(log.name.clone());
        while known.ended.len() > LOGS_MAX {
            let Some(oldest) = known.ended.pop_front() else { break };
            if let Some(log) = known.logs.remove(&oldest) {
                log.file().remove();
            }
        }
    }

    /// The log of a name.
    pub fn find(&self, name: &str) -> Option<Arc<Log>> {
        self.known().logs.get(name).cloned()
    }

    /// What is there, as JSON.
    pub fn list(&self, pattern: &str) -> Value {
        let logs: Vec<_> = self.known().logs.values().cloned().collect();
        let rows = logs.iter().filter(|log| pattern.is_empty() || matches(pattern, &log.name)).filter_map(|log| {
            let file = log.file();
            let data = fs::metadata(&file.path).ok();
            let modified = data.as_ref()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(json!({
                "name": log.name, "bytes": file.end - file.start(), "written_bytes": file.end, "open": !file.closed,
                "modified_unix_ms": u64::try_from(modified.as_millis()).unwrap_or(u64::MAX),
            }))
        });
        rows.collect()
    }

    /// A task has printed this piece of a log.
    fn note_task(&self, task: TaskId, log: &str, from: u64, to: u64) {
        let mut known = self.known();
        if !known.tasks.contains_key(&task) {
            known.task_order.push_back(task);
            if known.task_order.len() > LOG_TASKS_MAX
                && let Some(oldest) = known.task_order.pop_front()
            {
                known.tasks.remove(&oldest);
            }
        }
        let pieces = known.tasks.entry(task).or_default();
        match pieces.iter_mut().rev().find(|(name, ..)| name == log) {
            Some((_, _, end)) if *end == from => *end = to,
            _ => pieces.push((log.to_owned(), from, to)),
        }
    }

    /// The pieces of logs that a task has printed, in their order.
    pub fn of_task(&self, task: TaskId) -> Option<Vec<(String, u64, u64)>> {
        self.known().tasks.get(&task).cloned()
    }
}

/// One log, which may be read while it is written.
pub struct Log {
    pub name: String,
    file: Mutex<LogFile>,
    changed: Notify,
}

impl Log {
    fn file(&self) -> MutexGuard<'_, LogFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds text, and answers from where to where it stands.
    pub fn write(&self, text: &[u8]) -> (u64, u64) {
        let mut file = self.file();
        let from = file.end;
        file.write(text);
        let to = file.end;
        drop(file);
        self.changed.notify_waiters();
        (from, to)
    }

    /// What stands from `from` on, at most a part's size of it; where that ends; and whether more may come.
    pub fn read(&self, from: u64) -> io::Result<(Vec<u8>, u64, bool)> {
        let file = self.file();
        let from = from.max(file.start());
        let data = file.read(from, ANSWER_PART_BYTES as u64)?;
        let next = from + data.len() as u64;
        Ok((data, next, next < file.end || !file.closed))
    }

    /// Where the last lines begin; everything that is kept for a negative number.
    pub fn start_of_tail(&self, lines: i64) -> io::Result<u64> {
        let file = self.file();
        let Ok(lines) = u64::try_from(lines) else { return Ok(file.start()) };
        let (mut at, mut left) = (file.end, lines);
        // The last line's own end is none between lines.
        if left > 0 && at > file.start() && file.read(at - 1, 1)? == b"\n" {
            left += 1;
        }
        if left == 0 {
            return Ok(at);
        }
        while at > file.start() {
            // One file at a time.
            let begin = if at > file.begin { file.begin } else { file.start() };
            let from = at.saturating_sub(ANSWER_PART_BYTES as u64).max(begin);
            let data = file.read(from, at - from)?;
            for (index, _) in data.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                left -= 1;
                if left == 0 {
                    return Ok(from + index as u64 + 1);
                }
            }
            at = from;
        }
        Ok(at)
    }

    /// Waits until there is more than `end`, or nobody writes any more.
    pub async fn wait(&self, end: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on a change is not missed.
            changed.as_mut().enable();
            {
                let file = self.file();
                if file.end > end || file.closed {
                    return;
                }
            }
            changed.await;
        }
    }
}

/// One of a worker's pipes.
pub struct Pipe {
    pub worker: ProcessId,
    pub stderr: bool,
    pub log: Arc<Log>,
    pub last_lines: LastLines,
}

impl Pipe {
    /// Reads until the last process that holds the other end is gone.
    pub async fn read(self, shared: Arc<Shared>, source: impl AsyncRead + Unpin) {
        read_lines(source, |text| {
            self.log.write(text.as_bytes());
            if self.stderr {
                self.last_lines.extend(&text);
            }
            let output = TaskOutput { stderr: self.stderr, text, ..TaskOutput::default() };
            shared.with(|core| core.on_task_output(self.worker, output));
        })
        .await;
    }
}

/// Gives each piece of whole lines to `take`, until the source ends.
pub async fn read_lines(mut source: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; OUTPUT_LINE_BYTES_MAX];
    loop {
        let read = source.read(&mut chunk).await.unwrap_or(0);
        buffer.extend_from_slice(&chunk[..read]);
        let whole = if read == 0 { buffer.len() } else { whole_lines(&buffer) };
        if whole > 0 {
            let text = String::from_utf8_lossy(&buffer[..whole]).into_owned();
            buffer.drain(..whole);
            take(text);
        }
        if read == 0 {
            return;
        }
    }
}

/// A worker's two logs.
#[derive(Clone)]
pub struct WorkerLogs {
    pub out: Arc<Log>,
    pub err: Arc<Log>,
}

impl WorkerLogs {
    /// What a task printed, which the worker sends by itself and not through its pipes.
    pub fn take(&self, logs: &Logs, output: &TaskOutput) {
        let log = if output.stderr { &self.err } else { &self.out };
        let (from, to) = log.write(output.text.as_bytes());
        if let Ok(task) = TaskId::try_from(&output.task_id) {
            logs.note_task(task, &log.name, from, to);
        }
    }
}

/// How many bytes can go on: up to the last line's end, or all of an endless line.
fn whole_lines(buffer: &[u8]) -> usize {
    let end = buffer.iter().rposition(|byte| *byte == b'\n').map(|last| last + 1);
    end.unwrap_or(if buffer.len() >= OUTPUT_LINE_BYTES_MAX { buffer.len() } else { 0 })
}

/// Whether a name is as the pattern says: `*` stands for any text, `?` for any character.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern_left, mut name_left) = (pattern.chars(), name.chars());
    loop {
        match (pattern_left.next(), name_left.clone().next()) {
            (Some('*'), _) => {
                let rest = pattern_left.as_str();
                return name_left
                    .as_str()
                    .char_indices()
                    .map(|(at, _)| at)
                    .chain([name_left.as_str().len()])
                    .any(|at| matches(rest, &name_left.as_str()[at..]));
            }
            (Some('?'), Some(_)) => drop(name_left.next()),
            (Some(wanted), Some(found)) if wanted == found => drop(name_left.next()),
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// A log's file, made with the first line, and the full one before it. Positions count from the log's first byte.
struct LogFile {
    path: PathBuf,
    bytes_max: u64,
    file: Option<File>,
    /// Where the file before begins, and this one.
    begin_before: u64,
    begin: u64,
    end: u64,
    broken: bool,
    closed: bool,
}

impl LogFile {
    fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, file: None, begin_before: 0, begin: 0, end: 0, broken: false, closed: false }
    }

    fn start(&self) -> u64 {
        self.begin_before
    }

    fn write(&mut self, text: &[u8]) {
        if self.broken {
            return;
        }
        if let Err(error) = self.try_write(text) {
            self.broken = true;
            tracing::warn!(file = %self.path.display(), %error, "a log could not be written; its lines go on to the driver");
        }
    }

    fn try_write(&mut self, text: &[u8]) -> io::Result<()> {
        let written = self.end - self.begin;
        if written > 0 && written + text.len() as u64 > self.bytes_max {
            self.file = None;
            fs::rename(&self.path, self.path_before())?;
            (self.begin_before, self.begin) = (self.begin, self.end);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().create(true).append(true).open(&self.path)?),
        };
        file.write_all(text)?;
        self.end += text.len() as u64;
        Ok(())
    }

    fn read(&self, from: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
        if from >= self.end {
            return Ok(Vec::new());
        }
        let (path, begin, end) = if from < self.begin {
            (self.path_before(), self.begin_before, self.begin)
        } else {
            (self.path.clone(), self.begin, self.end)
        };
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from - begin))?;
        let mut data = Vec::new();
        file.take(bytes_max.min(end - from)).read_to_end(&mut data)?;
        Ok(data)
    }

    fn path_before(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
    }

    fn remove(&mut self) {
        for path in [self.path_before(), self.path.clone()] {
            remove(&path);
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "an old log could not be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_whole_and_endless_ones_go_on_in_pieces() {
        assert_eq!(whole_lines(b"a\nbc"), 2);
        assert_eq!(whole_lines(b"abc"), 0);
        assert_eq!(whole_lines(&vec![b'x'; OUTPUT_LINE_BYTES_MAX]), OUTPUT_LINE_BYTES_MAX);
    }

    fn log(folder: &Path, bytes_max: u64) -> Log {
        let file = LogFile::new(folder.join("worker-7.out"), bytes_max);
        Log { name: "worker-7.out".to_owned(), file: Mutex::new(file), changed: Notify::new() }
    }

    #[test]
    fn a_log_keeps_its_newest_lines_in_two_files_and_is_read_across_them() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path(), 10);
        for line in ["first\n", "2nd\n", "third\n", "4th\n", "fifth\n", "a line that is too long\n"] {
            log.write(line.as_bytes());
        }
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(log.file().path_before()), "fifth\n");
        assert_eq!(read(log.file().path.clone()), "a line that is too long\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let (first, next, more) = log.read(0).unwrap();
        assert_eq!((&first[..], more), (&b"fifth\n"[..], true));
        assert_eq!(log.read(next).unwrap().0, b"a line that is too long\n");
        let tail = |lines| log.read(log.start_of_tail(lines).unwrap()).unwrap().0;
        assert_eq!(tail(1), b"a line that is too long\n");
        assert_eq!(tail(2), b"fifth\n");
        assert_eq!((tail(-1), tail(100)), (b"fifth\n".to_vec(), b"fifth\n".to_vec()));
        assert_eq!(tail(0), b"");
    }

    #[test]
    fn what_a_task_printed_is_found_again_and_old_logs_go() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path().to_owned());
        let worker = WorkerLogs { out: logs.open("a.out"), err: logs.open("a.err") };
        let print = |task: u8, stderr: bool, text: &str| {
            let task_id = TaskId([task; 16]).to_bytes();
            worker.take(&logs, &TaskOutput { task_id, stderr, text: text.into(), ..TaskOutput::default() });
        };
        print(1, false, "one\n");
        print(1, false, "two\n");
        print(2, false, "other\n");
        print(1, true, "error\n");
        let pieces = logs.of_task(TaskId([1; 16])).unwrap();
        assert_eq!(pieces, [("a.out".to_owned(), 0, 8), ("a.err".to_owned(), 0, 6)]);
        assert_eq!(logs.list("*.err")[0]["name"], "a.err");
        logs.close(&worker.out);
        assert!(!worker.out.read(0).unwrap().2 || worker.out.read(0).unwrap().1 < 14);
        for number in 0..LOGS_MAX {
            let log = logs.open(&format!("{number}"));
            logs.close(&log);
        }
        assert!(logs.find("a.out").is_none() && logs.find("a.err").is_some());
        assert!(!folder.path().join("a.out").exists());
    }

    #[test]
    fn patterns_are_those_of_shells() {
        assert!(matches("worker-*.out", "worker-ab-7.out") && matches("*", "") && matches("a?c*", "abcd"));
        assert!(!matches("worker-*.out", "worker-7.err") && !matches("a", "ab") && !matches("?", ""));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let last = LastLines::default();
        for line in 0..LAST_STDERR_LINES + 5 {
            last.extend(&format!("{line}\n"));
        }
        let lines = last.take();
        assert_eq!(lines.len(), LAST_STDERR_LINES);
        assert_eq!(lines[0], "5");
    }
}
