//! Refs with a type, and what can be done with them.

use std::{
    cell::{Cell, RefCell},
    fmt,
    marker::PhantomData,
    time::Duration,
};

use manta_worker::{FetchedValue, Format, NewValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned, ser};

use crate::{Error, TaskError, session, tags};

/// The ref of a `T` that a task makes, or that was put. Clones are the same ref. It may travel inside arguments and results.
pub struct ObjectRef<T> {
    // A task that could not be submitted has a ref too: `get` says why.
    inner: Result<manta_worker::ObjectRef, Error>,
    kind: PhantomData<fn() -> T>,
}

impl<T> ObjectRef<T> {
    pub(crate) fn new(inner: Result<manta_worker::ObjectRef, Error>) -> Self {
        Self { inner, kind: PhantomData }
    }

    pub(crate) fn inner(&self) -> Result<manta_worker::ObjectRef, Error> {
        self.inner.clone()
    }
}

impl<T> Clone for ObjectRef<T> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<T> fmt::Debug for ObjectRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Ok(inner) => inner.fmt(f),
            Err(error) => write!(f, "ObjectRef({error})"),
        }
    }
}

/// Memory of a larger value is not kept for the next one.
const SPARE_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// The refs that were written, for each serialization behind those of the one around it.
    static WRITTEN: RefCell<Vec<manta_worker::ObjectRef>> = const { RefCell::new(Vec::new()) };
    /// Memory for the next value.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The value is where it belongs; the next one may have its memory.
pub(crate) fn recycle(value: Serialized) {
    let Serialized { mut bytes, .. } = value;
    if bytes.capacity() <= SPARE_BYTES_MAX {
        bytes.clear();
        SPARE.set(bytes);
    }
}

impl<T> Serialize for ObjectRef<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = self.inner.as_ref().map_err(ser::Error::custom)?;
        WRITTEN.with_borrow_mut(|written| written.push(inner.clone()));
        tags::serialize(tags::REF, &inner.to_wire(), serializer)
    }
}

impl<'de, T> Deserialize<'de> for ObjectRef<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = tags::deserialize(tags::REF, deserializer)?;
        let core = session::core().map_err(de::Error::custom)?;
        let inner =
            core.ref_from_wire(&wire).ok_or_else(|| de::Error::custom("these bytes are no object ref"))?;
        Ok(Self::new(Ok(inner)))
    }
}

/// A value in MessagePack, and the refs inside it.
pub(crate) struct Serialized {
    pub bytes: Vec<u8>,
    pub contained: Vec<manta_worker::ObjectRef>,
    /// Bytes as they are, and no MessagePack.
    pub raw: bool,
}

impl Serialized {
    pub fn as_new_value(&self) -> NewValue<'_> {
        let format = if self.raw { Format::Raw } else { Format::MsgPack };
        NewValue { format, inband: &self.bytes, buffers: &[], contained: &self.contained }
    }
}

pub(crate) fn serialize<T: Serialize + ?Sized>(value: &T) -> Result<Serialized, Error> {
    let before = WRITTEN.with_borrow(Vec::len);
    let mut bytes = SPARE.take();
    let written = rmp_serde::encode::write_named(&mut bytes, value);
    let contained = WRITTEN.with_borrow_mut(|written| match written.len() {
        after if after > before => written.split_off(before),
        _ => Vec::new(),
    });
    match written {
        Ok(()) => Ok(Serialized { bytes, contained, raw: false }),
        Err(error) => {
            let kind = std::any::type_name::<T>();
            Err(Error::Value(format!("a value of type {kind} cannot be written as MessagePack: {error}")))
        }
    }
}

pub(crate) fn deserialize<T: DeserializeOwned>(value: &FetchedValue) -> Result<T, Error> {
    match value.format() {
        Format::MsgPack => rmp_serde::from_slice(value.inband()).map_err(|error| unexpected::<T>(&error)),
        Format::RustError => Err(rmp_serde::from_slice::<TaskError>(value.inband()).map_or_else(
            |error| Error::Value(format!("a task failed, and its error cannot be read: {error}")),
            |error| Error::Task(Box::new(error)),
        )),
        Format::SystemError => Err(value.system_error().map_or_else(Error::not_initialized, Error::from_system)),
        Format::Raw => from_bytes(value.inband()),
        Format::Pickle5 => match plain_pickle(value.inband()) {
            Some(bytes) => rmp_serde::from_slice(&bytes).map_err(|error| unexpected::<T>(&error)),
            None => Err(Error::Value(
                "the value is a Python object, which only Python can read; have Python make bytes, numbers, text, or lists and dicts \
                 of them, in a task that is called from here"
                    .to_owned(),
            )),
        },
        Format::PythonError => Err(Error::Value(
            "a Python task failed, and Python called it, so its exception can be read only there".to_owned(),
        )),
    }
}

fn unexpected<T>(error: &dyn fmt::Display) -> Error {
    Error::Value(format!("the value is not the expected {}: {error}", std::any::type_name::<T>()))
}

/// Plain bytes as what takes bytes, or else as a list of numbers.
fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    use serde::de::value::{BytesDeserializer, Error as Wrong, SeqDeserializer};
    T::deserialize(BytesDeserializer::<Wrong>::new(bytes))
        .or_else(|_| T::deserialize(SeqDeserializer::<_, Wrong>::new(bytes.iter().copied())))
        .map_err(|error| unexpected::<T>(&error))
}

