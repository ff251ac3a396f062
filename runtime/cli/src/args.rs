//! The command line.

mod job;
mod state;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand};
use manta_node::resources::{BESIDE_HEAD, Resources};
use manta_proto::DEFAULT_ADDRESS;

pub use self::job::{JobArgs, JobCommand, JobListArgs, JobLogsArgs, JobStopArgs, JobSubmitArgs};
pub use self::state::{
    Filter, GetArgs, GroupBy, Kind, ListArgs, MemoryArgs, SortBy, StateArgs, SummaryArgs, Units,
};

/// Runs tasks on clusters, and debugs them.
#[derive(Parser)]
#[command(name = "manta", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  manta start                               a cluster on this machine
  manta start --nodes 2 --num-cpus 4        with two nodes of four CPUs each
  manta start --address 10.0.0.1:6480       this machine joins that cluster
  manta status                              nodes, jobs and the debug session
  manta list tasks --filter state=FAILED    what failed, and with which error
  manta summary tasks                       how many there are of each name and state
  manta memory --group-by task              which tasks' results take how much memory
  manta timeline -o trace.json              what ran where and when, for https://ui.perfetto.dev
  manta job submit --working-dir . -- python main.py
                                            run a program on the cluster, with the files of this folder
  manta logs -f --task 4f2a                 what a task prints
  manta explain 4f2a                        why a task does not run
  manta stack --python                      where all workers are
  manta dap                                 a debug adapter on stdin and stdout, for editors
  manta stop                                end what runs on this machine

The cluster's address is taken from MANTA_ADDRESS, its token from MANTA_TOKEN or ~/.manta/token.
MANTA_HOME moves ~/.manta; MANTA_LOG sets what goes to the logs, for instance MANTA_LOG=debug.";

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Start a cluster on this machine, or join one
    Start(StartArgs),
    /// Stop the cluster, or this machine's part of it
    Stop(StopArgs),
    /// Show nodes, jobs and the debug session
    Status(StatusArgs),
    /// List tasks, actors, objects, nodes, jobs, workers or placement groups
    List(ListArgs),
    /// Show all there is about one of them
    Get(GetArgs),
    /// Count them, tasks by name and state
    Summary(SummaryArgs),
    /// Show which objects there are, how large they are, and what keeps them
    Memory(MemoryArgs),
    /// Write a trace of the tasks, for Perfetto
    Timeline(TimelineArgs),
    /// Run a program as a job of the cluster, and look after it
    #[command(subcommand)]
    Job(JobCommand),
    /// Show what workers, drivers and tasks printed
    Logs(LogsArgs),
    /// Say for each node what keeps a task, actor or placement group from running there
    Explain(ExplainArgs),
    /// Show where the threads of workers are
    Stack(StackArgs),
    /// Let a node finish what it runs, give it nothing new, and have it leave
    DrainNode(DrainArgs),
    /// Run a private cluster in this process, for one driver
    Local(LocalArgs),
    /// Debug a cluster: speak DAP with an editor or a script
    Dap(DapArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Run a head in this process
    #[command(hide = true)]
    Head(HeadArgs),
    /// Run a node in this process
    #[command(hide = true)]
    Node(NodeArgs),
    /// Debug one native process: a debug adapter for it alone
    DebugAgent(DebugAgentArgs),
    /// Clean up after a node
    #[command(hide = true)]
    Watch,
}

