//! From what somebody has typed to the bytes of a value.

use super::Value;
use super::render::unwrapped;
use super::scalar::parse_scalar;
use super::view::display_type;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::{Member, TypeKind};
use crate::target::Memory;

/// What can be set.
const WHAT: &str = "numbers, bool, char, plain enums, and enums of such values, as Some(5) and None,";

/// Which parts of a value get which bytes, or why it cannot be set. Nothing is written that has to be dropped, or that the program would
/// have to drop afterwards.
///
/// # Errors
/// A part of a sentence.
pub fn parts(value: &Value, text: &str, memory: &dyn Memory) -> Result<Vec<(Value, Vec<u8>)>, String> {
    let value = unwrapped(value, memory);
    if !matches!(value.of.kind, TypeKind::Struct { variants: Some(_), .. }) {
        return plain(&value, text).map(|bytes| vec![(value, bytes)]);
    }
    variant(&value, text.trim(), memory)
}

/// A value without parts.
fn plain(value: &Value, text: &str) -> Result<Vec<u8>, String> {
    if !is_plain(value) {
        return Err(format!("only {WHAT} can be set, and this is a {}", display_type(&value.of.name)));
    }
    if value.of.bits.is_some() {
        return Err("it shares its bytes with other fields, and only whole bytes can be set".to_owned());
    }
    parse_scalar(&value.of, text)
}

fn is_plain(value: &Value) -> bool {
    matches!(value.of.kind, TypeKind::Scalar(_) | TypeKind::Enumeration { .. })
}

fn variant(value: &Value, text: &str, memory: &dyn Memory) -> Result<Vec<(Value, Vec<u8>)>, String> {
    let TypeKind::Struct { variants: Some(part), .. } = &value.of.kind else { return Err(WHAT.to_owned()) };
    let (path, payload) = match text.split_once('(') {
        Some((path, rest)) => {
            (path.trim(), Some(rest.trim_end().strip_suffix(')').ok_or("\")\" is missing")?))
        }
        None => (text, None),
    };
    let name = path.rsplit("::").next().unwrap_or(path);
    let Some(wanted) = part.variants.iter().find(|variant| variant.member.name == name) else {
        let names: Vec<_> = part.variants.iter().map(|variant| variant.member.name.as_str()).collect();
        return Err(format!(
            "{text:?} is no variant of {}, which has {}",
            display_type(&value.of.name),
            names.join(", ")
        ));
    };
    let (now, _) = value.variant(memory).ok_or("its discriminant names no variant")?;
    for own in
        part.variants.iter().filter(|variant| variant.member.name == now || variant.member.name == name)
    {
        holds_plain_values(value, &own.member)?;
    }
    let fields = value.member(&wanted.member).ok_or("its fields are not described")?;
    let mut writes = Vec::new();
    match (fields_in(&fields).as_slice(), payload) {
        ([], None) => {}
        ([only], Some(payload)) => {
            let inner = unwrapped(only, memory);
            let bytes = plain(&inner, payload)?;
            if only.of.name.starts_with("core::num::nonzero::") && bytes.iter().all(|byte| *byte == 0) {
                return Err(format!("0 is no value of {}", display_type(&only.of.name)));
            }
            writes.push((inner, bytes));
        }
        ([_], None) => return Err(format!("{name} holds a value: write {name}(…)")),
        ([], Some(_)) => return Err(format!("{name} holds no value")),
        _ => return Err(format!("{name} has several fields; set them one by one")),
    }
    let Some(tag) = part.discriminant.as_ref().and_then(|tag| value.member(tag)) else { return Ok(writes) };
    match wanted.values.first() {
        Some((number, _)) => {
            let bytes = number.to_le_bytes().get(..tag.of.bytes as usize).map(<[u8]>::to_vec);
            writes.push((tag, bytes.ok_or("its discriminant is too large")?));
        }
        // The value itself says that it is there, if that is where the discriminant lies.
        None if name == now || writes.iter().any(|(inner, _)| covers(inner, &tag)) => {}
        None => return Err(format!("{name} is told by another part of the value, which is not known")),
    }
    Ok(writes)
}

fn covers(whole: &Value, part: &Value) -> bool {
    match (&whole.place, &part.place) {
        (Place::Memory(start), Place::Memory(at)) => {
            start <= at && at.0 + part.of.bytes <= start.0 + whole.of.bytes
        }
        // In a register there is one of them.
        _ => whole.of.bytes == part.of.bytes,
    }
}

fn fields_in(value: &Value) -> Vec<Value> {
    let TypeKind::Struct { members, .. } = &value.of.kind else { return Vec::new() };
    members.iter().filter_map(|member| value.member(member)).collect()
}

/// What a variant holds may be written over only if nothing of it is ever dropped.
fn holds_plain_values(value: &Value, member: &Member) -> Result<(), String> {
    let fields = value.member(member).map(|fields| fields_in(&fields)).unwrap_or_default();
    // A pointer is looked through, and must not be.
    let is_number = |field: &Value| is_plain(field) || field.of.name.starts_with("core::num::");
    let held = fields.iter().find(|field| !is_number(field));
    match held {
        Some(held) => Err(format!(
            "{} holds a {}, which would never be dropped; only {WHAT} can be set",
            member.name,
            display_type(&held.of.name)
        )),
        None => Ok(()),
    }
}
