//! The notes of a core file, to and from bytes.

use std::path::PathBuf;

use crate::address::{Address, Tid};

/// `NT_PRSTATUS`: a thread and its general registers.
pub const PRSTATUS: u32 = 1;
/// `NT_FPREGSET`: the vector registers of the thread of the `NT_PRSTATUS` before it.
pub const FPREGSET: u32 = 2;
/// `NT_PRPSINFO`: the process's name and arguments.
pub const PRPSINFO: u32 = 3;
/// `NT_AUXV`: what the kernel told the program at its start.
pub const AUXV: u32 = 6;
/// `NT_FILE`: the mapped files.
pub const FILE: u32 = 0x4649_4c45;
/// Bytes of `struct elf_prstatus`.
const PRSTATUS_BYTES: usize = 336;
const PRSTATUS_SIGNAL: usize = 12;
const PRSTATUS_TID: usize = 32;
const PRSTATUS_REGISTERS: usize = 112;
/// Bytes of `struct elf_prpsinfo`.
const PRPSINFO_BYTES: usize = 136;
const PRPSINFO_PID: usize = 24;
const PRPSINFO_NAME: usize = 40;
const PRPSINFO_NAME_BYTES: usize = 16;
const PRPSINFO_ARGUMENTS: usize = 56;
/// Bytes of the registers that `FXSAVE` stores.
pub const VECTOR_BYTES: usize = 512;
/// Where in them `xmm0` is.
const VECTOR_XMM: usize = 160;
/// Words of `struct user_regs_struct`.
pub const GENERAL_WORDS: usize = 27;
/// The auxiliary vector's entry with the program's first instruction.
const AT_ENTRY: u64 = 9;
const PAGE: u64 = 4096;

/// A mapped file, as `NT_FILE` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Its first address.
    pub start: Address,
    /// One past its last address.
    pub end: Address,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The file.
    pub path: PathBuf,
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// A thread's id and general registers, in the order of `struct user_regs_struct`.
#[must_use]
pub fn thread_of(description: &[u8]) -> Option<(Tid, [u64; GENERAL_WORDS])> {
    let tid = description.get(PRSTATUS_TID..PRSTATUS_TID + 4)?;
    let mut general = [0; GENERAL_WORDS];
    for (index, value) in general.iter_mut().enumerate() {
        *value = word(description, PRSTATUS_REGISTERS + index * 8)?;
    }
    Some((Tid(i32::from_le_bytes(tid.try_into().ok()?)), general))
}

