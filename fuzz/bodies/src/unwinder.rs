//! The unwinder, over the unwind tables of a damaged file and a stack of words that look real.

use manta_native::dwarf::unwind::Unwinder;
use manta_native::engine::stops::Stack;
use manta_native::limits::FRAMES_MAX;

use crate::dwarf::places;
use crate::loan::as_program;
use crate::memory::{memory, registers};
use crate::mutation::hash;

/// Places that stacks are walked from.
const WALKS_MAX: usize = 60;

/// Walks stacks from many places of a program file.
pub fn run(data: &[u8]) {
    as_program(data, |modules| {
        let Ok(module) = modules.program() else { return };
        let seed = hash(data);
        let places = places(module);
        let memory = memory(seed, &places);
        let unwinder = Unwinder::default();
        for pc in places.iter().step_by(places.len().div_ceil(WALKS_MAX).max(1)) {
            let registers = registers(seed, *pc, &places);
            let stack = Stack::walk(modules, &memory, &unwinder, &registers, 0, FRAMES_MAX);
            assert!(stack.physical.len() <= FRAMES_MAX);
            let _ = unwinder.return_to(modules, &memory, &registers);
        }
    });
}
