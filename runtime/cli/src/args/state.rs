//! Arguments of what shows the cluster's state row by row.

use clap::Args;
use manta_proto::DEFAULT_ADDRESS;

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
    /// Objects, as each process that owns one or has refs of it knows it, the largest first
    Objects,
    /// Placement groups, also those that were removed last
    PlacementGroups,
    /// Actors, also the newest of those that are dead
    Actors,
    /// Environments (runtime_env) that nodes have made, or could not make
    RuntimeEnvs,
    /// Jobs that were submitted with 'manta job submit'
    SubmittedJobs,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tasks => "tasks",
            Self::Nodes => "nodes",
            Self::Jobs => "jobs",
            Self::Workers => "workers",
            Self::Objects => "objects",
            Self::PlacementGroups => "placement-groups",
            Self::Actors => "actors",
            Self::RuntimeEnvs => "runtime-envs",
            Self::SubmittedJobs => "submitted-jobs",
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

/// Arguments of `manta memory`.
#[derive(Args)]
pub struct MemoryArgs {
    /// The cluster's head
    #[arg(long, value_name = "HOST:PORT", env = "MANTA_ADDRESS", default_value = DEFAULT_ADDRESS)]
    pub address: String,
    /// Add up by node, or by the task that made the objects
    #[arg(long, value_enum, ignore_case = true)]
    pub group_by: Option<GroupBy>,
    /// What comes first
    #[arg(long, value_enum, ignore_case = true, default_value = "object-size")]
    pub sort_by: SortBy,
    /// The unit of sizes
    #[arg(long, value_enum, ignore_case = true, default_value = "B")]
    pub units: Units,
    /// Only those that have this value (key=value) or have not (key!=value); the keys are those of 'manta list objects --detail'
    #[arg(long = "filter", short, value_name = "KEY=VALUE", value_parser = parse_filter)]
    pub filters: Vec<Filter>,
    /// Show so many objects, after filters and sorting
    #[arg(long, short, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub num_entries: u32,
    /// Show the stores of the nodes alone
    #[arg(long)]
    pub stats_only: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How `manta memory` adds up.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// By node
    #[value(alias = "node_address")]
    Node,
    /// By the task that made the object
    #[value(alias = "stack_trace")]
    Task,
}

/// How `manta memory` sorts.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SortBy {
    /// The largest first
    #[value(alias = "object_size", alias = "size")]
    ObjectSize,
    /// By process
    Pid,
    /// By what keeps the object
    #[value(alias = "reference_type")]
    ReferenceType,
}

/// Units of sizes.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Units {
    /// Bytes
    #[value(name = "B")]
    B,
    /// Thousands
    #[value(name = "KB")]
    Kb,
    /// Millions
    #[value(name = "MB")]
    Mb,
    /// Thousands of millions
    #[value(name = "GB")]
    Gb,
}
