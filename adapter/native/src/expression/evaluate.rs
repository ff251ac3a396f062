//! From a tree to a value.

use std::cmp::Ordering;

use super::parse::{Expression, Operator, Range};
use crate::address::Address;
use crate::dwarf::types::{ScalarKind, TypeKind};
use crate::limits::TEXT_BYTES_MAX;
use crate::target::Memory;
use crate::values::Value;
use crate::values::render::{self, Style, unwrapped};
use crate::values::scalar::signed_of;
use crate::values::text::TextPlace;
use crate::values::view::{View, view};

/// Where names come from: the variables of a frame.
pub trait Names {
    /// The innermost variable of this name.
    fn variable(&self, name: &str) -> Option<Value>;
}

/// What an expression came to.
#[derive(Clone)]
pub enum Evaluated {
    /// Something of the program.
    Value(Value),
    /// A whole number.
    Integer(i128),
    /// A number with a point.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A character.
    Char(char),
    /// A string.
    Text(String),
    /// The name of an enum's variant.
    Variant(String),
}

impl Evaluated {
    /// As one line.
    #[must_use]
    pub fn text(&self, memory: &dyn Memory) -> String {
        self.text_as(memory, Style::LINE)
    }

    /// As one line, in a style.
    #[must_use]
    pub fn text_as(&self, memory: &dyn Memory, style: Style) -> String {
        match self {
            Self::Value(value) => render::summary_as(value, memory, style),
            // A negative number that is nowhere has no width of its own; most have four bytes, or eight.
            Self::Integer(value) => {
                style.whole_number(*value, if i32::try_from(*value).is_ok() { 4 } else { 8 })
            }
            Self::Float(value) => format!("{value:?}"),
            Self::Bool(value) => value.to_string(),
            Self::Char(value) => format!("{value:?}"),
            Self::Text(value) => format!("{value:?}"),
            Self::Variant(name) => name.clone(),
        }
    }

    /// Is a condition of this value fulfilled? Anything but a truth value is an error.
    pub fn is_true(&self, memory: &dyn Memory) -> Result<bool, String> {
        match simple(self, memory) {
            Self::Bool(value) => Ok(value),
            other => Err(format!("a condition must be true or false, and this is {}", other.text(memory))),
        }
    }
}

/// Evaluates an expression.
pub fn evaluate(
    expression: &Expression,
    names: &dyn Names,
    memory: &dyn Memory,
) -> Result<Evaluated, String> {
    let evaluated = Evaluator { names, memory }.run(expression)?;
    match evaluated {
        // A name with a capital is taken for a variant, to be compared with; alone it has no value.
        Evaluated::Variant(name) => Err(format!(
            "there is no variable {name:?} here; a constant is in no place of the program, and a static or thread-local variable is looked for in \
             the file of the frame only"
        )),
        evaluated => Ok(evaluated),
    }
}

struct Evaluator<'a> {
    names: &'a dyn Names,
    memory: &'a dyn Memory,
}

