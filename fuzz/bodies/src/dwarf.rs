//! The reader of program files and their debug information: everything that the engine ever asks of one.

use manta_native::address::{Address, FileAddress};
use manta_native::dwarf::modules::{Module, Modules};
use manta_native::dwarf::unwind::PhysicalFrame;
use manta_native::engine::resolve::{lines_with_code, resolve_function, resolve_line};
use manta_native::engine::stops::{FrameVariables, frames_of};
use manta_native::simulated::Simulated;
use manta_native::target::Memory;
use manta_native::values::Value;
use manta_native::values::render::{Style, children, shown};

use crate::loan::as_program;
use crate::memory::{STACK, memory, registers};
use crate::mutation::hash;

/// Functions that are looked into. A damaged file may say that it has millions.
const PLACES_MAX: usize = 200;
/// How deep values are opened.
const DEPTH: usize = 3;

/// Reads a program file.
pub fn run(data: &[u8]) {
    as_program(data, |modules| read_all(modules, data));
}

/// Reads everything in a process's modules, with memory that `data` decides.
pub(crate) fn read_all(modules: &Modules, data: &[u8]) {
    let seed = hash(data);
    for state in modules.states() {
        if let Ok(module) = state.content {
            read(module);
            let places = places(module);
            let memory = memory(seed, &places);
            for pc in places {
                look(modules, &memory, seed, pc);
            }
        }
    }
}

/// All tables of a file.
fn read(module: &Module) {
    let image = &module.image;
    let _ = (image.build_id(), image.symbols().len(), image.symbol("MANTA_GUARD"), image.warning());
    for unit in image.unit_indices() {
        let files: Vec<String> = image.files(unit).to_vec();
        let _ = image.lines(unit).rows().len();
        for (_, scope) in image.scopes(unit).all() {
            for range in &scope.ranges {
                let at = FileAddress(range.start);
                let _ = (image.unit_at(at), image.symbol_at(at), image.code(at, 16));
                let _ = (image.lines(unit).line_range(range.start), image.lines(unit).prologue_end(range));
            }
        }
        for file in files.into_iter().take(8) {
            let paths = [file];
            let _ = (resolve_line(module, &paths, 1, None), resolve_line(module, &paths, 40, None));
            let _ = lines_with_code(module, &paths, 0..=u32::MAX);
        }
    }
    let _ = (resolve_function(module, "fib"), resolve_function(module, "tiny::shapes"));
}

/// Where functions begin and end, as live addresses.
pub(crate) fn places(module: &Module) -> Vec<u64> {
    let image = &module.image;
    let mut places: Vec<u64> = Vec::new();
    for unit in image.unit_indices() {
        for (_, scope) in image.scopes(unit).all() {
            for range in &scope.ranges {
                let middle = range.start.wrapping_add(range.end.wrapping_sub(range.start) / 2);
                places.extend([range.start, middle, range.end.wrapping_sub(1)]);
            }
            if places.len() > PLACES_MAX {
                break;
            }
        }
    }
    places.extend(image.symbols().iter().take(PLACES_MAX / 4).map(|symbol| symbol.address.0));
    places.truncate(PLACES_MAX);
    places.iter().map(|place| FileAddress(*place).live(module.bias).0).collect()
}

/// Frames, variables and values at one place.
fn look(modules: &Modules, memory: &Simulated, seed: u64, pc: u64) {
    let physical = PhysicalFrame {
        registers: registers(seed, pc, &[pc]),
        cfa: Some(Address(STACK.0 + 512)),
        lookup: Address(pc),
    };
    for frame in frames_of(modules, Address(pc), 0) {
        let Some(variables) = FrameVariables::of(&frame, &physical, memory) else { continue };
        for variable in variables.all().iter().take(30) {
            if let Some(value) = variables.value(variable) {
                open(&value, memory, DEPTH);
            }
        }
    }
}

/// A value and what is in it.
pub(crate) fn open(value: &Value, memory: &dyn Memory, depth: usize) {
    let _ = shown(value, memory, Style::LINE);
    if depth > 0 {
        for child in children(value, memory, 0, Some(6)) {
            open(&child.value, memory, depth - 1);
        }
    }
}
