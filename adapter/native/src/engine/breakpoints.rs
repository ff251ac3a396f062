//! What the user set: lines and functions, with conditions, counts and messages.

use super::resolve::Resolution;
use super::stops::{Frame, begun};
use crate::address::Address;
use crate::expression::{Expression, parse};

/// What a breakpoint is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// A line of a file that may be known by several paths, the best one first.
    Line {
        /// The paths.
        paths: Vec<String>,
        /// The line.
        line: u32,
        /// The hash of the file that the client shows, in hexadecimal, if it is known.
        sha256: Option<String>,
    },
    /// A function.
    Function(String),
    /// An instruction.
    Instruction(Address),
    /// A place in memory.
    Data {
        /// Where.
        address: Address,
        /// How much.
        bytes: u64,
        /// Which accesses.
        access: Access,
    },
    /// A place in the memory of another process, in the words in which that one named it.
    ElsewhereData(String),
}

/// An access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A write that changes what is there.
    Write,
    /// Any.
    ReadWrite,
}

/// A breakpoint as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specification {
    /// The client's id.
    pub id: i32,
    /// What it is on.
    pub on: On,
    /// Stop only if this is true.
    pub condition: Option<String>,
    /// Stop only at some of the hits.
    pub hit_condition: Option<String>,
    /// Do not stop: print this.
    pub log_message: Option<String>,
}

/// A breakpoint in force.
#[derive(Debug)]
pub struct Breakpoint {
    /// As it was asked for.
    pub specification: Specification,
    /// The condition, read.
    pub condition: Option<Expression>,
    /// The count, read.
    pub hit_condition: Option<HitCondition>,
    /// The message, read.
    pub log_message: Option<Vec<LogPart>>,
    /// How often it was reached with its condition fulfilled.
    pub hits: u64,
    /// Where it landed.
    pub resolution: Resolution,
}

/// At which hits to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HitCondition {
    /// `5`, `== 5`
    Exactly(u64),
    /// `>= 5`
    AtLeast(u64),
    /// `> 5`
    MoreThan(u64),
    /// `<= 5`
    AtMost(u64),
    /// `< 5`
    LessThan(u64),
    /// `% 5`: every fifth.
    Every(u64),
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum LogPart {
    /// Printed as it is.
    Text(String),
    /// Printed as what it comes to.
    Value(Expression),
}

impl HitCondition {
    /// Reads one, or says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        type Make = fn(u64) -> HitCondition;
        let signs: [(&str, Make); 6] = [
            (">=", Self::AtLeast),
            ("<=", Self::AtMost),
            ("==", Self::Exactly),
            (">", Self::MoreThan),
            ("<", Self::LessThan),
            ("%", Self::Every),
        ];
        let (make, number) = signs
            .iter()
            .find_map(|(sign, make)| text.strip_prefix(sign).map(|rest| (*make, rest)))
            .unwrap_or((Self::Exactly, text));
        match number.trim().parse() {
            Ok(0) if text.starts_with('%') => Err("a hit count cannot be divided by 0".to_owned()),
            Ok(number) => Ok(make(number)),
            Err(_) => Err(format!("{text:?} is not a hit count; write for example 5, >= 5 or % 5")),
        }
    }

    /// Is this hit, counted from 1, one to stop at?
    #[must_use]
    pub fn holds(self, hit: u64) -> bool {
        match self {
            Self::Exactly(number) => hit == number,
            Self::AtLeast(number) => hit >= number,
            Self::MoreThan(number) => hit > number,
            Self::AtMost(number) => hit <= number,
            Self::LessThan(number) => hit < number,
            Self::Every(number) => hit.is_multiple_of(number),
        }
    }
}

/// Reads a message: `{expression}` is a value, `{{` and `}}` are braces.
pub fn parse_log_message(message: &str) -> Result<Vec<LogPart>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = message;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..];
        if brace.starts_with("{{") || brace.starts_with("}}") {
            text.push_str(&brace[..1]);
            rest = &brace[2..];
        } else if let Some(inner) = brace.strip_prefix('{') {
            let end = inner.find('}').ok_or_else(|| format!("a brace is not closed in {message:?}"))?;
            if !text.is_empty() {
                parts.push(LogPart::Text(std::mem::take(&mut text)));
            }
            parts.push(LogPart::Value(parse(&inner[..end])?));
            rest = &inner[end + 1..];
        } else {
            text.push('}');
            rest = &brace[1..];
        }
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(LogPart::Text(text));
    }
    Ok(parts)
}

