//! Values as one line, and as children for a client that opens them.

use super::collections::{List, Table};
use super::view::{View, view};
use super::{Child, Value, cpp};
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::dwarf::types::{ScalarKind, mask};
use crate::limits::{
    CHILDREN_MAX, CLIPBOARD_CHARS_MAX, CLIPBOARD_DEPTH_MAX, CLIPBOARD_ITEMS_MAX, SUMMARY_CHARS_MAX,
    SUMMARY_DEPTH_MAX, SUMMARY_ITEMS_MAX, TEXT_BYTES_MAX, TEXT_IN_SUMMARY_BYTES_MAX,
};
use crate::target::Memory;

/// How many wrappers are looked through: a chain of references may lead in a circle.
const WRAPPERS_MAX: usize = 16;

/// How many children a value has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Fields.
    pub named: u64,
    /// Elements.
    pub indexed: u64,
}

impl Counts {
    /// Is there anything to open?
    #[must_use]
    pub fn any(self) -> bool {
        self.named + self.indexed > 0
    }
}

/// How a value is written on a line.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whole numbers in hexadecimal.
    hex: bool,
    chars: usize,
    items: usize,
    depth: usize,
    text_bytes: u64,
    inner_text_bytes: u64,
}

impl Style {
    /// As people read it in a list.
    pub const LINE: Self = Self {
        hex: false,
        chars: SUMMARY_CHARS_MAX,
        items: SUMMARY_ITEMS_MAX,
        depth: SUMMARY_DEPTH_MAX,
        text_bytes: TEXT_BYTES_MAX,
        inner_text_bytes: TEXT_IN_SUMMARY_BYTES_MAX,
    };
    /// As they copy it: whole, as far as that goes.
    pub const WHOLE: Self = Self {
        hex: false,
        chars: CLIPBOARD_CHARS_MAX,
        items: CLIPBOARD_ITEMS_MAX,
        depth: CLIPBOARD_DEPTH_MAX,
        text_bytes: CLIPBOARD_CHARS_MAX as u64,
        inner_text_bytes: CLIPBOARD_CHARS_MAX as u64,
    };

    /// The same with whole numbers in hexadecimal, or not.
    #[must_use]
    pub fn with_hex(self, hex: bool) -> Self {
        Self { hex, ..self }
    }

    /// A whole number of so many bytes; a negative one as its bits are.
    #[must_use]
    pub fn whole_number(self, value: i128, bytes: u64) -> String {
        if self.hex { format!("{:#x}", mask(value as u128, bytes)) } else { value.to_string() }
    }
}

/// The value on one line.
#[must_use]
pub fn summary(value: &Value, memory: &dyn Memory) -> String {
    summary_as(value, memory, Style::LINE)
}

/// The value on one line, in a style.
#[must_use]
pub fn summary_as(value: &Value, memory: &dyn Memory, style: Style) -> String {
    shown(value, memory, style).line
}

/// What a client sees of a value before it opens it.
pub struct Shown {
    /// The value on one line.
    pub line: String,
    /// How many parts it has.
    pub counts: Counts,
    /// Where it is; of a reference, what it leads to.
    pub address: Option<Address>,
}

