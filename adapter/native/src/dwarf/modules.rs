//! The modules of a process: from a live address to names, files and lines.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use gimli::constants as dw;

use super::evaluate::KnownVariables;
use super::image::{Image, UnitIndex};
use super::provided::{Outcome, Part, Provided};
use super::scopes::{ScopeIndex, ScopeKind};
use super::separate;
use super::types::{Dimensions, Type, TypeId};
use super::unwind::UnwindRow;
use super::{Attribute, UnitOffset, text};
use crate::address::{Address, Bias, FileAddress};
use crate::limits::ADDRESSES_KEPT_MAX;
use crate::target::{MappedModule, Target, bias_of};

/// Begins the name of the function that runs an async function's body.
pub const ASYNC_BODY: &str = "{async_fn#";

/// A mapped file with its debug information.
pub struct Module {
    /// Where it is mapped.
    pub mapped: MappedModule,
    /// How far it was moved.
    pub bias: Bias,
    /// What is in the file.
    pub image: Image,
    /// What was looked up at addresses: threads stop in the same functions again and again.
    frames: RefCell<HashMap<FileAddress, Rc<[Rc<CodeFrame>]>>>,
    /// Rules by which frames were left.
    pub(super) unwind_rows: RefCell<HashMap<u64, Rc<UnwindRow>>>,
    /// Variables that were read.
    pub(super) variables: RefCell<KnownVariables>,
    /// Types that were read.
    pub(super) types: RefCell<HashMap<TypeId, Rc<Type>>>,
    /// Tables of methods, read when the first trait object is looked at.
    pub(super) vtables: OnceCell<HashMap<FileAddress, TypeId>>,
    /// Those of the library's own units, read when one is in no other.
    pub(super) library_vtables: OnceCell<HashMap<FileAddress, TypeId>>,
    /// The state of a `Once` that nobody has begun, once somebody has asked.
    pub(crate) fresh_once: OnceCell<Option<u64>>,
    /// Types that were looked for by their paths, in a unit each.
    types_by_path: RefCell<HashMap<(UnitIndex, &'static str), Option<TypeId>>>,
    /// Inner dimensions of arrays that were read, by their entries.
    pub(super) dimensions: RefCell<HashMap<TypeId, (TypeId, Dimensions)>>,
}

/// One frame as people see it: several of them may share a physical frame, when calls were inlined.
#[derive(Clone, Debug)]
pub struct CodeFrame {
    /// A path without generic arguments.
    pub name: String,
    /// The source file, when known.
    pub file: Option<String>,
    /// 0 when unknown.
    pub line: u32,
    /// 0 when unknown.
    pub column: u32,
    /// The function's scope.
    pub scope: Option<(UnitIndex, ScopeIndex)>,
    /// A call that was inlined into the frame that follows.
    pub is_inlined: bool,
    /// The inlined call begins at this very address: to people the thread is still at the line that makes it.
    pub begins_here: bool,
}

/// All modules of a process.
pub struct Modules {
    modules: Vec<LazyModule>,
    provided: Provided,
}

/// A mapped file, and what could be read of it.
pub struct ModuleState<'a> {
    /// Where it is mapped.
    pub mapped: &'a MappedModule,
    /// Its content, or why that cannot be read.
    pub content: Result<&'a Rc<Module>, String>,
}

/// What [`Modules::refresh`] has found.
#[derive(Default)]
pub struct ModuleChange {
    /// They are here now.
    pub added: Vec<MappedModule>,
    /// They were.
    pub removed: Vec<MappedModule>,
}

impl ModuleChange {
    /// Is everything as it was?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

struct LazyModule {
    mapped: MappedModule,
    loaded: OnceCell<Result<Rc<Module>, String>>,
}

impl LazyModule {
    fn get(&self, provided: &Provided) -> Result<&Rc<Module>, String> {
        let load = || {
            let (path, name) = (&self.mapped.open_path, self.mapped.path.display().to_string());
            let image = Image::open_with(path, &name, provided).map_err(|error| error.to_string())?;
            Ok(Rc::new(Module::new(&self.mapped, image)))
        };
        self.loaded.get_or_init(load).as_ref().map_err(Clone::clone)
    }
}

impl Modules {
    /// Finds the modules; none is read yet.
    pub fn of(target: &dyn Target) -> std::io::Result<Self> {
        let mut modules: Vec<LazyModule> = target
            .modules()?
            .into_iter()
            .map(|mapped| LazyModule { mapped, loaded: OnceCell::new() })
            .collect();
        modules.sort_by_key(|module| module.mapped.start);
        Ok(Self { modules, provided: Provided::default() })
    }

