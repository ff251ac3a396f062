//! What went wrong, in words: the message of a panic, the cause of a fatal signal.
//!
//! Nothing is asked of the program: a panic's message is read from the payload that the standard library carries along. Its
//! layout is told by the names of its methods, and a text is believed only when all of it can be read.

use std::fmt;

use gimli::Register;

use crate::address::Address;
use crate::dwarf::modules::Modules;
use crate::limits::TEXT_BYTES_MAX;
use crate::registers::Registers;
use crate::target::Memory;
use crate::values::render::summary;
use crate::values::{Value, view::short_name};

/// DWARF's numbers of the registers that carry a function's first two arguments: here a payload and its table of methods.
const PAYLOAD: Register = Register(5);
const PAYLOAD_METHODS: Register = Register(4);
/// A table of methods begins with the destructor, the size and the alignment.
const METHODS_AT: u64 = 24;
/// Methods whose names are looked at.
const METHODS: u64 = 4;
/// Goes on with a panic that was caught: it began earlier, and was seen then.
const RESUMING_FUNCTIONS: [&str; 2] = ["resume_unwind", "rust_panic_without_hook"];

/// A signal that is about to end the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// As it is known: `SIGSEGV`.
    pub name: &'static str,
    /// Why it came.
    cause: String,
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.cause)
    }
}

impl Fatal {
    /// Reads what the kernel tells of a signal; `None` for one that does not end a program by its nature.
    #[must_use]
    pub fn of(signal: i32, info: &libc::siginfo_t, stack_pointer: u64) -> Option<Self> {
        let name = match signal {
            libc::SIGSEGV => "SIGSEGV",
            libc::SIGBUS => "SIGBUS",
            libc::SIGFPE => "SIGFPE",
            libc::SIGILL => "SIGILL",
            libc::SIGABRT => "SIGABRT",
            _ => return None,
        };
        // SAFETY: for these signals, sent by the kernel, the address is there; for others the number means nothing and is not used.
        let address = unsafe { info.si_addr() } as u64;
        Some(Self { name, cause: cause(signal, info.si_code, address, stack_pointer) })
    }
}

fn cause(signal: i32, code: i32, address: u64, stack_pointer: u64) -> String {
    /// Sent by the kernel for no reason that it tells.
    const SI_KERNEL: i32 = 0x80;
    /// A stack grows in steps of at most this many bytes past its end, where the compiler probes it.
    const PROBE_BYTES: u64 = 64 << 10;
    if signal == libc::SIGABRT {
        return "the program has aborted itself".to_owned();
    }
    if code <= 0 {
        return "a process has sent it".to_owned();
    }
    match signal {
        libc::SIGSEGV if code == SI_KERNEL => "an address was used that no memory can have".to_owned(),
        libc::SIGSEGV => {
            let is_mapped = code == 2;
            let overflow = if address.abs_diff(stack_pointer) < PROBE_BYTES && address >> 16 != 0 {
                "; it lies beside the stack, which has probably overflowed"
            } else {
                ""
            };
            let what =
                if is_mapped { "the memory there does not allow it" } else { "no memory is mapped there" };
            format!("the address {address:#x} was used, and {what}{overflow}")
        }
        libc::SIGBUS => format!("the memory at {address:#x} has nothing behind it, or is not aligned"),
        libc::SIGFPE if code == 1 => "a whole number was divided by zero".to_owned(),
        libc::SIGFPE => "a computation failed in the processor".to_owned(),
        _ => format!("the processor does not know the instruction at {address:#x}"),
    }
}

/// Does a thread that is at the beginning of a panic function only go on with a panic that was caught before?
#[must_use]
pub fn is_resumed_panic(modules: &Modules, memory: &dyn Memory, registers: &Registers) -> bool {
    let Ok(returns_to) = memory.read_u64(Address(registers.sp())) else { return false };
    let name = symbol_at(modules, Address(returns_to.wrapping_sub(1)));
    name.is_some_and(|name| RESUMING_FUNCTIONS.contains(&name.rsplit("::").next().unwrap_or(&name)))
}