/// All of it in one look: the program's memory is read once.
#[must_use]
pub fn shown(value: &Value, memory: &dyn Memory, style: Style) -> Shown {
    let Unwrapped { signs, inner, view } = look_through(value, memory);
    let innermost = inner.as_ref().unwrap_or(value);
    let counts = counts_of(&view);
    let mut line = String::new();
    signs.iter().for_each(|sign| line.push_str(sign));
    match &view {
        View::Text(text) => match text.read(memory, style.text_bytes) {
            Ok((text, cut)) => push_text(&mut line, &text, cut),
            Err(reason) => line.push_str(&format!("<{reason}>")),
        },
        view => Writer { line: &mut line, memory, style }.write_view(innermost, view, 0),
    }
    if line.len() > style.chars && !matches!(view, View::Text(_)) {
        let mut end = style.chars;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    let address = match innermost.place {
        Place::Memory(address) => Some(address),
        Place::Bytes { .. } | Place::Partly { .. } | Place::Unavailable(_) => None,
    };
    Shown { line, counts, address }
}

/// What wrappers lead to.
struct Unwrapped {
    /// What to write for them.
    signs: Vec<&'static str>,
    /// The value in them; `None` where there are none.
    inner: Option<Value>,
    /// That, looked at.
    view: View,
}

/// Wrappers are no level of their own, but a chain of them may lead in a circle.
fn look_through(value: &Value, memory: &dyn Memory) -> Unwrapped {
    let mut found = Unwrapped { signs: Vec::new(), inner: None, view: view(value, memory) };
    for _ in 0..WRAPPERS_MAX {
        let View::Wrapped { inner, sign } = found.view else { break };
        found.signs.push(sign);
        found.view = view(&inner, memory);
        found.inner = Some(inner);
    }
    found
}

fn push_text(line: &mut String, text: &str, cut: bool) {
    line.push_str(&format!("{text:?}"));
    if cut {
        line.push('…');
    }
}

/// Writes one line.
struct Writer<'a> {
    line: &'a mut String,
    memory: &'a dyn Memory,
    style: Style,
}

impl Writer<'_> {
    fn is_full(&self) -> bool {
        self.line.len() > self.style.chars
    }

    fn write(&mut self, value: &Value, depth: usize) {
        if self.is_full() {
            return;
        }
        let Unwrapped { signs, inner, view } = look_through(value, self.memory);
        signs.iter().for_each(|sign| self.line.push_str(sign));
        self.write_view(inner.as_ref().unwrap_or(value), &view, depth);
    }

    /// A value that has been looked at already.
    fn write_view(&mut self, value: &Value, view: &View, depth: usize) {
        match view {
            View::Scalar(text) => {
                let hex = self.hexadecimal(value);
                self.line.push_str(hex.as_deref().unwrap_or(text));
            }
            View::Future { line: text, .. } => self.line.push_str(text),
            View::Text(text) => match text.read(self.memory, self.style.inner_text_bytes) {
                Ok((text, cut)) => push_text(self.line, &text, cut),
                Err(reason) => self.line.push_str(&format!("<{reason}>")),
            },
            View::Unavailable(reason) => self.line.push_str(&format!("<{reason}>")),
            View::Wrapped { .. } => self.line.push('…'),
            View::Pointer { address, inner } => {
                self.line.push_str(&format!("{address:#x}"));
                let most = self.style.inner_text_bytes;
                if inner.as_ref().is_some_and(cpp::is_char)
                    && let Some((text, cut)) = cpp::zero_ended(Address(*address), self.memory, most)
                {
                    self.line.push(' ');
                    push_text(self.line, &text, cut);
                }
            }
            View::Fields { name, fields, is_tuple } => {
                self.line.push_str(name);
                self.write_fields(name, fields, *is_tuple, depth);
            }
            View::List(list) => self.write_list(list, depth),
            View::Table(table) => self.write_table(table, depth),
        }
    }

    /// A whole number, if that is what it is and how it is wanted.
    fn hexadecimal(&self, value: &Value) -> Option<String> {
        let is_whole = value.is_scalar(ScalarKind::Signed) || value.is_scalar(ScalarKind::Unsigned);
        (self.style.hex && is_whole).then(|| Some(format!("{:#x}", value.unsigned(self.memory)?)))?
    }

    /// A text of C that lies in an array.
    fn text_of(&self, list: &List) -> Option<(String, bool)> {
        list.get(0).filter(cpp::is_char)?;
        let shown = list.len.min(self.style.inner_text_bytes);
        let bytes = list.slice(0, shown)?.bytes(self.memory).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let text = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned();
        Some((text, end.is_none() && shown < list.len))
    }

    fn write_list(&mut self, list: &List, depth: usize) {
        if let Some((text, cut)) = self.text_of(list) {
            return push_text(self.line, &text, cut);
        }
        if depth >= self.style.depth {
            self.line.push_str(&format!("[{} elements]", list.len));
            return;
        }
        self.line.push('[');
        for (index, child) in list.children(0, self.style.items as u64).iter().enumerate() {
            self.line.push_str(if index == 0 { "" } else { ", " });
            self.write(&child.value, depth + 1);
            if self.is_full() {
                return;
            }
        }
        self.write_more(list.len);
        self.line.push(']');
    }

    fn write_table(&mut self, table: &Table, depth: usize) {
        if depth >= self.style.depth {
            self.line.push_str(&format!("{{{} entries}}", table.len()));
            return;
        }
        self.line.push('{');
        for index in 0..table.len().min(self.style.items as u64) {
            let Some((key, entry)) = table.get(index) else { continue };
            self.line.push_str(if index == 0 { "" } else { ", " });
            self.write(&key, depth + 1);
            if !table.is_set {
                self.line.push_str(": ");
                self.write(&entry, depth + 1);
            }
            if self.is_full() {
                return;
            }
        }
        self.write_more(table.len());
        self.line.push('}');
    }

    fn write_more(&mut self, len: u64) {
        let shown = self.style.items as u64;
        if len > shown {
            self.line.push_str(&format!(", … {} more", len - shown));
        }
    }

    fn write_fields(&mut self, name: &str, fields: &[Child], is_tuple: bool, depth: usize) {
        if fields.is_empty() {
            if name.is_empty() {
                self.line.push_str("()");
            }
            return;
        }
        if depth >= self.style.depth {
            self.line.push_str(if is_tuple { "(…)" } else { " {…}" });
            return;
        }
        self.line.push_str(if is_tuple { "(" } else { " { " });
        for (index, field) in fields.iter().take(self.style.items).enumerate() {
            self.line.push_str(if index == 0 { "" } else { ", " });
            if !is_tuple {
                self.line.push_str(&field.name);
                self.line.push_str(": ");
            }
            self.write(&field.value, depth + 1);
        }
        if fields.len() > self.style.items {
            self.line.push_str(", …");
        }
        self.line.push_str(if is_tuple { ")" } else { " }" });
    }
}

