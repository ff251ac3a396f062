//! How a value lies in memory, the same in a message and in the store.
//!
//! All integers are little-endian. A header of 16 bytes (version `u32`, number of buffers `u32`, length of the in-band part
//! `u64`), the length of each buffer (`u64`), the in-band part, then the buffers, each at the next multiple of 64 bytes.

use bytes::Bytes;

/// Buffers start at multiples of this, which suits every vector instruction and cache line.
pub const ALIGNMENT: usize = 64;

const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;

/// Says that stored bytes are no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Written by a release with another layout.
    #[error(
        "the value has layout version {0}, this release reads version {VERSION}; use the same release of Manta everywhere"
    )]
    Version(u32),
    /// Cut off, or not a value at all.
    #[error("the value is damaged: {0}")]
    Damaged(&'static str),
}

/// Bytes that a value needs.
pub fn encoded_len(inband: usize, buffers: impl ExactSizeIterator<Item = usize>) -> usize {
    let mut end = HEADER_BYTES + buffers.len() * 8 + inband;
    for length in buffers {
        end = align(end) + length;
    }
    end
}

/// Writes a value into `target`, which has exactly [`encoded_len`] bytes, and is zero where the caller cares about padding.
///
/// # Panics
/// When `target` is too small.
pub fn encode(target: &mut [u8], inband: &[u8], buffers: &[&[u8]]) {
    let count = u32::try_from(buffers.len()).expect("fewer than 2^32 buffers");
    target[0..4].copy_from_slice(&VERSION.to_le_bytes());
    target[4..8].copy_from_slice(&count.to_le_bytes());
    target[8..16].copy_from_slice(&(inband.len() as u64).to_le_bytes());
    let mut end = HEADER_BYTES;
    for buffer in buffers {
        target[end..end + 8].copy_from_slice(&(buffer.len() as u64).to_le_bytes());
        end += 8;
    }
    target[end..end + inband.len()].copy_from_slice(inband);
    end += inband.len();
    for buffer in buffers {
        let start = align(end);
        end = start + buffer.len();
        target[start..end].copy_from_slice(buffer);
    }
}

/// A value taken apart: the in-band part and the buffers, all slices of the stored bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The serialized value without its buffers.
    pub inband: Bytes,
    /// Its buffers, aligned to [`ALIGNMENT`].
    pub buffers: Vec<Bytes>,
}

/// Takes a value apart without a copy, except that buffers which a message left unaligned move to aligned memory.
///
/// # Errors
/// When the bytes are no value of this layout.
pub fn decode(stored: &Bytes) -> Result<Parts, LayoutError> {
    if stored.len() < HEADER_BYTES {
        return Err(LayoutError::Damaged("it is shorter than its header"));
    }
    let version = read_u32(stored, 0);
    if version != VERSION {
        return Err(LayoutError::Version(version));
    }
    let count = read_u32(stored, 4) as usize;
    let inband_len = to_len(read_u64(stored, 8))?;
    let table_end = HEADER_BYTES.saturating_add(count.saturating_mul(8));
    let mut end = table_end.saturating_add(inband_len);
    if end > stored.len() {
        return Err(LayoutError::Damaged("it ends inside its in-band part"));
    }
    let inband = stored.slice(table_end..end);
    if count == 0 {
        return Ok(Parts { inband, buffers: Vec::new() });
    }
    let aligned = aligned(stored);
    let mut buffers = Vec::with_capacity(count);
    for index in 0..count {
        let length = to_len(read_u64(stored, HEADER_BYTES + index * 8))?;
        let start = align(end);
        end = start.saturating_add(length);
        if end > stored.len() {
            return Err(LayoutError::Damaged("it ends inside a buffer"));
        }
        buffers.push(aligned.slice(start..end));
    }
    Ok(Parts { inband, buffers })
}

fn align(offset: usize) -> usize {
    offset.next_multiple_of(ALIGNMENT)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(read_u32(bytes, at)) | u64::from(read_u32(bytes, at + 4)) << 32
}

fn to_len(length: u64) -> Result<usize, LayoutError> {
    usize::try_from(length).map_err(|_| LayoutError::Damaged("a length is larger than memory"))
}

/// The same bytes at an address that is a multiple of [`ALIGNMENT`].
fn aligned(bytes: &Bytes) -> Bytes {
    if (bytes.as_ptr() as usize).is_multiple_of(ALIGNMENT) {
        return bytes.clone();
    }
    let mut copy = vec![0; bytes.len() + ALIGNMENT];
    let start = (copy.as_ptr() as usize).next_multiple_of(ALIGNMENT) - copy.as_ptr() as usize;
    copy[start..start + bytes.len()].copy_from_slice(bytes);
    // `Bytes` keeps the vector's allocation as it is, so the aligned address stays.
    Bytes::from(copy).slice(start..start + bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(inband: &[u8], buffers: &[&[u8]]) -> Bytes {
        let mut bytes = vec![0; encoded_len(inband.len(), buffers.iter().map(|buffer| buffer.len()))];
        encode(&mut bytes, inband, buffers);
        Bytes::from(bytes)
    }

    #[test]
    fn values_come_back_with_aligned_buffers() {
        for buffers in [&[][..], &[&b"one"[..]], &[&b""[..], &[7; 1000], b"three"]] {
            let parts = decode(&encoded(b"inband", buffers)).unwrap();
            assert_eq!(&parts.inband[..], b"inband");
            assert_eq!(parts.buffers.iter().map(|buffer| &buffer[..]).collect::<Vec<_>>(), buffers);
            for buffer in parts.buffers.iter().filter(|buffer| !buffer.is_empty()) {
                assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
            }
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = encoded(b"inband", &[b"one", b"two"]);
        for length in 0..whole.len() {
            assert!(decode(&whole.slice(..length)).is_err(), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let mut bytes = encoded(b"", &[b"x"]).to_vec();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&Bytes::from(bytes.clone())).is_err());
        bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(decode(&Bytes::from(bytes.clone())).is_err());
        bytes[0] = 9;
        assert_eq!(decode(&Bytes::from(bytes)), Err(LayoutError::Version(9)));
    }
}