impl Breakpoint {
    /// How many of the innermost frames, at an address where it is set, are inlined calls that its line or its function is about to make.
    #[must_use]
    pub fn hides(&self, frames: &[Frame]) -> usize {
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        match (&self.specification.on, &self.resolution) {
            (On::Line { paths, .. }, Resolution::Bound { line, .. }) => {
                let name = paths.first().map(|path| last(path));
                let is_its_line =
                    |frame: &Frame| frame.code.line == *line && frame.code.file.as_deref().map(last) == name;
                let inlined = frames.iter().take_while(|frame| frame.code.is_inlined).count();
                frames.iter().take(inlined + 1).position(is_its_line).unwrap_or(0)
            }
            (On::Function(name), _) => {
                let is_it = |frame: &Frame| {
                    frame.code.name == *name || frame.code.name.ends_with(&format!("::{name}"))
                };
                let begun = begun(frames);
                frames.iter().take(begun).position(is_it).unwrap_or(begun)
            }
            _ => 0,
        }
    }

    /// Finds the code of a specification and reads the rest. One that cannot be read is in force nowhere, and says why; but
    /// where there is no code for it, it may be written in another engine's language, and is not this engine's to judge.
    #[must_use]
    pub fn new(specification: Specification, resolve: impl FnOnce(&On) -> Resolution) -> Self {
        let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let mut error = None;
        let mut keep = |result: Result<_, String>, what: &str| match result {
            Ok(()) => {}
            Err(reason) => error = Some(format!("The {what} cannot be used: {reason}.")),
        };
        let mut condition = None;
        if let Some(text) = non_empty(&specification.condition) {
            keep(parse(&text).map(|parsed| condition = Some(parsed)), "condition");
        }
        let mut hit_condition = None;
        if let Some(text) = non_empty(&specification.hit_condition) {
            keep(HitCondition::parse(&text).map(|parsed| hit_condition = Some(parsed)), "hit count");
        }
        let mut log_message = None;
        if let Some(text) = non_empty(&specification.log_message) {
            keep(parse_log_message(&text).map(|parsed| log_message = Some(parsed)), "log message");
        }
        let resolution = match (resolve(&specification.on), error) {
            (Resolution::Bound { .. }, Some(error)) => Resolution::Failed(error),
            (resolution, _) => resolution,
        };
        Self { specification, condition, hit_condition, log_message, hits: 0, resolution }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hit_conditions() {
        let hits = |text: &str| {
            let condition = HitCondition::parse(text).unwrap();
            (1..=6).filter(|hit| condition.holds(*hit)).collect::<Vec<u64>>()
        };
        assert_eq!(hits("3"), [3]);
        assert_eq!(hits(">= 5"), [5, 6]);
        assert_eq!(hits("<3"), [1, 2]);
        assert_eq!(hits("% 2"), [2, 4, 6]);
        assert!(HitCondition::parse("% 0").is_err());
        assert!(HitCondition::parse("often").unwrap_err().contains("is not a hit count"));
    }

    #[test]
    fn log_messages() {
        let parts = parse_log_message("n={n} {{x}}").unwrap();
        let value = LogPart::Value(Expression::Path("n".to_owned()));
        assert_eq!(parts, [LogPart::Text("n=".to_owned()), value, LogPart::Text(" {x}".to_owned())]);
        assert!(parse_log_message("{n").unwrap_err().contains("not closed"));
        assert!(parse_log_message("{a +}").is_err());
    }

    #[test]
    fn a_bad_condition_makes_the_breakpoint_fail_with_a_sentence() {
        let specification = Specification {
            id: 1,
            on: On::Function("f".to_owned()),
            condition: Some("n >".to_owned()),
            hit_condition: None,
            log_message: None,
        };
        let bound = Resolution::Bound { addresses: Vec::new(), line: 1, note: None };
        let breakpoint = Breakpoint::new(specification.clone(), |_| bound);
        assert!(
            matches!(breakpoint.resolution, Resolution::Failed(text) if text.contains("condition cannot be used"))
        );
        let pending = Resolution::Pending("not here".to_owned());
        assert_eq!(Breakpoint::new(specification, |_| pending.clone()).resolution, pending);
    }
}
