//! The client's requests, one file each. Every request is answered exactly once: at once by what `handle` returns, or later.

mod attach;
mod breakpoint_locations;
mod cancel;
pub(crate) mod completions;
mod configuration_done;
mod continue_;
mod data_breakpoint_info;
pub(crate) mod disassemble;
mod disconnect;
pub(crate) mod evaluate;
mod exception_info;
pub(crate) mod goto;
mod goto_targets;
mod initialize;
mod launch;
mod loaded_sources;
mod pause;
mod read_memory;
mod restart_frame;
pub(crate) mod scopes;
mod set_breakpoints;
mod set_data_breakpoints;
mod set_exception_breakpoints;
pub(crate) mod set_expression;
mod set_function_breakpoints;
pub(crate) mod set_variable;
pub(crate) mod source;
pub(crate) mod stack_trace;
mod step;
pub(crate) mod step_in_targets;
mod terminate;
mod threads;
pub(crate) mod variables;
mod write_memory;

use dap::{ErrorMessage, RequestMessage, ResponseMessage};

use crate::{
    arena::HandleError,
    breakpoints::SetError,
    ids::IdsExhausted,
    resuming::StepKind,
    session::{Phase, Session},
};

/// Why a request is not done, as a sentence.
#[derive(Debug)]
pub(crate) struct Refusal(pub ErrorMessage);

/// The answer; `None` when it was sent already or comes later.
pub(crate) type Handled = Result<Option<ResponseMessage>, Refusal>;

impl From<&str> for Refusal {
    fn from(sentence: &str) -> Self {
        Self(ErrorMessage::from(sentence))
    }
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self(ErrorMessage::from(sentence))
    }
}

impl From<dap::Malformed> for Refusal {
    fn from(malformed: dap::Malformed) -> Self {
        Self::from(malformed.reason)
    }
}

impl From<HandleError> for Refusal {
    fn from(error: HandleError) -> Self {
        Self::from(error.to_string())
    }
}

impl From<IdsExhausted> for Refusal {
    fn from(error: IdsExhausted) -> Self {
        Self::from(error.to_string())
    }
}

impl From<SetError> for Refusal {
    fn from(error: SetError) -> Self {
        Self::from(error.to_string())
    }
}

/// Handles one request of the client.
pub(crate) fn dispatch(session: &mut Session, request: &RequestMessage) {
    let handled = check_phase(session, request).and_then(|()| handle(session, request));
    match handled {
        Ok(Some(answer)) => session.reply(answer),
        Ok(None) => {}
        Err(Refusal(error)) => session.reply(request.err(error)),
    }
}

fn check_phase(session: &Session, request: &RequestMessage) -> Result<(), Refusal> {
    let command = request.command.as_str();
    match session.phase {
        Phase::New if !matches!(command, "initialize" | "disconnect") => {
            Err(Refusal::from(format!("'{command}' came before 'initialize'; initialize the session first")))
        }
        Phase::Ended if !matches!(command, "disconnect" | "terminate" | "threads") => {
            Err(Refusal::from("the session has ended; attach again"))
        }
        _ => Ok(()),
    }
}

fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    match request.command.as_str() {
        "initialize" => initialize::handle(session, request),
        "attach" => attach::handle(session, request),
        "launch" => launch::handle(session, request),
        "configurationDone" => configuration_done::handle(session, request),
        "setBreakpoints" => set_breakpoints::handle(session, request),
        "setFunctionBreakpoints" => set_function_breakpoints::handle(session, request),
        "setExceptionBreakpoints" => set_exception_breakpoints::handle(session, request),
        "threads" => threads::handle(session, request),
        "stackTrace" => stack_trace::handle(session, request),
        "scopes" => scopes::handle(session, request),
        "variables" => variables::handle(session, request),
        "setVariable" => set_variable::handle(session, request),
        "evaluate" => evaluate::handle(session, request),
        "source" => source::handle(session, request),
        "exceptionInfo" => exception_info::handle(session, request),
        "continue" => continue_::handle(session, request),
        "next" => step::handle(session, request, StepKind::Next),
        "stepIn" => step::handle_in(session, request),
        "stepOut" => step::handle(session, request, StepKind::Out),
        "pause" => pause::handle(session, request),
        _ => handle_optional(session, request),
    }
}

/// Requests that not every engine knows: a target that does not know one refuses it, and the client gets its sentence.
fn handle_optional(session: &mut Session, request: &RequestMessage) -> Handled {
    match request.command.as_str() {
        "completions" => completions::handle(session, request),
        "setExpression" => set_expression::handle(session, request),
        "stepInTargets" => step_in_targets::handle(session, request),
        "gotoTargets" => goto_targets::handle(session, request),
        "goto" => goto::handle(session, request),
        "restartFrame" => restart_frame::handle(session, request),
        "breakpointLocations" => breakpoint_locations::handle(session, request),
        "loadedSources" => loaded_sources::handle(session, request),
        "dataBreakpointInfo" => data_breakpoint_info::handle(session, request),
        "setDataBreakpoints" => set_data_breakpoints::handle(session, request),
        "readMemory" => read_memory::handle(session, request),
        "writeMemory" => write_memory::handle(session, request),
        "disassemble" => disassemble::handle(session, request),
        "cancel" => cancel::handle(session, request),
        "disconnect" => disconnect::handle(session, request),
        "terminate" => terminate::handle(session, request),
        other => Err(Refusal::from(format!("Manta does not know the request '{other}'"))),
    }
}
