//! `exceptionInfo`: of a thread that is paused at a panic, or before a fatal signal.

use dap::{ExceptionBreakMode, ExceptionDetails, ExceptionInfoArguments, ExceptionInfoResponseBody};

use super::{Answer, Answered, Server};
use crate::engine::stops::{Reason, Stack};
use crate::engine::user_code::is_user_code;

/// Frames of the text that goes with an exception.
const FRAMES_IN_TEXT_MAX: usize = 64;

/// The stack as text, from the first frame of the user's own code on, as clients show it beside the exception.
fn text_of(stack: &Stack) -> String {
    let first = stack.frames.iter().position(|frame| is_user_code(&frame.code)).unwrap_or(0);
    let shown = stack.frames[first..].iter().take(FRAMES_IN_TEXT_MAX).map(|frame| {
        let code = &frame.code;
        match &code.file {
            Some(file) => format!("{} at {file}:{}\n", code.name, code.line),
            None => format!("{}\n", code.name),
        }
    });
    let mut text: String = shown.collect();
    let rest = stack.frames.len().saturating_sub(first + FRAMES_IN_TEXT_MAX);
    if rest > 0 {
        text.push_str(&format!("… {rest} more\n"));
    }
    text
}

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
        let details = ExceptionDetails {
            message: what,
            type_name: Some(id.to_owned()),
            stack_trace: Some(text_of(&stack)),
            ..Default::default()
        };
        Ok(Answer::Now(ExceptionInfoResponseBody {
            exception_id: id.to_owned(),
            description: Some(description),
            break_mode: ExceptionBreakMode::Always,
            details: Some(details),
        }))
    }
}