/// The MessagePack of a pickled None, boolean, number or text, in the forms in which Python workers write those.
fn plain_pickle(pickle: &[u8]) -> Option<Vec<u8>> {
    let body = pickle.strip_prefix(b"\x80\x05")?.strip_suffix(b".")?;
    let (opcode, argument) = body.split_first()?;
    match (opcode, argument) {
        (b'N', []) => rmp_serde::to_vec(&()),
        (0x88, []) => rmp_serde::to_vec(&true),
        (0x89, []) => rmp_serde::to_vec(&false),
        (b'J', number) => rmp_serde::to_vec(&i32::from_le_bytes(number.try_into().ok()?)),
        (0x8a, [8, number @ ..]) => rmp_serde::to_vec(&i64::from_le_bytes(number.try_into().ok()?)),
        (b'G', number) => rmp_serde::to_vec(&f64::from_be_bytes(number.try_into().ok()?)),
        (0x8c, [length, text @ ..]) if usize::from(*length) == text.len() => {
            rmp_serde::to_vec(std::str::from_utf8(text).ok()?)
        }
        (b'X', text) if text.len() >= 4 => rmp_serde::to_vec(std::str::from_utf8(&text[4..]).ok()?),
        _ => return None,
    }
    .ok()
}

/// Cancels the task that makes a value, unless it is over: one that waits does not start, and `get` of the value fails. With `force`,
/// the worker that runs it ends; else a running Rust task goes on, unless it looks at [`is_cancelled`](crate::is_cancelled).
/// `recursive` cancels what it has submitted too.
///
/// # Errors
/// When the task could not be submitted, or the cluster is gone.
pub fn cancel<T>(object: &ObjectRef<T>, force: bool, recursive: bool) -> Result<(), Error> {
    Ok(session::core()?.cancel(&object.inner()?, force, recursive)?)
}

fn fetch<T: DeserializeOwned>(refs: &[&ObjectRef<T>], timeout: Option<Duration>) -> Result<Vec<T>, Error> {
    let inner = refs.iter().map(|reference| reference.inner.as_ref().map_err(Error::clone));
    let inner = inner.collect::<Result<Vec<_>, _>>()?;
    let values = session::core()?.get_repeated(&inner, timeout, &mut || false).map_err(Error::from_get)?;
    let mut read = Vec::with_capacity(refs.len());
    for (value, count) in &values {
        for _ in 0..*count {
            read.push(deserialize(value)?);
        }
    }
    Ok(read)
}

/// Waits for a value. Inside a task, its CPU is free for others meanwhile.
///
/// # Errors
/// When the task failed, the runtime lost it, or the cluster is gone.
pub fn get<T: DeserializeOwned>(object: &ObjectRef<T>) -> Result<T, Error> {
    fetch(&[object], None).and_then(only)
}

/// Waits for a value no longer than `timeout`. Time in which a debugger holds its task does not count.
///
/// # Errors
/// As [`get`], and when the time is over.
pub fn get_timeout<T: DeserializeOwned>(object: &ObjectRef<T>, timeout: Duration) -> Result<T, Error> {
    fetch(&[object], Some(timeout)).and_then(only)
}

/// Waits for all values, which come in the order of their refs.
///
/// # Errors
/// As [`get`], for the first ref that has one.
pub fn get_all<T: DeserializeOwned>(refs: &[ObjectRef<T>]) -> Result<Vec<T>, Error> {
    fetch(&refs.iter().collect::<Vec<_>>(), None)
}

fn only<T>(values: Vec<T>) -> Result<T, Error> {
    values.into_iter().next().ok_or_else(Error::not_initialized)
}

/// Stores a value, for instance one that many tasks take.
///
/// # Errors
/// When it cannot be written as MessagePack or stored.
pub fn put<T: Serialize>(value: &T) -> Result<ObjectRef<T>, Error> {
    let serialized = serialize(value)?;
    let inner = session::core()?.put(&serialized.as_new_value())?;
    Ok(ObjectRef::new(Ok(inner)))
}

/// Refs whose values are ready, and those whose values are not, each in the order given.
pub type ReadyAndPending<T> = (Vec<ObjectRef<T>>, Vec<ObjectRef<T>>);

/// Waits until `num_ready` of the values are ready, or the time is over.
///
/// # Errors
/// When a task could not be submitted, or the cluster is gone.
pub fn wait<T>(
    refs: &[ObjectRef<T>],
    num_ready: usize,
    timeout: Option<Duration>,
) -> Result<ReadyAndPending<T>, Error> {
    let inner = refs.iter().map(ObjectRef::inner).collect::<Result<Vec<_>, _>>()?;
    let ready =
        session::core()?.wait(&inner, num_ready, timeout, true, &mut || false).map_err(Error::from_get)?;
    let (mut done, mut pending) = (Vec::new(), Vec::new());
    for (reference, ready) in refs.iter().zip(ready) {
        let target = if ready && done.len() < num_ready { &mut done } else { &mut pending };
        target.push(reference.clone());
    }
    Ok((done, pending))
}
