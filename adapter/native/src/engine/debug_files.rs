//! Debug information that this machine lacks: asked for by build-id, and taken when it comes.
//!
//! Nothing waits for it but the answer to a set of breakpoints, and that only until the node says that it takes longer. A thread that
//! stops meanwhile is shown with what is known.

use std::collections::BTreeMap;

use super::{Engine, Mode};
use crate::address::Tid;
use crate::dwarf::modules::Module;
use crate::dwarf::provided::Part;
use crate::dwarf::separate::{from_hex, hex};
use crate::protocol::{DebugInfoArguments, MantaNeedsDebugInfo, NeedsDebugInfoBody};

/// What was asked for.
#[derive(Default)]
pub struct Wishes {
    of_file: BTreeMap<(Vec<u8>, Part), Wish>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// It may be there in a moment.
    Asked,
    /// It is on its way, and nobody should wait for it.
    Late,
    /// It has come.
    Come,
    /// Nobody had it. The next set of breakpoints asks again.
    Nowhere,
}

impl Engine {
    /// Asks for what is missing of the files in which breakpoints are looked for.
    pub(crate) fn ask_for_debug_information(&mut self, again: bool) {
        let configuration = &self.configuration;
        let is_wanted = !configuration.breakpoints.is_empty()
            || configuration.stop_at_panics
            || configuration.stop_at_signals;
        if !self.asks_for_debug_info || !is_wanted {
            return;
        }
        let lacking: Vec<_> = self
            .modules
            .searched()
            .filter_map(|module| Some((module.image.lacks()?, module.image.path().to_owned())))
            .collect();
        let mut asked = false;
        for ((build_id, part), name) in lacking {
            let key = (build_id, part);
            let known = self.wishes.of_file.get(&key);
            if known.is_some_and(|wish| !again || *wish != Wish::Nowhere) {
                continue;
            }
            let body = NeedsDebugInfoBody { build_id: hex(&key.0), kind: part, name };
            self.wishes.of_file.insert(key, Wish::Asked);
            self.outbox.event_for_node::<MantaNeedsDebugInfo>(&body);
            asked = true;
        }
        if asked {
            // Their breakpoints are pending now.
            self.bind_again(false);
        }
    }

    /// May something come in a moment that breakpoints depend on?
    pub(crate) fn awaits_debug_information(&self) -> bool {
        self.wishes.of_file.values().any(|wish| *wish == Wish::Asked)
    }

    /// Is the debug information of this file on its way?
    pub(super) fn debug_information_comes(&self, module: &Module) -> bool {
        module
            .image
            .lacks()
            .and_then(|lack| self.wishes.of_file.get(&lack).copied())
            .is_some_and(|wish| matches!(wish, Wish::Asked | Wish::Late))
    }

    /// Takes an answer. `tells` the client where breakpoints are now, unless it is about to be told anyway.
    pub(crate) fn on_debug_information(
        &mut self,
        arguments: DebugInfoArguments,
        tells: bool,
    ) -> Result<(), String> {
        let DebugInfoArguments { build_id: id, kind: part, path, message, pending } = arguments;
        let key = from_hex(&id).map(|id| (id, part));
        let key = key.filter(|key| matches!(self.wishes.of_file.get(key), Some(Wish::Asked | Wish::Late)));
        let Some(key) = key else { return Err(format!("Nobody has asked for debug information of {id}.")) };
        if pending {
            self.wishes.of_file.insert(key, Wish::Late);
            return Ok(());
        }
        let outcome = match (path, message) {
            (Some(path), _) => Ok(path.into()),
            (None, message) => Err(message.unwrap_or_else(|| "it was not found".to_owned())),
        };
        let wish = if outcome.is_ok() { Wish::Come } else { Wish::Nowhere };
        self.modules.provide(&key.0, part, outcome);
        self.wishes.of_file.insert(key, wish);
        self.read_again(tells);
        Ok(())
    }

    /// What the client was shown of a held thread may be more by now.
    fn tell_invalidated(&mut self, tid: Tid) {
        let Some(thread) = self.threads.get(tid).filter(|_| self.mode == Mode::Cluster) else { return };
        let body = dap::InvalidatedEventBody {
            areas: Some(vec![dap::InvalidatedAreas::Stacks, dap::InvalidatedAreas::Variables]),
            thread_id: Some(dap::ThreadId(thread.id)),
            stack_frame_id: None,
        };
        self.outbox.event::<dap::events::Invalidated>(&body);
    }

    /// What was read of a file is not what is known of it any more.
    fn read_again(&mut self, tells: bool) {
        if self.guard.is_none() {
            self.find_guard();
        }
        self.tokio = crate::tokio::Tokio::default();
        self.unwind_hook = None;
        for tid in self.threads.those(super::threads::Thread::is_held) {
            if let Some(stop) = self.threads.get_mut(tid).and_then(super::threads::Thread::stop_mut) {
                stop.forget_stack();
                stop.frame_ids.clear();
            }
            self.tell_invalidated(tid);
        }
        self.bind_again(tells);
        // A file that has come may itself lack a part.
        self.ask_for_debug_information(false);
        self.sync_all();
    }
}
