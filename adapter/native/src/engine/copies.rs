//! Where copies of patched instructions are put: in the guard's scratch area, near the program's code; and, for an instruction of
//! a library that only works near its own place, behind that library's code.
//!
//! A library lies further from the program than an instruction reaches. The last page of its code is never full to the byte, and
//! what is left of it is mapped, can be run, and is used by nothing. A slot there begins with the address of the
//! instruction whose copy it has, so that the next agent finds the same slot for it: a thread may still be in the copy.

use std::collections::BTreeMap;
use std::ops::Range;

use super::relocate::COPY_BYTES;
use super::sites::instruction_bytes;
use crate::address::Address;
use crate::dwarf::modules::Modules;
use crate::target::Target;

/// Before each copy stands whose it is.
const OWNER_BYTES: u64 = 8;
const SLOT_BYTES: u64 = OWNER_BYTES + COPY_BYTES;
/// From one instruction to what it refers to are 31 bits at most; half of that leaves room for both ends.
const REACH_BYTES: u64 = 1 << 30;

/// The code of a process as its files have it.
pub struct Code<'a> {
    /// The files.
    pub modules: &'a Modules,
}

impl Code<'_> {
    /// The original code at an address, as long as the longest instruction.
    #[must_use]
    pub fn original(&self, address: Address) -> Option<Vec<u8>> {
        let module = self.modules.at(address)?;
        module.image.code(module.file_address(address), instruction_bytes()).map(<[u8]>::to_vec)
    }

    /// The room behind the code around an address, with what is there before anybody writes to it.
    fn margin(&self, address: Address) -> Option<(Address, Vec<u8>)> {
        let module = self.modules.at(address)?;
        let (start, content) = module.image.margin(module.file_address(address))?;
        let start = start.live(module.bias);
        let padding = start.0.next_multiple_of(OWNER_BYTES) - start.0;
        Some((start.offset(padding), content.get(padding as usize..)?.to_vec()))
    }
}

/// Can an instruction at one place refer to what one at the other refers to?
#[must_use]
pub fn is_near(one: Address, other: Address) -> bool {
    one.0.abs_diff(other.0) < REACH_BYTES
}

/// The places behind libraries that have copies, by the address of the instruction.
#[derive(Default)]
pub struct Margins {
    slots: BTreeMap<Address, Range<u64>>,
}

impl Margins {
    /// Gives the room for a copy of the instruction at an address.
    pub fn room(
        &mut self,
        address: Address,
        code: &Code<'_>,
        target: &dyn Target,
    ) -> Result<Address, String> {
        let full = || {
            format!(
                "there is no room for a copy of the instruction at {address} behind the code of its library; use fewer breakpoints \
                 there"
            )
        };
        let (start, pristine) = code.margin(address).ok_or_else(full)?;
        let is_free = |at: Address, own: &[u8]| {
            let now = target.read_vec(at, own.len()).ok()?;
            let owner = u64::from_le_bytes(now.get(..OWNER_BYTES as usize)?.try_into().ok()?);
            Some(owner == address.0 || now == own)
        };
        let slots = pristine.chunks_exact(SLOT_BYTES as usize).zip(0..);
        let mut slots = slots.map(|(own, index)| (start.offset(index * SLOT_BYTES), own));
        let (slot, _) = slots.find(|(at, own)| is_free(*at, own) == Some(true)).ok_or_else(full)?;
        target.write(slot, &address.0.to_le_bytes()).map_err(|error| error.to_string())?;
        let copy = slot.offset(OWNER_BYTES);
        self.slots.insert(address, copy.0..copy.0 + COPY_BYTES);
        Ok(copy)
    }

    /// Is this in one of the copies?
    #[must_use]
    pub fn contains(&self, pc: Address) -> bool {
        self.slots.values().any(|slot| slot.contains(&pc.0))
    }

    /// The code of these addresses has been unloaded.
    pub fn forget(&mut self, range: &Range<Address>) {
        self.slots.retain(|address, _| !range.contains(address));
    }
}
