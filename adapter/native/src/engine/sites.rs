//! Addresses at which threads trap: in debug registers while there are enough of them, then as patched instructions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::copies::{Code, Margins, is_near};
use super::guard::Guard;
use super::relocate::{PastPatch, decode, is_bound_to_its_place, relocate};
use super::threads::DebugRegister;
use super::watches::Watch;
use crate::address::Address;
use crate::target::Target;

const INT3: u8 = 0xcc;
/// Debug registers for breakpoints. The fourth is for stepping, so that a step never has to wait for one.
pub const HARDWARE_SITES: usize = 3;
/// The debug register for stepping.
pub const STEP_REGISTER: usize = 3;
/// Enough for the longest instruction.
const INSTRUCTION_BYTES_MAX: usize = 16;

/// How a site traps.
#[derive(Clone, Debug)]
pub enum Site {
    /// A debug register in every thread.
    Hardware {
        /// Which one.
        register: usize,
    },
    /// A patched instruction.
    Patched {
        /// The byte that was there.
        original: u8,
        /// How to get past it.
        past: PastPatch,
    },
}

/// All sites of a process.
#[derive(Default)]
pub struct Sites {
    sites: BTreeMap<Address, Site>,
    /// Also those that are gone: a thread may have hit them and not been seen yet.
    ever_patched: BTreeSet<Address>,
    /// Copies behind the code of libraries.
    pub(super) margins: Margins,
    /// Places in memory that are watched, by debug register.
    pub(super) watches: [Option<Watch>; HARDWARE_SITES],
}

impl Sites {
    /// Takes over what an earlier debugger had patched.
    pub fn remember(&mut self, patched: impl IntoIterator<Item = Address>) {
        self.ever_patched.extend(patched.into_iter().filter(|address| address.0 != 0));
    }

    /// The code of these addresses has been unloaded, and what was patched there is gone with it.
    pub fn forget(&mut self, range: &Range<Address>) {
        self.sites.retain(|address, _| !range.contains(address));
        self.ever_patched.retain(|address| !range.contains(address));
        self.margins.forget(range);
    }

    /// The site at an address.
    #[must_use]
    pub fn at(&self, address: Address) -> Option<&Site> {
        self.sites.get(&address)
    }

    /// Was there ever a patch here?
    #[must_use]
    pub fn was_patched(&self, address: Address) -> bool {
        self.ever_patched.contains(&address)
    }

    /// Patched addresses in a range.
    pub fn patched_in(&self, range: Range<Address>) -> impl Iterator<Item = Address> {
        self.originals_in(range).map(|(address, _)| address)
    }

    /// Patched addresses in a range, with the bytes that were there.
    pub fn originals_in(&self, range: Range<Address>) -> impl Iterator<Item = (Address, u8)> {
        // An empty range may have its end before its start when an address has wrapped around.
        let range = range.start..range.end.max(range.start);
        self.sites.range(range).filter_map(|(address, site)| match site {
            Site::Patched { original, .. } => Some((*address, *original)),
            Site::Hardware { .. } => None,
        })
    }

    /// What each debug register for breakpoints must hold.
    #[must_use]
    pub fn hardware(&self) -> [DebugRegister; HARDWARE_SITES] {
        let mut registers = [DebugRegister::default(); HARDWARE_SITES];
        for (address, site) in &self.sites {
            if let Site::Hardware { register } = site {
                registers[*register] = DebugRegister::execute(*address);
            }
        }
        for (register, watch) in registers.iter_mut().zip(&self.watches) {
            if let Some(watch) = watch {
                *register = watch.register;
            }
        }
        registers
    }

    /// Forgets sites whose debug registers are used to watch memory now.
    pub(super) fn leave_registers_to_watches(&mut self) {
        let watches = &self.watches;
        self.sites.retain(|_, site| match site {
            Site::Hardware { register } => watches[*register].is_none(),
            Site::Patched { .. } => true,
        });
    }

    /// Where a thread really is that runs a copy: at the original instruction, or just past it. `None` when it is in no copy,
    /// or in the middle of one.
    #[must_use]
    pub fn original_of(&self, pc: Address, next: impl Fn(Address) -> Address) -> Option<Address> {
        self.sites.iter().find_map(|(address, site)| match site {
            Site::Patched { past: PastPatch::Copy { at, .. }, .. } if *at == pc => Some(*address),
            Site::Patched { past: PastPatch::Copy { jump, .. }, .. } if *jump == pc => Some(next(*address)),
            _ => None,
        })
    }

