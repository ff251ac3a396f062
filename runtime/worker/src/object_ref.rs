//! Counted references to objects.

use std::{fmt, sync::Arc};

use manta_proto::{
    ids::{NodeId, ObjectId, ProcessId},
    v1,
};

use crate::{reactor::State, shared::Shared};

/// A counted reference to an object. The last drop in the owner's process lets it free the object, unless the ref has left the
/// process inside a value.
#[derive(Clone)]
pub struct ObjectRef(Arc<Counted>);

struct Counted {
    address: RefAddress,
    shared: Arc<Shared>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.ref_dropped(self.address.object);
    }
}

/// What a ref is made of: the object, and who owns it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct RefAddress {
    pub object: ObjectId,
    pub owner: ProcessId,
    pub owner_node: NodeId,
}

impl RefAddress {
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ObjectRef::WIRE_BYTES] = bytes.try_into().ok()?;
        let (object, rest) = bytes.split_first_chunk::<20>()?;
        let (owner, owner_node) = rest.split_first_chunk::<16>()?;
        Some(Self {
            object: ObjectId(*object),
            owner: ProcessId(*owner),
            owner_node: NodeId(owner_node.try_into().ok()?),
        })
    }

    pub fn from_ref(wire: &v1::Ref) -> Option<Self> {
        Some(Self {
            object: ObjectId::try_from(&wire.object_id).ok()?,
            owner: ProcessId::try_from(&wire.owner_id).ok()?,
            owner_node: NodeId::try_from(&wire.owner_node_id).ok()?,
        })
    }

    pub fn to_ref(self) -> v1::Ref {
        v1::Ref {
            object_id: self.object.to_bytes(),
            owner_id: self.owner.to_bytes(),
            owner_node_id: self.owner_node.to_bytes(),
        }
    }
}

impl ObjectRef {
    /// Bytes of the wire form.
    pub const WIRE_BYTES: usize = 52;

    /// A ref that the reactor has counted already.
    pub(crate) fn counted(shared: &Arc<Shared>, address: RefAddress) -> Self {
        Self(Arc::new(Counted { address, shared: Arc::clone(shared) }))
    }

    /// A ref that is counted now.
    pub(crate) fn adopt(shared: &Arc<Shared>, state: &mut State, address: RefAddress) -> Self {
        state.add_ref(address);
        Self::counted(shared, address)
    }

    pub(crate) fn address(&self) -> RefAddress {
        self.0.address
    }

    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.0.shared, shared)
    }

    /// The object's id.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        self.0.address.object
    }

    /// The process that owns the object.
    #[must_use]
    pub fn owner(&self) -> ProcessId {
        self.0.address.owner
    }

    /// The node of the owner.
    #[must_use]
    pub fn owner_node(&self) -> NodeId {
        self.0.address.owner_node
    }

    /// What another process needs to make the same ref: object, owner, owner's node. A value that holds it must name the ref in
    /// [`crate::NewValue::contained`].
    #[must_use]
    pub fn to_wire(&self) -> [u8; Self::WIRE_BYTES] {
        let mut wire = [0; Self::WIRE_BYTES];
        wire[..20].copy_from_slice(&self.id().0);
        wire[20..36].copy_from_slice(&self.owner().0);
        wire[36..].copy_from_slice(&self.owner_node().0);
        wire
    }
}

impl PartialEq for ObjectRef {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for ObjectRef {}

impl std::hash::Hash for ObjectRef {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.id().hash(hasher);
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef({})", self.id())
    }
}
