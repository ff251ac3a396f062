//! What the head writes down, so that a head that was killed comes back and finds its cluster at work.
//!
//! The core marks what has changed; the edge writes it before anybody hears of the change. Nodes that a new head remembers are
//! *awaited*: what they have counts as there, until they return or the time for that is over. A returning node says what lives on it,
//! and what it does not name has ended meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use manta_proto::{
    ids::{ActorId, JobId, NodeId, ProcessId},
    v1::{self, ActorEntry, JobStatus, NodeInfo, PlacementGroup},
};
use prost::Message;

use crate::core::{Core, Job};

/// Something that is written down by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// How many names were given to nodes.
    Cluster,
    Node(NodeId),
    Job(JobId),
    Actor(ActorId),
    /// By the group's id.
    Group(Vec<u8>),
    /// By the submission id.
    Submitted(String),
}

impl Key {
    fn to_bytes(&self) -> Vec<u8> {
        let (kind, id): (u8, &[u8]) = match self {
            Self::Cluster => (b'c', &[]),
            Self::Node(id) => (b'n', &id.0),
            Self::Job(id) => (b'j', &id.0),
            Self::Actor(id) => (b'a', &id.0),
            Self::Group(id) => (b'g', id),
            Self::Submitted(id) => (b's', id.as_bytes()),
        };
        [&[kind], id].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        match kind {
            b'c' => Some(Self::Cluster),
            b'n' => NodeId::try_from(id).ok().map(Self::Node),
            b'j' => JobId::try_from(id).ok().map(Self::Job),
            b'a' => ActorId::try_from(id).ok().map(Self::Actor),
            b'g' => Some(Self::Group(id.to_vec())),
            b's' => String::from_utf8(id.to_vec()).ok().map(Self::Submitted),
            _ => None,
        }
    }
}

/// A change to write: the key, and the value unless it is gone.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// What is to be written, and who is awaited.
#[derive(Default)]
pub(crate) struct Memory {
    unsaved: BTreeSet<Key>,
    pub awaited: BTreeMap<NodeId, NodeInfo>,
}

/// What a node that comes back says of what lives on it.
pub(crate) struct Returned {
    jobs: BTreeSet<JobId>,
    pub submitted: BTreeSet<String>,
    pub actor_owners: BTreeSet<ProcessId>,
    pub actor_workers: BTreeSet<ProcessId>,
}

impl Returned {
    pub fn of(register: &v1::NodeRegister) -> Self {
        let processes =
            |ids: &[bytes::Bytes]| ids.iter().filter_map(|id| ProcessId::try_from(id).ok()).collect();
        Self {
            jobs: register.job_ids.iter().filter_map(|id| JobId::try_from(id).ok()).collect(),
            submitted: register.submission_ids.iter().cloned().collect(),
            actor_owners: processes(&register.actor_owner_ids),
            actor_workers: processes(&register.actor_worker_ids),
        }
    }
}

impl Core {
    pub(crate) fn mark(&mut self, key: Key) {
        self.memory.unsaved.insert(key);
    }

    /// Nothing is written down.
    pub(crate) fn drop_unsaved(&mut self) {
        self.memory.unsaved.clear();
    }

    /// What has changed since the last time.
    pub(crate) fn take_unsaved(&mut self) -> Vec<Change> {
        if self.memory.unsaved.is_empty() {
            return Vec::new();
        }
        let keys = std::mem::take(&mut self.memory.unsaved);
        keys.into_iter().map(|key| (key.to_bytes(), self.value(&key))).collect()
    }

    fn value(&self, key: &Key) -> Option<Vec<u8>> {
        match key {
            Key::Cluster => Some(self.names_given.to_le_bytes().to_vec()),
            Key::Node(id) => {
                let known = self.nodes.get(id).map(|node| &node.info);
                known.or_else(|| self.memory.awaited.get(id)).map(Message::encode_to_vec)
            }
            Key::Job(id) => {
                let ended = || self.ended_jobs.iter().find(|job| job.job_id[..] == id.0);
                self.jobs.get(id).map(|job| &job.status).or_else(ended).map(Message::encode_to_vec)
            }
            Key::Actor(id) => self.actor_entry(*id).map(Message::encode_to_vec),
            Key::Group(id) => self.group_wire(id).map(Message::encode_to_vec),
            Key::Submitted(id) => self.submitted_entry(id),
        }
    }

    /// The core of a head that comes back, from what the one before wrote down.
    ///
    /// # Errors
    /// When an entry is damaged.
    pub(crate) fn restored(cluster_id: String, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<Self, String> {
        let mut core = Self::new(cluster_id);
        for (key, value) in entries {
            let damaged = |error: &dyn std::fmt::Display| format!("the entry {key:02x?} is damaged: {error}");
            let read = |error: prost::DecodeError| damaged(&error);
            match Key::from_bytes(key).ok_or_else(|| damaged(&"its key is unknown"))? {
                Key::Cluster => {
                    let bytes = value[..].try_into().map_err(|_| damaged(&"it is no number"))?;
                    core.names_given = u32::from_le_bytes(bytes);
                }
                Key::Node(id) => {
                    core.memory.awaited.insert(id, NodeInfo::decode(&value[..]).map_err(read)?);
                }
                Key::Job(id) => core.restore_job(id, JobStatus::decode(&value[..]).map_err(read)?),
                Key::Actor(id) => core.restore_actor(id, ActorEntry::decode(&value[..]).map_err(read)?),
                Key::Submitted(_) => core.restore_submitted(value).map_err(|error| damaged(&error))?,
                Key::Group(_) => core.restore_group(PlacementGroup::decode(&value[..]).map_err(read)?),
            }
        }
        core.ended_jobs.sort_by_key(|job| job.started_unix_ms);
        Ok(core)
    }

    fn restore_job(&mut self, id: JobId, status: JobStatus) {
        match NodeId::try_from(&status.node_id) {
            Ok(node) if status.running => {
                self.jobs.insert(id, Job { node, status, packages: Vec::new() });
            }
            _ => self.ended_jobs.push(status),
        }
    }

    /// Whether nodes are awaited, so that [`Core::on_return_over`] is to be called after a while.
    pub(crate) fn awaits_nodes(&self) -> bool {
        !self.memory.awaited.is_empty()
    }

    /// An awaited node is back.
    pub(crate) fn on_node_returned(&mut self, id: NodeId, returned: &Returned) {
        let ended = |(job, known): (&JobId, &Job)| {
            (known.node == id && !returned.jobs.contains(job)).then(|| known.status.job_id.clone())
        };
        let mut ended: Vec<_> = self.jobs.iter().filter_map(ended).collect();
        ended.sort_unstable();
        for job_id in ended {
            self.on_job_ended(v1::JobEnded {
                job_id,
                cause: "its driver ended while the head was away".to_owned(),
            });
        }
        self.on_node_of_drivers_returned(id, returned);
        self.on_node_of_actors_returned(id, returned);
        self.on_node_of_groups_returned(id);
    }

    /// The nodes that have not come back are lost.
    pub fn on_return_over(&mut self) {
        for (id, info) in std::mem::take(&mut self.memory.awaited) {
            self.on_node_gone(id, info, "it did not come back to its head");
        }
    }
}
