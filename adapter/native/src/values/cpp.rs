//! Values of C and of C++'s standard library (GNU's), which Rust programs link.

use super::Value;
use super::collections::{List, Start};
use super::text::TextPlace;
use super::view::View;
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::TypeKind;
use crate::limits::{LENGTH_BELIEVED_MAX, LIST_NODES_MAX};
use crate::target::Memory;

/// What `std::string` is to the compiler.
const STRING: &str = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >";
/// Arguments of templates that nobody writes.
const DEFAULTS: [&str; 3] = [", std::allocator<", ", std::less<", ", std::default_delete<"];

/// How much of a text that ends with a zero is read at once.
const CHUNK_BYTES: u64 = 64;
/// Steps from one node of a tree to the next.
const CLIMB_MAX: usize = 128;

/// The name of a type without the arguments of templates that are as the library wants them.
#[must_use]
pub fn without_defaults(name: String) -> String {
    if !name.contains("std::") || !DEFAULTS.iter().any(|start| name.contains(start)) {
        return name;
    }
    let mut name = name.replace(STRING, "std::string");
    for start in DEFAULTS {
        while let Some(at) = name.find(start) {
            let mut depth = 0;
            let end = name[at..].find(|character| {
                depth += match character {
                    '<' => 1,
                    '>' => -1,
                    _ => 0,
                };
                character == '>' && depth == 0
            });
            // A name that is cut off has no end.
            let Some(end) = end else { return name };
            name.replace_range(at..=at + end, "");
        }
    }
    name.replace(" >", ">")
}

/// Is it C's `char`? Rust's own has four bytes.
#[must_use]
pub fn is_char(value: &Value) -> bool {
    value.of.name == "char" && value.of.bytes == 1
}

/// The text at an address up to its zero; true when there is more than `most` bytes of it.
#[must_use]
pub fn zero_ended(address: Address, memory: &dyn Memory, most: u64) -> Option<(String, bool)> {
    let mut found = Vec::new();
    while (found.len() as u64) < most {
        let at = address.offset(found.len() as u64);
        // Not over the end of a chunk: what lies behind it may not be readable.
        let bytes = (CHUNK_BYTES - at.0 % CHUNK_BYTES).min(most - found.len() as u64);
        let chunk = memory.read_vec(at, bytes as usize).ok()?;
        match chunk.iter().position(|byte| *byte == 0) {
            Some(end) => {
                found.extend_from_slice(&chunk[..end]);
                return Some((String::from_utf8_lossy(&found).into_owned(), false));
            }
            None => found.extend(chunk),
        }
    }
    Some((String::from_utf8_lossy(&found).into_owned(), true))
}

/// A `std::string`.
#[must_use]
pub fn text_place(value: &Value, memory: &dyn Memory) -> Option<TextPlace> {
    if !value.of.name.starts_with("std::__cxx11::basic_string<char,") {
        return None;
    }
    let address = value.path(&["_M_dataplus", "_M_p"])?.word(memory)?;
    let bytes = value.field("_M_string_length")?.word(memory)?;
    (bytes <= LENGTH_BELIEVED_MAX).then_some(TextPlace { address: Address(address), bytes })
}

/// A `std::vector`, but not one of `bool`, which are bits.
#[must_use]
pub fn list(value: &Value, memory: &dyn Memory) -> Option<List> {
    if !value.of.name.starts_with("std::vector<") {
        return None;
    }
    let data = value.find(6, &|part| part.of.member("_M_start").is_some())?;
    let start = data.field("_M_start")?;
    let TypeKind::Pointer(Some(element)) = start.of.kind else { return None };
    let (start, end) = (start.word(memory)?, data.field("_M_finish")?.word(memory)?);
    let stride = value.module.type_of(element)?.bytes.max(1);
    List::new(value, element, Start::Memory(Address(start)), end.checked_sub(start)? / stride)
}

/// A `std::unique_ptr` or `std::shared_ptr`, as the pointer that it has.
#[must_use]
pub fn pointer(value: &Value) -> Option<View> {
    let field = match value.of.name.split_once('<')?.0 {
        "std::unique_ptr" => "_M_head_impl",
        "std::shared_ptr" => "_M_ptr",
        _ => return None,
    };
    let own = |part: &Value| part.field(field).filter(|own| matches!(own.of.kind, TypeKind::Pointer(_)));
    let inner = own(&value.find(10, &|part| own(part).is_some())?)?;
    Some(View::Wrapped { inner, sign: "" })
}

/// The elements of a `std::map` or `std::set` in their order. The walk follows the program's own pointers, which may lead anywhere.
#[must_use]
pub fn tree(value: &Value, memory: &dyn Memory) -> Option<List> {
    let tree = value.field("_M_t")?;
    let element = tree.of.parameter("_Val")?;
    let header = tree.find(4, &|part| part.of.member("_M_header").is_some())?;
    let len = header.field("_M_node_count")?.word(memory)?;
    let end = header.field("_M_header")?;
    let Place::Memory(end_address) = end.place else { return None };
    let link = |node: Address, name: &str| {
        Some(Address(end.at(node, end.of.id)?.field(name)?.word(memory)?)).filter(|to| to.0 != 0)
    };
    let mut nodes = Vec::new();
    let mut node = link(end_address, "_M_left")?;
    while node != end_address && nodes.len() < LIST_NODES_MAX.min(usize::try_from(len).ok()?) {
        // What it holds stands behind its links.
        nodes.push(node.offset(end.of.bytes));
        node = next(node, &link)?;
    }
    List::new(value, element, Start::Linked(nodes.into()), len)
}

/// The node behind another one.
fn next(node: Address, link: &dyn Fn(Address, &str) -> Option<Address>) -> Option<Address> {
    if let Some(mut right) = link(node, "_M_right") {
        for _ in 0..CLIMB_MAX {
            match link(right, "_M_left") {
                Some(left) => right = left,
                None => return Some(right),
            }
        }
        return None;
    }
    let (mut node, mut parent) = (node, link(node, "_M_parent")?);
    for _ in 0..CLIMB_MAX {
        if link(parent, "_M_right") != Some(node) {
            return Some(parent);
        }
        // The root and what stands behind the last are each other's parents.
        if link(node, "_M_right") == Some(parent) {
            return Some(node);
        }
        (node, parent) = (parent, link(parent, "_M_parent")?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_people_write_them() {
        let shown = |name: &str| without_defaults(name.to_owned());
        assert_eq!(shown("std::vector<int, std::allocator<int> >"), "std::vector<int>");
        let pair = format!("std::allocator<std::pair<const {STRING}, double> >");
        let map = format!("std::map<{STRING}, double, std::less<{STRING} >, {pair} >");
        assert_eq!(shown(&map), "std::map<std::string, double>");
        assert_eq!(shown("std::vector<int, std::allocator<int"), "std::vector<int, std::allocator<int");
        assert_eq!(shown("alloc::vec::Vec<u8>"), "alloc::vec::Vec<u8>");
    }
}
