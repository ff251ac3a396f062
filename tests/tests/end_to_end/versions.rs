//! What a head answers to a program of another release, or without the token.

use std::time::Duration;

use anyhow::{Result, ensure};
use manta_proto::{
    PROTOCOL_VERSION, connect,
    token::Token,
    v1::{
        GetStatusRequest, GetStatusResponse, SessionOpen, SessionToHead, head_client::HeadClient,
        session_to_head::Message,
    },
};
use manta_tests::Cluster;
use tonic::{Response, Status};

async fn status(
    cluster: &Cluster,
    token: &str,
    protocol_version: u32,
) -> Result<Result<Response<GetStatusResponse>, Status>> {
    let token = Token::new(token, "the test")?;
    let channel = connect::tcp(cluster.address(), &token, Duration::from_secs(10)).await?;
    Ok(HeadClient::new(channel).get_status(GetStatusRequest { protocol_version }).await)
}

#[tokio::test]
async fn another_version_is_refused_with_both_versions() -> Result<()> {
    let cluster = Cluster::start(1, 1)?;
    let refusal = status(&cluster, cluster.token(), 9999).await?.err();
    let sentence = refusal.map(|status| status.message().to_owned()).unwrap_or_default();
    ensure!(
        sentence.contains("9999") && sentence.contains(&PROTOCOL_VERSION.to_string()),
        "it says {sentence:?}"
    );
    ensure!(sentence.contains("install"), "it does not say what to do: {sentence:?}");
    ensure!(
        status(&cluster, cluster.token(), PROTOCOL_VERSION).await?.is_ok(),
        "the right version is refused too"
    );
    Ok(())
}

#[tokio::test]
async fn a_session_of_another_version_is_refused() -> Result<()> {
    let cluster = Cluster::start(1, 1)?;
    let token = Token::new(cluster.token(), "the test")?;
    let channel = connect::tcp(cluster.address(), &token, Duration::from_secs(10)).await?;
    let open = SessionOpen {
        protocol_version: 9999,
        session_id: vec![7; 16].into(),
        client: "a test".to_owned(),
        grace_ms: 0,
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(SessionToHead { message: Some(Message::Open(open)) }).await?;
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let refusal = match HeadClient::new(channel).debug_session(requests).await {
        Err(refusal) => Some(refusal),
        Ok(mut stream) => stream.get_mut().message().await.err(),
    };
    let sentence = refusal.map(|status| status.message().to_owned()).unwrap_or_default();
    ensure!(sentence.contains("9999"), "it says {sentence:?}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_token_is_refused_on_every_call() -> Result<()> {
    let cluster = Cluster::start(1, 1)?;
    let refusal = status(&cluster, "wrong", PROTOCOL_VERSION).await?.err();
    let sentence = refusal.map(|status| status.message().to_owned()).unwrap_or_default();
    ensure!(sentence.contains("token"), "it says {sentence:?}");
    Ok(())
}
