//! Strings: `&str`, `String` and their relatives.

use super::Value;
use crate::address::Address;
use crate::limits::LENGTH_BELIEVED_MAX;
use crate::target::Memory;

/// Where a text is.
#[derive(Clone, Copy, Debug)]
pub struct TextPlace {
    /// Its first byte.
    pub address: Address,
    /// So many.
    pub bytes: u64,
}

/// Types that own their text in a `Vec<u8>`.
const OWNERS: [&str; 3] = ["alloc::string::String", "std::ffi::os_str::OsString", "std::path::PathBuf"];
/// Types of a text behind a pointer that knows its length.
const UNSIZED: [&str; 3] = ["str", "std::ffi::os_str::OsStr", "std::path::Path"];
/// The counts of an `Rc` or `Arc` stand before its text.
const COUNTS_BYTES: u64 = 16;
/// Texts that end with a zero, which is not shown.
const ZERO_ENDED: [&str; 4] = [
    "alloc::ffi::c_str::CString",
    "&core::ffi::c_str::CStr",
    "alloc::boxed::Box<core::ffi::c_str::CStr",
    "&mut core::ffi::c_str::CStr",
];

/// Where the value's text is; `None` when it is no string.
#[must_use]
pub fn text_place(value: &Value, memory: &dyn Memory) -> Option<TextPlace> {
    let name = value.of.name.as_str();
    if OWNERS.contains(&name) {
        let bytes = value.find(4, &|part| part.of.name.starts_with("alloc::vec::Vec<u8"))?;
        let len = bytes.field("len")?.word(memory)?;
        let address = bytes.field("buf")?.first_pointer()?.word(memory)?;
        return believe(address, len);
    }
    if let Some(text) = super::cpp::text_place(value, memory) {
        return Some(text);
    }
    if let Some(left) = super::iterators::text_left(value, memory) {
        return Some(left);
    }
    if ZERO_ENDED.iter().any(|start| name.starts_with(start)) {
        let wide = value.find(3, &|part| part.of.member("data_ptr").is_some())?;
        let len = wide.field("length")?.word(memory)?.checked_sub(1)?;
        return believe(wide.field("data_ptr")?.word(memory)?, len);
    }
    // The name of what the pointer is to ends with the name or with its allocator.
    let is_text = |rest: &str| {
        UNSIZED
            .iter()
            .any(|of| rest.strip_prefix(of).is_some_and(|end| end.is_empty() || end.starts_with([',', '>'])))
    };
    let behind = |start: &str| name.strip_prefix(start).is_some_and(is_text);
    if ["&mut ", "&", "*const ", "*mut ", "alloc::boxed::Box<"].into_iter().any(behind) {
        return believe(value.field("data_ptr")?.word(memory)?, value.field("length")?.word(memory)?);
    }
    if ["alloc::sync::Arc<", "alloc::rc::Rc<"].into_iter().any(behind) {
        let wide = value.find(4, &|part| part.of.member("data_ptr").is_some())?;
        let start = wide.field("data_ptr")?.word(memory)?.checked_add(COUNTS_BYTES)?;
        return believe(start, wide.field("length")?.word(memory)?);
    }
    None
}

fn believe(address: u64, bytes: u64) -> Option<TextPlace> {
    (bytes <= LENGTH_BELIEVED_MAX && (address != 0 || bytes == 0))
        .then_some(TextPlace { address: Address(address), bytes })
}

impl TextPlace {
    /// The text, up to `most` bytes; true when there is more.
    pub fn read(self, memory: &dyn Memory, most: u64) -> Result<(String, bool), String> {
        let bytes = memory
            .read_vec(self.address, self.bytes.min(most) as usize)
            .map_err(|error| error.to_string())?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            // Cut in the middle of a character.
            Err(error) if error.error_len().is_none() => {
                String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
            }
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        Ok((text, self.bytes > most))
    }
}
