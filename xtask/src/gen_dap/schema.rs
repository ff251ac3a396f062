//! The part of JSON schema that the protocol's own schema uses.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

/// The schema, with its definitions in the order in which they are written.
#[derive(Deserialize)]
pub(super) struct Schema {
    pub definitions: Ordered<Definition>,
}

/// One schema node: a definition, or a property of one.
#[derive(Deserialize, Default, Clone)]
pub(super) struct Definition {
    #[serde(rename = "$ref")]
    pub reference: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    #[serde(default)]
    pub properties: Ordered<Definition>,
    #[serde(default)]
    pub required: Vec<String>,
    #[serde(rename = "allOf", default)]
    pub all_of: Vec<Definition>,
    pub items: Option<Box<Definition>>,
    #[serde(rename = "enum")]
    pub closed: Option<Vec<String>>,
    #[serde(rename = "_enum")]
    pub open: Option<Vec<String>>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    #[serde(rename = "additionalProperties")]
    pub additional: Option<Additional>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(super) enum Additional {
    Any(bool),
    Of(Box<Definition>),
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(super) enum Kind {
    One(String),
    Many(Vec<String>),
}

/// A JSON object whose keys keep their order.
#[derive(Clone)]
pub(super) struct Ordered<V>(pub Vec<(String, V)>);

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Ordered<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl Definition {
    pub fn is_kind(&self, name: &str) -> bool {
        matches!(&self.kind, Some(Kind::One(kind)) if kind == name)
    }

    pub fn property(&self, name: &str) -> Option<&Definition> {
        self.properties.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The part of an `allOf` that is not the reference to the base.
    pub fn own_part(&self) -> &Definition {
        self.all_of.iter().find(|part| part.reference.is_none()).unwrap_or(self)
    }
}
