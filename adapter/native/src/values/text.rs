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
const OWNERS: [&str; 4] = [
    "alloc::string::String",
    "std::ffi::os_str::OsString",
    "std::path::PathBuf",
    "alloc::ffi::c_str::CString",
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
    let is_wide_text = match name {
        "&str" | "&mut str" | "*const str" | "*mut str" => true,
        "&std::ffi::os_str::OsStr" | "&std::path::Path" => true,
        _ => name.starts_with("alloc::boxed::Box<str"),
    };
    if is_wide_text {
        return believe(value.field("data_ptr")?.word(memory)?, value.field("length")?.word(memory)?);
    }
    let counted = [("alloc::sync::Arc<str", 16), ("alloc::rc::Rc<str", 16)];
    let (_, header) = counted.iter().find(|(start, _)| name.starts_with(start))?;
    let wide = value.find(4, &|part| part.of.member("data_ptr").is_some())?;
    believe(wide.field("data_ptr")?.word(memory)?.checked_add(*header)?, wide.field("length")?.word(memory)?)
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