    /// Modules whose files have been read already.
    #[must_use]
    pub fn of_images(images: Vec<(MappedModule, Image)>) -> Self {
        let lazy = |(mapped, image)| LazyModule {
            loaded: OnceCell::from(Ok(Rc::new(Module::new(&mapped, image)))),
            mapped,
        };
        let mut modules: Vec<LazyModule> = images.into_iter().map(lazy).collect();
        modules.sort_by_key(|module| module.mapped.start);
        Self { modules, provided: Provided::default() }
    }

    /// Looks again: the program may have loaded a library, or unloaded one. What was read stays.
    pub fn refresh(&mut self, target: &dyn Target) -> std::io::Result<ModuleChange> {
        let mut fresh = Self::of(target)?;
        let mut change = ModuleChange::default();
        for module in &mut fresh.modules {
            let place = (&module.mapped.path, module.mapped.base);
            let old = self.modules.iter().position(|old| (&old.mapped.path, old.mapped.base) == place);
            match old {
                Some(old) => module.loaded = self.modules.swap_remove(old).loaded,
                None => change.added.push(module.mapped.clone()),
            }
        }
        change.removed.extend(self.modules.drain(..).map(|module| module.mapped));
        self.modules = fresh.modules;
        Ok(change)
    }

    /// Takes debug information that was brought from elsewhere, or why there is none. What it is for is read anew.
    pub fn provide(&mut self, build_id: &[u8], part: Part, outcome: Outcome) {
        self.provided.add(build_id.to_vec(), part, outcome);
        for module in &mut self.modules {
            let loaded = module.loaded.get().and_then(|loaded| loaded.as_ref().ok());
            if loaded.is_some_and(|loaded| loaded.image.has_build_id(build_id)) {
                module.loaded = OnceCell::new();
            }
        }
    }

    /// Is there a module at this address?
    #[must_use]
    pub fn covers(&self, address: Address) -> bool {
        self.modules.iter().any(|module| module.mapped.start <= address && address < module.mapped.end)
    }

    /// The module that has this address, if its file can be read.
    #[must_use]
    pub fn at(&self, address: Address) -> Option<&Rc<Module>> {
        let after = self.modules.partition_point(|module| module.mapped.start <= address);
        let module = self.modules[..after].last().filter(|module| address < module.mapped.end)?;
        module.get(&self.provided).ok()
    }

    /// All modules, by address. Reads those that were not read yet.
    #[must_use]
    pub fn states(&self) -> Vec<ModuleState<'_>> {
        self.modules
            .iter()
            .map(|module| ModuleState { mapped: &module.mapped, content: module.get(&self.provided) })
            .collect()
    }

    /// Those for which something holds, as far as their files can be read. The others are not read.
    pub fn those(&self, which: impl Fn(&MappedModule) -> bool) -> impl Iterator<Item = &Rc<Module>> {
        self.modules
            .iter()
            .filter(move |module| which(&module.mapped))
            .filter_map(|module| module.get(&self.provided).ok())
    }

    /// The program, and the libraries in which breakpoints are looked for, as far as their files can be read.
    pub fn searched(&self) -> impl Iterator<Item = &Rc<Module>> {
        let (program, libraries): (Vec<_>, Vec<_>) =
            self.those(is_searched).partition(|module| module.mapped.is_program);
        program.into_iter().chain(libraries)
    }

    /// The state of one.
    #[must_use]
    pub fn state(&self, mapped: &MappedModule) -> Option<ModuleState<'_>> {
        let module = self
            .modules
            .iter()
            .find(|module| (&module.mapped.path, module.mapped.base) == (&mapped.path, mapped.base))?;
        Some(ModuleState { mapped: &module.mapped, content: module.get(&self.provided) })
    }

    /// The program itself.
    pub fn program(&self) -> Result<&Rc<Module>, String> {
        let program = self.modules.iter().find(|module| module.mapped.is_program);
        program.ok_or_else(|| "the process has no program file mapped".to_owned())?.get(&self.provided)
    }
}