/// What a node has.
#[derive(Args, Clone)]
pub struct ResourceArgs {
    /// CPUs of each node [default: all of the machine's]
    #[arg(long, value_name = "N")]
    pub num_cpus: Option<f64>,
    /// GPUs of each node [default: all that are found]
    #[arg(long, value_name = "N")]
    pub num_gpus: Option<f64>,
    /// Bytes of memory that the tasks of each node may ask for together [default: seven tenths of the machine's]
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<f64>,
    /// Bytes of shared memory for the objects of each node; what is above goes to disk [default: three tenths of the machine's memory]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(STORE_BYTES_MIN..))]
    pub object_store_memory: Option<u64>,
    /// Further resources of each node, as JSON: '{"disk": 0.5}'
    #[arg(long, value_name = "JSON", value_parser = parse_resources)]
    pub resources: Option<NamedAmounts>,
    /// Labels of each node, for tasks that ask for nodes with such labels: zone=a,kind=big
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// The share of the machine's memory above which a node kills a worker, from 0 to 1; 1 for never [default: 0.95]
    #[arg(long, value_name = "SHARE", env = "MANTA_MEMORY_USAGE_THRESHOLD", hide_env = true)]
    pub memory_usage_threshold: Option<f64>,
    /// Milliseconds between two looks at the memory [default: 250]
    #[arg(long, value_name = "MS", env = "MANTA_MEMORY_MONITOR_REFRESH_MS", hide = true)]
    pub memory_monitor_refresh_ms: Option<u64>,
}

/// A store that is smaller holds nothing of use.
const STORE_BYTES_MIN: u64 = 1024 * 1024;

/// Resources by name.
pub type NamedAmounts = std::collections::BTreeMap<String, f64>;

fn parse_resources(text: &str) -> Result<NamedAmounts, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("resources are a JSON object of names and numbers: {error}"))
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("a label is KEY=VALUE, which '{text}' is not")),
    }
}

impl ResourceArgs {
    /// For a node.
    ///
    /// # Errors
    /// When an amount is no amount.
    pub fn resources(&self) -> anyhow::Result<Resources> {
        let cpus = self.num_cpus.unwrap_or_else(manta_node::machine::cpus);
        let gpus = self.num_gpus.unwrap_or_else(manta_node::machine::gpus);
        let memory = self.memory.unwrap_or_else(manta_node::machine::memory_for_tasks);
        // What is given by name goes over what was found; CPUs have an argument of their own.
        let found = [("GPU", gpus), ("memory", memory)];
        let given = self.resources.iter().flatten().map(|(name, amount)| (name.as_str(), *amount));
        Resources::from_amounts(found.into_iter().chain(given).chain([("CPU", cpus)]))
            .map_err(anyhow::Error::msg)
    }

    /// The same for the node that is started with the head.
    #[must_use]
    pub fn beside_head(&self) -> Self {
        let mut args = self.clone();
        args.resources.get_or_insert_default().insert(BESIDE_HEAD.to_owned(), 1.0);
        args
    }

    /// The limit of a node's object store.
    #[must_use]
    pub fn object_store_bytes(&self) -> u64 {
        self.object_store_memory.unwrap_or_else(manta_node::machine::object_store_bytes)
    }

    /// When a node kills a worker for want of memory.
    ///
    /// # Errors
    /// When the share is none.
    pub fn memory_watch(&self) -> anyhow::Result<manta_node::MemoryWatch> {
        let mut watch = manta_node::MemoryWatch::default();
        if let Some(threshold) = self.memory_usage_threshold {
            anyhow::ensure!(
                (0.0..=1.0).contains(&threshold),
                "the memory usage threshold is a share from 0 to 1, not {threshold}"
            );
            watch.threshold = threshold;
        }
        if let Some(refresh) = self.memory_monitor_refresh_ms {
            watch.refresh = std::time::Duration::from_millis(refresh);
        }
        Ok(watch)
    }

    /// The labels of a node.
    #[must_use]
    pub fn labels(&self) -> std::collections::HashMap<String, String> {
        self.labels.iter().cloned().collect()
    }

