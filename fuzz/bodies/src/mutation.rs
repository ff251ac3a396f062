//! Damage: how an input becomes another one. Always the same for the same seed.

use object::{Object, ObjectSection};

/// Numbers that look random.
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_add(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            chance.next();
        }
        chance
    }

    /// Any number.
    #[allow(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below another; 0 when that is 0.
    pub fn below(&mut self, most: usize) -> usize {
        ((self.next() >> 11) % most.max(1) as u64) as usize
    }
}

/// A number that stands for some bytes.
#[must_use]
pub fn hash(data: &[u8]) -> u64 {
    data.iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Values at which readers go wrong.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX - 1, u64::MAX];
/// Pieces of text that expressions and messages are made of.
const WORDS: [&[u8]; 24] = [
    b"(",
    b")",
    b"[",
    b"]",
    b"..",
    b".",
    b"*",
    b"&",
    b"-",
    b"as u8",
    b"as f64",
    b"\"",
    b"'",
    b"{",
    b"}",
    b"null",
    b"0x",
    b"1e999",
    b"\\u0000",
    b"Content-Length: ",
    b"\r\n\r\n",
    b"18446744073709551616",
    b"&&",
    b"self.len()",
];
/// An input grows to no more than this.
const BYTES_MAX: usize = 256 << 10;

/// Damages an input, a few times over. `other` is another input, for pieces of it.
#[must_use]
pub fn mutated(input: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let sections = sections(input);
    for _ in 0..1 << chance.below(5) {
        // Most of the time inside one section, each equally often: the small ones are the headers of the large ones.
        let range = match sections.len() {
            0 => 0..bytes.len(),
            _ if chance.below(12) == 0 => 0..bytes.len().min(1024),
            count => sections[chance.below(count)].clone(),
        };
        let range = range.start.min(bytes.len())..range.end.min(bytes.len());
        damage(&mut bytes, range, other, chance);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

/// The sections of a program file, or nothing when it is none.
fn sections(input: &[u8]) -> Vec<std::ops::Range<usize>> {
    let Ok(file) = object::File::parse(input) else { return Vec::new() };
    let range = |(start, bytes): (u64, u64)| {
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(usize::try_from(bytes).ok()?)?;
        (end <= input.len() && start < end).then_some(start..end)
    };
    file.sections().filter_map(|section| section.file_range().and_then(range)).collect()
}

fn damage(bytes: &mut Vec<u8>, range: std::ops::Range<usize>, other: &[u8], chance: &mut Chance) {
    let at = range.start + chance.below(range.len());
    let most = |chance: &mut Chance, end: usize| 1 + chance.below((end - at.min(end)).min(64));
    match chance.below(11) {
        // A bit, a byte.
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = chance.next() as u8;
            }
        }
        // A number of two, four or eight bytes, or a long one of DWARF.
        3 | 4 => {
            let number = NUMBERS[chance.below(NUMBERS.len())].wrapping_add(chance.below(3) as u64);
            let width = [1, 2, 4, 8][chance.below(4)];
            let end = (at + width).min(bytes.len());
            let from = at.min(end);
            bytes[from..end].copy_from_slice(&number.to_le_bytes()[..end - from]);
        }
        5 => {
            let end = (at + 1 + chance.below(10)).min(bytes.len());
            bytes[at.min(end)..end].fill(0xff);
        }
        // A piece of itself somewhere else.
        6 => {
            let count = most(chance, range.end);
            let from = range.start + chance.below(range.len());
            let piece: Vec<u8> = bytes.iter().skip(from).take(count).copied().collect();
            let end = (at + piece.len()).min(bytes.len());
            let from = at.min(end);
            bytes[from..end].copy_from_slice(&piece[..end - from]);
        }
        // A piece that is not there any more, or twice.
        7 if chance.below(3) == 0 => {
            let end = (at + most(chance, range.end)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        8 if chance.below(3) == 0 => {
            let end = (at + most(chance, range.end)).min(bytes.len());
            let piece = bytes[at.min(end)..end].to_vec();
            bytes.splice(at.min(bytes.len())..at.min(bytes.len()), piece);
        }
        // A piece of another input, or a word.
        9 if !other.is_empty() => {
            let from = chance.below(other.len());
            let piece = &other[from..(from + 1 + chance.below(64)).min(other.len())];
            let end = (at + piece.len()).min(bytes.len());
            let from = at.min(end);
            bytes[from..end].copy_from_slice(&piece[..end - from]);
        }
        10 if chance.below(4) == 0 && bytes.len() < 4096 => {
            let word = WORDS[chance.below(WORDS.len())];
            let at = at.min(bytes.len());
            bytes.splice(at..at, word.iter().copied());
        }
        // Cut off.
        _ if chance.below(20) == 0 => bytes.truncate(at),
        _ => {
            let end = range.end.min(bytes.len()).min(at + most(chance, range.end));
            for byte in &mut bytes[at.min(end)..end] {
                *byte = byte.wrapping_add(1);
            }
        }
    }
}
