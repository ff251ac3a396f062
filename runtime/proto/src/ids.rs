//! Ids as types, so that a task's id is never taken for a node's. All are random bytes; they print as lower-case hex.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// Says that bytes from the wire are no id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a {kind} id has {expected} bytes, but {found} came; the peer does not speak this version of the protocol"
)]
pub struct InvalidId {
    kind: &'static str,
    expected: usize,
    found: usize,
}

/// All of an id in one word: ids are looked up several times for each task, and are random but for the last bytes of an object's.
#[inline]
fn folded(id: &[u8]) -> u64 {
    let (words, rest) = id.as_chunks::<8>();
    let word = words.iter().fold(0_u64, |word, next| word.rotate_left(29) ^ u64::from_le_bytes(*next));
    rest.iter().fold(word, |word, byte| word.rotate_left(8) ^ u64::from(*byte))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl Hash for $name {
            #[inline]
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u64(folded(&self.0));
            }
        }

        impl $name {
            /// Makes a new id from the operating system's random source.
            ///
            /// # Panics
            /// When that source fails, which Linux rules out after boot (getrandom(2)).
            #[must_use]
            pub fn random() -> Self {
                let mut bytes = [0; $len];
                getrandom::fill(&mut bytes).expect("getrandom(2) does not fail after boot");
                Self(bytes)
            }

            /// The id as bytes for the wire.
            #[must_use]
            pub fn to_bytes(self) -> bytes::Bytes {
                bytes::Bytes::copy_from_slice(&self.0)
            }

            /// Reads the hex form that `Display` writes.
            #[must_use]
            pub fn from_hex(hex: &str) -> Option<Self> {
                let digits = hex.as_bytes();
                if digits.len() != 2 * $len {
                    return None;
                }
                let mut bytes = [0; $len];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let high = char::from(pair[0]).to_digit(16)?;
                    let low = char::from(pair[1]).to_digit(16)?;
                    *byte = u8::try_from(high * 16 + low).ok()?;
                }
                Some(Self(bytes))
            }

            /// The first eight hex digits, for people.
            #[must_use]
            pub fn short(self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;
            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                let found = bytes.len();
                bytes.try_into().map(Self).map_err(|_| InvalidId { kind: $kind, expected: $len, found })
            }
        }

        impl TryFrom<&bytes::Bytes> for $name {
            type Error = InvalidId;
            fn try_from(bytes: &bytes::Bytes) -> Result<Self, InvalidId> {
                Self::try_from(&bytes[..])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id!(/** A node of the cluster. */ NodeId, "node", 16);
id!(/** A process that a node knows: a worker or a driver. A worker's id is also its target id. */ ProcessId, "process", 16);
id!(/** A driver's run. */ JobId, "job", 16);
id!(/** One client's debugging of the cluster. */ SessionId, "session", 16);
id!(/** An owner's right to run tasks in one slot of one worker. */ LeaseId, "lease", 16);
id!(/** A task, over all its attempts. */ TaskId, "task", 16);
id!(/** An actor. Its creation task has the same bytes as its id. */ ActorId, "actor", 16);
id!(/** An object: the task that made it, and a big-endian index. */ ObjectId, "object", 20);

/// Which of a target's engines: a native worker has one debug agent after the other, under one target id. They count from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl ObjectId {
    /// `put` counts from here; return values count from 0.
    pub const FIRST_PUT: u32 = 1 << 31;

    /// The `index`th object that `task` made.
    #[must_use]
    pub fn of(task: TaskId, index: u32) -> Self {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&task.0);
        bytes[16..].copy_from_slice(&index.to_be_bytes());
        Self(bytes)
    }

    /// Whether a process put it; else it is a result of a task.
    #[must_use]
    pub fn is_put(self) -> bool {
        self.0[16] & 0x80 != 0
    }

    /// Its number among the objects of its task.
    #[must_use]
    pub fn index(self) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[16..]);
        u32::from_be_bytes(bytes)
    }

    /// The task that made this object.
    #[must_use]
    pub fn task(self) -> TaskId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[..16]);
        TaskId(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_bytes_come_back() {
        let id = TaskId::random();
        assert_eq!(TaskId::from_hex(&id.to_string()), Some(id));
        assert_eq!(TaskId::try_from(&id.to_bytes()), Ok(id));
        assert_eq!(TaskId::from_hex("zz"), None);
        let error = NodeId::try_from(&[1, 2][..]).unwrap_err();
        assert!(error.to_string().contains("16 bytes, but 2 came"), "{error}");
        let object = ObjectId::of(id, 7);
        assert_eq!((object.task(), object.index()), (id, 7));
    }

    #[test]
    fn objects_of_one_task_and_ids_that_count_up_are_told_apart_by_their_hash() {
        let task = TaskId::random();
        let of_one_task = (0..10_000).map(|index| folded(&ObjectId::of(task, index).0));
        assert_eq!(of_one_task.collect::<std::collections::HashSet<_>>().len(), 10_000);
        for place in [0, 8, 15] {
            let counted = (0..=255).map(|byte| {
                let mut id = task;
                id.0[place] = byte;
                folded(&id.0)
            });
            assert_eq!(counted.collect::<std::collections::HashSet<_>>().len(), 256);
        }
    }
}