    /// The same arguments for a child process.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if let Some(cpus) = self.num_cpus {
            args.extend(["--num-cpus".to_owned(), cpus.to_string()]);
        }
        if let Some(gpus) = self.num_gpus {
            args.extend(["--num-gpus".to_owned(), gpus.to_string()]);
        }
        if let Some(memory) = self.memory {
            args.extend(["--memory".to_owned(), memory.to_string()]);
        }
        if let Some(bytes) = self.object_store_memory {
            args.extend(["--object-store-memory".to_owned(), bytes.to_string()]);
        }
        if let Some(threshold) = self.memory_usage_threshold {
            args.extend(["--memory-usage-threshold".to_owned(), threshold.to_string()]);
        }
        if let Some(refresh) = self.memory_monitor_refresh_ms {
            args.extend(["--memory-monitor-refresh-ms".to_owned(), refresh.to_string()]);
        }
        for (key, value) in &self.labels {
            args.extend(["--labels".to_owned(), format!("{key}={value}")]);
        }
        if let Some(resources) = &self.resources {
            args.extend(["--resources".to_owned(), serde_json::json!(resources).to_string()]);
        }
        args
    }
}

/// Arguments of `manta start`.
#[derive(Args)]
pub struct StartArgs {
    /// Start a head, and a node beside it, as is done without --address too: for those who know the word from Ray
    #[arg(long, conflicts_with = "address")]
    pub head: bool,
    /// Where the head writes down what it has to know when it is started again [default: ~/.manta/heads/PORT]
    #[arg(long, value_name = "DIR", conflicts_with = "address")]
    pub state: Option<PathBuf>,
    /// Nodes to start; with a head that was killed, less those of this machine that it still has; 0 for the head alone
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub nodes: u32,
    /// Join the cluster whose head is there, instead of starting one
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// Where the head listens; port 0 takes a free one. Other machines can reach it only on an address of theirs
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_ADDRESS, conflicts_with = "address")]
    pub listen: SocketAddr,
    /// The port of --listen alone, on 127.0.0.1 or --node-ip-address
    #[arg(long, value_name = "PORT", conflicts_with_all = ["address", "listen"])]
    pub port: Option<u16>,
    /// The address of --listen alone: one of this machine that others can reach
    #[arg(long, value_name = "IP", conflicts_with_all = ["address", "listen"])]
    pub node_ip_address: Option<IpAddr>,
    #[command(flatten)]
    pub without_effect: WithoutEffect,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Serve metrics for Prometheus there; without a host on 127.0.0.1
    #[arg(long, value_name = "[HOST:]PORT", value_parser = parse_metrics, conflicts_with = "address")]
    pub metrics: Option<SocketAddr>,
    /// Stay in the foreground until Ctrl-C, and start a head again that dies before
    #[arg(long, visible_alias = "block")]
    pub foreground: bool,
}

impl StartArgs {
    /// With the parts of the head's address put together.
    #[must_use]
    pub fn with_whole_address(mut self) -> Self {
        if let Some(port) = self.port {
            self.listen.set_port(port);
        }
        if let Some(ip) = self.node_ip_address {
            self.listen.set_ip(ip);
        }
        self
    }
}

/// What commands for Ray have for what does not exist here: a dashboard, and reports of use.
#[derive(Args)]
pub struct WithoutEffect {
    #[arg(long, hide = true, value_name = "BOOL")]
    include_dashboard: Option<String>,
    #[arg(long, hide = true, value_name = "HOST")]
    dashboard_host: Option<String>,
    #[arg(long, hide = true, value_name = "PORT")]
    dashboard_port: Option<u16>,
    #[arg(long, hide = true)]
    disable_usage_stats: bool,
}

/// Arguments of `manta stop`.
#[derive(Args)]
pub struct StopArgs {
    /// The cluster to stop [default: MANTA_ADDRESS, or all that was started on this machine]
    #[arg(long, value_name = "HOST:PORT", env = "MANTA_ADDRESS")]
    pub address: Option<String>,
}

