//! Stops: which are admitted, and how the client is told of them.
//!
//! A client's editor spends seconds on a hundred `stopped` events and a blink on one. So the first stop is told at once, and those that
//! follow within a short time are told together, as one event for the list as a whole. A step's stop is told at once, straight
//! after the step's answer, so that the editor's focus stays.

use std::collections::BTreeSet;

use dap::{
    BreakpointId, ContinueArguments, StoppedEventBody, StoppedEventReason, ThreadEventBody,
    ThreadEventReason, ThreadId, events, requests as dap_requests,
};

use crate::{
    effect::Effect,
    event::TimerId,
    ids::{JobId, TargetId, TaskId},
    limits::{ANNOUNCE_WINDOW, PASSED_REPORT_EVERY},
    looks::Asked,
    pending::{Pending, Purpose},
    profile,
    session::Session,
    threads::{Resumption, State, Stop, Thread},
};

/// Stops on their way to the client.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    /// Threads whose stop the client has not been told.
    waiting: BTreeSet<i32>,
    /// A stop was told a moment ago.
    is_window_open: bool,
    /// The thread that the client resumed last: its next stop may take the focus.
    pub focus: Option<i32>,
    /// Tasks that ran on because of the break budget, since the last report and in all.
    passed: u64,
    passed_in_all: u64,
}

/// What becomes of a stop.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    /// The task stays paused.
    Admit,
    /// It runs on, as it does not concern the session.
    Pass,
    /// It runs on, as enough tasks are paused.
    OverBudget,
}

impl Session {
    pub(crate) fn on_stopped(&mut self, target: &TargetId, stopped: profile::Stopped) {
        let mut existing = self.threads.find(target, stopped.thread_id);
        if let Some(id) = existing {
            let thread = self.threads.get(id);
            if thread.is_some_and(|thread| attempt(thread.task.as_ref()) != attempt(stopped.task.as_ref())) {
                // The target's thread has gone on to another task.
                self.end_thread(id, None);
                existing = None;
            }
        }
        if let Some(id) = existing {
            self.confirm(id);
            existing = existing.filter(|id| self.threads.get(*id).is_some());
            let stop = self.threads.get(id).and_then(|thread| thread.stop());
            let is_known = stop.is_some_and(|stop| stop.number >= stopped.stop);
            if self.returning.has_thread(id) && is_known {
                return;
            }
            if is_known {
                return self.log(format!("{target} announced its stop {} twice", stopped.stop));
            }
            self.leave_stop(id);
        }
        match self.admission(existing, &stopped) {
            Admission::Admit => self.pause_thread(existing, target, stopped),
            Admission::Pass => self.pass(target, stopped.thread_id),
            Admission::OverBudget => {
                self.pass(target, stopped.thread_id);
                self.count_passed();
            }
        }
    }

    fn admission(&self, existing: Option<i32>, stopped: &profile::Stopped) -> Admission {
        let is_step = existing.and_then(|id| self.threads.get(id)).is_some_and(|thread| thread.is_stepping());
        if is_step || matches!(stopped.reason.as_str(), "step" | "pause" | "goto" | "restart" | "entry") {
            return Admission::Admit;
        }
        let hits = stopped.hit_breakpoint_ids.as_deref().unwrap_or_default();
        if !hits.is_empty() && !hits.iter().any(|id| self.breakpoints.has(*id)) {
            // The user has removed the breakpoint in the meantime.
            return Admission::Pass;
        }
        if let (Some(filter), Some(task)) = (&self.options.tasks, &stopped.task) {
            let job_name = self.jobs.get(&JobId::new(&task.job_id)).map(String::as_str);
            if !filter.admits(&task.name, &task.job_id, job_name) {
                return Admission::Pass;
            }
        }
        let is_held = existing.and_then(|id| self.threads.get(id)).is_some_and(|thread| thread.is_held());
        if !is_held && self.threads.held() >= self.options.max_paused {
            return Admission::OverBudget;
        }
        Admission::Admit
    }

    fn pass(&mut self, target: &TargetId, target_thread: i32) {
        let arguments = ContinueArguments { thread_id: ThreadId(target_thread), single_thread: Some(true) };
        let pending = Pending::new(None, target.clone(), None, Purpose::Pass);
        if self.ask::<dap_requests::Continue>(&arguments, pending).is_err() {
            // Its process is gone, and with it what should run on.
            self.log(format!("{target} stopped a task and is gone"));
        }
    }

    /// Breakpoints were removed: tasks that stand at those alone, and of which the client has not been told, run on, as those do whose
    /// stop comes later. So a client that has removed its breakpoints knows of all tasks that are still paused.
    pub(crate) fn pass_removed(&mut self) {
        let stands_at_removed = |id: &i32| {
            let stop = self.threads.get(*id).filter(|thread| matches!(thread.state, State::Paused(_)));
            let hits = stop.and_then(Thread::stop).map_or(&[][..], |stop| &stop.hit_breakpoints);
            !hits.is_empty() && !hits.iter().any(|id| self.breakpoints.has(*id))
        };
        let passed: Vec<i32> = self.announcer.waiting.iter().copied().filter(stands_at_removed).collect();
        let focus = self.announcer.focus;
        for id in passed {
            match self.continue_thread(id, None) {
                Ok(()) => {
                    self.announcer.waiting.remove(&id);
                }
                // It is told as any other.
                Err(refusal) => self.log(format!("thread {id} could not be resumed: {}", refusal.0.text())),
            }
        }
        self.announcer.focus = focus;
    }

