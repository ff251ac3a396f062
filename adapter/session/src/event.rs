//! What happens to a session: one closed enum, fed by the edges in the order in which it happened.

use dap::Message;

use crate::ids::{Generation, JobId, NodeId, TargetId, TaskId};

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// The client sent a message.
    Client(Message),
    /// The client sent a frame that is no message.
    ClientMalformed(dap::Malformed),
    /// The client's connection ended.
    ClientGone,
    /// The cluster that `Effect::Connect` or `Effect::StartCluster` asked for is at hand.
    Connected {
        /// Its nodes.
        nodes: Vec<Node>,
        /// Its targets.
        targets: Vec<Target>,
    },
    /// That cluster cannot be had; the sentence says why and what to do.
    ConnectFailed(String),
    /// Nodes joined or left.
    ClusterView(Vec<Node>),
    /// The cluster's connection is lost; the sentence says why.
    ClusterLost(String),
    /// The connection to the head broke; the edge tries to make it anew. Followed by `Connected` or `ClusterLost`. The sentence says why.
    ClusterAway(String),
    /// A target appeared.
    TargetUp(Target),
    /// A target is gone.
    TargetDown {
        /// Which.
        target: TargetId,
        /// Why, as a sentence.
        cause: String,
    },
    /// A target sent a message.
    FromTarget {
        /// Which.
        target: TargetId,
        /// What.
        message: Message,
    },
    /// A task that was paused once has ended.
    TaskEnded {
        /// Who ran it.
        target: TargetId,
        /// Which.
        task: TaskId,
    },
    /// A node answered for its targets.
    ConfigAck(ConfigAck),
    /// A task printed something.
    Output(Output),
    /// A job started.
    JobStarted {
        /// Which.
        job: JobId,
        /// Its name.
        name: String,
    },
    /// A job ended.
    JobEnded {
        /// Which.
        job: JobId,
        /// Why, as a sentence; empty when it simply came to its end.
        cause: String,
    },
    /// The driver that `Effect::StartDriver` asked for runs.
    DriverStarted {
        /// Its process id.
        pid: u32,
    },
    /// It could not be started; the sentence says why and what to do.
    DriverFailed(String),
    /// It printed something.
    DriverOutput {
        /// Whether to stderr.
        stderr: bool,
        /// What.
        text: String,
    },
    /// It ended.
    DriverExited {
        /// Its exit code; 128 and the signal's number when a signal ended it.
        code: i32,
        /// How it ended, as a sentence, where that was not an ordinary exit.
        cause: Option<String>,
    },
    /// A timer that `Effect::SetTimer` asked for has run out.
    Timer(TimerId),
}

/// A node, as the session sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its name, for people.
    pub name: String,
}

/// A target, as the session sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its id.
    pub id: TargetId,
    /// Where it runs, for people; empty when that says nothing.
    pub node_name: String,
    /// What it is, for people: "python 3.12 worker 4711 on node-1".
    pub description: String,
}

/// A node's answer for all its targets.
#[derive(Debug, Clone)]
pub struct ConfigAck {
    /// Under this generation its targets run now.
    pub generation: Generation,
    /// Which node.
    pub node: NodeId,
    /// What its targets answered.
    pub targets: Vec<TargetAck>,
    /// Why the node cannot answer for its targets, as a sentence.
    pub error: Option<String>,
}

/// A target's answer.
#[derive(Debug, Clone)]
pub struct TargetAck {
    /// Which target.
    pub target: TargetId,
    /// The body of its answer to `mantaConfigure`, or why there is none.
    pub body: Result<String, String>,
}

/// What a task printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// The task's name; empty when nobody knows which task it was.
    pub task_name: String,
    /// The task's id, where it is known.
    pub task: Option<TaskId>,
    /// The node, for people.
    pub node_name: String,
    /// The worker.
    pub pid: u32,
    /// Whether to stderr.
    pub stderr: bool,
    /// What.
    pub text: String,
}

/// Which timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerId {
    /// The window in which stops are gathered is over.
    Announce,
    /// A step has held its answer long enough. The number tells steps apart.
    Step(u64),
    /// Changes of breakpoints have waited long enough for the one before them.
    PublishGate(Generation),
    /// Nodes have had long enough to acknowledge.
    Acknowledge(Generation),
    /// It is time to say how many tasks ran on.
    PassedReport,
    /// Requests to targets grow older.
    Sweep,
    /// Nodes have had long enough to tell what is still paused, after a head's return. The number tells returns apart.
    Returned(u64),
}
