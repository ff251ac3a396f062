//! From a line of a source file, or a function's name, to the addresses where threads must trap.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use iced_x86::{Decoder, DecoderOptions};

use super::resumptions::resumptions;
use super::source_check::change_of;
use crate::address::{Address, FileAddress};
use crate::dwarf::image::UnitIndex;
use crate::dwarf::index::Place;
use crate::dwarf::lines::Row;
use crate::dwarf::modules::{ASYNC_BODY, Module, Modules};
use crate::dwarf::scopes::{ScopeIndex, ScopeKind};
use crate::limits::LOCATIONS_MAX;

/// A function longer than this is not read to see where its instructions begin.
const FUNCTION_BYTES_MAX: usize = 1 << 20;

/// What drops a value of any type.
const DROP: &str = "core::ptr::drop_in_place";

/// Where a breakpoint landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is bound.
    Bound {
        /// Where, in every instance of the code.
        addresses: Vec<Address>,
        /// The line that has the code.
        line: u32,
        /// What the user should know, such as that instances were left out.
        note: Option<String>,
    },
    /// The program has no such file or function; another program of the session may have it.
    Pending(String),
    /// The program has the file, but no code there.
    Failed(String),
}

impl Resolution {
    /// So many of its places cannot be set. It stays one as long as it has another.
    pub fn lacks(&mut self, places: usize, reason: &str) {
        match self {
            Self::Bound { addresses, note, .. } if places < addresses.len() => {
                let (set, all) = (addresses.len() - places, addresses.len());
                *note = Some(format!("It is set at {set} of its {all} places only: {reason}."));
            }
            _ => *self = Self::Failed(format!("It cannot be set: {reason}.")),
        }
    }
}

/// Where a breakpoint landed in each of a process's files.
#[derive(Default)]
pub struct Resolutions {
    bound: Vec<(Vec<Address>, u32, Option<String>)>,
    /// What is said when it is bound nowhere: the first failure, or else the first file's word.
    failed: Option<String>,
    pending: Option<String>,
}

impl Resolutions {
    /// One file's.
    pub fn add(&mut self, resolution: Resolution) {
        match resolution {
            Resolution::Bound { addresses, line, note } => self.bound.push((addresses, line, note)),
            Resolution::Failed(message) => {
                self.failed.get_or_insert(message);
            }
            Resolution::Pending(message) => {
                self.pending.get_or_insert(message);
            }
        }
    }

    /// All of them. Where files have other lines with code, only those with the first: it is nearest to what was asked for.
    #[must_use]
    pub fn with_first_line(mut self) -> Resolution {
        let first = self.bound.iter().map(|(_, line, _)| *line).min();
        self.bound.retain(|(_, line, _)| Some(*line) == first);
        self.merged()
    }

    /// All of them.
    #[must_use]
    pub fn merged(self) -> Resolution {
        let Some((_, line, _)) = self.bound.first() else {
            let pending = || Resolution::Pending(self.pending.unwrap_or_default());
            return self.failed.map_or_else(pending, Resolution::Failed);
        };
        let line = *line;
        let notes: BTreeSet<&str> = self.bound.iter().filter_map(|(_, _, note)| note.as_deref()).collect();
        let notes: Vec<&str> = notes.into_iter().collect();
        let addresses = self.bound.iter().flat_map(|(addresses, ..)| addresses).copied().collect();
        bound(&addresses, line, (!notes.is_empty()).then(|| notes.join(" ")))
    }
}

