//! `manta start`, `status` and `stop` as a user types them.

mod support;

use std::{path::Path, process::Stdio};

use support::{Home, is_alive, kill, pids, wait_until};

#[test]
fn a_cluster_starts_is_shown_is_joined_and_stops() {
    let home = Home::new();
    let address = home.start(&["--nodes", "2", "--resources", r#"{"disk": 0.5}"#]);
    let again = home.fails(&["start", "--listen", &address]);
    assert!(again.contains("a cluster runs at") && again.contains("manta stop"), "{again}");
    home.ok(&["start", "--address", &address, "--num-cpus", "3"]);
    let status = home.status(&address);
    let names: Vec<_> =
        status["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["node-1", "node-2", "node-3"]);
    let text = home.ok(&["status", "--address", &address]);
    assert!(text.contains("CPU 1, disk 0.5") && text.contains("CPU 3"), "{text}");
    let pids = pids(&status);
    let stopped = home.ok(&["stop"]);
    assert_eq!(stopped, format!("The cluster at {address} has ended.\n"));
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert!(home.fails(&["stop"]).contains("no cluster was started on this machine"));
    assert!(home.fails(&["status", "--address", &address]).contains("no cluster answers at"));
}

#[test]
fn a_killed_node_is_missed_and_its_folder_goes() {
    let home = Home::new();
    let address = home.start(&["--nodes", "2"]);
    let before = home.status(&address);
    let socket = before["nodes"][0]["local_socket"].as_str().unwrap().to_owned();
    kill(pids(&before)[0]);
    wait_until("the head misses the node", || pids(&home.status(&address)).len() == 1);
    wait_until("the node's folder goes", || !Path::new(&socket).exists());
}

#[test]
fn a_cluster_whose_head_was_killed_can_be_stopped() {
    let home = Home::new();
    let address = home.start(&[]);
    let nodes = pids(&home.status(&address));
    kill(home.head_pid());
    home.ok(&["stop"]);
    assert!(!nodes.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    let home = Home::new();
    let no_token = home.fails(&["status"]);
    assert!(
        no_token.contains("no cluster token was found") && no_token.contains("MANTA_TOKEN"),
        "{no_token}"
    );
    let output =
        home.command(&["start", "--address", "127.0.0.1:1"]).env("MANTA_TOKEN", "t").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no cluster answers at 127.0.0.1:1") && text.contains("manta start"), "{text}");
    let output = home.command(&["status", "--address", "nowhere"]).env("MANTA_TOKEN", "t").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("'nowhere' is not an address of the form HOST:PORT"), "{text}");
    let address = home.start(&[]);
    let output =
        home.command(&["status", "--address", &address]).env("MANTA_TOKEN", "wrong").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("the token is not this cluster's"), "{text}");
    let resources = home.run(&["start", "--resources", "[1]"]);
    assert_eq!(resources.status.code(), Some(2));
}

#[test]
fn the_token_is_private_and_kept() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.start(&[]);
    let path = home.0.path().join("token");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read(&path).unwrap();
    home.ok(&["stop"]);
    home.start(&[]);
    assert_eq!(std::fs::read(&path).unwrap(), token);
}

/// The body of an HTTP answer.
fn http_get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_served_when_asked_for() {
    let home = Home::new();
    let text = home.ok(&["start", "--listen", "127.0.0.1:0", "--num-cpus", "1", "--metrics", "0"]);
    let (_, rest) = text.split_once("http://").unwrap();
    let address = rest.split_once("/metrics").unwrap().0;
    let page = http_get(address, "/metrics");
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    assert!(page.contains("\nmanta_node_resource_total{node=\"node-1\",resource=\"CPU\"} 1\n"), "{page}");
    assert!(http_get(address, "/").starts_with("HTTP/1.1 404"));
    let wrong = home.run(&["start", "--metrics", "nowhere"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn completions_are_printed() {
    let home = Home::new();
    assert!(home.ok(&["completions", "bash"]).contains("manta"));
}

#[test]
fn a_start_whose_words_nobody_reads_starts_all_the_same() {
    let home = Home::new();
    let mut start = home.command(&["start", "--listen", "127.0.0.1:0", "--num-cpus", "1", "--metrics", "0"]);
    let mut child = start.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(is_alive(home.head_pid()));
    home.ok(&["stop"]);
}
