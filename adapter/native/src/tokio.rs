//! The tasks of a tokio runtime, read from the program's memory through the debug information of tokio's own types.
//!
//! Fields are found by their names and types by theirs, never by offsets or by tokio's version. What does not look as expected
//! is said in a sentence. Other threads run on meanwhile: a list that changes under the walk gives what was seen of it.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use gimli::constants as dw;

use crate::address::Address;
use crate::dwarf::UnitOffset;
use crate::dwarf::image::UnitIndex;
use crate::dwarf::modules::Module;
use crate::dwarf::scopes::ScopeIndex;
use crate::dwarf::text;
use crate::dwarf::types::{TypeId, TypeKind};
use crate::limits::{TOKIO_AWAITERS_MAX, TOKIO_TASKS_MAX};
use crate::target::Memory;
use crate::values::Value;
use crate::values::collections::List;
use crate::values::view::counted;

/// In the names of tokio's own units: those of a registry, and of a copy of its sources.
const UNITS: [&str; 2] = ["/@/tokio.", "/tokio/src/lib.rs/@/"];
const CONTEXT: &str = "tokio::runtime::context::Context";
/// What a thread that runs a `LocalSet` has of it.
const LOCAL: &str = "tokio::task::local::LocalData";
const LOCAL_STORAGE: &str = "std::sys::thread_local::native::eager::Storage<tokio::task::local::LocalData>";
const LOCAL_CONTEXT: &str = "core::option::Option<alloc::rc::Rc<tokio::task::local::Context";
const STORAGE: &str = "std::sys::thread_local::native::eager::Storage<tokio::runtime::context::Context>";
const HANDLE: &str = "core::option::Option<tokio::runtime::scheduler::Handle";
const TASK_ID: &str = "core::option::Option<tokio::runtime::task::id::Id";
const OWNED: &str = "tokio::runtime::task::list::OwnedTasks<";
const LOCAL_OWNED: &str = "tokio::runtime::task::list::LocalOwnedTasks<";
const LINKED_LIST: &str = "tokio::util::linked_list::LinkedList<";
const STAGE: &str = "tokio::runtime::task::core::Stage<";
const JOIN_HANDLE: &str = "tokio::runtime::task::join::JoinHandle<";
const TRAILER: (&str, &str) = ("Trailer", "tokio::runtime::task::core::Trailer");
/// The frames of tokio under which a task runs.
pub const TASK_FRAMES: &str = "tokio::runtime::task::";

/// Bits of a task's state word: they are constants of tokio's code, of which debug information says nothing.
const RUNNING: u64 = 1;
const COMPLETE: u64 = 2;
const NOTIFIED: u64 = 4;
const HAS_JOIN_WAKER: u64 = 16;

/// What is known of the program's tokio. It is looked for when it is first wanted, and kept.
#[derive(Default)]
pub struct Tokio {
    context: OnceCell<Option<ContextVariable>>,
    local: OnceCell<Option<ContextVariable>>,
    trailer: OnceCell<Option<TypeId>>,
    tables: RefCell<HashMap<Address, Rc<Table>>>,
}

/// The variable in which each thread has its runtime.
struct ContextVariable {
    unit: UnitIndex,
    entry: UnitOffset,
    type_id: TypeId,
}

/// What all tasks with one table of methods have in common.
struct Table {
    trailer_offset: u64,
    /// The allocation of such a task, with its future.
    cell: Option<TypeId>,
}

/// The runtime that a thread belongs to.
#[derive(Clone)]
pub struct Runtime {
    /// "current thread" or "multi thread".
    pub kind: &'static str,
    handle: Value,
    /// What the tasks of the `LocalSet` share that the thread runs at the moment.
    local: Option<Value>,
    /// The task that the thread runs.
    current: Option<u64>,
}

/// A task that a runtime owns.
#[derive(Clone)]
pub struct Task {
    /// Its header.
    pub header: Address,
    /// As tokio counts them.
    pub id: u64,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A thread polls it.
    Running {
        /// The thread that is looked at.
        by_this_thread: bool,
    },
    /// It is in a queue and is polled soon.
    Scheduled,
    /// It waits.
    Idle,
    /// It has ended.
    Complete,
}

/// What there is to know of one task.
pub struct Details {
    /// What it does.
    pub state: State,
    /// Its future, as long as there is one; of a task that runs, with what it held before.
    pub future: Option<Value>,
    /// The type of its future, when that is described.
    pub type_name: Option<String>,
}

/// The tasks of a runtime, by id.
pub struct Tasks {
    /// All of them, up to a limit.
    pub tasks: Vec<Task>,
    /// There are more.
    pub is_cut: bool,
}

fn not_recognised(what: &str) -> String {
    format!("The tasks cannot be listed: this tokio keeps {what} in a way that this engine does not know.")
}

