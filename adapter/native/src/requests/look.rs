//! `mantaLook`: what the client will ask of a stop, told ahead of being asked.
//!
//! A request that resumes a thread says what is wanted of its next stop. It is told behind the stop itself, in a message of its own, so
//! that the stop is not kept waiting.

use dap::{ScopesArguments, StackTraceArguments, ThreadId, VariablesArguments};

use super::{Answer, Server};
use crate::address::Tid;
use crate::engine::threads::Thread;
use crate::limits::{LOOK_FRAMES_MAX, LOOK_VARIABLES_MAX};
use crate::protocol::{LookBody, LookWanted, MantaLook};

impl Server {
    /// Tells what is due. To be called when the stops themselves are on their way.
    pub fn tell_looks(&mut self) {
        for (tid, wanted) in self.engine.looks.take_due() {
            let thread = self.engine.threads.get(tid);
            let Some((thread_id, stop)) = thread.and_then(|thread| Some((thread.id, thread.stop()?.number)))
            else {
                continue;
            };
            self.engine.process.keep_pages();
            let body = self.look_at(tid, thread_id, stop, wanted);
            self.engine.process.forget_pages();
            self.engine.outbox.event::<MantaLook>(&body);
        }
    }

    fn look_at(&mut self, tid: Tid, thread_id: i32, stop: u64, wanted: LookWanted) -> LookBody {
        let mut body = LookBody { thread_id, stop, ..LookBody::default() };
        let arguments = StackTraceArguments {
            thread_id: ThreadId(thread_id),
            start_frame: Some(0),
            levels: Some(wanted.levels.clamp(1, LOOK_FRAMES_MAX)),
            format: None,
        };
        // What cannot be told is left out: who asks for it gets the reason.
        let Ok(Answer::Now(stack)) = self.stack_trace(arguments) else { return body };
        let frame = stack.stack_frames.first().map(|frame| frame.id);
        body.stack_trace = Some(stack);
        let Some(frame_id) = frame.filter(|_| wanted.variables && self.has_few_variables(tid)) else {
            return body;
        };
        let Ok(Answer::Now(scopes)) = self.scopes(ScopesArguments { frame_id }) else { return body };
        let scope =
            scopes.scopes.first().filter(|scope| !scope.expensive).map(|scope| scope.variables_reference);
        (body.frame, body.scopes) = (frame, Some(scopes));
        if let Some(variables_reference) = scope {
            let arguments = VariablesArguments {
                variables_reference,
                filter: None,
                start: None,
                count: None,
                format: None,
            };
            if let Ok(Answer::Now(variables)) = self.variables(arguments) {
                (body.scope, body.variables) = (scope, Some(variables));
            }
        }
        body
    }

    fn has_few_variables(&self, tid: Tid) -> bool {
        self.engine.threads.get(tid).is_some_and(Thread::is_held)
            && self
                .with_variables(tid, 0, |variables| Ok(variables.all().len()))
                .is_ok_and(|count| count <= LOOK_VARIABLES_MAX)
    }
}
