//! Enumerations that keep values they do not know, and the body that holds nothing.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::validate::{At, Validate};

/// No arguments or no body. It reads whatever was sent, as newer peers may say more, and is absent when written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Empty;

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Validate for Empty {
    fn validate(&self, _: &mut At) {}
}

/// Declares an enumeration of texts with a variant `Other` for the values that it does not know.
///
/// `open` and `closed` are the schema's own words: a value outside a closed one is a finding of the check, and yet
/// it is read and written unchanged, because a peer may be newer than this crate. The default is an empty `Other`,
/// which the check finds as well.
macro_rules! string_enum {
    ($(#[$doc:meta])* $how:ident $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
            /// A value that this version does not know.
            Other(String),
        }

        impl $name {
            /// The values that this version knows, as they are written.
            pub const KNOWN: &'static [&'static str] = &[$($text),+];

            /// The value as it is written.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(crate::values::TextVisitor(|text| Self::from(text)))
            }
        }

        impl crate::validate::Validate for $name {
            fn validate(&self, at: &mut crate::validate::At) {
                if let Self::Other(text) = self {
                    crate::values::unknown_value(stringify!($how), text, Self::KNOWN, at);
                }
            }
        }
    };
}

pub(crate) use string_enum;

/// Reads a text without owning it first.
pub(crate) struct TextVisitor<T>(pub fn(&str) -> T);

impl<T> serde::de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        Ok((self.0)(text))
    }
}

/// Reports a value that an enumeration does not know, where the schema forbids it.
pub(crate) fn unknown_value(how: &str, text: &str, known: &[&str], at: &mut At) {
    if how == "closed" {
        at.say(format!("{text:?} is not one of {known:?}"));
    } else if text.is_empty() {
        at.say(format!("the value is empty; usual ones are {known:?}"));
    }
}
