//! Small types of the standard library that have a notation of their own: ranges, addresses, times, weak pointers.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Value;
use super::render::summary;
use super::view::View;
use crate::dwarf::modules::Module;
use crate::dwarf::types::TypeKind;
use crate::target::Memory;

const SECONDS_OF_DAY: i64 = 86_400;
/// In the linker's name of the variable of standard output, which is a `OnceLock`, in both manglings.
const STDOUT: &str = "5stdio6STDOUT";

/// How a value of such a type is shown; `None` for other types, and for what does not look as expected.
#[must_use]
pub fn notation(value: &Value, memory: &dyn Memory) -> Option<View> {
    let name = value.of.name.as_str();
    if let Some(rest) = name.strip_prefix("core::ops::range::") {
        return range(rest, value, memory).map(View::Scalar);
    }
    match name {
        "core::net::ip_addr::Ipv4Addr" => {
            let bytes = <[u8; 4]>::try_from(value.bytes(memory).ok()?).ok()?;
            Some(View::Scalar(Ipv4Addr::from(bytes).to_string()))
        }
        "core::net::ip_addr::Ipv6Addr" => {
            let bytes = <[u8; 16]>::try_from(value.bytes(memory).ok()?).ok()?;
            Some(View::Scalar(Ipv6Addr::from(bytes).to_string()))
        }
        "std::time::SystemTime" => {
            let (seconds, nanoseconds) = clock(value, memory)?;
            Some(View::Scalar(date(seconds, nanoseconds)))
        }
        "std::time::Instant" => {
            let (seconds, nanoseconds) = clock(value, memory)?;
            Some(View::Scalar(format!("{seconds}.{nanoseconds:09}s of the monotonic clock")))
        }
        "core::sync::atomic::AtomicBool" | "core::sync::atomic::Atomic<bool>" => {
            let state = value.unsigned(memory)?;
            Some(View::Scalar(match state {
                0 => "false".to_owned(),
                1 => "true".to_owned(),
                other => format!("{other} (not a bool)"),
            }))
        }
        _ if name.starts_with("std::sync::once_lock::OnceLock<") => once_lock(value, memory),
        _ if name.starts_with("std::sync::lazy_lock::LazyLock<") => lazy_lock(value, memory),
        _ if name.starts_with("core::cell::lazy::LazyCell<") => lazy_cell(value, memory),
        _ if name.starts_with("std::sys::thread_local::native::") => of_thread(value, memory),
        _ if name.starts_with("alloc::rc::Weak<") || name.starts_with("alloc::sync::Weak<") => {
            weak(value, memory)
        }
        _ => None,
    }
}

fn range(kind: &str, value: &Value, memory: &dyn Memory) -> Option<String> {
    let end = |name: &str| value.field(name).map(|end| summary(&end, memory));
    let kind = kind.split('<').next()?;
    Some(match kind {
        "Range" => format!("{}..{}", end("start")?, end("end")?),
        "RangeInclusive" => format!("{}..={}", end("start")?, end("end")?),
        "RangeFrom" => format!("{}..", end("start")?),
        "RangeTo" => format!("..{}", end("end")?),
        "RangeToInclusive" => format!("..={}", end("end")?),
        "RangeFull" => "..".to_owned(),
        _ => return None,
    })
}

/// Seconds and nanoseconds of a point in time.
fn clock(value: &Value, memory: &dyn Memory) -> Option<(i64, u32)> {
    let spec = value.find(4, &|part| part.of.member("tv_nsec").is_some())?;
    let seconds = spec.field("tv_sec")?.word(memory)? as i64;
    // The nanoseconds are wrapped in a type that knows their limit.
    let nanoseconds = u32::try_from(spec.field("tv_nsec")?.unsigned(memory)?).ok()?;
    (nanoseconds < 1_000_000_000).then_some((seconds, nanoseconds))
}

/// A point in time as a date of the Gregorian calendar, in UTC.
pub(super) fn date(seconds: i64, nanoseconds: u32) -> String {
    let (days, of_day) = (seconds.div_euclid(SECONDS_OF_DAY), seconds.rem_euclid(SECONDS_OF_DAY));
    // Years begin in March here, so that the day that some of them lack is the last one. 400 years have 146,097 days.
    let shifted = i128::from(days) + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{nanoseconds:09} UTC")
}

/// What a weak pointer leads to, as long as somebody holds it.
fn weak(value: &Value, memory: &dyn Memory) -> Option<View> {
    let pointer = value.field("ptr")?.first_pointer()?;
    // A weak pointer that was made without anything to point at.
    if pointer.word(memory)? == u64::MAX {
        return Some(View::Scalar("(Weak) of nothing".to_owned()));
    }
    let shared = pointer.pointee(memory)?;
    let strong = shared.field("strong")?.word(memory)?;
    if strong == 0 {
        return Some(View::Scalar("(Weak) of what is gone".to_owned()));
    }
    let inner = shared.field("value").or_else(|| shared.field("data"))?;
    Some(View::Wrapped { inner, sign: "(Weak) " })
}

