//! Libraries that come and go while the program runs.
//!
//! The program's loader calls a function of its own whenever it has changed the list of libraries, made for debuggers to trap
//! there (`struct r_debug` of `<link.h>`). A library's code is in place by then, and none of it has run. The thread that comes there is
//! stopped while breakpoints are looked for in what is new, and goes on when every thread has them.

use std::collections::BTreeSet;

use super::breakpoints::On;
use super::configuration::Configuration;
use super::report::{module_body, source_body};
use super::threads::State;
use super::{Engine, Mode, Then, Waiting};
use crate::address::{Address, Tid};
use crate::dwarf::modules::{Module, Modules, is_searched};
use crate::target::{MappedModule, Memory};

/// `DT_DEBUG` of elf(5).
const TAG_DEBUG: u64 = 21;
/// More entries than any loader's table has.
const DYNAMIC_BYTES_MAX: u64 = 64 << 10;
const ENTRY_BYTES: usize = 16;
/// Of `struct r_debug`: the function that is called, and what the loader is doing.
const BREAK_OFFSET: u64 = 16;
const STATE_OFFSET: u64 = 24;
/// `RT_CONSISTENT`: the list is complete.
const CONSISTENT: i32 = 0;

/// Where the loader tells what it does.
#[derive(Clone, Copy, Debug)]
pub struct Loader {
    /// Its `struct r_debug`.
    state: Address,
    /// The function that it calls.
    pub calls: Address,
}

impl Loader {
    /// Finds it. A program that is linked statically has none, and one that has not begun yet has not told it.
    #[must_use]
    pub fn find(program: &Module, modules: &Modules, memory: &dyn Memory) -> Option<Self> {
        let (table, bytes) = program.image.dynamic()?;
        let entries =
            memory.read_vec(table.live(program.bias), bytes.min(DYNAMIC_BYTES_MAX) as usize).ok()?;
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let state = entries
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| (word(&entry[..8]), word(&entry[8..])))
            .find_map(|(tag, value)| (tag == TAG_DEBUG && value != 0).then_some(Address(value)))?;
        let calls = Address(memory.read_u64(state.offset(BREAK_OFFSET)).ok()?);
        modules.covers(calls).then_some(Self { state, calls })
    }

    /// Is the list of libraries complete, so that it can be looked at?
    fn is_consistent(&self, memory: &dyn Memory) -> bool {
        let mut state = [0; 4];
        memory.read(self.state.offset(STATE_OFFSET), &mut state).is_ok()
            && i32::from_le_bytes(state) == CONSISTENT
    }
}

/// Can this set have something in a library that is not there yet?
pub(super) fn watches_libraries(configuration: &Configuration) -> bool {
    let is_code = |on: &On| matches!(on, On::Line { .. } | On::Function(_) | On::Instruction(_));
    configuration.stop_at_panics
        || configuration.breakpoints.iter().any(|breakpoint| is_code(&breakpoint.specification.on))
}

impl Engine {
    /// The loader's function, if this set needs to know what it does.
    pub(super) fn loader_site(&mut self, configuration: &Configuration) -> Option<Address> {
        if !watches_libraries(configuration) {
            return None;
        }
        if self.loader.is_none() {
            let program = self.program().ok()?;
            self.loader = Loader::find(&program, &self.modules, &self.process);
        }
        self.loader.map(|loader| loader.calls)
    }

    /// A thread has come to the loader's function. True when it has to wait until others have the new breakpoints.
    pub(super) fn on_loader(&mut self, tid: Tid) -> bool {
        if !self.loader.is_some_and(|loader| loader.is_consistent(&self.process)) {
            return false;
        }
        let Some(thread) = self.threads.get_mut(tid) else { return false };
        thread.state = State::Parked;
        let threads = self.look_for_libraries();
        if threads.is_empty() {
            if let Some(thread) = self.threads.get_mut(tid) {
                thread.state = State::Running;
            }
            return false;
        }
        self.waiting.push(Waiting { threads, then: Then::GoOn(tid) });
        true
    }

    /// Every thread has the breakpoints in the library that this one has loaded.
    pub(super) fn unpark(&mut self, tid: Tid) {
        let Some(thread) = self.threads.get_mut(tid) else { return };
        if matches!(thread.state, State::Parked) {
            thread.state = State::Running;
            self.on_step_stop(tid);
        }
    }

    /// Looks whether libraries have come or gone, and binds the breakpoints anew if so. Gives the threads that do not have
    /// them yet.
    pub(crate) fn look_for_libraries(&mut self) -> BTreeSet<Tid> {
        // When this fails the process is ending, and what is known of it is as good as anything.
        let Ok(change) = self.modules.refresh(&self.process) else { return BTreeSet::new() };
        if change.is_empty() {
            return BTreeSet::new();
        }
        for module in &change.removed {
            let range = module.start..module.end;
            self.causes.retain(|address, _| !range.contains(address));
            self.sites.forget(&range);
            if let Some(guard) = &mut self.guard {
                guard.forget(&range, &self.process);
            }
            self.report_removed(module);
        }
        for module in &change.added {
            self.report_added(module);
        }
        // It may be in another place now.
        self.unwind_hook = None;
        if change.added.iter().chain(&change.removed).any(is_searched) {
            self.bind_again(true);
            self.ask_for_debug_information(false);
        }
        self.sync_all()
    }

    /// Looks for the code of the breakpoints in force, and tells the client of those that have another place now, if it `tells`.
    pub(super) fn bind_again(&mut self, tells: bool) {
        let in_force = &self.configuration;
        let specifications = in_force.breakpoints.iter().map(|breakpoint| breakpoint.specification.clone());
        let before: Vec<dap::Breakpoint> = in_force.breakpoints.iter().map(Self::breakpoint_body).collect();
        let breakpoints = self.bind(specifications.collect());
        self.configure(Configuration {
            session_id: in_force.session_id.clone(),
            generation: in_force.generation,
            breakpoints,
            stop_at_panics: in_force.stop_at_panics,
            stop_at_signals: in_force.stop_at_signals,
            into_framework: in_force.into_framework,
        });
        for (breakpoint, before) in self.configuration.breakpoints.iter().zip(before) {
            let mut body = Self::breakpoint_body(breakpoint);
            if body == before || !tells {
                continue;
            }
            if let (Mode::Standalone, On::Line { paths, .. }) = (self.mode, &breakpoint.specification.on) {
                body.source = paths.first().map(|path| source_body(path, true));
            }
            let body =
                dap::BreakpointEventBody { reason: dap::BreakpointEventReason::Changed, breakpoint: body };
            self.outbox.event::<dap::events::Breakpoint>(&body);
        }
    }

    fn report_added(&mut self, module: &MappedModule) {
        if self.mode == Mode::Standalone
            && let Some(state) = self.modules.state(module)
        {
            let body =
                dap::ModuleEventBody { reason: dap::ModuleEventReason::New, module: module_body(state) };
            self.outbox.event::<dap::events::Module>(&body);
        }
    }

    fn report_removed(&mut self, module: &MappedModule) {
        if self.mode == Mode::Standalone {
            let path = module.path.display().to_string();
            let module = dap::Module {
                name: path.rsplit('/').next().unwrap_or(&path).to_owned(),
                id: dap::ModuleId::Text(path),
                ..Default::default()
            };
            let body = dap::ModuleEventBody { reason: dap::ModuleEventReason::Removed, module };
            self.outbox.event::<dap::events::Module>(&body);
        }
    }
}
