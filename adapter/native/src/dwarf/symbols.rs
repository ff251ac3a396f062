//! Names that the linker left: of functions and data, with and without debug information.
//!
//! Most of what asks wants one symbol, in a table of a hundred thousand and more. So the tables are searched as they lie in the
//! file; they are gathered and sorted only for those who ask often.

use object::read::elf::{FileHeader, Sym, SymbolTable};
use object::{Endianness, elf};

use super::elf::Elf;
use crate::address::FileAddress;

type Header = elf::FileHeader64<Endianness>;
type Table = SymbolTable<'static, Header>;
type Row = <Header as FileHeader>::Sym;

/// A name of the symbol table.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    /// Where it begins.
    pub address: FileAddress,
    /// 0 when unknown.
    pub bytes: u64,
    /// As the linker has it.
    pub name: &'static str,
}

/// The tables of a file: its own, and the one for the dynamic linker.
fn tables(file: &Elf) -> Vec<(&Table, Endianness)> {
    match &file.file {
        object::File::Elf64(elf) => {
            [elf.elf_symbol_table(), elf.elf_dynamic_symbol_table()].map(|table| (table, elf.endian())).into()
        }
        _ => Vec::new(),
    }
}

/// Functions and data that are in the file.
fn is_known(row: &Row, endian: Endianness) -> bool {
    let kind =
        matches!(row.st_type(), elf::STT_FUNC | elf::STT_OBJECT | elf::STT_GNU_IFUNC | elf::STT_COMMON);
    kind && row.st_shndx(endian) != elf::SHN_UNDEF
}

fn symbol(table: &Table, endian: Endianness, row: &Row) -> Option<Symbol> {
    let name = std::str::from_utf8(table.symbol_name(endian, row).ok()?).ok()?;
    Some(Symbol { address: FileAddress(row.st_value(endian)), bytes: row.st_size(endian), name })
}

/// Has a file a table of its own, not only that for the dynamic linker?
#[must_use]
pub fn has_table(file: &Elf) -> bool {
    tables(file).first().is_some_and(|(table, _)| !table.is_empty())
}

/// All symbols, sorted by address.
#[must_use]
pub fn all(files: &[&Elf]) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    for (table, endian) in files.iter().flat_map(|file| tables(file)) {
        let rows = table.iter().filter(|row| is_known(row, endian));
        symbols.extend(rows.filter_map(|row| symbol(table, endian, row)));
    }
    symbols.sort_by_key(|symbol| symbol.address);
    symbols
}

/// The symbol with exactly this name.
#[must_use]
pub fn named(files: &[&Elf], name: &str) -> Option<Symbol> {
    files.iter().flat_map(|file| tables(file)).find_map(|(table, endian)| {
        let wanted = name.as_bytes();
        let is_it = |row: &&Row| {
            is_known(row, endian) && table.strings().get(row.st_name(endian)).is_ok_and(|own| own == wanted)
        };
        symbol(table, endian, table.iter().find(is_it)?)
    })
}

/// The symbol that begins at an address, or as the last one before.
#[must_use]
pub fn before(files: &[&Elf], address: FileAddress) -> Option<Symbol> {
    let mut best: Option<(u64, &Table, Endianness, &Row)> = None;
    for (table, endian) in files.iter().flat_map(|file| tables(file)) {
        for row in table.iter().filter(|row| is_known(row, endian)) {
            let start = row.st_value(endian);
            if start <= address.0 && best.is_none_or(|(known, ..)| start >= known) {
                best = Some((start, table, endian, row));
            }
        }
    }
    best.and_then(|(_, table, endian, row)| symbol(table, endian, row))
}
