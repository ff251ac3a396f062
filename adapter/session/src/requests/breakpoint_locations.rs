//! `breakpointLocations`: where in a file tasks can stop, as those targets say that know it.

use std::collections::BTreeMap;

use dap::{BreakpointLocationsArguments, RequestMessage, Source, requests as dap_requests};

use super::{Handled, Refusal};
use crate::{
    gathering::Collection,
    session::{Session, origin},
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: BreakpointLocationsArguments = request.arguments()?;
    let path = session.remote_path(arguments.source).ok_or_else(|| {
        Refusal::from(
            "'breakpointLocations' names no file: 'source' has neither a path nor a reference of one",
        )
    })?;
    let line = |line: i64| line + 1 - session.client.lines_start_at;
    let column = |column: i64| column + 1 - session.client.columns_start_at;
    let asked = BreakpointLocationsArguments {
        source: Source { path: Some(path), ..Default::default() },
        line: line(arguments.line),
        column: arguments.column.map(column),
        end_line: arguments.end_line.map(line),
        end_column: arguments.end_column.map(column),
    };
    let collection = Collection::Places(BTreeMap::new());
    session.gather::<dap_requests::BreakpointLocations>(origin(request), collection, &asked)
}