impl Evaluator<'_> {
    fn run(&self, expression: &Expression) -> Result<Evaluated, String> {
        Ok(match expression {
            Expression::Integer(value) => Evaluated::Integer(*value),
            Expression::Float(value) => Evaluated::Float(*value),
            Expression::Bool(value) => Evaluated::Bool(*value),
            Expression::Char(value) => Evaluated::Char(*value),
            Expression::Text(value) => Evaluated::Text(value.clone()),
            Expression::Path(name) => match self.names.variable(name) {
                Some(value) => Evaluated::Value(value),
                // Only a variant is written with a capital: a misspelt variable is an error.
                None if name.rsplit("::").next().is_some_and(|last| last.starts_with(char::is_uppercase)) => {
                    Evaluated::Variant(name.clone())
                }
                None => return Err(format!("there is no variable {name:?} here")),
            },
            Expression::Field(of, name) => Evaluated::Value(self.field(of, name)?),
            Expression::Index(of, index) => Evaluated::Value(self.index(of, index)?),
            Expression::Slice(of, range) => self.slice(of, range)?,
            Expression::Method(of, name) => self.method(of, name)?,
            Expression::Cast(operand, to) => {
                cast(&simple(&self.run(operand)?, self.memory), to, self.memory)?
            }
            Expression::Unary(sign, operand) => self.unary(*sign, operand)?,
            Expression::Binary(operator, left, right) => self.binary(*operator, left, right)?,
        })
    }

    fn value(&self, expression: &Expression) -> Result<Value, String> {
        match self.run(expression)? {
            Evaluated::Value(value) => Ok(value),
            other => Err(format!("{} has no parts", other.text(self.memory))),
        }
    }

    fn field(&self, of: &Expression, name: &str) -> Result<Value, String> {
        let value = unwrapped(&self.value(of)?, self.memory);
        let fields = match view(&value, self.memory) {
            View::Fields { fields, .. } | View::Future { fields, .. } => fields,
            View::Unavailable(reason) => return Err(reason),
            _ => Vec::new(),
        };
        let found = fields.into_iter().find(|field| field.name == name).map(|field| field.value);
        // A library's type that is shown in another way still has its own fields.
        found
            .or_else(|| value.field(name))
            .ok_or_else(|| format!("a value of the type {} has no field {name:?}", value.of.name))
    }

    fn index(&self, of: &Expression, index: &Expression) -> Result<Value, String> {
        let value = unwrapped(&self.value(of)?, self.memory);
        let index = simple(&self.run(index)?, self.memory);
        match (view(&value, self.memory), index) {
            (View::List(list), Evaluated::Integer(index)) => u64::try_from(index)
                .ok()
                .and_then(|index| list.get(index))
                .ok_or_else(|| format!("the index {index} is outside: there are {} elements", list.len)),
            (View::Table(table), key) => {
                for index in 0..table.len() {
                    if let Some((own, entry)) = table.get(index)
                        && compare(&simple(&Evaluated::Value(own), self.memory), &key, self.memory).ok()
                            == Some(Ordering::Equal)
                    {
                        return Ok(entry);
                    }
                }
                Err(format!("there is no key {}", key.text(self.memory)))
            }
            (View::Unavailable(reason), _) => Err(reason),
            _ => Err(format!("a value of the type {} has no elements", value.of.name)),
        }
    }

    /// A part of a list or of a text.
    fn slice(&self, of: &Expression, range: &Range) -> Result<Evaluated, String> {
        let bound = |bound: &Option<Box<Expression>>| match bound {
            None => Ok(None),
            Some(bound) => match simple(&self.run(bound)?, self.memory) {
                Evaluated::Integer(value) => {
                    u64::try_from(value).map(Some).map_err(|_| format!("{value} is no index"))
                }
                other => Err(format!("{} is no index", other.text(self.memory))),
            },
        };
        let (from, to) = (bound(&range.from)?.unwrap_or(0), bound(&range.to)?);
        let to = if range.is_inclusive { to.map(|to| to.saturating_add(1)) } else { to };
        let within = |len: u64, what: &str| {
            let to = to.unwrap_or(len);
            if from > to {
                return Err(format!("the range begins at {from} and ends at {to}"));
            }
            if to > len { Err(format!("the range ends at {to}, and there are {len} {what}")) } else { Ok(to) }
        };
        let evaluated = self.run(of)?;
        let of_text = |text: &str| {
            let to = within(text.len() as u64, "bytes")?;
            let part = text.get(from as usize..to as usize);
            part.map(|part| Evaluated::Text(part.to_owned()))
                .ok_or_else(|| "the range begins or ends inside a character".to_owned())
        };
        let value = match &evaluated {
            Evaluated::Text(text) => return of_text(text),
            Evaluated::Value(value) => unwrapped(value, self.memory),
            other => return Err(format!("{} has no elements", other.text(self.memory))),
        };
        match view(&value, self.memory) {
            View::List(list) => {
                let to = within(list.len, "elements")?;
                list.slice(from, to).map(Evaluated::Value).ok_or_else(|| {
                    "these elements do not lie one after another in memory; open the value, or take them one by one".to_owned()
                })
            }
            View::Text(text) => {
                let to = within(text.bytes, "bytes")?;
                let place =
                    TextPlace { address: Address(text.address.0.wrapping_add(from)), bytes: to - from };
                let (part, _) = place.read(self.memory, TEXT_BYTES_MAX)?;
                Ok(Evaluated::Text(part))
            }
            View::Unavailable(reason) => Err(reason),
            _ => Err(format!("a value of the type {} has no elements", value.of.name)),
        }
    }

    fn method(&self, of: &Expression, name: &str) -> Result<Evaluated, String> {
        let evaluated = self.run(of)?;
        let shown = match &evaluated {
            Evaluated::Text(text) => View::Scalar(text.clone()),
            Evaluated::Value(value) => view(&unwrapped(value, self.memory), self.memory),
            other => return Err(format!("{} has no method {name:?}", other.text(self.memory))),
        };
        let len = match (&shown, &evaluated) {
            (View::Scalar(text), Evaluated::Text(_)) => Some(text.len() as u64),
            (View::Text(text), _) => Some(text.bytes),
            (View::List(list), _) => Some(list.len),
            (View::Table(table), _) => Some(table.len()),
            _ => None,
        };
        let variant = match &shown {
            View::Fields { name, .. } => name.as_str(),
            View::Scalar(name) => name.as_str(),
            View::Unavailable(reason) => return Err(reason.clone()),
            _ => "",
        };
        match (name, len) {
            ("len", Some(len)) => Ok(Evaluated::Integer(i128::from(len))),
            ("is_empty", Some(len)) => Ok(Evaluated::Bool(len == 0)),
            ("is_some" | "is_none", _) if matches!(variant, "Some" | "None") => {
                Ok(Evaluated::Bool((variant == "Some") == (name == "is_some")))
            }
            ("is_ok" | "is_err", _) if matches!(variant, "Ok" | "Err") => {
                Ok(Evaluated::Bool((variant == "Ok") == (name == "is_ok")))
            }
            ("as_str" | "clone" | "as_ref" | "borrow" | "get", _) => Ok(evaluated),
            _ => Err(format!("the method {name:?} cannot be evaluated: the program's own code is never run")),
        }
    }

    fn unary(&self, sign: char, operand: &Expression) -> Result<Evaluated, String> {
        let evaluated = self.run(operand)?;
        match (sign, simple(&evaluated, self.memory)) {
            ('&', _) => Ok(evaluated),
            ('*', _) => {
                let Evaluated::Value(value) = &evaluated else {
                    return Err("only a pointer can be followed".to_owned());
                };
                match view(value, self.memory) {
                    View::Wrapped { inner, .. } | View::Pointer { inner: Some(inner), .. } => {
                        Ok(Evaluated::Value(inner))
                    }
                    View::Pointer { address, .. } => Err(format!("nothing can be read at {address:#x}")),
                    _ => Ok(evaluated),
                }
            }
            ('!', Evaluated::Bool(value)) => Ok(Evaluated::Bool(!value)),
            ('-', Evaluated::Integer(value)) => Ok(Evaluated::Integer(value.wrapping_neg())),
            ('-', Evaluated::Float(value)) => Ok(Evaluated::Float(-value)),
            (sign, other) => Err(format!("{sign:?} cannot be applied to {}", other.text(self.memory))),
        }
    }

    fn binary(&self, operator: Operator, left: &Expression, right: &Expression) -> Result<Evaluated, String> {
        let left = simple(&self.run(left)?, self.memory);
        match (operator, &left) {
            (Operator::Or, Evaluated::Bool(true)) | (Operator::And, Evaluated::Bool(false)) => {
                return Ok(left);
            }
            _ => {}
        }
        let right = simple(&self.run(right)?, self.memory);
        let ordering = || compare(&left, &right, self.memory);
        Ok(Evaluated::Bool(match operator {
            Operator::Or | Operator::And => match (&left, &right) {
                (Evaluated::Bool(_), Evaluated::Bool(value)) => *value,
                _ => return Err("\"&&\" and \"||\" need truth values".to_owned()),
            },
            Operator::Equal => ordering()?.is_eq(),
            Operator::NotEqual => ordering()?.is_ne(),
            Operator::Less => ordering()?.is_lt(),
            Operator::LessOrEqual => ordering()?.is_le(),
            Operator::Greater => ordering()?.is_gt(),
            Operator::GreaterOrEqual => ordering()?.is_ge(),
            _ => return arithmetic(operator, &left, &right, self.memory),
        }))
    }
}

