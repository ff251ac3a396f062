//! Between values of bindings and values on the wire.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use manta_object_store::{StoreError, layout};
use manta_proto::{
    ids::{NodeId, ObjectId},
    limits::INLINE_BYTES_MAX,
    v1::{StoreLocation, Value},
};

use crate::{
    FetchedValue, Format, FunctionId, NewValue, ObjectRef, Program, SubmitError, SystemError,
    SystemErrorKind,
    object_ref::RefAddress,
    reactor::{ClassKey, State},
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

/// Writes the value into the object store of this node.
pub(crate) fn store(
    shared: &Shared,
    node: NodeId,
    id: ObjectId,
    value: &NewValue<'_>,
) -> Result<Value, StoreError> {
    let size = value.stored_len() as u64;
    let mut writer = shared.store.writer(id, size)?;
    layout::encode(writer.bytes_mut(), value.inband, value.buffers);
    writer.seal()?;
    let location = StoreLocation { object_id: id.to_bytes(), size, node_ids: vec![node.to_bytes()] };
    Ok(Value {
        format: value.format.to_wire() as i32,
        data: Bytes::new(),
        contained: contained(value),
        in_store: Some(location),
    })
}

/// Inline when small, else in the object store.
pub(crate) fn inline_or_stored(
    shared: &Shared,
    node: NodeId,
    id: ObjectId,
    value: &NewValue<'_>,
) -> Result<Value, StoreError> {
    if value.stored_len() <= INLINE_BYTES_MAX { Ok(inline(value)) } else { store(shared, node, id, value) }
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

/// Opens a value that is on this node.
pub(crate) fn open(shared: &Shared, value: &Value, contained: Vec<ObjectRef>) -> FetchedValue {
    match try_open(shared, value) {
        Ok(parts) => FetchedValue {
            format: Format::from_wire(value.format()),
            inband: parts.inband,
            buffers: parts.buffers,
            contained,
        },
        Err(sentence) => {
            let error = SystemError::new(SystemErrorKind::ObjectLost, sentence).encode();
            FetchedValue {
                format: Format::SystemError,
                inband: error.into(),
                buffers: Vec::new(),
                contained: Vec::new(),
            }
        }
    }
}

fn try_open(shared: &Shared, value: &Value) -> Result<layout::Parts, String> {
    let Some(location) = &value.in_store else {
        return layout::decode(&value.data).map_err(|error| error.to_string());
    };
    let id = ObjectId::try_from(&location.object_id).map_err(|error| error.to_string())?;
    let bytes = shared.store.open(id).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("object {id} is no longer in this node's object store"))?;
    layout::decode(&bytes).map_err(|error| format!("object {id}: {error}"))
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
