//! The protocol's ids. Each is a type of its own, so that a frame cannot be asked for by a thread's id.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::validate::{At, Validate};

/// The number of a message, rising on each side from 1. A message that has not been sent yet has 0.
pub type Seq = i64;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $minimum:expr) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i32> for $name {
            fn from(id: i32) -> Self {
                Self(id)
            }
        }

        impl From<$name> for i32 {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl Validate for $name {
            fn validate(&self, at: &mut At) {
                if self.0 < $minimum {
                    at.say(format!("{} is below {}", self.0, $minimum));
                }
            }
        }
    };
}

id!(
    /// A thread: never used again within one connection.
    ThreadId,
    i32::MIN
);
id!(
    /// A stack frame, valid until its thread resumes.
    FrameId,
    i32::MIN
);
id!(
    /// A breakpoint as the adapter names it.
    BreakpointId,
    i32::MIN
);
id!(
    /// A container of variables; [`VariablesReference::NONE`] says that there are no children.
    VariablesReference,
    0
);
id!(
    /// A source whose text the adapter gives; 0 says that the client finds it by its path.
    SourceReference,
    0
);
id!(
    /// A place in the sources that `locations` looks up.
    LocationReference,
    i32::MIN
);
id!(
    /// One of the calls that `stepIn` may enter.
    StepInTargetId,
    i32::MIN
);
id!(
    /// One of the places that `goto` may jump to.
    GotoTargetId,
    i32::MIN
);

impl VariablesReference {
    /// A value without children.
    pub const NONE: Self = Self(0);

    /// Whether there are children to ask for.
    pub fn has_children(self) -> bool {
        self.0 > 0
    }
}

/// A module's id: a number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModuleId {
    /// A number.
    Number(i32),
    /// A text.
    Text(String),
}

impl Default for ModuleId {
    fn default() -> Self {
        Self::Number(0)
    }
}
