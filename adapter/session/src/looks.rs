//! What targets send of a stop ahead of being asked: the stack, and the variables of its innermost frame.
//!
//! The way to a target is long and a client's first questions at a stop are always the same. So a request that resumes a thread says
//! what the client asked for at the stop before, and the target sends that right behind the next stop (`mantaLook`): the stack ahead of the
//! variables where these take longer. Each variable is given out once and soon after the stop, as other threads run on; whatever may have
//! changed a value drops it.

use std::collections::HashMap;

use dap::{FrameId, RequestMessage, VariablesReference};

use crate::{
    arena::ArenaId, ids::TargetId, limits::LOOK_FRAMES_MAX, profile, requests, session::Session,
    threads::State,
};

/// What the client asked for at one stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// So many frames.
    pub levels: i32,
    /// Whether for the variables of the innermost frame.
    pub variables: bool,
}

impl Asked {
    /// What a target should send of the next stop; nothing if nobody asked.
    pub(crate) fn wanted(self) -> Option<profile::LookWanted> {
        let levels = self.levels.min(LOOK_FRAMES_MAX);
        (levels > 0).then_some(profile::LookWanted { levels, variables: self.variables })
    }
}

/// A look at one stop.
#[derive(Debug)]
enum Look {
    /// The target has announced it. Requests that it will answer wait for it.
    Awaited(Vec<RequestMessage>),
    /// The stack has come, and the rest comes behind it. Requests that it will answer wait for it.
    Begun(Box<dap::StackTraceResponseBody>, Vec<RequestMessage>),
    /// It has come. `is_old` after a while.
    Here { target: TargetId, look: Box<profile::Look>, is_old: bool },
}

/// All looks of a session.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    by_arena: HashMap<ArenaId, Look>,
}

/// What a look says to a request.
pub(crate) enum Found<T> {
    /// This.
    Answer(T),
    /// It comes at once: the request waits.
    Wait,
    /// Nothing: the target has to be asked.
    Nothing,
}

impl Looks {
    /// A target will send a look at this stop.
    pub fn announce(&mut self, arena: ArenaId) {
        self.by_arena.insert(arena, Look::Awaited(Vec::new()));
    }

    /// Frames of the stack; the number of all where it is known.
    pub fn stack(&self, arena: ArenaId, start: i32, levels: i32) -> Found<dap::StackTraceResponseBody> {
        let stack = match self.by_arena.get(&arena) {
            None => return Found::Nothing,
            Some(Look::Awaited(_)) => return Found::Wait,
            Some(Look::Begun(stack, _)) => stack,
            Some(Look::Here { look, .. }) => match &look.stack_trace {
                Some(stack) => stack,
                None => return Found::Nothing,
            },
        };
        let (start, levels) = (start.unsigned_abs() as usize, levels.unsigned_abs() as usize);
        let known = stack.stack_frames.len();
        let is_whole = stack.total_frames.is_some_and(|total| total.unsigned_abs() as usize == known);
        if !is_whole && start.saturating_add(levels) > known {
            return Found::Nothing;
        }
        let stack_frames = stack.stack_frames.iter().skip(start).take(levels).cloned().collect();
        Found::Answer(dap::StackTraceResponseBody { stack_frames, total_frames: stack.total_frames })
    }

    /// The scopes of the target's frame `frame`.
    pub fn scopes(&self, arena: ArenaId, frame: FrameId) -> Found<dap::ScopesResponseBody> {
        match self.by_arena.get(&arena) {
            Some(Look::Awaited(_) | Look::Begun(..)) => Found::Wait,
            Some(Look::Here { look, .. }) if look.frame == Some(frame) => {
                look.scopes.clone().map_or(Found::Nothing, Found::Answer)
            }
            _ => Found::Nothing,
        }
    }

    /// Takes the variables of the target's scope `reference`.
    pub fn take_variables(
        &mut self,
        arena: ArenaId,
        reference: VariablesReference,
    ) -> Found<dap::VariablesResponseBody> {
        match self.by_arena.get_mut(&arena) {
            Some(Look::Awaited(_) | Look::Begun(..)) => Found::Wait,
            Some(Look::Here { look, .. }) if look.scope == Some(reference) => {
                look.variables.take().map_or(Found::Nothing, Found::Answer)
            }
            _ => Found::Nothing,
        }
    }

    /// The request waits for the look.
    pub fn hold(&mut self, arena: ArenaId, request: RequestMessage) {
        if let Some(Look::Awaited(held) | Look::Begun(_, held)) = self.by_arena.get_mut(&arena) {
            held.push(request);
        }
    }

