//! `exceptionInfo`: of a thread that is paused where a panic begins.

use dap::{ExceptionBreakMode, ExceptionInfoArguments, ExceptionInfoResponseBody};

use super::{Answer, Answered, Server};
use crate::engine::stops::Reason;
use crate::engine::user_code::is_user_code;

impl Server {
    pub(super) fn exception_info(
        &mut self,
        arguments: ExceptionInfoArguments,
    ) -> Answered<ExceptionInfoResponseBody> {
        let thread = self.held(arguments.thread_id)?;
        let (tid, is_panic) = (thread.tid, thread.stop().is_some_and(|stop| stop.reason == Reason::Panic));
        if !is_panic {
            return Err("The thread is not paused at a panic.".to_owned());
        }
        let stack = self.stack_of(tid)?;
        let place = stack.frames.iter().find(|frame| is_user_code(&frame.code)).map(|frame| {
            format!(
                "in {} at {}:{}",
                frame.code.name,
                frame.code.file.as_deref().unwrap_or("?"),
                frame.code.line
            )
        });
        Ok(Answer::Now(ExceptionInfoResponseBody {
            exception_id: "panic".to_owned(),
            description: Some(format!(
                "A panic begins {}.",
                place.unwrap_or_else(|| "outside of the program's own code".to_owned())
            )),
            break_mode: ExceptionBreakMode::Always,
            ..Default::default()
        }))
    }
}
