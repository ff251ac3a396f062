//! Iterators as what they have left, and lists that other libraries than the standard one have.
//!
//! As everywhere here, a type is known by its full name and by the fields that are there.

use super::Value;
use super::collections::{List, Start};
use super::text::TextPlace;
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::{TypeId, TypeKind};
use crate::limits::LENGTH_BELIEVED_MAX;
use crate::target::Memory;

/// The elements of a value that is an iterator or a list; `None` for others.
#[must_use]
pub fn list(value: &Value, memory: &dyn Memory) -> Option<List> {
    let name = value.of.name.as_str();
    if let Some(list) = super::cpp::list(value, memory) {
        return Some(list);
    }
    let is = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    if is(&["alloc::vec::into_iter::IntoIter<"]) {
        return between(value, "end", memory);
    }
    if is(&["core::slice::iter::Iter<", "core::slice::iter::IterMut<"]) {
        return between(value, "end_or_len", memory);
    }
    if is(&["alloc::vec::drain::Drain<"]) {
        return list(&value.field("iter")?, memory);
    }
    if is(&["core::array::iter::IntoIter<"]) {
        return of_array(value, memory);
    }
    if is(&["smallvec::SmallVec<"]) {
        return small_vector(value, memory);
    }
    if is(&["arrayvec::arrayvec::ArrayVec<"]) {
        let (elements, len) = (value.field("xs")?, value.field("len")?.word(memory)?);
        return of_parts(value, &elements, value.of.parameter("T")?, 0, len);
    }
    if matches!(name, "bytes::bytes::Bytes" | "bytes::bytes_mut::BytesMut") {
        let start = value.field("ptr")?.first_pointer()?;
        let TypeKind::Pointer(Some(element)) = start.of.kind else { return None };
        let len = value.field("len")?.word(memory)?;
        return List::new(value, element, Start::Memory(Address(start.word(memory)?)), len);
    }
    None
}

/// The text that an iterator over characters has left.
#[must_use]
pub fn text_left(value: &Value, memory: &dyn Memory) -> Option<TextPlace> {
    if value.of.name != "core::str::iter::Chars" {
        return None;
    }
    let iterator = value.field("iter")?;
    let start = iterator.field("ptr")?.first_pointer()?.word(memory)?;
    let bytes = iterator.field("end_or_len")?.word(memory)?.checked_sub(start)?;
    (bytes <= LENGTH_BELIEVED_MAX).then_some(TextPlace { address: Address(start), bytes })
}

/// What lies from the field `ptr` to another one. Elements without a size are counted there: as a length, or as bytes.
fn between(value: &Value, end: &str, memory: &dyn Memory) -> Option<List> {
    let element = value.of.parameter("T")?;
    let start = value.field("ptr")?.first_pointer()?.word(memory)?;
    let end_word = value.field(end)?.first_pointer()?.word(memory)?;
    let stride = value.module.type_of(element)?.bytes;
    let len = match (stride, end) {
        (0, "end_or_len") => end_word,
        (0, _) => end_word.checked_sub(start)?,
        (stride, _) => end_word.checked_sub(start)? / stride,
    };
    List::new(value, element, Start::Memory(Address(start)), len)
}

/// Some of the elements that lie in a part of a value.
fn of_parts(value: &Value, elements: &Value, element: TypeId, from: u64, len: u64) -> Option<List> {
    let stride = value.module.type_of(element)?.bytes;
    let Place::Memory(start) = elements.place else { return None };
    // They lie there, or they are none.
    (from.checked_add(len)?.checked_mul(stride)? <= elements.of.bytes).then_some(())?;
    List::new(value, element, Start::Memory(start.offset(from.checked_mul(stride)?)), len)
}

fn of_array(value: &Value, memory: &dyn Memory) -> Option<List> {
    let inner = value.find(4, &|part| part.of.member("alive").is_some())?;
    let alive = inner.field("alive")?;
    let (start, end) = (alive.field("start")?.word(memory)?, alive.field("end")?.word(memory)?);
    of_parts(value, &inner.field("data")?, value.of.parameter("T")?, start, end.checked_sub(start)?)
}

/// One that is short lies inside; then its capacity is its length.
fn small_vector(value: &Value, memory: &dyn Memory) -> Option<List> {
    let array = value.module.type_of(value.of.parameter("A")?)?;
    let TypeKind::Array { element, count } = array.kind else { return None };
    let capacity = value.field("capacity")?.word(memory)?;
    let data = value.field("data")?;
    let (inline, heap) = match data.variant(memory) {
        Some((name, fields)) if name == "Inline" => (Some(fields), None),
        Some((_, fields)) => (None, Some(fields)),
        None if capacity <= count => (Some(data.field("inline")?), None),
        None => (None, Some(data.field("heap")?)),
    };
    if let Some(inline) = inline {
        let inline = inline.field("__0").unwrap_or(inline);
        return of_parts(value, &inline, element, 0, capacity);
    }
    let heap = heap?;
    let start = Address(heap.first_pointer()?.word(memory)?);
    let is_length = |part: &Value| matches!(part.of.kind, TypeKind::Scalar(_)) && part.of.bytes == 8;
    List::new(value, element, Start::Memory(start), heap.find(4, &is_length)?.word(memory)?)
}
