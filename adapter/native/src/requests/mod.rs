//! The client's requests, one a file. Each takes the server's state and gives an answer, or a sentence that says why not.

#![allow(
    clippy::needless_pass_by_value,
    reason = "arguments were decoded for their handler, and nobody else wants them"
)]

mod breakpoint_locations;
mod completions;
mod configure;
mod data_breakpoints;
mod debug_information;
mod disassemble;
mod evaluate;
mod exception_info;
mod goto;
mod goto_targets;
mod initialize;
mod look;
mod memory;
mod modules;
mod pause;
mod registers;
mod release;
mod resume;
mod scopes;
mod set_breakpoints;
mod set_expression;
mod set_variable;
mod source;
mod stack_trace;
mod step_in_targets;
mod threads;
mod tokio;
mod variables;

use dap::requests as r;
use dap::{Message, Request, RequestMessage, ResponseMessage};

use crate::address::Tid;
use crate::engine::Engine;
use crate::engine::jump::Jumps;
use crate::engine::stops::{FrameVariables, Stack};
use crate::engine::threads::Thread;
use set_breakpoints::OrdinarySet;

/// The requests' view of everything.
pub struct Server {
    /// The process.
    pub engine: Engine,
    ordinary: OrdinarySet,
    /// Lines that the client may let a thread go on from.
    jumps: Jumps,
    /// A set of breakpoints is in force, and its answer waits for debug information.
    configured: Option<RequestMessage>,
    /// An answer that waits for all threads to run freely.
    releasing: Option<Releasing>,
}

struct Releasing {
    answer: ResponseMessage,
    then: Flow,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Open,
    /// The client has said goodbye, and every thread runs freely.
    Close,
}

/// How a request is answered.
enum Answer<B> {
    /// With this body.
    Now(B),
    /// With this body, as soon as it holds for every thread.
    WhenSynced(B),
}

type Answered<B> = Result<Answer<B>, String>;

