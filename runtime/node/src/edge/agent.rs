//! Debug agents of native workers: one process each, started when first needed, that speaks DAP on its stdin and stdout.

use std::{
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use bytes::{Buf, Bytes, BytesMut};
use manta_proto::{ids::ProcessId, limits::DAP_MESSAGE_BYTES_MAX};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{ChildStdin, Command},
    sync::mpsc,
};

use super::{Shared, logs::LastLines};

/// Messages that wait for an agent.
const QUEUE_MAX: usize = 1024;
/// Bytes of a message's header.
const HEADER_BYTES_MAX: usize = 1024;
/// Bytes for which there is room at a read at least.
const READ_BYTES_MIN: usize = 4 << 10;
/// Bytes for which room is made when there is less.
const READ_BYTES: usize = 32 << 10;

/// Starts the agent for a worker, which listens at `line` for adapters of this machine. Dropping the sender lets it detach and end.
pub fn start(
    shared: &Arc<Shared>,
    worker: ProcessId,
    pid: u32,
    line: PathBuf,
) -> io::Result<(u32, mpsc::Sender<Bytes>)> {
    let mut child = Command::new(shared.host.manta())
        .args(["debug-agent", "--pid", &pid.to_string(), "--stdio", "--ask-for-debug-info", "--line"])
        .arg(&line)
        .env("MANTA_TOKEN", shared.token.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let agent_pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
    let gone = || io::Error::other("it has no pipes");
    let (stdin, stdout) = (child.stdin.take().ok_or_else(gone)?, child.stdout.take().ok_or_else(gone)?);
    let mut stderr = child.stderr.take().ok_or_else(gone)?;
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let shared = Arc::clone(shared);
    tokio::spawn(write(stdin, receiver));
    tokio::spawn(async move {
        let words = async {
            let mut text = Vec::new();
            // The end of the pipe is the end of the agent, which is looked at below.
            let _read = (&mut stderr).take(64 * 1024).read_to_end(&mut text).await;
            String::from_utf8_lossy(&text).into_owned()
        };
        let (read, words) = tokio::join!(read(&shared, worker, stdout), words);
        if read.is_err() {
            let _gone = child.start_kill();
        }
        let status = child.wait().await;
        // One that was killed has left it.
        let _gone = std::fs::remove_file(&line);
        let cause = end_sentence(agent_pid, read.err(), status.ok(), &words);
        tracing::info!(cause, "a debug agent ended");
        shared.agent_ended(worker, &cause);
    });
    Ok((agent_pid, sender))
}

fn end_sentence(pid: u32, read: Option<io::Error>, status: Option<ExitStatus>, words: &str) -> String {
    let mut sentence = format!("the debug agent (pid {pid}) ended");
    if let Some(status) = status {
        sentence.push_str(&format!(" ({status})"));
    }
    if let Some(error) = read {
        sentence.push_str(&format!(": {error}"));
    }
    let last = LastLines::default();
    last.extend(words);
    let last = last.take();
    if !last.is_empty() {
        sentence.push_str(&format!("; it said: {}", last.join(" | ")));
    }
    sentence
}

async fn write(mut stdin: ChildStdin, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        let mut framed = format!("Content-Length: {}\r\n\r\n", message.len()).into_bytes();
        framed.extend_from_slice(&message);
        if stdin.write_all(&framed).await.is_err() {
            return;
        }
    }
}

async fn read(shared: &Arc<Shared>, worker: ProcessId, mut stdout: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(message) = take_message(&mut buffer)? {
            shared.with(|core| core.on_target_message(worker, message));
        }
        // What an agent says of several stops comes in one piece.
        if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
            buffer.reserve(READ_BYTES);
        }
        if stdout.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Takes the first whole message from `buffer`.
fn take_message(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let malformed = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        if buffer.len() > HEADER_BYTES_MAX {
            return Err(malformed("it wrote something that is no DAP header".to_owned()));
        }
        return Ok(None);
    };
    let header = String::from_utf8_lossy(&buffer[..end]);
    let length = header.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(|| malformed(format!("it wrote a header without a length: {header}")))?;
    if length > DAP_MESSAGE_BYTES_MAX {
        return Err(malformed(format!(
            "it wrote a message of {length} bytes; the limit is {DAP_MESSAGE_BYTES_MAX}"
        )));
    }
    if buffer.len() < end + 4 + length {
        return Ok(None);
    }
    buffer.advance(end + 4);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole() {
        let mut buffer = BytesMut::new();
        let mut taken = Vec::new();
        for byte in b"Content-Length: 2\r\n\r\n{}content-length:3\r\n\r\n[1]" {
            buffer.extend_from_slice(&[*byte]);
            taken.extend(take_message(&mut buffer).unwrap());
        }
        assert_eq!(taken, [&b"{}"[..], b"[1]"]);
        let mut huge = BytesMut::from(&b"Content-Length: 99999999999\r\n\r\n"[..]);
        assert!(take_message(&mut huge).is_err());
        let mut none = BytesMut::from(&b"Hello: 1\r\n\r\n"[..]);
        assert!(take_message(&mut none).is_err());
    }
}
