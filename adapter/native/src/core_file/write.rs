//! Writes a core file of a process that stands still.

use std::io::{self, Write};

use super::notes::{self, GENERAL_WORDS, MappedFile};
use super::pages::{PAGE, Pages, partial, whole};
use crate::address::{Address, Tid};
use crate::mappings::Mapping;
use crate::target::Memory;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// One more would not fit into the header's field (elf(5), `PN_XNUM`).
const PROGRAM_HEADERS_MAX: usize = 0xfffe;

/// How much of a process is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything that is not in a file.
    Whole,
    /// The stacks, the program's data, and what these point at: enough for a person, and small.
    Partial,
}

/// A thread that stands still.
pub struct ThreadPicture {
    /// Which.
    pub tid: Tid,
    /// The signal that it was about to take; 0 for none.
    pub signal: i32,
    /// Its registers, in the order of `struct user_regs_struct`.
    pub general: [u64; GENERAL_WORDS],
    /// Its vector registers, as `FXSAVE` stores them.
    pub vector: Vec<u8>,
}

/// The index of the stack pointer in `struct user_regs_struct`.
const STACK_POINTER: usize = 19;

/// A process that stands still.
pub struct Picture<'a> {
    /// Its id.
    pub pid: i32,
    /// Its name.
    pub name: String,
    /// Its command line.
    pub arguments: String,
    /// What the kernel told it at its start.
    pub auxiliary: Vec<u8>,
    /// The thread that matters first.
    pub threads: Vec<ThreadPicture>,
    /// Sorted by start.
    pub mappings: Vec<Mapping>,
    /// Its memory.
    pub memory: &'a dyn Memory,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// Some pages were left out because of a limit.
    pub is_cut: bool,
}

struct Segment {
    start: u64,
    end: u64,
    has_content: bool,
    flags: u32,
}

/// Writes a core file.
///
/// # Errors
/// When the file cannot be written. Memory that cannot be read is left out.
pub fn write(picture: &Picture<'_>, extent: Extent, out: &mut dyn Write) -> io::Result<Written> {
    let (pages, mut is_cut) = match extent {
        Extent::Whole => whole(&picture.mappings),
        Extent::Partial => {
            let pointers: Vec<Address> =
                picture.threads.iter().map(|thread| Address(thread.general[STACK_POINTER])).collect();
            partial(&picture.mappings, picture.memory, &pointers)
        }
    };
    let mut segments = segments(&picture.mappings, &pages, picture.memory);
    if segments.len() >= PROGRAM_HEADERS_MAX {
        segments.truncate(PROGRAM_HEADERS_MAX - 1);
        is_cut = true;
    }
    let notes = notes_of(picture);
    let notes_at = HEADER_BYTES + PROGRAM_HEADER_BYTES * (segments.len() + 1);
    let data_at = ((notes_at + notes.len()) as u64).next_multiple_of(PAGE);
    let mut head = file_header(segments.len() + 1);
    head.extend(program_header(NOTE, 4, notes_at as u64, 0, [notes.len() as u64, 0], 4));
    let mut at = data_at;
    for segment in &segments {
        let bytes = segment.end - segment.start;
        let kept = if segment.has_content { bytes } else { 0 };
        head.extend(program_header(LOAD, segment.flags, at, segment.start, [kept, bytes], PAGE));
        at += kept;
    }
    head.extend(notes);
    head.resize(data_at as usize, 0);
    out.write_all(&head)?;
    let mut page = [0; PAGE as usize];
    for segment in segments.iter().filter(|segment| segment.has_content) {
        for address in (segment.start..segment.end).step_by(PAGE as usize) {
            // It could be read a moment ago; a process that stands still does not change.
            picture.memory.read(Address(address), &mut page).map_err(io::Error::other)?;
            out.write_all(&page)?;
        }
    }
    Ok(Written { bytes: at, is_cut })
}

/// Runs of kept pages, and the parts of mapped files between them that are in the files.
fn segments(mappings: &[Mapping], pages: &Pages, memory: &dyn Memory) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for mapping in mappings {
        let flags = u32::from(mapping.is_executable)
            | u32::from(mapping.is_writable) << 1
            | u32::from(mapping.is_readable) << 2;
        let first = segments.len();
        let mut probe = [0];
        let is_in_file = mapping.file().is_some() && !mapping.is_writable;
        for page in (mapping.start.0..mapping.end.0).step_by(PAGE as usize) {
            let has_content = pages.contains(&page) && memory.read(Address(page), &mut probe).is_ok();
            if !has_content && !is_in_file {
                continue;
            }
            let end = page + PAGE;
            let last = segments[first..].last_mut();
            match last.filter(|last| last.end == page && last.has_content == has_content) {
                Some(last) => last.end = end,
                None => segments.push(Segment { start: page, end, has_content, flags }),
            }
        }
    }
    segments
}

fn notes_of(picture: &Picture<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, thread) in picture.threads.iter().enumerate() {
        notes::put(&mut out, notes::PRSTATUS, &notes::thread(thread.tid, thread.signal, &thread.general));
        if index == 0 {
            let process = notes::process(picture.pid, &picture.name, &picture.arguments);
            notes::put(&mut out, notes::PRPSINFO, &process);
            notes::put(&mut out, notes::AUXV, &picture.auxiliary);
            let files: Vec<MappedFile> = picture
                .mappings
                .iter()
                .filter_map(|mapping| {
                    let path = mapping.file()?.to_owned();
                    Some(MappedFile { start: mapping.start, end: mapping.end, offset: mapping.offset, path })
                })
                .collect();
            notes::put(&mut out, notes::FILE, &notes::files(&files));
        }
        notes::put(&mut out, notes::FPREGSET, &thread.vector);
    }
    out
}

fn file_header(program_headers: usize) -> Vec<u8> {
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    header.resize(16, 0);
    header.extend(4u16.to_le_bytes()); // ET_CORE
    header.extend(62u16.to_le_bytes()); // EM_X86_64
    header.extend(1u32.to_le_bytes());
    for number in [0, HEADER_BYTES as u64, 0] {
        header.extend(number.to_le_bytes());
    }
    header.extend(0u32.to_le_bytes());
    let sizes = [HEADER_BYTES as u16, PROGRAM_HEADER_BYTES as u16, program_headers as u16, 0, 0, 0];
    header.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
    header
}

/// `sizes` are those in the file and in memory.
fn program_header(kind: u32, flags: u32, offset: u64, address: u64, sizes: [u64; 2], align: u64) -> Vec<u8> {
    let mut header: Vec<u8> = [kind, flags].iter().flat_map(|number| number.to_le_bytes()).collect();
    for number in [offset, address, 0, sizes[0], sizes[1], align] {
        header.extend(number.to_le_bytes());
    }
    header
}
