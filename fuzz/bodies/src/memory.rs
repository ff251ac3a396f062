//! Memory and registers that look real: words that lead into code, into the stack, and nowhere.

use manta_native::address::Address;
use manta_native::registers::{COUNT, Registers};
use manta_native::simulated::Simulated;

use crate::mutation::Chance;

/// Where the stack begins.
pub const STACK: Address = Address(0x7fff_0000_0000);
/// How many words it has.
const WORDS: usize = 2048;

/// A word that may be an address of code, one of the stack, a small number or anything.
fn word(chance: &mut Chance, code: &[u64]) -> u64 {
    match chance.below(6) {
        0 | 1 if !code.is_empty() => code[chance.below(code.len())].wrapping_add(chance.below(5) as u64),
        2 | 3 => STACK.0 + chance.below(WORDS * 8) as u64,
        4 => chance.below(300) as u64,
        _ => chance.next(),
    }
}

/// Memory that only `seed` and the addresses of code decide.
#[must_use]
pub fn memory(seed: u64, code: &[u64]) -> Simulated {
    let mut chance = Chance::new(seed);
    let words: Vec<u64> = (0..WORDS).map(|_| word(&mut chance, code)).collect();
    Simulated::default().with_words(STACK, &words)
}

/// Registers of a thread that is at `pc`.
#[must_use]
pub fn registers(seed: u64, pc: u64, code: &[u64]) -> Registers {
    let mut chance = Chance::new(seed ^ pc);
    let mut registers = Registers::default();
    for number in 0..COUNT as u16 {
        registers.set(gimli::Register(number), Some(word(&mut chance, code)));
    }
    registers.set_vector([u128::from(seed); 16]);
    registers.set_pc(pc);
    registers.set_sp(STACK.0 + (chance.below(WORDS) as u64 & !7));
    registers
}
