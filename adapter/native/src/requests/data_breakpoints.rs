//! `dataBreakpointInfo` and `setDataBreakpoints`: what can be watched, and watching it.
//!
//! The id of a place names the process too, because a session gives each of its targets all ids.

use dap::{
    DataBreakpointAccessType, DataBreakpointInfoArguments, DataBreakpointInfoResponseBody,
    SetDataBreakpointsArguments, SetDataBreakpointsResponseBody,
};

use super::memory::referenced;
use super::{Answer, Answered, Server};
use crate::address::Address;
use crate::dwarf::evaluate::Place;
use crate::engine::breakpoints::{Access, On, Specification};
use crate::engine::handles::Handle;
use crate::engine::watches::register_of;
use crate::expression::{Evaluated, evaluate, parse};
use crate::values::Value;
use crate::values::render::unwrapped;

impl Server {
    pub(super) fn data_breakpoint_info(
        &mut self,
        arguments: DataBreakpointInfoArguments,
    ) -> Answered<DataBreakpointInfoResponseBody> {
        let place = self.engine.can_watch().and_then(|()| self.watched_place(&arguments));
        let place = place.and_then(|(address, bytes)| {
            register_of(address, bytes, Access::Write)?;
            Ok((address, bytes))
        });
        let name = &arguments.name;
        Ok(Answer::Now(match place {
            Ok((address, bytes)) => DataBreakpointInfoResponseBody {
                data_id: Some(format!("{}:{address}:{bytes}", self.engine.process.identity())),
                description: format!("{name}: {bytes} bytes at {address}"),
                access_types: Some(vec![
                    DataBreakpointAccessType::Write,
                    DataBreakpointAccessType::ReadWrite,
                ]),
                can_persist: Some(false),
            },
            Err(reason) => DataBreakpointInfoResponseBody {
                data_id: None,
                description: format!("{name} cannot be watched: {reason}."),
                ..Default::default()
            },
        }))
    }

    fn watched_place(&self, arguments: &DataBreakpointInfoArguments) -> Result<(Address, u64), String> {
        if arguments.as_address == Some(true) {
            let bytes = u64::try_from(arguments.bytes.unwrap_or(8)).map_err(|_| "its size is negative")?;
            return Ok((referenced(&arguments.name, None)?, bytes));
        }
        let value = match (arguments.variables_reference, arguments.frame_id) {
            (Some(reference), _) if reference.0 != 0 => {
                let (_, children) = self.children_of(reference, 0, None)?;
                let child = children.into_iter().find(|child| child.name == arguments.name);
                child.ok_or("there is no such variable here")?.value
            }
            (_, Some(frame)) => self.expression_value(frame, &arguments.name)?,
            _ => return Err("it needs a frame or a variable".to_owned()),
        };
        let value = watched_part(value, &self.engine.process);
        match value.place {
            Place::Memory(address) => Ok((address, value.of.bytes)),
            Place::Bytes { register: Some(_), .. } => {
                Err("it is in a register of the processor, which is no memory".to_owned())
            }
            Place::Bytes { register: None, .. } | Place::Partly { .. } => {
                Err("it is in no single place: a constant, or put together from several".to_owned())
            }
            Place::Unavailable(reason) => Err(reason.to_owned()),
        }
    }

    fn expression_value(&self, frame: dap::FrameId, expression: &str) -> Result<Value, String> {
        let Some((tid, Handle::Frame(frame))) = self.engine.handles.get(frame.0).cloned() else {
            return Err("there is no such frame; its thread runs on".to_owned());
        };
        let expression = parse(expression)?;
        let memory = &self.engine.process;
        match self.with_variables(tid, frame, |names| evaluate(&expression, names, memory))? {
            Evaluated::Value(value) => Ok(value),
            _ => Err("it is no place of the program".to_owned()),
        }
    }

    pub(super) fn set_data_breakpoints(
        &mut self,
        arguments: SetDataBreakpointsArguments,
    ) -> Answered<SetDataBreakpointsResponseBody> {
        let mut data = Vec::new();
        for breakpoint in arguments.breakpoints {
            data.push(Specification {
                id: self.ordinary.next_id(),
                on: self.data_place(&breakpoint.data_id, breakpoint.access_type.as_ref())?,
                condition: breakpoint.condition,
                hit_condition: breakpoint.hit_condition,
                log_message: None,
            });
        }
        let ids: Vec<i32> = data.iter().map(|specification| specification.id).collect();
        self.ordinary.data = data;
        Ok(Answer::WhenSynced(SetDataBreakpointsResponseBody { breakpoints: self.apply_ordinary(&ids) }))
    }

    /// Reads an id that [`Self::data_breakpoint_info`] of this process or of another one has given out.
    pub(super) fn data_place(
        &self,
        id: &str,
        access: Option<&DataBreakpointAccessType>,
    ) -> Result<On, String> {
        let access = match access {
            None | Some(DataBreakpointAccessType::Write) => Access::Write,
            Some(DataBreakpointAccessType::ReadWrite) => Access::ReadWrite,
            Some(_) => {
                return Err("The processor cannot watch reads alone; watch reads and writes.".to_owned());
            }
        };
        let mut parts = id.split(':');
        let (Some(process), Some(address), Some(bytes), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("{id:?} is no id that dataBreakpointInfo has given."));
        };
        if process != self.engine.process.identity() {
            return Ok(On::ElsewhereData(id.to_owned()));
        }
        let bytes =
            bytes.parse().map_err(|_| format!("{id:?} is no id that dataBreakpointInfo has given."))?;
        Ok(On::Data { address: referenced(address, None)?, bytes, access })
    }
}

/// What of a value is watched: behind wrappers that are not references, the value inside.
fn watched_part(value: Value, memory: &dyn crate::target::Memory) -> Value {
    if value.of.name.starts_with('&') { value } else { unwrapped(&value, memory) }
}