/// Looks through wrappers and reads scalars and strings, so that they can be compared.
fn simple(evaluated: &Evaluated, memory: &dyn Memory) -> Evaluated {
    let Evaluated::Value(value) = evaluated else { return evaluated.clone() };
    let value = unwrapped(value, memory);
    let bytes = || value.bytes(memory).ok();
    let read = match (&value.of.kind, view(&value, memory)) {
        (TypeKind::Scalar(ScalarKind::Bool), _) => {
            bytes().map(|bytes| Evaluated::Bool(bytes.first() == Some(&1)))
        }
        (TypeKind::Scalar(ScalarKind::Signed), _) => {
            bytes().map(|bytes| Evaluated::Integer(signed_of(&bytes)))
        }
        (TypeKind::Scalar(ScalarKind::Unsigned), _) | (TypeKind::Pointer(_), _) => {
            value.unsigned(memory).and_then(|value| i128::try_from(value).ok()).map(Evaluated::Integer)
        }
        (TypeKind::Scalar(ScalarKind::Char), _) => value
            .unsigned(memory)
            .and_then(|value| u32::try_from(value).ok())
            .and_then(char::from_u32)
            .map(Evaluated::Char),
        (TypeKind::Scalar(ScalarKind::Float), View::Scalar(text)) => text.parse().ok().map(Evaluated::Float),
        (TypeKind::Enumeration { .. }, View::Scalar(name)) => Some(Evaluated::Variant(name)),
        (_, View::Text(text)) => {
            text.read(memory, TEXT_BYTES_MAX).ok().map(|(text, _)| Evaluated::Text(text))
        }
        (TypeKind::Struct { variants: Some(_), .. }, View::Fields { name, .. }) => {
            Some(Evaluated::Variant(name))
        }
        _ => None,
    };
    read.unwrap_or(Evaluated::Value(value))
}

