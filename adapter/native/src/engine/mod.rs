//! The engine: the threads of one process, what stops them, and what is known of those that are stopped.
//!
//! All of it runs on one OS thread, because ptrace belongs to the thread that attached; so there is no lock, and a stop is
//! seen, judged and reported without a change of threads. Nothing in here waits: a stop of a thread and a request of the client
//! each are one call, and an answer that needs other threads to have been reached is sent when they have.

pub mod await_step;
pub mod breakpoints;
pub mod calls;
pub mod configuration;
pub mod copies;
pub mod debug_files;
pub mod exceptions;
pub mod guard;
pub mod handler;
pub mod handles;
pub mod jump;
pub mod level;
pub mod loader;
pub mod looks;
pub mod relocate;
pub mod report;
pub mod resolve;
pub mod resumptions;
pub mod run;
pub mod sites;
pub mod source_check;
pub mod step;
pub mod step_traps;
pub mod step_view;
pub mod stops;
pub mod threads;
pub mod traps;
pub mod user_code;
pub mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use configuration::Configuration;
use dap::ResponseMessage;
use guard::{Guard, NoGuard};
use handles::Handles;
use sites::{HARDWARE_SITES, Sites};
use threads::{State, Threads};

use crate::address::{Address, Tid};
use crate::dwarf::modules::{Module, Modules};
use crate::dwarf::unwind::Unwinder;
use crate::outbox::Outbox;
use crate::ptrace::Process;
use crate::target::Target;
use crate::tokio::Tokio;
use crate::tracer::{Live, Means};

/// How threads that run no task are treated, and which words the client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Tasks of a cluster: the target profile's events; threads that run no task pass breakpoints.
    Cluster,
    /// An ordinary DAP adapter: every thread stops.
    Standalone,
}

/// Why a thread traps at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A breakpoint, by its position in the configuration.
    Breakpoint(usize),
    /// A panic begins here.
    Panic,
    /// The loader comes here when it has loaded or unloaded a library.
    Loader,
    /// The function of a step that waits begins here.
    Resumption,
    /// A thread's step wants to know when it comes here.
    Step,
}

/// What is done when every thread has the new debug registers.
struct Waiting {
    threads: BTreeSet<Tid>,
    then: Then,
}

enum Then {
    /// The client is answered.
    Answer(Box<ResponseMessage>),
    /// A parked thread goes on.
    GoOn(Tid),
}

/// The engine of one process.
pub struct Engine {
    pub(crate) process: Live,
    pub(crate) modules: Modules,
    pub(crate) unwinder: Unwinder,
    pub(crate) guard: Option<Guard>,
    pub(crate) threads: Threads,
    pub(crate) sites: Sites,
    pub(crate) causes: BTreeMap<Address, Vec<Cause>>,
    pub(crate) configuration: Configuration,
    pub(crate) handles: Handles,
    pub(crate) tokio: Tokio,
    pub(crate) mode: Mode,
    /// What goes to the client.
    pub outbox: Outbox,
    /// Somebody answers when debug information is asked for.
    pub asks_for_debug_info: bool,
    /// Debug information that was asked for.
    wishes: debug_files::Wishes,
    /// What the client will ask of stops.
    pub(crate) looks: looks::Looks,
    /// Threads that are held, of whose stop the client hears before it is looked whether the guard has its handler still.
    handlers_due: Vec<Tid>,
    hardware_works: bool,
    /// Where stepping threads trap that have no debug registers.
    step_traps: BTreeMap<Tid, Vec<Address>>,
    /// Why no code may be patched, if a trap would harm somebody.
    patches_harm: Option<String>,
    /// Where the unwinder says where a thread goes on, once it was looked for.
    unwind_hook: Option<Option<Address>>,
    /// Where the program's loader tells what it does, once it was needed.
    loader: Option<loader::Loader>,
    /// The loader is watched since the libraries were looked at last: some may have been loaded in between.
    looks_again: bool,
    stops: u64,
    waiting: Vec<Waiting>,
    /// Steps whose functions wait.
    suspended: Vec<await_step::SuspendedStep>,
    has_ended: bool,
}

