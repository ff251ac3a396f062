//! How a value is shown: as people think of the type, not as the library built it.

use super::collections::{List, Table};
use super::errors::io_error;
use super::future::Future;
use super::library::notation;
use super::scalar::{format_extended, format_scalar};
use super::text::{TextPlace, text_place};
use super::{Child, Value};
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::{Member, ScalarKind, TypeKind};
use crate::limits::LENGTH_BELIEVED_MAX;
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
    /// An async function or block.
    Future {
        /// What it is and where it waits.
        line: String,
        /// Its saved variables, and what it awaits.
        fields: Vec<Child>,
    },
    /// It cannot be shown, and why.
    Unavailable(String),
}

/// Wrappers of one value that nobody wants to see.
const WRAPPERS: [&str; 14] = [
    "core::cell::Cell<",
    "core::cell::UnsafeCell<",
    "core::cell::once::OnceCell<",
    "core::sync::atomic::Atomic",
    "core::num::nonzero::NonZero<",
    "core::num::wrapping::Wrapping<",
    "core::num::saturating::Saturating<",
    "core::ptr::non_null::NonNull<",
    "core::ptr::unique::Unique<",
    "core::mem::manually_drop::ManuallyDrop<",
    "core::mem::maybe_dangling::MaybeDangling<",
    "core::cmp::Reverse<",
    "core::pin::Pin<",
    "core::num::niche_types::",
];

const COUNTED: [&str; 2] = ["alloc::rc::Rc<", "alloc::sync::Arc<"];
/// The strong and the weak count.
const COUNTS_BYTES: u64 = 16;

/// Types that guard a value, and the field that it is in.
const GUARDS: [(&str, &str); 18] = [
    ("core::cell::RefCell<", "value"),
    ("std::sync::poison::mutex::Mutex<", "data"),
    ("std::sync::poison::rwlock::RwLock<", "data"),
    ("std::sync::mutex::Mutex<", "data"),
    ("std::sync::poison::mutex::MutexGuard<", "lock"),
    ("std::sync::poison::rwlock::RwLockWriteGuard<", "lock"),
    ("alloc::collections::binary_heap::BinaryHeap<", "data"),
    ("std::sync::reentrant_lock::ReentrantLock<", "data"),
    ("tokio::sync::mutex::Mutex<", "c"),
    ("tokio::sync::mutex::MutexGuard<", "lock"),
    ("tokio::sync::mutex::OwnedMutexGuard<", "lock"),
    ("tokio::sync::rwlock::RwLock<", "c"),
    ("lock_api::mutex::Mutex<", "data"),
    ("lock_api::mutex::MutexGuard<", "mutex"),
    ("lock_api::rwlock::RwLock<", "data"),
    ("lock_api::rwlock::RwLockReadGuard<", "rwlock"),
    ("lock_api::rwlock::RwLockWriteGuard<", "rwlock"),
    ("once_cell::sync::OnceCell<", "__0"),
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
        TypeKind::Struct { variants: Some(_), .. } if Future::is_one(value) => {
            match Future::of(value, memory) {
                Some(future) => View::Future { line: future.to_string(), fields: future.fields() },
                None => match value.bytes(memory) {
                    Ok(_) => View::Unavailable("its state is none that an async function has".to_owned()),
                    Err(reason) => View::Unavailable(reason),
                },
            }
        }
        TypeKind::Struct { variants: Some(_), .. } => {
            super::foreign::enumeration(value, memory).unwrap_or_else(|| variant(value, memory))
        }
        TypeKind::Struct { .. } => structure(value, memory),
        TypeKind::Union(members) => union(value, members),
        TypeKind::Function => View::Scalar("a function".to_owned()),
        TypeKind::Other => View::Unavailable("a type that this engine does not know".to_owned()),
    }
}

fn variant(value: &Value, memory: &dyn Memory) -> View {
    match value.variant(memory) {
        Some((name, fields)) => fields_of(&fields, name),
        None => match value.bytes(memory) {
            Ok(_) => View::Unavailable(
                "its discriminant names no variant; it may not be initialised yet".to_owned(),
            ),
            Err(reason) => View::Unavailable(reason),
        },
    }
}

