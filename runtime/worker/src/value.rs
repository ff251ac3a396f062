//! Values as bindings see them: serialized, with large buffers apart, and never copied once they are stored.

use bytes::Bytes;
use manta_object_store::{SharedBuffer, layout};
use manta_proto::{ids::ActorId, v1};

use crate::ObjectRef;

/// How a value is serialized, and whether it stands for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Python's pickle, protocol 5, with out-of-band buffers.
    Pickle5,
    /// MessagePack.
    MsgPack,
    /// Plain bytes.
    Raw,
    /// What a Python task raised; the bindings define the bytes.
    PythonError,
    /// What a Rust task failed with; see the SDK's `TaskError`.
    RustError,
    /// What the runtime itself has to say; see [`SystemError`].
    SystemError,
}

impl Format {
    /// Whether a value of this format stands for a failure.
    #[must_use]
    pub fn is_error(self) -> bool {
        matches!(self, Self::PythonError | Self::RustError | Self::SystemError)
    }

    pub(crate) fn to_wire(self) -> v1::value::Format {
        match self {
            Self::Pickle5 => v1::value::Format::Pickle5,
            Self::MsgPack => v1::value::Format::Msgpack,
            Self::Raw => v1::value::Format::Raw,
            Self::PythonError => v1::value::Format::PythonError,
            Self::RustError => v1::value::Format::RustError,
            Self::SystemError => v1::value::Format::SystemError,
        }
    }

    pub(crate) fn from_wire(format: v1::value::Format) -> Self {
        match format {
            v1::value::Format::Pickle5 => Self::Pickle5,
            v1::value::Format::Msgpack => Self::MsgPack,
            v1::value::Format::Raw => Self::Raw,
            v1::value::Format::PythonError => Self::PythonError,
            v1::value::Format::RustError => Self::RustError,
            v1::value::Format::SystemError => Self::SystemError,
        }
    }
}

/// A serialized value on its way into the runtime. It is copied once: into a message when it is small, into shared memory else.
pub struct NewValue<'a> {
    /// How it is serialized.
    pub format: Format,
    /// The serialized value without its buffers.
    pub inband: &'a [u8],
    /// Large buffers that the serialized value refers to, in their order.
    pub buffers: &'a [&'a [u8]],
    /// The refs inside the value. Their objects live as long as the value does.
    pub contained: &'a [ObjectRef],
}

impl<'a> NewValue<'a> {
    /// A value without buffers and refs.
    #[must_use]
    pub fn plain(format: Format, inband: &'a [u8]) -> Self {
        Self { format, inband, buffers: &[], contained: &[] }
    }

    /// Bytes that the value needs where it is stored.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        layout::encoded_len(self.inband.len(), self.buffers.iter().map(|buffer| buffer.len()))
    }
}

/// A value that was fetched: in memory, or mapped from the object store. Clones share the bytes, which stay valid as long as any
/// clone or buffer lives.
#[derive(Clone)]
pub struct FetchedValue {
    pub(crate) format: Format,
    pub(crate) inband: Bytes,
    pub(crate) buffers: Vec<SharedBuffer>,
    pub(crate) contained: Vec<ObjectRef>,
}

impl FetchedValue {
    /// How the value is serialized.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The serialized value without its buffers.
    #[must_use]
    pub fn inband(&self) -> &Bytes {
        &self.inband
    }

    /// The value's buffers, each aligned to 64 bytes.
    #[must_use]
    pub fn buffers(&self) -> &[SharedBuffer] {
        &self.buffers
    }

    /// The refs inside the value, in the order in which they were given.
    #[must_use]
    pub fn contained(&self) -> &[ObjectRef] {
        &self.contained
    }

    /// The runtime's own error, when the value is one.
    #[must_use]
    pub fn system_error(&self) -> Option<SystemError> {
        (self.format == Format::SystemError).then(|| SystemError::decode(&self.inband))
    }
}

