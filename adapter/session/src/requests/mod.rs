//! The client's requests, one file each. Every request is answered exactly once: at once by what `handle` returns, or later.

mod attach;
mod cancel;
mod configuration_done;
mod continue_;
mod disconnect;
pub(crate) mod evaluate;
mod exception_info;
mod initialize;
mod launch;
mod pause;
pub(crate) mod scopes;
mod set_breakpoints;
mod set_exception_breakpoints;
mod set_function_breakpoints;
pub(crate) mod set_variable;
pub(crate) mod source;
pub(crate) mod stack_trace;
mod step;
mod terminate;
mod threads;
pub(crate) mod variables;

use dap::{ErrorMessage, RequestMessage, ResponseMessage};

use crate::{
    arena::HandleError,
    breakpoints::SetError,
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
        "stepIn" => step::handle(session, request, StepKind::In),
        "stepOut" => step::handle(session, request, StepKind::Out),
        "pause" => pause::handle(session, request),
        "cancel" => cancel::handle(session, request),
        "disconnect" => disconnect::handle(session, request),
        "terminate" => terminate::handle(session, request),
        other => Err(Refusal::from(format!("Manta does not know the request '{other}'"))),
    }
}
