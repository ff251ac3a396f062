//! A core file as a target that only can be looked at.
//!
//! A core seldom has everything: pages that nobody has changed are left to the files that they were mapped from. They are read from
//! there, if the file is still the one that the process ran.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

use super::notes::{self, GENERAL_WORDS, MappedFile};
use crate::address::{Address, Tid};
use crate::mappings::{self, Mapping};
use crate::registers::Registers;
use crate::target::{MappedModule, Memory, MemoryError, Target};

const READ_ONLY: &str = "changed: a core file is a picture of a process that is gone";
/// How much of a program file tells it from others: its header and its build-id.
const HEAD_BYTES: usize = 4096;

type Header = elf::FileHeader64<object::LittleEndian>;

/// Why a file cannot be used as a core.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The file could not be opened.
    #[error("{path} cannot be read: {cause}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is damaged, or no ELF file.
    #[error("the core file cannot be read: {0}")]
    Elf(#[from] object::Error),
    /// It is another kind of ELF file, or of another machine.
    #[error(
        "the file is not a core file of a 64-bit x86 process; one is made by gcore, by the kernel, or of a snapshot"
    )]
    NotACore,
    /// Nothing can be shown of a core without threads.
    #[error("the core file has no thread; it may have been cut off")]
    NoThreads,
}

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A part of the memory.
struct Segment {
    start: u64,
    end: u64,
    file_offset: u64,
    /// How much of it the core has.
    kept: u64,
    is_writable: bool,
    is_executable: bool,
}

/// A core file.
pub struct Core {
    bytes: Bytes,
    /// Sorted by start.
    segments: Vec<Segment>,
    threads: Vec<Tid>,
    registers: BTreeMap<Tid, Registers>,
    /// Sorted by start.
    files: Vec<MappedFile>,
    modules: Vec<MappedModule>,
    warnings: Vec<String>,
    opened: RefCell<HashMap<PathBuf, Option<File>>>,
}

impl Core {
    /// Opens a core file.
    pub fn open(path: &Path) -> Result<Self, CoreError> {
        let error = |cause| CoreError::Open { path: path.to_owned(), cause };
        let file = File::open(path).map_err(error)?;
        // SAFETY: the mapping is private and read-only, and nobody but a person by hand changes a core file that was written.
        let map = unsafe { Mmap::map(&file) }.map_err(error)?;
        Self::of(Bytes::Mapped(map))
    }

    /// Reads a core file that is in memory.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, CoreError> {
        Self::of(Bytes::Owned(bytes))
    }

    fn of(bytes: Bytes) -> Result<Self, CoreError> {
        let data = &*bytes;
        let header = Header::parse(data)?;
        let endian = header.endian()?;
        if header.e_type.get(endian) != elf::ET_CORE || header.e_machine.get(endian) != elf::EM_X86_64 {
            return Err(CoreError::NotACore);
        }
        let mut segments = Vec::new();
        let mut found = Notes::default();
        for program in header.program_headers(endian, data)? {
            let flags = program.p_flags(endian);
            match program.p_type(endian) {
                elf::PT_LOAD => {
                    let start = program.p_vaddr(endian);
                    let Some(end) = start.checked_add(program.p_memsz(endian)) else { continue };
                    let file_offset = program.p_offset(endian);
                    // What a core that was cut off has lost is not there.
                    let there = (data.len() as u64).saturating_sub(file_offset);
                    segments.push(Segment {
                        start,
                        end,
                        file_offset,
                        kept: program.p_filesz(endian).min(there).min(end - start),
                        is_writable: flags.0 & elf::PF_W.0 != 0,
                        is_executable: flags.0 & elf::PF_X.0 != 0,
                    });
                }
                elf::PT_NOTE => {
                    let Ok(Some(mut notes)) = program.notes(endian, data) else { continue };
                    while let Ok(Some(note)) = notes.next() {
                        found.take(note.name(), note.n_type(endian).0, note.desc());
                    }
                }
                _ => {}
            }
        }
        if found.threads.is_empty() {
            return Err(CoreError::NoThreads);
        }
        segments.sort_by_key(|segment| segment.start);
        found.files.sort_by_key(|file| file.start);
        let mut core = Self {
            bytes,
            segments,
            threads: found.threads,
            registers: found.registers,
            files: found.files,
            modules: Vec::new(),
            warnings: Vec::new(),
            opened: RefCell::default(),
        };
        core.find_modules(found.entry);
        Ok(core)
    }

    /// What the user should know: files that were changed since, or that nobody can check.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn find_modules(&mut self, entry: Option<Address>) {
        let mappings: Vec<Mapping> = self
            .files
            .iter()
            .map(|file| {
                let segment = self.segment_at(file.start.0);
                Mapping {
                    start: file.start,
                    end: file.end,
                    is_readable: true,
                    is_writable: segment.is_some_and(|segment| segment.is_writable),
                    is_executable: segment.is_some_and(|segment| segment.is_executable),
                    offset: file.offset,
                    name: file.path.to_string_lossy().into_owned(),
                }
            })
            .collect();
        for mut module in mappings::modules(&mappings) {
            module.is_program = entry.is_some_and(|entry| module.start <= entry && entry < module.end);
            match self.check(&module) {
                Ok(()) => self.modules.push(module),
                Err(warning) => {
                    self.warnings.push(warning);
                    self.opened.get_mut().insert(module.path.clone(), None);
                }
            }
        }
    }

    /// Is the file of a module still the one that the process ran?
    fn check(&self, module: &MappedModule) -> Result<(), String> {
        let path = module.path.display();
        let mut in_file = vec![0; HEAD_BYTES];
        let file = open_file(&module.path)
            .map_err(|error| format!("{path} cannot be read: {error}. Its code is not shown."))?;
        let there = read_up_to(&file, &mut in_file, 0);
        let mut in_core = vec![0; there];
        if self.read_kept(module.base.0, &mut in_core) && in_core != in_file[..there] {
            return Err(format!(
                "{path} is not the file that the process ran: it was changed since. Its code is not shown; put the old file \
                 back to see it."
            ));
        }
        Ok(())
    }

    fn segment_at(&self, address: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.start <= address);
        self.segments[..after].last().filter(|segment| address < segment.end)
    }

    /// Reads what the core itself has.
    fn read_kept(&self, address: u64, buffer: &mut [u8]) -> bool {
        let Some(segment) = self.segment_at(address) else { return false };
        let from = address - segment.start;
        if segment.kept.saturating_sub(from) < buffer.len() as u64 {
            return false;
        }
        let at = (segment.file_offset + from) as usize;
        self.bytes.get(at..at + buffer.len()).is_some_and(|bytes| {
            buffer.copy_from_slice(bytes);
            true
        })
    }

    /// Reads the beginning of a buffer from the one place that has it. Gives how much that was; 0 when it is nowhere.
    fn read_piece(&self, address: u64, buffer: &mut [u8]) -> usize {
        let Some(segment) = self.segment_at(address) else { return 0 };
        let from = address - segment.start;
        let most = |bytes: u64, buffer: &[u8]| buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        if from < segment.kept {
            let most = most(segment.kept - from, buffer);
            return if self.read_kept(address, &mut buffer[..most]) { most } else { 0 };
        }
        // What is left out of a writable segment that is there in part may have been changed.
        if segment.is_writable && segment.kept > 0 {
            return 0;
        }
        let most = most(segment.end - address, buffer);
        self.read_mapped(address, &mut buffer[..most])
    }

    /// Reads pages that are as they were in their file.
    fn read_mapped(&self, address: u64, buffer: &mut [u8]) -> usize {
        let after = self.files.partition_point(|file| file.start.0 <= address);
        let Some(mapped) = self.files[..after].last().filter(|file| address < file.end.0) else { return 0 };
        let most = buffer.len().min((mapped.end.0 - address) as usize);
        let mut opened = self.opened.borrow_mut();
        let file = opened.entry(mapped.path.clone()).or_insert_with(|| open_file(&mapped.path).ok());
        let Some(file) = file else { return 0 };
        let Some(offset) = mapped.offset.checked_add(address - mapped.start.0) else { return 0 };
        let there = read_up_to(file, &mut buffer[..most], offset);
        // Behind the file's end its last page is filled with zeroes.
        let page_end = (offset + there as u64).next_multiple_of(4096);
        let filled = most.min((page_end - offset) as usize);
        buffer[there..filled].fill(0);
        filled
    }
}

