//! What the client is told of threads and stops.

use dap::{StackFrame, StackFramePresentationHint, StoppedEventReason};

use super::breakpoints::On;
use super::guard::Task;
use super::handles::Handle;
use super::stops::{Frame, Reason, Stop, begun, frames_of};
use super::threads::State;
use super::user_code::{is_user_code, origin};
use super::{Engine, Mode};
use crate::address::{Address, Tid};
use crate::dwarf::image::Image;
use crate::dwarf::modules::{ModuleState, is_searched};
use crate::protocol::{ContinuedBody, MantaContinued, MantaStopped, StoppedBody, TaskBody};
use crate::registers::Registers;

impl Engine {
    /// Holds a thread that is in a stop, and tells the client.
    pub(crate) fn hold(&mut self, tid: Tid, reason: Reason) {
        self.hold_hiding(tid, reason, None);
    }

    /// The same where it is known how many of the innermost frames are inlined calls that are about to begin.
    pub(crate) fn hold_hiding(&mut self, tid: Tid, reason: Reason, hidden: Option<usize>) {
        // A signal that is about to be taken would be lost, also that of a trap.
        let takes_signal = matches!(reason, Reason::Signal(_))
            || self.threads.get(tid).is_some_and(|thread| thread.trap_pending);
        if !takes_signal {
            self.handlers_due.push(tid);
        }
        let Ok(kernel) = self.registers(tid) else { return };
        let mut registers = Registers::from_kernel(&kernel);
        if let Ok(vector) = self.process.vector_registers(tid) {
            registers.set_vector(vector);
        }
        if !self.modules.covers(Address(registers.pc())) {
            // A library that was loaded while nobody watched the loader.
            self.look_for_libraries();
        }
        let task = self.guard.as_ref().and_then(|guard| guard.task_of(&self.process, tid));
        self.stops += 1;
        let hidden = hidden.unwrap_or_else(|| self.hidden_at(&reason, Address(registers.pc())));
        let mut stop = Stop::new(self.stops, reason, task, registers, hidden);
        stop.session_id.clone_from(&self.configuration.session_id);
        let Some(thread) = self.threads.get_mut(tid) else { return };
        thread.step = None;
        thread.pause_wanted = false;
        thread.state = State::Held(Box::new(stop));
        self.set_step_traps(tid);
        self.synced(tid);
        self.report_stop(tid);
    }

    /// How many of the innermost frames are inlined calls that the line where a thread stops is about to make.
    fn hidden_at(&self, reason: &Reason, pc: Address) -> usize {
        match reason {
            Reason::Breakpoint { ids, .. } => {
                let frames = frames_of(&self.modules, pc, 0);
                let breakpoints = self.configuration.breakpoints.iter();
                let hit = breakpoints.filter(|breakpoint| ids.contains(&breakpoint.specification.id));
                hit.map(|breakpoint| breakpoint.hides(&frames)).min().unwrap_or(0)
            }
            Reason::Goto => begun(&frames_of(&self.modules, pc, 0)),
            _ => 0,
        }
    }

    fn report_stop(&mut self, tid: Tid) {
        let Some(top) = self.top_frame(tid) else { return };
        let Some(thread) = self.threads.get(tid) else { return };
        let Some(stop) = thread.stop() else { return };
        let (thread_id, number) = (thread.id, stop.number);
        let (mut reason, description) = description(&stop.reason);
        if self.stopped_at_instructions(&stop.reason) {
            reason = StoppedEventReason::InstructionBreakpoint;
        }
        let (ids, text) = match &stop.reason {
            Reason::Breakpoint { ids, text } => (ids.clone(), text.clone()),
            Reason::Data { ids, text } => (ids.clone(), Some(text.clone())),
            Reason::Panic { message: Some(message) } => (Vec::new(), Some(message.clone())),
            Reason::Panic { message: None } => {
                (Vec::new(), Some(format!("A panic begins in {}, line {}.", top.name, top.line)))
            }
            Reason::Signal(fatal) => (Vec::new(), Some(fatal.to_string())),
            _ => (Vec::new(), None),
        };
        if self.mode == Mode::Standalone {
            let body = dap::StoppedEventBody {
                reason,
                description: Some(description.to_owned()),
                thread_id: Some(dap::ThreadId(thread_id)),
                all_threads_stopped: Some(false),
                text,
                hit_breakpoint_ids: (!ids.is_empty())
                    .then(|| ids.into_iter().map(dap::BreakpointId).collect()),
                ..Default::default()
            };
            return self.outbox.event::<dap::events::Stopped>(&body);
        }
        let body = StoppedBody {
            thread_id,
            reason,
            description: Some(description.to_owned()),
            text,
            hit_breakpoint_ids: ids,
            all_threads_stopped: false,
            generation: self.configuration.generation,
            stop: number,
            task: stop.task.as_ref().map(task_body),
            top_frame: Some(top),
            look: self.looks.announce(tid),
        };
        self.outbox.event::<MantaStopped>(&body);
    }