    fn count_passed(&mut self) {
        if self.announcer.passed == 0 {
            self.effects.push(Effect::SetTimer { id: TimerId::PassedReport, after: PASSED_REPORT_EVERY });
        }
        self.announcer.passed += 1;
        self.announcer.passed_in_all += 1;
    }

    pub(crate) fn on_passed_report(&mut self) {
        let passed = std::mem::take(&mut self.announcer.passed);
        let (in_all, budget) = (self.announcer.passed_in_all, self.options.max_paused);
        let tasks = if passed == 1 { "1 task" } else { &format!("{passed} tasks") };
        self.console(&format!(
            "{tasks} reached a breakpoint and ran on, because {budget} tasks are paused already (maxPaused); {in_all} in all so far."
        ));
    }

    fn pause_thread(&mut self, existing: Option<i32>, target: &TargetId, stopped: profile::Stopped) {
        let id = match existing {
            Some(id) => id,
            None => {
                let name = self.thread_name(target, &stopped);
                match self.threads.add(target.clone(), stopped.thread_id, stopped.task.clone(), name) {
                    Ok(id) => id,
                    Err(exhausted) => {
                        self.pass(target, stopped.thread_id);
                        return self.console(&exhausted.to_string());
                    }
                }
            }
        };
        let hits = stopped.hit_breakpoint_ids.unwrap_or_default();
        let stop = Stop {
            number: stopped.stop,
            arena: self.arenas.open(target.clone()),
            reason: stopped.reason,
            description: stopped.description,
            text: stopped.text,
            hit_breakpoints: hits.into_iter().filter(|id| self.breakpoints.has(*id)).collect(),
            top_frame: stopped.top_frame,
            is_announced: false,
            asked: Asked::default(),
        };
        if stopped.look {
            self.looks.announce(stop.arena);
            self.sweep_later();
        }
        self.announcer.waiting.insert(id);
        match self.threads.replace_state(id, State::Paused(stop)) {
            Some(State::Stepping { held: Some(origin), .. }) => {
                self.reply(step_answer(&origin));
                self.announce_step(id);
            }
            _ => self.announce(),
        }
    }

    /// "index_file 0a1b2c3d · node-1 · attempt 0".
    fn thread_name(&self, target: &TargetId, stopped: &profile::Stopped) -> String {
        let known = self.targets.get(target);
        let Some(task) = &stopped.task else {
            return format!("thread {} · {}", stopped.thread_id, self.target_name(target));
        };
        let mut name = if task.name.is_empty() { "task".to_owned() } else { task.name.clone() };
        name.push(' ');
        name.push_str(task.task_id.get(..8).unwrap_or(&task.task_id));
        if let Some(known) = known.filter(|known| !known.node_name.is_empty()) {
            name.push_str(" · ");
            name.push_str(&known.node_name);
        }
        format!("{name} · attempt {}", task.attempt)
    }

    pub(crate) fn on_continued(&mut self, target: &TargetId, continued: &profile::Continued) {
        // Tasks that the session let pass have no thread.
        let Some(id) = self.threads.find(target, continued.thread_id) else { return };
        let Some(thread) = self.threads.get(id) else { return };
        if thread.stop().is_some_and(|stop| stop.number > continued.stop) {
            return;
        }
        let has_ended = continued.ended || thread.has_ended;
        self.confirm(id);
        if let Some(State::Paused(stop)) = self.leave_stop(id) {
            self.announcer.waiting.remove(&id);
            if stop.is_announced && !has_ended {
                let body =
                    dap::ContinuedEventBody { thread_id: ThreadId(id), all_threads_continued: Some(false) };
                self.emit::<events::Continued>(&body);
            }
        }
        if has_ended {
            self.end_thread(id, None);
        }
    }

    /// The cluster says that a task has ended. What its target has to say of it may still be on its way.
    pub(crate) fn on_task_ended(&mut self, target: &TargetId, task: &TaskId) {
        for id in self.threads.of_task(target, task) {
            match self.threads.get_mut(id) {
                Some(thread) if matches!(thread.state, State::Paused(_)) => thread.has_ended = true,
                _ => self.end_thread(id, None),
            }
        }
    }

    /// If the thread stands, it runs from now on, and its ids are stale. Gives the state before.
    fn leave_stop(&mut self, id: i32) -> Option<State> {
        let arena = self.threads.get(id)?.stop()?.arena;
        let left = self.threads.replace_state(id, State::Running);
        self.close_arena(arena);
        self.returning.has_thread(id);
        left
    }

