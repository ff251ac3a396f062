//! Ids as types, and the counters that make them. The cluster's ids are opaque text here; the client's are int32 and never reused.

use std::{fmt, sync::Arc};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// From the text that the cluster's side uses, for instance hex.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first eight characters, for people.
            #[must_use]
            pub fn short(&self) -> &str {
                self.0.get(..8).unwrap_or(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

text_id!(/** Something that the session can talk DAP to. */ TargetId);
text_id!(/** A node of the cluster. */ NodeId);
text_id!(/** A driver's run. */ JobId);
text_id!(/** A task, over all its attempts. */ TaskId);

/// The number of a set of breakpoints; rises by one with each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Says that a session has used up the protocol's int32 ids of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this session has used all 2147483647 ids that the protocol has; end it and attach again")]
pub struct IdsExhausted;

/// Makes int32 ids from 1 on, none twice.
#[derive(Debug, Default)]
pub struct Counter(i32);

impl Counter {
    /// A new id.
    ///
    /// # Errors
    /// When all are used.
    pub fn next(&mut self) -> Result<i32, IdsExhausted> {
        self.0 = self.0.checked_add(1).ok_or(IdsExhausted)?;
        Ok(self.0)
    }

    /// Whether `id` was made here, now or earlier.
    #[must_use]
    pub fn has_made(&self, id: i32) -> bool {
        (1..=self.0).contains(&id)
    }
}