    fn stopped_at_instructions(&self, reason: &Reason) -> bool {
        let Reason::Breakpoint { ids, .. } = reason else { return false };
        let specifications =
            self.configuration.breakpoints.iter().map(|breakpoint| &breakpoint.specification);
        let mut hit = specifications.filter(|specification| ids.contains(&specification.id));
        hit.all(|specification| matches!(specification.on, On::Instruction(_)))
    }

    /// The innermost frame; of a panic or a signal, the user's code that it comes from.
    fn top_frame(&mut self, tid: Tid) -> Option<StackFrame> {
        let stop = self.threads.get(tid)?.stop()?;
        let pc = Address(stop.registers.pc());
        if stop.reason.is_exception() {
            let stack = stop.stack(&self.modules, &self.process, &self.unwinder);
            let index = stack.frames.iter().position(|frame| is_user_code(&frame.code)).unwrap_or(0);
            let frame = stack.frames.get(index)?.clone();
            return self.frame_body(
                tid,
                index,
                &frame,
                Address(stack.physical[frame.physical].registers.pc()),
            );
        }
        let hidden = stop.hidden;
        let frame = frames_of(&self.modules, pc, 0).into_iter().nth(hidden)?;
        self.frame_body(tid, 0, &frame, pc)
    }

    /// A frame for the client, with an id that stays the same while the thread is held.
    pub(crate) fn frame_body(
        &mut self,
        tid: Tid,
        index: usize,
        frame: &Frame,
        pc: Address,
    ) -> Option<StackFrame> {
        let known = self.threads.get(tid)?.stop()?.frame_ids.get(index).copied().filter(|id| *id != 0);
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.handles.add(tid, Handle::Frame(index))?;
                let ids = &mut self.threads.get_mut(tid)?.stop_mut()?.frame_ids;
                if ids.len() <= index {
                    ids.resize(index + 1, 0);
                }
                ids[index] = id;
                id
            }
        };
        let is_user = is_user_code(&frame.code);
        Some(StackFrame {
            id: dap::FrameId(id),
            name: frame.code.name.clone(),
            source: frame.code.file.as_deref().map(|path| dap::Source {
                origin: (!is_user).then(|| origin(&frame.code).to_owned()),
                ..source_body(path, is_user)
            }),
            line: i64::from(frame.code.line),
            column: i64::from(frame.code.column),
            instruction_pointer_reference: Some(format!("{:#x}", pc.0)),
            can_restart: Some(false),
            presentation_hint: (!is_user).then_some(StackFramePresentationHint::Subtle),
            ..Default::default()
        })
    }

    /// Lets a held thread run on, without a step. `asked` says that the client did ask for it.
    pub(crate) fn resume(&mut self, tid: Tid, asked: bool) {
        self.forget_stop(tid, asked);
        self.go(tid, 0);
    }

    /// A stop is over: its ids die, and the client is told. An ordinary client is not told what it asked for.
    pub(crate) fn forget_stop(&mut self, tid: Tid, asked: bool) {
        let Some(thread) = self.threads.get_mut(tid) else { return };
        if !thread.is_held() {
            return;
        }
        let State::Held(stop) = std::mem::replace(&mut thread.state, State::Running) else { return };
        let thread_id = thread.id;
        self.handles.forget(tid);
        if self.mode == Mode::Standalone {
            if !asked {
                let body = dap::ContinuedEventBody {
                    thread_id: dap::ThreadId(thread_id),
                    all_threads_continued: Some(false),
                };
                self.outbox.event::<dap::events::Continued>(&body);
            }
        } else {
            let task = stop.task.as_ref().map(task_body);
            let body = ContinuedBody { thread_id, stop: stop.number, ended: None, task };
            self.outbox.event_soon::<MantaContinued>(&body);
        }
        if let Some(thread) = self.threads.get_mut(tid) {
            thread.left_stop = stop.number;
        }
    }

    /// A step has left its task: who waits for its stop waits in vain.
    pub(crate) fn tell_task_ended(&mut self, tid: Tid) {
        if self.mode == Mode::Standalone {
            return;
        }
        if let Some(thread) = self.threads.get(tid) {
            let body =
                ContinuedBody { thread_id: thread.id, stop: thread.left_stop, ended: Some(true), task: None };
            self.outbox.event::<MantaContinued>(&body);
        }
    }

    pub(super) fn on_new_thread(&mut self, tid: Tid) {
        self.report_thread(tid, dap::ThreadEventReason::Started);
    }

    fn report_thread(&mut self, tid: Tid, reason: dap::ThreadEventReason) {
        if self.mode == Mode::Standalone
            && let Some(thread) = self.threads.get(tid)
        {
            let body = dap::ThreadEventBody { reason, thread_id: dap::ThreadId(thread.id) };
            self.outbox.event::<dap::events::Thread>(&body);
        }
    }

    pub(super) fn on_thread_ended(&mut self, thread_id: i32) {
        if self.mode == Mode::Standalone {
            let body = dap::ThreadEventBody {
                reason: dap::ThreadEventReason::Exited,
                thread_id: dap::ThreadId(thread_id),
            };
            self.outbox.event::<dap::events::Thread>(&body);
        }
    }

    pub(super) fn on_process_ended(&mut self, code: i32) {
        if self.mode == Mode::Standalone && !self.has_ended {
            self.outbox.event::<dap::events::Exited>(&dap::ExitedEventBody { exit_code: code });
        }
        self.on_process_gone();
    }

    /// The process is gone, and how it ended was told to its parent only.
    pub(crate) fn on_process_gone(&mut self) {
        if !std::mem::replace(&mut self.has_ended, true) && self.mode == Mode::Standalone {
            self.outbox.event::<dap::events::Terminated>(&dap::TerminatedEventBody::default());
        }
    }
}

