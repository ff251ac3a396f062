//! `variables`: one level of a value, in pages.

use dap::{Variable, VariablesArguments, VariablesReference, VariablesResponseBody};

use super::{Answer, Answered, Server};
use crate::address::Tid;
use crate::dwarf::evaluate::Place;
use crate::engine::handles::Handle;
use crate::limits::CHILDREN_MAX;
use crate::values::render::{children, counts, summary, unwrapped};
use crate::values::view::display_type;
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
        let (tid, children) = self.children_of(arguments.variables_reference, start, count)?;
        let mut variables = Vec::with_capacity(children.len());
        for child in children {
            variables.push(self.variable_body(tid, child)?);
        }
        Ok(Answer::Now(VariablesResponseBody { variables }))
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
                        Some(Child { name: variable.name.clone(), value: variables.value(variable)? })
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
    pub(super) fn variable_body(&mut self, tid: Tid, child: Child) -> Result<Variable, String> {
        let (value, reference, counts) = self.shown(tid, &child.value)?;
        let memory_reference = self.memory_reference(&child.value);
        Ok(Variable {
            memory_reference,
            name: child.name,
            value,
            type_: Some(display_type(&child.value.of.name)),
            variables_reference: reference,
            named_variables: i32::try_from(counts.named).ok().filter(|count| *count > 0),
            indexed_variables: i32::try_from(counts.indexed).ok().filter(|count| *count > 0),
            ..Default::default()
        })
    }

    /// Where a value's bytes can be read with `readMemory`: of a reference, those that it leads to.
    pub(super) fn memory_reference(&self, value: &Value) -> Option<String> {
        match unwrapped(value, &self.engine.process).place {
            Place::Memory(address) => Some(address.to_string()),
            Place::Bytes { .. } | Place::Unavailable(_) => None,
        }
    }

    /// A value's line, its id and how many parts it has.
    pub(super) fn shown(
        &mut self,
        tid: Tid,
        value: &Value,
    ) -> Result<(String, VariablesReference, crate::values::render::Counts), String> {
        let line = summary(value, &self.engine.process);
        let counts = counts(value, &self.engine.process);
        let reference = if counts.any() {
            self.engine.handles.add(tid, Handle::Value(Box::new(value.clone()))).ok_or(TOO_MANY)?
        } else {
            0
        };
        Ok((line, VariablesReference(reference), counts))
    }
}
