//! `variables`: one level of a value, in pages.

use dap::{Variable, VariablesArguments, VariablesReference, VariablesResponseBody};

use super::{Answer, Answered, Server};
use crate::address::Tid;
use crate::engine::handles::Handle;
use crate::limits::CHILDREN_MAX;
use crate::values::render::{Shown, Style, children, shown, unwrapped};
use crate::values::view::{View, display_type, view};
use crate::values::{Child, Value};

/// What is said when the limit of open values is reached.
pub(super) const TOO_MANY: &str =
    "Too many values of this stop are open; let the thread run on, or open fewer.";

impl Server {
    pub(super) fn variables(&mut self, arguments: VariablesArguments) -> Answered<VariablesResponseBody> {
        let start = u64::try_from(arguments.start.unwrap_or(0)).unwrap_or(0);
        let count = arguments.count.and_then(|count| u64::try_from(count).ok());
        if let Some((tid, Handle::Registers(frame))) =
            self.engine.handles.get(arguments.variables_reference.0).cloned()
        {
            let most = count.filter(|count| *count > 0).map_or(usize::MAX, |count| count as usize);
            let all = self.register_variables(tid, frame)?.into_iter();
            let variables = all.skip(start as usize).take(most).collect();
            return Ok(Answer::Now(VariablesResponseBody { variables }));
        }
        let most = count.filter(|count| *count > 0).map_or(CHILDREN_MAX, |count| count as usize);
        match self.engine.handles.get(arguments.variables_reference.0).cloned() {
            Some((tid, Handle::TokioTasks(tasks))) => {
                let variables = self.tokio_tasks(tid, &tasks, start as usize, most)?;
                return Ok(Answer::Now(VariablesResponseBody { variables }));
            }
            Some((tid, Handle::TokioTask(tasks, task))) => {
                let all = self.tokio_task(tid, &tasks, &task)?.into_iter();
                let variables = all.skip(start as usize).take(most).collect();
                return Ok(Answer::Now(VariablesResponseBody { variables }));
            }
            _ => {}
        }
        let style = style_of(arguments.format.as_ref());
        let path = self.path_of(arguments.variables_reference);
        let (tid, children) = self.children_of(arguments.variables_reference, start, count)?;
        let mut variables = Vec::with_capacity(children.len());
        for child in children {
            let path = path.as_ref().and_then(|path| path_of_part(path, &child.name));
            let mut variable = self.variable_body(tid, child, style)?;
            self.engine.handles.name(variable.variables_reference.0, path.as_deref());
            variable.evaluate_name = path;
            variables.push(variable);
        }
        Ok(Answer::Now(VariablesResponseBody { variables }))
    }

    /// The expression for what the client has opened, if there is one; empty for a frame.
    fn path_of(&self, reference: VariablesReference) -> Option<String> {
        match self.engine.handles.get(reference.0)? {
            (_, Handle::Variables(_)) => Some(String::new()),
            // A map's entries are shown by their keys, and are not looked up by them.
            (_, Handle::Value(value)) => {
                let memory = &self.engine.process;
                let is_table = matches!(view(&unwrapped(value, memory), memory), View::Table(_));
                let path = self.engine.handles.name_of(reference.0).filter(|_| !is_table);
                path.map(str::to_owned)
            }
            _ => None,
        }
    }

    /// The parts of what the client has opened, and the thread that holds it.
    pub(super) fn children_of(
        &self,
        reference: VariablesReference,
        start: u64,
        count: Option<u64>,
    ) -> Result<(Tid, Vec<Child>), String> {
        match self.engine.handles.get(reference.0).cloned() {
            Some((tid, Handle::Variables(frame))) => {
                let children = self.with_variables(tid, frame, |variables| {
                    let all = variables.all();
                    let child = |variable: &crate::dwarf::evaluate::VariableEntry| {
                        Some(Child { name: variable.name.to_owned(), value: variables.value(variable)? })
                    };
                    let most = count.filter(|count| *count > 0).map_or(usize::MAX, |count| count as usize);
                    Ok(all.iter().filter_map(child).skip(start as usize).take(most).collect())
                })?;
                Ok((tid, children))
            }
            Some((tid, Handle::Value(value))) => {
                Ok((tid, children(&value, &self.engine.process, start, count)))
            }
            _ => Err("These variables are gone; their thread runs on.".to_owned()),
        }
    }

    /// A value with its id, if there is anything to open.
    pub(super) fn variable_body(&mut self, tid: Tid, child: Child, style: Style) -> Result<Variable, String> {
        let (Shown { line, counts, address }, reference) = self.shown(tid, &child.value, style)?;
        Ok(Variable {
            memory_reference: address.map(|address| address.to_string()),
            name: child.name,
            value: line,
            type_: Some(display_type(&child.value.of.name)),
            variables_reference: reference,
            named_variables: i32::try_from(counts.named).ok().filter(|count| *count > 0),
            indexed_variables: i32::try_from(counts.indexed).ok().filter(|count| *count > 0),
            ..Default::default()
        })
    }

    /// What a client sees of a value, and its id if there is anything to open.
    pub(super) fn shown(
        &mut self,
        tid: Tid,
        value: &Value,
        style: Style,
    ) -> Result<(Shown, VariablesReference), String> {
        let shown = shown(value, &self.engine.process, style);
        let reference = if shown.counts.any() {
            self.engine.handles.add(tid, Handle::Value(Box::new(value.clone()))).ok_or(TOO_MANY)?
        } else {
            0
        };
        Ok((shown, VariablesReference(reference)))
    }
}

/// How a client wants values written.
pub(super) fn style_of(format: Option<&dap::ValueFormat>) -> Style {
    Style::LINE.with_hex(format.and_then(|format| format.hex).unwrap_or(false))
}

/// The expression for a part of what an expression is for; the empty one is for a frame.
fn path_of_part(path: &str, part: &str) -> Option<String> {
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let index = part.strip_prefix('[').and_then(|part| part.strip_suffix(']'));
    if path.is_empty() {
        is_word(part).then(|| part.to_owned())
    } else if index.is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(format!("{path}{part}"))
    } else if part == "*" {
        Some(format!("(*{path})"))
    } else {
        is_word(part).then(|| format!("{path}.{part}"))
    }
}

#[cfg(test)]
mod tests {
    use super::path_of_part;

    #[test]
    fn parts_have_expressions() {
        let path = |path, part| path_of_part(path, part);
        assert_eq!(path("", "point").as_deref(), Some("point"));
        assert_eq!(path("point", "x").as_deref(), Some("point.x"));
        assert_eq!(path("pair", "0").as_deref(), Some("pair.0"));
        assert_eq!(path("list", "[3]").as_deref(), Some("list[3]"));
        assert_eq!(path("pointer", "*").as_deref(), Some("(*pointer)"));
        assert_eq!(path("map", "[\"key\"]"), None);
        assert_eq!(path("", "{closure}"), None);
    }
}