/// Opens a file that a core names. What it names may be a pipe or a device by now, which would be waited for.
fn open_file(path: &Path) -> io::Result<File> {
    if !path.is_absolute() {
        // The kernel names none so, and here it would be another file in each folder.
        return Err(io::Error::other("it is no absolute path"));
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

/// Reads as much as there is.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}

impl Memory for Core {
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let bytes = buffer.len();
        let mut done = 0;
        while done < bytes {
            let at = address.0.checked_add(done as u64);
            let count = at.map_or(0, |at| self.read_piece(at, &mut buffer[done..]));
            if count == 0 {
                return Err(MemoryError { address, bytes, action: "read" });
            }
            done += count;
        }
        Ok(())
    }
}

impl Target for Core {
    fn write(&self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        Err(MemoryError { address, bytes: bytes.len(), action: READ_ONLY })
    }

    fn registers(&self, tid: Tid) -> io::Result<Registers> {
        self.registers.get(&tid).cloned().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("the core file has no thread {tid}"))
        })
    }

    fn set_registers(&self, tid: Tid, _: &Registers) -> io::Result<()> {
        let reason = format!("the registers of the thread {tid} cannot be {READ_ONLY}");
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }

    fn threads(&self) -> io::Result<Vec<Tid>> {
        Ok(self.threads.clone())
    }

    fn modules(&self) -> io::Result<Vec<MappedModule>> {
        Ok(self.modules.clone())
    }
}

/// What the notes say.
#[derive(Default)]
struct Notes {
    /// In the order of the file: the one that the process died of comes first.
    threads: Vec<Tid>,
    registers: BTreeMap<Tid, Registers>,
    files: Vec<MappedFile>,
    entry: Option<Address>,
}

impl Notes {
    fn take(&mut self, owner: &[u8], kind: u32, description: &[u8]) {
        if owner != b"CORE" {
            return;
        }
        match kind {
            notes::PRSTATUS => {
                let Some((tid, general)) = notes::thread_of(description) else { return };
                if self.registers.insert(tid, registers_of(&general)).is_none() {
                    self.threads.push(tid);
                }
            }
            notes::FPREGSET => {
                let last = self.threads.last().and_then(|tid| self.registers.get_mut(tid));
                if let (Some(registers), Some(vector)) = (last, notes::vector_of(description)) {
                    registers.set_vector(vector);
                }
            }
            notes::AUXV => self.entry = notes::entry_of(description),
            notes::FILE => self.files.extend(notes::files_of(description).unwrap_or_default()),
            _ => {}
        }
    }
}

fn registers_of(general: &[u64; GENERAL_WORDS]) -> Registers {
    // SAFETY: user_regs_struct is plain data of exactly these words, for each of which every number is a value.
    let kernel: libc::user_regs_struct = unsafe { std::mem::transmute(*general) };
    Registers::from_kernel(&kernel)
}
