//! What workers write to stdout and stderr: into files, to those who listen, and the last lines of stderr for the message about
//! their end.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use manta_proto::{
    ids::ProcessId,
    limits::{LAST_STDERR_LINES, OUTPUT_LINE_BYTES_MAX},
    v1::TaskOutput,
};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
};

use super::Shared;
use crate::limits::LOG_FILE_BYTES_MAX;

/// The last lines of a worker's stderr.
#[derive(Clone, Default)]
pub struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    pub fn extend(&self, text: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            if lines.len() == LAST_STDERR_LINES {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        }
    }

    pub fn take(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

/// One of a worker's pipes.
pub struct Pipe {
    pub worker: ProcessId,
    pub stderr: bool,
    pub file: PathBuf,
    pub last_lines: LastLines,
}

impl Pipe {
    /// Reads until the last process that holds the other end is gone.
    pub async fn read(self, shared: Arc<Shared>, mut source: impl AsyncRead + Unpin) {
        let mut file = LogFile::new(self.file.clone(), LOG_FILE_BYTES_MAX);
        let mut buffer = Vec::new();
        let mut chunk = vec![0; OUTPUT_LINE_BYTES_MAX];
        loop {
            let read = source.read(&mut chunk).await.unwrap_or(0);
            buffer.extend_from_slice(&chunk[..read]);
            let whole = if read == 0 { buffer.len() } else { whole_lines(&buffer) };
            if whole > 0 {
                let text = String::from_utf8_lossy(&buffer[..whole]).into_owned();
                buffer.drain(..whole);
                file.write(text.as_bytes()).await;
                if self.stderr {
                    self.last_lines.extend(&text);
                }
                let output = TaskOutput { stderr: self.stderr, text, ..TaskOutput::default() };
                shared.with(|core| core.on_task_output(self.worker, output));
            }
            if read == 0 {
                return;
            }
        }
    }
}

/// How many bytes can go on: up to the last line's end, or all of an endless line.
fn whole_lines(buffer: &[u8]) -> usize {
    let end = buffer.iter().rposition(|byte| *byte == b'\n').map(|last| last + 1);
    end.unwrap_or(if buffer.len() >= OUTPUT_LINE_BYTES_MAX { buffer.len() } else { 0 })
}

/// A log file, made with the first line, and the full one before it.
struct LogFile {
    path: PathBuf,
    bytes_max: u64,
    file: Option<File>,
    written: u64,
    broken: bool,
}

impl LogFile {
    fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, file: None, written: 0, broken: false }
    }

    async fn write(&mut self, text: &[u8]) {
        if self.broken {
            return;
        }
        if let Err(error) = self.try_write(text).await {
            self.broken = true;
            tracing::warn!(file = %self.path.display(), %error, "a worker's log could not be written; its lines go on to the driver");
        }
    }

    async fn try_write(&mut self, text: &[u8]) -> std::io::Result<()> {
        if self.written > 0 && self.written + text.len() as u64 > self.bytes_max {
            self.file = None;
            self.written = 0;
            tokio::fs::rename(&self.path, self.path_before()).await?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let options =
                    tokio::fs::OpenOptions::new().create(true).append(true).open(&self.path).await?;
                none.insert(options)
            }
        };
        file.write_all(text).await?;
        self.written += text.len() as u64;
        file.flush().await
    }

    fn path_before(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
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

    #[tokio::test]
    async fn a_log_keeps_its_newest_lines_in_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker-7.out");
        let mut log = LogFile::new(path.clone(), 10);
        for line in ["first\n", "2nd\n", "third\n", "4th\n", "fifth\n", "a line that is too long\n"] {
            log.write(line.as_bytes()).await;
        }
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(log.path_before()), "fifth\n");
        assert_eq!(read(path), "a line that is too long\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
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