impl Engine {
    /// Begins to trace every thread of a process. None is stopped by that.
    pub fn attach(pid: i32, mode: Mode) -> io::Result<Self> {
        Self::of(Live::new(Process::open(pid)?), mode)
    }

    /// The same, by whatever means.
    pub fn of(process: Live, mode: Mode) -> io::Result<Self> {
        let modules = Modules::of(&process)?;
        let mut engine = Self {
            modules,
            unwinder: Unwinder::default(),
            guard: None,
            threads: Threads::default(),
            sites: Sites::default(),
            causes: BTreeMap::new(),
            configuration: Configuration::default(),
            handles: Handles::default(),
            tokio: Tokio::default(),
            mode,
            outbox: Outbox::new(mode == Mode::Cluster),
            asks_for_debug_info: false,
            wishes: debug_files::Wishes::default(),
            looks: looks::Looks::default(),
            handlers_due: Vec::new(),
            hardware_works: process.has_debug_registers(),
            step_traps: BTreeMap::new(),
            patches_harm: None,
            process,
            unwind_hook: None,
            loader: None,
            looks_again: false,
            stops: 0,
            waiting: Vec::new(),
            suspended: Vec::new(),
            has_ended: false,
        };
        engine.seize_all()?;
        engine.find_guard();
        engine.look_for_deaf_threads();
        engine.tell_low_level();
        Ok(engine)
    }

