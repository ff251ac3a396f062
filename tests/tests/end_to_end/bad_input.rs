//! Bad input: one clear sentence with the cause and what to do, and nobody else is harmed.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Result, ensure};
use dap::{SourceBreakpoint, requests};
use manta_tests::{Cluster, DapClient, Driver, PATIENCE, client::Listener};
use serde_json::json;

use crate::support::Language;

/// Asks to attach and gives the refusal.
fn refusal(address: &str, token: &str) -> Result<String> {
    let mut client = DapClient::stdio()?;
    client.initialize()?;
    let attach = client.send_attach(address, token, &json!({}))?;
    let refusal = client.answer::<requests::Attach>(attach)?.err();
    client.close()?;
    refusal.ok_or_else(|| anyhow::anyhow!("attach to {address} was not refused"))
}

/// One sentence or two, with what it has to name.
#[track_caller]
fn is_clear(sentence: &str, names: &[&str]) {
    for name in names {
        assert!(sentence.contains(name), "{sentence:?} does not say {name:?}");
    }
    assert!((20..600).contains(&sentence.len()), "{} bytes: {sentence:?}", sentence.len());
    assert!(!sentence.contains("Err(") && !sentence.contains("panicked"), "{sentence:?}");
}

/// A session that attaches, stops a task, resumes it and ends: nobody was harmed.
fn a_session_works(cluster: &Cluster) -> Result<()> {
    let mut client = DapClient::stdio()?;
    client.attach_with_breakpoints(cluster, &json!({}), &[&Language::Python.source("printer")])?;
    let driver = Language::Python.start(cluster, "printer", &[])?;
    let task = client.paused(1)?[0].id;
    client.resume(task)?;
    driver.result()?;
    client.close()
}

#[test]
fn a_wrong_token_is_refused_and_harms_nobody() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    is_clear(&refusal(cluster.address(), "not-the-token")?, &["token", "MANTA_TOKEN"]);
    a_session_works(&cluster)
}

#[test]
fn no_cluster_at_the_address_is_said() -> Result<()> {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    is_clear(&refusal(&address, "any")?, &[&address, "manta start"]);
    Ok(())
}

#[test]
fn what_is_no_cluster_at_the_address_is_said() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    // Accepts, and answers with what no head would say.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream: TcpStream = stream;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    is_clear(&refusal(&address, "any")?, &[&address]);
    Ok(())
}

#[test]
fn a_breakpoint_in_a_file_that_no_task_has_is_not_verified() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let mut client = DapClient::stdio()?;
    let attach = client.attach(&cluster, &json!({}))?;
    let set = client.set_breakpoints(
        Path::new("/no/such/file.py"),
        vec![SourceBreakpoint { line: 3, ..SourceBreakpoint::default() }],
    )?;
    ensure!(set.len() == 1 && !set[0].verified, "it was answered {set:?}");
    is_clear(set[0].message.as_deref().unwrap_or_default(), &["file"]);
    client.configured(attach)?;
    client.close()?;
    a_session_works(&cluster)
}