    /// The thread's task has ended, or is lost for the reason `lost`.
    pub(crate) fn end_thread(&mut self, id: i32, lost: Option<&str>) {
        let Some(thread) = self.threads.remove(id) else { return };
        self.returning.has_thread(id);
        self.announcer.waiting.remove(&id);
        if let Some(stop) = thread.stop() {
            self.close_arena(stop.arena);
        }
        let owed = match thread.state {
            State::Resuming(_, Resumption::Continue(origin)) => origin.map(|origin| (origin, false)),
            State::Resuming(_, Resumption::Step { held, .. }) | State::Stepping { held, .. } => {
                held.map(|origin| (origin, true))
            }
            State::Paused(_) | State::Running => None,
        };
        match (owed, lost) {
            // The task stands no more, which is what `continue` asked for, whatever ended it.
            (Some((origin, false)), _) => self.reply(continue_answer(&origin, false)),
            (Some((origin, true)), Some(cause)) => self.refuse(&origin, cause),
            (Some((origin, true)), None) => self.reply(step_answer(&origin)),
            (None, _) => {}
        }
        if thread.is_known {
            let body = ThreadEventBody { reason: ThreadEventReason::Exited, thread_id: ThreadId(id) };
            self.emit::<events::Thread>(&body);
        }
        self.announce();
    }

    /// Tells the client of the stops that wait, unless it should wait a moment longer.
    pub(crate) fn announce(&mut self) {
        let Announcer { waiting, is_window_open, focus, .. } = &self.announcer;
        if waiting.is_empty() {
            return;
        }
        // Gathering spares the client's list; who waits for this very stop, or has an empty list, is not kept waiting.
        let is_awaited = focus.is_some_and(|focus| waiting.contains(&focus));
        if *is_window_open && !is_awaited && self.threads.iter_held().any(|thread| thread.is_listed()) {
            return;
        }
        // A step's stop comes first, so that the client's focus stays with it.
        if !self.threads.iter_held().any(|thread| thread.has_held_step()) {
            self.announce_waiting();
        }
    }

    /// A stop that the client believes to be over is not: it is told once more.
    pub(crate) fn announce_again(&mut self, id: i32) {
        if let Some(State::Paused(stop)) = self.threads.get_mut(id).map(|thread| &mut thread.state) {
            stop.is_announced = false;
            self.announcer.waiting.insert(id);
        }
    }

    pub(crate) fn on_announce_timer(&mut self) {
        self.announcer.is_window_open = false;
        self.announce();
    }

    fn open_window(&mut self) {
        if !self.announcer.is_window_open {
            self.announcer.is_window_open = true;
            self.effects.push(Effect::SetTimer { id: TimerId::Announce, after: ANNOUNCE_WINDOW });
        }
    }

    fn announce_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.announcer.waiting);
        let is_first = !self.threads.iter_held().any(|thread| thread.is_listed());
        let focus = self.announcer.focus.filter(|focus| waiting.contains(focus));
        let Some(lead) = focus.or_else(|| waiting.first().copied()) else { return };
        for id in &waiting {
            self.mark_announced(*id);
        }
        let keeps_focus = !is_first && focus.is_none();
        self.emit_stopped(lead, true, keeps_focus);
        self.open_window();
    }

    fn announce_step(&mut self, id: i32) {
        self.announcer.waiting.remove(&id);
        self.mark_announced(id);
        // The other rows stay as they are: only this one has anything new.
        self.emit_stopped(id, false, false);
        if !self.announcer.waiting.is_empty() {
            self.open_window();
        }
    }

    fn mark_announced(&mut self, id: i32) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        thread.is_known = true;
        if let State::Paused(stop) = &mut thread.state {
            stop.is_announced = true;
        }
    }

    fn emit_stopped(&mut self, id: i32, is_list: bool, keeps_focus: bool) {
        let Some(stop) = self.threads.get(id).and_then(|thread| thread.stop()) else { return };
        let hits: Vec<_> = stop.hit_breakpoints.iter().copied().map(BreakpointId).collect();
        let body = StoppedEventBody {
            reason: StoppedEventReason::from(stop.reason.as_str()),
            description: stop.description.clone(),
            thread_id: Some(ThreadId(id)),
            preserve_focus_hint: keeps_focus.then_some(true),
            text: stop.text.clone(),
            all_threads_stopped: Some(is_list),
            hit_breakpoint_ids: (!hits.is_empty()).then_some(hits),
        };
        self.emit::<events::Stopped>(&body);
    }
}

/// What tells one task attempt from another.
fn attempt(task: Option<&profile::Task>) -> Option<(&str, u32)> {
    task.map(|task| (task.task_id.as_str(), task.attempt))
}

/// The answer to any of the steps.
pub(crate) fn step_answer(origin: &crate::threads::Origin) -> dap::ResponseMessage {
    dap::ResponseMessage {
        seq: 0,
        request_seq: origin.seq,
        success: true,
        command: origin.command.clone(),
        message: None,
        body: None,
    }
}

/// The answer to `continue`. It always says whether all run on: clients take silence for yes.
pub(crate) fn continue_answer(origin: &crate::threads::Origin, all: bool) -> dap::ResponseMessage {
    let body = dap::ContinueResponseBody { all_threads_continued: Some(all) };
    dap::ResponseMessage::ok::<dap_requests::Continue>(origin.seq, &body)
}
