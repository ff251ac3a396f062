//! Line tables: from addresses to lines and back.

use std::collections::HashMap;
use std::ops::Range;

use gimli::{ColumnType, LineRow};

use super::{Slice, Unit, text};

/// One row: from its address to the next row's, code belongs to this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where the row begins, as in the file.
    pub address: u64,
    /// Index into the unit's files.
    pub file: u32,
    /// 0: code that belongs to no line.
    pub line: u32,
    /// 0: the whole line.
    pub column: u32,
    /// A good place for a breakpoint.
    pub is_statement: bool,
    /// The function's arguments can be read from here on.
    pub is_prologue_end: bool,
    /// One past the last instruction of a sequence; no code.
    pub is_end: bool,
}

/// The rows of one unit, sorted by address.
#[derive(Debug, Default)]
pub struct LineTable {
    rows: Vec<Row>,
}

impl LineTable {
    /// Runs the unit's line program; a damaged one gives the rows before the damage.
    #[must_use]
    pub fn read(unit: &Unit) -> Self {
        let mut sequences: Vec<Vec<Row>> = Vec::new();
        each_sequence(unit, |rows| sequences.push(rows.to_vec()));
        sequences.sort_by_key(|sequence| sequence[0].address);
        Self::from_rows(sequences.concat())
    }

    /// A table of rows that are sorted already.
    #[must_use]
    pub fn from_rows(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The row that covers an address.
    #[must_use]
    pub fn row_at(&self, address: u64) -> Option<&Row> {
        self.index_at(address).map(|index| &self.rows[index])
    }

    fn index_at(&self, address: u64) -> Option<usize> {
        let after = self.rows.partition_point(|row| row.address <= address);
        let index = after.checked_sub(1)?;
        (!self.rows[index].is_end).then_some(index)
    }

    /// The addresses around `address` that belong to the same line of the same file, without a gap. Rows of no line (0)
    /// between them count as theirs: the compiler could not say better.
    #[must_use]
    pub fn line_range(&self, address: u64) -> Option<Range<u64>> {
        let index = self.index_at(address)?;
        let row = self.rows[index];
        let same = |other: &Row| {
            !other.is_end && (other.line == 0 || (other.line, other.file) == (row.line, row.file))
        };
        let mut first = index;
        while first > 0 && same(&self.rows[first - 1]) {
            first -= 1;
        }
        let mut last = index;
        while last + 1 < self.rows.len() && same(&self.rows[last + 1]) {
            last += 1;
        }
        let end = self.rows.get(last + 1).map_or(row.address.saturating_add(1), |row| row.address);
        Some(self.rows[first].address..end)
    }

    /// The rows of a stretch of code that have code themselves, each with its end.
    pub fn rows_in(&self, stretch: &Range<u64>) -> impl Iterator<Item = (Row, u64)> {
        let from = self.rows.partition_point(|row| row.address < stretch.start);
        let end = stretch.end;
        let pairs = self.rows[from..].windows(2).take_while(move |pair| pair[0].address < end);
        let with_code = pairs.filter(|pair| !pair[0].is_end && pair[0].address < pair[1].address);
        with_code.map(move |pair| (pair[0], pair[1].address.min(end)))
    }

    /// Does a statement of a line begin exactly here?
    #[must_use]
    pub fn is_statement_start(&self, address: u64) -> bool {
        let after = self.rows.partition_point(|row| row.address <= address);
        self.rows[..after]
            .iter()
            .rev()
            .take_while(|row| row.address == address)
            .any(|row| row.is_statement && !row.is_end && row.line != 0)
    }

    /// Where a function's arguments can be read, if the compiler said so or the second line's row shows it.
    #[must_use]
    pub fn prologue_end(&self, function: &Range<u64>) -> Option<u64> {
        let from = self.rows.partition_point(|row| row.address < function.start);
        // The function before may end just where this one begins.
        let own = || self.rows[from..].iter().skip_while(|row| row.is_end && row.address == function.start);
        let rows = || own().take_while(|row| row.address < function.end && !row.is_end);
        rows()
            .find(|row| row.is_prologue_end)
            .or_else(|| rows().filter(|row| row.is_statement).nth(1))
            .map(|row| row.address)
    }
}

/// Runs a unit's line program, sequence by sequence, and keeps none of them.
fn each_sequence(unit: &Unit, mut each: impl FnMut(&[Row])) {
    let Some(program) = unit.line_program.clone() else { return };
    let mut sequence = Vec::new();
    let mut rows = program.rows();
    while let Ok(Some((_, row))) = rows.next_row() {
        sequence.push(row_of(row));
        if row.end_sequence() {
            // Code that the linker threw away sits at address 0.
            if sequence[0].address != 0 {
                each(&sequence);
            }
            sequence.clear();
        }
    }
}

/// Is this the beginning of a line's statement, where a breakpoint can be?
#[must_use]
pub fn is_code_of_a_line(row: &Row) -> bool {
    row.is_statement && !row.is_end && row.line != 0
}

/// The rows of one file at which breakpoints can be, without the unit's other rows.
#[must_use]
pub fn rows_of_file(unit: &Unit, file: u32) -> Vec<Row> {
    let mut found = Vec::new();
    let is_wanted = |row: &&Row| row.file == file && is_code_of_a_line(row);
    each_sequence(unit, |rows| found.extend(rows.iter().filter(is_wanted)));
    found
}

/// The first and the last line with code of each file that has any.
#[must_use]
pub fn lines_of_files(unit: &Unit) -> HashMap<u32, (u32, u32)> {
    let mut lines: HashMap<u32, (u32, u32)> = HashMap::new();
    each_sequence(unit, |rows| {
        for row in rows.iter().filter(|row| is_code_of_a_line(row)) {
            let known = lines.entry(row.file).or_insert((row.line, row.line));
            *known = (known.0.min(row.line), known.1.max(row.line));
        }
    });
    lines
}

fn row_of(row: &LineRow) -> Row {
    Row {
        address: row.address(),
        file: row.file_index() as u32,
        line: row.line().map_or(0, |line| line.get() as u32),
        column: match row.column() {
            ColumnType::LeftEdge => 0,
            ColumnType::Column(column) => column.get() as u32,
        },
        is_statement: row.is_stmt(),
        is_prologue_end: row.prologue_end(),
        is_end: row.end_sequence(),
    }
}

/// The paths of a unit's source files, by the line program's own index (which begins at 1 before DWARF 5: then entry 0 is empty).
#[must_use]
pub fn file_paths(dwarf: &gimli::Dwarf<Slice>, unit: &Unit) -> Vec<String> {
    let Some(program) = &unit.line_program else { return Vec::new() };
    let header = program.header();
    let string = |value| dwarf.attr_string(unit, value).map_or("", text);
    let base = unit.comp_dir.map_or("", text);
    let mut paths = Vec::with_capacity(header.file_names().len() + 1);
    if header.version() < 5 {
        paths.push(String::new());
    }
    for file in header.file_names() {
        let directory = file.directory(header).map_or("", string);
        paths.push(join(base, directory, string(file.path_name())));
    }
    paths
}

/// Joins and cleans `base/directory/name`, where each later part may be absolute.
#[must_use]
pub fn join(base: &str, directory: &str, name: &str) -> String {
    let mut joined = String::new();
    for part in [base, directory, name] {
        if part.starts_with('/') {
            joined.clear();
        } else if !joined.is_empty() && !part.is_empty() && !joined.ends_with('/') {
            joined.push('/');
        }
        joined.push_str(part);
    }
    clean(&joined)
}

/// Removes `.` and `..` where that is possible without looking at the disk.
#[must_use]
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if absolute { format!("/{joined}") } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(address: u64, line: u32) -> Row {
        Row { address, file: 1, line, column: 0, is_statement: true, is_prologue_end: false, is_end: false }
    }