impl Tokio {
    /// The runtime of the thread with this base, if it has one.
    #[must_use]
    pub fn runtime(&self, module: &Rc<Module>, memory: &dyn Memory, thread_base: u64) -> Option<Runtime> {
        let variable = self.context.get_or_init(|| find_context(module, CONTEXT, STORAGE)).as_ref()?;
        let place = module.global_place(variable.unit, variable.entry, thread_base)?;
        let storage = Value::new(module, variable.type_id, crate::dwarf::evaluate::Place::Memory(place))?;
        let context = storage.find(4, &|part| part.of.name == CONTEXT)?;
        let handle = context.field("current")?.find(4, &|part| part.of.name.starts_with(HANDLE))?;
        let (_, some) = handle.variant(memory).filter(|(variant, _)| variant == "Some")?;
        let (kind, shared) = some.field("__0")?.variant(memory)?;
        let current = context.field("current_task_id").and_then(|id| optional_id(&id, memory));
        let kind = if kind == "CurrentThread" { "current thread" } else { "multi thread" };
        let local = self.local_set(module, memory, thread_base);
        Some(Runtime { kind, handle: counted(&shared.field("__0")?, memory)?, local, current })
    }

    /// What the tasks of the `LocalSet` share in which a thread is.
    fn local_set(&self, module: &Rc<Module>, memory: &dyn Memory, thread_base: u64) -> Option<Value> {
        let variable = self.local.get_or_init(|| find_context(module, LOCAL, LOCAL_STORAGE)).as_ref()?;
        let place = module.global_place(variable.unit, variable.entry, thread_base)?;
        let storage = Value::new(module, variable.type_id, crate::dwarf::evaluate::Place::Memory(place))?;
        let option = storage.find(6, &|part| part.of.name.starts_with(LOCAL_CONTEXT))?;
        let (_, some) = option.variant(memory).filter(|(variant, _)| variant == "Some")?;
        counted(&counted(&some.field("__0")?, memory)?.field("shared")?, memory)
    }

    /// The tasks that a runtime owns.
    pub fn tasks(&self, runtime: &Runtime, memory: &dyn Memory) -> Result<Tasks, String> {
        let lists = runtime
            .handle
            .find(4, &|part| part.of.name.starts_with(OWNED))
            .and_then(|owned| List::of(&owned.field("list")?.field("lists")?, memory))
            .ok_or_else(|| not_recognised("its list of tasks"))?;
        let mut headers = HashSet::new();
        let mut tasks = Vec::new();
        let linked = |own: Value| own.find(6, &|part| part.of.name.starts_with(LINKED_LIST));
        let local = runtime.local.as_ref().map(|shared| {
            let owned = shared.find(4, &|part| part.of.name.starts_with(LOCAL_OWNED));
            owned.and_then(linked)
        });
        let shards =
            (0..lists.len.min(TOKIO_TASKS_MAX as u64)).map(|shard| lists.get(shard).and_then(linked));
        for list in shards.chain(local) {
            let list = list.ok_or_else(|| not_recognised("its list of tasks"))?;
            let mut next = list.field("head").and_then(|head| optional_pointer(&head, memory));
            // A list that changes under the walk may lead in a circle.
            while let Some(header) = next {
                if tasks.len() >= TOKIO_TASKS_MAX {
                    return Ok(Tasks { tasks: sorted(tasks), is_cut: true });
                }
                if !headers.insert(address_of(&header)?) {
                    break;
                }
                let (task, after) = self.task(&header, memory).ok_or_else(|| not_recognised("a task"))?;
                tasks.push(task);
                next = after;
            }
        }
        Ok(Tasks { tasks: sorted(tasks), is_cut: false })
    }

    /// A task, and the header of the next one in its list.
    fn task(&self, header: &Value, memory: &dyn Memory) -> Option<(Task, Option<Value>)> {
        let id = self.id_of(header, memory)?;
        let next = self
            .trailer(header, memory)?
            .field("owned")?
            .find(4, &|part| part.of.member("next").is_some())?
            .field("next")?;
        let address = address_of(header).ok()?;
        Some((Task { header: address, id }, optional_pointer(&next, memory)))
    }

    /// Where a task's id is said by its table of methods.
    fn id_of(&self, header: &Value, memory: &dyn Memory) -> Option<u64> {
        let table = header.field("vtable")?.pointee(memory)?;
        let offset = table.field("id_offset")?.word(memory)?;
        memory.read_u64(address_of(header).ok()?.offset(offset)).ok()
    }

    fn trailer(&self, header: &Value, memory: &dyn Memory) -> Option<Value> {
        let of = (*self.trailer.get_or_init(|| find_type(&header.module, header.of.id.unit, TRAILER)))?;
        let table = self.table(header, memory)?;
        header.at(address_of(header).ok()?.offset(table.trailer_offset), of)
    }

