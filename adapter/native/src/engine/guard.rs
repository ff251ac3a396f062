//! Reading the guard's tables in the debugged process, from outside.

use std::mem::offset_of;
use std::ops::Range;

use manta_guard::{
    GUARD_MAGIC, GUARD_VERSION, RepairInfo, SCRATCH_BYTES, TASK_SLOTS, TRAP_SLOTS, TaskRecord, TaskTable,
    TrapTable,
};

use super::copies::Code;
use super::relocate::COPY_BYTES;
use crate::address::{Address, Tid};
use crate::dwarf::modules::Module;
use crate::target::{Memory, MemoryError, Target};

const INT3: u8 = 0xcc;
const TRAP_ENTRY_BYTES: u64 = 16;

/// The tables of a process that links the guard.
pub struct Guard {
    tasks: Address,
    traps: Address,
    repair: Address,
    scratch: Address,
    helper: Address,
    /// Entries of the trap table that are in use.
    trap_count: u64,
}

/// What a thread runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The task's id.
    pub task_id: [u8; 16],
    /// Which try.
    pub attempt: u32,
    /// Its job.
    pub job_id: [u8; 16],
    /// Its name.
    pub name: String,
}

/// Why there is no guard.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGuard {
    /// The program does not link it.
    #[error("the program does not link manta-guard")]
    Absent,
    /// It has another layout.
    #[error(
        "the program was built with another version of Manta ({found}, this one is {GUARD_VERSION}); build it again with this version"
    )]
    Version {
        /// The version in the program.
        found: u32,
    },
    /// Its memory is not what it should be.
    #[error("manta-guard is in the program, but cannot be read: {0}")]
    Memory(#[from] MemoryError),
}

impl Guard {
    /// Finds the tables.
    pub fn find(program: &Module, target: &dyn Target) -> Result<Self, NoGuard> {
        let place = |name: &str| {
            program.image.symbol(name).map(|symbol| symbol.address.live(program.bias)).ok_or(NoGuard::Absent)
        };
        let info = target.read_vec(place("MANTA_GUARD")?, 16)?;
        let magic = u64::from_le_bytes(info[..8].try_into().expect("eight bytes"));
        let version = u32::from_le_bytes(info[8..12].try_into().expect("four bytes"));
        if magic != GUARD_MAGIC {
            return Err(NoGuard::Absent);
        }
        if version != GUARD_VERSION {
            return Err(NoGuard::Version { found: version });
        }
        let scratch = Address(target.read_u64(place("MANTA_SCRATCH")?)?);
        let (tasks, traps) = (place("MANTA_TASK_TABLE")?, place("MANTA_TRAP_TABLE")?);
        let mut count = [0; 4];
        target.read(traps, &mut count)?;
        Ok(Self {
            tasks,
            traps,
            repair: place("MANTA_REPAIR")?,
            scratch,
            helper: place("MANTA_HELPER")?,
            trap_count: u64::from(u32::from_le_bytes(count)).min(TRAP_SLOTS as u64),
        })
    }

    fn trap_entry(&self, index: u64) -> Address {
        self.traps.offset(offset_of!(TrapTable, entries) as u64 + index * TRAP_ENTRY_BYTES)
    }

    /// Takes back what a debugger that died has left patched. A library that it has patched may have been unloaded since, and
    /// another one may lie there: only code whose file has the byte is changed.
    pub fn undo_all(&self, target: &dyn Target, code: &Code<'_>) -> Result<(), MemoryError> {
        for index in 0..self.trap_count {
            let address = Address(target.read_u64(self.trap_entry(index))?);
            let original = target.read_u64(self.trap_entry(index).offset(8))? as u8;
            let is_its_own = code.original(address).is_some_and(|code| code.first() == Some(&original));
            if !is_its_own {
                target.write(self.trap_entry(index), &[0; 8])?;
                continue;
            }
            let mut now = [0];
            target.read(address, &mut now)?;
            if now[0] == INT3 && original != INT3 {
                target.write(address, &[original])?;
            }
        }
        Ok(())
    }

