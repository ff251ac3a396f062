//! `readMemory` and `writeMemory`: raw bytes, as the program has them, without the engine's patches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dap::{ReadMemoryArguments, ReadMemoryResponseBody, WriteMemoryArguments, WriteMemoryResponseBody};

use super::{Answer, Answered, Server};
use crate::address::Address;
use crate::limits::MEMORY_BYTES_MAX;
use crate::target::{Memory, Target};

const PAGE_BYTES: u64 = 4096;

impl Server {
    pub(super) fn read_memory(
        &mut self,
        arguments: ReadMemoryArguments,
    ) -> Answered<Option<ReadMemoryResponseBody>> {
        let address = referenced(&arguments.memory_reference, arguments.offset)?;
        let wanted = u64::try_from(arguments.count).map_err(|_| "The count must not be negative.")?;
        let count = wanted.min(MEMORY_BYTES_MAX);
        let data = self.engine.readable(address, count);
        // What lies beyond the limit is no unreadable memory: the client asks for it in its next request.
        let missing = count - data.len() as u64;
        Ok(Answer::Now(Some(ReadMemoryResponseBody {
            address: address.to_string(),
            unreadable_bytes: (missing > 0).then_some(missing as i64),
            data: (!data.is_empty()).then(|| STANDARD.encode(&data)),
        })))
    }

    pub(super) fn write_memory(
        &mut self,
        arguments: WriteMemoryArguments,
    ) -> Answered<WriteMemoryResponseBody> {
        let address = referenced(&arguments.memory_reference, arguments.offset)?;
        let data =
            STANDARD.decode(&arguments.data).map_err(|error| format!("The data is no base64: {error}."))?;
        if data.len() as u64 > MEMORY_BYTES_MAX {
            return Err(format!("More than {MEMORY_BYTES_MAX} bytes cannot be written at once."));
        }
        let end = address.offset(data.len() as u64);
        if let Some(patched) = self.engine.sites.patched_in(address..end).next() {
            return Err(format!(
                "A breakpoint is set at {patched}; take it out before the code there is overwritten."
            ));
        }
        self.engine
            .process
            .write(address, &data)
            .map_err(|error| format!("It cannot be written: {error}."))?;
        for thread in self.engine.threads.iter_mut() {
            if let Some(stop) = thread.stop_mut() {
                stop.forget_stack();
            }
        }
        let bytes_written = i32::try_from(data.len()).ok();
        Ok(Answer::Now(WriteMemoryResponseBody { offset: None, bytes_written }))
    }
}

impl crate::engine::Engine {
    /// As many bytes as can be read, up to a count, with the original code where the engine has patched it.
    pub(crate) fn readable(&self, address: Address, count: u64) -> Vec<u8> {
        let mut data = self.process.read_vec(address, count as usize).unwrap_or_default();
        while (data.len() as u64) < count {
            let at = address.offset(data.len() as u64);
            let rest = (PAGE_BYTES - at.0 % PAGE_BYTES).min(count - data.len() as u64);
            match self.process.read_vec(at, rest as usize) {
                Ok(bytes) => data.extend(bytes),
                Err(_) => break,
            }
        }
        let end = address.offset(data.len() as u64);
        for (patched, original) in self.sites.originals_in(address..end) {
            data[(patched.0 - address.0) as usize] = original;
        }
        data
    }
}

/// The address that a reference of ours, or one that a person typed, means.
pub(super) fn referenced(reference: &str, offset: Option<i64>) -> Result<Address, String> {
    let digits = reference.trim();
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    let start = parsed.map_err(|_| format!("{reference:?} is no address; write for example 0x7fff0010."))?;
    start
        .checked_add_signed(offset.unwrap_or(0))
        .map(Address)
        .ok_or_else(|| "The address lies outside of all memory.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_addresses_with_an_offset() {
        assert_eq!(referenced("0x10", Some(-16)), Ok(Address(0)));
        assert_eq!(referenced("32", None), Ok(Address(32)));
        assert!(referenced("0x10", Some(-17)).unwrap_err().contains("outside"));
        assert!(referenced("main", None).unwrap_err().contains("no address"));
    }
}