    /// Sets exactly these addresses, and that of the loader with what is left. Those that stay are not touched. Gives those that
    /// could not be set, with the sentence.
    pub fn replace(
        &mut self,
        wanted: &BTreeSet<Address>,
        loader: Option<Address>,
        target: &dyn Target,
        mut guard: Option<&mut Guard>,
        code: &Code<'_>,
        hardware_works: bool,
    ) -> BTreeMap<Address, String> {
        let stays = |address: &Address| wanted.contains(address) || Some(*address) == loader;
        let gone: Vec<Address> = self.sites.keys().filter(|address| !stays(address)).copied().collect();
        for address in gone {
            self.remove(address, target);
        }
        let mut failed = BTreeMap::new();
        for address in wanted.iter().filter(|address| Some(**address) != loader) {
            if self.sites.contains_key(address) {
                continue;
            }
            let free = self.free_register(hardware_works).or_else(|| self.leave_loader(loader));
            let site = match (free, guard.as_deref_mut()) {
                (Some(register), _) => Ok(Site::Hardware { register }),
                (None, Some(guard)) => self.patch(*address, target, guard, code),
                (None, None) if !hardware_works => Err(
                    "the system refuses ptrace, and without that only the code of a program can have breakpoints that links \
                     manta-guard and has kept its symbols"
                        .to_owned(),
                ),
                (None, None) => Err(format!(
                    "all {HARDWARE_SITES} hardware breakpoints are in use, and the program does not link manta-guard, \
                     without which its code is never patched: remove a breakpoint, or build the program as a Manta worker"
                )),
            };
            match site {
                Ok(site) => {
                    self.sites.insert(*address, site);
                }
                Err(reason) => {
                    failed.insert(*address, reason);
                }
            }
        }
        if let Some(address) = loader.filter(|address| !self.sites.contains_key(address)) {
            // Registers are for the user's breakpoints, so the loader is patched where that can be.
            let patched = guard.and_then(|guard| self.patch(address, target, guard, code).ok());
            let free = || self.free_register(hardware_works).map(|register| Site::Hardware { register });
            match patched.or_else(free) {
                Some(site) => {
                    self.sites.insert(address, site);
                }
                None => {
                    failed.insert(address, "all debug registers are in use".to_owned());
                }
            }
        }
        failed
    }

    fn free_register(&self, hardware_works: bool) -> Option<usize> {
        let is_used = |register: usize| {
            self.watches[register].is_some()
                || self
                    .sites
                    .values()
                    .any(|site| matches!(site, Site::Hardware { register: used } if *used == register))
        };
        (0..HARDWARE_SITES).find(|register| hardware_works && !is_used(*register))
    }

    /// The loader gives up its debug register, if it has one.
    fn leave_loader(&mut self, loader: Option<Address>) -> Option<usize> {
        let loader = loader?;
        let Some(Site::Hardware { register }) = self.sites.get(&loader) else { return None };
        let register = *register;
        self.sites.remove(&loader);
        Some(register)
    }

    fn patch(
        &mut self,
        address: Address,
        target: &dyn Target,
        guard: &mut Guard,
        code: &Code<'_>,
    ) -> Result<Site, String> {
        if !guard.has_scratch() {
            return Err(
                "the program found no room near its code for copies of instructions; use fewer breakpoints"
                    .to_owned(),
            );
        }
        let bytes = code
            .original(address)
            .or_else(|| target.read_vec(address, INSTRUCTION_BYTES_MAX).ok())
            .ok_or_else(|| format!("the code at {address} cannot be read"))?;
        let original = *bytes.first().ok_or_else(|| format!("there is no code at {address}"))?;
        let mut copy = guard.record_patch(target, address, original)?;
        if !is_near(copy, address) && decode(&bytes, address).is_some_and(|own| is_bound_to_its_place(&own)) {
            copy = self.margins.room(address, code, target)?;
        }
        let (past, bytes) = relocate(&bytes, address, copy)?;
        let write = || target.write(copy, &bytes).and_then(|()| target.write(address, &[INT3]));
        self.ever_patched.insert(address);
        write().map_err(|error| format!("the code cannot be patched: {error}"))?;
        Ok(Site::Patched { original, past })
    }

    /// Patches one more address.
    pub(super) fn add(
        &mut self,
        address: Address,
        target: &dyn Target,
        guard: &mut Guard,
        code: &Code<'_>,
    ) -> Result<(), String> {
        let site = self.patch(address, target, guard, code)?;
        self.sites.insert(address, site);
        Ok(())
    }

    /// Takes back what is set at an address.
    pub(super) fn remove(&mut self, address: Address, target: &dyn Target) {
        if let Some(Site::Patched { original, .. }) = self.sites.remove(&address) {
            // When this fails the process is gone, and the patch with it.
            let _ = target.write(address, &[original]);
        }
    }
}

/// Reads original code for the engine's own eyes: as long as the longest instruction.
#[must_use]
pub fn instruction_bytes() -> usize {
    INSTRUCTION_BYTES_MAX
}