fn union(value: &Value, members: &[Member]) -> View {
    let child = |member: &Member| Some(Child { name: member.name.clone(), value: value.member(member)? });
    View::Fields {
        name: short_name(&value.of.name),
        fields: members.iter().filter_map(child).collect(),
        is_tuple: false,
    }
}

fn scalar(value: &Value, kind: ScalarKind, memory: &dyn Memory) -> View {
    match value.bytes(memory) {
        Ok(bytes) if value.of.name == "long double" => {
            View::Scalar(format_extended(&bytes).unwrap_or_else(|| format_scalar(kind, &bytes)))
        }
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
        // What is no pointer but a function itself has no bytes, and is described in the same way.
        let nowhere = || if memory.read(live, &mut [0]).is_err() { " (no function is there)" } else { "" };
        let label = to.map_or_else(
            || nowhere().to_owned(),
            |symbol| format!(" {}", crate::dwarf::modules::short_symbol(symbol.name)),
        );
        return View::Scalar(format!("{address:#x}{label}"));
    }
    match inner {
        Some(inner) if name.starts_with("alloc::boxed::Box<") => View::Wrapped { inner, sign: "" },
        Some(inner) if name.starts_with('&') => View::Wrapped { inner, sign: "&" },
        inner => View::Pointer { address, inner: inner.filter(|inner| inner.of.bytes > 0 && address != 0) },
    }
}