/// Are breakpoints looked for in this file? The system's own libraries are shown by their symbols, unless the user asks for more.
#[must_use]
pub fn is_searched(mapped: &MappedModule) -> bool {
    mapped.is_program || !separate::is_system(&mapped.path) || separate::wants_system()
}

impl Module {
    fn new(mapped: &MappedModule, image: Image) -> Self {
        Self {
            mapped: mapped.clone(),
            bias: bias_of(mapped.base, image.first_segment()),
            image,
            frames: RefCell::default(),
            unwind_rows: RefCell::default(),
            variables: RefCell::default(),
            types: RefCell::default(),
            vtables: OnceCell::new(),
            library_vtables: OnceCell::new(),
            fresh_once: OnceCell::new(),
            types_by_path: RefCell::default(),
            dimensions: RefCell::default(),
        }
    }

    /// Where a live address lies in the file.
    #[must_use]
    pub fn file_address(&self, address: Address) -> FileAddress {
        address.in_file(self.bias)
    }

    /// The frames of one physical frame, innermost first. `address` must lie inside the instruction that the frame is at:
    /// for callers that is one before the return address.
    #[must_use]
    pub fn frames_at(&self, address: Address) -> Rc<[Rc<CodeFrame>]> {
        let at = self.file_address(address);
        if let Some(known) = self.frames.borrow().get(&at) {
            return Rc::clone(known);
        }
        let read: Rc<[_]> = self.read_frames(at).into_iter().map(Rc::new).collect();
        let mut frames = self.frames.borrow_mut();
        if frames.len() >= ADDRESSES_KEPT_MAX {
            frames.clear();
        }
        frames.insert(at, Rc::clone(&read));
        read
    }

    fn read_frames(&self, at: FileAddress) -> Vec<CodeFrame> {
        let Some(unit) = self.image.unit_at(at) else { return vec![self.symbol_frame(at)] };
        let scopes = self.image.scopes(unit);
        let row = self.image.lines(unit).row_at(at.0);
        let mut line = row.map_or(0, |row| row.line);
        let mut column = row.map_or(0, |row| row.column);
        let mut file = row.and_then(|row| self.file(unit, row.file));
        let functions = scopes.functions_at(at.0);
        if functions.is_empty() {
            return vec![CodeFrame { file, line, column, ..self.symbol_frame(at) }];
        }
        let mut frames = Vec::with_capacity(functions.len());
        for index in functions.into_iter().rev() {
            let scope = scopes.get(index);
            frames.push(CodeFrame {
                name: self.function_name(unit, scope.entry),
                file: file.take(),
                line,
                column,
                scope: Some((unit, index)),
                is_inlined: scope.kind != ScopeKind::Function,
                begins_here: matches!(scope.kind, ScopeKind::Inlined { line: 1.., .. })
                    && scope.begin == at.0,
            });
            if let ScopeKind::Inlined { file: call_file, line: call_line, column: call_column } = scope.kind {
                (file, line, column) = (self.file(unit, call_file), call_line, call_column);
            }
        }
        frames
    }

    /// Where a thread has its own copy of a variable. The program's lies right below the thread's base; those of libraries
    /// are wherever the loader put them, and are not found. (System V x86-64 thread-local storage, variant II.)
    #[must_use]
    pub fn thread_local(&self, offset: u64, thread_base: u64) -> Option<Address> {
        if !self.mapped.is_program || thread_base == 0 {
            return None;
        }
        let (bytes, align) = self.image.thread_storage()?;
        let start = thread_base.checked_sub(bytes.checked_next_multiple_of(align.max(1))?)?;
        (offset < bytes).then(|| Address(start + offset))
    }

    /// The file and the line of the code at an address.
    #[must_use]
    pub fn line_at(&self, address: Address) -> Option<(String, u32)> {
        let at = self.file_address(address);
        let unit = self.image.unit_at(at)?;
        let row = self.image.lines(unit).row_at(at.0).filter(|row| row.line != 0)?;
        Some((self.file(unit, row.file)?, row.line))
    }