    /// Gives back the entries of code that was unloaded: an instruction of something else may lie there next.
    pub fn forget(&mut self, range: &Range<Address>, target: &dyn Target) {
        for index in 0..self.trap_count {
            let entry = self.trap_entry(index);
            if target.read_u64(entry).is_ok_and(|address| range.contains(&Address(address))) {
                // When this fails the process is gone.
                let _ = target.write(entry, &[0; 8]);
            }
        }
    }

    /// Every address that was ever patched: a thread may still be on its way into a trap that is gone.
    pub fn patched(&self, target: &dyn Target) -> Result<Vec<Address>, MemoryError> {
        let entries = target.read_vec(self.trap_entry(0), (self.trap_count * TRAP_ENTRY_BYTES) as usize)?;
        let address = |entry: &[u8]| Address(u64::from_le_bytes(entry[..8].try_into().expect("eight bytes")));
        Ok(entries.chunks_exact(TRAP_ENTRY_BYTES as usize).map(address).collect())
    }

    /// The thread with which the program helps a debugger, which is not the program's own.
    #[must_use]
    pub fn helper(&self, memory: &dyn Memory) -> Option<Tid> {
        let tid = memory.read_vec(self.helper, 4).ok()?;
        Some(Tid(i32::from_le_bytes(tid.try_into().ok()?))).filter(|tid| tid.0 != 0)
    }

    /// Can instructions be run elsewhere?
    #[must_use]
    pub fn has_scratch(&self) -> bool {
        self.scratch.0 != 0
    }

    /// The scratch area.
    #[must_use]
    pub fn scratch(&self) -> std::ops::Range<u64> {
        self.scratch.0..self.scratch.0 + SCRATCH_BYTES as u64
    }

    /// Writes an address and its original byte into the trap table, before the patch is made. Gives the room for its copy.
    pub fn record_patch(
        &mut self,
        target: &dyn Target,
        address: Address,
        original: u8,
    ) -> Result<Address, String> {
        let known = self.patched(target).map_err(|error| error.to_string())?;
        let own = known.iter().position(|patched| *patched == address);
        let index = match own.or_else(|| known.iter().position(|patched| patched.0 == 0)) {
            Some(index) => index as u64,
            None if self.trap_count < TRAP_SLOTS as u64 => self.trap_count,
            None => {
                return Err(format!(
                    "{TRAP_SLOTS} addresses have been patched in this process, and there is no room for more"
                ));
            }
        };
        let entry = self.trap_entry(index);
        let write = || {
            target.write(entry.offset(8), &u64::from(original).to_le_bytes())?;
            target.write(entry, &address.0.to_le_bytes())?;
            target.write(self.traps, &(self.trap_count.max(index + 1) as u32).to_le_bytes())
        };
        write().map_err(|error| error.to_string())?;
        self.trap_count = self.trap_count.max(index + 1);
        Ok(self.scratch.offset(index * COPY_BYTES))
    }

    /// The routine that installs the guard's handler anew. `None` when it was never installed.
    #[must_use]
    pub fn repair_routine(&self, memory: &dyn Memory) -> Option<Address> {
        let word = |at: usize| memory.read_u64(self.repair.offset(at as u64)).ok();
        (word(offset_of!(RepairInfo, is_ready))? != 0).then_some(())?;
        word(offset_of!(RepairInfo, routine)).map(Address)
    }

    /// The task that a stopped thread runs.
    #[must_use]
    pub fn task_of(&self, memory: &dyn Memory, tid: Tid) -> Option<Task> {
        let tids = memory.read_vec(self.tasks, TASK_SLOTS * 4).ok()?;
        let wanted = tid.0.to_le_bytes();
        let slot = tids.chunks_exact(4).position(|slot| slot == wanted)?;
        let records = self.tasks.offset(offset_of!(TaskTable, records) as u64);
        let bytes =
            memory.read_vec(records.offset((slot * TaskRecord::BYTES) as u64), TaskRecord::BYTES).ok()?;
        let record = TaskRecord::from_bytes(&bytes)?;
        Some(Task {
            task_id: record.task_id,
            attempt: record.attempt,
            job_id: record.job_id,
            name: record.name().to_owned(),
        })
    }
}