impl Server {
    /// A server of an attached engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            ordinary: OrdinarySet::default(),
            jumps: Jumps::default(),
            configured: None,
            releasing: None,
        }
    }

    /// Handles a message from the client.
    pub fn on_message(&mut self, message: &Message) -> Flow {
        match message {
            Message::Request(request) => {
                self.on_request(request);
                self.after()
            }
            // This adapter asks its client nothing and takes no events.
            Message::Response(_) | Message::Event(_) => Flow::Open,
        }
    }

    /// Sends what had to wait. To be called after each thing that happened.
    pub fn after(&mut self) -> Flow {
        if self.releasing.is_some() && (self.engine.is_released() || self.engine.has_ended()) {
            let Some(Releasing { answer, then }) = self.releasing.take() else { return Flow::Open };
            self.engine.outbox.respond(answer);
            return then;
        }
        Flow::Open
    }

    fn on_request(&mut self, request: &RequestMessage) {
        match request.command.as_str() {
            "initialize" => self.initialize(request),
            "attach" => self.answer::<r::Attach>(request, |_, _| Ok(Answer::Now(dap::Empty))),
            "launch" => self.answer::<r::Launch>(request, |_, _| {
                Err("This adapter attaches to a process that runs; start the program and attach to it."
                    .to_owned())
            }),
            "configurationDone" => {
                self.answer::<r::ConfigurationDone>(request, |_, _| Ok(Answer::Now(dap::Empty)));
            }
            "setBreakpoints" => self.answer::<r::SetBreakpoints>(request, Self::set_breakpoints),
            "setFunctionBreakpoints" => {
                self.answer::<r::SetFunctionBreakpoints>(request, Self::set_function_breakpoints);
            }
            "setExceptionBreakpoints" => {
                self.answer::<r::SetExceptionBreakpoints>(request, Self::set_exception_breakpoints);
            }
            "setInstructionBreakpoints" => {
                self.answer::<r::SetInstructionBreakpoints>(request, Self::set_instruction_breakpoints);
            }
            "dataBreakpointInfo" => {
                self.answer::<r::DataBreakpointInfo>(request, Self::data_breakpoint_info);
            }
            "setDataBreakpoints" => {
                self.answer::<r::SetDataBreakpoints>(request, Self::set_data_breakpoints);
            }
            "breakpointLocations" => {
                self.answer::<r::BreakpointLocations>(request, Self::breakpoint_locations);
            }
            "modules" => self.answer::<r::Modules>(request, Self::modules),
            "loadedSources" => self.answer::<r::LoadedSources>(request, Self::loaded_sources),
            "readMemory" => self.answer::<r::ReadMemory>(request, Self::read_memory),
            "writeMemory" => self.answer::<r::WriteMemory>(request, Self::write_memory),
            "disassemble" => self.answer::<r::Disassemble>(request, Self::disassemble),
            "threads" => self.answer::<r::Threads>(request, Self::threads),
            "stackTrace" => self.look::<r::StackTrace>(request, Self::stack_trace),
            "scopes" => self.look::<r::Scopes>(request, Self::scopes),
            "variables" => self.look::<r::Variables>(request, Self::variables),
            "evaluate" => self.look::<r::Evaluate>(request, Self::evaluate),
            "setExpression" => self.answer::<r::SetExpression>(request, Self::set_expression),
            "completions" => self.look::<r::Completions>(request, Self::completions),
            "restartFrame" => self.answer::<r::RestartFrame>(request, |_, _| {
                Err("A frame of compiled code cannot be restarted: what it has done to its arguments, to locks and to \
                     memory cannot be undone. Run the task again instead."
                    .to_owned())
            }),
            "setVariable" => self.answer::<r::SetVariable>(request, Self::set_variable),
            "continue" => self.resume_request::<r::Continue>(request),
            "next" => self.resume_request::<r::Next>(request),
            "stepIn" => self.resume_request::<r::StepIn>(request),
            "stepOut" => self.resume_request::<r::StepOut>(request),
            "stepInTargets" => self.answer::<r::StepInTargets>(request, Self::step_in_targets),
            "gotoTargets" => self.answer::<r::GotoTargets>(request, Self::goto_targets),
            "goto" => self.goto(request),
            "pause" => self.answer::<r::Pause>(request, Self::pause),
            "source" => self.answer::<r::Source>(request, Self::source),
            "exceptionInfo" => self.answer::<r::ExceptionInfo>(request, Self::exception_info),
            "disconnect" => self.disconnect(request),
            "mantaConfigure" => self.configure_request(request),
            "mantaDebugInfo" => self.debug_information(request),
            "mantaRelease" => self.release_request(request),
            other => {
                let refusal = request.err(format!("The native engine does not know the request {other:?}."));
                self.engine.outbox.respond(refusal);
            }
        }
    }

    fn answer<R: Request>(
        &mut self,
        request: &RequestMessage,
        handle: impl FnOnce(&mut Self, R::Arguments) -> Answered<R::Response>,
    ) {
        let arguments = match request.arguments() {
            Ok(arguments) => arguments,
            Err(malformed) => return self.engine.outbox.respond(request.err(malformed.reason)),
        };
        match handle(self, arguments) {
            Ok(Answer::Now(body)) => self.engine.outbox.respond(request.ok::<R>(&body)),
            Ok(Answer::WhenSynced(body)) => self.engine.answer_when_synced(request.ok::<R>(&body)),
            Err(reason) => self.engine.outbox.respond(request.err(reason)),
        }
    }

    /// The same for a request that only looks: what it reads of the program's memory, it reads once.
    fn look<R: Request>(
        &mut self,
        request: &RequestMessage,
        handle: impl FnOnce(&mut Self, R::Arguments) -> Answered<R::Response>,
    ) {
        self.engine.process.keep_pages();
        self.answer::<R>(request, handle);
        self.engine.process.forget_pages();
    }

    /// A held thread that the client knows by this id.
    fn held(&self, id: dap::ThreadId) -> Result<&Thread, String> {
        let thread = self
            .engine
            .threads
            .by_id(id.0)
            .ok_or_else(|| format!("There is no thread {id}; it may have ended."))?;
        if thread.is_held() { Ok(thread) } else { Err(format!("The thread {id} is not paused.")) }
    }

    fn stack_of(&self, tid: Tid) -> Result<std::rc::Rc<Stack>, String> {
        let engine = &self.engine;
        let stop = engine.threads.get(tid).and_then(Thread::stop).ok_or("The thread is not paused.")?;
        Ok(stop.stack(&engine.modules, &engine.process, &engine.unwinder))
    }

    /// Gives the variables of a frame to `use_them`.
    fn with_variables<T>(
        &self,
        tid: Tid,
        frame: usize,
        use_them: impl FnOnce(&FrameVariables<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let stack = self.stack_of(tid)?;
        let own = stack.frames.get(frame).ok_or("There is no such frame.")?;
        let variables = FrameVariables::of(own, &stack.physical[own.physical], &self.engine.process)
            .ok_or("There is no debug information for this frame.")?;
        let callers = &stack.physical[own.physical + 1..];
        use_them(&variables.with_callers(callers, &self.engine.modules))
    }
}
