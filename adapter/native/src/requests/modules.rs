//! `modules` and `loadedSources`: what the process consists of.

use std::collections::BTreeSet;

use dap::{LoadedSourcesResponseBody, ModulesArguments, ModulesResponseBody};

use super::{Answer, Answered, Server};
use crate::engine::report::{module_body, source_body};
use crate::engine::user_code::is_user_file;
use crate::limits::SOURCES_MAX;

impl Server {
    pub(super) fn modules(&mut self, arguments: ModulesArguments) -> Answered<ModulesResponseBody> {
        let engine = &mut self.engine;
        engine.look_for_libraries();
        let all = engine.modules.states();
        let total = i64::try_from(all.len()).ok();
        let start = usize::try_from(arguments.start_module.unwrap_or(0)).unwrap_or(0);
        let count = usize::try_from(arguments.module_count.unwrap_or(0)).unwrap_or(0);
        let count = if count == 0 { usize::MAX } else { count };
        let modules = all.into_iter().skip(start).take(count).map(module_body).collect();
        Ok(Answer::Now(ModulesResponseBody { modules, total_modules: total }))
    }

    /// The files that the program and its libraries were built from, the user's own first.
    pub(super) fn loaded_sources(&mut self, _: dap::Empty) -> Answered<LoadedSourcesResponseBody> {
        let paths = self.engine.modules.searched().flat_map(|module| module.image.source_paths());
        let paths: BTreeSet<_> = paths.map(|path| (!is_user_file(&path), path)).collect();
        let sources =
            paths.into_iter().take(SOURCES_MAX).map(|(is_library, path)| source_body(&path, !is_library));
        Ok(Answer::Now(LoadedSourcesResponseBody { sources: sources.collect() }))
    }
}
