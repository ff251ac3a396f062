//! `modules` and `loadedSources`: what the process consists of.

use std::collections::BTreeSet;

use dap::{LoadedSourcesResponseBody, ModuleId, ModulesArguments, ModulesResponseBody};

use super::{Answer, Answered, Server};
use crate::dwarf::image::Image;
use crate::dwarf::modules::ModuleState;
use crate::engine::report::source_body;
use crate::engine::user_code::is_user_file;
use crate::limits::SOURCES_MAX;

impl Server {
    pub(super) fn modules(&mut self, arguments: ModulesArguments) -> Answered<ModulesResponseBody> {
        let engine = &mut self.engine;
        // A library may have been loaded since; when this fails the list is the one of before.
        let _ = engine.modules.refresh(&engine.process);
        let all = engine.modules.states();
        let total = i64::try_from(all.len()).ok();
        let start = usize::try_from(arguments.start_module.unwrap_or(0)).unwrap_or(0);
        let count = usize::try_from(arguments.module_count.unwrap_or(0)).unwrap_or(0);
        let count = if count == 0 { usize::MAX } else { count };
        let modules = all.into_iter().skip(start).take(count).map(module_body).collect();
        Ok(Answer::Now(ModulesResponseBody { modules, total_modules: total }))
    }

    /// The files that the program was built from, the user's own first.
    pub(super) fn loaded_sources(&mut self, _: dap::Empty) -> Answered<LoadedSourcesResponseBody> {
        let program = self.engine.program()?;
        let image = &program.image;
        let paths: BTreeSet<_> =
            image.source_paths().into_iter().map(|path| (!is_user_file(&path), path)).collect();
        let sources =
            paths.into_iter().take(SOURCES_MAX).map(|(is_library, path)| source_body(&path, !is_library));
        Ok(Answer::Now(LoadedSourcesResponseBody { sources: sources.collect() }))
    }
}

fn module_body(state: ModuleState<'_>) -> dap::Module {
    let path = state.mapped.path.display().to_string();
    let symbols = match &state.content {
        Ok(module) => symbol_status(&module.image),
        Err(reason) => format!("It cannot be read: {reason}"),
    };
    dap::Module {
        id: ModuleId::Text(path.clone()),
        name: path.rsplit('/').next().unwrap_or(&path).to_owned(),
        path: Some(path),
        is_user_code: Some(state.mapped.is_program),
        symbol_status: Some(symbols),
        address_range: Some(format!("{}-{}", state.mapped.start, state.mapped.end)),
        symbol_file_path: state
            .content
            .as_ref()
            .ok()
            .and_then(|module| module.image.separate_file().map(str::to_owned)),
        version: state.content.ok().and_then(|module| module.image.build_id()),
        ..Default::default()
    }
}

/// What is known of a module's code, and what is missing.
fn symbol_status(image: &Image) -> String {
    if !image.has_units() {
        return match image.warning() {
            Some(warning) => format!("No debug information; symbols only: {warning}"),
            None => "No debug information; symbols only".to_owned(),
        };
    }
    match image.missing_units() {
        Some((missing, all, reason)) => format!(
            "Lines only for {missing} of {all} units, as their split debug information is missing: {reason}"
        ),
        None => "Debug information loaded".to_owned(),
    }
}
