//! How a value is shown: as people think of the type, not as the library built it.

use super::collections::{List, Table};
use super::library::notation;
use super::scalar::format_scalar;
use super::text::{TextPlace, text_place};
use super::{Child, Value};
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::{ScalarKind, TypeKind};
use crate::target::Memory;

/// One level of a value.
pub enum View {
    /// No parts.
    Scalar(String),
    /// A string.
    Text(TextPlace),
    /// A struct, tuple or variant. The name is what stands before the fields, perhaps empty.
    Fields {
        /// `Point`, `Some`, or nothing for a tuple.
        name: String,
        /// Named, or `0`, `1`, … for a tuple.
        fields: Vec<Child>,
        /// The fields have no names.
        is_tuple: bool,
    },
    /// Elements.
    List(List),
    /// Keys and values.
    Table(Table),
    /// Something that only holds another value: a reference, a `Box`, a `Cell`.
    Wrapped {
        /// What it holds.
        inner: Value,
        /// What to write before it, for example `&`.
        sign: &'static str,
    },
    /// A raw pointer: shown as its address, with what it points at inside.
    Pointer {
        /// The address.
        address: u64,
        /// What is there.
        inner: Option<Value>,
    },
    /// It cannot be shown, and why.
    Unavailable(String),
}

/// Wrappers of one value that nobody wants to see.
const WRAPPERS: [&str; 11] = [
    "core::cell::Cell<",
    "core::cell::UnsafeCell<",
    "core::cell::once::OnceCell<",
    "core::sync::atomic::Atomic",
    "core::num::nonzero::NonZero<",
    "core::num::wrapping::Wrapping<",
    "core::mem::manually_drop::ManuallyDrop<",
    "core::mem::maybe_dangling::MaybeDangling<",
    "core::cmp::Reverse<",
    "core::pin::Pin<",
    "core::num::niche_types::",
];

/// Types that guard a value, and the field that it is in.
const GUARDS: [(&str, &str); 4] = [
    ("core::cell::RefCell<", "value"),
    ("std::sync::poison::mutex::Mutex<", "data"),
    ("std::sync::poison::rwlock::RwLock<", "data"),
    ("std::sync::mutex::Mutex<", "data"),
];

/// Looks at one level of a value.
#[must_use]
pub fn view(value: &Value, memory: &dyn Memory) -> View {
    if let Place::Unavailable(reason) = &value.place {
        return View::Unavailable((*reason).to_owned());
    }
    match &value.of.kind {
        TypeKind::Scalar(kind) => scalar(value, *kind, memory),
        TypeKind::Enumeration { enumerators } => {
            let Some(tag) = value.unsigned(memory) else { return unreadable(value, memory) };
            match enumerators.iter().find(|(_, own)| *own == tag) {
                Some((name, _)) => View::Scalar(name.clone()),
                None => View::Scalar(format!("{tag} (no variant of {})", value.of.name)),
            }
        }
        TypeKind::Pointer(_) => pointer(value, memory),
        TypeKind::Array { .. } => match List::of(value, memory) {
            Some(list) => View::List(list),
            None => View::Unavailable("an array of a type that is not described".to_owned()),
        },
        TypeKind::Struct { variants: Some(_), .. } => match value.variant(memory) {
            Some((name, fields)) => fields_of(&fields, name),
            None => match value.bytes(memory) {
                Ok(_) => View::Unavailable(
                    "its discriminant names no variant; it may not be initialised yet".to_owned(),
                ),
                Err(reason) => View::Unavailable(reason),
            },
        },
        TypeKind::Struct { .. } => structure(value, memory),
        TypeKind::Union(members) => {
            let child = |member: &crate::dwarf::types::Member| {
                Some(Child { name: member.name.clone(), value: value.member(member)? })
            };
            View::Fields {
                name: short_name(&value.of.name),
                fields: members.iter().filter_map(child).collect(),
                is_tuple: false,
            }
        }
        TypeKind::Function => View::Scalar("a function".to_owned()),
        TypeKind::Other => View::Unavailable("a type that this engine does not know".to_owned()),
    }
}

fn scalar(value: &Value, kind: ScalarKind, memory: &dyn Memory) -> View {
    match value.bytes(memory) {
        Ok(bytes) => View::Scalar(format_scalar(kind, &bytes)),
        Err(reason) => View::Unavailable(reason),
    }
}

fn unreadable(value: &Value, memory: &dyn Memory) -> View {
    View::Unavailable(value.bytes(memory).err().unwrap_or_else(|| "unreadable".to_owned()))
}

fn pointer(value: &Value, memory: &dyn Memory) -> View {
    let Some(address) = value.word(memory) else { return unreadable(value, memory) };
    let inner = value.pointee(memory);
    let name = value.of.name.as_str();
    let is_function = inner.as_ref().is_some_and(|inner| matches!(inner.of.kind, TypeKind::Function));
    if is_function || name.starts_with("fn(") || name.starts_with("unsafe fn(") {
        let live = Address(address);
        let to = value.module.image.symbol_at(value.module.file_address(live));
        let label = to.map_or_else(String::new, |symbol| {
            format!(" {}", crate::dwarf::modules::short_symbol(symbol.name))
        });
        return View::Scalar(format!("{address:#x}{label}"));
    }
    match inner {
        Some(inner) if name.starts_with("alloc::boxed::Box<") => View::Wrapped { inner, sign: "" },
        Some(inner) if name.starts_with('&') => View::Wrapped { inner, sign: "&" },
        inner => View::Pointer { address, inner: inner.filter(|inner| inner.of.bytes > 0 && address != 0) },
    }
}

