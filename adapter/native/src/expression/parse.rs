//! From text to a tree.

use crate::limits::{EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX};
use crate::values::scalar::parse_integer;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A whole number.
    Integer(i128),
    /// A number with a point.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A character.
    Char(char),
    /// A string.
    Text(String),
    /// A variable, or the name of an enum's variant.
    Path(String),
    /// `a.b`, `a.0`
    Field(Box<Expression>, String),
    /// `a[1]`
    Index(Box<Expression>, Box<Expression>),
    /// `a[1..3]`
    Slice(Box<Expression>, Range),
    /// `a.len()`: one of a few methods that reading alone can answer.
    Method(Box<Expression>, String),
    /// `!a`, `-a`, `*a`, `&a`
    Unary(char, Box<Expression>),
    /// `a as u8`
    Cast(Box<Expression>, String),
    /// `a == b`
    Binary(Operator, Box<Expression>, Box<Expression>),
}

/// What stands in the brackets of a part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// The first; all from the beginning on without it.
    pub from: Option<Box<Expression>>,
    /// The end; all that follow without it.
    pub to: Option<Box<Expression>>,
    /// The end is one of them.
    pub is_inclusive: bool,
}

/// What stands between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its sign")]
pub enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Signs by how tightly they bind, loosest first; longer signs come before their own beginnings.
const LEVELS: [&[(&str, Operator)]; 5] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)],
];