fn compare(left: &Evaluated, right: &Evaluated, memory: &dyn Memory) -> Result<Ordering, String> {
    use Evaluated::{Bool, Char, Float, Integer, Text, Variant};
    let last = |path: &str| path.rsplit("::").next().unwrap_or(path).to_owned();
    let ordering = match (left, right) {
        (Integer(left), Integer(right)) => Some(left.cmp(right)),
        (Bool(left), Bool(right)) => Some(left.cmp(right)),
        (Char(left), Char(right)) => Some(left.cmp(right)),
        (Text(left), Text(right)) => Some(left.cmp(right)),
        (Variant(left), Variant(right)) => Some(last(left).cmp(&last(right))),
        (Float(left), Float(right)) => left.partial_cmp(right),
        (Integer(left), Float(right)) => (*left as f64).partial_cmp(right),
        (Float(left), Integer(right)) => left.partial_cmp(&(*right as f64)),
        _ => None,
    };
    ordering.ok_or_else(|| {
        too_large(left, right, memory)
            .unwrap_or_else(|| format!("{} and {} cannot be compared", left.text(memory), right.text(memory)))
    })
}

/// What is said of a whole number of 128 bits with the highest of them.
fn too_large(left: &Evaluated, right: &Evaluated, memory: &dyn Memory) -> Option<String> {
    let is_large =
        |own: &&Evaluated| matches!(own, Evaluated::Value(value) if value.is_scalar(ScalarKind::Unsigned));
    let large = [left, right].into_iter().find(is_large)?;
    Some(format!("{} is larger than what is computed with here (127 bits)", large.text(memory)))
}

/// Converts between numbers, truth values and characters as the language does.
fn cast(from: &Evaluated, to: &str, memory: &dyn Memory) -> Result<Evaluated, String> {
    let (bits, signed) = match to {
        "f64" | "f32" => {
            let number = match from {
                Evaluated::Integer(value) => *value as f64,
                Evaluated::Float(value) => *value,
                other => return Err(format!("{} cannot be cast to {to}", other.text(memory))),
            };
            return Ok(Evaluated::Float(if to == "f32" { f64::from(number as f32) } else { number }));
        }
        "char" => {
            let character = match from {
                Evaluated::Integer(value) => u8::try_from(*value).ok().map(char::from),
                Evaluated::Char(value) => Some(*value),
                _ => None,
            };
            return character
                .map(Evaluated::Char)
                .ok_or_else(|| format!("only a u8 can be cast to char, and this is {}", from.text(memory)));
        }
        "i8" => (8, true),
        "i16" => (16, true),
        "i32" => (32, true),
        "i64" | "isize" => (64, true),
        "i128" => (128, true),
        "u8" => (8, false),
        "u16" => (16, false),
        "u32" => (32, false),
        "u64" | "usize" => (64, false),
        // The largest numbers of this type are beyond what is computed with here.
        "u128" => (127, false),
        other => return Err(format!("{other:?} is no type that can be cast to")),
    };
    let value = match from {
        Evaluated::Integer(value) => *value,
        Evaluated::Bool(value) => i128::from(*value),
        Evaluated::Char(value) => i128::from(u32::from(*value)),
        Evaluated::Float(value) => {
            // A cast of a float stays at the ends of the type; that of an integer wraps.
            let (least, most) = if signed {
                (-(1i128 << (bits - 1).min(126)), (1i128 << (bits - 1).min(126)) - 1)
            } else {
                (0, (1i128 << bits.min(126)) - 1)
            };
            return Ok(Evaluated::Integer((*value as i128).clamp(least, most)));
        }
        other => return Err(format!("{} cannot be cast to {to}", other.text(memory))),
    };
    if bits >= 127 {
        return Ok(Evaluated::Integer(value));
    }
    let shift = 128 - bits;
    let wrapped = if signed { value << shift >> shift } else { ((value as u128) << shift >> shift) as i128 };
    Ok(Evaluated::Integer(wrapped))
}

