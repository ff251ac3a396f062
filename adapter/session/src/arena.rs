//! Frames and variables of paused tasks under ids that the client can use.
//!
//! Each (task, stop) has its own arena: what one task hands out dies when that task runs on, and nothing else does. An id is never
//! used for anything else afterwards, so a stale one is known as stale.

use std::collections::HashMap;

use crate::{
    ids::{Counter, IdsExhausted, TargetId},
    limits::HANDLES_OF_A_STOP_MAX,
};

/// One (task, stop).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArenaId(u64);

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandleKind {
    /// A stack frame.
    Frame,
    /// Something with children: a scope or a structured variable.
    Variables,
    /// One of the calls that a step can enter.
    StepTarget,
}

impl HandleKind {
    fn noun(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Variables => "variables reference",
            Self::StepTarget => "step-in target",
        }
    }
}

/// What a client's id leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The stop that it belongs to.
    pub arena: ArenaId,
    /// Who can answer for it.
    pub target: TargetId,
    /// The target's own id.
    pub id: i32,
}

/// Says why an id leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It was valid before its task ran on.
    #[error(
        "{0} {1} is of an earlier stop: its task has run on since; ask for the stack again when it is paused"
    )]
    Stale(&'static str, i32),
    /// It was never handed out.
    #[error("there is no {0} {1} in this session")]
    Unknown(&'static str, i32),
    /// The stop has handed out too much.
    #[error(
        "this stop has handed out {HANDLES_OF_A_STOP_MAX} frames and variables, the most that Manta keeps; resume the task or look at less at a time"
    )]
    Full,
    /// The session has handed out too much.
    #[error(transparent)]
    Exhausted(#[from] IdsExhausted),
    /// The stop is over.
    #[error("the task has run on in the meantime")]
    Ended,
}

#[derive(Debug)]
struct Arena {
    target: TargetId,
    by_target_id: HashMap<(HandleKind, i32), i32>,
}

/// All arenas of a session.
#[derive(Debug, Default)]
pub struct Arenas {
    arenas: HashMap<ArenaId, Arena>,
    handles: HashMap<(HandleKind, i32), (ArenaId, i32)>,
    frames: Counter,
    variables: Counter,
    step_targets: Counter,
    made: u64,
}

impl Arenas {
    /// Opens the arena of a new stop.
    pub fn open(&mut self, target: TargetId) -> ArenaId {
        self.made += 1;
        let id = ArenaId(self.made);
        self.arenas.insert(id, Arena { target, by_target_id: HashMap::new() });
        id
    }

    /// Forgets all that the stop has handed out.
    pub fn close(&mut self, id: ArenaId) {
        let Some(arena) = self.arenas.remove(&id) else { return };
        for ((kind, _), handle) in arena.by_target_id {
            self.handles.remove(&(kind, handle));
        }
    }

    /// Whether the stop still lasts.
    #[must_use]
    pub fn is_open(&self, id: ArenaId) -> bool {
        self.arenas.contains_key(&id)
    }

    /// The client's id for the target's `id`; the same each time.
    ///
    /// # Errors
    /// When the stop is over, or too much was handed out.
    pub fn handle(&mut self, arena: ArenaId, kind: HandleKind, id: i32) -> Result<i32, HandleError> {
        let entry = self.arenas.get_mut(&arena).ok_or(HandleError::Ended)?;
        if let Some(&known) = entry.by_target_id.get(&(kind, id)) {
            return Ok(known);
        }
        if entry.by_target_id.len() >= HANDLES_OF_A_STOP_MAX {
            return Err(HandleError::Full);
        }
        let counter = match kind {
            HandleKind::Frame => &mut self.frames,
            HandleKind::Variables => &mut self.variables,
            HandleKind::StepTarget => &mut self.step_targets,
        };
        let handle = counter.next()?;
        entry.by_target_id.insert((kind, id), handle);
        self.handles.insert((kind, handle), (arena, id));
        Ok(handle)
    }

    /// What a client's id leads to.
    ///
    /// # Errors
    /// When it is stale or was never handed out.
    pub fn resolve(&self, kind: HandleKind, handle: i32) -> Result<Resolved, HandleError> {
        if let Some(&(arena, id)) = self.handles.get(&(kind, handle)) {
            let target = self.arenas.get(&arena).ok_or(HandleError::Ended)?.target.clone();
            return Ok(Resolved { arena, target, id });
        }
        let counter = match kind {
            HandleKind::Frame => &self.frames,
            HandleKind::Variables => &self.variables,
            HandleKind::StepTarget => &self.step_targets,
        };
        let noun = kind.noun();
        Err(if counter.has_made(handle) {
            HandleError::Stale(noun, handle)
        } else {
            HandleError::Unknown(noun, handle)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_one_arena_leaves_the_others() {
        let mut arenas = Arenas::default();
        let (a, b) = (arenas.open(TargetId::new("t1")), arenas.open(TargetId::new("t1")));
        let of_a = arenas.handle(a, HandleKind::Frame, 1000).unwrap();
        let of_b = arenas.handle(b, HandleKind::Frame, 1000).unwrap();
        assert_ne!(of_a, of_b);
        assert_eq!(arenas.handle(a, HandleKind::Frame, 1000), Ok(of_a));
        arenas.close(a);
        assert_eq!(arenas.resolve(HandleKind::Frame, of_a), Err(HandleError::Stale("frame", of_a)));
        assert_eq!(arenas.resolve(HandleKind::Frame, of_b).unwrap().id, 1000);
        assert_eq!(arenas.handle(a, HandleKind::Frame, 1000), Err(HandleError::Ended));
        assert_eq!(
            arenas.resolve(HandleKind::Variables, 1),
            Err(HandleError::Unknown("variables reference", 1))
        );
        arenas.close(b);
        assert!(arenas.handles.is_empty());
    }
}
