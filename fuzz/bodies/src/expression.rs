//! Expressions that a user types, evaluated where a small program's functions have their variables.

use manta_native::address::Address;
use manta_native::dwarf::unwind::PhysicalFrame;
use manta_native::engine::stops::{FrameVariables, frames_of};
use manta_native::expression::{Evaluated, evaluate, parse};

use crate::dwarf::{open, places};
use crate::loan::as_program;
use crate::memory::{STACK, memory, registers};
use crate::mutation::hash;

/// The program whose variables there are.
const PROGRAM: &[u8] = include_bytes!("../../corpus/dwarf/plain");
/// Places at which an expression is tried.
const PLACES_MAX: usize = 12;

/// Reads an expression; evaluates it when it is one.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(expression) = parse(&text) else { return };
    // The file has to lie as a file in memory does.
    let program = PROGRAM.to_vec();
    as_program(&program, |modules| {
        let Ok(module) = modules.program() else { return };
        let seed = hash(data);
        let places = places(module);
        let memory = memory(seed, &places);
        for pc in places.iter().step_by(places.len().div_ceil(PLACES_MAX).max(1)) {
            let physical = PhysicalFrame {
                registers: registers(seed, *pc, &places),
                cfa: Some(Address(STACK.0 + 512)),
                lookup: Address(*pc),
            };
            for frame in frames_of(modules, Address(*pc), 0) {
                let Some(variables) = FrameVariables::of(&frame, &physical, &memory) else { continue };
                if let Ok(evaluated) = evaluate(&expression, &variables, &memory) {
                    let _ = (evaluated.text(&memory), evaluated.is_true(&memory));
                    if let Evaluated::Value(value) = &evaluated {
                        open(value, &memory, 2);
                    }
                }
            }
        }
    });
}
