//! A cluster of separate processes on this machine: a head, the node that jobs come from, and nodes that may be killed.

use std::{collections::HashSet, ffi::OsString, fs, net::TcpListener, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use manta_tests::{Driver, cluster::ended_within, driver, program};
use serde::Deserialize;

/// CPUs of each node; more than the machine has, so that processes wait for each other as they do on a busy one.
const CPUS: &str = "2";

/// Longer than a node takes that is drained and has its objects moved.
const LEAVE_TIME: Duration = Duration::from_secs(60);

/// In which language a job's own program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Graph {
    Python,
    Rust,
}

impl Graph {
    /// What it is called where people read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "random_graph.py",
            Self::Rust => "rust_graph",
        }
    }
}

/// One row of `manta list nodes`.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    pub name: String,
    pub node_id: String,
    pub pid: u32,
    pub state: String,
}

/// One row of `manta list workers`.
#[derive(Debug, Clone, Deserialize)]
pub struct Worker {
    pub pid: u32,
}

#[derive(Deserialize)]
struct Rows<T> {
    rows: Vec<T>,
}

/// What a cluster used, to look for afterwards.
#[derive(Debug, Default)]
pub struct Traces {
    /// Everything that ran.
    pub pids: Vec<u32>,
    /// Folders of objects in shared memory.
    pub folders: Vec<PathBuf>,
    /// What nodes call their own folders.
    nodes: Vec<String>,
    /// Objects that were seen on a disk.
    pub spilled: HashSet<OsString>,
}

/// The running cluster.
pub struct Nodes {
    home: tempfile::TempDir,
    address: String,
    wanted: usize,
    store_bytes: Option<u64>,
    /// The node that drivers join: killing it would kill what the soak wants to see survive.
    first: Node,
    traces: Traces,
}