/// Finds the code of a line, or of the first line after it that has any. `sha256` is the hash of the file that the client shows.
#[must_use]
pub fn resolve_line(module: &Module, paths: &[String], line: u32, sha256: Option<&str>) -> Resolution {
    let files = files_named(module, paths);
    let shown = paths.first().map_or("", String::as_str);
    if files.is_empty() {
        return Resolution::Pending(format!("The program {} has no code from {shown}.", module.image.path()));
    }
    let all: Vec<(UnitIndex, Row)> = files
        .iter()
        .filter(|place| place.lines.is_none_or(|(_, last)| last >= line))
        .flat_map(|place| {
            let rows = module.image.rows_of_file(place.unit, place.file).into_iter();
            rows.map(move |row| (place.unit, row))
        })
        .collect();
    let rows: Vec<&(UnitIndex, Row)> = all.iter().filter(|(_, row)| row.line >= line).collect();
    let Some(with_row) = rows.iter().map(|(_, row)| row.line).min() else {
        return Resolution::Failed(format!(
            "No code of {shown} is at line {line} or after it; it may be unused or optimised away."
        ));
    };
    let calls = inlined_calls(module, &all, line..=with_row);
    let found = calls.iter().map(|call| call.line).min().unwrap_or(with_row);
    let missing = rows
        .iter()
        .filter(|(_, row)| row.line == found)
        .find_map(|(unit, _)| module.image.missing(*unit))
        .map(|reason| {
            format!("Only the lines of this code are known, not its variables and inlined calls: {reason}.")
        });
    // The first address of the line in each function, and in each place where that was inlined.
    let mut instances: BTreeMap<(UnitIndex, Option<ScopeIndex>), Vec<u64>> = BTreeMap::new();
    for (unit, row) in rows.iter().filter(|(_, row)| row.line == found) {
        instances.entry((*unit, owner_of(module, *unit, row))).or_default().push(row.address);
    }
    // Where the line is nothing but calls that were inlined, they are all the code that it has.
    let has_rows: BTreeSet<_> = instances.keys().copied().collect();
    for call in calls.iter().filter(|call| call.line == found) {
        let instance = (call.unit, Some(call.caller));
        if !has_rows.contains(&instance) {
            instances.entry(instance).or_default().push(call.begin);
        }
    }
    // Code that drops a future which waits at the line does not come to it.
    let comes_there = |(unit, scope): &(UnitIndex, Option<ScopeIndex>)| !drops(module, *unit, *scope);
    if instances.keys().any(comes_there) {
        instances.retain(|instance, _| comes_there(instance));
    }
    let addresses: BTreeSet<Address> = instances
        .into_iter()
        .filter_map(|((unit, scope), own)| {
            let begins = calls
                .iter()
                .filter(|call| call.line == found && (call.unit, Some(call.caller)) == (unit, scope));
            let begins: Vec<u64> = begins.map(|call| call.begin).collect();
            let address = first_reached(module, unit, scope, &own, &begins)?;
            Some(FileAddress(after_prologue(module, unit, scope, address)).live(module.bias))
        })
        .collect();
    let changed = files.first().and_then(|place| change_of(module, place.unit, place.file, sha256));
    let notes: Vec<String> = changed.into_iter().chain(missing).collect();
    bound(&addresses, found, (!notes.is_empty()).then(|| notes.join(" ")))
}

/// A call that was inlined.
struct InlinedCall {
    unit: UnitIndex,
    /// The line that makes it.
    line: u32,
    /// The function that makes it, which may be inlined itself.
    caller: ScopeIndex,
    begin: u64,
}

/// Calls that were inlined at some lines, which need not have code of their own, in the functions that have rows around them.
fn inlined_calls(module: &Module, all: &[(UnitIndex, Row)], lines: RangeInclusive<u32>) -> Vec<InlinedCall> {
    let (first, last) = (*lines.start(), *lines.end());
    let before = all.iter().map(|(_, row)| row.line).filter(|line| *line < first).max();
    let mut functions = BTreeSet::new();
    for (unit, row) in all.iter().filter(|(_, row)| Some(row.line) == before || row.line == last) {
        if let Some(function) = module.image.scopes(*unit).function_at(row.address) {
            functions.insert((*unit, row.file, function));
        }
    }
    let mut calls = Vec::new();
    for (unit, file, function) in functions.into_iter().take(LOCATIONS_MAX) {
        let scopes = module.image.scopes(unit);
        for (index, scope) in scopes.beside(function) {
            let ScopeKind::Inlined { file: own, line, .. } = scope.kind else { continue };
            if own == file
                && lines.contains(&line)
                && let Some(caller) = scopes.caller_of(index)
            {
                calls.push(InlinedCall { unit, line, caller, begin: scope.begin });
            }
        }
    }
    calls
}

/// Is it what the compiler has made to drop a value?
fn drops(module: &Module, unit: UnitIndex, scope: Option<ScopeIndex>) -> bool {
    let entry = scope.map(|scope| module.image.scopes(unit).get(scope).entry);
    entry.is_some_and(|entry| module.function_name(unit, entry).starts_with(DROP))
}

