//! `stackTrace`, in pages.

use dap::{StackTraceArguments, StackTraceResponseBody};

use super::{Answer, Answered, Server};
use crate::address::Address;
use crate::dwarf::unwind::StackEnd;
use crate::limits::FRAMES_MAX;

impl Server {
    pub(super) fn stack_trace(&mut self, arguments: StackTraceArguments) -> Answered<StackTraceResponseBody> {
        let tid = self.held(arguments.thread_id)?.tid;
        let stack = self.stack_of(tid)?;
        let start = usize::try_from(arguments.start_frame.unwrap_or(0)).unwrap_or(0);
        let levels = usize::try_from(arguments.levels.unwrap_or(0)).unwrap_or(0);
        let levels = if levels == 0 { FRAMES_MAX } else { levels };
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
            && start + levels >= stack.frames.len()
            && let Some(last) = frames.last_mut()
        {
            last.name.push_str(&format!(" (cut after {FRAMES_MAX} frames)"));
        }
        let total_frames = i32::try_from(stack.frames.len()).ok();
        Ok(Answer::Now(StackTraceResponseBody { stack_frames: frames, total_frames }))
    }
}
