//! Data breakpoints: places in memory that debug registers watch.
//!
//! Every thread of the process watches all of them, with three of its four debug registers; they go before breakpoints on
//! code, which can be patched instead. The kernel's own writes, for example by `read`, are not seen by the processor.

use super::Engine;
use super::breakpoints::{Access, On};
use super::resolve::Resolution;
use super::sites::{HARDWARE_SITES, Sites};
use super::threads::{DebugRegister, RegisterKind};
use crate::address::{Address, Tid};
use crate::target::Memory;

/// Where the addresses end that a program can have.
const USER_END: u64 = 1 << 47;

/// A watched place.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Where, and what kind of access stops.
    pub register: DebugRegister,
    /// The breakpoint, by its position in the configuration.
    pub breakpoint: usize,
    /// What was there when it was looked at last.
    last: Option<u64>,
}

/// The register for a place, or why it cannot be watched.
pub fn register_of(address: Address, bytes: u64, access: Access) -> Result<DebugRegister, String> {
    if !matches!(bytes, 1 | 2 | 4 | 8) {
        return Err(format!(
            "it has {bytes} bytes, and the processor watches 1, 2, 4 or 8: open it and watch a part of it"
        ));
    }
    if address.0 == 0 || address.0 >= USER_END {
        return Err(format!("no memory of a program can be at {address}"));
    }
    if !address.0.is_multiple_of(bytes) {
        return Err(format!("its address {address} is not a multiple of its size"));
    }
    let bytes = bytes as u8;
    let kind = match access {
        Access::Write => RegisterKind::Write { bytes },
        Access::ReadWrite => RegisterKind::ReadWrite { bytes },
    };
    Ok(DebugRegister { address, kind })
}

impl Sites {
    /// Watches exactly these places. Code gives up its debug registers for them; it is set again by [`Sites::replace`]. Gives
    /// the breakpoints that found no register, with the sentence.
    pub fn watch(
        &mut self,
        wanted: Vec<(usize, DebugRegister)>,
        memory: &dyn Memory,
    ) -> Vec<(usize, String)> {
        let mut failed = Vec::new();
        self.watches = [const { None }; HARDWARE_SITES];
        for (breakpoint, register) in wanted {
            let Some(free) = self.watches.iter_mut().find(|watch| watch.is_none()) else {
                let reason = format!(
                    "the processor has four debug registers: {HARDWARE_SITES} places are watched already, and one is kept \
                     for steps; remove a data breakpoint"
                );
                failed.push((breakpoint, reason));
                continue;
            };
            let last = read_watched(memory, register);
            *free = Some(Watch { register, breakpoint, last });
        }
        self.leave_registers_to_watches();
        failed
    }
}

fn read_watched(memory: &dyn Memory, register: DebugRegister) -> Option<u64> {
    let (RegisterKind::Write { bytes } | RegisterKind::ReadWrite { bytes }) = register.kind else {
        return None;
    };
    let mut word = [0; 8];
    memory.read(register.address, &mut word[..usize::from(bytes)]).ok()?;
    Some(u64::from_le_bytes(word))
}

/// A place was accessed.
pub struct Touched {
    /// The breakpoint.
    pub breakpoint: usize,
    /// What happened, in words.
    pub text: String,
}

impl Engine {
    /// Reads the places that are to be watched from a set of breakpoints, and marks those that cannot be.
    pub(super) fn set_watches(&mut self, breakpoints: &mut [super::breakpoints::Breakpoint]) {
        let mut wanted = Vec::new();
        let mut failed = Vec::new();
        for (index, breakpoint) in breakpoints.iter().enumerate() {
            if let On::Data { address, bytes, access } = breakpoint.specification.on
                && matches!(breakpoint.resolution, Resolution::Bound { .. })
            {
                match register_of(address, bytes, access) {
                    Ok(register) => wanted.push((index, register)),
                    Err(reason) => failed.push((index, reason)),
                }
            }
        }
        if let Err(reason) = self.can_watch() {
            failed.extend(wanted.drain(..).map(|(index, _)| (index, reason.clone())));
        }
        failed.extend(self.sites.watch(wanted, &self.process));
        for (index, reason) in failed {
            breakpoints[index].resolution = Resolution::Failed(format!("It cannot be watched: {reason}."));
        }
    }

    /// Can memory be watched at all?
    pub(crate) fn can_watch(&self) -> Result<(), String> {
        if self.hardware_works {
            Ok(())
        } else {
            Err("the processor's debug registers can only be set with ptrace, which the system refuses here"
                .to_owned())
        }
    }

    /// Which watched places a thread that has just trapped has accessed. A place that is watched for writes counts when its
    /// content has changed.
    pub(super) fn touched(&mut self, tid: Tid) -> Vec<Touched> {
        if self.sites.watches.iter().all(Option::is_none) {
            return Vec::new();
        }
        let Ok(status) = self.process.debug_status(tid) else { return Vec::new() };
        let mut touched = Vec::new();
        for (number, watch) in self.sites.watches.iter_mut().enumerate() {
            let Some(watch) = watch.as_mut().filter(|_| status & (1 << number) != 0) else { continue };
            let before = watch.last;
            watch.last = read_watched(&self.process, watch.register);
            let text = match (before, watch.last) {
                (Some(before), Some(now)) if before != now => format!("{before:#x} has become {now:#x}"),
                _ if matches!(watch.register.kind, RegisterKind::Write { .. }) => continue,
                (_, Some(now)) => format!("{now:#x} was read or written"),
                (_, None) => "it was accessed".to_owned(),
            };
            touched.push(Touched { breakpoint: watch.breakpoint, text });
        }
        touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_register_can_watch_is_watched() {
        assert!(register_of(Address(0x1000), 8, Access::Write).is_ok());
        assert!(register_of(Address(0x1001), 1, Access::ReadWrite).is_ok());
        assert!(register_of(Address(0x1001), 2, Access::Write).unwrap_err().contains("multiple"));
        assert!(register_of(Address(u64::MAX - 7), 8, Access::Write).unwrap_err().contains("no memory"));
        assert!(register_of(Address(0x1000), 24, Access::Write).unwrap_err().contains("watch a part"));
    }
}
