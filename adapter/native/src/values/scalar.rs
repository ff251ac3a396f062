//! Numbers, truth values and characters: as text, and back.

use crate::dwarf::types::{ScalarKind, Type, TypeKind, mask};
use crate::expression::{Expression, parse};

/// A scalar as a Rust programmer writes it.
#[must_use]
pub fn format_scalar(kind: ScalarKind, bytes: &[u8]) -> String {
    let unsigned = unsigned_of(bytes);
    match kind {
        ScalarKind::Empty => "()".to_owned(),
        ScalarKind::Bool => match unsigned {
            0 => "false".to_owned(),
            1 => "true".to_owned(),
            other => format!("{other} (not a bool)"),
        },
        ScalarKind::Char => match u32::try_from(unsigned).ok().and_then(char::from_u32) {
            Some(character) => format!("{character:?}"),
            None => format!("{unsigned:#x} (not a char)"),
        },
        ScalarKind::Signed => signed_of(bytes).to_string(),
        ScalarKind::Unsigned => unsigned.to_string(),
        ScalarKind::Float => match (<[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
            (Ok(bytes), _) => format!("{:?}", f32::from_le_bytes(bytes)),
            (_, Ok(bytes)) => format!("{:?}", f64::from_le_bytes(bytes)),
            _ => format!("{unsigned:#x} (a float of {} bytes)", bytes.len()),
        },
    }
}

/// A number of the processor's own eighty bits (Intel's manual, volume 1, section 4.2.2), which C calls `long double`: as the nearest
/// number of 64 bits.
#[must_use]
pub fn format_extended(bytes: &[u8]) -> Option<String> {
    const BIAS: i32 = 16_383;
    const FRACTION_BITS: i32 = 63;
    let mantissa = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let top = u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?);
    let (is_negative, exponent) = (top >> 15 == 1, i32::from(top & 0x7fff));
    let size = match (exponent, mantissa << 1) {
        (0x7fff, 0) => f64::INFINITY,
        (0x7fff, _) => f64::NAN,
        // In two steps: the smallest numbers would be nothing in between.
        _ => {
            let power = (exponent - BIAS - FRACTION_BITS).clamp(-4000, 4000);
            mantissa as f64 * 2f64.powi(power / 2) * 2f64.powi(power - power / 2)
        }
    };
    Some(format!("{:?}", if is_negative { -size } else { size }))
}

/// Little-endian bytes as an unsigned number; more than sixteen are cut.
#[must_use]
pub fn unsigned_of(bytes: &[u8]) -> u128 {
    let mut wide = [0; 16];
    let len = bytes.len().min(16);
    wide[..len].copy_from_slice(&bytes[..len]);
    u128::from_le_bytes(wide)
}

/// Little-endian bytes as a signed number.
#[must_use]
pub fn signed_of(bytes: &[u8]) -> i128 {
    let unsigned = unsigned_of(bytes);
    let bits = bytes.len().min(16) as u32 * 8;
    if bits == 0 || bits == 128 {
        return unsigned as i128;
    }
    let shift = 128 - bits;
    ((unsigned << shift) as i128) >> shift
}