impl Nodes {
    /// Starts a head, a first node and `others` more.
    pub fn start(others: u32, store_bytes: Option<u64>) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("manta-soak-").tempdir().context("no temporary folder")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let mut nodes = Self {
            home,
            address,
            wanted: 1 + others as usize,
            store_bytes,
            first: Node { name: String::new(), node_id: String::new(), pid: 0, state: String::new() },
            traces: Traces::default(),
        };
        let listen = nodes.address.clone();
        nodes.manta_start(&["--listen", &listen])?;
        nodes.first = nodes.alive()?.into_iter().next().context("the first node is not there")?;
        nodes.refill()?;
        Ok(nodes)
    }

    fn manta_start(&self, arguments: &[&str]) -> Result<()> {
        let store = self.store_bytes.map(|bytes| bytes.to_string());
        let mut all = vec!["start", "--num-cpus", CPUS];
        all.extend(store.iter().flat_map(|bytes| ["--object-store-memory", bytes.as_str()]));
        all.extend(arguments);
        self.manta(&all).map(|_| ())
    }

    fn manta(&self, arguments: &[&str]) -> Result<String> {
        let ended = driver::manta(self.home.path(), arguments)?;
        if !ended.status.success() {
            bail!("'manta {}' failed: {}", arguments.join(" "), ended.stderr.trim());
        }
        Ok(ended.stdout)
    }

    fn list<T: serde::de::DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        let text = self.manta(&["list", kind, "--json", "--address", &self.address])?;
        Ok(serde_json::from_str::<Rows<T>>(&text).with_context(|| format!("of {kind}: {text}"))?.rows)
    }

    /// Brings the number of nodes up to what it was at the start.
    pub fn refill(&mut self) -> Result<()> {
        let alive = self.alive()?.len();
        let address = self.address.clone();
        for _ in alive..self.wanted {
            self.manta_start(&["--address", &address])?;
        }
        for node in self.alive()? {
            if !self.traces.pids.contains(&node.pid) {
                self.traces.folders.push(objects_of(&node));
                self.traces.nodes.push(short(&node).to_owned());
                self.traces.pids.push(node.pid);
            }
        }
        Ok(())
    }

    /// The nodes that the head knows to be alive.
    pub fn alive(&self) -> Result<Vec<Node>> {
        Ok(self.list::<Node>("nodes")?.into_iter().filter(|node| node.state == "ALIVE").collect())
    }

    /// The nodes that may be killed.
    pub fn mortal(&self) -> Result<Vec<Node>> {
        Ok(self.alive()?.into_iter().filter(|node| node.pid != self.first.pid).collect())
    }

    /// Has a node leave in order, and waits until it has.
    pub fn drain(&self, node: &Node, time: Duration) -> Result<()> {
        let deadline = time.as_secs().to_string();
        let asked =
            ["--node-id", &node.node_id, "--reason", "the soak", "--deadline-remaining-seconds", &deadline];
        self.manta(&[&["drain-node", "--address", &self.address][..], &asked].concat())?;
        ensure!(
            ended_within(node.pid, LEAVE_TIME),
            "{} was drained and is still there after {LEAVE_TIME:?}",
            node.name
        );
        Ok(())
    }

    /// The workers of all nodes.
    pub fn workers(&mut self) -> Result<Vec<Worker>> {
        let workers: Vec<Worker> = self.list("workers")?;
        self.traces.pids.extend(workers.iter().map(|worker| worker.pid));
        Ok(workers)
    }

    /// Notes what lies on the disks of nodes at this moment.
    pub fn note_spilled(&mut self) {
        let sessions = fs::read_dir(format!("/tmp/manta-{}", uid())).into_iter().flatten().flatten();
        for session in sessions {
            for node in &self.traces.nodes {
                let files = fs::read_dir(session.path().join(node).join("spilled"));
                let names = files.into_iter().flatten().flatten().map(|file| file.file_name());
                // Hidden ones are other names of the same.
                let objects = names.filter(|name| !name.as_encoded_bytes().starts_with(b"."));
                self.traces.spilled.extend(objects);
            }
        }
    }

    /// Starts a job on the first node. Its program is in one language, and has tasks and actors in both.
    pub fn driver(&self, graph: Graph, arguments: &[&str]) -> Result<Driver> {
        let mut command = match graph {
            Graph::Python => {
                let mut command = program::isolated(&program::python()?, self.home.path());
                command.arg(program::python_source("random_graph")).env("PYTHONPATH", program::python_path());
                command.arg("--rust").arg(program::rust_fixture("rust_graph")?);
                command
            }
            Graph::Rust => {
                let mut command = program::rust_with_python("rust_graph", self.home.path())?;
                command.arg("--python");
                command
            }
        };
        command.args(arguments).env("MANTA_ADDRESS", &self.address);
        Driver::start(command, graph.name())
    }

    /// The node that is never killed.
    pub fn first(&self) -> &Node {
        &self.first
    }

    /// Where a node keeps its objects.
    pub fn object_folders(&self) -> Result<Vec<PathBuf>> {
        Ok(self.alive()?.iter().map(objects_of).collect())
    }

    /// Ends it, and says what to look for.
    pub fn stop(mut self) -> Result<Traces> {
        let known = self.alive()?.len();
        ensure!(known == self.wanted, "{known} nodes are alive at the end, not {}", self.wanted);
        self.manta(&["stop", "--address", &self.address])?;
        Ok(std::mem::take(&mut self.traces))
    }
}

impl Drop for Nodes {
    /// A soak that failed leaves no cluster behind.
    fn drop(&mut self) {
        if !self.traces.pids.is_empty()
            && let Err(error) = self.manta(&["stop", "--address", &self.address])
        {
            eprintln!("the cluster may still run: {error:#}");
        }
    }
}

fn uid() -> u32 {
    // SAFETY: getuid reads a number and cannot fail.
    unsafe { libc::getuid() }
}

fn short(node: &Node) -> &str {
    &node.node_id[..8]
}

fn objects_of(node: &Node) -> PathBuf {
    PathBuf::from(format!("/dev/shm/manta-{}-{}", uid(), short(node)))
}
