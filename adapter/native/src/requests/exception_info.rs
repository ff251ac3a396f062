//! `exceptionInfo`: of a thread that is paused at a panic, or before a fatal signal.

use dap::{ExceptionBreakMode, ExceptionDetails, ExceptionInfoArguments, ExceptionInfoResponseBody};

use super::{Answer, Answered, Server};
use crate::engine::stops::Reason;
use crate::engine::user_code::is_user_code;

impl Server {
    pub(super) fn exception_info(
        &mut self,
        arguments: ExceptionInfoArguments,
    ) -> Answered<ExceptionInfoResponseBody> {
        let thread = self.held(arguments.thread_id)?;
        let tid = thread.tid;
        let (id, what) = match thread.stop().map(|stop| &stop.reason) {
            Some(Reason::Panic { message }) => ("panic", message.clone()),
            Some(Reason::Signal(fatal)) => (fatal.name, Some(fatal.to_string())),
            _ => return Err("The thread is not paused at a panic or a signal.".to_owned()),
        };
        let stack = self.stack_of(tid)?;
        let place = stack.frames.iter().find(|frame| is_user_code(&frame.code)).map_or_else(
            || "outside of the program's own code".to_owned(),
            |frame| {
                let file = frame.code.file.as_deref().unwrap_or("?");
                format!("in {} at {file}:{}", frame.code.name, frame.code.line)
            },
        );
        let description = match &what {
            Some(what) => format!("{what}, {place}"),
            None => format!("A panic begins {place}."),
        };
        let details =
            ExceptionDetails { message: what, type_name: Some(id.to_owned()), ..Default::default() };
        Ok(Answer::Now(ExceptionInfoResponseBody {
            exception_id: id.to_owned(),
            description: Some(description),
            break_mode: ExceptionBreakMode::Always,
            details: Some(details),
        }))
    }
}
