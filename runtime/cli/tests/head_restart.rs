//! A head that is killed with -9 and started again finds its submitted jobs and their files.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::Stdio,
};

use nix::{sys::signal::Signal, unistd::Pid};
use support::{Home, is_alive, kill, pids, wait_until};

/// An address that stays the same for the head that comes back.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn fifo(path: &Path) -> String {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    path.display().to_string()
}

struct Cluster {
    home: Home,
    address: String,
}

impl Cluster {
    fn start() -> Self {
        let (home, address) = (Home::new(), free_address());
        home.ok(&["start", "--listen", &address, "--num-cpus", "1"]);
        Self { home, address }
    }

    fn job(&self, command: &str, rest: &[&str]) -> String {
        self.home.ok(&[&["job", command, "--address", &self.address], rest].concat())
    }

    fn submit(&self, id: &str, options: &[&str], script: &str) {
        let before = ["--no-wait", "--submission-id", id];
        self.job("submit", &[&before[..], options, &["--", "sh", "-c", script]].concat());
    }

    fn state(&self, id: &str) -> serde_json::Value {
        let jobs: serde_json::Value = serde_json::from_str(&self.job("list", &["--json"])).unwrap();
        let jobs = jobs.as_array().unwrap();
        jobs.iter().find(|job| job["submission_id"] == id).unwrap_or(&serde_json::Value::Null).clone()
    }

    fn await_state(&self, id: &str, state: &str) {
        wait_until(&format!("{id} is {state}"), || self.state(id)["status"] == state);
    }
}

#[test]
fn submitted_jobs_and_their_packages_outlive_the_head() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("hello.txt"), "words of the package\n").unwrap();
    let working_dir = ["--working-dir", files.to_str().unwrap()];
    let (waits, quick) = (fifo(&folder.path().join("waits")), fifo(&folder.path().join("quick")));
    cluster.submit("done", &working_dir, "cat hello.txt");
    cluster.submit("waits", &working_dir, &format!("cat {waits} hello.txt"));
    cluster.submit("quick", &[], &format!("cat {quick}; exit 3"));
    cluster.await_state("done", "SUCCEEDED");
    cluster.await_state("waits", "RUNNING");
    cluster.await_state("quick", "RUNNING");
    let driver = u32::try_from(cluster.state("quick")["driver_pid"].as_u64().unwrap()).unwrap();
    let packages = cluster.home.0.path().join("heads").join(cluster.address.rsplit_once(':').unwrap().1);
    let count = || fs::read_dir(packages.join("packages")).unwrap().count();
    assert_eq!(count(), 1);

    kill(cluster.home.head_pid());
    // It ends while nobody can be told.
    fs::File::options().write(true).open(&quick).unwrap().write_all(b"x").unwrap();
    wait_until("the job's driver has ended", || !is_alive(driver));
    let said = cluster.home.ok(&["start", "--head", "--listen", &cluster.address]);
    assert!(said.starts_with("A head listens on") && !said.contains("runs no tasks"), "{said}");

    assert_eq!(cluster.state("done")["status"], "SUCCEEDED");
    cluster.await_state("quick", "FAILED");
    assert!(cluster.state("quick")["message"].as_str().unwrap().contains("exit code 3"));
    cluster.await_state("waits", "RUNNING");
    // The same files are known already, and a new job on them needs nothing to be put again.
    cluster.submit("again", &working_dir, "cat hello.txt");
    cluster.await_state("again", "SUCCEEDED");
    assert_eq!(count(), 1);
    fs::File::options().write(true).open(&waits).unwrap().write_all(b"go on\n").unwrap();
    cluster.await_state("waits", "SUCCEEDED");
    let printed = cluster.job("logs", &["waits"]);
    assert!(printed.contains("go on\nwords of the package"), "{printed}");
    cluster.job("delete", &["quick"]);
    kill(cluster.home.head_pid());
    cluster.home.ok(&["start", "--head", "--listen", &cluster.address]);
    assert_eq!(cluster.state("quick"), serde_json::Value::Null);
    cluster.home.ok(&["stop"]);
    assert!(!packages.exists(), "the next cluster begins anew");
}