/// Sends bytes to a listening adapter after a handshake, and gives all that it says until it closes.
fn talk(listener: &Listener, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(listener.address())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn framed(body: &str) -> Vec<u8> {
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

const INITIALIZE: &str =
    r#"{"seq":1,"type":"request","command":"initialize","arguments":{"adapterID":"manta"}}"#;

/// The adapter that was harmed serves the next client.
fn serves_the_next(listener: &Listener) -> Result<()> {
    let mut client = DapClient::tcp(listener.address())?;
    client.initialize()?;
    client.close()
}

#[test]
fn a_malformed_header_is_said_and_ends_only_that_client() -> Result<()> {
    let listener = Listener::start()?;
    let mut bytes = framed(INITIALIZE);
    bytes.extend_from_slice(b"Content-Length: many\r\n\r\n{}");
    let said = talk(&listener, &bytes)?;
    ensure!(said.contains("Content-Length"), "it said {said:?}");
    serves_the_next(&listener)
}

#[test]
fn malformed_json_is_said_and_the_session_goes_on() -> Result<()> {
    let listener = Listener::start()?;
    let mut bytes = framed(INITIALIZE);
    bytes.extend(framed(r#"{"seq":2,"type":"request","command":"threads""#));
    bytes.extend(framed(r#"{"seq":3,"type":"request","command":"disconnect"}"#));
    let said = talk(&listener, &bytes)?;
    ensure!(
        said.contains(r#""request_seq":3"#),
        "the request after the malformed one was not answered: {said:?}"
    );
    ensure!(
        said.matches(r#""type":"event""#).count() >= 1,
        "nobody was told of the malformed message: {said:?}"
    );
    serves_the_next(&listener)
}

#[test]
fn an_unknown_request_is_refused_with_its_name() -> Result<()> {
    let listener = Listener::start()?;
    let mut bytes = framed(INITIALIZE);
    bytes.extend(framed(r#"{"seq":2,"type":"request","command":"mantaFly"}"#));
    let said = talk(&listener, &bytes)?;
    ensure!(said.contains(r#""request_seq":2"#) && said.contains(r#""success":false"#), "it said {said:?}");
    serves_the_next(&listener)
}

#[test]
fn a_message_of_100_mb_is_refused_before_it_is_read() -> Result<()> {
    let listener = Listener::start()?;
    // Only the header is sent: the refusal must not wait for the body.
    let said = talk(&listener, b"Content-Length: 104857600\r\n\r\n")?;
    ensure!(said.contains("104857600") || said.contains("100"), "it said {said:?}");
    serves_the_next(&listener)
}

#[test]
fn a_browser_page_is_refused() -> Result<()> {
    let listener = Listener::start()?;
    let mut stream = TcpStream::connect(listener.address())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("Origin: http://example.org\r\nContent-Length: {}\r\n\r\n{INITIALIZE}", INITIALIZE.len())
            .as_bytes(),
    )?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    ensure!(!said.contains("supportsConfigurationDoneRequest"), "a browser page was served: {said}");
    serves_the_next(&listener)
}

#[test]
fn a_client_that_vanishes_in_mid_message_harms_nobody() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    let listener = Listener::start()?;
    {
        let mut client = DapClient::tcp(listener.address())?;
        client.attach_with_breakpoints(
            &cluster,
            &json!({"graceSeconds": 0.2}),
            &[&Language::Python.source("printer")],
        )?;
        let driver = Language::Python.start(&cluster, "printer", &[])?;
        client.paused(1)?;
        client.send_raw(b"Content-Length: 500\r\n\r\n{\"seq\":")?;
        drop(client);
        // Its task runs on after the grace.
        driver.result()?;
    }
    serves_the_next(&listener)?;
    a_session_works(&cluster)
}

fn python_says(cluster: &Cluster, ask: &str) -> Result<String> {
    let ended = Driver::python(cluster, "bad_input", &[ask])?.end_within(Duration::from_secs(30))?;
    ensure!(
        ended.status.code() == Some(3),
        "the driver ended with {}:\n{}{}",
        ended.status,
        ended.stdout,
        ended.stderr
    );
    Ok(ended.stdout.trim().to_owned())
}

#[test]
fn a_function_that_cannot_be_pickled_is_named() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    is_clear(&python_says(&cluster, "unpicklable")?, &["TypeError", "guarded", "lock"]);
    Ok(())
}

#[test]
fn a_task_that_needs_more_cpus_than_there_are_is_refused_at_once() -> Result<()> {
    let cluster = Cluster::start(2, 2)?;
    is_clear(&python_says(&cluster, "too-many-cpus")?, &["1000", "CPU"]);
    Ok(())
}

#[test]
fn a_driver_without_a_cluster_at_its_address_says_so() -> Result<()> {
    let cluster = Cluster::start(1, 1)?;
    is_clear(&python_says(&cluster, "no-cluster")?, &["127.0.0.1:1"]);
    Ok(())
}
