//! A target that is made up: its memory, threads and modules are what somebody has written down.
//!
//! Tests and fuzzing point the unwinder, the values and the expressions at it, without any process. It starts no process and
//! opens no file but those that its modules name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::address::{Address, Tid};
use crate::registers::Registers;
use crate::target::{MappedModule, Memory, MemoryError, Target};

/// A made-up process.
#[derive(Default)]
pub struct Simulated {
    /// Pieces of memory by their first address; none overlaps the next.
    memory: RefCell<BTreeMap<u64, Vec<u8>>>,
    threads: RefCell<BTreeMap<Tid, Registers>>,
    modules: Vec<MappedModule>,
}

impl Simulated {
    /// Adds memory.
    ///
    /// # Panics
    /// When some of it is there already: what the test says would not be what it means.
    #[must_use]
    pub fn with_memory(self, address: Address, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        {
            let mut memory = self.memory.borrow_mut();
            let end = address.0 + bytes.len() as u64;
            let before = memory.range(..end).next_back();
            assert!(
                before.is_none_or(|(start, before)| start + before.len() as u64 <= address.0),
                "the memory at {address} is there already"
            );
            memory.insert(address.0, bytes);
        }
        self
    }

    /// Adds memory of words.
    #[must_use]
    pub fn with_words(self, address: Address, words: &[u64]) -> Self {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.with_memory(address, bytes)
    }

    /// Adds a thread.
    #[must_use]
    pub fn with_thread(self, tid: Tid, registers: Registers) -> Self {
        self.threads.borrow_mut().insert(tid, registers);
        self
    }

    /// Adds a module.
    #[must_use]
    pub fn with_module(mut self, module: MappedModule) -> Self {
        self.modules.push(module);
        self
    }

    /// Writes down what another target has: its threads, which must be stopped, its modules, and some of its memory.
    pub fn recorded(target: &dyn Target, ranges: &[Range<Address>]) -> io::Result<Self> {
        let mut recorded = Self { modules: target.modules()?, ..Self::default() };
        for tid in target.threads()? {
            recorded = recorded.with_thread(tid, target.registers(tid)?);
        }
        for range in ranges {
            let bytes = (range.end.0.saturating_sub(range.start.0)) as usize;
            let bytes = target.read_vec(range.start, bytes).map_err(io::Error::other)?;
            recorded = recorded.with_memory(range.start, bytes);
        }
        Ok(recorded)
    }

    /// Calls `each` with the pieces of memory that make up a range, in order: a piece, where the range begins or goes on in
    /// it, and how much of the range came before. False when some of the range is not there.
    fn pieces(&self, address: Address, bytes: usize, mut each: impl FnMut(&mut [u8], usize)) -> bool {
        let mut memory = self.memory.borrow_mut();
        let mut done = 0;
        while done < bytes {
            let Some(at) = address.0.checked_add(done as u64) else { return false };
            let Some((start, piece)) = memory.range_mut(..=at).next_back() else { return false };
            let Some(rest) = piece.get_mut((at - start) as usize..).filter(|rest| !rest.is_empty()) else {
                return false;
            };
            let most = rest.len().min(bytes - done);
            each(&mut rest[..most], done);
            done += most;
        }
        true
    }
}

impl Memory for Simulated {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let bytes = buffer.len();
        let is_there = self.pieces(address, bytes, |piece, from| {
            buffer[from..from + piece.len()].copy_from_slice(piece);
        });
        if is_there { Ok(()) } else { Err(MemoryError { address, bytes, action: "read" }) }
    }
}

impl Target for Simulated {
    fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        // All of it or nothing.
        if !self.pieces(address, bytes.len(), |_, _| {}) {
            return Err(MemoryError { address, bytes: bytes.len(), action: "written" });
        }
        self.pieces(address, bytes.len(), |piece, from| {
            let most = piece.len();
            piece.copy_from_slice(&bytes[from..from + most]);
        });
        Ok(())
    }

    fn registers(&self, tid: Tid) -> io::Result<Registers> {
        self.threads.borrow().get(&tid).cloned().ok_or_else(|| no_thread(tid))
    }

    fn set_registers(&self, tid: Tid, registers: &Registers) -> io::Result<()> {
        let mut threads = self.threads.borrow_mut();
        *threads.get_mut(&tid).ok_or_else(|| no_thread(tid))? = registers.clone();
        Ok(())
    }

    fn threads(&self) -> io::Result<Vec<Tid>> {
        Ok(self.threads.borrow().keys().copied().collect())
    }

    fn modules(&self) -> io::Result<Vec<MappedModule>> {
        Ok(self.modules.clone())
    }
}

fn no_thread(tid: Tid) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no thread {tid}"))
}
