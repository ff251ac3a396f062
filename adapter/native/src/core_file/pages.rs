//! Which pages of a process are worth keeping in a core file.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::limits::{
    CORE_DATA_BYTES_MAX, CORE_PAGES_MAX, CORE_POINTER_LEVELS, CORE_STACK_BYTES_MAX, CORE_WHOLE_PAGES_MAX,
};
use crate::mappings::Mapping;
use crate::target::Memory;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// What leaf functions use below the stack pointer, and more.
const BELOW_STACK_BYTES: u64 = 256;

/// Pages, by their first address.
pub type Pages = BTreeSet<u64>;

/// A part of the process that is to be kept.
struct Choice<'a> {
    mappings: &'a [Mapping],
    memory: &'a dyn Memory,
    pages: Pages,
    is_cut: bool,
}

/// The pages that a person looks at: the stacks from `stack_pointers` on, the head of each mapped file, the program's data, and
/// what pointers in those lead to. Also says whether some were left out because there are too many.
#[must_use]
pub fn partial(mappings: &[Mapping], memory: &dyn Memory, stack_pointers: &[Address]) -> (Pages, bool) {
    let mut choice = Choice { mappings, memory, pages: Pages::new(), is_cut: false };
    let mut looked_at = Vec::new();
    for sp in stack_pointers {
        if let Some(stack) = choice.mapping_at(*sp) {
            let start = sp.0.saturating_sub(BELOW_STACK_BYTES).max(stack.start.0);
            let end = sp.0.saturating_add(CORE_STACK_BYTES_MAX).min(stack.end.0);
            looked_at.extend(choice.keep(start, end));
        }
    }
    let mut previous_file = None;
    for mapping in mappings {
        // Data without initial values follows its file without a name.
        let of_file = mapping.file().or(previous_file.filter(|_| mapping.name.is_empty()));
        previous_file = mapping.file();
        if mapping.file().is_some() && mapping.offset == 0 || mapping.name == "[vdso]" {
            let end = if mapping.file().is_some() { mapping.start.0 + PAGE } else { mapping.end.0 };
            choice.keep(mapping.start.0, end);
        }
        if mapping.is_writable && of_file.is_some() {
            let end = mapping.end.0.min(mapping.start.0 + CORE_DATA_BYTES_MAX);
            choice.is_cut |= end < mapping.end.0;
            looked_at.extend(choice.keep(mapping.start.0, end));
        }
    }
    for _ in 0..CORE_POINTER_LEVELS {
        looked_at = looked_at.iter().flat_map(|page| choice.keep_pointed_to(*page)).collect();
    }
    (choice.pages, choice.is_cut)
}

/// All that may have been changed since the process began. Also says whether some were left out because there are too many.
#[must_use]
pub fn whole(mappings: &[Mapping]) -> (Pages, bool) {
    let mut pages = Pages::new();
    for mapping in mappings.iter().filter(|mapping| mapping.is_readable) {
        let is_in_file = mapping.file().is_some() && !mapping.is_writable;
        let end = if is_in_file { mapping.start.0 + PAGE } else { mapping.end.0 };
        for page in (mapping.start.0..end).step_by(PAGE as usize) {
            if pages.len() >= CORE_WHOLE_PAGES_MAX {
                return (pages, true);
            }
            pages.insert(page);
        }
    }
    (pages, false)
}

impl Choice<'_> {
    fn mapping_at(&self, address: Address) -> Option<&Mapping> {
        let after = self.mappings.partition_point(|mapping| mapping.start <= address);
        self.mappings[..after].last().filter(|mapping| mapping.contains(address))
    }

    /// Keeps the pages of a range. Gives those that are new.
    fn keep(&mut self, start: u64, end: u64) -> Vec<u64> {
        let mut new = Vec::new();
        for page in (start & !(PAGE - 1)..end).step_by(PAGE as usize) {
            if self.pages.len() >= CORE_PAGES_MAX {
                self.is_cut = true;
                return new;
            }
            if self.pages.insert(page) {
                new.push(page);
            }
        }
        new
    }

    fn keep_pointed_to(&mut self, page: u64) -> Vec<u64> {
        let Ok(bytes) = self.memory.read_vec(Address(page), PAGE as usize) else { return Vec::new() };
        let mut new = Vec::new();
        for word in bytes.as_chunks::<8>().0 {
            let address = Address(u64::from_le_bytes(*word));
            // What cannot be written is in its file.
            let there = |mapping: &&Mapping| mapping.is_writable && mapping.is_readable;
            if let Some(end) = self.mapping_at(address).filter(there).map(|mapping| mapping.end.0) {
                // A page from there on, which is as much of a text as is shown.
                new.extend(self.keep(address.0, end.min(address.0 + PAGE)));
            }
        }
        new
    }
}
