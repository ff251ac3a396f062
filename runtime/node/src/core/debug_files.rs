//! Debug information that a target lacks. Its engine asks by build-id (`mantaNeedsDebugInfo`); the edge looks for it here and on other
//! nodes; the engine is told where it lies (`mantaDebugInfo`), that nobody has it, or after a while that it is still on its way. So an
//! engine that waits before it takes breakpoints never waits for long.

use std::{collections::BTreeSet, mem};

use manta_proto::{ids::ProcessId, v1::DebugFileKind};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Core, Effect, Timer, debug::Request};
use crate::{
    elf,
    limits::{DEBUG_FILE_PATIENCE, DEBUG_FILES_WANTED_MAX},
};

/// What an engine sends.
pub(super) const WANTED_EVENT: &str = "mantaNeedsDebugInfo";
const COMMAND: &str = "mantaDebugInfo";

/// A file with debug information.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebugFile {
    /// Of the program or library that it is for.
    pub build_id: Vec<u8>,
    /// Its sections, or the rest of them that was split off.
    pub kind: DebugFileKind,
}

/// What is wanted, in an engine's words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    build_id: String,
    kind: Kind,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Debug,
    Package,
}

/// Wishes of one target that nobody has fulfilled yet.
#[derive(Default)]
pub(super) struct Wishes {
    open: BTreeSet<DebugFile>,
}

fn word(kind: DebugFileKind) -> &'static str {
    match kind {
        DebugFileKind::DebugInformation => "debug",
        DebugFileKind::SplitPackage => "package",
    }
}

impl Core {
    /// A target lacks debug information.
    pub(super) fn on_debug_file_wanted(&mut self, from: ProcessId, body: Option<&RawValue>) {
        let wish = body.ok_or("it has no body".to_owned());
        let wish =
            wish.and_then(|body| serde_json::from_str::<Wish>(body.get()).map_err(|error| error.to_string()));
        let wish = match wish {
            Ok(wish) => wish,
            Err(error) => {
                tracing::warn!(target = %from, error, "a target wants debug information in words that are not known");
                return;
            }
        };
        let kind = match wish.kind {
            Kind::Debug => DebugFileKind::DebugInformation,
            Kind::Package => DebugFileKind::SplitPackage,
        };
        let Some(build_id) = elf::from_hex(&wish.build_id) else {
            let message = format!("{:?} is no build-id", wish.build_id);
            let answer = json!({"buildId": wish.build_id, "kind": word(kind), "message": message});
            return self.tell_of_debug_file(from, &answer);
        };
        let file = DebugFile { build_id, kind };
        let Some(target) = self.debug.targets.get_mut(&from) else { return };
        if target.debug_files.open.contains(&file) {
            return;
        }
        if target.debug_files.open.len() >= DEBUG_FILES_WANTED_MAX {
            let found = Err(format!("{DEBUG_FILES_WANTED_MAX} others are looked for already"));
            return self.answer_debug_file(from, &file, found);
        }
        target.debug_files.open.insert(file.clone());
        self.effects.push(Effect::FindDebugFile { target: from, file: file.clone() });
        self.effects.push(Effect::Timer(Timer::DebugFile(from, file), DEBUG_FILE_PATIENCE));
    }

    /// The edge has found a file, or nobody has it: then a part of a sentence says so.
    pub fn on_debug_file_found(&mut self, from: ProcessId, file: &DebugFile, found: Result<String, String>) {
        let target = self.debug.targets.get_mut(&from);
        if target.is_some_and(|target| target.debug_files.open.remove(file)) {
            self.answer_debug_file(from, file, found);
        }
    }

    pub(super) fn on_debug_file_late(&mut self, from: ProcessId, file: &DebugFile) {
        let target = self.debug.targets.get(&from);
        if target.is_some_and(|target| target.debug_files.open.contains(file)) {
            let answer =
                json!({"buildId": elf::hex(&file.build_id), "kind": word(file.kind), "pending": true});
            self.tell_of_debug_file(from, &answer);
        }
    }

    /// A target's engine is gone, and its wishes with it.
    pub(super) fn forget_debug_files(&mut self, target: ProcessId) {
        if let Some(target) = self.debug.targets.get_mut(&target) {
            mem::take(&mut target.debug_files);
        }
    }

    fn answer_debug_file(&mut self, to: ProcessId, file: &DebugFile, found: Result<String, String>) {
        let (build_id, kind) = (elf::hex(&file.build_id), word(file.kind));
        let answer = match found {
            Ok(path) => json!({"buildId": build_id, "kind": kind, "path": path}),
            Err(message) => json!({"buildId": build_id, "kind": kind, "message": message}),
        };
        self.tell_of_debug_file(to, &answer);
    }

    fn tell_of_debug_file(&mut self, to: ProcessId, answer: &serde_json::Value) {
        // It was made of JSON a moment ago.
        if let Ok(arguments) = serde_json::value::to_raw_value(answer) {
            self.request(to, COMMAND, &arguments, Request::DebugFile);
        }
    }
}