#[test]
fn a_cluster_in_the_foreground_starts_its_head_again_and_ends_when_told_to() {
    let (home, address) = (Home::new(), free_address());
    let start = ["start", "--block", "--listen", &address, "--num-cpus", "1"];
    let mut child = home.command(&start).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains(&address)));
    let before = home.status(&address);
    let (head, nodes) = (home.head_pid(), pids(&before));
    kill(head);
    assert!(said.any(|line| line.contains("has died and was started again")));
    wait_until("the head is another one", || home.head_pid() != head);
    wait_until("its node is back", || pids(&home.status(&address)) == nodes);
    assert_eq!(home.status(&address)["cluster_id"], before["cluster_id"]);
    nix::sys::signal::kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert!(child.wait().unwrap().success());
    wait_until("nothing is left", || !nodes.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn what_a_killed_start_in_the_foreground_left_is_taken_over_by_the_next() {
    let (home, address) = (Home::new(), free_address());
    let start = ["start", "--block", "--listen", &address, "--num-cpus", "1"];
    let begin = |command: &[&str]| {
        let mut child = home.command(command).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        (child, said)
    };
    let (mut first, mut said) = begin(&start);
    assert!(said.any(|line| line.contains("manta stop")));
    let (head, nodes) = (home.head_pid(), pids(&home.status(&address)));
    kill(first.id());
    first.wait().unwrap();

    // In the background it is a cluster that runs already.
    let refused = home.run(&["start", "--listen", &address]);
    assert!(!refused.status.success());
    let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(sentence.contains("runs at") && sentence.contains("manta stop"), "{sentence}");

    let (mut second, mut said) = begin(&start);
    assert!(said.any(|line| line.contains("Took over the head")));
    assert!(said.any(|line| line.contains("which was left")));
    assert!(said.any(|line| line.contains("manta stop")));
    assert_eq!(
        (home.head_pid(), pids(&home.status(&address))),
        (head, nodes.clone()),
        "nothing is there twice"
    );

    // The head goes as well.
    kill(second.id());
    second.wait().unwrap();
    kill(head);
    let (mut third, mut said) = begin(&start);
    assert!(said.any(|line| line.contains("which was left")));
    wait_until("its node is back", || pids(&home.status(&address)) == nodes);
    home.ok(&["stop"]);
    assert!(third.wait().unwrap().success(), "it does not start the head again");
    assert!(home.run(&["status", "--address", &address]).status.code() == Some(1));
    wait_until("nothing is left", || !nodes.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn a_head_is_started_as_in_ray_with_a_node_beside_it_or_alone() {
    let (home, address) = (Home::new(), free_address());
    let port = address.rsplit_once(':').unwrap().1;
    let ray = ["--node-ip-address", "127.0.0.1", "--dashboard-host", "0.0.0.0", "--num-cpus", "1"];
    let said = home.ok(&[&["start", "--head", "--port", port], &ray[..]].concat());
    assert!(said.starts_with(&format!("1 node started, with its head at {address}: node-1")), "{said}");
    assert_eq!(pids(&home.status(&address)).len(), 1);
    let head = home.head_pid();
    kill(head);
    let said = home.ok(&["start", "--head", "--port", port]);
    assert!(said.starts_with("A head listens on"), "{said}");
    wait_until("its node is back", || pids(&home.status(&address)).len() == 1);
    home.ok(&["stop"]);
    let said = home.ok(&["start", "--head", "--nodes", "0", "--port", port]);
    assert!(said.contains("It runs no tasks itself"), "{said}");
    assert!(pids(&home.status(&address)).is_empty());
    home.ok(&["stop"]);
    let both = home.run(&["start", "--port", port, "--listen", &address]);
    assert_eq!(both.status.code(), Some(2));
}