/// What kind of failure the runtime reports, so that a binding can raise the right type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemErrorKind {
    /// The worker that ran the task ended.
    WorkerDied,
    /// The node of the worker that ran the task is gone.
    NodeDied,
    /// No node of the cluster can ever run the task.
    Unschedulable,
    /// The object's bytes are gone.
    ObjectLost,
    /// The object's owner no longer knows it: a ref was left that nobody had counted.
    Forgotten,
    /// The process that owned the object ended.
    OwnerDied,
    /// The object's bytes are gone, and it cannot be made again.
    ReconstructionFailed,
    /// The same, because its task ran as often as it may.
    ReconstructionAttempts,
    /// The same, because its task was forgotten.
    ReconstructionEvicted,
    /// A value can never fit into the object store.
    StoreFull,
    /// The object store and the disk are full.
    DiskFull,
    /// The task was cancelled.
    Cancelled,
    /// The actor is dead.
    ActorDied,
    /// The actor's worker ended under the call, and the actor lives on or is made anew.
    ActorUnavailable,
    /// The actor is being made anew, and the call was not to wait for that.
    ActorRestarting,
    /// No node of the cluster can ever host the actor.
    ActorUnschedulable,
    /// The placement group of the task was removed.
    GroupRemoved,
    /// The placement group of the actor was removed.
    ActorGroupRemoved,
    /// The environment of the task or actor could not be made.
    EnvironmentFailed,
    /// The worker that ran the task was killed, because its machine ran out of memory.
    OutOfMemory,
    /// The task could not be sent or its results not be stored.
    Internal,
}

const KINDS: [(SystemErrorKind, &str); 21] = [
    (SystemErrorKind::WorkerDied, "worker-died"),
    (SystemErrorKind::NodeDied, "node-died"),
    (SystemErrorKind::Unschedulable, "unschedulable"),
    (SystemErrorKind::ObjectLost, "object-lost"),
    (SystemErrorKind::Forgotten, "forgotten"),
    (SystemErrorKind::OwnerDied, "owner-died"),
    (SystemErrorKind::ReconstructionFailed, "reconstruction-failed"),
    (SystemErrorKind::ReconstructionAttempts, "reconstruction-attempts"),
    (SystemErrorKind::ReconstructionEvicted, "reconstruction-evicted"),
    (SystemErrorKind::StoreFull, "store-full"),
    (SystemErrorKind::DiskFull, "disk-full"),
    (SystemErrorKind::Cancelled, "cancelled"),
    (SystemErrorKind::ActorDied, "actor-died"),
    (SystemErrorKind::ActorUnavailable, "actor-unavailable"),
    (SystemErrorKind::ActorRestarting, "actor-restarting"),
    (SystemErrorKind::ActorUnschedulable, "actor-unschedulable"),
    (SystemErrorKind::GroupRemoved, "group-removed"),
    (SystemErrorKind::ActorGroupRemoved, "actor-group-removed"),
    (SystemErrorKind::EnvironmentFailed, "environment-failed"),
    (SystemErrorKind::OutOfMemory, "out-of-memory"),
    (SystemErrorKind::Internal, "internal"),
];

/// A failure that the runtime reports in place of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SystemError {
    /// What kind of failure.
    pub kind: SystemErrorKind,
    /// What happened, the cause, and what to do.
    pub message: String,
    /// The actor that it befell.
    pub actor: Option<ActorId>,
}

impl SystemError {
    pub(crate) fn new(kind: SystemErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), actor: None }
    }

    /// The bytes that [`SystemError::decode`] reads: the kind's name and the actor's id, a newline, the sentence.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let name = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("internal", |(_, name)| name);
        let actor = self.actor.map(|id| format!(" {id}")).unwrap_or_default();
        format!("{name}{actor}\n{}", self.message).into_bytes()
    }

    /// Reads what [`SystemError::encode`] wrote; a kind from a newer release reads as `Internal`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, message) = text.split_once('\n').unwrap_or(("internal", &text));
        let (name, actor) = head.split_once(' ').unwrap_or((head, ""));
        let kind = KINDS
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(SystemErrorKind::Internal, |(kind, _)| *kind);
        Self { kind, message: message.to_owned(), actor: ActorId::from_hex(actor) }
    }
}
