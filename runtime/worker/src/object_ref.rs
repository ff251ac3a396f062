//! Counted references to objects.

use std::{fmt, sync::Arc};

use manta_proto::{
    ids::{NodeId, ObjectId, ProcessId},
    v1,
};

use crate::{
    reactor::{Dropped, Front, SeriesId, State},
    shared::{SeriesChange, Shared},
};

/// A counted reference to an object. The last drop in the owner's process lets it free the object, unless the ref has left the
/// process inside a value.
pub struct ObjectRef(Kind);

enum Kind {
    Own(Arc<Counted>),
    /// The result of a task of a series, by the task's number there.
    OfSeries(Arc<SeriesRefs>, u8),
}

struct Counted {
    address: RefAddress,
    shared: Arc<Shared>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.ref_dropped(self.address.object);
    }
}

/// What the refs of a series' results have in common.
pub(crate) struct SeriesRefs {
    pub id: SeriesId,
    pub owner: ProcessId,
    pub owner_node: NodeId,
    pub front: Arc<Front>,
    pub shared: Arc<Shared>,
}

impl SeriesRefs {
    fn object(&self, index: u8) -> ObjectId {
        ObjectId::of(self.id.task(usize::from(index)), 0)
    }
}

impl Clone for ObjectRef {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Kind::Own(counted) => Kind::Own(Arc::clone(counted)),
            Kind::OfSeries(series, index) => {
                series.front.counts.add(usize::from(*index));
                Kind::OfSeries(Arc::clone(series), *index)
            }
        })
    }
}

impl Drop for ObjectRef {
    fn drop(&mut self) {
        if let Kind::OfSeries(series, index) = &self.0 {
            match series.front.counts.drop_one(usize::from(*index)) {
                Dropped::Nothing => {}
                Dropped::LastOfOne => series.shared.ref_dropped(series.object(*index)),
                Dropped::LastOfAll => series.shared.series_changed(series.id, SeriesChange::Unreferenced),
            }
        }
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
        Self(Kind::Own(Arc::new(Counted { address, shared: Arc::clone(shared) })))
    }

    /// The first ref of a task's result in a series.
    pub(crate) fn of_series(series: Arc<SeriesRefs>, index: usize) -> Self {
        Self(Kind::OfSeries(series, u8::try_from(index).unwrap_or(u8::MAX)))
    }

    /// A ref that is counted now.
    pub(crate) fn adopt(shared: &Arc<Shared>, state: &mut State, address: RefAddress) -> Self {
        state.add_ref(address);
        Self::counted(shared, address)
    }

    /// The series whose task's result it is, and the task's number there.
    pub(crate) fn place_in_series(&self) -> Option<(SeriesId, usize)> {
        match &self.0 {
            Kind::OfSeries(series, index) => Some((series.id, usize::from(*index))),
            Kind::Own(_) => None,
        }
    }

    pub(crate) fn address(&self) -> RefAddress {
        match &self.0 {
            Kind::Own(counted) => counted.address,
            Kind::OfSeries(series, index) => RefAddress {
                object: series.object(*index),
                owner: series.owner,
                owner_node: series.owner_node,
            },
        }
    }

    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        let of = match &self.0 {
            Kind::Own(counted) => &counted.shared,
            Kind::OfSeries(series, _) => &series.shared,
        };
        Arc::ptr_eq(of, shared)
    }

    /// The object's id.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        self.address().object
    }

    /// The process that owns the object.
    #[must_use]
    pub fn owner(&self) -> ProcessId {
        self.address().owner
    }

    /// The node of the owner.
    #[must_use]
    pub fn owner_node(&self) -> NodeId {
        self.address().owner_node
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
