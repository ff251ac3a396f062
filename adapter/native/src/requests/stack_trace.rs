//! `stackTrace`, in pages.

use std::rc::Rc;

use dap::{StackFrameFormat, StackTraceArguments, StackTraceResponseBody};

use super::{Answer, Answered, Server};
use crate::address::{Address, Tid};
use crate::dwarf::evaluate::VariableEntry;
use crate::dwarf::unwind::StackEnd;
use crate::engine::stops::{Frame, FrameVariables, Stack};
use crate::engine::threads::Thread;
use crate::limits::{FRAMES_DEEPEST_MAX, FRAMES_MAX};
use crate::values::render::{Style, summary_as};
use crate::values::view::display_type;

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
            let mut body = self
                .engine
                .frame_body(tid, index, frame, pc)
                .ok_or("There are too many open frames; let the thread run on.")?;
            if let Some(format) = &arguments.format {
                body.name = self.frame_name(tid, index, frame, format);
            }
            frames.push(body);
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

    /// A frame's name with what the client wants to see beside it.
    fn frame_name(&self, tid: Tid, index: usize, frame: &Frame, format: &StackFrameFormat) -> String {
        let is_wanted = |part: Option<bool>| part == Some(true);
        let mut name = frame.code.name.clone();
        if is_wanted(format.module)
            && let Some(module) = &frame.module
        {
            let path = module.image.path();
            name = format!("{}!{name}", path.rsplit('/').next().unwrap_or(path));
        }
        let (types, values) = (is_wanted(format.parameter_types), is_wanted(format.parameter_values));
        let names = format.parameter_names.unwrap_or_else(|| is_wanted(format.parameters));
        if names || types || values {
            let style = Style::LINE.with_hex(is_wanted(format.hex));
            let parameter = |variables: &FrameVariables<'_>, variable: &VariableEntry| {
                let value = variables.value(variable);
                let of = value.as_ref().filter(|_| types).map(|value| display_type(&value.of.name));
                let shown = value.filter(|_| values);
                let shown = shown.map(|value| summary_as(&value, &self.engine.process, style));
                let name = names.then(|| variable.name.to_owned());
                let declared: Vec<String> = name.into_iter().chain(of).collect();
                let parts: Vec<String> = [declared.join(": ")].into_iter().chain(shown).collect();
                parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" = ")
            };
            // A frame without debug information has no parameters to show.
            let parameters = self.with_variables(tid, index, |variables| {
                let all = variables.all();
                let own = all.iter().filter(|variable| variable.is_argument);
                Ok(own.map(|variable| parameter(variables, variable)).collect::<Vec<_>>())
            });
            if let Ok(parameters) = parameters {
                name = format!("{name}({})", parameters.join(", "));
            }
        }
        if is_wanted(format.line) && frame.code.line != 0 {
            name = format!("{name} line {}", frame.code.line);
        }
        name
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
