//! Values as one line, and as children for a client that opens them.

use super::view::{View, view};
use super::{Child, Value};
use crate::limits::{
    CHILDREN_MAX, SUMMARY_CHARS_MAX, SUMMARY_DEPTH_MAX, SUMMARY_ITEMS_MAX, TEXT_BYTES_MAX,
    TEXT_IN_SUMMARY_BYTES_MAX,
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

/// The value on one line.
#[must_use]
pub fn summary(value: &Value, memory: &dyn Memory) -> String {
    let mut line = String::new();
    match view(value, memory) {
        View::Text(text) => match text.read(memory, TEXT_BYTES_MAX) {
            Ok((text, cut)) => push_text(&mut line, &text, cut),
            Err(reason) => line = format!("<{reason}>"),
        },
        _ => write(&mut line, value, memory, 0),
    }
    if line.len() > SUMMARY_CHARS_MAX && !line.starts_with('"') {
        let mut end = SUMMARY_CHARS_MAX;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

fn push_text(line: &mut String, text: &str, cut: bool) {
    line.push_str(&format!("{text:?}"));
    if cut {
        line.push('…');
    }
}

fn write(line: &mut String, value: &Value, memory: &dyn Memory, depth: usize) {
    if line.len() > SUMMARY_CHARS_MAX {
        return;
    }
    // Wrappers are no level of their own, but a chain of them may lead in a circle.
    let mut shown = view(value, memory);
    for _ in 0..WRAPPERS_MAX {
        let View::Wrapped { inner, sign } = shown else { break };
        line.push_str(sign);
        shown = view(&inner, memory);
    }
    match shown {
        View::Scalar(text) | View::Future { line: text, .. } => line.push_str(&text),
        View::Text(text) => match text.read(memory, TEXT_IN_SUMMARY_BYTES_MAX) {
            Ok((text, cut)) => push_text(line, &text, cut),
            Err(reason) => line.push_str(&format!("<{reason}>")),
        },
        View::Unavailable(reason) => line.push_str(&format!("<{reason}>")),
        View::Wrapped { .. } => line.push('…'),
        View::Pointer { address, .. } => line.push_str(&format!("{address:#x}")),
        View::Fields { name, fields, is_tuple } => {
            line.push_str(&name);
            write_fields(line, &name, &fields, is_tuple, memory, depth);
        }
        View::List(list) => {
            if depth >= SUMMARY_DEPTH_MAX {
                line.push_str(&format!("[{} elements]", list.len));
                return;
            }
            line.push('[');
            for (index, child) in list.children(0, SUMMARY_ITEMS_MAX as u64).iter().enumerate() {
                line.push_str(if index == 0 { "" } else { ", " });
                write(line, &child.value, memory, depth + 1);
            }
            write_more(line, list.len);
            line.push(']');
        }
        View::Table(table) => {
            if depth >= SUMMARY_DEPTH_MAX {
                line.push_str(&format!("{{{} entries}}", table.len()));
                return;
            }
            line.push('{');
            for index in 0..table.len().min(SUMMARY_ITEMS_MAX as u64) {
                let Some((key, entry)) = table.get(index) else { continue };
                line.push_str(if index == 0 { "" } else { ", " });
                write(line, &key, memory, depth + 1);
                if !table.is_set {
                    line.push_str(": ");
                    write(line, &entry, memory, depth + 1);
                }
            }
            write_more(line, table.len());
            line.push('}');
        }
    }
}

fn write_more(line: &mut String, len: u64) {
    if len > SUMMARY_ITEMS_MAX as u64 {
        line.push_str(&format!(", … {} more", len - SUMMARY_ITEMS_MAX as u64));
    }
}

fn write_fields(
    line: &mut String,
    name: &str,
    fields: &[Child],
    is_tuple: bool,
    memory: &dyn Memory,
    depth: usize,
) {
    if fields.is_empty() {
        if name.is_empty() {
            line.push_str("()");
        }
        return;
    }
    if depth >= SUMMARY_DEPTH_MAX {
        line.push_str(if is_tuple { "(…)" } else { " {…}" });
        return;
    }
    line.push_str(if is_tuple { "(" } else { " { " });
    for (index, field) in fields.iter().take(SUMMARY_ITEMS_MAX).enumerate() {
        line.push_str(if index == 0 { "" } else { ", " });
        if !is_tuple {
            line.push_str(&field.name);
            line.push_str(": ");
        }
        write(line, &field.value, memory, depth + 1);
    }
    if fields.len() > SUMMARY_ITEMS_MAX {
        line.push_str(", …");
    }
    line.push_str(if is_tuple { ")" } else { " }" });
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

/// How many children a value has.
#[must_use]
pub fn counts(value: &Value, memory: &dyn Memory) -> Counts {
    match view(&unwrapped(value, memory), memory) {
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