    fn symbol_frame(&self, at: FileAddress) -> CodeFrame {
        let file = self.image.path().rsplit('/').next().unwrap_or_default();
        let symbol = self.image.symbol_at(at);
        let name = symbol.map_or_else(|| format!("{file}+{:#x}", at.0), |symbol| short_symbol(symbol.name));
        CodeFrame { name, file: None, line: 0, column: 0, scope: None, is_inlined: false, begins_here: false }
    }

    /// The path of a unit's file. The system's own libraries, when their debug information is installed, have paths of the
    /// machine that they were built on, often relative: nobody can open those.
    #[must_use]
    pub fn file(&self, unit: UnitIndex, file: u32) -> Option<String> {
        let is_system = || separate::is_system(&self.mapped.path);
        let path = self.image.files(unit).get(file as usize)?;
        (!path.is_empty() && (path.starts_with('/') || !is_system())).then(|| path.clone())
    }

    /// Follows an attribute that refers to another entry.
    #[must_use]
    pub fn resolve(&self, unit: UnitIndex, value: Attribute) -> Option<(UnitIndex, UnitOffset)> {
        match value {
            Attribute::UnitRef(offset) => Some((unit, offset)),
            Attribute::DebugInfoRef(offset) => self.image.unit_of_offset(unit, offset),
            _ => None,
        }
    }

    /// An attribute of an entry, or of the entry that it is an instance or a definition of.
    #[must_use]
    pub fn inherited(
        &self,
        unit: UnitIndex,
        entry: UnitOffset,
        name: gimli::DwAt,
    ) -> Option<(UnitIndex, Attribute)> {
        let mut place = (unit, entry);
        // An instance refers to its pattern, and that to its declaration: three steps at most.
        for _ in 0..4 {
            let entry = self.image.unit(place.0).entry(place.1).ok()?;
            if let Some(value) = entry.attr_value(name) {
                return Some((place.0, value));
            }
            let next = entry
                .attr_value(dw::DW_AT_abstract_origin)
                .or_else(|| entry.attr_value(dw::DW_AT_specification))?;
            place = self.resolve(place.0, next)?;
        }
        None
    }