/// The message of the panic whose payload a thread at the beginning of a panic function carries.
#[must_use]
pub fn panic_message(modules: &Modules, memory: &dyn Memory, registers: &Registers) -> Option<String> {
    let payload = Address(registers.get(PAYLOAD)?);
    let methods = Address(registers.get(PAYLOAD_METHODS)?);
    if let Some(message) = described_payload(modules, memory, payload, methods) {
        return Some(message);
    }
    for index in 0..METHODS {
        let method = memory.read_u64(methods.offset(METHODS_AT + index * 8)).ok()?;
        let Some(name) = symbol_at(modules, Address(method)) else { continue };
        if name.contains("StaticStrPayload") || name.contains("Payload<&str>") {
            let (start, len) = (memory.read_u64(payload).ok()?, memory.read_u64(payload.offset(8)).ok()?);
            return text(memory, Address(start), len);
        }
        if name.contains("FormatStringPayload") {
            return formatted(memory, payload);
        }
    }
    None
}

/// A payload of `panic_any`, which the program's own debug information describes.
fn described_payload(
    modules: &Modules,
    memory: &dyn Memory,
    payload: Address,
    methods: Address,
) -> Option<String> {
    let module = modules.at(methods)?;
    let of = module.type_of_vtable(methods)?;
    let value = Value::new(module, of, crate::dwarf::evaluate::Place::Memory(payload))?;
    let (_, inner) = value.field("inner")?.variant(memory)?;
    let inner = inner.field("__0")?;
    let shown = summary(&inner, memory);
    let is_text = shown.starts_with('"');
    Some(if is_text { shown } else { format!("{}: {shown}", short_name(&inner.of.name)) })
}

/// A `FormatStringPayload`: a reference to what was to be written, and an `Option<String>` that is there once it was. Which
/// comes first is the compiler's choice; only one of them can be read as a string.
fn formatted(memory: &dyn Memory, payload: Address) -> Option<String> {
    [0, 8].into_iter().find_map(|offset| {
        let word = |index: u64| memory.read_u64(payload.offset(offset + index * 8)).ok();
        let (capacity, start, len) = (word(0)?, word(1)?, word(2)?);
        (len <= capacity && capacity <= i64::MAX as u64).then(|| text(memory, Address(start), len)).flatten()
    })
}

fn text(memory: &dyn Memory, start: Address, len: u64) -> Option<String> {
    let shown = len.min(TEXT_BYTES_MAX);
    let bytes = memory.read_vec(start, usize::try_from(shown).ok()?).ok()?;
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // Only a cut can break a character.
        Err(error) if shown < len => {
            let valid = error.utf8_error().valid_up_to();
            String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned()
        }
        Err(_) => return None,
    };
    if shown < len {
        text.push('…');
    }
    Some(text)
}

fn symbol_at(modules: &Modules, address: Address) -> Option<String> {
    let module = modules.at(address)?;
    let symbol = module.image.symbol_at(module.file_address(address))?;
    Some(format!("{:#}", rustc_demangle::demangle(symbol.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::MemoryError;

    /// Memory from 0x1000 on.
    struct Bytes(Vec<u8>);

    impl Memory for Bytes {
        fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
            let error = MemoryError { address, bytes: buffer.len(), action: "read" };
            let from = address.0.checked_sub(0x1000).ok_or_else(|| error.clone())? as usize;
            let found = self.0.get(from..from + buffer.len()).ok_or(error)?;
            buffer.copy_from_slice(found);
            Ok(())
        }
    }

    fn memory(words: [u64; 4]) -> Bytes {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(b"broken");
        Bytes(bytes)
    }

    #[test]
    fn a_message_is_found_wherever_the_compiler_put_it() {
        let (start, written_by) = (0x1020, 0x1000);
        assert_eq!(formatted(&memory([6, start, 6, written_by]), Address(0x1000)), Some("broken".to_owned()));
        assert_eq!(formatted(&memory([written_by, 6, start, 6]), Address(0x1000)), Some("broken".to_owned()));
        // Not written yet, and damaged.
        assert_eq!(formatted(&memory([1 << 63, 0, 0, written_by]), Address(0x1000)), None);
        assert_eq!(formatted(&memory([60, start, 60, written_by]), Address(0x1000)), None);
    }

    #[test]
    fn signals_are_told_in_words() {
        assert_eq!(
            cause(libc::SIGSEGV, 1, 0x10, 0x7000_0000),
            "the address 0x10 was used, and no memory is mapped there"
        );
        assert!(cause(libc::SIGSEGV, 2, 0x7000_0000, 0x7000_0100).contains("overflowed"));
        assert_eq!(cause(libc::SIGSEGV, 0, 0, 0), "a process has sent it");
        assert_eq!(cause(libc::SIGFPE, 1, 0, 0), "a whole number was divided by zero");
    }
}