/// Whose line a row is. One without code of its own stands before a call that was inlined, and is the line of whoever makes it.
fn owner_of(module: &Module, unit: UnitIndex, row: &Row) -> Option<ScopeIndex> {
    let scopes = module.image.scopes(unit);
    let chain = scopes.functions_at(row.address);
    let own = (row.file, row.line);
    let has_code = module.image.lines(unit).row_at(row.address).is_none_or(|at| (at.file, at.line) == own);
    let is_made_there = |scope: &ScopeIndex| match scopes.get(*scope).kind {
        ScopeKind::Inlined { file, line, .. } => (file, line) == own,
        ScopeKind::Function | ScopeKind::Block => false,
    };
    let call = chain.iter().rposition(is_made_there).filter(|_| !has_code);
    match call {
        Some(call) => scopes.caller_of(chain[call]),
        None => chain.last().copied(),
    }
}

/// Where a function comes to a line first, of the line's own code and of calls that were inlined there. An async function that is
/// polled again comes to the line of its `.await` in another block, which is often the lowest, and that is no new arrival; nor is
/// what optimised code runs both then and the first time, if there is something before it.
fn first_reached(
    module: &Module,
    unit: UnitIndex,
    scope: Option<ScopeIndex>,
    own: &[u64],
    calls: &[u64],
) -> Option<u64> {
    let lowest = own.iter().min().copied()?;
    let body = scope.map(|scope| (unit, scope));
    let resumptions = body.and_then(|(unit, scope)| resumptions(module, unit, scope));
    let (Some(body), Some(resumptions)) = (body, resumptions) else { return Some(lowest) };
    let first = own.iter().filter(|address| !resumptions.contain(**address)).min().copied().unwrap_or(lowest);
    let again = resumptions.polled_again(module, body, own);
    if !again.contains(&first) {
        return Some(first);
    }
    let reached = resumptions.reached(module);
    let is_arrival = |address: &&u64| reached.contains(*address) && !again.contains(*address);
    let before = |places: &[u64]| places.iter().filter(is_arrival).min().copied();
    Some(before(own).or_else(|| before(calls)).unwrap_or(first))
}

/// Code of a function that was looked for.
struct Instance {
    path: String,
    address: Address,
    /// 0 when unknown.
    line: u32,
    makes_future: bool,
    is_async_body: bool,
}

/// Code of functions with this path, among those with this own name.
fn instances_of(module: &Module, path_end: &str, own_name: &str) -> Vec<Instance> {
    let mut found = Vec::new();
    for (unit, function) in module.image.functions_named(own_name) {
        let scopes = module.image.scopes(unit);
        for (index, scope) in scopes.indexed(function).filter(|(_, scope)| scope.is_function()) {
            let path = module.function_name(unit, scope.entry);
            if path == path_end || path.ends_with(&format!("::{path_end}")) {
                let Some(start) = scope.ranges.iter().map(|range| range.start).min() else { continue };
                let address = after_prologue(module, unit, Some(index), start);
                found.push(Instance {
                    path,
                    address: FileAddress(address).live(module.bias),
                    line: module.image.lines(unit).row_at(address).map_or(0, |row| row.line),
                    makes_future: module.makes_future(unit, scope.entry),
                    is_async_body: module.is_async_body(unit, scope.entry),
                });
            }
        }
    }
    found
}

/// Finds functions by the last parts of their path: `index_file`, or `job::index_file`.
#[must_use]
pub fn resolve_function(module: &Module, name: &str) -> Resolution {
    let mut addresses = BTreeSet::new();
    let mut line = 0;
    let last = name.rsplit("::").next().unwrap_or(name);
    let mut found = instances_of(module, name, last);
    // A function that is async only makes its future; people mean what that does.
    if found.iter().any(|instance| instance.makes_future) {
        found.extend(instances_of(module, name, ASYNC_BODY));
    }
    let bodies: BTreeSet<String> =
        found.iter().filter(|own| own.is_async_body).map(|own| own.path.clone()).collect();
    for own in found.into_iter().filter(|own| own.is_async_body || !bodies.contains(&own.path)) {
        line = if own.line == 0 { line } else { own.line };
        addresses.insert(own.address);
    }
    if addresses.is_empty() {
        let unknown = module.image.missing_units().map_or_else(String::new, |(missing, _, reason)| {
            format!(" The debug information of {missing} units is missing: {reason}.")
        });
        return Resolution::Pending(format!(
            "The program {} has no function {name}.{unknown}",
            module.image.path()
        ));
    }
    bound(&addresses, line, None)
}

