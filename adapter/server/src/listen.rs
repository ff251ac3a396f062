//! Clients on a TCP port: each its own session.

use std::{fs::File, path::Path, sync::Arc};

use anyhow::{Context, Result};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{
    connection::{SharedLog, serve},
    limits::CLIENTS_MAX,
};

pub(crate) async fn run(address: &str, log: Option<&Path>) -> Result<()> {
    let address = with_loopback(address);
    let listener = TcpListener::bind(&address).await.with_context(|| {
        format!(
            "cannot listen for DAP clients on {address}; give a free HOST:PORT, or port 0 for any free one"
        )
    })?;
    let bound = listener.local_addr()?;
    eprintln!("manta dap listens on {bound}");
    if !bound.ip().is_loopback() {
        eprintln!(
            "manta dap: every machine that reaches {bound} can debug your clusters, because the Debug Adapter Protocol has no \
             password; prefer a loopback address and an SSH tunnel"
        );
    }
    accept(&listener, log).await
}

pub(crate) async fn accept(listener: &TcpListener, log: Option<&Path>) -> Result<()> {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    for number in 1_u64.. {
        let (stream, _) = listener.accept().await.context("the port for DAP clients failed")?;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            turn_away(stream).await;
            continue;
        };
        let log = open_log(log, number)?;
        tokio::spawn(async move {
            // A request and its answer are small: waiting to fill a packet would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::warn!(%error, "a client's socket could not be set up");
            }
            let (source, sink) = stream.into_split();
            serve(source, sink, log).await;
            drop(place);
        });
    }
    Ok(())
}

/// The log of the `number`th client: `FILE`, then `FILE.2` and so on, as each is a conversation of its own.
pub(crate) fn open_log(path: Option<&Path>, number: u64) -> Result<SharedLog> {
    let Some(path) = path else { return Ok(SharedLog::default()) };
    let mut path = path.as_os_str().to_owned();
    if number > 1 {
        path.push(format!(".{number}"));
    }
    let file = File::create(&path)
        .with_context(|| format!("cannot write the log of the conversation to {}", path.display()))?;
    Ok(SharedLog::new(Some(file)))
}

async fn turn_away(mut stream: TcpStream) {
    let sentence =
        format!("{CLIENTS_MAX} clients are connected to this adapter already; end one of them first\n");
    let body = dap::OutputEventBody {
        category: Some(dap::OutputEventCategory::Important),
        output: sentence,
        ..Default::default()
    };
    let mut message = dap::Message::from(dap::EventMessage::new::<dap::events::Output>(&body));
    message.set_seq(1);
    let text = message.to_vec();
    let frame = [format!("Content-Length: {}\r\n\r\n", text.len()).as_bytes(), &text].concat();
    if let Err(error) = stream.write_all(&frame).await {
        tracing::debug!(%error, "a client too many is gone already");
    }
}

/// A port alone means this machine only.
fn with_loopback(address: &str) -> String {
    let port = address.strip_prefix(':').unwrap_or(address);
    if port.parse::<u16>().is_ok() { format!("127.0.0.1:{port}") } else { address.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        assert_eq!(with_loopback("4711"), "127.0.0.1:4711");
        assert_eq!(with_loopback(":4711"), "127.0.0.1:4711");
        assert_eq!(with_loopback("[::1]:4711"), "[::1]:4711");
    }
}
