//! Errors of tasks whose results nobody reads: the driver is told when it lets go of them, as nothing else would say that they failed.

use std::collections::HashMap;

use manta_proto::{
    ids::{ObjectId, TaskId},
    v1::{Value, value::Format},
};

use super::{State, effect::Effect, events::error_sentence, objects::Object};
use crate::{SystemError, SystemErrorKind as Kind};

/// Failed tasks whose results are watched at one time; of more, nothing is said.
const WATCHED_MAX: usize = 10_000;

/// What there is to say of failed tasks until somebody reads a result of theirs.
#[derive(Default)]
pub(crate) struct Unhandled {
    is_wanted: bool,
    sentences: HashMap<TaskId, String>,
}

impl State {
    /// This process wants to hear of them.
    pub fn tell_unhandled(&mut self) {
        self.unhandled.is_wanted = true;
    }

    /// A task of ours failed. What was cancelled, and calls of actors that are gone, are no news.
    pub(super) fn watch_unhandled(&mut self, id: TaskId, name: &str, error: &Value, sentence: &str) {
        if !self.unhandled.is_wanted || self.unhandled.sentences.len() >= WATCHED_MAX || !is_news(error) {
            return;
        }
        let sentence = error_sentence(error, sentence);
        self.unhandled
            .sentences
            .insert(id, format!("task '{name}' failed, and nobody asked for its result: {sentence}"));
    }

    /// Whether something beside the refs of this process's program needs a result already, which will read it.
    pub(super) fn is_result_used(&self, id: TaskId, results: u32) -> bool {
        let result = |index| self.objects.get(&ObjectId::of(id, index));
        (0..results).filter_map(result).any(Object::is_used)
    }

    /// Somebody reads an object, or may do so from now on.
    pub(super) fn on_read(&mut self, id: ObjectId) {
        if !self.unhandled.sentences.is_empty() {
            self.unhandled.sentences.remove(&id.task());
        }
    }

    /// The same of what a caller of `get` has been given.
    pub fn on_read_all(&mut self, ids: impl Iterator<Item = ObjectId>) {
        if !self.unhandled.sentences.is_empty() {
            ids.for_each(|id| self.on_read(id));
        }
    }

    /// An object of ours is forgotten.
    pub(super) fn on_forgotten(&mut self, id: ObjectId) {
        if self.unhandled.sentences.is_empty() {
            return;
        }
        if let Some(sentence) = self.unhandled.sentences.remove(&id.task()) {
            self.effects.push(Effect::Say(sentence));
        }
    }
}

fn is_news(error: &Value) -> bool {
    match error.format() {
        Format::PythonError | Format::RustError => true,
        Format::SystemError => manta_object_store::layout::decode(&error.data).is_ok_and(|parts| {
            matches!(
                SystemError::decode(&parts.inband).kind,
                Kind::WorkerDied
                    | Kind::NodeDied
                    | Kind::Unschedulable
                    | Kind::EnvironmentFailed
                    | Kind::OutOfMemory
            )
        }),
        _ => false,
    }
}
