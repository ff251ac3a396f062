//! Program files that are damaged: they give less, or an error, and never end or stop the engine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{Build, program_file};
use manta_native::address::FileAddress;
use manta_native::dwarf::image::Image;

/// Damaged files that are tried. Each is another one, and always the same.
const ROUNDS: u64 = 60;
/// Far more than any of them takes.
const SLOWEST: Duration = Duration::from_secs(20);

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// Reads everything that the engine ever reads of a file. Gives how much there was.
fn read_all(image: &Image) -> usize {
    let mut seen = image.symbols().len();
    for unit in image.unit_indices() {
        seen += image.files(unit).len() + image.lines(unit).rows().len();
        let scopes = image.scopes(unit);
        for (_, scope) in scopes.all() {
            for range in &scope.ranges {
                seen += scopes.functions_at(range.start).len();
                seen += usize::from(image.unit_at(FileAddress(range.start)).is_some());
                seen += image.code(FileAddress(range.start), 16).map_or(0, <[u8]>::len);
                seen += image.lines(unit).line_range(range.start).map_or(0, |_| 1);
            }
        }
    }
    seen += image.sources_named("tasks.rs").len() + image.functions_named("work").len();
    seen
}

fn damaged_file(whole: &[u8], round: u64) -> Vec<u8> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (round + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut bytes = whole.to_vec();
    match round % 4 {
        // The file's own headers and tables.
        0 => {
            for _ in 0..4 {
                let at = numbers.next(64);
                bytes[at] = numbers.next(256) as u8;
            }
        }
        // Cut off.
        1 => bytes.truncate(numbers.next(whole.len())),
        // Here and there.
        2 => {
            for _ in 0..2000 {
                let at = 64 + numbers.next(whole.len() - 64);
                bytes[at] ^= 1 << numbers.next(8);
            }
        }
        // A stretch of it is something else.
        _ => {
            let (from, to) = (numbers.next(whole.len()), numbers.next(whole.len()));
            let len = (numbers.next(20_000)).min(whole.len() - from.max(to));
            bytes.copy_within(from..from + len, to);
        }
    }
    bytes
}

fn survives(build: Build) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("damaged");
    let whole = std::fs::read(program_file("tasks", build)).unwrap();
    std::fs::write(&path, &whole).unwrap();
    let undamaged = read_all(&Image::open(&path, "whole").unwrap());
    assert!(undamaged > 1000, "{undamaged}");
    let mut unreadable = 0;
    for round in 0..ROUNDS {
        let path = folder.path().join(format!("damaged-{round}"));
        std::fs::write(&path, damaged_file(&whole, round)).unwrap();
        let begun = Instant::now();
        match Image::open(&path, "damaged") {
            Ok(image) => {
                read_all(&image);
            }
            Err(error) => {
                assert!(error.to_string().starts_with("damaged "), "{error}");
                unreadable += 1;
            }
        }
        assert!(begun.elapsed() < SLOWEST, "round {round} took {:?}", begun.elapsed());
    }
    assert!(unreadable < ROUNDS, "some are damaged in part only");
}

#[test]
fn a_damaged_program_file_is_survived() {
    survives(Build::Plain);
}

#[test]
fn a_damaged_program_file_with_version_5_of_the_debug_information_is_survived() {
    survives(Build::Dwarf5);
}

#[test]
fn a_file_that_is_no_program_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("empty", ""), ("text", "no program at all")] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = Image::open(&path, name).err().unwrap().to_string();
        assert!(
            error.starts_with(name)
                && (error.contains("not an ELF file") || error.contains("cannot be read")),
            "{error}"
        );
    }
}