fn structure(value: &Value, memory: &dyn Memory) -> View {
    if let Some(text) = text_place(value, memory) {
        return View::Text(text);
    }
    if let Some(list) = List::of(value, memory) {
        return View::List(list);
    }
    if let Some(table) = Table::of(value, memory) {
        return View::Table(table);
    }
    let name = value.of.name.as_str();
    if let Some(inner) = counted(value, memory) {
        return View::Wrapped { inner, sign: "" };
    }
    if let Some(inner) = trait_object(value, memory) {
        let sign = if name.starts_with('&') { "&" } else { "" };
        return View::Wrapped { inner, sign };
    }
    if WRAPPERS.iter().any(|start| name.starts_with(start))
        && let Some(inner) = value.only_part()
    {
        return View::Wrapped { inner, sign: "" };
    }
    // What a cell or lock guards is what people want to see of it.
    let guarded =
        GUARDS.iter().find(|(start, _)| name.starts_with(start)).and_then(|(_, field)| value.field(field));
    if let Some(inner) = guarded {
        return View::Wrapped { inner, sign: "" };
    }
    if name == "core::time::Duration"
        && let Some(view) = duration(value, memory)
    {
        return view;
    }
    if let Some(view) = notation(value, memory) {
        return view;
    }
    fields_of(value, short_name(name))
}

/// What an `Rc` or `Arc` shares.
fn counted(value: &Value, memory: &dyn Memory) -> Option<Value> {
    let name = value.of.name.as_str();
    let field = if name.starts_with("alloc::rc::Rc<") {
        "value"
    } else if name.starts_with("alloc::sync::Arc<") {
        "data"
    } else {
        return None;
    };
    value.field("ptr")?.first_pointer()?.pointee(memory)?.field(field)
}

/// What a trait object points at, as the type that it really has.
fn trait_object(value: &Value, memory: &dyn Memory) -> Option<Value> {
    let (pointer, vtable) = (value.field("pointer")?, value.field("vtable")?);
    let of = value.module.type_of_vtable(Address(vtable.word(memory)?))?;
    value.at(Address(pointer.word(memory)?), of)
}

fn duration(value: &Value, memory: &dyn Memory) -> Option<View> {
    let seconds = value.field("secs")?.word(memory)?;
    let nanoseconds = u32::try_from(value.field("nanos")?.unsigned(memory)?).ok()?;
    (nanoseconds < 1_000_000_000)
        .then(|| View::Scalar(format!("{:?}", std::time::Duration::new(seconds, nanoseconds))))
}

fn fields_of(value: &Value, name: String) -> View {
    let TypeKind::Struct { members, .. } = &value.of.kind else {
        return View::Fields { name, fields: Vec::new(), is_tuple: true };
    };
    let mut fields: Vec<Child> = Vec::with_capacity(members.len());
    let mut seen_offsets = Vec::new();
    for member in members {
        let Some(part) = value.member(member) else { continue };
        // An async block may list a captured variable twice.
        if part.of.bytes > 0 && seen_offsets.contains(&(member.offset, &member.name)) {
            continue;
        }
        seen_offsets.push((member.offset, &member.name));
        let shown =
            member.name.strip_prefix("__").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        fields.push(Child { name: shown.unwrap_or(&member.name).to_owned(), value: part });
    }
    let is_tuple = !members.is_empty() && members.iter().all(|member| member.name.starts_with("__"));
    let name = if name.starts_with('(') { String::new() } else { name };
    View::Fields { name, fields, is_tuple }
}

/// A type's name without its path and without generic arguments: `Vec` of `alloc::vec::Vec<u8, alloc::alloc::Global>`.
#[must_use]
pub fn short_name(name: &str) -> String {
    let end = name.find('<').unwrap_or(name.len());
    let start = name[..end].rfind("::").map_or(0, |at| at + 2);
    name[start..end].to_owned()
}

/// A type's name as people write it: no paths, no default allocators.
#[must_use]
pub fn display_type(name: &str) -> String {
    let name = name.replace(", alloc::alloc::Global", "").replace(", std::hash::random::RandomState", "");
    let mut shown = String::with_capacity(name.len());
    let mut part = String::new();
    let mut rest = name.chars().peekable();
    while let Some(character) = rest.next() {
        if character.is_alphanumeric() || "_{}#".contains(character) {
            part.push(character);
        } else if character == ':' && rest.peek() == Some(&':') {
            rest.next();
            // Closures and the like keep what they belong to.
            part.clear();
        } else {
            shown.push_str(&part);
            part.clear();
            shown.push(character);
        }
    }
    shown.push_str(&part);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_lose_paths_and_defaults() {
        assert_eq!(
            display_type("alloc::vec::Vec<alloc::string::String, alloc::alloc::Global>"),
            "Vec<String>"
        );
        assert_eq!(display_type("&[core::option::Option<u8>]"), "&[Option<u8>]");
        assert_eq!(
            display_type("std::collections::hash::map::HashMap<u8, &str, std::hash::random::RandomState>"),
            "HashMap<u8, &str>"
        );
        assert_eq!(short_name("alloc::vec::Vec<u8, alloc::alloc::Global>"), "Vec");
        assert_eq!(short_name("Point"), "Point");
    }
}
