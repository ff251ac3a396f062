//! Arguments of `manta job`.

use clap::{Args, Subcommand};

use super::{AddressArgs, NamedAmounts, parse_resources};

/// What `manta job` does.
#[derive(Subcommand)]
pub enum JobCommand {
    /// Submit a job: its driver runs on the cluster
    #[command(after_help = JOB_EXAMPLES)]
    Submit(JobSubmitArgs),
    /// Show how a job is
    Status(JobArgs),
    /// Show what a job's driver printed
    Logs(JobLogsArgs),
    /// List submitted jobs
    List(JobListArgs),
    /// End a job
    Stop(JobStopArgs),
    /// Forget a job that has ended
    Delete(JobArgs),
}

const JOB_EXAMPLES: &str = "\
Examples:
  manta job submit -- python main.py
  manta job submit --working-dir . --runtime-env-json '{\"pip\": [\"requests\"]}' -- python main.py --epochs 3
  manta job submit --submission-id nightly --no-wait -- python main.py
  manta job logs -f nightly";

/// Arguments of `manta job submit`.
#[derive(Args)]
pub struct JobSubmitArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// The folder, or .zip file, that is the job's working directory on all nodes
    #[arg(long, value_name = "PATH")]
    pub working_dir: Option<std::path::PathBuf>,
    /// The environment of the driver and its tasks, as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "runtime_env")]
    pub runtime_env_json: Option<String>,
    /// The same in a file of JSON
    #[arg(long, value_name = "FILE")]
    pub runtime_env: Option<std::path::PathBuf>,
    /// What the job is called; made up when left out
    #[arg(long, alias = "job-id", value_name = "ID")]
    pub submission_id: Option<String>,
    /// Facts about the job, as a JSON object of texts
    #[arg(long, value_name = "JSON")]
    pub metadata_json: Option<String>,
    /// CPUs that the driver's node has to have
    #[arg(long, value_name = "N")]
    pub entrypoint_num_cpus: Option<f64>,
    /// GPUs that the driver's node has to have
    #[arg(long, value_name = "N")]
    pub entrypoint_num_gpus: Option<f64>,
    /// Bytes of memory that the driver's node has to have
    #[arg(long, value_name = "BYTES")]
    pub entrypoint_memory: Option<f64>,
    /// Further resources that the driver's node has to have, as JSON
    #[arg(long, value_name = "JSON", value_parser = parse_resources)]
    pub entrypoint_resources: Option<NamedAmounts>,
    /// Do not wait for the job's end
    #[arg(long)]
    pub no_wait: bool,
    /// Print JSON in place of sentences; the job is not waited for
    #[arg(long)]
    pub json: bool,
    /// The command that is the driver
    #[arg(last = true, required = true, num_args = 1.., value_name = "ENTRYPOINT")]
    pub entrypoint: Vec<String>,
}

/// Arguments of `manta job status` and `delete`.
#[derive(Args)]
pub struct JobArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// The job's submission id
    pub submission_id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manta job logs`.
#[derive(Args)]
pub struct JobLogsArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// The job's submission id
    pub submission_id: String,
    /// Go on until the job ends
    #[arg(long, short)]
    pub follow: bool,
    /// Only so many last lines
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub tail: i64,
}

/// Arguments of `manta job list`.
#[derive(Args)]
pub struct JobListArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manta job stop`.
#[derive(Args)]
pub struct JobStopArgs {
    #[command(flatten)]
    pub at: AddressArgs,
    /// The job's submission id
    pub submission_id: String,
    /// Do not wait for the job's end
    #[arg(long)]
    pub no_wait: bool,
}
