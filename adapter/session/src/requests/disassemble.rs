//! `disassemble`: the instructions around a place in a process.

use dap::{
    DisassembleArguments, DisassembleResponseBody, DisassembledInstruction, RequestMessage,
    requests as dap_requests,
};

use super::{Handled, Refusal};
use crate::{
    ids::TargetId,
    limits::INSTRUCTIONS_MAX,
    pending::{Pending, Purpose},
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: DisassembleArguments = request.arguments()?;
    if arguments.instruction_count > INSTRUCTIONS_MAX {
        return Err(Refusal::from(format!(
            "{} instructions are more than the {INSTRUCTIONS_MAX} that are shown at a time; ask for less",
            arguments.instruction_count
        )));
    }
    let (target, own) = session.memory_of(&arguments.memory_reference)?;
    let asked = DisassembleArguments { memory_reference: own, ..arguments };
    let pending = Pending::new(Some(origin(request)), target, None, Purpose::Disassemble);
    session.ask::<dap_requests::Disassemble>(&asked, pending)?;
    Ok(None)
}

pub(crate) fn answered(
    session: &mut Session,
    target: &TargetId,
    body: DisassembleResponseBody,
) -> DisassembleResponseBody {
    let mut shown = |instruction: DisassembledInstruction| DisassembledInstruction {
        location: instruction.location.map(|source| session.shown_source(source, target)),
        line: instruction.line.map(|line| session.shown_line(line)),
        column: instruction.column.map(|column| session.shown_column(column)),
        end_line: instruction.end_line.map(|line| session.shown_line(line)),
        end_column: instruction.end_column.map(|column| session.shown_column(column)),
        ..instruction
    };
    DisassembleResponseBody { instructions: body.instructions.into_iter().map(&mut shown).collect() }
}