/// What a chain of references, boxes and cells leads to.
#[must_use]
pub fn unwrapped(value: &Value, memory: &dyn Memory) -> Value {
    let mut value = value.clone();
    for _ in 0..WRAPPERS_MAX {
        match view(&value, memory) {
            View::Wrapped { inner, .. } => value = inner,
            _ => break,
        }
    }
    value
}

fn counts_of(view: &View) -> Counts {
    match view {
        View::Fields { fields, .. } | View::Future { fields, .. } => {
            Counts { named: fields.len() as u64, indexed: 0 }
        }
        View::List(list) => Counts { named: 0, indexed: list.len },
        View::Table(table) => Counts { named: 0, indexed: table.len() },
        View::Pointer { inner: Some(_), .. } => Counts { named: 1, indexed: 0 },
        _ => Counts::default(),
    }
}

/// A value's children: all fields, or some of the elements. A map's entries are named by their keys.
#[must_use]
pub fn children(value: &Value, memory: &dyn Memory, start: u64, count: Option<u64>) -> Vec<Child> {
    let most = count.filter(|count| *count > 0).unwrap_or(CHILDREN_MAX as u64).min(CHILDREN_MAX as u64);
    match view(&unwrapped(value, memory), memory) {
        View::Fields { fields, .. } | View::Future { fields, .. } => {
            fields.into_iter().skip(start as usize).take(most as usize).collect()
        }
        View::List(list) => list.children(start, most),
        View::Table(table) => (start..table.len().min(start.saturating_add(most)))
            .filter_map(|index| {
                let (key, entry) = table.get(index)?;
                let name =
                    if table.is_set { format!("[{index}]") } else { format!("[{}]", summary(&key, memory)) };
                Some(Child { name, value: if table.is_set { key } else { entry } })
            })
            .collect(),
        View::Pointer { inner: Some(inner), .. } => vec![Child { name: "*".to_owned(), value: inner }],
        _ => Vec::new(),
    }
}