    /// An inherited attribute as text.
    #[must_use]
    pub fn inherited_text(
        &self,
        unit: UnitIndex,
        entry: UnitOffset,
        name: gimli::DwAt,
    ) -> Option<&'static str> {
        let (unit, value) = self.inherited(unit, entry, name)?;
        self.image.dwarf(unit).attr_string(self.image.unit(unit), value).ok().map(text)
    }

    /// A function's path, without generic arguments.
    #[must_use]
    pub fn function_name(&self, unit: UnitIndex, entry: UnitOffset) -> String {
        let mut place = (unit, entry);
        for _ in 0..4 {
            let Ok(entry) = self.image.unit(place.0).entry(place.1) else { break };
            let origin = entry
                .attr_value(dw::DW_AT_abstract_origin)
                .or_else(|| entry.attr_value(dw::DW_AT_specification));
            let next = origin.and_then(|value| self.resolve(place.0, value));
            match next {
                Some(next) => place = next,
                None => break,
            }
        }
        let mut path = self.path_of(place.0, place.1);
        let is_async = self.is_async_body(place.0, place.1);
        if !path.contains("::") || path.contains("{impl#") {
            // The namespace of a trait's implementation has no name, and a unit with lines only has no namespaces at all;
            // the linker's name tells them.
            // What is no name of Rust's is of another language, whose own name is as good.
            let linkage = self
                .inherited_text(unit, entry, dw::DW_AT_linkage_name)
                .filter(|linkage| path.is_empty() || rustc_demangle::try_demangle(linkage).is_ok());
            if let Some(linkage) = linkage {
                let symbol = short_symbol(linkage);
                // To the linker the body of an async function is a closure of it.
                return match symbol.rsplit_once("::") {
                    Some((function, last)) if is_async && last.contains("closure") => function.to_owned(),
                    _ => symbol,
                };
            }
        }
        if self.is_task_body(place.0, place.1)
            && let Some((task, _)) = path.rsplit_once("::")
        {
            path.truncate(task.len());
        }
        if path.is_empty() { "{unknown}".to_owned() } else { as_in_source(&path) }
    }

    /// Does this function only make the future of an async function?
    #[must_use]
    pub fn makes_future(&self, unit: UnitIndex, entry: UnitOffset) -> bool {
        let made =
            self.inherited(unit, entry, dw::DW_AT_type).and_then(|(unit, value)| self.resolve(unit, value));
        made.is_some_and(|(unit, entry)| {
            let name = self.image.scopes(unit).named(entry).and_then(|named| named.name);
            name.is_some_and(|name| name.starts_with("{async_fn_env#"))
        })
    }

    /// Is this the body of an async function? The function itself only makes the future.
    #[must_use]
    pub fn is_async_body(&self, unit: UnitIndex, entry: UnitOffset) -> bool {
        let mut place = (unit, entry);
        for _ in 0..4 {
            let named = self.image.scopes(place.0).named(place.1).and_then(|named| named.name);
            if let Some(name) = named {
                return name.starts_with(ASYNC_BODY);
            }
            let Ok(entry) = self.image.unit(place.0).entry(place.1) else { return false };
            let origin = entry
                .attr_value(dw::DW_AT_abstract_origin)
                .or_else(|| entry.attr_value(dw::DW_AT_specification));
            let Some(next) = origin.and_then(|value| self.resolve(place.0, value)) else { return false };
            place = next;
        }
        false
    }

    /// The task macro makes a task `f` a type `f` with a function `f`; people have written one function.
    fn is_task_body(&self, unit: UnitIndex, entry: UnitOffset) -> bool {
        let scopes = self.image.scopes(unit);
        let own = scopes.named(entry).filter(|_| {
            // A constructor of C++ is called as its class, and has an object.
            let die = self.image.unit(unit).entry(entry);
            !die.is_ok_and(|die| die.attr_value(dw::DW_AT_object_pointer).is_some())
        });
        let outer = own.and_then(|own| own.parent).and_then(|parent| scopes.named(parent));
        own.zip(outer)
            .is_some_and(|(own, outer)| outer.is_type && own.name.is_some() && own.name == outer.name)
    }

    /// The type of this path that a unit describes. The first time the whole unit is read for it.
    #[must_use]
    pub fn type_by_path(&self, unit: UnitIndex, path: &'static str) -> Option<TypeId> {
        if let Some(known) = self.types_by_path.borrow().get(&(unit, path)) {
            return *known;
        }
        let last = path.rsplit("::").next().unwrap_or(path);
        let entries = self.image.scopes(unit).entries_named(last);
        let found = entries.into_iter().find(|entry| self.path_of(unit, *entry) == path);
        let found = found.map(|entry| TypeId { unit, entry });
        self.types_by_path.borrow_mut().insert((unit, path), found);
        found
    }

    /// The full path of what contains an entry, and its own name where it is no type and no function.
    #[must_use]
    pub fn container_path(&self, unit: UnitIndex, entry: UnitOffset) -> String {
        let container = self.image.scopes(unit).container_of(entry);
        container.map_or_else(String::new, |container| self.path_of(unit, container))
    }

    /// The full path of an entry: its containers' names and its own.
    #[must_use]
    pub fn path_of(&self, unit: UnitIndex, entry: UnitOffset) -> String {
        let scopes = self.image.scopes(unit);
        let mut parts = Vec::new();
        let mut next = Some(entry);
        while let Some(named) = next.and_then(|entry| scopes.named(entry)) {
            parts.extend(named.name);
            next = named.parent;
            if parts.len() > 64 {
                break;
            }
        }
        parts.reverse();
        parts.join("::")
    }
}

/// A linker's name as a path without hash and without generic arguments.
#[must_use]
pub fn short_symbol(name: &str) -> String {
    without_generics(&format!("{:#}", rustc_demangle::demangle(name)))
}

/// A path without generic arguments, in which an async function is called as its source calls it.
#[must_use]
pub fn as_in_source(path: &str) -> String {
    let path = without_generics(path);
    if !path.contains(ASYNC_BODY) {
        return path;
    }
    path.split("::").filter(|part| !part.starts_with(ASYNC_BODY)).collect::<Vec<_>>().join("::")
}

