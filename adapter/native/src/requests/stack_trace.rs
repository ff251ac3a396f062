//! `stackTrace`, in pages.

use std::rc::Rc;

use dap::{StackTraceArguments, StackTraceResponseBody};

use super::{Answer, Answered, Server};
use crate::address::{Address, Tid};
use crate::dwarf::unwind::StackEnd;
use crate::engine::stops::Stack;
use crate::engine::threads::Thread;
use crate::limits::{FRAMES_DEEPEST_MAX, FRAMES_MAX};

impl Server {
    pub(super) fn stack_trace(&mut self, arguments: StackTraceArguments) -> Answered<StackTraceResponseBody> {
        let tid = self.held(arguments.thread_id)?.tid;
        let stack = self.whole_stack_of(tid)?;
        let start = usize::try_from(arguments.start_frame.unwrap_or(0)).unwrap_or(0);
        let levels = usize::try_from(arguments.levels.unwrap_or(0)).unwrap_or(0);
        let levels = if levels == 0 { FRAMES_MAX } else { levels };
        let stack = self.walk_to(tid, start.saturating_add(levels), stack)?;
        let mut frames = Vec::new();
        for (index, frame) in stack.frames.iter().enumerate().skip(start).take(levels) {
            let pc = Address(stack.physical[frame.physical].registers.pc());
            frames.push(
                self.engine
                    .frame_body(tid, index, frame, pc)
                    .ok_or("There are too many open frames; let the thread run on.")?,
            );
        }
        if stack.end == StackEnd::Cut
            && stack.physical.len() >= FRAMES_DEEPEST_MAX
            && start + levels >= stack.frames.len()
            && let Some(last) = frames.last_mut()
        {
            last.name.push_str(&format!(" (cut after {} frames)", stack.frames.len()));
        }
        // Behind the end of a task's own stack are those that wait for the task.
        let awaiters = if stack.end == StackEnd::Cut { None } else { Some(self.awaiters(tid, &stack)?) };
        if let Some(awaiters) = &awaiters {
            let from = start.saturating_sub(stack.frames.len());
            frames.extend(awaiters.iter().skip(from).take(levels - frames.len()).cloned());
        }
        let awaiting = awaiters.map_or(0, |awaiters| awaiters.len());
        // A stack that goes on has one frame more at least: clients ask for what they have not seen.
        let beyond = usize::from(stack.end == StackEnd::Cut && stack.physical.len() < FRAMES_DEEPEST_MAX);
        let total_frames = i32::try_from(stack.frames.len() + beyond + awaiting).ok();
        Ok(Answer::Now(StackTraceResponseBody { stack_frames: frames, total_frames }))
    }

    /// The stack, walked again if it leads into a library that was loaded while nobody watched.
    fn whole_stack_of(&mut self, tid: Tid) -> Result<Rc<Stack>, String> {
        let stack = self.stack_of(tid)?;
        let engine = &mut self.engine;
        let lookups = stack.physical.iter().map(|frame| frame.lookup);
        let unknown: Vec<Address> = lookups.filter(|at| !engine.modules.covers(*at)).collect();
        if unknown.is_empty() {
            return Ok(stack);
        }
        engine.look_for_libraries();
        if !unknown.iter().any(|at| engine.modules.covers(*at)) {
            return Ok(stack);
        }
        if let Some(stop) = engine.threads.get_mut(tid).and_then(Thread::stop_mut) {
            stop.forget_stack();
        }
        self.stack_of(tid)
    }

    /// The stack with at least so many frames, if it has them.
    fn walk_to(&mut self, tid: Tid, frames: usize, stack: Rc<Stack>) -> Result<Rc<Stack>, String> {
        if stack.end != StackEnd::Cut || stack.frames.len() >= frames {
            return Ok(stack);
        }
        let engine = &mut self.engine;
        if let Some(stop) = engine.threads.get_mut(tid).and_then(Thread::stop_mut) {
            stop.walk_to(frames, &engine.modules, &engine.process, &engine.unwinder);
        }
        self.stack_of(tid)
    }
}
