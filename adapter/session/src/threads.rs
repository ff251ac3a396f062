//! Tasks that stopped at least once, as the client's threads.
//!
//! A thread id belongs to one task attempt for ever. A target's own thread runs one task after the other, so a stop of another task on
//! the same target thread says that the task before has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dap::{Seq, StackFrame};

use crate::{
    arena::ArenaId,
    ids::{Counter, IdsExhausted, TargetId, TaskId},
    looks::Asked,
    profile::Task,
};

/// A request of the client that is answered later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its number.
    pub seq: Seq,
    /// What it asked.
    pub command: String,
}

/// Where a thread stopped, and what it has to say about it.
#[derive(Debug)]
pub struct Stop {
    /// The target's number of it.
    pub number: i64,
    /// What the client was given of it.
    pub arena: ArenaId,
    /// As in DAP.
    pub reason: String,
    /// As in DAP.
    pub description: Option<String>,
    /// As in DAP.
    pub text: Option<String>,
    /// The logical breakpoints, known ones only.
    pub hit_breakpoints: Vec<i32>,
    /// The innermost frame, as the target sent it.
    pub top_frame: Option<StackFrame>,
    /// Whether the client has been told.
    pub is_announced: bool,
    /// What the client has asked for.
    pub asked: Asked,
}

/// What a thread does.
#[derive(Debug)]
pub enum State {
    /// It stands.
    Paused(Stop),
    /// It stands, and its target was asked to resume it.
    Resuming(Stop, Resumption),
    /// It makes a step, whose answer may still be held.
    Stepping {
        /// Tells steps apart.
        step: u64,
        /// The client's request, while it is not answered.
        held: Option<Origin>,
    },
    /// It runs.
    Running,
}

/// Why a target was asked to resume a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumption {
    /// To run on. The client's request, where it waits for this thread alone.
    Continue(Option<Origin>),
    /// To make one step.
    Step {
        /// Tells steps apart.
        step: u64,
        /// The client's request, while it is not answered.
        held: Option<Origin>,
    },
}

/// A task that stopped at least once.
#[derive(Debug)]
pub struct Thread {
    /// The client's id.
    pub id: i32,
    /// Who runs it.
    pub target: TargetId,
    /// The target's id.
    pub target_thread: i32,
    /// The task; absent for a thread that runs none.
    pub task: Option<Task>,
    /// For people.
    pub name: String,
    /// What it does.
    pub state: State,
    /// Whether the client has ever been told of it.
    pub is_known: bool,
    /// Whether its task is known to have ended, though its target has not said that it left its last stop.
    pub has_ended: bool,
}

impl Thread {
    /// The stop, while the thread stands.
    #[must_use]
    pub fn stop(&self) -> Option<&Stop> {
        match &self.state {
            State::Paused(stop) | State::Resuming(stop, _) => Some(stop),
            State::Stepping { .. } | State::Running => None,
        }
    }

    /// Whether it takes a place of the break budget.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !matches!(self.state, State::Running)
    }

    /// Whether a step of it has not come to its stop.
    #[must_use]
    pub fn is_stepping(&self) -> bool {
        matches!(self.state, State::Stepping { .. } | State::Resuming(_, Resumption::Step { .. }))
    }

    /// Whether the client waits for the answer to a step of it.
    #[must_use]
    pub fn has_held_step(&self) -> bool {
        matches!(
            self.state,
            State::Stepping { held: Some(_), .. }
                | State::Resuming(_, Resumption::Step { held: Some(_), .. })
        )
    }

    /// Whether it belongs into the client's list.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        match &self.state {
            State::Paused(stop) => stop.is_announced,
            State::Resuming(_, Resumption::Continue(_)) | State::Running => false,
            // A row that vanished during a step would lose the client's focus.
            State::Resuming(_, Resumption::Step { held, .. }) | State::Stepping { held, .. } => {
                held.is_some()
            }
        }
    }
}

