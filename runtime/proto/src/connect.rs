//! Connections that carry the cluster's token, and the check of it on the other side.

use std::{path::PathBuf, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::token::Token;

/// A channel on which every call carries the token.
pub type AuthorizedChannel = InterceptedService<Channel, Authorize>;

/// Adds the token to each call.
#[derive(Clone)]
pub struct Authorize(MetadataValue<Ascii>);

impl Authorize {
    /// For this token.
    ///
    /// # Panics
    /// Never: a [`Token`] is printable ASCII.
    #[must_use]
    pub fn new(token: &Token) -> Self {
        Self(format!("Bearer {}", token.as_str()).parse().expect("a token is printable ASCII"))
    }
}

impl Interceptor for Authorize {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Refuses calls that do not carry the token.
#[derive(Clone)]
pub struct RequireToken(pub Token);

impl Interceptor for RequireToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        match given.map(|value| value.strip_prefix("Bearer ").unwrap_or(value)) {
            Some(given) if self.0.matches(given) => Ok(request),
            Some(_) => Err(Status::permission_denied(
                "the token is not this cluster's; use the one that the head was started with (MANTA_TOKEN, or ~/.manta/token on \
                 the head's machine)",
            )),
            None => Err(Status::unauthenticated(
                "this cluster needs a token; set MANTA_TOKEN or copy ~/.manta/token from the head's machine",
            )),
        }
    }
}

/// Bytes that one stream may have on the way: a few pieces of an object, so that its transfer need not wait for the other side.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes that all streams of a connection may have on the way.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Says why a connection could not be made, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not of the form HOST:PORT.
    #[error("'{0}' is not an address of the form HOST:PORT, for instance 127.0.0.1:6480")]
    Address(String),
    /// Nobody listens there.
    #[error(
        "no cluster answers at {address}: {cause}. Start one with 'manta start', or check the address and that the port is open"
    )]
    Unreachable {
        /// What was dialled.
        address: String,
        /// The innermost cause.
        cause: String,
    },
}

/// Connects to a head or to a node's port at `HOST:PORT`.
///
/// # Errors
/// When the address is malformed or nobody answers within `timeout`.
pub async fn tcp(address: &str, token: &Token, timeout: Duration) -> Result<AuthorizedChannel, ConnectError> {
    let malformed = || ConnectError::Address(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(malformed());
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| malformed())?
        .connect_timeout(timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|error| ConnectError::Unreachable {
        address: address.to_owned(),
        cause: innermost(&error),
    })?;
    Ok(InterceptedService::new(channel, Authorize::new(token)))
}

/// Connects to a node's Unix socket.
///
/// # Errors
/// When nobody listens on it.
pub async fn unix(socket: PathBuf, token: &Token) -> Result<AuthorizedChannel, ConnectError> {
    let address = socket.display().to_string();
    // The authority is never looked up: the connector below ignores it.
    let endpoint = Endpoint::from_static("http://node.local");
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| ConnectError::Unreachable { address, cause: innermost(&error) })?;
    Ok(InterceptedService::new(channel, Authorize::new(token)))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
