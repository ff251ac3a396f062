//! `mantaLook`: what the client will ask of a stop, told ahead of being asked.
//!
//! A request that resumes a thread says what is wanted of its next stop. It is told behind the stop itself, in messages of their
//! own, the stack before the variables: neither waits for what takes longer.

use dap::{FrameId, ScopesArguments, StackTraceArguments, ThreadId, VariablesArguments};

use super::{Answer, Server};
use crate::address::Tid;
use crate::engine::threads::Thread;
use crate::limits::{LOOK_FRAMES_MAX, LOOK_VARIABLES_MAX};
use crate::protocol::{LookBody, MantaLook};

impl Server {
    /// Tells the stacks of what is due. They follow the stops, which are waiting to be written.
    pub fn tell_stacks(&mut self) {
        for (tid, wanted) in self.engine.looks.take_due() {
            let Some((thread_id, stop)) = self.stop_of(tid) else { continue };
            self.engine.process.keep_pages();
            let arguments = StackTraceArguments {
                thread_id: ThreadId(thread_id),
                start_frame: Some(0),
                levels: Some(wanted.levels.clamp(1, LOOK_FRAMES_MAX)),
                format: None,
            };
            let mut body = LookBody { thread_id, stop, ..LookBody::default() };
            // What cannot be told is left out: who asks for it gets the reason.
            if let Ok(Answer::Now(stack)) = self.stack_trace(arguments) {
                body.more = wanted.variables && !stack.stack_frames.is_empty();
                if body.more {
                    self.engine.looks.owe_variables(tid, stack.stack_frames[0].id);
                }
                body.stack_trace = Some(stack);
            }
            self.engine.process.forget_pages();
            self.engine.outbox.event::<MantaLook>(&body);
        }
    }

    /// Tells the variables behind the stacks.
    pub fn tell_variables(&mut self) {
        for (tid, frame) in self.engine.looks.take_owed() {
            let Some((thread_id, stop)) = self.stop_of(tid) else { continue };
            self.engine.process.keep_pages();
            let mut body = LookBody { thread_id, stop, ..LookBody::default() };
            self.look_at(tid, frame, &mut body);
            self.engine.process.forget_pages();
            self.engine.outbox.event::<MantaLook>(&body);
        }
    }

    fn stop_of(&self, tid: Tid) -> Option<(i32, u64)> {
        let thread = self.engine.threads.get(tid)?;
        Some((thread.id, thread.stop()?.number))
    }

    fn look_at(&mut self, tid: Tid, frame_id: FrameId, body: &mut LookBody) {
        if !self.has_few_variables(tid) {
            return;
        }
        let Ok(Answer::Now(scopes)) = self.scopes(ScopesArguments { frame_id }) else { return };
        let scope =
            scopes.scopes.first().filter(|scope| !scope.expensive).map(|scope| scope.variables_reference);
        (body.frame, body.scopes) = (Some(frame_id), Some(scopes));
        let Some(variables_reference) = scope else { return };
        let arguments =
            VariablesArguments { variables_reference, filter: None, start: None, count: None, format: None };
        if let Ok(Answer::Now(variables)) = self.variables(arguments) {
            (body.scope, body.variables) = (scope, Some(variables));
        }
    }

    fn has_few_variables(&self, tid: Tid) -> bool {
        self.engine.threads.get(tid).is_some_and(Thread::is_held)
            && self
                .with_variables(tid, 0, |variables| Ok(variables.all().len()))
                .is_ok_and(|count| count <= LOOK_VARIABLES_MAX)
    }
}
