//! Debug information: from addresses to functions, lines, variables and types, and back.
//!
//! Everything here works on files and on the [`Memory`](crate::target::Memory) trait; it must never touch a process itself.

pub mod elf;
pub mod entry_values;
pub mod evaluate;
pub mod image;
pub mod index;
pub mod lines;
pub mod modules;
pub mod outline;
pub mod provided;
pub mod scopes;
pub mod separate;
pub mod split;
pub mod symbols;
pub mod types;
pub mod units;
pub mod unwind;
pub mod vtables;

/// How sections are read: little-endian slices of the mapped file.
pub type Slice = gimli::EndianSlice<'static, gimli::LittleEndian>;
/// A unit of a module.
pub type Unit = gimli::Unit<Slice>;
/// A place in a unit.
pub type UnitOffset = gimli::UnitOffset<usize>;
/// One entry of the debug information.
pub type Entry = gimli::DebuggingInformationEntry<Slice>;
/// An attribute's value.
pub type Attribute = gimli::AttributeValue<Slice>;

/// Debug information that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DwarfError {
    /// The file could not be opened or mapped.
    #[error("{path} cannot be read: {cause}")]
    Open {
        /// Which file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// It is no ELF file.
    #[error("{path} is not an ELF file that this engine reads: {cause}")]
    Elf {
        /// Which file.
        path: String,
        /// Why.
        cause: object::Error,
    },
    /// The debug information is damaged.
    #[error("the debug information is damaged: {0}")]
    Dwarf(#[from] gimli::Error),
}

/// Text of a section; debug information is UTF-8, and what is not is shown as far as it goes.
#[must_use]
pub fn text(slice: Slice) -> &'static str {
    match std::str::from_utf8(slice.slice()) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&slice.slice()[..error.valid_up_to()]).unwrap_or(""),
    }
}
