//! Between values of bindings and values on the wire.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use manta_object_store::{StoreError, Writer, layout};
use manta_proto::{
    ids::{NodeId, ObjectId},
    limits::INLINE_BYTES_MAX,
    v1::{StoreLocation, Value},
};

use crate::{
    FetchedValue, Format, FunctionId, NewValue, ObjectRef, Program, SubmitError, SystemError,
    SystemErrorKind,
    object_ref::RefAddress,
    reactor::{ClassKey, State, Unread},
    shared::Shared,
};

/// Errors travel inline up to this size, because all results of a failed task share one.
const ERROR_BYTES_MAX: usize = 4 * 1024 * 1024;
const UNITS: f64 = 10_000.0;

/// The value as one piece of memory.
fn encode(value: &NewValue<'_>) -> Bytes {
    let mut bytes = vec![0; value.stored_len()];
    layout::encode(&mut bytes, value.inband, value.buffers);
    bytes.into()
}

fn contained(value: &NewValue<'_>) -> Vec<manta_proto::v1::Ref> {
    value.contained.iter().map(|object| object.address().to_ref()).collect()
}

pub(crate) fn inline(value: &NewValue<'_>) -> Value {
    Value {
        format: value.format.to_wire() as i32,
        data: encode(value),
        contained: contained(value),
        in_store: None,
    }
}

/// What becomes of a stored value's file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// This process may write it again when nobody else has seen it.
    File,
    Nothing,
}

/// Writes the value into the object store of this node, or to its disk when the store has no room. May wait for room.
pub(crate) fn store(
    shared: &Shared,
    node: NodeId,
    id: ObjectId,
    value: &NewValue<'_>,
    keep: Keep,
) -> Result<Value, StoreError> {
    let bytes = value.stored_len() as u64;
    let mut writer = writer(shared, id, bytes)?;
    let (size, spilled) = match &mut writer {
        Some(writer) => {
            layout::encode(writer.bytes_mut(), value.inband, value.buffers);
            (writer.capacity(), false)
        }
        None => {
            shared.spilled.write(id, &encode(value))?;
            (bytes, true)
        }
    };
    match (writer, keep) {
        (Some(writer), Keep::File) => writer.seal_and_keep()?,
        (Some(writer), Keep::Nothing) => writer.seal()?,
        (None, _) => {}
    }
    let location = StoreLocation { object_id: id.to_bytes(), size, node_ids: vec![node.to_bytes()], spilled };
    Ok(Value {
        format: value.format.to_wire() as i32,
        data: Bytes::new(),
        contained: contained(value),
        in_store: Some(location),
    })
}