/// A file for the client.
#[must_use]
pub fn source_body(path: &str, is_user: bool) -> dap::Source {
    dap::Source {
        name: Some(path.rsplit('/').next().unwrap_or(path).to_owned()),
        path: Some(path.to_owned()),
        presentation_hint: (!is_user).then_some(dap::SourcePresentationHint::Deemphasize),
        ..Default::default()
    }
}

/// A module for the client.
pub fn module_body(state: ModuleState<'_>) -> dap::Module {
    let path = state.mapped.path.display().to_string();
    let symbols = match &state.content {
        Ok(module) => symbol_status(&module.image),
        Err(reason) => format!("It cannot be read: {reason}"),
    };
    dap::Module {
        id: dap::ModuleId::Text(path.clone()),
        name: path.rsplit('/').next().unwrap_or(&path).to_owned(),
        path: Some(path),
        is_user_code: Some(is_searched(state.mapped)),
        symbol_status: Some(symbols),
        address_range: Some(format!("{}-{}", state.mapped.start, state.mapped.end)),
        symbol_file_path: state
            .content
            .as_ref()
            .ok()
            .and_then(|module| module.image.separate_file().map(str::to_owned)),
        version: state.content.ok().and_then(|module| module.image.build_id()),
        ..Default::default()
    }
}

/// What is known of a module's code, and what is missing.
fn symbol_status(image: &Image) -> String {
    if !image.has_units() {
        return match image.warning() {
            Some(warning) => format!("No debug information; symbols only: {warning}"),
            None => "No debug information; symbols only".to_owned(),
        };
    }
    match image.missing_units() {
        Some((missing, all, reason)) => format!(
            "Lines only for {missing} of {all} units, as their split debug information is missing: {reason}"
        ),
        None => "Debug information loaded".to_owned(),
    }
}

/// A task for the client.
#[must_use]
pub fn task_body(task: &Task) -> TaskBody {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    TaskBody {
        task_id: hex(&task.task_id),
        attempt: task.attempt,
        name: task.name.clone(),
        job_id: hex(&task.job_id),
    }
}

fn description(reason: &Reason) -> (StoppedEventReason, &'static str) {
    match reason {
        Reason::Breakpoint { .. } => (StoppedEventReason::Breakpoint, "Paused on breakpoint"),
        Reason::Data { .. } => (StoppedEventReason::DataBreakpoint, "Paused on data breakpoint"),
        Reason::Goto => (StoppedEventReason::Goto, "Moved to another line"),
        Reason::Step => (StoppedEventReason::Step, "Paused after step"),
        Reason::Pause => (StoppedEventReason::Pause, "Paused"),
        Reason::Panic { .. } => (StoppedEventReason::Exception, "Paused on panic"),
        Reason::Signal(_) => (StoppedEventReason::Exception, "Paused on fatal signal"),
        Reason::Instruction => {
            (StoppedEventReason::InstructionBreakpoint, "Paused on a breakpoint instruction of the program")
        }
    }
}
