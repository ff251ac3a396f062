//! ELF core files: a process as it was, to be looked at when it is gone.
//!
//! [`Core`] is such a file as a target. [`write`](fn@write::write) makes one of a stopped process, the whole of it or the part that a
//! person wants to see; gdb opens both. A core file is never changed.
//!
//! Layouts are those of elf(5), of `struct elf_prstatus` and `struct elf_prpsinfo` of the kernel's `linux/elfcore.h`, and of its
//! `fs/binfmt_elf.c` for `NT_FILE`.

pub mod capture;
pub mod notes;
pub mod pages;
pub mod read;
pub mod write;

pub use read::{Core, CoreError};