/// What a `OnceLock` holds, if it was set. What stands for "set" is a constant of the library's code and has changed over
/// time. A variable of the library that is of this type tells: in the program's file it is as nobody has touched it.
fn once_lock(value: &Value, memory: &dyn Memory) -> Option<View> {
    if let Some(state) = once_not_done(value, memory)? {
        return Some(View::Scalar(format!("({state} set)")));
    }
    let inner = value
        .field("value")?
        .find(3, &|part| matches!(part.of.kind, TypeKind::Union(_)))?
        .field_of_union()?;
    Some(View::Wrapped { inner, sign: "" })
}

/// What a `LazyLock` has computed: its place has the function before, and the value afterwards.
fn lazy_lock(value: &Value, memory: &dyn Memory) -> Option<View> {
    if let Some(state) = once_not_done(value, memory)? {
        return Some(View::Scalar(format!("({state} computed)")));
    }
    let data = value.field("data")?.find(3, &|part| matches!(part.of.kind, TypeKind::Union(_)))?;
    Some(View::Wrapped { inner: data.field("value")?, sign: "" })
}

fn lazy_cell(value: &Value, memory: &dyn Memory) -> Option<View> {
    let is_state = |part: &Value| matches!(part.of.kind, TypeKind::Struct { variants: Some(_), .. });
    let (name, fields) = value.field("state")?.find(3, &is_state)?.variant(memory)?;
    Some(match name.as_str() {
        "Init" => View::Wrapped { inner: fields.field("__0")?, sign: "" },
        "Uninit" => View::Scalar("(not computed)".to_owned()),
        _ => View::Scalar("(its function has panicked)".to_owned()),
    })
}

/// What a thread-local variable has in this thread.
fn of_thread(value: &Value, memory: &dyn Memory) -> Option<View> {
    if let Some(inner) = value.field("val") {
        return Some(View::Wrapped { inner, sign: "" });
    }
    if !is_begun(value, memory)? {
        return Some(View::Scalar("(not set in this thread)".to_owned()));
    }
    let inner = value
        .field("value")?
        .find(3, &|part| matches!(part.of.kind, TypeKind::Union(_)))?
        .field_of_union()?;
    Some(View::Wrapped { inner, sign: "" })
}

/// Has this thread used the storage of a thread-local variable? What is stored without a state is always in use.
#[must_use]
pub fn is_begun(value: &Value, memory: &dyn Memory) -> Option<bool> {
    let Some(state) = value.field("state") else { return Some(true) };
    let is_state = |part: &Value| {
        matches!(part.of.kind, TypeKind::Enumeration { .. } | TypeKind::Struct { variants: Some(_), .. })
    };
    let state = state.find(4, &is_state)?;
    let name = match &state.of.kind {
        TypeKind::Enumeration { enumerators } => {
            let now = state.unsigned(memory)?;
            enumerators.iter().find(|(_, own)| *own == now)?.0.clone()
        }
        _ => state.variant(memory)?.0,
    };
    Some(!matches!(name.as_str(), "Initial" | "Uninitialized"))
}

/// How far a `Once` is that is not done: "not" or "being".
fn once_not_done(value: &Value, memory: &dyn Memory) -> Option<Option<&'static str>> {
    let state = once_state(value)?.unsigned(memory)? as u64;
    let fresh = (*value.module.fresh_once.get_or_init(|| fresh_once(&value.module)))?;
    // Bits above these say that threads wait.
    let is_done = if fresh == 0 { state >= 3 } else { state & 3 == 0 };
    Some((!is_done).then_some(if state & 3 == fresh { "not" } else { "being" }))
}

fn once_state(value: &Value) -> Option<Value> {
    value.field("once")?.find(8, &|part| matches!(part.of.kind, TypeKind::Scalar(_)) && part.of.bytes == 4)
}

/// The state of a `Once` that nobody has begun, as the variable of standard output has it in the program's file. Nothing else
/// of that variable has a value there.
fn fresh_once(module: &Module) -> Option<u64> {
    let symbol = module.image.symbols().iter().find(|symbol| symbol.name.contains(STDOUT))?;
    // What is zero at first is in no file.
    let Some(bytes) = module.image.code(symbol.address, symbol.bytes as usize) else { return Some(0) };
    let words: Vec<u32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .filter(|word| *word != 0)
        .collect();
    match words.as_slice() {
        [] => Some(0),
        [3] => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        assert_eq!(date(0, 5), "1970-01-01 00:00:00.000000005 UTC");
        assert_eq!(date(951_782_400, 0), "2000-02-29 00:00:00.000000000 UTC");
        assert_eq!(date(-1, 0), "1969-12-31 23:59:59.000000000 UTC");
        assert_eq!(date(4_107_542_399, 0), "2100-02-28 23:59:59.000000000 UTC");
        assert!(date(i64::MAX, 0).ends_with("UTC"));
    }
}
