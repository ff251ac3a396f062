//! How refs and handles stand inside MessagePack values: as extension types, which every language's reader of values knows.

use manta_worker::foreign;
use serde::{Deserialize, Deserializer, Serializer, de};
use serde_bytes::{ByteBuf, Bytes};

pub(crate) use manta_worker::foreign::{ACTOR_TAG as ACTOR, REF_TAG as REF};

pub(crate) fn serialize<S: Serializer>(tag: i8, bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &(tag, Bytes::new(bytes)))
}

struct Tagged;

impl<'de> de::Visitor<'de> for Tagged {
    type Value = (i8, ByteBuf);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object ref or actor handle")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Deserialize::deserialize(deserializer)
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(tag: i8, deserializer: D) -> Result<Vec<u8>, D::Error> {
    let (found, bytes) =
        deserializer.deserialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, Tagged)?;
    if found == tag {
        return Ok(bytes.into_vec());
    }
    let kind = |tag| if tag == REF { "an object ref" } else { "an actor handle" };
    Err(de::Error::custom(format!("expected {}, found {}", kind(tag), kind(found))))
}

/// What the cluster keeps with a named actor, so that each language can tell whose it is.
pub(crate) fn describe(description: &[u8]) -> Vec<u8> {
    [foreign::DESCRIPTION_PREFIX, description].concat()
}

pub(crate) fn description(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(foreign::DESCRIPTION_PREFIX)
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    struct Handle(Vec<u8>);

    impl Serialize for Handle {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serialize(REF, &self.0, serializer)
        }
    }

    impl<'de> Deserialize<'de> for Handle {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserialize(REF, deserializer).map(Self)
        }
    }

    #[test]
    fn a_tagged_value_is_an_extension_and_comes_back() {
        let bytes = rmp_serde::to_vec_named(&vec![Handle(vec![7; 52])]).unwrap();
        // A list of one, and an extension of 52 bytes with the tag of refs.
        assert_eq!(bytes[..4], [0x91, 0xc7, 52, REF.to_le_bytes()[0]]);
        let back: Vec<Handle> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(back[0].0, [7; 52]);
        assert!(rmp_serde::from_slice::<Vec<Handle>>(&[0x91, 0x05]).is_err());
    }
}