/// All threads of a session.
#[derive(Debug, Default)]
pub struct Threads {
    by_id: BTreeMap<i32, Thread>,
    by_target: HashMap<TargetId, BTreeMap<i32, i32>>,
    /// Those that take a place of the break budget.
    held: BTreeSet<i32>,
    ids: Counter,
}

impl Threads {
    /// The client's thread `id`.
    #[must_use]
    pub fn get(&self, id: i32) -> Option<&Thread> {
        self.by_id.get(&id)
    }

    /// The client's thread `id`.
    pub fn get_mut(&mut self, id: i32) -> Option<&mut Thread> {
        self.by_id.get_mut(&id)
    }

    /// The id of what last stopped on a target's thread.
    #[must_use]
    pub fn find(&self, target: &TargetId, target_thread: i32) -> Option<i32> {
        self.by_target.get(target)?.get(&target_thread).copied()
    }

    /// Adds a thread that runs. What stood under the target's thread before must have been removed.
    ///
    /// # Errors
    /// When no ids are left.
    pub fn add(
        &mut self,
        target: TargetId,
        target_thread: i32,
        task: Option<Task>,
        name: String,
    ) -> Result<i32, IdsExhausted> {
        let id = self.ids.next()?;
        let replaced = self.by_target.entry(target.clone()).or_default().insert(target_thread, id);
        debug_assert!(replaced.is_none(), "the thread before was not removed");
        let thread = Thread {
            id,
            target,
            target_thread,
            task,
            name,
            state: State::Running,
            is_known: false,
            has_ended: false,
        };
        self.by_id.insert(id, thread);
        Ok(id)
    }

    /// Removes a thread whose task has ended.
    pub fn remove(&mut self, id: i32) -> Option<Thread> {
        let thread = self.by_id.remove(&id)?;
        self.held.remove(&id);
        if let Some(of_target) = self.by_target.get_mut(&thread.target) {
            of_target.remove(&thread.target_thread);
            if of_target.is_empty() {
                self.by_target.remove(&thread.target);
            }
        }
        Some(thread)
    }

    /// Gives a thread another state, and gives back the one before.
    pub fn replace_state(&mut self, id: i32, state: State) -> Option<State> {
        let thread = self.by_id.get_mut(&id)?;
        let before = std::mem::replace(&mut thread.state, state);
        if thread.is_held() {
            self.held.insert(id);
        } else {
            self.held.remove(&id);
        }
        Some(before)
    }

    /// How many threads take a place of the break budget.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The threads that take a place of the break budget, in the order in which they first stopped.
    pub fn iter_held(&self) -> impl Iterator<Item = &Thread> {
        self.held.iter().filter_map(|id| self.by_id.get(id))
    }

    /// The ids of all threads of a target.
    #[must_use]
    pub fn of_target(&self, target: &TargetId) -> Vec<i32> {
        self.by_target.get(target).map(|of_target| of_target.values().copied().collect()).unwrap_or_default()
    }

    /// The thread that stands at the stop of `arena`.
    #[must_use]
    pub fn of_arena(&self, arena: ArenaId) -> Option<i32> {
        self.iter_held()
            .find(|thread| thread.stop().is_some_and(|stop| stop.arena == arena))
            .map(|thread| thread.id)
    }

    /// The ids of the threads that run a task of a target.
    #[must_use]
    pub fn of_task(&self, target: &TargetId, task: &TaskId) -> Vec<i32> {
        let runs_it = |id: &i32| {
            let of_thread = self.by_id.get(id).and_then(|thread| thread.task.as_ref());
            of_thread.is_some_and(|of_thread| of_thread.task_id == task.as_str())
        };
        self.of_target(target).into_iter().filter(runs_it).collect()
    }

    /// All threads, in the order in which they first stopped.
    pub fn iter(&self) -> impl Iterator<Item = &Thread> {
        self.by_id.values()
    }

    /// Whether a thread of this id was there once.
    #[must_use]
    pub fn was_there(&self, id: i32) -> bool {
        self.ids.has_made(id) && !self.by_id.contains_key(&id)
    }
}
