//! Async functions and blocks: machines that the compiler makes, whose state says at which `.await` each waits.

use std::fmt;

use super::render::unwrapped;
use super::view::{View, fields_of, view};
use super::{Child, Value};
use crate::dwarf::image::UnitIndex;
use crate::dwarf::modules::{Module, as_in_source, without_generics};
use crate::dwarf::types::{TypeId, TypeKind};
use crate::dwarf::{UnitOffset, text};
use crate::limits::AWAITS_MAX;
use crate::target::Memory;

/// Begins the names of the types of such machines: `{async_fn_env#0}`, `{async_block_env#1}`.
const MACHINE: &str = "{async_";
/// The member that holds what is awaited.
const AWAITED: &str = "__awaitee";
/// How the client sees that member.
pub const AWAITS: &str = "awaits";
/// How deep a future may lie inside what adapts it, such as a time limit.
const ADAPTERS_MAX: usize = 4;

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The file's path, when known.
    pub file: Option<String>,
    /// 0 when unknown.
    pub line: u32,
}

impl fmt::Display for At {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or("?");
        write!(formatter, "{}:{}", file.rsplit('/').next().unwrap_or(file), self.line)
    }
}

/// How far an async function has come. One that runs at this moment still says where it waited last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody has polled it.
    Fresh,
    /// It waits here.
    Suspended(At),
    /// It has returned.
    Finished,
    /// It has panicked.
    Panicked,
}

/// An async function or block.
pub struct Future {
    /// As its frames are called.
    pub name: String,
    /// How far it has come.
    pub progress: Progress,
    /// The variant that holds what it has saved.
    saved: Value,
}

impl fmt::Display for Future {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.progress {
            Progress::Fresh => write!(formatter, "{name} not started"),
            Progress::Suspended(at) => write!(formatter, "{name} suspended at {at}"),
            Progress::Finished => write!(formatter, "{name} finished"),
            Progress::Panicked => write!(formatter, "{name} panicked"),
        }
    }
}

impl Future {
    /// Is the value's type such a machine?
    #[must_use]
    pub fn is_one(value: &Value) -> bool {
        value.of.name.contains(MACHINE) && die_name(value).is_some_and(|name| name.starts_with(MACHINE))
    }

    /// Reads the state of one; `None` for other types, and for a state that it cannot have.
    #[must_use]
    pub fn of(value: &Value, memory: &dyn Memory) -> Option<Self> {
        if !Self::is_one(value) {
            return None;
        }
        let member = value.variant_member(memory)?;
        let saved = value.member(member)?;
        let progress = match die_name(&saved)? {
            state if state.starts_with("Unresumed") => Progress::Fresh,
            state if state.starts_with("Returned") => Progress::Finished,
            state if state.starts_with("Panicked") => Progress::Panicked,
            state if state.starts_with("Suspend") => {
                let file = member.file.and_then(|file| value.module.file(value.of.id.unit, file));
                Progress::Suspended(At { file, line: member.line })
            }
            _ => return None,
        };
        let name = value.of.called.get_or_init(|| name_of(&value.module, value.of.id)).clone();
        Some(Self { name, progress, saved })
    }

    /// Its saved variables, and last what it awaits. One that has ended has dropped them.
    #[must_use]
    pub fn fields(&self) -> Vec<Child> {
        if matches!(self.progress, Progress::Finished | Progress::Panicked) {
            return Vec::new();
        }
        let View::Fields { fields, .. } = fields_of(&self.saved, String::new()) else { return Vec::new() };
        let (awaited, mut saved): (Vec<_>, Vec<_>) =
            fields.into_iter().partition(|field| field.name == AWAITED);
        // What the compiler keeps for itself has numbers for names.
        saved.retain(|field| !field.name.bytes().all(|byte| byte.is_ascii_digit()));
        saved.extend(awaited.into_iter().map(|field| Child { name: AWAITS.to_owned(), ..field }));
        saved
    }

    /// What it awaits.
    #[must_use]
    pub fn awaited(&self) -> Option<Value> {
        if matches!(self.progress, Progress::Suspended(_)) { self.saved.field(AWAITED) } else { None }
    }
}

/// The name of a value's type, without the path that it is in.
fn die_name(value: &Value) -> Option<&'static str> {
    value.module.image.scopes(value.of.id.unit).named(value.of.id.entry)?.name
}