/// The bytes of a typed-in value of a type, or the sentence that says why not.
pub fn parse_scalar(of: &Type, text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim();
    let refuse = || format!("{text:?} is not a value of the type {}", of.name);
    match &of.kind {
        TypeKind::Scalar(ScalarKind::Bool) => match text {
            "true" => Ok(vec![1]),
            "false" => Ok(vec![0]),
            _ => Err(format!("{}; it is true or false", refuse())),
        },
        TypeKind::Scalar(ScalarKind::Char) => {
            // As in an expression: with the escapes of the language.
            match parse(text) {
                Ok(Expression::Char(character)) => Ok(u32::from(character).to_le_bytes().to_vec()),
                _ => Err(format!("{}; a char is written as 'x'", refuse())),
            }
        }
        TypeKind::Scalar(ScalarKind::Float) => match of.bytes {
            4 => text.parse::<f32>().map(|value| value.to_le_bytes().to_vec()).map_err(|_| refuse()),
            8 => text.parse::<f64>().map(|value| value.to_le_bytes().to_vec()).map_err(|_| refuse()),
            _ => Err(refuse()),
        },
        TypeKind::Scalar(kind @ (ScalarKind::Signed | ScalarKind::Unsigned)) => {
            let value = parse_integer(text).ok_or_else(refuse)?;
            let bits = of.bytes * 8;
            let fits = if *kind == ScalarKind::Signed {
                bits >= 128 || (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(&value)
            } else {
                value >= 0 && (bits >= 127 || value < 1i128 << bits)
            };
            if !fits {
                return Err(format!("{text} does not fit into the type {}", of.name));
            }
            Ok(mask(value as u128, of.bytes).to_le_bytes()[..of.bytes as usize].to_vec())
        }
        TypeKind::Enumeration { enumerators } => {
            let wanted = text.rsplit("::").next().unwrap_or(text);
            let found = enumerators.iter().find(|(name, _)| name == wanted);
            let (_, value) = found.ok_or_else(|| {
                let names: Vec<_> = enumerators.iter().map(|(name, _)| name.as_str()).collect();
                format!("{}, which has {}", refuse(), names.join(", "))
            })?;
            Ok(value.to_le_bytes()[..of.bytes as usize].to_vec())
        }
        _ => Err(format!("only numbers, bool, char and plain enums can be set; this is a {}", of.name)),
    }
}

/// A decimal, hexadecimal, octal or binary number with `_` and an optional type suffix.
#[must_use]
pub fn parse_integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits.as_str()),
    };
    let digits = ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"]
        .iter()
        .find_map(|suffix| digits.strip_suffix(suffix))
        .unwrap_or(digits);
    // The largest u128 wraps here and is masked back by the type's width.
    let value = u128::from_str_radix(digits, radix).ok()? as i128;
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_written_as_in_rust() {
        assert_eq!(format_scalar(ScalarKind::Signed, &(-5i32).to_le_bytes()), "-5");
        assert_eq!(format_scalar(ScalarKind::Unsigned, &u128::MAX.to_le_bytes()), u128::MAX.to_string());
        assert_eq!(format_scalar(ScalarKind::Signed, &i128::MIN.to_le_bytes()), i128::MIN.to_string());
        assert_eq!(format_scalar(ScalarKind::Float, &1.5f64.to_le_bytes()), "1.5");
        assert_eq!(format_scalar(ScalarKind::Char, &u32::from('ß').to_le_bytes()), "'ß'");
        assert_eq!(format_scalar(ScalarKind::Bool, &[2]), "2 (not a bool)");
        assert_eq!(format_scalar(ScalarKind::Empty, &[]), "()");
    }

    #[test]
    fn numbers_of_eighty_bits_are_the_nearest_of_sixty_four() {
        let shown = |top: u16, mantissa: u64| {
            let bytes: Vec<u8> = mantissa.to_le_bytes().into_iter().chain(top.to_le_bytes()).collect();
            format_extended(&bytes).unwrap()
        };
        assert_eq!(shown(0x4000, 0xa000_0000_0000_0000), "2.5");
        assert_eq!(shown(0xbfff, 0x8000_0000_0000_0000), "-1.0");
        assert_eq!(shown(0, 0), "0.0");
        assert_eq!(shown(0x7fff, 0x8000_0000_0000_0000), "inf");
        assert_eq!(shown(0x7fff, 0xc000_0000_0000_0000), "NaN");
        assert_eq!(shown(0x7ffe, u64::MAX), "inf");
        assert_eq!(format_extended(&[0; 4]), None);
    }

    #[test]
    fn integers_are_read_in_each_radix() {
        assert_eq!(parse_integer("1_000u32"), Some(1000));
        assert_eq!(parse_integer("0xff"), Some(255));
        assert_eq!(parse_integer("-0b101"), Some(-5));
        assert_eq!(parse_integer("12a"), None);
        assert_eq!(parse_integer(""), None);
    }
}