/// Arguments of `manta status`.
#[derive(Args)]
pub struct StatusArgs {
    /// The cluster's head
    #[arg(long, value_name = "HOST:PORT", env = "MANTA_ADDRESS", default_value = DEFAULT_ADDRESS)]
    pub address: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manta timeline`.
#[derive(Args)]
pub struct TimelineArgs {
    /// The cluster's head
    #[arg(long, value_name = "HOST:PORT", env = "MANTA_ADDRESS", default_value = DEFAULT_ADDRESS)]
    pub address: String,
    /// The file to write; stdout without it
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `manta local`.
#[derive(Args)]
pub struct LocalArgs {
    /// Nodes of the cluster
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub nodes: u32,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// End when stdin ends: the driver holds its other side
    #[arg(long)]
    pub lifeline_stdin: bool,
    /// Print one line of JSON when the cluster is ready
    #[arg(long)]
    pub json: bool,
}

fn parse_metrics(text: &str) -> Result<SocketAddr, String> {
    let address = if text.contains(':') { text.to_owned() } else { format!("127.0.0.1:{text}") };
    address
        .parse()
        .map_err(|_| format!("'{text}' is no address such as 9090, 127.0.0.1:9090 or 0.0.0.0:9090"))
}

/// Arguments of `manta head`.
#[derive(Args)]
pub struct HeadArgs {
    /// Serve metrics for Prometheus there
    #[arg(long, value_name = "[HOST:]PORT", value_parser = parse_metrics)]
    pub metrics: Option<SocketAddr>,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_ADDRESS)]
    pub listen: SocketAddr,
    /// Where it writes down what it has to know when it is killed and started again [default: ~/.manta/heads/PORT]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Go into the background once ready
    #[arg(long)]
    pub daemon: bool,
}

/// Arguments of `manta node`.
#[derive(Args)]
pub struct NodeArgs {
    /// The head
    #[arg(long, value_name = "HOST:PORT", env = "MANTA_ADDRESS", default_value = DEFAULT_ADDRESS)]
    pub address: String,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Go into the background once ready
    #[arg(long)]
    pub daemon: bool,
}

/// Arguments of `manta dap`.
#[derive(Args)]
pub struct DapArgs {
    /// Listen for clients there instead of speaking on stdin and stdout
    #[arg(long, value_name = "[HOST:]PORT")]
    pub listen: Option<String>,
    /// Write each message of the conversation to this file, one a line
    #[arg(long, value_name = "FILE")]
    pub log_dap: Option<PathBuf>,
}

/// Arguments of `manta debug-agent`.
#[derive(Args)]
#[group(skip)]
#[command(after_help = "\
Examples:
  manta debug-agent --pid 4711 --listen 127.0.0.1:5678    any DAP client attaches at this address
  manta debug-agent --pid 4711 --dump                     the stacks of all its threads, and nothing else")]
pub struct DebugAgentArgs {
    /// The process
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
    /// Speak with a node on stdin and stdout
    #[arg(long, required_unless_present_any = ["listen", "dump"])]
    pub stdio: bool,
    /// Ask the node for debug information that is not on this machine
    #[arg(long, requires = "stdio")]
    pub ask_for_debug_info: bool,
    /// Listen there too, for debug adapters of this machine that know the cluster's token
    #[arg(long, value_name = "SOCKET", requires = "stdio")]
    pub line: Option<PathBuf>,
    /// Be an ordinary debug adapter for the client that connects here
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "stdio")]
    pub listen: Option<SocketAddr>,
    /// Print the process's native stacks as JSON, and leave it alone
    #[arg(long, conflicts_with_all = ["stdio", "listen"])]
    pub dump: bool,
}

/// Where the cluster is.
#[derive(Args)]
pub struct AddressArgs {
    /// The cluster's head
    #[arg(long, value_name = "HOST:PORT", env = "MANTA_ADDRESS", default_value = DEFAULT_ADDRESS)]
    pub address: String,
}

/// Arguments of `manta logs`.
#[derive(Args)]
#[command(after_help = LOGS_EXAMPLES)]
pub struct LogsArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// A log's name, or a pattern with * and ?; without it and without an id, the logs are listed
    pub name: Option<String>,
    /// What this task printed: its id, or the beginning of it
    #[arg(long, value_name = "ID", group = "whose")]
    pub task: Option<String>,
    /// What this actor's worker printed
    #[arg(long, value_name = "ID", group = "whose")]
    pub actor: Option<String>,
    /// What this worker printed: its id, or the beginning of it, or its process id
    #[arg(long, alias = "pid", value_name = "ID", group = "whose")]
    pub worker: Option<String>,
    /// What the driver of this submitted job printed
    #[arg(long, value_name = "ID", group = "whose")]
    pub job: Option<String>,
    /// Only logs of this node: its name, or its id
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// What went to stderr, in place of what went to stdout
    #[arg(long)]
    pub err: bool,
    /// Only so many last lines; -1 for all that are kept
    #[arg(long, value_name = "N", default_value_t = 1000, allow_negative_numbers = true)]
    pub tail: i64,
    /// Go on until the writer ends
    #[arg(long, short)]
    pub follow: bool,
    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

const LOGS_EXAMPLES: &str = "\
Examples:
  manta logs                          the logs of all nodes
  manta logs --task 4f2a              what a task printed; the beginning of its id is enough
  manta logs --worker 4711 --err      what the worker with this process id wrote to stderr
  manta logs -f --job nightly         what a submitted job's driver prints
  manta logs 'runtime_env-*'          what pip and uv said";

/// Arguments of `manta explain`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  manta explain                a line for each kind of thing that waits
  manta explain 4f2a           a task, an actor or a placement group, by the beginning of its id
  manta explain --name train   all that are called so")]
pub struct ExplainArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// The id of a task, an actor or a placement group, or the beginning of it; all that waits without it
    pub id: Option<String>,
    /// Only what has this name
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    pub name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manta stack`.
#[derive(Args)]
pub struct StackArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// Only these workers, by id, the beginning of it, or process id
    #[arg(long, value_name = "ID")]
    pub worker: Vec<String>,
    /// Only the worker that runs this task
    #[arg(long, value_name = "ID")]
    pub task: Option<String>,
    /// Only workers of this node: its name, or its id
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Only Python stacks of Python workers, which is quicker
    #[arg(long)]
    pub python: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manta drain-node`.
#[derive(Args)]
#[command(after_help = "\
Example:
  manta drain-node --node-id node-2 --reason 'kernel update' --deadline-remaining-seconds 600")]
pub struct DrainArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// The node: its id, the beginning of it, or its name
    #[arg(long, value_name = "NODE")]
    pub node_id: String,
    /// Why, for those who wonder; Ray's DRAIN_NODE_REASON_PREEMPTION and DRAIN_NODE_REASON_IDLE_TERMINATION are as good as any
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The same in more words
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason_message: String,
    /// The node leaves after so many seconds, whatever it runs then; without it, it waits
    #[arg(long, alias = "deadline", value_name = "SECONDS")]
    pub deadline_remaining_seconds: Option<u64>,
}

/// Arguments of `manta completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn resource_arguments_reach_a_child_unchanged() {
        let parse = |args: &[String]| {
            let all = ["manta", "node"].iter().map(|arg| (*arg).to_owned()).chain(args.iter().cloned());
            match Cli::try_parse_from(all).unwrap().command {
                Command::Node(args) => args.resources,
                _ => unreachable!("the command is given above"),
            }
        };
        let given =
            ["--num-cpus", "1.5", "--resources", r#"{"GPU":2}"#, "--memory", "2048", "--labels", "a=b,c=d"];
        let given: Vec<_> = given.map(str::to_owned).into();
        let read = parse(&given);
        assert_eq!(read.resources().unwrap().to_string(), "CPU 1.5, GPU 2, memory 2 KiB");
        let passed_on = parse(&read.to_args());
        assert_eq!(passed_on.resources().unwrap().to_string(), "CPU 1.5, GPU 2, memory 2 KiB");
        assert_eq!(passed_on.labels, read.labels);
        assert_eq!(read.labels()["c"], "d");
    }
}
