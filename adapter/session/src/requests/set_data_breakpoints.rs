//! `setDataBreakpoints`: answered when every node has the change. Each is of one process, which its id names.

use dap::{RequestMessage, SetDataBreakpointsArguments};

use super::Handled;
use crate::{
    breakpoints::{FileOfBreakpoints, Place, Spec},
    session::{Session, origin},
    setting::Setting,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: SetDataBreakpointsArguments = request.arguments()?;
    let specs = arguments.breakpoints.into_iter().map(Spec::Data).collect();
    let (ids, is_changed) = session.breakpoints.set(Place::Data, FileOfBreakpoints::default(), specs)?;
    session.set(origin(request), Setting::Data(ids), is_changed);
    Ok(None)
}
