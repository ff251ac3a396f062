//! [`Core`]: the handle that bindings hold.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use manta_proto::{
    ids::{JobId, NodeId},
    token::Token,
};

use crate::{
    DriverOptions, JobDescription, JoinError, NodeDescription, ProcessDescription, convert,
    io::{self, WorkerEnvironment},
    reactor::programs::programs_of,
    shared::Shared,
};

/// This process's part in the cluster. Clones are the same part; any thread may call it.
#[derive(Clone)]
pub struct Core(pub(crate) Arc<Shared>);

/// How long a private cluster may take to end.
const CLUSTER_END: Duration = Duration::from_secs(5);

/// How long a driver that leaves waits for what its finished tasks have printed.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

impl Core {
    /// Joins a cluster as a driver, or starts a private one.
    ///
    /// # Errors
    /// When there is no cluster, no node on this machine, or it refuses.
    pub fn driver(options: DriverOptions) -> Result<Self, JoinError> {
        io::start_driver(options).map(Self)
    }

    /// Joins the node that started this process as its worker.
    ///
    /// # Errors
    /// When the environment is not a worker's, or the node is gone.
    pub fn worker_from_env(language_version: &str) -> Result<Self, JoinError> {
        io::start_worker(WorkerEnvironment::read(language_version)?).map(Self)
    }

    /// Leaves the cluster: a driver's job and its private cluster end. Waits until all of that is gone. The second call does nothing.
    pub fn shutdown(&self) {
        let Some(thread) = self.0.io.lock().take() else { return };
        if self.0.on_output.is_some() && !thread.is_inherited() {
            self.0.wait_for_output(LAST_OUTPUT);
        }
        self.0.with(|state| {
            state.on_gone("this process has left its cluster; call init() again to join one".to_owned());
        });
        self.0.store.trim();
        thread.stop(CLUSTER_END);
    }

    /// The job: the driver's own, or the one that the worker belongs to now.
    #[must_use]
    pub fn job(&self) -> Option<JobDescription> {
        self.0.with(|state| {
            let job = state.job.as_ref()?;
            Some(JobDescription {
                id: JobId::try_from(&job.job_id).ok()?,
                name: job.name.clone(),
                sys_path: job.here.as_ref().map_or(&job.sys_path, |here| &here.sys_path).clone(),
                programs: programs_of(job),
                working_dir: job.here.as_ref().map_or(&job.working_dir, |here| &here.working_dir).clone(),
                namespace: job.namespace.clone(),
                runtime_env: job.runtime_env.clone(),
            })
        })
    }

    /// The job's id.
    #[must_use]
    pub fn job_id(&self) -> Option<JobId> {
        JobId::try_from(&self.job_bytes()).ok()
    }

    /// How long what no node can run waits, as the job has it.
    pub(crate) fn infeasible_ms(&self) -> Option<u64> {
        self.0.read(|state| state.job.as_ref().and_then(|job| job.infeasible_ms))
    }

    pub(crate) fn job_bytes(&self) -> Bytes {
        self.0.read(|state| state.job.as_ref().map(|job| job.job_id.clone()).unwrap_or_default())
    }

    pub(crate) fn node_id(&self) -> NodeId {
        self.0.node
    }

    /// Who this process is.
    #[must_use]
    pub fn process(&self) -> ProcessDescription {
        self.0.with(|state| ProcessDescription {
            process_id: state.me.process,
            node_id: state.me.node.to_string(),
            node_name: state.me.node_name.clone(),
            session_dir: state.me.session_dir.clone(),
            head_address: state.me.head_address.clone(),
        })
    }

    /// The cluster's token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.0.with(|state| state.me.token.clone())
    }

    /// Why this process is no longer part of a cluster; `None` while it is.
    #[must_use]
    pub fn gone(&self) -> Option<String> {
        self.0.with(|state| state.gone.clone())
    }

    /// The object store's folder on this machine.
    #[must_use]
    pub fn object_dir(&self) -> PathBuf {
        self.0.store.folder().to_owned()
    }

    /// The folder on this machine for objects that do not fit into the store.
    #[must_use]
    pub fn spill_dir(&self) -> PathBuf {
        self.0.spilled.folder().to_owned()
    }

    /// The cluster's nodes as last heard.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeDescription> {
        let view = self.0.with(|state| state.view.clone());
        let amounts = |resources: Option<manta_proto::v1::Resources>| {
            let mut amounts: Vec<_> = resources
                .unwrap_or_default()
                .amounts
                .into_iter()
                .map(|(name, amount)| (name, convert::units(amount)))
                .collect();
            amounts.sort_by(|a, b| a.0.cmp(&b.0));
            amounts
        };
        let describe = |node: manta_proto::v1::NodeView| {
            let info = node.info?;
            let mut labels: Vec<_> = info.labels.into_iter().collect();
            labels.sort();
            Some(NodeDescription {
                id: NodeId::try_from(&info.node_id).ok()?.to_string(),
                name: info.name,
                address: info.peer_address,
                total: amounts(info.total),
                available: amounts(node.available),
                labels,
            })
        };
        view.nodes.into_iter().filter_map(describe).collect()
    }
}