    /// Threads may be made while this looks for them; once it finds none that is not traced, the kernel adds the rest.
    fn seize_all(&mut self) -> io::Result<()> {
        loop {
            let mut found_new = false;
            for tid in self.process.threads()? {
                if self.threads.get(tid).is_some() {
                    continue;
                }
                match self.process.seize(tid) {
                    Ok(()) => {
                        let registers = (!self.hardware_works).then(Default::default);
                        self.threads.add(tid, State::Running, registers);
                        found_new = true;
                    }
                    // It ended in between.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                        match self.process.tracer_of(tid) {
                            // It was made by a thread that is traced already, and is traced itself.
                            Some(tracer) if tracer == nix::unistd::gettid().as_raw() => {
                                self.threads.add(tid, State::Starting, None).is_announced = false;
                                found_new = true;
                            }
                            // It is about to end, which nobody would tell of it.
                            None if !self.threads.is_empty() => {}
                            _ => return Err(error),
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            if !found_new {
                return Ok(());
            }
        }
    }

    fn find_guard(&mut self) {
        let found = match self.modules.program() {
            Ok(program) => Guard::find(program, &self.process).and_then(|guard| {
                // Of a process that somebody else debugs, nothing is taken back.
                if self.process.means() != Means::Snapshot {
                    guard.undo_all(&self.process, &copies::Code { modules: &self.modules })?;
                }
                Ok(guard)
            }),
            Err(reason) => {
                self.outbox
                    .console(&format!("The program cannot be read: {reason}. Breakpoints cannot be set.\n"));
                return;
            }
        };
        match found {
            Ok(guard) => {
                self.sites.remember(guard.patched(&self.process).unwrap_or_default());
                self.guard = Some(guard);
            }
            // An ordinary program: debug registers only.
            Err(NoGuard::Absent) => {}
            Err(error) => {
                let error = format!("{error}.");
                self.outbox.console(&format!("{error} {}\n", self.without_guard()));
            }
        }
    }

    fn without_guard(&self) -> String {
        match self.process.has_debug_registers() {
            true => format!("Only {HARDWARE_SITES} breakpoints can be set."),
            false => "No breakpoints can be set.".to_owned(),
        }
    }

    /// The program, for its code and its debug information.
    pub(crate) fn program(&self) -> Result<std::rc::Rc<Module>, String> {
        self.modules.program().cloned()
    }

    /// Has the process ended?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes every breakpoint out and lets every thread run on. [`Self::is_released`] says when that is done.
    pub fn release(&mut self) {
        self.suspended.clear();
        self.configure(Configuration::default());
        self.give_up_steps();
        self.sync_all();
        for tid in self.threads.those(|thread| thread.is_held()) {
            self.resume(tid, false);
        }
        for thread in self.threads.iter_mut() {
            thread.pause_wanted = false;
        }
    }

    /// A thread may be in the middle of a step for as long as a system call takes. The kernel clears neither its debug register
    /// nor its trap flag when the debugger goes, so each of them is interrupted and sent on without.
    fn give_up_steps(&mut self) {
        let stepping = self.threads.those(|thread| thread.step.is_some());
        for tid in stepping {
            let Some(thread) = self.threads.get_mut(tid) else { continue };
            thread.step = None;
            if matches!(thread.state, State::Running) && !thread.interrupt_pending {
                // When it has ended in between, its end is reported soon.
                thread.interrupt_pending = self.process.interrupt(thread.tid).is_ok();
            }
            self.set_step_traps(tid);
        }
    }

    /// Holds no thread, and no thread has anything of ours in its debug registers, or is about to trap because of us.
    #[must_use]
    pub fn is_released(&self) -> bool {
        let nothing = |thread: &threads::Thread| {
            !thread.is_held()
                && !matches!(thread.state, State::Parked)
                && thread.step.is_none()
                && !thread.interrupt_pending
                && !thread.trap_pending
                && thread.debug_registers.is_none_or(|held| held.iter().all(|register| register.is_off()))
        };
        self.threads.iter().all(nothing)
    }

    /// Sends an answer as soon as every running thread has the debug registers that it should have.
    pub(crate) fn answer_when_synced(&mut self, answer: ResponseMessage) {
        let threads = self.sync_all();
        let then = Then::Answer(Box::new(answer));
        if threads.is_empty() {
            self.carry_out(then);
        } else {
            self.waiting.push(Waiting { threads, then });
        }
    }

    fn carry_out(&mut self, then: Then) {
        match then {
            Then::Answer(answer) => {
                self.outbox.respond(*answer);
                if std::mem::take(&mut self.looks_again) {
                    self.look_for_libraries();
                }
            }
            Then::GoOn(tid) => self.unpark(tid),
        }
    }

    /// Interrupts every running thread whose debug registers are not what they should be. Gives those that are not there yet.
    fn sync_all(&mut self) -> BTreeSet<Tid> {
        let wanted = self.sites.hardware();
        let mut behind = BTreeSet::new();
        if !self.hardware_works {
            return behind;
        }
        for thread in self.threads.iter_mut() {
            let is_current = match thread.debug_registers {
                Some(held) => held == thread.wanted_registers(wanted),
                // Nobody wants anything of it: what another debugger has left there traps in vain, and is cleared then.
                None => wanted.iter().all(|register| register.is_off()) && thread.step.is_none(),
            };
            if is_current {
                continue;
            }
            match thread.state {
                State::Running => {
                    if !thread.interrupt_pending {
                        // When it has ended in between, its end is reported soon.
                        thread.interrupt_pending = self.process.interrupt(thread.tid).is_ok();
                    }
                    behind.insert(thread.tid);
                }
                State::Starting => {
                    behind.insert(thread.tid);
                }
                // It gets them before it runs.
                State::Held(_) | State::Parked | State::GroupStopped => {}
            }
        }
        behind
    }

    /// A thread has its debug registers, or is gone.
    pub(crate) fn synced(&mut self, tid: Tid) {
        for waiting in &mut self.waiting {
            waiting.threads.remove(&tid);
        }
        let (done, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.threads.is_empty());
        self.waiting = waiting;
        let done: Vec<Waiting> = done;
        for waiting in done {
            self.carry_out(waiting.then);
        }
    }
}
