//! The registers of a frame, as variables.

use dap::{SetVariableResponseBody, Variable};
use gimli::Register;

use super::{Answer, Answered, Server};
use crate::address::Tid;
use crate::registers::{RIP, RSP};
use crate::values::scalar::parse_integer;

/// Names of the general registers, with DWARF's numbers, as people look for them.
const GENERAL: [(&str, Register); 17] = [
    ("rip", RIP),
    ("rsp", RSP),
    ("rbp", Register(6)),
    ("rax", Register(0)),
    ("rbx", Register(3)),
    ("rcx", Register(2)),
    ("rdx", Register(1)),
    ("rsi", Register(4)),
    ("rdi", Register(5)),
    ("r8", Register(8)),
    ("r9", Register(9)),
    ("r10", Register(10)),
    ("r11", Register(11)),
    ("r12", Register(12)),
    ("r13", Register(13)),
    ("r14", Register(14)),
    ("r15", Register(15)),
];
/// DWARF's number of `xmm0`; fifteen more follow.
const XMM0: u16 = 17;

impl Server {
    /// All registers of a frame. Of a caller, those that the called function has preserved.
    pub(super) fn register_variables(&self, tid: Tid, frame: usize) -> Result<Vec<Variable>, String> {
        let stack = self.stack_of(tid)?;
        let physical = stack.frames.get(frame).ok_or("There is no such frame.")?.physical;
        let registers = &stack.physical[physical].registers;
        let variable = |name: &str, value: Option<u64>| Variable {
            name: name.to_owned(),
            value: value.map_or_else(|| "<overwritten by a call>".to_owned(), |value| format!("{value:#x}")),
            memory_reference: value.map(|value| format!("{value:#x}")),
            ..Default::default()
        };
        let mut variables: Vec<Variable> =
            GENERAL.iter().map(|(name, register)| variable(name, registers.get(*register))).collect();
        if physical > 0 {
            return Ok(variables);
        }
        variables.push(variable("rflags", Some(registers.flags)));
        variables.push(variable("fs_base", Some(registers.fs_base)));
        for number in 0..16 {
            if let Some(bytes) = registers.bytes(Register(XMM0 + number)) {
                let value = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>();
                let value = format!("0x{value}");
                variables.push(Variable { name: format!("xmm{number}"), value, ..Default::default() });
            }
        }
        Ok(variables)
    }

    /// Sets a general register of the innermost frame.
    pub(super) fn set_register_variable(
        &mut self,
        tid: Tid,
        frame: usize,
        name: &str,
        text: &str,
    ) -> Answered<SetVariableResponseBody> {
        let stack = self.stack_of(tid)?;
        if stack.frames.get(frame).is_none_or(|frame| frame.physical > 0) {
            return Err(
                "Only the registers of the innermost frame can be set; a caller's are in memory.".to_owned()
            );
        }
        let (_, register) = GENERAL
            .iter()
            .find(|(own, _)| *own == name)
            .ok_or_else(|| format!("The register {name:?} cannot be set; the general registers can."))?;
        let value = parse_integer(text)
            .and_then(|value| {
                u64::try_from(value).or_else(|_| i64::try_from(value).map(|value| value as u64)).ok()
            })
            .ok_or_else(|| format!("{text:?} is not a number of 64 bits."))?;
        self.set_register(tid, *register, value)?;
        if let Some(stop) = self.engine.threads.get_mut(tid).and_then(|thread| thread.stop_mut()) {
            stop.forget_stack();
        }
        Ok(Answer::Now(SetVariableResponseBody { value: format!("{value:#x}"), ..Default::default() }))
    }
}