fn arithmetic(
    operator: Operator,
    left: &Evaluated,
    right: &Evaluated,
    memory: &dyn Memory,
) -> Result<Evaluated, String> {
    let overflow = || "the result does not fit into 128 bits, or is a division by zero".to_owned();
    if let (Evaluated::Integer(left), Evaluated::Integer(right)) = (left, right) {
        let result = match operator {
            Operator::Add => left.checked_add(*right),
            Operator::Subtract => left.checked_sub(*right),
            Operator::Multiply => left.checked_mul(*right),
            Operator::Divide => left.checked_div(*right),
            _ => left.checked_rem(*right),
        };
        return result.map(Evaluated::Integer).ok_or_else(overflow);
    }
    let float = |operand: &Evaluated| match operand {
        Evaluated::Integer(value) => Some(*value as f64),
        Evaluated::Float(value) => Some(*value),
        _ => None,
    };
    let (Some(left_number), Some(right_number)) = (float(left), float(right)) else {
        let not_numbers = || format!("{} and {} are not numbers", left.text(memory), right.text(memory));
        return Err(too_large(left, right, memory).unwrap_or_else(not_numbers));
    };
    Ok(Evaluated::Float(match operator {
        Operator::Add => left_number + right_number,
        Operator::Subtract => left_number - right_number,
        Operator::Multiply => left_number * right_number,
        Operator::Divide => left_number / right_number,
        _ => left_number % right_number,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::target::MemoryError;

    struct Nothing;
    impl Names for Nothing {
        fn variable(&self, _: &str) -> Option<Value> {
            None
        }
    }
    impl Memory for Nothing {
        fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
            Err(MemoryError { address, bytes: buffer.len(), action: "read" })
        }
    }

    fn text(expression: &str) -> String {
        match parse(expression).and_then(|parsed| evaluate(&parsed, &Nothing, &Nothing)) {
            Ok(evaluated) => evaluated.text(&Nothing),
            Err(error) => error,
        }
    }

    #[test]
    fn constants_are_computed() {
        assert_eq!(text("1 + 2 * 3 == 7 && !(2 < 1)"), "true");
        assert_eq!(text("7 % 4 - 0x10"), "-13");
        assert_eq!(text("1 / 2.0"), "0.5");
        assert_eq!(text("300 as u8 + -1 as u8 as i32"), "299");
        assert_eq!(text("200 as i8"), "-56");
        assert_eq!(text("-1.5 as u8"), "0");
        assert_eq!(text("97 as char == 'a' && 'a' as u32 == 97 && true as i32 == 1"), "true");
        assert!(text("1 as Point").contains("no type that can be cast to"));
        assert_eq!(text("\"ab\".len() == 2"), "true");
        assert_eq!(text("'a' < 'b'"), "true");
        assert_eq!(text("\"abcd\"[1..3]"), "\"bc\"");
        assert_eq!(text("\"abcd\"[2..]"), "\"cd\"");
        assert_eq!(text("\"abcd\"[..=1]"), "\"ab\"");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert!(text("1 / 0").contains("division by zero"));
        assert!(text("x > 1").contains("no variable \"x\""));
        assert!(text("LIMIT").contains("no variable \"LIMIT\""));
        assert!(text("1 == \"a\"").contains("cannot be compared"));
        assert!(text("\"abc\"[2..1]").contains("begins at 2 and ends at 1"));
        assert!(text("\"abc\"[1..9]").contains("ends at 9, and there are 3 bytes"));
        assert!(text("\"abc\"['a'..]").contains("is no index"));
        assert!(text("\"é\"[1..]").contains("inside a character"));
        assert!(text("1..3").contains("stands in brackets"));
        assert!(text("1 && true").contains("need truth values"));
        assert!(text("\"a\".to_uppercase()").contains("never run"));
    }

    #[test]
    fn only_truth_values_are_conditions() {
        assert_eq!(Evaluated::Bool(true).is_true(&Nothing), Ok(true));
        assert!(Evaluated::Integer(1).is_true(&Nothing).unwrap_err().contains("true or false"));
    }
}