    /// The stack has come, ahead of the rest. Gives the requests that waited.
    fn begin(&mut self, arena: ArenaId, stack: dap::StackTraceResponseBody) -> Vec<RequestMessage> {
        match self.by_arena.get_mut(&arena) {
            Some(look @ Look::Awaited(_)) => {
                match std::mem::replace(look, Look::Begun(Box::new(stack), Vec::new())) {
                    Look::Awaited(held) => held,
                    Look::Begun(..) | Look::Here { .. } => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// A look has come, or will not come. Gives the requests that waited.
    fn settle(&mut self, arena: ArenaId, mut look: Option<Look>) -> Vec<RequestMessage> {
        if let Some(Look::Here { look, .. }) = &mut look
            && look.stack_trace.is_none()
            && let Some(Look::Begun(stack, _)) = self.by_arena.get_mut(&arena)
        {
            look.stack_trace = Some(std::mem::take(stack.as_mut()));
        }
        let before = match look {
            Some(look) => self.by_arena.insert(arena, look),
            None => self.by_arena.remove(&arena),
        };
        match before {
            Some(Look::Awaited(held) | Look::Begun(_, held)) => held,
            _ => Vec::new(),
        }
    }

    fn awaited(&self) -> Vec<ArenaId> {
        let awaited =
            self.by_arena.iter().filter(|(_, look)| matches!(look, Look::Awaited(_) | Look::Begun(..)));
        awaited.map(|(arena, _)| *arena).collect()
    }

    /// Something may have changed values in the memory of this target.
    pub fn forget_variables(&mut self, of: &TargetId) {
        for look in self.by_arena.values_mut() {
            if let Look::Here { target, look, .. } = look
                && target == of
            {
                look.variables = None;
            }
        }
    }

    /// Time has passed. What is old goes; gives the requests that have waited for too long. True while there are any looks left.
    fn grow_older(&mut self) -> (Vec<RequestMessage>, bool) {
        let mut late = Vec::new();
        self.by_arena.retain(|_, look| match look {
            Look::Awaited(held) | Look::Begun(_, held) => {
                late.append(held);
                false
            }
            Look::Here { is_old, .. } => !std::mem::replace(is_old, true),
        });
        (late, !self.by_arena.is_empty())
    }
}

impl Session {
    /// A target has sent what it was asked to send of a stop.
    pub(crate) fn on_look(&mut self, target: &TargetId, look: profile::Look) {
        let thread = self.threads.find(target, look.thread_id).and_then(|id| self.threads.get(id));
        let stop = thread.and_then(|thread| thread.stop()).filter(|stop| stop.number == look.stop);
        let Some(arena) = stop.map(|stop| stop.arena) else { return };
        if look.more {
            let held = look.stack_trace.map_or_else(Vec::new, |stack| self.looks.begin(arena, stack));
            return self.dispatch_all(held);
        }
        let here = Look::Here { target: target.clone(), look: Box::new(look), is_old: false };
        let held = self.looks.settle(arena, Some(here));
        self.dispatch_all(held);
    }

    /// The client has asked for frames at this stop, or for the variables of the innermost one.
    pub(crate) fn note_asked(&mut self, arena: ArenaId, levels: i32, variables: bool) {
        let Some(id) = self.threads.of_arena(arena) else { return };
        if let Some(State::Paused(stop)) = self.threads.get_mut(id).map(|thread| &mut thread.state) {
            stop.asked.levels = stop.asked.levels.max(levels);
            stop.asked.variables |= variables;
        }
    }

    /// What a target has sent ahead of this stop is no longer true.
    pub(crate) fn forget_look(&mut self, arena: ArenaId) {
        let held = self.looks.settle(arena, None);
        self.dispatch_all(held);
    }

    /// The stop of `arena` is over.
    pub(crate) fn close_arena(&mut self, arena: ArenaId) {
        self.arenas.close(arena);
        self.forget_look(arena);
    }

    /// Gives up the looks that are on their way.
    pub(crate) fn settle_looks(&mut self) {
        let awaited: Vec<ArenaId> = self.looks.awaited();
        for arena in awaited {
            let held = self.looks.settle(arena, None);
            self.dispatch_all(held);
        }
    }

    /// Gives up looks that did not come and those that have grown old. True while there are others.
    pub(crate) fn sweep_looks(&mut self) -> bool {
        let (late, any_left) = self.looks.grow_older();
        self.dispatch_all(late);
        any_left
    }

    fn dispatch_all(&mut self, held: Vec<RequestMessage>) {
        for request in held {
            requests::dispatch(self, &request);
        }
    }
}
