//! Types of libraries that nearly every program has: JSON values, dates, identifiers.

use super::Value;
use super::library::date;
use super::view::View;
use crate::target::Memory;

/// Wrappers of one value, and the field that it is in.
const WRAPPERS: [(&str, &str); 5] = [
    ("serde_json::map::Map<", "map"),
    ("serde_json::number::Number", "n"),
    ("once_cell::sync::Lazy<", "cell"),
    ("once_cell::unsync::Lazy<", "cell"),
    ("once_cell::imp::OnceCell<", "value"),
];
/// Days from the first of January of the year 1 to that of 1970.
const DAYS_TO_1970: i64 = 719_162;
const SECONDS_OF_DAY: i64 = 86_400;

/// What an enum of such a library is shown as.
#[must_use]
pub fn enumeration(value: &Value, memory: &dyn Memory) -> Option<View> {
    match value.of.name.as_str() {
        "serde_json::value::Value" => {
            let (name, fields) = value.variant(memory)?;
            match name.as_str() {
                "Null" => Some(View::Scalar("null".to_owned())),
                _ => Some(View::Wrapped { inner: fields.field("__0")?, sign: "" }),
            }
        }
        "serde_json::number::N" => {
            Some(View::Wrapped { inner: value.variant(memory)?.1.field("__0")?, sign: "" })
        }
        _ => None,
    }
}

/// What a struct of such a library is shown as.
#[must_use]
pub fn structure(value: &Value, memory: &dyn Memory) -> Option<View> {
    let name = value.of.name.as_str();
    let wraps = |(start, _): &&(&str, &str)| name.starts_with(*start);
    if let Some((_, field)) = WRAPPERS.iter().find(wraps) {
        return Some(View::Wrapped { inner: value.field(field)?, sign: "" });
    }
    if let Some(pointer) = super::cpp::pointer(value) {
        return Some(pointer);
    }
    let text = match name {
        "uuid::Uuid" => uuid(value, memory)?,
        "chrono::naive::date::NaiveDate" => {
            let whole = date(days(value, memory)? * SECONDS_OF_DAY, 0);
            whole.split(' ').next()?.to_owned()
        }
        "chrono::naive::time::NaiveTime" => {
            let (seconds, nanoseconds) = time(value, memory)?;
            fraction(date(seconds, nanoseconds % 1_000_000_000).split(' ').nth(1)?, nanoseconds)
        }
        "chrono::naive::datetime::NaiveDateTime" => moment(value, 0, memory)?,
        "chrono::time_delta::TimeDelta" => {
            let seconds = value.field("secs")?.word(memory)? as i64;
            let nanoseconds = value.field("nanos")?.unsigned(memory)?;
            let whole = i128::from(seconds) * 1_000_000_000 + i128::try_from(nanoseconds).ok()?;
            let sign = if whole < 0 { "-" } else { "" };
            let (seconds, rest) =
                (whole.unsigned_abs() / 1_000_000_000, whole.unsigned_abs() % 1_000_000_000);
            let seconds = u64::try_from(seconds).ok()?;
            format!("{sign}{:?}", std::time::Duration::new(seconds, rest as u32))
        }
        _ if name.starts_with("chrono::datetime::DateTime<") => {
            let offset = value.field("offset")?;
            let east = offset.field("local_minus_utc").and_then(|east| east.unsigned(memory));
            // `Utc` has no fields; the local time's offset is a fixed one.
            let east = east.map_or(0, |east| i64::from(east as u32 as i32));
            let local = moment(&value.field("datetime")?, east, memory)?;
            match (east, offset.of.name.as_str()) {
                (0, "chrono::offset::utc::Utc") => format!("{local} UTC"),
                _ => {
                    let minutes = east.abs() / 60;
                    let sign = if east < 0 { '-' } else { '+' };
                    format!("{local} {sign}{:02}:{:02}", minutes / 60, minutes % 60)
                }
            }
        }
        _ => return None,
    };
    Some(View::Scalar(text))
}

fn uuid(value: &Value, memory: &dyn Memory) -> Option<String> {
    let bytes = value.bytes(memory).ok().filter(|bytes| bytes.len() == 16)?;
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        text.push_str(if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" });
        text.push_str(&format!("{byte:02x}"));
    }
    Some(text)
}

/// A date has its year, the day in it from 1 on, and four bits of its calendar. In days since 1970.
fn days(value: &Value, memory: &dyn Memory) -> Option<i64> {
    let packed = value.find(3, &|part| part.of.bytes == 4 && part.only_part().is_none())?;
    let packed = packed.unsigned(memory)? as u32 as i32;
    let (year, day) = (i64::from(packed >> 13) - 1, i64::from(packed >> 4 & 0x1ff));
    (1..=366).contains(&day).then_some(())?;
    Some(
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day
            - 1
            - DAYS_TO_1970,
    )
}

/// Seconds of the day, and nanoseconds: more than a second of them in a leap second.
fn time(value: &Value, memory: &dyn Memory) -> Option<(i64, u32)> {
    let part = |name: &str| u32::try_from(value.field(name)?.unsigned(memory)?).ok();
    let (seconds, nanoseconds) = (part("secs")?, part("frac")?);
    (i64::from(seconds) < SECONDS_OF_DAY && nanoseconds < 2_000_000_000)
        .then_some((i64::from(seconds), nanoseconds))
}

fn moment(value: &Value, east_seconds: i64, memory: &dyn Memory) -> Option<String> {
    let days = days(&value.field("date")?, memory)?;
    let (seconds, nanoseconds) = time(&value.field("time")?, memory)?;
    let whole = date(days * SECONDS_OF_DAY + seconds + east_seconds, nanoseconds % 1_000_000_000);
    Some(fraction(whole.trim_end_matches(" UTC"), nanoseconds))
}

/// A time without the zeroes at the end of its fraction, and with the leap second's own number.
fn fraction(time: &str, nanoseconds: u32) -> String {
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let leap = if nanoseconds >= 1_000_000_000 { " (leap second)" } else { "" };
    match fraction.trim_end_matches('0') {
        "" => format!("{whole}{leap}"),
        fraction => format!("{whole}.{fraction}{leap}"),
    }
}
