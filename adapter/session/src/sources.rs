//! Sources under names that the client can use: its own path where it has the file, otherwise a reference that a target answers.

use std::collections::HashMap;

use dap::{Source, SourceReference};

use crate::{
    ids::{Counter, TargetId},
    limits::SOURCES_MAX,
    paths::{PathMap, file_name},
};

/// Targets that are remembered for one source: if the first is gone, another can answer.
const HOLDERS_MAX: usize = 4;

/// What the session asks about the client's machine.
pub trait ClientFiles: Send {
    /// Whether there is a file of this path.
    fn exists(&self, path: &str) -> bool;

    /// The SHA-256 of the present content of the file of this path, in lower-case hexadecimal; `None` when it cannot be read or is
    /// too large for a source.
    fn sha256(&self, path: &str) -> Option<String>;
}

/// Where a source that the client lacks can be had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// By this path, from any target that has shown it.
    Path(String),
    /// By this reference, from this target only.
    Reference(TargetId, i32),
}

/// How to ask a target for a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whom to ask, best first.
    pub targets: Vec<TargetId>,
    /// The path in the cluster, where it has one.
    pub path: Option<String>,
    /// The target's own reference; 0 where the path says it all.
    pub reference: i32,
}

/// All sources that the client has no file of.
#[derive(Debug, Default)]
pub struct Sources {
    by_key: HashMap<Key, i32>,
    by_id: HashMap<i32, (Key, Vec<TargetId>)>,
    ids: Counter,
}

impl Sources {
    /// `source` of `target`, as the client can use it.
    pub fn shown(
        &mut self,
        source: Source,
        target: &TargetId,
        paths: &PathMap,
        files: &dyn ClientFiles,
    ) -> Source {
        let mut shown = Source { sources: None, adapter_data: None, ..source };
        let reference = shown.source_reference.take().map_or(0, i32::from);
        let key = match (&shown.path, reference) {
            (_, reference) if reference > 0 => Key::Reference(target.clone(), reference),
            (Some(path), _) => match paths.to_local(path).into_iter().find(|local| files.exists(local)) {
                Some(local) => {
                    shown.name.get_or_insert_with(|| file_name(&local).to_owned());
                    shown.path = Some(local);
                    return shown;
                }
                None => Key::Path(path.clone()),
            },
            (None, _) => return shown,
        };
        if let Some(path) = &shown.path {
            shown.name.get_or_insert_with(|| file_name(path).to_owned());
        }
        shown.source_reference = self.reference(key, target).map(SourceReference);
        shown
    }

    /// The id for `key`; `None` when the session has too many, so that the client sees the name alone.
    fn reference(&mut self, key: Key, target: &TargetId) -> Option<i32> {
        if let Some(&id) = self.by_key.get(&key) {
            let (_, holders) = self.by_id.get_mut(&id)?;
            if !holders.contains(target) {
                holders.insert(0, target.clone());
                holders.truncate(HOLDERS_MAX);
            }
            return Some(id);
        }
        if self.by_key.len() >= SOURCES_MAX {
            return None;
        }
        let id = self.ids.next().ok()?;
        self.by_key.insert(key.clone(), id);
        self.by_id.insert(id, (key, vec![target.clone()]));
        Some(id)
    }

    /// Who can answer for the client's reference `id`.
    #[must_use]
    pub fn held(&self, id: i32) -> Option<Held> {
        let (key, targets) = self.by_id.get(&id)?;
        let targets = targets.clone();
        Some(match key {
            Key::Path(path) => Held { targets, path: Some(path.clone()), reference: 0 },
            Key::Reference(_, reference) => Held { targets, path: None, reference: *reference },
        })
    }

    /// Forgets a target that is gone. Its references stay known, and say so when they are asked for.
    pub fn on_target_down(&mut self, target: &TargetId) {
        for (_, holders) in self.by_id.values_mut() {
            holders.retain(|holder| holder != target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Only(&'static str);

    impl ClientFiles for Only {
        fn exists(&self, path: &str) -> bool {
            path == self.0
        }

        fn sha256(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn at(path: &str) -> Source {
        Source { path: Some(path.to_owned()), ..Default::default() }
    }

    #[test]
    fn a_file_of_the_client_is_named_by_its_path_and_others_by_a_reference() {
        let (mut sources, paths, target) = (Sources::default(), PathMap::default(), TargetId::new("t1"));
        let files = Only("/job/a.py");
        let own = sources.shown(at("/job/a.py"), &target, &paths, &files);
        assert_eq!((own.name.as_deref(), own.source_reference), (Some("a.py"), None));
        let remote = sources.shown(at("/venv/b.py"), &target, &paths, &files);
        let id = remote.source_reference.unwrap().0;
        let other = TargetId::new("t2");
        assert_eq!(sources.shown(at("/venv/b.py"), &other, &paths, &files).source_reference.unwrap().0, id);
        assert_eq!(sources.held(id).unwrap().targets, [other.clone(), target.clone()]);
        sources.on_target_down(&other);
        assert_eq!(sources.held(id).unwrap().targets, std::slice::from_ref(&target));
        let numbered = Source { source_reference: Some(SourceReference(7)), ..at("<string>") };
        let id = sources.shown(numbered, &target, &paths, &files).source_reference.unwrap().0;
        let held = sources.held(id).unwrap();
        assert_eq!((held.reference, held.path), (7, None));
    }
}