fn structure(value: &Value, memory: &dyn Memory) -> View {
    let own = notation(value, memory).or_else(|| io_error(value, memory));
    if let Some(view) = own.or_else(|| super::foreign::structure(value, memory)) {
        return view;
    }
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
    if let Some(inner) = counted_object(value, memory).or_else(|| counted(value, memory)) {
        return View::Wrapped { inner, sign: "" };
    }
    if let Some(text) = error_of_text(value, memory) {
        return View::Text(text);
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
    if let Some(inner) = borrowed(value, memory) {
        return View::Wrapped { inner, sign: "&" };
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
    fields_of(value, short_name(name))
}

/// What an `Rc` or `Arc` shares.
pub(crate) fn counted(value: &Value, memory: &dyn Memory) -> Option<Value> {
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

/// What somebody has borrowed from a cell or a lock.
fn borrowed(value: &Value, memory: &dyn Memory) -> Option<Value> {
    const BORROWS: [(&str, &str); 7] = [
        ("core::cell::Ref<", "value"),
        ("core::cell::RefMut<", "value"),
        ("std::sync::poison::rwlock::RwLockReadGuard<", "data"),
        ("std::sync::poison::mutex::MappedMutexGuard<", "data"),
        ("std::sync::poison::rwlock::MappedRwLockReadGuard<", "data"),
        ("tokio::sync::rwlock::read_guard::RwLockReadGuard<", "data"),
        ("tokio::sync::rwlock::write_guard::RwLockWriteGuard<", "data"),
    ];
    let (_, field) = BORROWS.iter().find(|(start, _)| value.of.name.starts_with(start))?;
    value.field(field)?.first_pointer()?.pointee(memory)
}

/// What a trait object points at, as the type that it really has.
fn trait_object(value: &Value, memory: &dyn Memory) -> Option<Value> {
    let (pointer, vtable) = (value.field("pointer")?, value.field("vtable")?);
    let of = value.module.type_of_vtable(Address(vtable.word(memory)?))?;
    value.at(Address(pointer.word(memory)?), of)
}

/// The text of a `dyn Error` that was made from a string. Its type is the standard library's own and is not described; the
/// linker's names of its methods tell it.
fn error_of_text(value: &Value, memory: &dyn Memory) -> Option<TextPlace> {
    const METHODS_AT: u64 = 24;
    const METHODS_MAX: u64 = 8;
    if !value.of.name.contains("dyn core::error::Error") {
        return None;
    }
    let (object, table) =
        (value.field("pointer")?.word(memory)?, Address(value.field("vtable")?.word(memory)?));
    let symbol_of = |index: u64| {
        let method = memory.read_u64(table.offset(METHODS_AT + index * 8)).ok()?;
        value.module.image.symbol_at(value.module.file_address(Address(method)))
    };
    let is_text = |index| symbol_of(index).is_some_and(|symbol| symbol.name.contains("StringError"));
    if !(0..METHODS_MAX).any(is_text) {
        return None;
    }
    let word = |index: u64| memory.read_u64(Address(object.checked_add(index * 8)?)).ok();
    // A `String` has its capacity, its start and its length, in an order of the compiler's choice; the start is the largest.
    let words = [word(0)?, word(1)?, word(2)?];
    let address = words.into_iter().max()?;
    let rest = || words.into_iter().filter(|word| *word != address);
    let bytes = rest().min()?;
    (rest().all(|word| word <= LENGTH_BELIEVED_MAX)).then_some(TextPlace { address: Address(address), bytes })
}

/// The same of an `Rc` or `Arc`, whose counts stand before the object, as far apart from it as its alignment wants.
fn counted_object(value: &Value, memory: &dyn Memory) -> Option<Value> {
    if !COUNTED.iter().any(|start| value.of.name.starts_with(start)) {
        return None;
    }
    let wide = value.field("ptr")?.find(2, &|part| part.of.member("vtable").is_some())?;
    let table = Address(wide.field("vtable")?.word(memory)?);
    let of = value.module.type_of_vtable(table)?;
    // A table begins with how to drop the value, its size and its alignment.
    let align = memory.read_u64(table.offset(16)).ok().filter(|align| align.is_power_of_two())?;
    let counts = align.checked_mul(COUNTS_BYTES.div_ceil(align))?;
    value.at(Address(wide.field("pointer")?.word(memory)?.checked_add(counts)?), of)
}

fn duration(value: &Value, memory: &dyn Memory) -> Option<View> {
    let seconds = value.field("secs")?.word(memory)?;
    let nanoseconds = u32::try_from(value.field("nanos")?.unsigned(memory)?).ok()?;
    (nanoseconds < 1_000_000_000)
        .then(|| View::Scalar(format!("{:?}", std::time::Duration::new(seconds, nanoseconds))))
}

pub(super) fn fields_of(value: &Value, name: String) -> View {
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
        let position =
            member.name.strip_prefix("__").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        // What a closure has captured; of a part of something the name goes on behind two underscores.
        let captured = member.name.strip_prefix("_ref__").map(|path| path.replace("__", "."));
        let shown = captured.unwrap_or_else(|| position.unwrap_or(&member.name).to_owned());
        fields.push(Child { name: shown, value: part });
    }
    let is_tuple = !members.is_empty() && members.iter().all(|member| member.name.starts_with("__"));
    let name = match name.as_str() {
        _ if value.of.name.starts_with('(') => String::new(),
        closure if closure.starts_with("{closure_env#") => "closure".to_owned(),
        _ => name,
    };
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
    let name = super::cpp::without_defaults(name);
    let mut shown = String::with_capacity(name.len());
    let mut part = String::new();
    // The last part of the path that people wrote themselves, to which a closure or an async block belongs.
    let mut owner = String::new();
    let mut rest = name.chars().peekable();
    while let Some(character) = rest.next() {
        if character.is_alphanumeric() || "_{}#".contains(character) {
            part.push(character);
        } else if character == ':' && rest.peek() == Some(&':') {
            rest.next();
            if !part.starts_with('{') {
                owner.clone_from(&part);
            }
            part.clear();
        } else {
            shown.push_str(&of_owner(&part, &owner));
            part.clear();
            shown.push(character);
        }
    }
    shown.push_str(&of_owner(&part, &owner));
    shown
}

/// The last part of a path, with what a closure or an async block belongs to.
fn of_owner(part: &str, owner: &str) -> String {
    let kind = match part.split("_env#").next() {
        Some("{async_fn") => "async fn",
        Some("{async_block") => "async block of",
        Some("{async_closure") => "async closure of",
        Some("{closure") => "closure of",
        _ => return part.to_owned(),
    };
    format!("{kind} {owner}")
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
        assert_eq!(display_type("job::fetch::{async_fn_env#0}"), "async fn fetch");
        assert_eq!(
            display_type("core::pin::Pin<&mut job::run::{async_fn#0}::{async_block_env#1}<u8>>"),
            "Pin<&mut async block of run<u8>>"
        );
        assert_eq!(short_name("alloc::vec::Vec<u8, alloc::alloc::Global>"), "Vec");
        assert_eq!(short_name("Point"), "Point");
    }
}
