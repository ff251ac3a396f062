//! Pages of memory that are read once: for one look at a thread that is held, of which the small parts lie close together. What other
//! threads write meanwhile is not seen.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;

use crate::address::Address;
use crate::limits::KEPT_PAGES_MAX;

/// A page of memory on x86-64.
const PAGE_BYTES: usize = 4096;
/// Reads of more bytes than this go around the pages that are kept.
const KEPT_BYTES_MAX: usize = 16 * PAGE_BYTES;

/// What has been read since pages are kept, if they are.
#[derive(Default)]
pub struct KeptPages(RefCell<Option<Pages>>);

#[derive(Default)]
struct Pages(HashMap<u64, Box<[u8; PAGE_BYTES]>>);

impl KeptPages {
    /// From here on pages are kept.
    pub fn keep(&self) {
        self.0.borrow_mut().get_or_insert_default();
    }

    /// From here on they are not.
    pub fn forget(&self) {
        *self.0.borrow_mut() = None;
    }

    /// Something was written: what was read is no longer true.
    pub fn clear(&self) {
        if let Some(pages) = self.0.borrow_mut().as_mut() {
            pages.0.clear();
        }
    }

    /// Reads, by whole pages while they are kept: these are what is mapped or not.
    pub fn read(
        &self,
        address: Address,
        buffer: &mut [u8],
        read: impl Fn(Address, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.0.borrow_mut().as_mut().filter(|_| buffer.len() <= KEPT_BYTES_MAX) {
            Some(pages) => pages.read(address, buffer, read),
            None => read(address, buffer),
        }
    }
}

impl Pages {
    fn read(
        &mut self,
        address: Address,
        buffer: &mut [u8],
        read: impl Fn(Address, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut at, mut rest) = (address.0, buffer);
        while !rest.is_empty() {
            let (page, offset) = (at / PAGE_BYTES as u64, at as usize % PAGE_BYTES);
            let (part, further) = rest.split_at_mut(rest.len().min(PAGE_BYTES - offset));
            part.copy_from_slice(&self.page(page, &read)?[offset..][..part.len()]);
            at += part.len() as u64;
            rest = further;
        }
        Ok(())
    }

    fn page(
        &mut self,
        page: u64,
        read: impl Fn(Address, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<&[u8; PAGE_BYTES]> {
        if self.0.len() >= KEPT_PAGES_MAX {
            self.0.retain(|kept, _| *kept == page);
        }
        Ok(match self.0.entry(page) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(place) => {
                let mut bytes = Box::new([0; PAGE_BYTES]);
                read(Address(page * PAGE_BYTES as u64), &mut bytes[..])?;
                place.insert(bytes)
            }
        })
    }
}
