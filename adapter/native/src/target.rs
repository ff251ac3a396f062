//! What the engine can be pointed at: memory, registers, threads, modules.
//!
//! The live process ([`crate::ptrace`]), one that is debugged by its own guard ([`crate::in_process`]), a core file
//! ([`crate::core_file`]) and a made-up one ([`crate::simulated`]) implement it, and `tests/conformance` holds all of them to the same
//! rules. The unwinder, the values and the expressions see only these traits and must never know which one they look at.

use std::path::PathBuf;

use crate::address::{Address, Bias, Tid};
use crate::registers::Registers;

/// Memory that could not be read or written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("{bytes} bytes of memory at {address} cannot be {action}")]
pub struct MemoryError {
    /// Where.
    pub address: Address,
    /// How much was asked for.
    pub bytes: usize,
    /// "read" or "written", or the like with a reason.
    pub action: &'static str,
}

/// Readable memory.
pub trait Memory {
    /// Fills the buffer, or fails.
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError>;

    /// Reads `bytes` bytes; the caller has bounded them.
    fn read_vec(&self, address: Address, bytes: usize) -> Result<Vec<u8>, MemoryError> {
        let mut buffer = vec![0; bytes];
        self.read(address, &mut buffer)?;
        Ok(buffer)
    }

    /// Reads a little-endian word.
    fn read_u64(&self, address: Address) -> Result<u64, MemoryError> {
        let mut buffer = [0; 8];
        self.read(address, &mut buffer)?;
        Ok(u64::from_le_bytes(buffer))
    }
}

/// A mapped program file.
#[derive(Debug, Clone)]
pub struct MappedModule {
    /// As the process knows it.
    pub path: PathBuf,
    /// Where it can be opened from here.
    pub open_path: PathBuf,
    /// Its mapped addresses, from the lowest to the highest.
    pub start: Address,
    /// One past the highest.
    pub end: Address,
    /// Where the beginning of the file is mapped.
    pub base: Address,
    /// The program itself, not a library.
    pub is_program: bool,
}

/// A process, living or recorded.
pub trait Target: Memory {
    /// Writes memory, also read-only code.
    fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError>;
    /// Registers of a stopped thread.
    fn registers(&self, tid: Tid) -> std::io::Result<Registers>;
    /// Sets the registers of a stopped thread.
    fn set_registers(&self, tid: Tid, registers: &Registers) -> std::io::Result<()>;
    /// All threads.
    fn threads(&self) -> std::io::Result<Vec<Tid>>;
    /// All mapped program files.
    fn modules(&self) -> std::io::Result<Vec<MappedModule>>;
}

/// What a module's file address must be moved by, given where the file's beginning is mapped and says it wants to be.
#[must_use]
pub fn bias_of(base: Address, first_segment: u64) -> Bias {
    Bias(base.0.wrapping_sub(first_segment))
}