    fn table(&self, header: &Value, memory: &dyn Memory) -> Option<Rc<Table>> {
        let table = header.field("vtable")?.pointee(memory)?;
        let address = address_of(&table).ok()?;
        if let Some(known) = self.tables.borrow().get(&address) {
            return Some(Rc::clone(known));
        }
        let poll = Address(table.field("poll")?.word(memory)?);
        let read = Rc::new(Table {
            trailer_offset: table.field("trailer_offset")?.word(memory)?,
            cell: cell_of(&header.module, poll),
        });
        self.tables.borrow_mut().insert(address, Rc::clone(&read));
        Some(read)
    }

    /// A task's header as a value.
    fn header(&self, runtime: &Runtime, task: &Task, memory: &dyn Memory) -> Option<Value> {
        // Any list knows the type of what it links.
        let lists = runtime.handle.find(4, &|part| part.of.name.starts_with(OWNED))?;
        let lists = List::of(&lists.field("list")?.field("lists")?, memory)?;
        let list = lists.get(0)?.find(6, &|part| part.of.name.starts_with(LINKED_LIST))?;
        let some = some_of(&list.field("head")?)?;
        let TypeKind::Pointer(Some(to)) = some.first_pointer()?.of.kind else { return None };
        runtime.handle.at(task.header, to)
    }

    /// Looks at one task.
    #[must_use]
    pub fn details(&self, runtime: &Runtime, task: &Task, memory: &dyn Memory) -> Option<Details> {
        let header = self.header(runtime, task, memory)?;
        let word = state_word(&header, memory)?;
        let table = self.table(&header, memory)?;
        let cell = table.cell.and_then(|cell| header.at(task.header, cell));
        let stage = cell
            .as_ref()
            .and_then(|cell| cell.field("core")?.field("stage"))
            .and_then(|stage| stage.find(3, &|part| part.of.name.starts_with(STAGE)));
        let type_name = stage
            .as_ref()
            .and_then(|stage| stage.of.name.strip_prefix(STAGE)?.strip_suffix('>').map(str::to_owned));
        let future = stage.and_then(|stage| {
            let (_, running) = stage.variant(memory).filter(|(variant, _)| variant == "Running")?;
            running.field("__0")
        });
        let state = if word & COMPLETE != 0 {
            State::Complete
        } else if word & RUNNING != 0 {
            State::Running { by_this_thread: runtime.current == Some(task.id) }
        } else if word & NOTIFIED != 0 {
            State::Scheduled
        } else {
            State::Idle
        };
        Some(Details { state, future: future.filter(|_| state != State::Complete), type_name })
    }

    /// The tasks that wait for the end of the one that this thread runs, the nearest first.
    #[must_use]
    pub fn awaiters(&self, runtime: &Runtime, memory: &dyn Memory) -> Vec<Task> {
        let Some(current) = runtime.current else { return Vec::new() };
        let Ok(all) = self.tasks(runtime, memory) else { return Vec::new() };
        let mut found: Vec<Task> = Vec::new();
        let mut next = all.tasks.iter().find(|task| task.id == current);
        while let Some(task) = next.filter(|_| found.len() < TOKIO_AWAITERS_MAX) {
            let waker = self.join_waker(runtime, task, memory);
            // The data of a task's own waker is its header. Other wakers have data of their own, which is no task of this runtime.
            next = waker.and_then(|data| all.tasks.iter().find(|own| own.header == data));
            if let Some(awaiter) = next {
                if found.iter().any(|own| own.id == awaiter.id) {
                    break;
                }
                found.push(awaiter.clone());
            }
        }
        found
    }

    /// What is woken when a task ends.
    fn join_waker(&self, runtime: &Runtime, task: &Task, memory: &dyn Memory) -> Option<Address> {
        let header = self.header(runtime, task, memory)?;
        if state_word(&header, memory)? & HAS_JOIN_WAKER == 0 {
            return None;
        }
        let waker = self.trailer(&header, memory)?.field("waker")?;
        let option = waker
            .find(2, &|part| part.of.name.starts_with("core::option::Option<core::task::wake::Waker"))?;
        let (_, some) = option.variant(memory).filter(|(variant, _)| variant == "Some")?;
        let data = some.find(4, &|part| part.of.member("data").is_some())?.field("data")?;
        Some(Address(data.word(memory)?))
    }

    /// The id of the task that a value is the handle of.
    #[must_use]
    pub fn joined(&self, value: &Value, memory: &dyn Memory) -> Option<u64> {
        if !value.of.name.starts_with(JOIN_HANDLE) {
            return None;
        }
        let header = value.field("raw")?.first_pointer()?.pointee(memory)?;
        self.id_of(&header, memory)
    }
}

