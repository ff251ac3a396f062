//! `completions`: names of variables, and of the parts of what stands before a point.

use dap::{CompletionItem, CompletionItemType, CompletionsArguments, CompletionsResponseBody};

use super::{Answer, Answered, Server};
use crate::engine::handles::Handle;
use crate::expression::Evaluated;
use crate::limits::COMPLETIONS_MAX;
use crate::values::render::unwrapped;
use crate::values::view::{View, view};

impl Server {
    pub(super) fn completions(
        &mut self,
        arguments: CompletionsArguments,
    ) -> Answered<CompletionsResponseBody> {
        let Some((tid, Handle::Frame(frame))) =
            arguments.frame_id.and_then(|id| self.engine.handles.get(id.0).cloned())
        else {
            return Ok(Answer::Now(CompletionsResponseBody::default()));
        };
        let column = usize::try_from(arguments.column.max(1)).unwrap_or(1) - 1;
        let typed = before_column(&arguments.text, column);
        let (head, part) = split(typed);
        let names: Vec<(String, CompletionItemType)> = match head {
            Some(head) => match self.evaluated(tid, frame, head) {
                Ok(Evaluated::Value(value)) => self.parts_of(&value),
                // Nothing can be offered for what does not evaluate; the user is still typing.
                _ => Vec::new(),
            },
            None => self
                .with_variables(tid, frame, |variables| {
                    let names = variables.all().into_iter();
                    Ok(names
                        .map(|variable| (variable.name.to_owned(), CompletionItemType::Variable))
                        .collect())
                })
                .unwrap_or_default(),
        };
        let length = i32::try_from(part.encode_utf16().count()).unwrap_or(0);
        let start = i32::try_from(arguments.column).unwrap_or(1) - length;
        let targets = names
            .into_iter()
            .filter(|(name, _)| name.starts_with(part))
            .take(COMPLETIONS_MAX)
            .map(|(label, type_)| CompletionItem {
                label,
                type_: Some(type_),
                start: Some(start),
                length: Some(length),
                ..Default::default()
            })
            .collect();
        Ok(Answer::Now(CompletionsResponseBody { targets }))
    }

    /// Fields, and the methods that reading alone can answer.
    fn parts_of(&self, value: &crate::values::Value) -> Vec<(String, CompletionItemType)> {
        let method = |name: &str| (name.to_owned(), CompletionItemType::Method);
        match view(&unwrapped(value, &self.engine.process), &self.engine.process) {
            View::Fields { fields, .. } | View::Future { fields, .. } => {
                fields.into_iter().map(|field| (field.name, CompletionItemType::Field)).collect()
            }
            View::List(_) | View::Table(_) | View::Text(_) => vec![method("len()"), method("is_empty()")],
            _ => Vec::new(),
        }
    }
}

/// What stands before a column, which counts units of UTF-16.
fn before_column(text: &str, column: usize) -> &str {
    let mut units = 0;
    let end = text.char_indices().find(|(_, character)| {
        let is_there = units >= column;
        units += character.len_utf16();
        is_there
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Splits what was typed into the expression before the last point, if there is one, and the begun name.
fn split(typed: &str) -> (Option<&str>, &str) {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let begun = typed.trim_end_matches(is_name);
    let part = &typed[begun.len()..];
    let Some(head) = begun.strip_suffix('.') else { return (None, part) };
    // Back to where the expression begins: a space or an operator outside of brackets.
    let mut depth = 0usize;
    let mut start = head.len();
    for (at, character) in head.char_indices().rev() {
        match character {
            ']' | ')' => depth += 1,
            '[' | '(' if depth == 0 => break,
            '[' | '(' => depth -= 1,
            _ if depth > 0 || is_name(character) || character == '.' || character == ':' => {}
            _ => break,
        }
        start = at;
    }
    (Some(&head[start..]), part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_split_at_its_last_point() {
        assert_eq!(split("tot"), (None, "tot"));
        assert_eq!(split("1 + po"), (None, "po"));
        assert_eq!(split("a && items[i + 1].na"), (Some("items[i + 1]"), "na"));
        assert_eq!(split("f(self.items."), (Some("self.items"), ""));
        assert_eq!(split(""), (None, ""));
    }

    #[test]
    fn columns_count_units_of_utf_16() {
        assert_eq!(before_column("a𝄞b", 3), "a𝄞");
        assert_eq!(before_column("ab", 9), "ab");
        assert_eq!(before_column("ab", 0), "");
    }
}