/// A place in the store; `None` when there is no room, and none can be made.
fn writer(shared: &Shared, id: ObjectId, bytes: u64) -> Result<Option<Writer>, StoreError> {
    // Refs that were dropped just now may leave a file that can be written again.
    drop(shared.lock());
    match shared.store.writer(id, bytes) {
        Err(StoreError::NoRoom { .. }) => {}
        other => return other.map(Some),
    }
    if !shared.wait_for_room(bytes) {
        return Ok(None);
    }
    match shared.store.writer_in_room(id, bytes) {
        Err(StoreError::NoRoom { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// Inline when small, else in the object store.
pub(crate) fn inline_or_stored(
    shared: &Shared,
    node: NodeId,
    id: ObjectId,
    value: &NewValue<'_>,
    keep: Keep,
) -> Result<Value, StoreError> {
    if value.stored_len() <= INLINE_BYTES_MAX {
        Ok(inline(value))
    } else {
        store(shared, node, id, value, keep)
    }
}

/// What a value that cannot be stored makes its task fail with.
pub(crate) fn store_error(what: &str, error: &StoreError) -> Value {
    let kind = match error {
        StoreError::TooLarge { .. } | StoreError::NoRoom { .. } => SystemErrorKind::StoreFull,
        StoreError::DiskFull { .. } => SystemErrorKind::DiskFull,
        StoreError::Damaged { .. } | StoreError::Io { .. } => SystemErrorKind::Internal,
    };
    system_error(kind, format!("{what} could not be stored: {error}"))
}

/// An error value, which is always inline.
pub(crate) fn error_inline(value: &NewValue<'_>) -> Value {
    if value.stored_len() <= ERROR_BYTES_MAX {
        return inline(value);
    }
    let sentence = format!(
        "the task failed with an error of {} bytes, which is above the limit of {ERROR_BYTES_MAX}",
        value.stored_len()
    );
    system_error(SystemErrorKind::Internal, sentence)
}

pub(crate) fn system_error(kind: SystemErrorKind, sentence: String) -> Value {
    inline(&NewValue::plain(Format::SystemError, &SystemError::new(kind, sentence).encode()))
}

/// The runtime's own error, when the value is one.
pub(crate) fn system_error_of(value: &Value) -> Option<SystemError> {
    (Format::from_wire(value.format()) == Format::SystemError)
        .then(|| layout::decode(&value.data).ok().map(|parts| SystemError::decode(&parts.inband)))
        .flatten()
}

/// The refs inside a value, as counted refs of this process.
pub(crate) fn adopt_contained(shared: &Arc<Shared>, state: &mut State, value: &Value) -> Vec<ObjectRef> {
    let addresses = value.contained.iter().filter_map(RefAddress::from_ref);
    addresses.map(|address| ObjectRef::adopt(shared, state, address)).collect()
}

/// Opens a value that is on this node, or brings it here; the error says why that cannot be.
pub(crate) fn open(
    shared: &Shared,
    value: &Value,
    contained: Vec<ObjectRef>,
) -> Result<FetchedValue, Unread> {
    let parts = match &value.in_store {
        Some(location) => layout::decode(&shared.read_stored(location)?),
        None => layout::decode(&value.data),
    };
    Ok(fetched(value.format(), parts, contained))
}

/// Opens a value that came in a message, without refs inside.
pub(crate) fn open_inline(format: i32, data: &Bytes) -> FetchedValue {
    let format = manta_proto::v1::value::Format::try_from(format).unwrap_or_default();
    fetched(format, layout::decode(data), Vec::new())
}

fn fetched(
    format: manta_proto::v1::value::Format,
    parts: Result<layout::Parts, layout::LayoutError>,
    contained: Vec<ObjectRef>,
) -> FetchedValue {
    match parts {
        Ok(parts) => FetchedValue {
            format: Format::from_wire(format),
            inband: parts.inband,
            buffers: parts.buffers,
            contained,
        },
        Err(error) => FetchedValue {
            format: Format::SystemError,
            inband: SystemError::new(SystemErrorKind::ObjectLost, error.to_string()).encode().into(),
            buffers: Vec::new(),
            contained: Vec::new(),
        },
    }
}

/// The class of tasks with these resources and this placement. Amounts of zero say nothing, and so do not make a class.
pub(crate) fn class_key(
    language: crate::Language,
    program: Option<&Arc<Program>>,
    resources: &[(&str, f64)],
    placement: &crate::Placement,
) -> Result<ClassKey, SubmitError> {
    let mut amounts: Vec<(Box<str>, u64)> = Vec::with_capacity(resources.len());
    for &(name, amount) in resources {
        let units = (amount * UNITS).round();
        let exact =
            amount.is_finite() && (0.0..1e15).contains(&amount) && (units - amount * UNITS).abs() < 1e-6;
        if !exact {
            return Err(SubmitError::Resource { name: name.to_owned(), amount });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be from 0 to 10^19 above"
        )]
        let units = units as u64;
        if units > 0 {
            amounts.push((name.into(), units));
        }
    }
    amounts.sort_unstable();
    Ok(ClassKey {
        language,
        program: program.cloned(),
        resources: amounts.into(),
        placement: placement.clone(),
        environment: None,
    })
}

/// Whole units of an amount in ten-thousandths.
pub(crate) fn units(amount: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53")]
    let amount = amount as f64;
    amount / UNITS
}

/// The hash that names a function's pickle.
pub(crate) fn function_id(name: &str, code: &[u8]) -> FunctionId {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        name.hash(&mut hasher);
        code.hash(&mut hasher);
        hasher.finish().to_le_bytes()
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&half(1));
    id[8..].copy_from_slice(&half(2));
    FunctionId(id)
}