    #[test]
    fn paths_are_joined_and_cleaned() {
        assert_eq!(join("/home/me/job", "src", "main.rs"), "/home/me/job/src/main.rs");
        assert_eq!(
            join("/home/me", "/rustc/abc/library", "core/src/lib.rs"),
            "/rustc/abc/library/core/src/lib.rs"
        );
        assert_eq!(join("/home/me/job", ".", "../lib/./a.rs"), "/home/me/lib/a.rs");
        assert_eq!(clean("/../a"), "/a");
        assert_eq!(clean("../a"), "../a");
    }

    #[test]
    fn a_line_range_spans_rows_of_the_line_and_of_no_line() {
        let table = LineTable::from_rows(vec![
            row(0x10, 5),
            row(0x14, 5),
            row(0x18, 0),
            row(0x1c, 5),
            row(0x20, 6),
            Row { is_end: true, ..row(0x24, 6) },
        ]);
        assert_eq!(table.line_range(0x15), Some(0x10..0x20));
        assert_eq!(table.line_range(0x20), Some(0x20..0x24));
        assert_eq!(table.line_range(0x24), None);
        assert!(table.is_statement_start(0x14));
        assert!(!table.is_statement_start(0x18));
        assert!(!table.is_statement_start(0x15));
    }

    #[test]
    fn the_prologue_ends_at_the_mark_or_at_the_second_statement() {
        let marked = LineTable::from_rows(vec![
            row(0x10, 5),
            row(0x14, 5),
            Row { is_prologue_end: true, ..row(0x18, 6) },
        ]);
        assert_eq!(marked.prologue_end(&(0x10..0x20)), Some(0x18));
        let plain = LineTable::from_rows(vec![row(0x10, 5), row(0x14, 6)]);
        assert_eq!(plain.prologue_end(&(0x10..0x20)), Some(0x14));
        assert_eq!(plain.prologue_end(&(0x10..0x14)), None);
        let behind_another = LineTable::from_rows(vec![
            row(0x8, 3),
            Row { is_end: true, ..row(0x10, 3) },
            row(0x10, 5),
            Row { is_prologue_end: true, ..row(0x14, 6) },
        ]);
        assert_eq!(behind_another.prologue_end(&(0x10..0x20)), Some(0x14));
    }
}
