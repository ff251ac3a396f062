//! `setBreakpoints`: answered when every node has the change, so that *verified* means what it says.

use dap::{RequestMessage, SetBreakpointsArguments, Source, SourceBreakpoint};

use super::{Handled, Refusal};
use crate::{
    breakpoints::{FileOfBreakpoints, Place, Spec},
    paths::file_name,
    session::{Session, origin},
    setting::Setting,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: SetBreakpointsArguments = request.arguments()?;
    let lines = arguments.breakpoints.unwrap_or_else(|| {
        // The form of the protocol's first days.
        let bare = |line| SourceBreakpoint { line, ..Default::default() };
        arguments.lines.unwrap_or_default().into_iter().map(bare).collect()
    });
    let (place, file) = file_of(session, arguments.source)?;
    let from_client = |spec: SourceBreakpoint| {
        Spec::Line(SourceBreakpoint {
            line: spec.line + 1 - session.client.lines_start_at,
            column: spec.column.map(|column| column + 1 - session.client.columns_start_at),
            mode: None,
            ..spec
        })
    };
    let specs = lines.into_iter().map(from_client).collect();
    let (ids, is_changed) = session.breakpoints.set(place, file, specs)?;
    session.set(origin(request), Setting::Lines(ids), is_changed);
    Ok(None)
}

fn file_of(session: &Session, source: Source) -> Result<(Place, FileOfBreakpoints), Refusal> {
    let reference = source.source_reference.map_or(0, i32::from);
    if reference > 0 {
        // A file that only the cluster has: its path there is known.
        let held = session.sources.held(reference);
        let path = held.and_then(|held| held.path).ok_or_else(|| {
            Refusal::from(
                "this source is no file, so a breakpoint in it would not be found again by other tasks",
            )
        })?;
        let name = Some(file_name(&path).to_owned());
        let file = FileOfBreakpoints {
            source: Source { name, path: Some(path.clone()), ..Default::default() },
            paths: vec![path.clone()],
            sha256: None,
            client_has_file: false,
        };
        return Ok((Place::File(path), file));
    }
    let path = source.path.filter(|path| !path.is_empty()).ok_or_else(|| {
        Refusal::from("'setBreakpoints' names no file: 'source' has neither a path nor a reference")
    })?;
    let name = source.name.unwrap_or_else(|| file_name(&path).to_owned());
    let paths = session.paths.to_remote(&path);
    let file = FileOfBreakpoints {
        source: Source { name: Some(name), path: paths.first().cloned(), ..Default::default() },
        client_has_file: session.files.exists(&path),
        sha256: session.files.sha256(&path),
        paths,
    };
    Ok((Place::File(path), file))
}