/// The note of a thread.
#[must_use]
pub fn thread(tid: Tid, signal: i32, general: &[u64; GENERAL_WORDS]) -> Vec<u8> {
    let mut bytes = vec![0; PRSTATUS_BYTES];
    bytes[..4].copy_from_slice(&signal.to_le_bytes());
    bytes[PRSTATUS_SIGNAL..PRSTATUS_SIGNAL + 2].copy_from_slice(&(signal as u16).to_le_bytes());
    bytes[PRSTATUS_TID..PRSTATUS_TID + 4].copy_from_slice(&tid.0.to_le_bytes());
    for (index, value) in general.iter().enumerate() {
        let at = PRSTATUS_REGISTERS + index * 8;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let has_vector = PRSTATUS_REGISTERS + GENERAL_WORDS * 8;
    bytes[has_vector..has_vector + 4].copy_from_slice(&1i32.to_le_bytes());
    bytes
}

/// `xmm0` to `xmm15`.
#[must_use]
pub fn vector_of(description: &[u8]) -> Option<[u128; 16]> {
    let mut vector = [0; 16];
    for (index, value) in vector.iter_mut().enumerate() {
        let at = VECTOR_XMM + index * 16;
        *value = u128::from_le_bytes(description.get(at..at + 16)?.try_into().ok()?);
    }
    Some(vector)
}

/// The note of the process.
#[must_use]
pub fn process(pid: i32, name: &str, arguments: &str) -> Vec<u8> {
    let mut bytes = vec![0; PRPSINFO_BYTES];
    bytes[PRPSINFO_PID..PRPSINFO_PID + 4].copy_from_slice(&pid.to_le_bytes());
    // Both texts end with a zero.
    let mut put = |at: usize, most: usize, text: &str| {
        let text = &text.as_bytes()[..text.len().min(most - 1)];
        bytes[at..at + text.len()].copy_from_slice(text);
    };
    put(PRPSINFO_NAME, PRPSINFO_NAME_BYTES, name);
    put(PRPSINFO_ARGUMENTS, PRPSINFO_BYTES - PRPSINFO_ARGUMENTS, arguments);
    bytes
}

/// The address of the program's first instruction, from the auxiliary vector.
#[must_use]
pub fn entry_of(auxiliary: &[u8]) -> Option<Address> {
    let mut pairs = auxiliary.chunks_exact(16);
    let entry = pairs.find(|pair| word(pair, 0) == Some(AT_ENTRY))?;
    word(entry, 8).map(Address)
}

/// The mapped files.
#[must_use]
pub fn files_of(description: &[u8]) -> Option<Vec<MappedFile>> {
    let count = usize::try_from(word(description, 0)?).ok()?;
    let page = word(description, 8)?;
    let names_at = count.checked_mul(24)?.checked_add(16)?;
    let mut names = description.get(names_at..)?.split(|byte| *byte == 0);
    let mut files = Vec::new();
    for index in 0..count {
        let at = 16 + index * 24;
        let name = names.next()?;
        files.push(MappedFile {
            start: Address(word(description, at)?),
            end: Address(word(description, at + 8)?),
            offset: word(description, at + 16)?.checked_mul(page)?,
            path: PathBuf::from(String::from_utf8_lossy(name).into_owned()),
        });
    }
    Some(files)
}

/// The note of the mapped files.
#[must_use]
pub fn files(files: &[MappedFile]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        [files.len() as u64, PAGE].iter().flat_map(|number| number.to_le_bytes()).collect();
    for file in files {
        for number in [file.start.0, file.end.0, file.offset / PAGE] {
            bytes.extend(number.to_le_bytes());
        }
    }
    for file in files {
        bytes.extend(file.path.as_os_str().as_encoded_bytes());
        bytes.push(0);
    }
    bytes
}

/// A note as it stands in the file.
pub fn put(out: &mut Vec<u8>, kind: u32, description: &[u8]) {
    const OWNER: &[u8] = b"CORE\0";
    for number in [OWNER.len() as u32, description.len() as u32, kind] {
        out.extend(number.to_le_bytes());
    }
    for part in [OWNER, description] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut general = [0; GENERAL_WORDS];
        general.iter_mut().enumerate().for_each(|(index, value)| *value = index as u64 + 100);
        assert_eq!(thread_of(&thread(Tid(7), 11, &general)), Some((Tid(7), general)));
        let mapped = [
            MappedFile { start: Address(0x1000), end: Address(0x3000), offset: 0, path: "/a b".into() },
            MappedFile { start: Address(0x3000), end: Address(0x4000), offset: 8192, path: "/c".into() },
        ];
        assert_eq!(files_of(&files(&mapped)).unwrap(), mapped);
        assert_eq!(
            entry_of(
                &[[3u64, 5], [9, 77], [0, 0]]
                    .concat()
                    .iter()
                    .flat_map(|n| n.to_le_bytes())
                    .collect::<Vec<_>>()
            ),
            Some(Address(77))
        );
    }

    #[test]
    fn what_is_damaged_is_nothing() {
        assert_eq!(thread_of(&[0; 40]), None);
        assert_eq!(vector_of(&[0; 200]), None);
        assert_eq!(entry_of(&[9; 15]), None);
        let many = [u64::MAX, 4096].iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(files_of(&many), None);
    }
}
