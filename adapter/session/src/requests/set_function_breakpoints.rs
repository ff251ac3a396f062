//! `setFunctionBreakpoints`: answered when every node has the change.

use dap::{RequestMessage, SetFunctionBreakpointsArguments};

use super::Handled;
use crate::{
    breakpoints::{FileOfBreakpoints, Place, Spec},
    session::{Session, origin},
    setting::Setting,
};

pub(super) fn handle(session: &mut Session, request: &RequestMessage) -> Handled {
    let arguments: SetFunctionBreakpointsArguments = request.arguments()?;
    let specs = arguments.breakpoints.into_iter().map(Spec::Function).collect();
    let (ids, is_changed) = session.breakpoints.set(Place::Functions, FileOfBreakpoints::default(), specs)?;
    session.set(origin(request), Setting::Functions(ids), is_changed);
    Ok(None)
}