/// Finds the instruction at an address.
#[must_use]
pub fn resolve_instruction(modules: &Modules, address: Address) -> Resolution {
    let Some(module) = modules.at(address) else {
        return Resolution::Failed(format!("No code of the program is at {address}."));
    };
    let at = module.file_address(address);
    let start = module.image.symbol_before(at).map_or(at, |symbol| symbol.address);
    let bytes = (at.0 - start.0) as usize + 1;
    let code = module.image.code(start, bytes.min(FUNCTION_BYTES_MAX)).unwrap_or_default();
    let decoder = Decoder::with_ip(64, code, start.live(module.bias).0, DecoderOptions::NONE);
    if let Some(around) = decoder.into_iter().find(|own| own.ip() < address.0 && own.next_ip() > address.0) {
        return Resolution::Failed(format!(
            "{address} is in the middle of an instruction, which begins at {:#x}.",
            around.ip()
        ));
    }
    let line = module.line_at(address).map_or(0, |(_, line)| line);
    Resolution::Bound { addresses: vec![address], line, note: None }
}

/// The lines of a file that have code.
#[must_use]
pub fn lines_with_code(module: &Module, paths: &[String], lines: RangeInclusive<u32>) -> BTreeSet<u32> {
    files_named(module, paths)
        .into_iter()
        .flat_map(|place| module.image.rows_of_file(place.unit, place.file))
        .map(|row| row.line)
        .filter(|line| lines.contains(line))
        .collect()
}

fn bound(addresses: &BTreeSet<Address>, line: u32, remark: Option<String>) -> Resolution {
    let count = addresses.len();
    let cut = (count > LOCATIONS_MAX)
        .then(|| format!("The line has code at {count} addresses; only {LOCATIONS_MAX} of them stop."));
    let notes: Vec<String> = cut.into_iter().chain(remark).collect();
    let note = (!notes.is_empty()).then(|| notes.join(" "));
    Resolution::Bound { addresses: addresses.iter().copied().take(LOCATIONS_MAX).collect(), line, note }
}

/// Arguments can be read only after a function has put them where the debug information says.
fn after_prologue(module: &Module, unit: UnitIndex, scope: Option<ScopeIndex>, address: u64) -> u64 {
    let Some(scope) = scope.map(|scope| module.image.scopes(unit).get(scope)) else { return address };
    if scope.kind != ScopeKind::Function {
        return address;
    }
    let Some(range) = scope.ranges.iter().find(|range| range.contains(&address)) else { return address };
    match module.image.lines(unit).prologue_end(range) {
        // The prologue ends within a call that was inlined: where that begins.
        Some(end) if address < end => {
            let scopes = module.image.scopes(unit);
            let call = scopes.functions_at(end).get(1).map(|call| scopes.get(*call).begin);
            call.filter(|begin| (address..end).contains(begin)).unwrap_or(end)
        }
        _ => address,
    }
}

/// Units that have one of these files, with its index.
pub(super) fn files_named(module: &Module, paths: &[String]) -> Vec<Place> {
    let mut names: Vec<String> = paths.iter().map(|path| crate::dwarf::lines::clean(path)).collect();
    // The compiler may have known the file by where a link leads.
    names.extend(
        paths.iter().filter_map(|path| std::fs::canonicalize(path).ok()?.to_str().map(str::to_owned)),
    );
    let mut found = BTreeMap::new();
    for name in &names {
        let last = name.rsplit('/').next().unwrap_or(name);
        for source in module.image.sources_named(last) {
            let own = source.path.as_ref();
            // A build may have cut the beginning of its paths; what is left of it must match as a whole.
            let is_cut = !own.starts_with('/') && own.contains('/') && name.ends_with(&format!("/{own}"));
            if own == name || is_cut {
                found.extend(source.places.into_iter().map(|place| ((place.unit, place.file), place)));
            }
        }
    }
    found.into_values().collect()
}
