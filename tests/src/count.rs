//! The plain sequential count that the demo's jobs are compared with.
//!
//! Written apart from the fixtures on purpose: the same answer from different code is worth more.

use std::{collections::HashMap, fs, path::PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What an indexing job prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Files read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Line ends in them.
    pub lines: u64,
    /// Runs of bytes that are not ASCII white space.
    pub words: u64,
    /// Different identifiers.
    pub distinct: u64,
    /// The commonest identifiers, by count and then by name.
    pub top: Vec<(String, u64)>,
}

/// Counts all files, one after the other.
///
/// # Errors
/// When a file cannot be read.
pub fn sequentially(files: &[PathBuf], top: usize) -> Result<Totals> {
    let mut totals = Totals { files: 0, bytes: 0, lines: 0, words: 0, distinct: 0, top: Vec::new() };
    let mut identifiers: HashMap<Vec<u8>, u64> = HashMap::new();
    for file in files {
        let source = fs::read(file).with_context(|| format!("{} could not be read", file.display()))?;
        totals.files += 1;
        totals.bytes += source.len() as u64;
        totals.lines += source.split(|byte| *byte == b'\n').count() as u64 - 1;
        totals.words += source.split(is_space).filter(|word| !word.is_empty()).count() as u64;
        for run in source.split(|byte| !is_identifier(*byte)) {
            // Digits do not start an identifier, so those at a run's start belong to a number.
            let start = run.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(run.len());
            let name = &run[start..];
            if name.is_empty() {
                continue;
            }
            match identifiers.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    identifiers.insert(name.to_vec(), 1);
                }
            }
        }
    }
    totals.distinct = identifiers.len() as u64;
    let mut names: Vec<(String, u64)> = identifiers
        .into_iter()
        .map(|(name, count)| (String::from_utf8_lossy(&name).into_owned(), count))
        .collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    names.truncate(top);
    totals.top = names;
    Ok(totals)
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// ASCII white space as Python's `bytes.split` has it: the vertical tab too.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "let x1 = 12ab;\n\x0blet _y = x1\n").unwrap();
        let totals = sequentially(&[path], 2).unwrap();
        assert_eq!((totals.files, totals.lines, totals.words, totals.distinct), (1, 2, 8, 4));
        assert_eq!(totals.top, [("let".to_owned(), 2), ("x1".to_owned(), 2)]);
    }
}
