//! `setVariable`: numbers, truth values, characters, plain enums, and enums that hold one of these.

use dap::{SetVariableArguments, SetVariableResponseBody};

use super::variables::style_of;
use super::{Answer, Answered, Server};
use crate::dwarf::evaluate::Place;
use crate::engine::handles::Handle;
use crate::registers::Registers;
use crate::target::Target;
use crate::values::Value;
use crate::values::assign::parts;
use crate::values::view::display_type;

impl Server {
    pub(super) fn set_variable(
        &mut self,
        arguments: SetVariableArguments,
    ) -> Answered<SetVariableResponseBody> {
        if let Some((tid, Handle::Registers(frame))) =
            self.engine.handles.get(arguments.variables_reference.0).cloned()
        {
            return self.set_register_variable(tid, frame, &arguments.name, &arguments.value);
        }
        let (tid, children) = self.children_of(arguments.variables_reference, 0, None)?;
        let child = children
            .into_iter()
            .find(|child| child.name == arguments.name)
            .ok_or_else(|| format!("There is no variable {:?} here.", arguments.name))?;
        let frame = match self.engine.handles.get(arguments.variables_reference.0) {
            Some((_, Handle::Variables(frame))) => Some(*frame),
            _ => None,
        };
        self.assign(tid, frame, &child.value, &arguments.value)?;
        let (again, variables_reference) = match self
            .children_of(arguments.variables_reference, 0, None)?
            .1
            .into_iter()
            .find(|child| child.name == arguments.name)
        {
            Some(child) => {
                let style = style_of(arguments.format.as_ref());
                let (shown, reference) = self.shown(tid, &child.value, style)?;
                (shown.line, reference)
            }
            None => (arguments.value, dap::VariablesReference(0)),
        };
        Ok(Answer::Now(SetVariableResponseBody {
            value: again,
            type_: Some(display_type(&child.value.of.name)),
            variables_reference: Some(variables_reference),
            ..Default::default()
        }))
    }

    /// Gives a place of the program a new value. A register can be set when it is known to belong to the innermost frame.
    pub(super) fn assign(
        &mut self,
        tid: crate::address::Tid,
        frame: Option<usize>,
        value: &Value,
        text: &str,
    ) -> Result<(), String> {
        let writes = parts(value, text, &self.engine.process)
            .map_err(|reason| format!("It cannot be set: {reason}."))?;
        for (part, bytes) in writes {
            self.write_part(tid, frame, &part, &bytes)?;
        }
        if let Some(stop) = self.engine.threads.get_mut(tid).and_then(|thread| thread.stop_mut()) {
            stop.forget_stack();
        }
        Ok(())
    }

    fn write_part(
        &mut self,
        tid: crate::address::Tid,
        frame: Option<usize>,
        value: &Value,
        bytes: &[u8],
    ) -> Result<(), String> {
        match &value.place {
            Place::Memory(address) => {
                self.engine
                    .process
                    .write(*address, bytes)
                    .map_err(|error| format!("It cannot be set: {error}."))?;
            }
            Place::Bytes { register: Some(register), .. } => {
                let stack = self.stack_of(tid)?;
                let own = frame.and_then(|frame| stack.frames.get(frame));
                if own.is_none_or(|own| own.physical > 0) {
                    return Err("It is in a register that a caller has saved, and cannot be set.".to_owned());
                }
                let innermost = stack.physical.first().ok_or("The thread has no stack.")?;
                let mut word = innermost
                    .registers
                    .get(*register)
                    .ok_or("It is in a register that cannot be set.")?
                    .to_le_bytes();
                word.get_mut(..bytes.len())
                    .ok_or("It does not fit into its register.")?
                    .copy_from_slice(bytes);
                self.set_register(tid, *register, u64::from_le_bytes(word))?;
            }
            Place::Bytes { register: None, .. } | Place::Partly { .. } => {
                return Err("It is a constant of the compiler and cannot be set.".to_owned());
            }
            Place::Unavailable(reason) => return Err(format!("It cannot be set: {reason}.")),
        }
        Ok(())
    }

    /// Sets a register of the innermost frame; those of callers live in memory by now.
    pub(super) fn set_register(
        &mut self,
        tid: crate::address::Tid,
        register: gimli::Register,
        word: u64,
    ) -> Result<(), String> {
        let change = |kernel: &mut libc::user_regs_struct| {
            let mut registers = Registers::from_kernel(kernel);
            registers.set(register, Some(word));
            registers.to_kernel(kernel);
        };
        self.engine.change_registers(tid, change).map_err(|error| format!("It cannot be set: {error}."))?;
        if let Some(stop) = self.engine.threads.get_mut(tid).and_then(|thread| thread.stop_mut()) {
            stop.registers.set(register, Some(word));
        }
        Ok(())
    }
}