/// What people call an async function or block, of the type of its machine.
fn name_of(module: &Module, of: TypeId) -> String {
    let path = without_generics(&module.path_of(of.unit, of.entry)).replace("_env#", "#");
    if !path.contains("{impl#") {
        return as_in_source(&path);
    }
    // The function that runs the machine is named like its type, and to the linker it has the name of the type whose method
    // it is. It may be in any unit of the program's part that has the source.
    let own = path.rsplit("::").next().unwrap_or(&path);
    // All units of a crate are called after its first source file.
    let source_of = |index: UnitIndex| {
        module.image.unit(index).name.and_then(|name| Some(text(name).split_once("/@/")?.0.to_owned()))
    };
    let source = source_of(of.unit);
    let of_crate = |index: &UnitIndex| *index == of.unit || (source.is_some() && source_of(*index) == source);
    let body = module.image.unit_indices().filter(of_crate).find_map(|unit| {
        let is_body = |entry: &UnitOffset| without_generics(&module.path_of(unit, *entry)) == path;
        let bodies = module.image.scopes(unit).entries_named(own).into_iter().filter(is_body);
        // Only an instance that has code has a linker's name.
        bodies.map(|body| module.function_name(unit, body)).find(|name| !name.contains("{impl#"))
    });
    body.unwrap_or_else(|| as_in_source(&path))
}

/// What a future waits for, and that for, down to what is no async function.
pub struct Chain {
    /// From the outermost inwards: all that are suspended.
    pub waiting: Vec<Waiting>,
    /// What is behind the innermost.
    pub end: End,
}

/// One that is suspended.
pub struct Waiting {
    /// What it is called.
    pub name: String,
    /// Where it waits.
    pub at: At,
    /// The machine.
    pub future: Value,
}

/// What a chain of futures ends with.
pub enum End {
    /// A future that is no async function: a timer, a channel, a handle of another task.
    Leaf(Value),
    /// One that does not wait: not started, finished or panicked.
    Idle(Future),
    /// Several at once.
    Several,
    /// The limit.
    Cut,
    /// Not to be read.
    Unreadable,
}

/// Follows a future.
#[must_use]
pub fn chain(future: &Value, memory: &dyn Memory) -> Chain {
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut next = future.clone();
    loop {
        if waiting.len() >= AWAITS_MAX {
            return Chain { waiting, end: End::Cut };
        }
        let mut inside = Vec::new();
        machines_in(&unwrapped(&next, memory), memory, ADAPTERS_MAX, &mut inside);
        let machine = match inside.as_slice() {
            [machine] => machine,
            [] => return Chain { waiting, end: End::Leaf(unwrapped(&next, memory)) },
            _ => return Chain { waiting, end: End::Several },
        };
        let Some(future) = Future::of(machine, memory) else {
            return Chain { waiting, end: End::Unreadable };
        };
        let Progress::Suspended(at) = &future.progress else {
            return Chain { waiting, end: End::Idle(future) };
        };
        waiting.push(Waiting { name: future.name.clone(), at: at.clone(), future: machine.clone() });
        match future.awaited() {
            Some(awaited) => next = awaited,
            None => return Chain { waiting, end: End::Unreadable },
        }
    }
}

/// Collects the async functions that a value is or has inside of it, without following what it shares with others.
fn machines_in(value: &Value, memory: &dyn Memory, depth: usize, found: &mut Vec<Value>) {
    if Future::is_one(value) {
        found.push(value.clone());
        return;
    }
    if depth == 0 || found.len() > 1 {
        return;
    }
    let parts = match (&value.of.kind, view(value, memory)) {
        (_, View::Wrapped { inner, .. }) if is_owner(&value.of.name) => vec![inner],
        (TypeKind::Struct { variants: Some(_), .. }, View::Fields { fields, .. }) => {
            fields.into_iter().map(|field| field.value).collect()
        }
        (TypeKind::Struct { members, variants: None }, _) => {
            members.iter().filter_map(|member| value.member(member)).collect()
        }
        _ => return,
    };
    for part in parts.iter().filter(|part| part.of.bytes > 0) {
        machines_in(part, memory, depth - 1, found);
    }
}

/// Types through which a future owns, or alone uses, another one.
fn is_owner(name: &str) -> bool {
    ["alloc::boxed::Box<", "core::pin::Pin<", "&mut "].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_files_name_and_the_line() {
        let at = At { file: Some("/home/me/job/src/main.rs".to_owned()), line: 7 };
        assert_eq!(at.to_string(), "main.rs:7");
        assert_eq!(At { file: None, line: 0 }.to_string(), "?:0");
    }
}