/// Drops generic arguments from each part of a path: `a::b<c>::d` and `a::b::<c>::d` become `a::b::d`, `<a::T>::f` becomes
/// `a::T::f`, and `<T as Trait>::f` stays.
#[must_use]
pub fn without_generics(path: &str) -> String {
    if let Some((qualified, rest)) = split_qualified(path) {
        let inner = without_generics(qualified);
        let shown = if has_trait(qualified) { format!("<{inner}>") } else { inner };
        return format!("{shown}{}", without_generics(rest));
    }
    let mut result = String::with_capacity(path.len());
    let mut depth = 0usize;
    let mut previous = ' ';
    for (at, character) in path.char_indices() {
        match character {
            '<' | '>' if depth == 0 && is_operator(&result, &path[at..]) => result.push(character),
            '<' => depth += 1,
            // The arrow of a function's type.
            '>' if previous == '-' => {}
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => result.push(character),
            _ => {}
        }
        previous = character;
    }
    while result.contains("::::") {
        result = result.replace("::::", "::");
    }
    result.trim_end_matches("::").trim_end().replace(":: as ", " as ")
}

/// Does a bracket belong to the name of an operator of C++ (`operator<<`)?
fn is_operator(before: &str, rest: &str) -> bool {
    const SIGNS: [char; 4] = ['<', '>', '=', '-'];
    let last = before.rsplit("::").next().unwrap_or(before);
    let is_begun =
        last.strip_prefix("operator").is_some_and(|signs| signs.chars().all(|sign| SIGNS.contains(&sign)));
    // A function that is called so in Rust has its arguments right behind.
    let behind = rest.trim_start_matches(SIGNS);
    is_begun && (behind.is_empty() || behind.starts_with([' ', '(']))
}

/// Splits `<T as Trait>::f` behind its first bracket, without the brackets.
fn split_qualified(path: &str) -> Option<(&str, &str)> {
    let inside = path.strip_prefix('<')?;
    let mut depth = 0usize;
    let mut previous = ' ';
    for (index, character) in inside.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if previous == '-' => {}
            '>' if depth == 0 => return Some((&inside[..index], &inside[index + 1..])),
            '>' => depth -= 1,
            _ => {}
        }
        previous = character;
    }
    None
}

/// Is this a type seen as a trait?
fn has_trait(qualified: &str) -> bool {
    without_generics(qualified).contains(" as ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_arguments_are_dropped() {
        assert_eq!(without_generics("job::index<alloc::string::String>"), "job::index");
        assert_eq!(without_generics("job::f<fn(u8) -> u8>::{closure#0}"), "job::f::{closure#0}");
        assert_eq!(
            without_generics("<job::Point as core::fmt::Display>::fmt"),
            "<job::Point as core::fmt::Display>::fmt"
        );
        assert_eq!(without_generics("core::iter::Map<I, F>::next"), "core::iter::Map::next");
        assert_eq!(without_generics("<std::thread::Thread>::new::start"), "std::thread::Thread::new::start");
        assert_eq!(without_generics("<job::Pair<u8> as From<A>>::from"), "<job::Pair as From>::from");
        assert_eq!(without_generics("job::run::<F, T>"), "job::run");
        assert_eq!(without_generics("job::run::<F>::{closure#0}"), "job::run::{closure#0}");
        assert_eq!(without_generics("std::operator<< <std::char_traits<char> >"), "std::operator<<");
        assert_eq!(without_generics("operator->"), "operator->");
        assert_eq!(without_generics("job::operator<u8>"), "job::operator");
    }

    #[test]
    fn async_functions_are_called_as_in_the_source() {
        assert_eq!(as_in_source("job::fetch::{async_fn#0}"), "job::fetch");
        assert_eq!(as_in_source("job::fetch::{async_fn#0}<u8>::{closure#0}"), "job::fetch::{closure#0}");
        assert_eq!(as_in_source("job::main::{async_block#1}"), "job::main::{async_block#1}");
    }

    #[test]
    fn linker_names_become_paths() {
        assert_eq!(
            short_symbol("_ZN3std9panicking20rust_panic_with_hook17h0123456789abcdefE"),
            "std::panicking::rust_panic_with_hook"
        );
        assert_eq!(short_symbol("main"), "main");
    }
}