fn sorted(mut tasks: Vec<Task>) -> Vec<Task> {
    tasks.sort_by_key(|task| task.id);
    tasks
}

fn address_of(value: &Value) -> Result<Address, String> {
    match value.place {
        crate::dwarf::evaluate::Place::Memory(address) => Ok(address),
        _ => Err(not_recognised("a task")),
    }
}

fn state_word(header: &Value, memory: &dyn Memory) -> Option<u64> {
    let state = header.field("state")?;
    state.find(6, &|part| matches!(part.of.kind, TypeKind::Scalar(_)) && part.of.bytes == 8)?.word(memory)
}

/// What an `Option<NonNull<T>>` points at.
fn optional_pointer(option: &Value, memory: &dyn Memory) -> Option<Value> {
    let (_, some) = option.variant(memory).filter(|(variant, _)| variant == "Some")?;
    some.first_pointer()?.pointee(memory)
}

/// The number in an `Option` of a task's id, in whatever cell that is.
fn optional_id(cell: &Value, memory: &dyn Memory) -> Option<u64> {
    let option = cell.find(4, &|part| part.of.name.starts_with(TASK_ID))?;
    let (_, some) = option.variant(memory).filter(|(variant, _)| variant == "Some")?;
    some.find(6, &|part| matches!(part.of.kind, TypeKind::Scalar(_)) && part.of.bytes == 8)?.word(memory)
}

/// The `Some` of an optional value, whether it is there or not: only its type may be used.
fn some_of(option: &Value) -> Option<Value> {
    let TypeKind::Struct { variants: Some(part), .. } = &option.of.kind else { return None };
    let some = part.variants.iter().find(|variant| variant.member.name == "Some")?;
    option.member(&some.member)
}

fn units(module: &Module) -> impl Iterator<Item = UnitIndex> {
    module.image.unit_indices().filter(|index| {
        let name = module.image.unit(*index).name.map_or("", text);
        UNITS.iter().any(|part| name.contains(part))
    })
}

/// Finds the variable in which each thread has something of tokio's, by its type. When the compiler made it in two ways, the one that
/// says whether it is destroyed is the one in use.
fn find_context(module: &Rc<Module>, plain: &str, stored: &str) -> Option<ContextVariable> {
    let mut found = None;
    for unit in units(module) {
        for entry in module.image.scopes(unit).globals() {
            let of = module
                .inherited(unit, entry, dw::DW_AT_type)
                .and_then(|(unit, value)| module.resolve(unit, value))
                .map(|(unit, entry)| TypeId { unit, entry });
            let Some(type_id) = of else { continue };
            let name = module.path_of(type_id.unit, type_id.entry);
            if name == stored {
                return Some(ContextVariable { unit, entry, type_id });
            }
            if name == plain {
                found = Some(ContextVariable { unit, entry, type_id });
            }
        }
    }
    found
}

/// Finds a type of tokio's by its path; first where another of its types is described.
fn find_type(module: &Module, near: UnitIndex, (name, path): (&str, &str)) -> Option<TypeId> {
    std::iter::once(near).chain(units(module)).find_map(|unit| {
        // Some units only mention it.
        let is_whole = |id: &TypeId| module.type_of(*id).is_some_and(|of| of.bytes > 0 && of.name == path);
        let entries = module.image.scopes(unit).entries_named(name);
        entries.into_iter().map(|entry| TypeId { unit, entry }).find(is_whole)
    })
}

/// The type of the allocation of a task, of the function that polls it: there it is in a variable.
fn cell_of(module: &Rc<Module>, poll: Address) -> Option<TypeId> {
    let at = module.file_address(poll);
    let unit = module.image.unit_at(at)?;
    let function = module.image.scopes(unit).function_at(at.0)?;
    let harness = variable_type(module, unit, function, "harness")?;
    let pointer =
        Value::new(module, harness, crate::dwarf::evaluate::OPTIMIZED_OUT)?.field("cell")?.first_pointer()?;
    match pointer.of.kind {
        TypeKind::Pointer(to) => to,
        _ => None,
    }
}

/// The type of a variable anywhere in a scope.
fn variable_type(module: &Module, unit: UnitIndex, scope: ScopeIndex, name: &str) -> Option<TypeId> {
    let scope = module.image.scopes(unit).get(scope);
    for entry in &scope.variables {
        if module.inherited_text(unit, *entry, dw::DW_AT_name) == Some(name) {
            let (unit, value) = module.inherited(unit, *entry, dw::DW_AT_type)?;
            let (unit, entry) = module.resolve(unit, value)?;
            return Some(TypeId { unit, entry });
        }
    }
    scope.children.iter().find_map(|child| variable_type(module, unit, *child, name))
}
