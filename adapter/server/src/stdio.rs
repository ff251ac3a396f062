//! One client on stdin and stdout.

use std::{io::Read, path::Path};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncWriteExt, ReadHalf, SimplexStream, simplex},
    runtime::Handle,
};

use crate::{connection::serve, listen::open_log};

const PIPE_BYTES: usize = 64 * 1024;

pub(crate) async fn run(log: Option<&Path>) -> Result<()> {
    let log = open_log(log, 1)?;
    let stdin = stdin()?;
    serve(stdin, stdout()?, log).await;
    Ok(())
}

/// Stdout without the standard library's line buffer.
fn stdout() -> Result<tokio::fs::File> {
    #[cfg(unix)]
    let own = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned();
    #[cfg(windows)]
    let own = std::os::windows::io::AsHandle::as_handle(&std::io::stdout()).try_clone_to_owned();
    let file = std::fs::File::from(own.context("stdout cannot be used")?);
    Ok(tokio::fs::File::from_std(file))
}

/// Stdin, read by a thread of its own. tokio's own would keep the process from ending while a read of it waits, and a client that has
/// sent `disconnect` need not close its end.
fn stdin() -> Result<ReadHalf<SimplexStream>> {
    let (source, mut pipe) = simplex(PIPE_BYTES);
    let runtime = Handle::current();
    let pump = move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; PIPE_BYTES];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    if runtime.block_on(pipe.write_all(&buffer[..length])).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "stdin failed");
                    break;
                }
            }
        }
        // The session sees the end of its client.
        if let Err(error) = runtime.block_on(pipe.shutdown()) {
            tracing::debug!(%error, "the session has ended before its client");
        }
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(pump)
        .context("the thread that reads stdin could not be started")?;
    Ok(source)
}
