//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use manta_node::resources::Resources;
use manta_proto::DEFAULT_ADDRESS;

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
  manta timeline -o trace.json              what ran where and when, for https://ui.perfetto.dev
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
    /// List tasks, nodes, jobs, workers or placement groups
    List(ListArgs),
    /// Show all there is about one of them
    Get(GetArgs),
    /// Count them, tasks by name and state
    Summary(SummaryArgs),
    /// Write a trace of the tasks, for Perfetto
    Timeline(TimelineArgs),
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
    /// Debug one native process for one client
    #[command(hide = true)]
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

    /// The limit of a node's object store.
    #[must_use]
    pub fn object_store_bytes(&self) -> u64 {
        self.object_store_memory.unwrap_or_else(manta_node::machine::object_store_bytes)
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
    /// Start the head alone: one that was killed comes back so, and its nodes find it by themselves
    #[arg(long, conflicts_with_all = ["address", "nodes"])]
    pub head: bool,
    /// Where the head writes down what it has to know when it is started again [default: ~/.manta/heads/PORT]
    #[arg(long, value_name = "DIR", conflicts_with = "address")]
    pub state: Option<PathBuf>,
    /// Nodes to start
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub nodes: u32,
    /// Join the cluster whose head is there, instead of starting one
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// Where the head listens; port 0 takes a free one. Other machines can reach it only on an address of theirs
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_ADDRESS, conflicts_with = "address")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Serve metrics for Prometheus there; without a host on 127.0.0.1
    #[arg(long, value_name = "[HOST:]PORT", value_parser = parse_metrics, conflicts_with = "address")]
    pub metrics: Option<SocketAddr>,
    /// Stay in the foreground until Ctrl-C
    #[arg(long)]
    pub foreground: bool,
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

/// What can be listed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Attempts of tasks, the newest first
    Tasks,
    /// Nodes, also those that were lost
    Nodes,
    /// Jobs, also those that ended
    Jobs,
    /// Processes that run tasks
    Workers,
    /// Placement groups, also those that were removed last
    PlacementGroups,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tasks => "tasks",
            Self::Nodes => "nodes",
            Self::Jobs => "jobs",
            Self::Workers => "workers",
            Self::PlacementGroups => "placement-groups",
        })
    }
}

/// `key=value` or `key!=value`.
#[derive(Clone)]
pub struct Filter {
    /// A column by its name in JSON.
    pub key: String,
    /// What it is compared with.
    pub value: String,
    /// Whether it must differ.
    pub differs: bool,
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("a filter is written key=value or key!=value, for instance state=FAILED")?;
    let (key, differs) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
    Ok(Filter { key: key.trim().to_owned(), value: value.trim().to_owned(), differs })
}

/// What is asked for.
#[derive(Args)]
pub struct StateArgs {
    /// Of what
    pub kind: Kind,
    /// The cluster's head
    #[arg(long, value_name = "HOST:PORT", env = "MANTA_ADDRESS", default_value = DEFAULT_ADDRESS)]
    pub address: String,
    /// Only those that have this value (key=value) or have not (key!=value); the beginning of an id is enough
    #[arg(long = "filter", short, value_name = "KEY=VALUE", value_parser = parse_filter)]
    pub filters: Vec<Filter>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manta list`.
#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// Rows to show, after the filters
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Go on where the answer before ended
    #[arg(long, value_name = "PAGE")]
    pub page: Option<String>,
    /// Show all that is known of each, one below the other
    #[arg(long)]
    pub detail: bool,
}

/// Arguments of `manta get`.
#[derive(Args)]
pub struct GetArgs {
    /// Of what
    pub kind: Kind,
    /// Its id, or the beginning of it
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub id: String,
    /// The cluster's head
    #[arg(long, value_name = "HOST:PORT", env = "MANTA_ADDRESS", default_value = DEFAULT_ADDRESS)]
    pub address: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manta summary`.
#[derive(Args)]
pub struct SummaryArgs {
    #[command(flatten)]
    pub state: StateArgs,
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
pub struct DebugAgentArgs {
    /// The process
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
    /// Speak with a node on stdin and stdout
    #[arg(long, required_unless_present = "listen")]
    pub stdio: bool,
    /// Be an ordinary debug adapter for the client that connects here
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "stdio")]
    pub listen: Option<SocketAddr>,
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