/// Reads an expression, or says what is wrong with it.
pub fn parse(text: &str) -> Result<Expression, String> {
    if text.len() > EXPRESSION_CHARS_MAX {
        return Err(format!("the expression is longer than {EXPRESSION_CHARS_MAX} characters"));
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let expression = parser.binary(0)?;
    parser.skip_space();
    if parser.rest().starts_with("..") {
        return Err("a range stands in brackets, behind what it is a part of: list[1..3]".to_owned());
    }
    if parser.at < text.len() {
        return Err(format!(
            "{:?} is not understood here; calls, macros and blocks cannot be evaluated",
            parser.rest()
        ));
    }
    Ok(expression)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(format!("{sign:?} is missing before {:?}", self.rest())) }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return Err(format!("the expression is nested deeper than {EXPRESSION_DEPTH_MAX} levels"));
        }
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn binary(&mut self, level: usize) -> Result<Expression, String> {
        let Some(signs) = LEVELS.get(level) else { return self.cast() };
        let mut left = self.binary(level + 1)?;
        while let Some((_, operator)) = signs.iter().find(|(sign, _)| self.take(sign)) {
            let right = self.binary(level + 1)?;
            left = Expression::Binary(*operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    /// A cast binds tighter than every operator between two operands, and looser than those before one.
    fn cast(&mut self) -> Result<Expression, String> {
        let mut expression = self.unary()?;
        loop {
            self.skip_space();
            let is_cast =
                self.rest().strip_prefix("as").is_some_and(|rest| rest.starts_with(char::is_whitespace));
            if !is_cast {
                return Ok(expression);
            }
            self.at += 2;
            self.skip_space();
            let to = self.word();
            if to.is_empty() {
                return Err("the type is missing after \"as\"".to_owned());
            }
            expression = Expression::Cast(Box::new(expression), to);
        }
    }

    fn unary(&mut self) -> Result<Expression, String> {
        self.skip_space();
        match self.rest().chars().next() {
            Some(sign @ ('!' | '-' | '*' | '&')) => {
                self.at += 1;
                if sign == '&' {
                    self.take("mut ");
                }
                let operand = self.deeper(Self::unary)?;
                Ok(match (sign, operand) {
                    ('-', Expression::Integer(value)) => Expression::Integer(value.wrapping_neg()),
                    ('-', Expression::Float(value)) => Expression::Float(-value),
                    (sign, operand) => Expression::Unary(sign, Box::new(operand)),
                })
            }
            _ => self.postfix(),
        }
    }

    fn postfix(&mut self) -> Result<Expression, String> {
        let mut expression = self.primary()?;
        loop {
            self.skip_space();
            if self.take("[") {
                expression = self.deeper(|parser| parser.index(expression))?;
                self.expect("]")?;
            } else if !self.rest().starts_with("..") && self.take(".") {
                let name = self.word();
                if name.is_empty() {
                    return Err("a field's name is missing after the point".to_owned());
                }
                if self.take("(") {
                    self.expect(")")
                        .map_err(|_| format!("the method {name:?} cannot be called with arguments"))?;
                    expression = Expression::Method(Box::new(expression), name);
                } else {
                    expression = Expression::Field(Box::new(expression), name);
                }
            } else {
                return Ok(expression);
            }
        }
    }

    /// What stands in brackets behind a list.
    fn index(&mut self, of: Expression) -> Result<Expression, String> {
        self.skip_space();
        let from = if self.rest().starts_with("..") { None } else { Some(Box::new(self.binary(0)?)) };
        let of = Box::new(of);
        let is_inclusive = self.take("..=");
        if !is_inclusive && !self.take("..") {
            return from
                .map(|index| Expression::Index(of, index))
                .ok_or_else(|| "an index is missing".to_owned());
        }
        self.skip_space();
        let to = if self.rest().starts_with(']') { None } else { Some(Box::new(self.binary(0)?)) };
        if is_inclusive && to.is_none() {
            return Err("the end of the range is missing behind \"..=\"".to_owned());
        }
        Ok(Expression::Slice(of, Range { from, to, is_inclusive }))
    }

    fn word(&mut self) -> String {
        self.skip_space();
        let len = self.rest().find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest().len());
        let word = self.rest()[..len].to_owned();
        self.at += len;
        word
    }

    fn primary(&mut self) -> Result<Expression, String> {
        if self.take("(") {
            let inner = self.deeper(|parser| parser.binary(0))?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.skip_space();
        match self.rest().chars().next() {
            None => Err("the expression ends too early".to_owned()),
            Some('"') => self.quoted('"').map(Expression::Text),
            Some('\'') => {
                let text = self.quoted('\'')?;
                let mut characters = text.chars();
                match (characters.next(), characters.next()) {
                    (Some(character), None) => Ok(Expression::Char(character)),
                    _ => Err(format!("'{text}' is not one character")),
                }
            }
            Some(digit) if digit.is_ascii_digit() => self.number(),
            Some(first) if first.is_alphabetic() || first == '_' => {
                let mut path = self.word();
                while self.rest().starts_with("::") {
                    self.at += 2;
                    path.push_str("::");
                    path.push_str(&self.word());
                }
                Ok(match path.as_str() {
                    "true" => Expression::Bool(true),
                    "false" => Expression::Bool(false),
                    _ => Expression::Path(path),
                })
            }
            Some(other) => Err(format!("{other:?} is not understood here")),
        }
    }

    fn number(&mut self) -> Result<Expression, String> {
        let whole = self.word();
        let is_decimal = whole.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
        let mut after = self.rest().chars();
        if is_decimal && after.next() == Some('.') && after.next().is_some_and(|next| next.is_ascii_digit()) {
            self.at += 1;
            let text = format!("{whole}.{}", self.word()).replace('_', "");
            return text.parse().map(Expression::Float).map_err(|_| format!("{text:?} is not a number"));
        }
        parse_integer(&whole).map(Expression::Integer).ok_or_else(|| format!("{whole:?} is not a number"))
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.at += at + 1;
                return Ok(text);
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            text.push(match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('0') => '\0',
                Some(same @ ('\\' | '"' | '\'')) => same,
                other => return Err(format!("the escape {other:?} is not known")),
            });
        }
        Err(format!("the closing {quote} is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Box<Expression> {
        Box::new(Expression::Path(name.to_owned()))
    }

    #[test]
    fn operators_bind_as_in_rust() {
        let parsed = parse("n > 3 && name.len() == 2 || !done").unwrap();
        let greater = Expression::Binary(Operator::Greater, path("n"), Box::new(Expression::Integer(3)));
        let len = Expression::Method(path("name"), "len".to_owned());
        let equal = Expression::Binary(Operator::Equal, Box::new(len), Box::new(Expression::Integer(2)));
        let and = Expression::Binary(Operator::And, Box::new(greater), Box::new(equal));
        let not = Expression::Unary('!', path("done"));
        assert_eq!(parsed, Expression::Binary(Operator::Or, Box::new(and), Box::new(not)));
    }

    #[test]
    fn a_cast_binds_tighter_than_what_stands_around_it() {
        let parsed = parse("-a as u8 + 1").unwrap();
        let cast = Expression::Cast(Box::new(Expression::Unary('-', path("a"))), "u8".to_owned());
        assert_eq!(
            parsed,
            Expression::Binary(Operator::Add, Box::new(cast), Box::new(Expression::Integer(1)))
        );
        assert_eq!(parse("assets").unwrap(), *path("assets"));
        assert!(parse("a as ").unwrap_err().contains("type is missing"));
    }

    #[test]
    fn paths_fields_and_indices_chain() {
        let parsed = parse("self.items[0].0").unwrap();
        let items = Expression::Field(path("self"), "items".to_owned());
        let first = Expression::Index(Box::new(items), Box::new(Expression::Integer(0)));
        assert_eq!(parsed, Expression::Field(Box::new(first), "0".to_owned()));
        assert_eq!(parse("Kind::Leaf").unwrap(), *path("Kind::Leaf"));
    }

    #[test]
    fn literals() {
        assert_eq!(parse("-0x10").unwrap(), Expression::Integer(-16));
        assert_eq!(parse("1.5").unwrap(), Expression::Float(1.5));
        assert_eq!(parse(r#""a\"b""#).unwrap(), Expression::Text("a\"b".to_owned()));
        assert_eq!(parse("'ß'").unwrap(), Expression::Char('ß'));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "ends too early"),
            ("a.", "name is missing"),
            ("a[1", "\"]\" is missing"),
            ("a[1..=]", "end of the range is missing"),
            ("f(1)", "not understood"),
            ("a.push(1)", "cannot be called"),
            ("\"open", "closing"),
            (&"(".repeat(100), "nested deeper"),
            (&"!".repeat(100), "nested deeper"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text:?} gave {error:?}");
        }
    }
}
