//! `io::Error`, which packs what it is into one word.
//!
//! The two lowest bits tell whether the word has a code of the system, a kind, or leads to a message or to another error
//! (`library/std/src/io/error/repr_bitpacked.rs`).

use super::Value;
use super::view::{View, fields_of};
use crate::address::Address;
use crate::dwarf::types::TypeKind;
use crate::target::Memory;

const NAME: &str = "std::io::error::Error";
const TAGS: u64 = 0b11;
const MESSAGE: u64 = 0b00;
const CUSTOM: u64 = 0b01;
const SYSTEM: u64 = 0b10;
/// Where the code, or the number of the kind, begins.
const PAYLOAD_SHIFT: u64 = 32;

/// An error of the system as its `Debug` shows it, or the struct that another one leads to.
#[must_use]
pub fn io_error(value: &Value, memory: &dyn Memory) -> Option<View> {
    if value.of.name != NAME || value.of.bytes != 8 {
        return None;
    }
    let word = value.word(memory)?;
    let struct_at = |address: u64, path: &'static str, name: &str| {
        let of = value.module.type_by_path(value.of.id.unit, path)?;
        Some(fields_of(&value.at(Address(address), of)?, name.to_owned()))
    };
    match word & TAGS {
        MESSAGE => struct_at(word, "std::io::error::SimpleMessage", "Error"),
        CUSTOM => struct_at(word - CUSTOM, "std::io::error::Custom", "Custom"),
        SYSTEM => {
            // The kinds and messages of codes are the system's, which is the same for both processes.
            let code = (word >> PAYLOAD_SHIFT) as i32;
            Some(View::Scalar(format!("{:?}", std::io::Error::from_raw_os_error(code))))
        }
        _ => {
            let kind = u128::from(word >> PAYLOAD_SHIFT);
            let of = value.module.type_by_path(value.of.id.unit, "std::io::error::ErrorKind")?;
            let of = value.module.type_of(of)?;
            let TypeKind::Enumeration { enumerators } = &of.kind else { return None };
            let (name, _) = enumerators.iter().find(|(_, own)| *own == kind)?;
            Some(View::Scalar(format!("Kind({name})")))
        }
    }
}
